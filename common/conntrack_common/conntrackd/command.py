"""Asking conntrackd by its command, `conntrackd -s`, for users whom only sudo lets read.

The command has no timeout of its own: a stopped daemon keeps it waiting for ever. It prints nothing
on standard output when it fails, and exits with 0 when the answer is empty.
"""

from __future__ import annotations

from collections.abc import Sequence

from conntrack_common.conntrackd.requests import (
    LONGEST_ANSWER,
    WAYS_TO_BE_PERMITTED,
    request_number,
    seconds_left,
    too_long,
)
from conntrack_common.errors import (
    ConntrackError,
    DaemonNotAnswering,
    DaemonUnreachable,
    InvalidRequest,
    NotAvailable,
    NotPermitted,
)

TIMED_OUT = 124  # the exit status of timeout(1), where it is among the words


class Command:
    """The command `conntrackd -s`, for a user whom only sudo lets read.

    `words` are the program and what is before it, as ("sudo", "-n", "conntrackd"); `config`
    is conntrackd's -C. Raises InvalidRequest if options follow the program: it has deadly ones.
    """

    def __init__(self, words: Sequence[str] = ("conntrackd",), config: str | None = None) -> None:
        plain = [word.rpartition("/")[2] for word in " ".join(words).split()]
        if not plain or "conntrackd" in plain[:-1]:
            raise InvalidRequest(
                f"the command {' '.join(words)!r} must end with conntrackd itself: the option -s "
                "is added here, -C is set with --config, and others would change what it does"
            )
        self.words = (*words, *(("-C", config) if config else ()))

    @property
    def name(self) -> str:
        """What a sentence calls it."""
        return f"the output of '{' '.join(self.words)} -s'"

    def answer(self, request: str, deadline: float) -> str:
        """Return the text that answers this request; `deadline` is a time.monotonic().

        Raises DaemonUnreachable, DaemonNotAnswering, NotPermitted, NotAvailable (no such program),
        MalformedData (the answer is too long), InvalidRequest (no such request, no such config).
        """
        request_number(request)
        from conntrack_common.conntrackd.child import run

        # conntrackd before 1.2.0 knows `-s ct` as `-s` alone.
        words = (*self.words, "-s", *(() if request == "ct" else (request,)))
        command = " ".join(words)
        try:
            seconds_left(deadline)
            # In English, for _command_error reads sudo's sentences.
            status, output, errors = run(words, deadline, LONGEST_ANSWER, LC_ALL="C")
        except TimeoutError:
            raise _not_in_time(command) from None
        except FileNotFoundError as error:
            raise NotAvailable(
                f"there is no program {words[0]}: install conntrackd, or name it with its path"
            ) from error
        except (OSError, ValueError) as error:  # ValueError: a NUL character in a word
            problem = error.strerror if isinstance(error, OSError) else str(error)
            raise NotPermitted(
                f"{words[0]} can't be run ({problem}): {WAYS_TO_BE_PERMITTED}"
            ) from error
        if status is None:
            raise too_long(f"'{command}'", LONGEST_ANSWER)
        if status != 0:
            raise _command_error(command, status, errors)
        return output


def _not_in_time(command: str) -> DaemonNotAnswering:
    return DaemonNotAnswering(
        f"'{command}' did not end in time: conntrackd is stopped, or another client keeps it "
        "waiting; look at it with 'ps -C conntrackd -o pid,stat,args'"
    )


def _command_error(command: str, status: int, errors: str) -> ConntrackError:
    reason = (errors.strip().splitlines() or [f"exit status {status}"])[-1].strip()[:200]
    if status == TIMED_OUT and not errors.strip():
        return _not_in_time(command)
    if "can't open config file" in errors:
        return InvalidRequest(
            f"'{command}' can't open its configuration file: name the right one with --config, or "
            "let this user read it"
        )
    if "can't connect" in errors:
        return DaemonUnreachable(
            f"'{command}' can't connect: conntrackd is not running, has its socket elsewhere, or "
            f"this user may not use it; start it, or: {WAYS_TO_BE_PERMITTED}"
        )
    if any(word in errors for word in ("password is required", "not allowed", "may not run")):
        return NotPermitted(f"'{command}' is refused ({reason}): {WAYS_TO_BE_PERMITTED}")
    return DaemonUnreachable(
        f"'{command}' failed ({reason}): run it by hand as this user to see what is missing"
    )

"""How every command starts and ends: the one place that turns what is raised into an exit status.

A failure is one sentence: on standard error, or, of a Nagios check, in the status line as UNKNOWN.
Nothing is imported outside of a try but what the interpreter has loaded before, so that a broken
installation, and Ctrl-C during an import, end as any other failure does.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TextIO, TypeVar

    Options = TypeVar("Options")

FAILURE, USAGE, INTERRUPTED = 1, 2, 130
UNKNOWN = 3  # a Nagios state
EBADF = 9
LIBRARIES = ("jinja2", "nagiosplugin", "pyroute2", "rich")
TRACEBACK = "CONNTRACK_PLUGINS_TRACEBACK"  # set in the environment, it shows more than a sentence


def run(prog: str, work: Callable[[], Iterable[str]], encoding: str | None = None) -> int:
    """Do a command's work, print what it yields, and return the exit status.

    Without an encoding, which agents' formats have, output is in the locale's.
    """

    def printed() -> int:
        # A terminal without a character shows '?'.
        _reconfigure(sys.stdout, "replace", encoding)
        for text in work():
            say(text)
        return 0

    return _guarded(lambda: _ended(printed), reported_by_command(prog))


def check(name: str, parse: Callable[[], Options], judge: Callable[[Options], int]) -> int:
    """Do a Nagios check's work and return its state; a failure is UNKNOWN.

    `judge` prints the verdict and returns its state.
    """

    def judged() -> int:
        _reconfigure(sys.stdout, "backslashreplace")  # two labels may not become one
        try:
            options = parse()
        except SystemExit as error:
            if isinstance(error.code, str):
                raise
            return UNKNOWN  # --help or --version, whose 0 Nagios would take for OK
        return _ended(lambda: judge(options))

    return _guarded(judged, reported_by_check(name))


def say(text: str) -> None:
    """Print a text on standard output, now; raises OutputLost, and BrokenPipeError.

    Every command's output goes through here: other ways lose their errors.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        from conntrack_common.errors import OutputLost

        number = getattr(error, "errno", EBADF)
        reason = "it is closed" if number == EBADF else os.strerror(number)
        raise OutputLost(
            f"standard output can't be written ({reason}): connect it to a file or a reader"
        ) from error


def complain(text: str, end: str = "\n") -> None:
    """Print a sentence on standard error, if it is open."""
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _let_go(sys.stderr)


def reported_by_command(prog: str) -> Callable[[int, str], int]:
    """Return what shows a command's failure, a status and a sentence, and returns the status."""

    def report(status: int, sentence: str) -> int:
        if sentence and status != INTERRUPTED:
            complain(f"{prog}: {sentence}")
        return status

    return report


def reported_by_check(name: str) -> Callable[[int, str], int]:
    """Return what shows a check's failure as UNKNOWN."""

    def report(_status: int, sentence: str) -> int:
        if sentence:
            text = f"{name} UNKNOWN - {sentence.replace('|', '/')}"
            try:
                print(text, flush=True)
            except (OSError, ValueError):
                complain(text)
        return UNKNOWN

    return report


def start(work: Callable[[], int], report: Callable[[int, str], int]) -> int:
    """Do a process' whole work, its imports among it, and return its exit status."""
    status = _guarded(work, report)
    import _signal  # type: ignore[import-not-found]  # signal itself takes as long as all the rest

    # From here on, the interpreter would answer Ctrl-C with a traceback.
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    return status


def _guarded(work: Callable[[], int], report: Callable[[int, str], int]) -> int:
    """Return the status of some work, or what `report` makes of a failure and its sentence."""
    try:
        _open_what_is_closed()
        status = work()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends with one sentence
        status = report(*outcome(error))
        if os.environ.get(TRACEBACK):
            sys.excepthook(type(error), error, error.__traceback__)
    _let_go(sys.stdout)
    _let_go(sys.stderr)
    return status


def _ended(work: Callable[[], int]) -> int:
    """Return the status of some work that may end by SystemExit, as argparse does."""
    try:
        return work()
    except SystemExit as error:
        if isinstance(error.code, (int, type(None))):
            return error.code or 0
        raise


def _let_go(stream: TextIO) -> None:
    """Write what is still buffered, or discard it: the interpreter would fail on it at its end."""
    try:
        stream.flush()
    except (OSError, ValueError):
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            stream.flush()
        except (OSError, ValueError):
            pass  # it is closed, or not a file


def _open_what_is_closed() -> None:
    """Open the standard streams that the caller has closed, so that no other file becomes one.

    Reading finds the end, writing to standard output fails.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            file = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            os.dup2(file, number)
            if file != number:
                os.close(file)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


def _reconfigure(stream: TextIO, errors: str, encoding: str | None = None) -> None:
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding=encoding, errors=errors)


def outcome(error: BaseException) -> tuple[int, str]:
    """Return the exit status for what was raised, and the sentence, if there is one."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        return FAILURE, ""  # the reader has gone, as head(1) does
    try:
        from conntrack_common.errors import ConntrackError, InvalidRequest, Stranded
        from conntrack_common.printable import printable
    except BaseException:  # noqa: BLE001 - that installation is the failure
        return FAILURE, _sentence(error)
    status = USAGE if isinstance(error, InvalidRequest) else FAILURE
    has_sentence = isinstance(error, (ConntrackError, Stranded))
    return status, printable(str(error) if has_sentence else _sentence(error))


def _sentence(error: BaseException) -> str:
    """Return what happened and what to do, for a failure without a sentence of its own."""
    if isinstance(error, ModuleNotFoundError) and error.name in LIBRARIES:
        return (
            f"this needs the Python library {error.name}: "
            f"apt install python3-{error.name}, or pip install {error.name}"
        )
    if isinstance(error, ImportError):
        return (
            f"a part of this program can't be imported ({error}): install it again, and see that "
            "PYTHONPATH names no other modules"
        )
    if isinstance(error, MemoryError):
        return "there is no memory left for this process: raise the limit (ulimit -v, MemoryMax=)"
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return "no thread can be started: raise the limit of processes (ulimit -u, TasksMax=)"
    if isinstance(error, OSError):
        reason = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
        return f"the system refuses a call ({reason}): {TRACEBACK}=1 shows where"
    return (
        "this is a bug of conntrack-plugins, or a damaged installation "
        f"({type(error).__name__}: {error}; {_place(error)}): "
        f"report it with what {TRACEBACK}=1 shows"
    )


def _place(error: BaseException) -> str:
    """Return file and line where something was raised."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno}" if trace else "nowhere"

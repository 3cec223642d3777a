"""conntrackd's statistics, by one of three ways: its socket, its command, or a saved report."""

from __future__ import annotations

import time
from collections.abc import Iterable

from conntrack_common.conntrackd.command import Command
from conntrack_common.conntrackd.requests import REQUESTS, too_long
from conntrack_common.conntrackd.socket import Socket
from conntrack_common.conntrackd.text import merge, parse_statistics
from conntrack_common.errors import DaemonUnsupported, InvalidRequest, NoStatistics, NotPermitted
from conntrack_common.model.conntrackd import SyncStatistics
from conntrack_common.printable import printable
from conntrack_common.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Way = Union[Socket, Command, "SavedReport"]

__all__ = ["REQUESTS", "Command", "SavedReport", "Socket", "read_answer", "read_statistics"]

LONGEST_REPORT = 16 << 20  # a saved report may hold the resend queue
LONGEST_QUOTE = 60


class Report(NamedTuple):
    """A saved report's text, and its age in seconds, None where it is not a file."""

    text: str
    age: float | None


class SavedReport:
    """A file with what `conntrackd -s` printed, any number of times; "-" is standard input."""

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """What a sentence calls it."""
        return "standard input" if self.path == "-" else f"the report {self.path}"

    def read(self) -> Report:
        """Return it; raises InvalidRequest (no such file), NotPermitted, MalformedData."""
        import stat
        from os import fstat

        # Not sys.stdin, which is None where standard input is closed.
        source = 0 if self.path == "-" else self.path
        try:
            with open(source, "rb", closefd=source != 0) as file:
                content = file.read(LONGEST_REPORT + 1)
                facts = fstat(file.fileno())
        except PermissionError as error:
            raise NotPermitted(
                f"{self.path} may not be read by this user: make it readable, or run as root"
            ) from error
        except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
            problem = error.strerror if isinstance(error, OSError) else str(error)
            raise InvalidRequest(
                f"{self.name} can't be read ({problem}): name a file that contains the output of "
                "'conntrackd -s'"
            ) from error
        if len(content) > LONGEST_REPORT:
            raise too_long(self.path, LONGEST_REPORT)
        is_file = source != 0 and stat.S_ISREG(facts.st_mode)
        age = time.time() - facts.st_mtime if is_file else None
        return Report(content.decode("utf-8-sig", "replace"), age)


def read_statistics(way: Way, requests: Iterable[str], timeout: float) -> SyncStatistics:
    """Return what the daemon says to these requests (names of REQUESTS), in `timeout` seconds.

    A request that its mode answers with nothing is in `unsupported`. A saved report has what it
    has: it is not asked. Raises DaemonUnreachable, DaemonNotAnswering, NotPermitted,
    NotAvailable, MalformedData, InvalidRequest, NoStatistics (not one value was understood).
    """
    if isinstance(way, SavedReport):
        text, age = way.read()
        found = parse_statistics(text)
        if not found.known:
            raise _nothing(way.name, text)
        return found._replace(report=way.path, age=age)
    deadline = time.monotonic() + timeout
    found, asked = SyncStatistics(), tuple(requests)
    for request in asked:
        found = merge(found, _ask(way, request, deadline))
    # `runtime` is answered in every mode; to others, nothing may be the answer.
    if not found.known and (found.unknown or "runtime" in asked):
        raise _nothing(way.name, "\n".join(line.text for line in found.unknown))
    return found


def _nothing(source: str, text: str) -> NoStatistics:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return NoStatistics(
            f"{source} is empty, as conntrackd's statistics never are: see whether the program "
            "that should print them failed"
        )
    count = f"{len(lines)} line{'s' * (len(lines) > 1)}"
    quoted = printable(lines[0].strip())[:LONGEST_QUOTE]
    return NoStatistics(
        f"{source} has no statistics of conntrackd in {count} (it begins with '{quoted}'): see "
        "whether the program that should print them failed"
    )


def _ask(way: Socket | Command, request: str, deadline: float) -> SyncStatistics:
    try:
        answered = parse_statistics(read_answer(way, request, deadline), request)
    except DaemonUnsupported:
        return SyncStatistics(unsupported=frozenset((request,)))
    if request == "process" and answered.processes is None:
        return answered._replace(processes=())
    return answered


def read_answer(way: Socket | Command, request: str, deadline: float) -> str:
    """Return the text of one answer, as `answer` does; raises DaemonUnsupported if it is empty.

    That `process` is answered with nothing means that there is no child now.
    """
    text = way.answer(request, deadline)
    if not text.strip() and request != "process":
        raise DaemonUnsupported(
            f"conntrackd has no '{request}' statistics in the mode it runs in: "
            "ask for others, or see conntrackd.conf for its mode and options"
        )
    return text

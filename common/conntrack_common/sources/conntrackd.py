"""conntrackd's statistics, by one of three ways: its socket, its command, or a saved report."""

from __future__ import annotations

import time
from collections.abc import Iterable

from conntrack_common.errors import DaemonUnsupported, InvalidRequest, NotPermitted
from conntrack_common.sources.conntrackd_command import Command
from conntrack_common.sources.conntrackd_requests import REQUESTS, too_long
from conntrack_common.sources.conntrackd_socket import Socket
from conntrack_common.sources.conntrackd_text import merge, parse_statistics
from conntrack_common.sync_model import SyncStatistics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Way = Union[Socket, Command, "SavedReport"]

__all__ = ["REQUESTS", "Command", "SavedReport", "Socket", "read_answer", "read_statistics"]

LONGEST_REPORT = 16 << 20  # a saved report may hold the resend queue


class SavedReport:
    """A file with what `conntrackd -s` printed, any number of times; "-" is standard input."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> str:
        """Return the text; raises InvalidRequest (no such file), NotPermitted, MalformedData."""
        # Not sys.stdin, which is None where standard input is closed.
        source = 0 if self.path == "-" else self.path
        try:
            with open(source, "rb", closefd=source != 0) as file:
                content = file.read(LONGEST_REPORT + 1)
        except PermissionError as error:
            raise NotPermitted(
                f"{self.path} may not be read by this user: let it be readable, or run as root"
            ) from error
        except OSError as error:
            raise InvalidRequest(
                f"the report {self.path} can't be read ({error.strerror}): name a file that holds "
                "the output of 'conntrackd -s'"
            ) from error
        if len(content) > LONGEST_REPORT:
            raise too_long(self.path, LONGEST_REPORT)
        return content.decode("utf-8-sig", "replace")


def read_statistics(way: Way, requests: Iterable[str], timeout: float) -> SyncStatistics:
    """Return what the daemon says to these requests (names of REQUESTS), in `timeout` seconds.

    A request that its mode answers with nothing stands in `unsupported`. A saved report holds what
    it holds: it is not asked. Raises DaemonUnreachable, DaemonNotAnswering, NotPermitted,
    NotAvailable, MalformedData, InvalidRequest.
    """
    if isinstance(way, SavedReport):
        return parse_statistics(way.read())
    deadline = time.monotonic() + timeout
    found = SyncStatistics()
    for request in requests:
        found = merge(found, _ask(way, request, deadline))
    return found


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

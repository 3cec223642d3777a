"""Asking conntrackd by its UNIX socket.

Protocol (conntrack-tools src/local.c): connect, send one C int, read text until the daemon closes.
It serves one client at a time in its main loop and waits for it: send at once, read at once, always
close. It ignores SIGPIPE, so that leaving early does it no harm.
"""

from __future__ import annotations

import errno

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

LONGEST_PATH = 107  # of a UNIX socket, in bytes


class Socket:
    """conntrackd's UNIX socket (General { UNIX { Path } })."""

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """What a sentence calls it."""
        return f"the answer on {self.path}"

    def answer(self, request: str, deadline: float) -> str:
        """Return the text that answers this request; `deadline` is a time.monotonic().

        Raises DaemonUnreachable, DaemonNotAnswering, NotPermitted, NotAvailable (no socket can be
        had), MalformedData (the answer is too long), InvalidRequest (no such request, or no
        possible path).
        """
        number = request_number(request)
        if len(self.path.encode("utf-8", "surrogateescape")) > LONGEST_PATH:
            raise InvalidRequest(
                f"the socket path {self.path} has more than {LONGEST_PATH} bytes, which no UNIX "
                "socket can have: name the one that conntrackd.conf names"
            )
        try:
            text = self._exchange(number, deadline)
        except TimeoutError:
            raise DaemonNotAnswering(
                f"conntrackd took the connection on {self.path} but did not answer in time: it is "
                "stopped, or another client keeps it waiting; look at it with 'ps -C conntrackd -o "
                "pid,stat,args' and at its clients with 'ss -xp'"
            ) from None
        except OSError as error:
            raise self._unreachable(error) from error
        if text and not text.endswith("\n"):
            raise DaemonNotAnswering(
                f"the answer on {self.path} ends in the middle of a line: conntrackd ended or was "
                "restarted just now; try again"
            )
        return text

    def _exchange(self, number: int, deadline: float) -> str:
        import socket
        import struct

        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.settimeout(seconds_left(deadline))
                connection.connect(self.path)
                connection.sendall(struct.pack("=i", number))
                pieces: list[bytes] = []
                size = 0
                while size <= LONGEST_ANSWER:
                    connection.settimeout(seconds_left(deadline))
                    piece = connection.recv(65536)
                    if not piece:
                        return b"".join(pieces).decode("utf-8", "replace")
                    pieces.append(piece)
                    size += len(piece)
            except socket.timeout as error:  # until Python 3.9 not the same as TimeoutError
                raise TimeoutError from error
        raise too_long(f"conntrackd's socket {self.path}", LONGEST_ANSWER)

    def _unreachable(self, error: OSError) -> ConntrackError:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return DaemonUnreachable(
                f"conntrackd is not running, or has its socket elsewhere: there is no {self.path}; "
                "start it, or name the path that conntrackd.conf gives (General, UNIX, Path)"
            )
        if error.errno == errno.ECONNREFUSED:
            return DaemonUnreachable(
                f"{self.path} is a stale socket: conntrackd was killed and left it behind; remove "
                "its lock file, which would stop it from starting, and start it again"
            )
        if error.errno in (errno.EACCES, errno.EPERM):
            return NotPermitted(f"{self.path} may not be used by this user: {WAYS_TO_BE_PERMITTED}")
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            return NotAvailable(
                f"conntrackd can't be asked ({error.strerror}): this process or this host has no "
                "room for a socket; raise its limit (ulimit -n), or see what takes so much"
            )
        if error.errno == errno.EAGAIN:
            return DaemonNotAnswering(
                f"as many clients wait on {self.path} as conntrackd allows: it is stopped or "
                "hangs; look at it with 'ps -C conntrackd -o pid,stat,args'"
            )
        return DaemonUnreachable(
            f"conntrackd can't be reached on {self.path} ({error.strerror}): see whether it "
            "runs, and whether this path is its socket"
        )

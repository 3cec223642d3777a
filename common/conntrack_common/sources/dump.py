"""Receiving dumps of the table as fast as the kernel makes them.

A thread does nothing but receive: recv gives up the interpreter's lock while the kernel fills the
buffer, so that the kernel's time and the reader's overlap. Each address family has a dump and a
thread of its own, so that the kernel itself works on two processors: an entry's family never
changes, so none is missed or seen twice.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Iterator, Sequence

from conntrack_common.errors import ConntrackError
from conntrack_common.record import NamedTuple
from conntrack_common.sources.netlink import (
    HEADER,
    NFNL_SUBSYS_CTNETLINK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    NetlinkSocket,
    refusal,
    request,
)

IPCTNL_MSG_CT_GET = 1
BUFFER = 65536  # the kernel fills 32 KiB at most (netlink_dump in af_netlink.c)
AHEAD = 8  # buffers that may wait for their reader
DONE_SIZE = HEADER.size + 4
TIMEOUT = 20  # seconds without an answer


class Request(NamedTuple):
    """What to dump: one address family, filtered by attributes where the kernel can."""

    family: int = 0
    attributes: bytes = b""
    subsystem: int = NFNL_SUBSYS_CTNETLINK
    command: int = IPCTNL_MSG_CT_GET


ALL = (Request(socket.AF_INET), Request(socket.AF_INET6))


class Buffer:
    """A buffer of whole messages; its reader sets `ended` if the dump's end was among them."""

    __slots__ = ("data", "ended")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ended = False


def receive(requests: Sequence[Request] = ALL) -> Iterator[Buffer]:
    """Dump all that is requested and yield the kernel's answers until each dump has ended.

    The last buffer of a dump ends with NLMSG_DONE or is an NLMSG_ERROR; both are the reader's to
    see. Raises NotPermitted, NotAvailable, Interrupted.
    """
    waiting: queue.Queue[tuple[_Receiver, bytes | ConntrackError]] = queue.Queue(AHEAD)
    receivers = [_Receiver(wanted, waiting) for wanted in requests]
    left = len(receivers)
    try:
        for receiver in receivers:
            receiver.start()
        while left:
            receiver, data = waiting.get()
            if isinstance(data, ConntrackError):
                raise data
            buffer = Buffer(data)
            yield buffer
            left -= buffer.ended
            if not buffer.ended and looks_last(data):
                receiver.go_on.release()
    finally:
        for receiver in receivers:
            receiver.stop()


class _Receiver(threading.Thread):
    """Receives one dump until its end, or until it is stopped."""

    def __init__(
        self, wanted: Request, waiting: queue.Queue[tuple[_Receiver, bytes | ConntrackError]]
    ) -> None:
        super().__init__(name="conntrack-dump", daemon=True)
        self._wanted = wanted
        self._waiting = waiting
        self.go_on = threading.Semaphore(0)
        self._stopped = False

    def run(self) -> None:
        try:
            with NetlinkSocket(timeout=None) as netlink:
                self._receive(netlink.socket)
        except OSError as error:
            self._waiting.put((self, refusal(error)))
        except ConntrackError as error:
            self._waiting.put((self, error))

    def _receive(self, sock: socket.socket) -> None:
        # A time limit of the socket, and not of Python, which would poll before each receive.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", TIMEOUT, 0))
        wanted = self._wanted
        sock.send(
            request(
                wanted.subsystem, wanted.command, NLM_F_DUMP, wanted.attributes, wanted.family, 1
            )
        )
        while not self._stopped:
            data = sock.recv(BUFFER)
            self._waiting.put((self, data))
            if looks_last(data):
                # Entries could end in the same bytes: only the reader, who goes from message to
                # message, knows. If it was not the end, the reader asks for more.
                self.go_on.acquire()

    def stop(self) -> None:
        """End the thread; it is in recv or in put, and neither lasts."""
        self._stopped = True
        self.go_on.release()
        while self.is_alive():
            with contextlib.suppress(queue.Empty):
                self._waiting.get(timeout=0.01)


def looks_last(data: bytes) -> bool:
    """Tell whether a buffer ends as a dump's last one does, or begins as a refusal does."""
    if len(data) < DONE_SIZE:
        return True
    length, kind, *_ = HEADER.unpack_from(data, len(data) - DONE_SIZE)
    return (length, kind) == (DONE_SIZE, NLMSG_DONE) or HEADER.unpack_from(data)[1] == NLMSG_ERROR

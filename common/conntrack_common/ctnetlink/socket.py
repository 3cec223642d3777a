"""A NETLINK_NETFILTER socket: requests, answers and the kernel's refusals.

Formats: linux/netlink.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from conntrack_common.ctnetlink.messages import (
    BODY,
    GENERIC,
    HEADER,
    NFNL_SUBSYS_CTNETLINK,
    NLM_F_DUMP_INTR,
    SOURCE,
    Message,
    answer_end,
    message,
    split_messages,
)
from conntrack_common.errors import (
    NETLINK_REMEDY,
    NO_CONNTRACK,
    ConntrackError,
    Interrupted,
    MalformedData,
    NotAvailable,
    NotPermitted,
)
from conntrack_common.proc.modules import CONNTRACK, CTNETLINK, require

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

NETLINK_NETFILTER = 12
IPCTNL_MSG_CT_GET_STATS = 5

MAX_ERRNO = 4095  # linux/err.h
NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP = 0x300
CHANGED = f"{SOURCE}: the list changed while it was read: try again"
BUFFER = 65536  # bytes; the kernel fills 32 KiB of it at most (netlink_dump in af_netlink.c)


class NetlinkSocket:
    """A connection to the kernel's netfilter subsystems, in the namespace where it was opened.

    Use it as a context manager; `timeout` is how many seconds it waits for an answer, `module` is
    what has to be there before anything is asked. Raises NotAvailable where the kernel has no such
    socket, or would load a module for it.
    """

    def __init__(self, timeout: float = 10.0, module: str = CTNETLINK) -> None:
        require(module)
        try:
            self.socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
            )
        except OSError as error:
            raise refusal(error) from error
        try:
            self.socket.bind((0, 0))
            set_receive_timeout(self.socket, timeout)
        except OSError as error:
            self.socket.close()
            raise refusal(error) from error
        self._sequence = 0
        self._unread = False

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def dump(
        self, subsystem: int, command: int, attributes: bytes = b"", family: int = 0
    ) -> Iterator[Message]:
        """Ask for a list and yield its messages.

        Raises NotPermitted, NotAvailable, Interrupted (the list changed while it was read, or
        memory was short) and MalformedData.
        """
        return self._ask(subsystem, command, NLM_F_DUMP, attributes, family)

    def get(self, subsystem: int, command: int, attributes: bytes = b"") -> Iterator[Message]:
        """Ask for one object and yield its message; raises as `dump` does."""
        return self._ask(subsystem, command, NLM_F_ACK, attributes, family=0)

    def _ask(
        self, subsystem: int, command: int, flags: int, attributes: bytes, family: int
    ) -> Iterator[Message]:
        while self._unread:  # an earlier answer: until its end the kernel is busy with it (EBUSY)
            self._answer()
        self._sequence += 1
        self.send(request(subsystem, command, flags, attributes, family, self._sequence))
        self._unread = True
        while self._unread:
            data, end = self._answer()
            for _kind, flag, body in split_messages(data):
                if flag & NLM_F_DUMP_INTR:
                    raise Interrupted(CHANGED)
                yield message(body)
            raise_end(end)

    def _answer(self) -> tuple[bytes, bytes]:
        """Receive the next part of an answer: its messages, and what ends it if it is the last."""
        data = self.receive()
        end = answer_end(data)
        self._unread = end is None
        return data[:end], b"" if end is None else data[end:]

    def send(self, data: bytes) -> None:
        """Send a request; what the kernel refuses at once is the taxonomy's error."""
        try:
            self.socket.send(data)
        except OSError as error:
            raise refusal(error) from error

    def receive(self) -> bytes:
        """Return the kernel's next datagram; raises Interrupted if none comes in time."""
        try:
            return self.socket.recv(BUFFER)
        except OSError as error:
            raise refusal(error) from error


def load_ctnetlink() -> None:
    """Let the kernel load ctnetlink, as conntrack(8) does, where connection tracking is there.

    For commands by which a person asks for entries; an agent asks for what is there. Raises
    NotAvailable, NotPermitted, Interrupted.
    """
    with NetlinkSocket(module=CONNTRACK) as netlink:
        for _message in netlink.get(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET_STATS):
            pass


def set_receive_timeout(sock: socket.socket, seconds: float) -> None:
    """Let the kernel end a recv that waits longer; Python's own limit would poll before each.

    A struct timeval has 8 or 16 bytes, also on 32-bit systems: there, a 64-bit time_t brought an
    option of its own (SO_RCVTIMEO_NEW, since Linux 5.1). The kernel's answer has the right size.
    """
    size = len(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))
    timeval = struct.pack("=ii" if size == 8 else "=qq", int(seconds), int(seconds % 1 * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)


def request(
    subsystem: int, command: int, flags: int, attributes: bytes, family: int, sequence: int
) -> bytes:
    """Return one request message, ready to be sent."""
    length = BODY + len(attributes)
    return (
        HEADER.pack(length, subsystem << 8 | command, NLM_F_REQUEST | flags, sequence, 0)
        + GENERIC.pack(family, 0, 0)
        + attributes
    )


def raise_end(end: bytes) -> None:
    """Raise what the message that ends an answer says, unless it says that all went well."""
    for _kind, flags, body in split_messages(end):
        if flags & NLM_F_DUMP_INTR:
            raise Interrupted(CHANGED)
        raise_refusal(body)
        return


def raise_refusal(body: bytes) -> None:
    """Raise what an NLMSG_ERROR's or NLMSG_DONE's body says, unless it says that all went well."""
    number = error_number(body)
    if number:
        raise refusal(OSError(number, os.strerror(number)))


def error_number(body: bytes) -> int:
    """Return the errno (positive; 0 is success) in such a body; raises MalformedData."""
    if len(body) < 4:
        raise MalformedData(SOURCE, "NLMSG_ERROR", f"only {len(body)} bytes")
    number: int = struct.unpack_from("=i", body)[0]
    if not -MAX_ERRNO <= number <= 0:
        raise MalformedData(SOURCE, "NLMSG_ERROR", f"{number} is no error number")
    return -number


def refusal(error: OSError) -> ConntrackError:
    """Return the taxonomy's error for what the kernel or the socket said."""
    if error.errno in {errno.EPERM, errno.EACCES}:
        return NotPermitted(f"the kernel refused ({error.strerror}): {NETLINK_REMEDY}")
    if error.errno in {errno.EINVAL, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ENOPROTOOPT}:
        return NotAvailable(
            f"this kernel offers no ctnetlink here ({error.strerror}): "
            f"'modprobe nf_conntrack_netlink' adds it; or {NO_CONNTRACK}"
        )
    if error.errno in {errno.EAGAIN, errno.ETIMEDOUT}:
        return Interrupted(f"{SOURCE}: the kernel did not answer in time: try again")
    if error.errno in {errno.ENOBUFS, errno.ENOMEM, errno.EINTR, errno.EBUSY}:
        return Interrupted(f"{SOURCE}: {error.strerror}: the answer is incomplete, try again")
    return NotAvailable(f"{SOURCE}: the kernel answered: {error.strerror or error}")

"""A NETLINK_NETFILTER socket: requests, messages, attributes and the kernel's refusals.

Formats: linux/netlink.h, linux/netfilter/nfnetlink.h. Integers in netlink's own headers are in
the host's byte order, those in netfilter's attributes are big-endian.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

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
from conntrack_common.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK = 1
NFNL_SUBSYS_CTNETLINK_EXP = 2
NFNL_SUBSYS_HOOK = 12
IPCTNL_MSG_CT_GET_STATS = 5

NLMSG_ERROR = 2
NLMSG_DONE = 3
ENDS = (NLMSG_ERROR, NLMSG_DONE)  # either ends an answer
MAX_ERRNO = 4095  # linux/err.h
NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300
NLA_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
GENERIC = struct.Struct("=BBH")  # struct nfgenmsg: family, version, res_id (big-endian)
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
BODY = HEADER.size + GENERIC.size
BUFFER = 65536  # bytes; the kernel fills 32 KiB of it at most (netlink_dump in af_netlink.c)
SOURCE = "ctnetlink"


class Message(NamedTuple):
    """One netfilter message: `resource` is nfgenmsg's res_id, `attributes` the bytes behind it."""

    family: int
    resource: int
    attributes: bytes


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
            for kind, flag, body in self._answer():
                if flag & NLM_F_DUMP_INTR:
                    raise Interrupted(f"{SOURCE}: the list changed while it was read: try again")
                if kind in ENDS:
                    raise_refusal(body)
                    return
                yield message(body)

    def _answer(self) -> list[tuple[int, int, bytes]]:
        """Receive the next part of an answer: type, flags and body of its messages."""
        messages = list(split_messages(self.receive()))
        self._unread = not any(kind in ENDS for kind, _flags, _body in messages)
        return messages

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


def split_messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, flags and body of each message of a datagram; raises MalformedData."""
    offset = 0
    while offset < len(data):
        if offset + HEADER.size > len(data):
            raise MalformedData(SOURCE, f"offset {offset}", "a message header is cut short")
        length, kind, flags, _sequence, _port = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > len(data):
            raise MalformedData(SOURCE, f"offset {offset}", f"a message says it has {length} bytes")
        yield kind, flags, data[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def message(body: bytes) -> Message:
    """Return a netfilter message from a netlink message's body; raises MalformedData."""
    if len(body) < GENERIC.size:
        raise MalformedData(SOURCE, "nfgenmsg", f"only {len(body)} bytes")
    family, _version, resource = struct.unpack_from(">BBH", body)
    return Message(family, resource, body[GENERIC.size :])


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type (without flags) and payload of each attribute; raises MalformedData."""
    offset = 0
    while offset + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < ATTRIBUTE.size or offset + length > len(data):
            raise MalformedData(
                SOURCE, f"attribute {kind & NLA_TYPE_MASK}", f"its length is said to be {length}"
            )
        yield kind & NLA_TYPE_MASK, data[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    length = ATTRIBUTE.size + len(payload)
    return ATTRIBUTE.pack(length, kind) + payload + b"\0" * (-length % 4)


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

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
from conntrack_common.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

NETLINK_NETFILTER = 12
NFNL_SUBSYS_CTNETLINK = 1
NFNL_SUBSYS_CTNETLINK_EXP = 2
NFNL_SUBSYS_HOOK = 12

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300
NLA_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
GENERIC = struct.Struct("=BBH")  # struct nfgenmsg: family, version, res_id (big-endian)
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
BODY = HEADER.size + GENERIC.size
SOURCE = "ctnetlink"


class Message(NamedTuple):
    """One netfilter message: `resource` is nfgenmsg's res_id, `attributes` the bytes behind it."""

    family: int
    resource: int
    attributes: bytes


class NetlinkSocket:
    """A connection to the kernel's netfilter subsystems, in the namespace where it was opened.

    Use it as a context manager. Raises NotAvailable where the kernel has no such socket.
    """

    def __init__(self, timeout: float | None = 10.0) -> None:
        try:
            self.socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
            )
            self.socket.bind((0, 0))
        except OSError as error:
            raise refusal(error) from error
        self.socket.settimeout(timeout)
        self._sequence = 0

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
        self._sequence += 1
        self._send(request(subsystem, command, flags, attributes, family, self._sequence))
        while True:
            for kind, flag, sequence, body in split_messages(self._receive()):
                if sequence != self._sequence:
                    continue  # the rest of an earlier answer that was not read to its end
                if flag & NLM_F_DUMP_INTR:
                    raise Interrupted(f"{SOURCE}: the list changed while it was read: try again")
                if kind == NLMSG_DONE or (kind == NLMSG_ERROR and not error_number(body)):
                    return
                if kind == NLMSG_ERROR:
                    raise refusal(OSError(error_number(body), os.strerror(error_number(body))))
                yield message(body)

    def _send(self, data: bytes) -> None:
        try:
            self.socket.send(data)
        except OSError as error:
            raise refusal(error) from error

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(1 << 17)
        except OSError as error:
            raise refusal(error) from error


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


def split_messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield type, flags, sequence and body of each message of a datagram; raises MalformedData."""
    offset = 0
    while offset < len(data):
        if offset + HEADER.size > len(data):
            raise MalformedData(SOURCE, f"offset {offset}", "a message header is cut short")
        length, kind, flags, sequence, _port = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > len(data):
            raise MalformedData(SOURCE, f"offset {offset}", f"a message says it has {length} bytes")
        yield kind, flags, sequence, data[offset + HEADER.size : offset + length]
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


def error_number(body: bytes) -> int:
    """Return the errno (positive; 0 is an acknowledgement) of an NLMSG_ERROR's body."""
    if len(body) < 4:
        raise MalformedData(SOURCE, "NLMSG_ERROR", f"only {len(body)} bytes")
    number: int = struct.unpack_from("=i", body)[0]
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
    if isinstance(error, socket.timeout) or error.errno in {errno.EAGAIN, errno.ETIMEDOUT}:
        return Interrupted(f"{SOURCE}: the kernel did not answer in time: try again")
    if error.errno in {errno.ENOBUFS, errno.ENOMEM, errno.EINTR, errno.EBUSY}:
        return Interrupted(f"{SOURCE}: {error.strerror}: the answer is incomplete, try again")
    return NotAvailable(f"{SOURCE}: the kernel answered: {error.strerror or error}")

"""Netlink's messages, their attributes, and where each field of an entry is in its message.

Formats: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_conntrack.h (enum
ctattr_type and those nested in it). Integers in netlink's own headers are in the host's byte order,
netfilter's values are big-endian. An attribute of an entry that this module doesn't know is passed
over, whatever its kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from conntrack_common.errors import MalformedData
from conntrack_common.records import NamedTuple

SOURCE = "ctnetlink"
NFNL_SUBSYS_CTNETLINK = 1
NFNL_SUBSYS_CTNETLINK_EXP = 2
NFNL_SUBSYS_HOOK = 12

NLMSG_ERROR = 2
NLMSG_DONE = 3
ENDS = (NLMSG_ERROR, NLMSG_DONE)  # either ends an answer
NLM_F_DUMP_INTR = 0x010

NLA_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
GENERIC = struct.Struct("=BBH")  # struct nfgenmsg: family, version, res_id (big-endian)
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
BODY = HEADER.size + GENERIC.size

CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_PROTOINFO, CTA_HELP = 1, 2, 3, 4, 5
CTA_TIMEOUT, CTA_MARK, CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY, CTA_USE, CTA_ID = 7, 8, 9, 10, 11, 12
CTA_TUPLE_MASTER, CTA_ZONE, CTA_SECCTX, CTA_TIMESTAMP, CTA_LABELS = 14, 18, 19, 20, 22
CTA_TUPLE_IP, CTA_TUPLE_PROTO, CTA_TUPLE_ZONE = 1, 2, 3
CTA_PROTOINFO_TCP, CTA_PROTOINFO_DCCP, CTA_PROTOINFO_SCTP = 1, 2, 3

# What a tuple holds: path below CTA_TUPLE_ORIG or _REPLY, name, struct code.
_TUPLE = (
    ((CTA_TUPLE_IP, 1), "src", "4s"),  # CTA_IP_V4_SRC
    ((CTA_TUPLE_IP, 2), "dst", "4s"),
    ((CTA_TUPLE_IP, 3), "src", "16s"),  # CTA_IP_V6_SRC
    ((CTA_TUPLE_IP, 4), "dst", "16s"),
    ((CTA_TUPLE_PROTO, 1), "protocol", "B"),
    ((CTA_TUPLE_PROTO, 2), "sport", "H"),
    ((CTA_TUPLE_PROTO, 3), "dport", "H"),
    ((CTA_TUPLE_PROTO, 4), "icmp_id", "H"),
    ((CTA_TUPLE_PROTO, 5), "icmp_type", "B"),
    ((CTA_TUPLE_PROTO, 6), "icmp_code", "B"),
    ((CTA_TUPLE_PROTO, 7), "icmp_id", "H"),  # CTA_PROTO_ICMPV6_ID
    ((CTA_TUPLE_PROTO, 8), "icmp_type", "B"),
    ((CTA_TUPLE_PROTO, 9), "icmp_code", "B"),
    ((CTA_TUPLE_ZONE,), "zone", "H"),
)
_DIRECTIONS = ((CTA_TUPLE_ORIG, "orig"), (CTA_TUPLE_REPLY, "reply"), (CTA_TUPLE_MASTER, "master"))
_FIELDS: dict[tuple[int, ...], tuple[str, str]] = {
    (top, *path): (f"{direction}_{name}", code)
    for top, direction in _DIRECTIONS
    for path, name, code in _TUPLE
}
_FIELDS.update(
    {
        (CTA_STATUS,): ("status", "I"),
        (CTA_PROTOINFO, CTA_PROTOINFO_TCP, 1): ("tcp_state", "B"),
        (CTA_PROTOINFO, CTA_PROTOINFO_DCCP, 1): ("dccp_state", "B"),
        (CTA_PROTOINFO, CTA_PROTOINFO_SCTP, 1): ("sctp_state", "B"),
        (CTA_HELP, 1): ("helper", ""),
        (CTA_TIMEOUT,): ("timeout", "I"),
        (CTA_MARK,): ("mark", "I"),
        (CTA_COUNTERS_ORIG, 1): ("orig_packets", "Q"),
        (CTA_COUNTERS_ORIG, 2): ("orig_bytes", "Q"),
        (CTA_COUNTERS_REPLY, 1): ("reply_packets", "Q"),
        (CTA_COUNTERS_REPLY, 2): ("reply_bytes", "Q"),
        (CTA_USE,): ("use", "I"),
        (CTA_ID,): ("id", "I"),
        (CTA_ZONE,): ("zone", "H"),
        (CTA_SECCTX, 1): ("secctx", ""),
        (CTA_TIMESTAMP, 1): ("start", "Q"),  # nanoseconds since 1970
        (CTA_TIMESTAMP, 2): ("stop", "Q"),
        (CTA_LABELS,): ("labels", ""),
    }
)
NAMES = frozenset(name for name, _code in _FIELDS.values()) | {"family", "portid"}
# Attributes that hold attributes: all prefixes of the paths above.
_NESTS = {path[:depth] for path in _FIELDS for depth in range(1, len(path))}
PORTID_OFFSET = 12  # nlmsghdr's last field, in the host's byte order: who changed the table
FAMILY_OFFSET = 16  # nfgenmsg's first byte, behind nlmsghdr


class Message(NamedTuple):
    """One netfilter message: `resource` is nfgenmsg's res_id, `attributes` the bytes behind it."""

    family: int
    resource: int
    attributes: bytes


class Place(NamedTuple):
    """Where a field's value is in a message; code is its struct code, or empty for bytes."""

    offset: int
    size: int
    code: str


class Layout(NamedTuple):
    """A message's known fields by name, and the places of all values, known or not, in order."""

    fields: dict[str, Place]
    values: tuple[Place, ...]


def split_messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, flags and body of each message of a buffer; raises MalformedData."""
    offset = 0
    while offset < len(data):
        if offset + HEADER.size > len(data):
            raise MalformedData(SOURCE, f"offset {offset}", "a message header is cut short")
        length, kind, flags, _sequence, _port = HEADER.unpack_from(data, offset)
        yield kind, flags, message_at(data, offset, length)[HEADER.size :]
        offset += (length + 3) & ~3


def message_at(data: bytes, offset: int, length: int) -> bytes:
    """Return the message that begins there; raises MalformedData if it can't have this length."""
    if length < HEADER.size or offset + length > len(data):
        raise MalformedData(SOURCE, f"offset {offset}", f"a message says it has {length} bytes")
    return data[offset : offset + length]


def answer_end(data: bytes) -> int | None:
    """Return where the message begins that ends an answer; None if there is more to receive.

    Only going from message to message shows it: entries could have the same bytes.
    """
    offset = 0
    for kind, _flags, body in split_messages(data):
        if kind in ENDS:
            return offset
        offset += HEADER.size + (len(body) + 3 & ~3)
    return None


def message(body: bytes) -> Message:
    """Return a netfilter message from a netlink message's body; raises MalformedData."""
    if len(body) < GENERIC.size:
        raise MalformedData(SOURCE, "nfgenmsg", f"only {len(body)} bytes")
    family, _version, resource = struct.unpack_from(">BBH", body)
    return Message(family, resource, body[GENERIC.size :])


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type (without flags) and payload of each attribute; raises MalformedData."""
    for kind, start, stop in _attributes(data, 0, len(data)):
        yield kind, data[start:stop]


def _attributes(data: bytes, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield type (without flags) of each attribute, and where its payload begins and ends."""
    while offset < end:
        if offset + ATTRIBUTE.size > end:
            raise MalformedData(SOURCE, f"offset {offset}", "an attribute's header is cut short")
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        kind &= NLA_TYPE_MASK
        if length < ATTRIBUTE.size or offset + length > end:
            raise MalformedData(SOURCE, f"attribute {kind}", f"its length is said to be {length}")
        yield kind, offset + ATTRIBUTE.size, offset + length
        offset += (length + 3) & ~3


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    length = ATTRIBUTE.size + len(payload)
    return ATTRIBUTE.pack(length, kind) + payload + b"\0" * (-length % 4)


def layout(message: bytes) -> Layout:
    """Return the layout of one message, which begins with its nlmsghdr.

    Raises MalformedData if an attribute is cut short, or longer than what holds it.
    """
    if len(message) < BODY:
        raise MalformedData(SOURCE, "an entry", f"its message has only {len(message)} bytes")
    fields = {"portid": Place(PORTID_OFFSET, 4, "4s"), "family": Place(FAMILY_OFFSET, 1, "B")}
    values: list[Place] = []
    for path, place in _leaves(message, BODY, len(message), ()):
        name, code = _FIELDS.get(path, ("", ""))
        if code and struct.calcsize(f">{code}") != place.size:
            raise MalformedData(SOURCE, f"attribute {path}", f"{place.size} bytes")
        values.append(place._replace(code=code))
        if name:
            fields[name] = values[-1]
    return Layout(fields, tuple(values))


def _leaves(
    message: bytes, offset: int, end: int, nest: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], Place]]:
    """Yield the path and the place of each attribute that holds no others."""
    for kind, start, stop in _attributes(message, offset, end):
        path = (*nest, kind)
        if path in _NESTS:
            yield from _leaves(message, start, stop, path)
        else:
            yield path, Place(start, stop - start, "")


def decode(message: bytes, fields: dict[str, Place], names: Iterable[str]) -> dict[str, object]:
    """Return the values of some fields: integers, or bytes; a field that is absent is left out."""
    found: dict[str, object] = {}
    for name in names:
        place = fields.get(name)
        if place is None:
            continue
        if place.code and "s" not in place.code:
            found[name] = struct.unpack_from(f">{place.code}", message, place.offset)[0]
        else:
            found[name] = message[place.offset : place.offset + place.size]
    return found

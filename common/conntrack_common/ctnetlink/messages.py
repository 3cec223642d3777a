"""Where each field of an entry stands in its ctnetlink message, and what it is worth.

Format: linux/netfilter/nfnetlink_conntrack.h (enum ctattr_type and those nested in it). Values are
big-endian. An attribute that this module doesn't know is passed over, whatever its kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from conntrack_common.ctnetlink.socket import ATTRIBUTE, BODY, NLA_TYPE_MASK, SOURCE
from conntrack_common.errors import MalformedData
from conntrack_common.records import NamedTuple

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


class Place(NamedTuple):
    """Where a field's value stands in a message; code is its struct code, or empty for bytes."""

    offset: int
    size: int
    code: str


class Layout(NamedTuple):
    """A message's known fields by name, and the places of all values, known or not, in order."""

    fields: dict[str, Place]
    values: tuple[Place, ...]


def layout(message: bytes) -> Layout:
    """Return the layout of one message, which begins with its nlmsghdr.

    Raises MalformedData if an attribute is cut short, or longer than what holds it.
    """
    if len(message) < BODY:
        raise MalformedData(SOURCE, "an entry", f"its message has only {len(message)} bytes")
    fields = {"portid": Place(PORTID_OFFSET, 4, "4s"), "family": Place(FAMILY_OFFSET, 1, "B")}
    values: list[Place] = []
    _walk(message, BODY, len(message), (), fields, values)
    return Layout(fields, tuple(values))


def _walk(
    message: bytes,
    offset: int,
    end: int,
    path: tuple[int, ...],
    fields: dict[str, Place],
    values: list[Place],
) -> None:
    while offset < end:
        if offset + ATTRIBUTE.size > end:
            raise MalformedData(SOURCE, f"attribute in {path}", "its header is cut short")
        length, kind = ATTRIBUTE.unpack_from(message, offset)
        where = (*path, kind & NLA_TYPE_MASK)
        stop = offset + length
        if length < ATTRIBUTE.size or stop > end:
            raise MalformedData(SOURCE, f"attribute {where}", f"its length is said to be {length}")
        if where in _NESTS:
            _walk(message, offset + ATTRIBUTE.size, stop, where, fields, values)
        else:
            name, code = _FIELDS.get(where, ("", ""))
            place = Place(offset + ATTRIBUTE.size, length - ATTRIBUTE.size, code)
            values.append(place)
            if name:
                if code and struct.calcsize(f">{code}") != place.size:
                    raise MalformedData(SOURCE, f"attribute {where}", f"{place.size} bytes")
                fields[name] = place
        offset = stop + (-length % 4)


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

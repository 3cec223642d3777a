"""What the kernel can be asked to leave out of a dump of the table.

Format: linux/netfilter/nfnetlink_conntrack.h. Meaning: ctnetlink_alloc_filter and
ctnetlink_filter_match in net/netfilter/nf_conntrack_netlink.c.

A kernel passes over conditions that are newer than it, or refuses the request, and sends more than
is meant: the reader tests each entry once more. What it drops, nobody gets back. So a condition
that some kernel got wrong is never sent, whatever kernel this one is: corrections reach stable
kernels one by one, and a version does not show which it has.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from conntrack_common.ctnetlink.messages import (
    CTA_MARK,
    CTA_STATUS,
    CTA_TUPLE_IP,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_PROTO,
    CTA_ZONE,
    attribute,
)
from conntrack_common.records import NamedTuple

NLA_F_NESTED = 0x8000
CTA_MARK_MASK, CTA_FILTER, CTA_STATUS_MASK = 21, 25, 26
CTA_FILTER_ORIG_FLAGS = 1
CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST = 1, 2, 3, 4
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
# Bits of CTA_FILTER_ORIG_FLAGS (net/netfilter/nf_internals.h); they alone are in host's byte order.
F_IP_SRC, F_IP_DST, F_PROTO_NUM, F_SRC_PORT, F_DST_PORT = 1 << 0, 1 << 1, 1 << 3, 1 << 4, 1 << 5
ALL_BITS = 0xFFFFFFFF
TCP, UDP = 6, 17  # ports of no other protocol are compared


class Condition(NamedTuple):
    """One condition on entries: how it is said, since which Linux, and where that is wrong.

    `attributes` are names of nfnetlink_conntrack.h. A condition with `wrong` is not sent.
    """

    attributes: str
    since: str
    wrong: str = ""


CONDITIONS = {
    "family": Condition("nfgen_family", "2.6"),
    "status": Condition("CTA_STATUS, CTA_STATUS_MASK", "5.15"),
    "mark": Condition("CTA_MARK, CTA_MARK_MASK of all bits", "3.4"),
    "masked mark": Condition(
        "CTA_MARK, CTA_MARK_MASK", "3.4", "5.8 to 5.8.12 compare the mark without the mask, too"
    ),
    "zone": Condition("CTA_ZONE", "6.8"),
    "zone 0": Condition("CTA_ZONE of 0", "6.8", "drops entries with a zone of one direction"),
    "IPv4 address": Condition("CTA_FILTER: IP_SRC, IP_DST", "5.8"),
    "IPv6 address": Condition(
        "CTA_FILTER: IP_SRC, IP_DST",
        "5.8",
        "sends all others instead (5.8 on; right in 6.12.117, wrong in 6.18.44)",
    ),
    "protocol": Condition("CTA_FILTER: PROTO_NUM", "5.8"),
    "port of TCP or UDP": Condition("CTA_FILTER: PROTO_SRC_PORT, PROTO_DST_PORT", "5.8"),
    "reply": Condition("CTA_FILTER_REPLY_FLAGS", "5.8", "5.8 reads it by the other flags"),
}

ADDRESSES = {
    int(socket.AF_INET): ("IPv4 address", CTA_IP_V4_SRC, CTA_IP_V4_DST),
    int(socket.AF_INET6): ("IPv6 address", CTA_IP_V6_SRC, CTA_IP_V6_DST),
}


class Wanted(NamedTuple):
    """Conditions on the entries of a dump; what is None is left open.

    `status` are flags that must be set and flags that must not be; `mark` is a value and its mask;
    `zone` is that of one direction or of both; `src` and `dst` are whole addresses of the original
    direction, 4 or 16 bytes long.
    """

    status: tuple[int, int] = (0, 0)
    mark: tuple[int, int] | None = None
    zone: int | None = None
    src: bytes | None = None
    dst: bytes | None = None
    protocol: int | None = None
    sport: int | None = None
    dport: int | None = None

    def attributes(self, family: int) -> bytes:
        """Return what is sent of these conditions with a request for one family's entries."""
        sent = b"".join(each for condition, each in self._plain() if _is_sent(condition))
        return sent + self._tuple(family) if family else sent

    def needs_family(self) -> bool:
        """Return True if kernels take these for one family only (ctnetlink_parse_tuple_filter)."""
        return any(map(self._tuple, ADDRESSES))

    def _plain(self) -> Iterator[tuple[str, bytes]]:
        """Yield conditions that have attributes of their own."""
        required, forbidden = self.status
        if required or forbidden:
            yield "status", _value(CTA_STATUS, required, CTA_STATUS_MASK, required | forbidden)
        if self.mark is not None:
            value, mask = self.mark
            name = "mark" if mask == ALL_BITS else "masked mark"
            yield name, _value(CTA_MARK, value, CTA_MARK_MASK, mask)
        if self.zone is not None:
            yield "zone" if self.zone else "zone 0", _short(CTA_ZONE, self.zone)

    def _tuple(self, family: int) -> bytes:
        """Return CTA_FILTER and the tuple that it speaks of, or nothing."""
        parts = [part for part in self._parts(family) if _is_sent(part.condition)]
        if not parts:
            return b""
        addresses, protocol = (
            b"".join(part.attribute for part in parts if part.nest == nest)
            for nest in (CTA_TUPLE_IP, CTA_TUPLE_PROTO)
        )
        limits = struct.pack("=I", sum(part.flag for part in parts))
        return _nest(
            CTA_TUPLE_ORIG, _nest(CTA_TUPLE_IP, addresses) + _nest(CTA_TUPLE_PROTO, protocol)
        ) + _nest(CTA_FILTER, attribute(CTA_FILTER_ORIG_FLAGS, limits))

    def _parts(self, family: int) -> Iterator[_Part]:
        condition, src, dst = ADDRESSES[family]
        if self.src is not None:
            yield _Part(condition, F_IP_SRC, CTA_TUPLE_IP, attribute(src, self.src))
        if self.dst is not None:
            yield _Part(condition, F_IP_DST, CTA_TUPLE_IP, attribute(dst, self.dst))
        if self.protocol is None:
            return
        number = attribute(CTA_PROTO_NUM, bytes([self.protocol]))
        yield _Part("protocol", F_PROTO_NUM, CTA_TUPLE_PROTO, number)
        for flag, kind, port in (
            (F_SRC_PORT, CTA_PROTO_SRC_PORT, self.sport),
            (F_DST_PORT, CTA_PROTO_DST_PORT, self.dport),
        ):
            if port is not None and self.protocol in {TCP, UDP}:
                yield _Part("port of TCP or UDP", flag, CTA_TUPLE_PROTO, _short(kind, port))


class _Part(NamedTuple):
    """A condition on the tuple: its name, its flag, and the nest that its attribute belongs in."""

    condition: str
    flag: int
    nest: int
    attribute: bytes


def _is_sent(condition: str) -> bool:
    return not CONDITIONS[condition].wrong


def _value(kind: int, value: int, mask_kind: int, mask: int) -> bytes:
    return attribute(kind, struct.pack(">I", value)) + attribute(mask_kind, struct.pack(">I", mask))


def _short(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">H", value))


def _nest(kind: int, payload: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, payload) if payload else b""

"""conntrack(8)'s filters: parsed once, and split into what the kernel filters and the rest.

Meaning: conntrack(8), "FILTER PARAMETERS". Unlike there, both address families are meant unless
one is named. What the kernel filters is filtered here once more, because older kernels ignore a
filter that they don't know: they give the same answer, slower.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping

from conntrack_common.record import NamedTuple
from conntrack_common.sources.dump import ALL, Request
from conntrack_common.sources.layout import (
    CTA_MARK,
    CTA_STATUS,
    CTA_TUPLE_IP,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_PROTO,
    CTA_ZONE,
)
from conntrack_common.sources.netlink import attribute
from conntrack_common.terms import (
    STATES,
    STATUS_FLAGS,
    state_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANY_FAMILY = 0  # AF_UNSPEC
NLA_F_NESTED = 0x8000
CTA_MARK_MASK, CTA_FILTER, CTA_STATUS_MASK = 21, 25, 26
CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS = 1, 2
# Bits of those flags (ctnetlink_filter in nf_conntrack_netlink.c, since Linux 5.8).
F_IP_SRC, F_IP_DST, F_PROTO_NUM, F_SRC_PORT, F_DST_PORT = 1 << 0, 1 << 1, 1 << 3, 1 << 4, 1 << 5
PORT_PROTOCOLS = (6, 17, 33, 132, 136)
SRC_NAT, DST_NAT = STATUS_FLAGS["SRC_NAT"], STATUS_FLAGS["DST_NAT"]


class Prefix(NamedTuple):
    """An address, or all those that begin alike; `address` holds 4 or 16 bytes."""

    family: int
    address: bytes
    length: int

    @property
    def is_one(self) -> bool:
        """True for a single address."""
        return self.length == len(self.address) * 8

    def matcher(self) -> Callable[[object], bool]:
        """Return what tells whether an address (4 or 16 bytes, or None) begins so."""
        size, shift = len(self.address), len(self.address) * 8 - self.length
        wanted = int.from_bytes(self.address, "big") >> shift

        def matches(address: object) -> bool:
            return (
                isinstance(address, bytes)
                and len(address) == size
                and int.from_bytes(address, "big") >> shift == wanted
            )

        return matches


class Filter(NamedTuple):
    """Which entries are meant; what is None is left open.

    `status` are flags that must be set and flags that must not be; `mark` is value and mask;
    `nat` are status flags of which one must be set, with the address that it must have become.
    """

    family: int | None = None
    protocol: int | None = None
    state: str | None = None
    orig_src: Prefix | None = None
    orig_dst: Prefix | None = None
    reply_src: Prefix | None = None
    reply_dst: Prefix | None = None
    orig_sport: int | None = None
    orig_dport: int | None = None
    reply_sport: int | None = None
    reply_dport: int | None = None
    status: tuple[int, int] = (0, 0)
    mark: tuple[int, int] | None = None
    zone: int | None = None
    nat: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        """The fields with few values that `accepts` looks at."""
        needed = {
            "family": self.family is not None,
            "orig_protocol": self.protocol is not None,
            "status": self.status != (0, 0) or bool(self.nat),
        }
        names = [name for name, is_needed in needed.items() if is_needed]
        names += STATES if self.state is not None else ()
        names += ZONES if self.zone is not None else ()
        return tuple(names)

    def accepts(self, fields: Mapping[str, Any]) -> bool:
        """Tell whether entries whose `key` fields have these values are meant."""
        required, forbidden = self.status
        status = fields.get("status", 0)
        return (
            (self.family is None or fields.get("family") == self.family)
            and (self.protocol is None or fields.get("orig_protocol") == self.protocol)
            and (self.state is None or state_name(fields) == self.state)
            and status & required == required
            and not status & forbidden
            and (not self.nat or bool(status & self.nat))
            and (self.zone is None or zone_of(fields) == self.zone)
        )

    @property
    def tested(self) -> tuple[str, ...]:
        """The fields with many values that `test` looks at, in its order."""
        return tuple(name for name in MANY_VALUES if getattr(self, name) is not None)

    @property
    def test(self) -> Callable[[tuple[Any, ...]], bool] | None:
        """What tells whether an entry whose `tested` fields have these values is meant."""
        matchers = [_matcher(name, getattr(self, name)) for name in self.tested]
        if not matchers:
            return None
        return lambda values: all(map(_apply, matchers, values))

    def requests(self) -> tuple[Request, ...]:
        """Return the dumps to ask for, filtered as far as the kernel can."""
        families = self._families()
        if len(families) > 1 and not self._tuple_filter(families[0]):
            families = (ANY_FAMILY,)  # one by tuple needs a family (ctnetlink_alloc_filter)
        return tuple(Request(family, self._attributes(family)) for family in families)

    def plain_requests(self) -> tuple[Request, ...]:
        """Return the dumps to ask a kernel for that refuses a filter."""
        families = self._families()
        return tuple(Request(family) for family in families) if len(families) < 2 else ALL

    def _families(self) -> tuple[int, ...]:
        prefixes = [getattr(self, name) for name in ADDRESSES if getattr(self, name) is not None]
        wanted = {prefix.family for prefix in prefixes}
        wanted |= {self.family} if self.family is not None else set()
        both = (int(socket.AF_INET), int(socket.AF_INET6))
        return tuple(family for family in both if wanted <= {family})

    def _attributes(self, family: int) -> bytes:
        made = b""
        required, forbidden = self.status
        if required or forbidden:
            made += _number(CTA_STATUS, required) + _number(CTA_STATUS_MASK, required | forbidden)
        if self.mark is not None:
            made += _number(CTA_MARK, self.mark[0]) + _number(CTA_MARK_MASK, self.mark[1])
        if self.zone:
            made += attribute(CTA_ZONE, struct.pack(">H", self.zone))
        return made + self._tuple_filter(family)

    def _tuple_filter(self, family: int) -> bytes:
        """Return CTA_FILTER and the tuple that it speaks of, or nothing."""
        flags, addresses, protocol = 0, b"", b""
        offset = 0 if family == socket.AF_INET else 2  # CTA_IP_V4_SRC is 1, CTA_IP_V6_SRC is 3
        for name, flag, number in (("orig_src", F_IP_SRC, 1), ("orig_dst", F_IP_DST, 2)):
            prefix: Prefix | None = getattr(self, name)
            if prefix is not None and prefix.is_one:
                flags |= flag
                addresses += attribute(number + offset, prefix.address)
        if self.protocol is not None:
            flags |= F_PROTO_NUM
            protocol += attribute(1, bytes([self.protocol]))
        if self.protocol in PORT_PROTOCOLS:
            for name, flag, number in (
                ("orig_sport", F_SRC_PORT, 2),
                ("orig_dport", F_DST_PORT, 3),
            ):
                port: int | None = getattr(self, name)
                if port is not None:
                    flags |= flag
                    protocol += attribute(number, struct.pack(">H", port))
        if not flags:
            return b""
        parts = _nest(CTA_TUPLE_IP, addresses) + _nest(CTA_TUPLE_PROTO, protocol)
        # These flags alone are in the host's byte order.
        limits = attribute(CTA_FILTER_ORIG_FLAGS, struct.pack("=I", flags))
        limits += attribute(CTA_FILTER_REPLY_FLAGS, struct.pack("=I", 0))
        return _nest(CTA_TUPLE_ORIG, parts) + _nest(CTA_FILTER, limits)


ADDRESSES = ("orig_src", "orig_dst", "reply_src", "reply_dst")
PORTS = ("orig_sport", "orig_dport", "reply_sport", "reply_dport")
MANY_VALUES = (*ADDRESSES, *PORTS, "mark")
ZONES = ("zone", "orig_zone", "reply_zone")


def zone_of(fields: Mapping[str, Any]) -> int:
    """Return an entry's zone, whichever direction it is for; 0 is the zone of all others."""
    return next((int(fields[name]) for name in ZONES if fields.get(name)), 0)


def _apply(matcher: Callable[[object], bool], value: object) -> bool:
    return matcher(value)


def _matcher(name: str, wanted: Any) -> Callable[[object], bool]:
    if name in ADDRESSES:
        return wanted.matcher()  # type: ignore[no-any-return]
    if name == "mark":
        value, mask = wanted
        return lambda mark: (int(mark) if isinstance(mark, int) else 0) & mask == value
    return lambda port: port == wanted


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))


def _nest(kind: int, payload: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, payload) if payload else b""

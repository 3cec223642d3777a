"""Expectations: connections that a helper (FTP, SIP …) has announced.

Format: linux/netfilter/nfnetlink_conntrack.h (enum ctattr_expect).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from conntrack_common.ctnetlink.entries import address, text
from conntrack_common.ctnetlink.messages import NFNL_SUBSYS_CTNETLINK_EXP, SOURCE, attributes
from conntrack_common.ctnetlink.socket import NetlinkSocket
from conntrack_common.errors import MalformedData
from conntrack_common.records import NamedTuple

IPCTNL_MSG_EXP_GET = 1
CTA_EXPECT_MASTER, CTA_EXPECT_TUPLE, CTA_EXPECT_TIMEOUT, CTA_EXPECT_HELP_NAME = 1, 2, 4, 6
CTA_EXPECT_ZONE = 7
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2


class Expectation(NamedTuple):
    """One expected connection, and the one that announced it (master); 0 as a port is any."""

    protocol: int
    src: str
    dst: str
    sport: int | None
    dport: int | None
    master_src: str
    master_dst: str
    master_sport: int | None
    master_dport: int | None
    timeout: int | None
    helper: str | None
    zone: int | None


class _Tuple(NamedTuple):
    protocol: int
    src: str
    dst: str
    sport: int | None
    dport: int | None


def expectations() -> Iterator[Expectation]:
    """Yield the expectations of this namespace, as `conntrack -L expect` lists them.

    Raises NotPermitted, NotAvailable, Interrupted, MalformedData.
    """
    with NetlinkSocket() as netlink:
        for message in netlink.dump(NFNL_SUBSYS_CTNETLINK_EXP, IPCTNL_MSG_EXP_GET):
            yield parse(message.attributes)


def parse(data: bytes) -> Expectation:
    """Return an expectation from its attributes; raises MalformedData."""
    found = dict(attributes(data))
    expected = _tuple(found.get(CTA_EXPECT_TUPLE, b""))
    master = _tuple(found.get(CTA_EXPECT_MASTER, b""))
    return Expectation(
        *expected,
        *master[1:],
        timeout=_number(found.get(CTA_EXPECT_TIMEOUT), ">I"),
        helper=text(found.get(CTA_EXPECT_HELP_NAME)),
        zone=_number(found.get(CTA_EXPECT_ZONE), ">H"),
    )


def _tuple(data: bytes) -> _Tuple:
    parts = dict(attributes(data))
    ends = dict(attributes(parts.get(CTA_TUPLE_IP, b"")))
    protocol = dict(attributes(parts.get(CTA_TUPLE_PROTO, b"")))
    return _Tuple(
        _number(protocol.get(1), ">B") or 0,
        _address(ends.get(1, ends.get(3))),
        _address(ends.get(2, ends.get(4))),
        _number(protocol.get(2), ">H"),
        _number(protocol.get(3), ">H"),
    )


def _address(packed: bytes | None) -> str:
    if packed is not None and len(packed) not in {4, 16}:
        raise MalformedData(SOURCE, "an expectation", f"an address of {len(packed)} bytes")
    return address(packed)


def _number(payload: bytes | None, code: str) -> int | None:
    if payload is None:
        return None
    if len(payload) != struct.calcsize(code):
        raise MalformedData(SOURCE, "an expectation", f"a number of {len(payload)} bytes")
    number: int = struct.unpack(code, payload)[0]
    return number

"""No kernel drops an entry that is meant, however wrong its part of the filter is.

Each kernel is what its source says, faults included: ctnetlink_filter_match in
net/netfilter/nf_conntrack_netlink.c.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conntrack_common.ctnetlink import kernel_filter
from conntrack_common.ctnetlink.messages import attributes
from conntrack_common.filters.filter import Filter
from conntrack_common.filters.options import build

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
STATUS, MARK, ZONE, MARK_MASK, FILTER, STATUS_MASK = 3, 8, 18, 21, 25, 26
ALL = 0xFFFFFFFF


class Kernel(NamedTuple):
    """What a kernel filters by; `faults` are its own."""

    mark: bool = True
    tuple: bool = True
    status: bool = True
    zone: bool = True
    faults: frozenset[str] = frozenset()


KERNELS = {
    "3.2": Kernel(mark=False, tuple=False, status=False, zone=False),
    "5.4": Kernel(tuple=False, status=False, zone=False),
    "5.8.0": Kernel(status=False, zone=False, faults=frozenset({"mark", "IPv6"})),
    "5.10": Kernel(status=False, zone=False, faults=frozenset({"IPv6"})),
    "6.1": Kernel(zone=False, faults=frozenset({"IPv6"})),
    "6.12.117": Kernel(),
    "6.18.44": Kernel(faults=frozenset({"IPv6"})),
}


def number(sent: Mapping[int, bytes], kind: int, otherwise: int = 0) -> int:
    return int.from_bytes(sent[kind], "big") if kind in sent else otherwise


def sends(kernel: Kernel, request: tuple[int, bytes], entry: Mapping[str, Any]) -> bool:
    """Tell whether a kernel answers a dump request with an entry."""
    family, encoded = request
    sent = dict(attributes(encoded))
    if family not in {0, entry["family"]}:
        return False
    if kernel.mark and MARK in sent:
        mask = number(sent, MARK_MASK, ALL)
        masked = mask if "mark" not in kernel.faults else ALL
        if int(entry["mark"]) & masked != number(sent, MARK):
            return False
    mask = number(sent, STATUS_MASK)
    if kernel.status and int(entry["status"]) & mask != number(sent, STATUS):
        return False
    zones = (entry["zone"], entry["orig_zone"], entry["reply_zone"])
    zone = next((each for each in zones if each), 0)  # one a connection, for one direction or both
    if kernel.zone and ZONE in sent and zone != number(sent, ZONE):
        return False
    return not kernel.tuple or FILTER not in sent or sends_tuple(kernel, family, sent, entry)


def sends_tuple(
    kernel: Kernel, family: int, sent: Mapping[int, bytes], entry: Mapping[str, Any]
) -> bool:
    flags = int.from_bytes(dict(attributes(sent[FILTER]))[1], "little")
    nests = dict(attributes(sent[1]))
    address, protocol = (dict(attributes(nests.get(kind, b""))) for kind in (1, 2))
    offset = 0 if family == V4 else 2
    is_inverted = family == V6 and "IPv6" in kernel.faults
    for bit, kind, field in ((1, 1, "orig_src"), (2, 2, "orig_dst")):
        if flags & bit and (address[kind + offset] != entry[field]) != is_inverted:
            return False
    if flags & 8 and number(protocol, 1) != entry["orig_protocol"]:
        return False
    if entry["orig_protocol"] in {6, 17}:
        for bit, kind, field in ((16, 2, "orig_sport"), (32, 3, "orig_dport")):
            if flags & bit and number(protocol, kind) != entry[field]:
                return False
    return True


def is_meant(filter_: Filter, entry: Mapping[str, Any]) -> bool:
    few = {name: entry[name] for name in filter_.key}
    test = filter_.test
    accepted = filter_.accepts(few)
    return accepted and (test is None or test(tuple(entry[name] for name in filter_.tested)))


PORTS = ("orig_sport", "orig_dport", "reply_sport", "reply_dport")
ADDRESSES = {V4: ("10.0.0.1", "10.0.0.2"), V6: ("2001:db8::1", "2001:db8::2")}
PREFIXES = {V4: ("10.0.0.0/24",), V6: ("2001:db8::/64",)}
WORDS = {
    "proto": ["6", "17", "132"],
    "orig_sport": ["1", "2"],
    "orig_dport": ["1", "2"],
    "status": ["ASSURED", "UNREPLIED", "SEEN_REPLY,!ASSURED"],
    "mark": ["1", "1/1", "0/1", "0", "2/3"],
    "zone": ["0", "1", "2"],
    "orig_zone": ["0", "1"],
    "reply_zone": ["0", "1"],
    "src_nat": [""],
    "dst_nat": [""],
    "family": ["ipv4", "ipv6"],
}


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    family = draw(st.sampled_from([V4, V6]))
    small = st.integers(1, 2)
    entry: dict[str, Any] = {
        "family": family,
        "orig_protocol": draw(st.sampled_from([6, 17, 132])),
        "status": draw(st.sampled_from([0, 2, 6, 1 << 7, 2 | 1 << 8])),
        "mark": draw(st.integers(0, 3)),
        **{name: draw(small) for name in PORTS},
        **dict.fromkeys(("orig_icmp_id", "reply_icmp_id"), None),
        **dict.fromkeys(("zone", "orig_zone", "reply_zone"), 0),
    }
    entry[draw(st.sampled_from(["zone", "orig_zone", "reply_zone"]))] = draw(st.integers(0, 2))
    for name in ("orig_src", "orig_dst", "reply_src", "reply_dst"):
        text = draw(st.sampled_from(ADDRESSES[family]))
        entry[name] = socket.inet_pton(socket.AddressFamily(family), text)
    return entry


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    names = draw(st.lists(st.sampled_from(sorted(WORDS)), max_size=3, unique=True))
    words = {name: draw(st.sampled_from(WORDS[name])) for name in names}
    families = [V4 if words["family"] == "ipv4" else V6] if "family" in words else [V4, V6]
    family = draw(st.sampled_from(families))
    for name in draw(st.sets(st.sampled_from(["orig_src", "orig_dst", "reply_src"]))):
        words[name] = draw(st.sampled_from([*ADDRESSES[family], *PREFIXES[family]]))
    return build(words)


@given(filters(), st.lists(entries(), min_size=1, max_size=20))
def test_no_kernel_drops_what_is_meant(filter_: Filter, table: list[dict[str, Any]]) -> None:
    requests = [(request.family, request.attributes) for request in filter_.requests()]
    for entry in table:
        if is_meant(filter_, entry):
            for name, kernel in KERNELS.items():
                times = sum(sends(kernel, request, entry) for request in requests)
                assert times == 1, f"Linux {name} sends {entry} {times} times"


WRONG = {
    "masked mark": {"mark": "1/1"},
    "zone 0": {"zone": "0"},
    "IPv6 address": {"orig_src": "2001:db8::1"},
}


def test_what_is_wrong_anywhere_is_known_here() -> None:
    wrong = {name for name, each in kernel_filter.CONDITIONS.items() if each.wrong}
    assert wrong == WRONG.keys() | {"reply"}  # of which nothing is in a filter


@pytest.mark.parametrize(("name", "words"), WRONG.items())
def test_what_is_wrong_would_be_seen_if_it_were_sent(
    name: str, words: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = kernel_filter.CONDITIONS[name]._replace(wrong="")
    monkeypatch.setitem(kernel_filter.CONDITIONS, name, right)
    with pytest.raises(AssertionError, match="Linux"):
        test_no_kernel_drops_what_is_meant.hypothesis.inner_test(  # type: ignore[attr-defined]
            build(words),
            [
                {
                    "family": V6,
                    "orig_protocol": 6,
                    "status": 0,
                    "mark": 3,
                    "zone": 0,
                    "orig_zone": 2,
                    "reply_zone": 0,
                    "orig_src": socket.inet_pton(V6, "2001:db8::1"),
                }
            ],
        )


def test_the_kernel_filters_what_it_can() -> None:
    words = {"proto": "udp", "orig_dport": "53", "orig_src": "10.0.0.1", "orig_dst": "10.0.0.0/8"}
    (request,) = build({**words, "status": "ASSURED", "mark": "5", "zone": "3"}).requests()
    sent = dict(attributes(request.attributes))
    numbers = {kind: int.from_bytes(sent[kind], "big") for kind in (3, 26, 8, 21, 18)}
    assert numbers == {3: 4, 26: 4, 8: 5, 21: ALL, 18: 3}
    nests = dict(attributes(sent[1]))
    assert dict(attributes(nests[1])) == {1: b"\x0a\0\0\1"}  # the prefix is left to the reader
    assert dict(attributes(nests[2])) == {1: b"\x11", 3: b"\0\x35"}
    flags = int.from_bytes(dict(attributes(sent[25]))[1], "little")
    assert flags == 1 << 0 | 1 << 3 | 1 << 5


def test_nothing_is_asked_of_the_kernel_without_a_filter() -> None:
    assert [request.attributes for request in Filter().requests()] == [b""]
    assert [request.attributes for request in build({"proto": "6"}).plain_requests()] == [b""]

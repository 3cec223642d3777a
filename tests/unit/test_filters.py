"""conntrack(8)'s filter options: what they mean, and what the kernel is asked for."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conntrack_common.errors import InvalidRequest
from conntrack_common.filter_options import OPTIONS, build
from conntrack_common.filters import Filter, Prefix
from conntrack_common.sources.dump import ALL, Request
from conntrack_common.sources.netlink import attributes

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)


def addresses(*texts: str) -> list[bytes]:
    return [
        socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text) for text in texts
    ]


def test_each_option_has_a_meaning_and_a_spelling_of_its_own() -> None:
    flags = [flag for option in OPTIONS for flag in option.flags]
    assert len(flags) == len(set(flags))
    texts = {"IP[/N]": "10.0.0.1", "PORT": "22", "IP": "", "": "", "PROTO": "6", "ZONE": "1"}
    texts |= {"STATE": "CLOSE", "ipv4|ipv6": "ipv4", "MARK[/MASK]": "1", "FLAG,…": "ASSURED"}
    for option in OPTIONS:
        assert build({option.name: texts[option.metavar]}) != Filter()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"proto": "tcp"}, Filter(protocol=6)),
        ({"proto": "ICMPv6"}, Filter(protocol=58)),
        ({"proto": "47"}, Filter(protocol=47)),
        ({"state": "time_wait"}, Filter(state="TIME_WAIT")),
        ({"orig_dport": "https"}, Filter(orig_dport=443)),
        ({"status": "UNREPLIED"}, Filter(status=(0, 2))),
        ({"status": "assured,SEEN_REPLY"}, Filter(status=(6, 0))),
        ({"mark": "0x10/0xff"}, Filter(mark=(16, 255))),
        ({"mark": "7"}, Filter(mark=(7, 0xFFFFFFFF))),
        ({"zone": "0"}, Filter(zone=0)),
        ({"family": "ipv6"}, Filter(family=V6)),
        ({"src_nat": ""}, Filter(nat=16)),
        ({"any_nat": ""}, Filter(nat=48)),
        (
            {"dst_nat": "10.1.1.1"},
            Filter(nat=32, reply_src=Prefix(V4, b"\x0a\x01\x01\x01", 32)),
        ),
        ({"orig_src": "10.0.0.0/8"}, Filter(orig_src=Prefix(V4, b"\x0a\0\0\0", 8))),
        ({"orig_src": "10.0.0.0/255.0.0.0"}, Filter(orig_src=Prefix(V4, b"\x0a\0\0\0", 8))),
        ({"orig_dst": "2001:db8::/32"}, Filter(orig_dst=Prefix(V6, *addresses("2001:db8::"), 32))),
    ],
)
def test_words_become_a_filter(words: dict[str, str], expected: Filter) -> None:
    assert expected == build(words)


@pytest.mark.parametrize(
    "words",
    [
        {"proto": "nosuch"},
        {"proto": "256"},
        {"proto": "²"},
        {"state": "ASLEEP"},
        {"orig_src": "10.0.0"},
        {"orig_src": "10.0.0.0/33"},
        {"orig_src": "10.0.0.0/-1"},
        {"orig_src": "10.0.0.0/255.0.255.0"},
        {"orig_src": "::/129"},
        {"orig_sport": "65536"},
        {"orig_sport": "nosuchservice"},
        {"mark": "x"},
        {"mark": "1/"},
        {"mark": "-1"},
        {"mark": "0x100000000"},
        {"status": "HAPPY"},
        {"status": ""},
        {"zone": "-1"},
        {"zone": "65536"},
        {"family": "inet"},
        {"any_nat": "10.0.0.1"},
        {"family": "ipv4", "orig_src": "::1"},
        {"orig_src": "::1", "orig_dst": "10.0.0.1"},
    ],
)
def test_what_can_not_be_meant_is_refused(words: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        build(words)


@given(st.dictionaries(st.sampled_from([option.name for option in OPTIONS]), st.text(max_size=20)))
def test_arbitrary_words_never_end_in_another_error(words: dict[str, str]) -> None:
    try:
        build(words)
    except InvalidRequest:
        return


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_prefixes_match_as_ipaddress_says(network: object, length: int, host: object) -> None:
    import ipaddress

    wide = ipaddress.ip_network(f"{network}/{length}", strict=False)
    matches = build({"orig_src": f"{network}/{length}"}).orig_src.matcher()  # type: ignore[union-attr]
    assert (host in wide) == matches(*addresses(str(host)))
    assert not matches(None)
    assert not matches(*addresses("::1"))


@pytest.mark.parametrize(
    ("filter_", "fields", "accepted"),
    [
        (Filter(protocol=6), {"orig_protocol": 6}, True),
        (Filter(protocol=6), {"orig_protocol": 17}, False),
        (Filter(state="CLOSE"), {"tcp_state": 8}, True),
        (Filter(state="CLOSE"), {}, False),
        (Filter(state="ESTABLISHED"), {"sctp_state": 4}, True),
        (Filter(status=(4, 0)), {"status": 14}, True),
        (Filter(status=(4, 0)), {"status": 8}, False),
        (Filter(status=(0, 2)), {"status": 8}, True),
        (Filter(status=(0, 2)), {"status": 10}, False),
        (Filter(zone=7), {"zone": 7}, True),
        (Filter(zone=7), {"orig_zone": 7}, True),
        (Filter(zone=0), {}, True),
        (Filter(zone=0), {"zone": 7}, False),
        (Filter(nat=16), {"status": 16}, True),
        (Filter(nat=48), {"status": 32}, True),
        (Filter(nat=16), {"status": 32}, False),
        (Filter(family=V4), {"family": 2}, True),
        (Filter(family=V4), {"family": 10}, False),
    ],
)
def test_few_values_are_accepted(filter_: Filter, fields: dict[str, int], accepted: bool) -> None:
    assert accepted == filter_.accepts(fields)
    assert set(fields) - {"orig_zone"} <= set(filter_.key) | {"orig_zone"}


def test_many_values_are_tested_in_their_order() -> None:
    filter_ = build({"orig_src": "10.0.0.0/8", "orig_dport": "443", "mark": "1/1"})
    assert filter_.tested == ("orig_src", "orig_dport", "mark")
    test = filter_.test
    assert test is not None
    (inside, outside) = addresses("10.9.9.9", "11.0.0.1")
    assert test((inside, 443, 3))
    assert not test((inside, 443, None))  # no mark attribute: the mark is 0
    assert not test((inside, None, 1))
    assert not test((outside, 443, 1))
    assert Filter().test is None


def test_the_kernel_is_asked_for_one_family_where_one_is_meant() -> None:
    assert [request.family for request in Filter().requests()] == [0]
    assert [request.family for request in build({"status": "ASSURED"}).requests()] == [0]
    assert [request.family for request in build({"proto": "udp"}).requests()] == [V4, V6]
    assert [request.family for request in build({"orig_src": "::1"}).requests()] == [V6]
    assert [request.family for request in build({"family": "ipv4"}).requests()] == [V4]


def test_the_kernel_filters_what_it_can() -> None:
    words = {"proto": "udp", "orig_dport": "53", "orig_src": "10.0.0.1", "orig_dst": "10.0.0.0/8"}
    (request,) = build({**words, "status": "ASSURED", "mark": "5/7", "zone": "3"}).requests()
    sent = dict(attributes(request.attributes))
    numbers = {kind: int.from_bytes(sent[kind], "big") for kind in (3, 26, 8, 21, 18)}
    assert numbers == {3: 4, 26: 4, 8: 5, 21: 7, 18: 3}
    tuple_ = dict(attributes(sent[1]))
    assert dict(attributes(tuple_[1])) == {1: b"\x0a\0\0\1"}  # the prefix is left to the reader
    assert dict(attributes(tuple_[2])) == {1: b"\x11", 3: b"\0\x35"}
    flags = int.from_bytes(dict(attributes(sent[25]))[1], "little")
    assert flags == 1 << 0 | 1 << 3 | 1 << 5


def test_nothing_is_asked_of_the_kernel_without_a_filter() -> None:
    assert Filter().requests() == ALL
    assert build({"proto": "6"}).plain_requests() == ALL
    assert build({"proto": "6", "family": "ipv6"}).plain_requests() == (Request(V6),)

"""conntrack(8)'s filter options: what they mean, word by word."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conntrack_common.ctnetlink.dump import ALL
from conntrack_common.errors import InvalidRequest
from conntrack_common.filters.conditions import Nat, Network
from conntrack_common.filters.filter import Filter
from conntrack_common.filters.options import OPTIONS, build
from conntrack_common.host import connlabels

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
ONE4, ONE6 = b"\xff" * 4, b"\xff" * 16


def packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def network(text: str, mask: str = "255.255.255.255") -> Network:
    return Network(packed(text), packed(mask))


def test_each_option_has_a_meaning_and_a_spelling_of_its_own() -> None:
    flags = [flag for option in OPTIONS for flag in option.flags]
    assert len(flags) == len(set(flags))
    texts = {"IP[/N]": "10.0.0.1", "PORT": "22", "IP[:PORT]": "", "PROTO": "6", "ZONE": "1"}
    texts |= {"STATE": "CLOSE", "ipv4|ipv6": "ipv4", "MARK[/MASK]": "1", "FLAG,…": "ASSURED"}
    texts |= {"NUMBER": "8", "KEY": "0x8", "LABEL,…": "1", "CONTEXT": "0", "MASK": "255.0.0.0"}
    for option in OPTIONS:
        also = {"orig_src": "10.0.0.1", "orig_dst": "10.0.0.1"} if "mask" in option.name else {}
        assert build({**also, option.name: texts[option.metavar]}) != build(also)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"proto": "tcp"}, Filter(protocol=6)),
        ({"proto": "ICMPv6"}, Filter(protocol=58)),
        ({"proto": "47"}, Filter(protocol=47)),
        ({"proto": "0x11"}, Filter(protocol=17)),
        ({"proto": "021"}, Filter(protocol=17)),
        ({"proto": "ospf"}, Filter(protocol=89)),
        ({"state": "time_wait"}, Filter(state="TIME_WAIT")),
        ({"state": "LISTEN"}, Filter(state="SYN_SENT2")),
        ({"orig_dport": "https"}, Filter(orig_dport=443)),
        ({"orig_dport": "0080"}, Filter(orig_dport=80)),
        ({"icmp_type": "8"}, Filter(protocol=1, icmp_type=8)),
        ({"icmp_code": "0"}, Filter(protocol=1, icmp_code=0)),
        ({"icmpv6_id": "65535"}, Filter(protocol=58, icmp_id=65535)),
        ({"icmp_id": "7", "proto": "icmp"}, Filter(protocol=1, icmp_id=7)),
        ({"orig_key_src": "0x10"}, Filter(protocol=47, orig_sport=16)),
        ({"reply_key_dst": "16"}, Filter(protocol=47, reply_dport=16)),
        ({"status": "UNREPLIED"}, Filter(status=(0, 2))),
        ({"status": "assured,SEEN_REPLY"}, Filter(status=(6, 0))),
        ({"status": "UNSET,SEEN_REPLY"}, Filter(status=(2, 0))),
        ({"status": "SEEN_REPLY,!ASSURED"}, Filter(status=(2, 4))),
        ({"status": "!unreplied"}, Filter(status=(2, 0))),
        ({"mark": "0x10/0xff"}, Filter(mark=(16, 255))),
        ({"mark": "020/017"}, Filter(mark=(16, 15))),
        ({"mark": "7"}, Filter(mark=(7, 0xFFFFFFFF))),
        ({"zone": "0"}, Filter(zone=0)),
        ({"zone": "0xffff"}, Filter(zone=65535)),
        ({"orig_zone": "3", "reply_zone": "010"}, Filter(orig_zone=3, reply_zone=8)),
        ({"family": "ipv6"}, Filter(family=V6)),
        ({"label": "0,127"}, Filter(labels=1 | 1 << 127)),
        ({"secmark": "0"}, Filter(secmark=0)),
        ({"secmark": "a:b:c"}, Filter(secmark="a:b:c")),
        ({"src_nat": ""}, Filter(src_nat=Nat())),
        ({"src_nat": "", "dst_nat": ""}, Filter(src_nat=Nat(), dst_nat=Nat())),
        ({"any_nat": "10.1.1.1"}, Filter(any_nat=Nat(network("10.1.1.1")))),
        ({"dst_nat": "10.1.1.1:80"}, Filter(dst_nat=Nat(network("10.1.1.1"), 80))),
        ({"dst_nat": "10.0.0.0/8"}, Filter(dst_nat=Nat(network("10.0.0.0", "255.0.0.0")))),
        ({"any_nat": "[::1]:80"}, Filter(any_nat=Nat(Network(packed("::1"), ONE6), 80))),
        ({"any_nat": "::1"}, Filter(any_nat=Nat(Network(packed("::1"), ONE6)))),
        ({"orig_src": "10.0.0.1"}, Filter(orig_src=network("10.0.0.1"))),
        ({"orig_src": "10.0.0.0/8"}, Filter(orig_src=network("10.0.0.0", "255.0.0.0"))),
        ({"orig_src": "10.0.0.0/255.0.255.0"}, Filter(orig_src=network("10.0.0.0", "255.0.255.0"))),
        (
            {"mask_src": "255.0.0.255", "orig_src": "10.0.0.1/24"},
            Filter(orig_src=network("10.0.0.1", "255.0.0.255")),
        ),
        (
            {"orig_dst": "2001:db8::", "mask_dst": "ffff:ffff::"},
            Filter(orig_dst=Network(packed("2001:db8::"), packed("ffff:ffff::"))),
        ),
    ],
)
def test_words_become_a_filter(words: dict[str, str], expected: Filter) -> None:
    assert expected == build(words)


@pytest.mark.parametrize(
    "words",
    [
        {"proto": "nosuch"},
        {"proto": "256"},
        {"proto": "0x100"},
        {"proto": "²"},
        {"proto": ""},
        {"state": "ASLEEP"},
        {"state": "ESTABLISHED", "proto": "udp"},
        {"state": "COOKIE_WAIT", "proto": "tcp"},
        {"orig_src": "10.0.0"},
        {"orig_src": "10.0.0.0/33"},
        {"orig_src": "10.0.0.0/"},
        {"orig_src": "10.0.0.0/-1"},
        {"orig_src": "10.0.0.0/255.0.255"},
        {"orig_src": "::/129"},
        {"orig_src": "::/255.0.0.0"},
        {"mask_src": "255.0.0.0"},
        {"orig_src": "10.0.0.1", "mask_src": "255.0.0"},
        {"orig_src": "10.0.0.1", "mask_src": "ffff::"},
        {"orig_src": "10.0.0.1", "mask_dst": "255.0.0.0"},
        {"orig_sport": "65536"},
        {"orig_sport": "nosuchservice"},
        {"orig_sport": "0x50"},
        {"orig_dport": "53", "proto": "icmp"},
        {"orig_dport": "53", "proto": "gre"},
        {"orig_dport": "53", "icmp_type": "8"},
        {"icmp_type": "256"},
        {"icmp_type": "echo"},
        {"icmp_id": "65536"},
        {"icmp_type": "8", "proto": "tcp"},
        {"icmp_type": "8", "icmpv6_code": "0"},
        {"orig_key_src": "0x10000"},
        {"orig_key_src": "1", "proto": "icmp"},
        {"mark": "x"},
        {"mark": "1/"},
        {"mark": "/1"},
        {"mark": "-1"},
        {"mark": "09"},
        {"mark": "0x100000000"},
        {"mark": "0b1"},
        {"status": "HAPPY"},
        {"status": ""},
        {"status": "UNSET"},
        {"status": "!UNSET"},
        {"status": "!!ASSURED"},
        {"status": "!"},
        {"status": "SEEN_REPLY,UNREPLIED"},
        {"status": "!SRC_NAT_DONE", "src_nat": ""},
        {"zone": "-1"},
        {"zone": "65536"},
        {"orig_zone": "0x10000"},
        {"reply_zone": ""},
        {"label": ""},
        {"label": "128"},
        {"label": "0x1"},
        {"label": "1,"},
        {"secmark": ""},
        {"family": "inet"},
        {"src_nat": "10.0.0.1:"},
        {"src_nat": "10.0.0.1:65536"},
        {"src_nat": "10.0.0.1::"},
        {"src_nat": "10.0.0.1:80:80"},
        {"src_nat": ":80"},
        {"src_nat": "[::1]"},
        {"src_nat": "[::1]:"},
        {"src_nat": "[::1"},
        {"src_nat": "[]:80"},
        {"src_nat": "", "any_nat": ""},
        {"dst_nat": "", "any_nat": "10.0.0.1"},
        {"family": "ipv4", "orig_src": "::1"},
        {"family": "ipv6", "dst_nat": "10.0.0.1"},
        {"orig_src": "::1", "orig_dst": "10.0.0.1"},
    ],
)
def test_what_no_entry_can_have_is_refused(words: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        build(words)


def test_both_nats_with_one_address_are_both() -> None:
    both = build({"src_nat": "10.0.0.1", "dst_nat": "10.0.0.1"})
    assert both == Filter(src_nat=Nat(network("10.0.0.1")), dst_nat=Nat(network("10.0.0.1")))


@given(st.dictionaries(st.sampled_from([option.name for option in OPTIONS]), st.text(max_size=20)))
def test_arbitrary_words_never_end_in_another_error(words: dict[str, str]) -> None:
    try:
        build(words)
    except InvalidRequest:
        return


def judged(filter_: Filter, **fields: object) -> bool:
    """What a filter says of an entry, as every reader asks it."""
    few = {name: fields[name] for name in filter_.key if fields.get(name) is not None}
    test = filter_.test
    if not filter_.accepts(few):
        return False
    return test is None or test(tuple(fields.get(name) for name in filter_.tested))


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_prefixes_match_as_ipaddress_says(address: object, length: int, host: object) -> None:
    import ipaddress

    wide = ipaddress.ip_network(f"{address}/{length}", strict=False)
    wanted = build({"orig_src": f"{address}/{length}"})
    assert (host in wide) == judged(wanted, orig_src=packed(str(host)))
    assert not judged(wanted, orig_src=None)
    assert not judged(wanted, orig_src=packed("::1"))


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), st.ip_addresses(v=6))
def test_masks_are_of_any_bits(address: object, mask: object, host: object) -> None:
    wanted = build({"reply_src": str(address), "orig_src": str(address), "mask_src": str(mask)})
    first, bits, second = (int(each) for each in (address, mask, host))  # type: ignore[call-overload]
    is_alike = first & bits == second & bits
    ours = judged(wanted, orig_src=packed(str(host)), reply_src=packed(str(address)))
    assert ours == is_alike
    assert judged(wanted, orig_src=packed(str(host)), reply_src=packed(str(host))) == (
        is_alike and address == host
    )


SRC_NAT_DONE, DST_NAT_DONE = 1 << 7, 1 << 8
PLAIN = {
    **{name: packed("1.1.1.1") for name in ("orig_src", "reply_dst")},
    **{name: packed("2.2.2.2") for name in ("orig_dst", "reply_src")},
    **dict.fromkeys(("orig_sport", "reply_dport"), 11),
    **dict.fromkeys(("orig_dport", "reply_sport"), 22),
    "status": SRC_NAT_DONE | DST_NAT_DONE,
}
SNAT = {**PLAIN, "reply_dst": packed("9.9.9.9"), "reply_dport": 99}
DNAT = {**PLAIN, "reply_src": packed("8.8.8.8"), "reply_sport": 88}
BOTH = {**SNAT, "reply_src": packed("8.8.8.8"), "reply_sport": 88}
ICMP = {"orig_icmp_id": 5, "status": SRC_NAT_DONE | DST_NAT_DONE}
LABELS = struct.pack("=4I", 1 << 5, 1, 0, 0)


@pytest.mark.parametrize(
    ("words", "fields", "accepted"),
    [
        ({"proto": "tcp"}, {"orig_protocol": 6}, True),
        ({"proto": "tcp"}, {"orig_protocol": 17}, False),
        ({"state": "CLOSE"}, {"tcp_state": 8}, True),
        ({"state": "CLOSE"}, {}, False),
        ({"state": "ESTABLISHED"}, {"sctp_state": 4}, True),
        ({"status": "ASSURED"}, {"status": 14}, True),
        ({"status": "ASSURED"}, {"status": 8}, False),
        ({"status": "UNREPLIED"}, {"status": 8}, True),
        ({"status": "UNREPLIED"}, {"status": 10}, False),
        ({"zone": "7"}, {"zone": 7}, True),
        ({"zone": "7"}, {"orig_zone": 7}, False),
        ({"zone": "0"}, {}, True),
        ({"zone": "0"}, {"orig_zone": 7}, True),
        ({"zone": "0"}, {"zone": 7}, False),
        ({"orig_zone": "7"}, {"orig_zone": 7}, True),
        ({"orig_zone": "7"}, {"zone": 7}, False),
        ({"orig_zone": "7"}, {"reply_zone": 7}, False),
        ({"reply_zone": "0"}, {"orig_zone": 7}, True),
        ({"src_nat": ""}, SNAT, True),
        ({"src_nat": ""}, PLAIN, False),
        ({"src_nat": ""}, DNAT, False),
        ({"src_nat": ""}, {**PLAIN, "reply_dport": 12}, True),
        ({"src_nat": ""}, {**SNAT, "status": 0}, False),
        ({"src_nat": ""}, {**SNAT, "status": DST_NAT_DONE}, False),
        ({"src_nat": ""}, {**ICMP, "reply_icmp_id": 5}, False),
        ({"src_nat": ""}, {**ICMP, "reply_icmp_id": 6}, True),
        ({"dst_nat": ""}, {**ICMP, "reply_icmp_id": 6}, False),
        ({"src_nat": "", "dst_nat": ""}, SNAT, False),
        ({"src_nat": "", "dst_nat": ""}, BOTH, True),
        ({"src_nat": "9.9.9.9"}, SNAT, True),
        ({"src_nat": "9.9.9.0/24"}, SNAT, True),
        ({"src_nat": "1.1.1.1"}, SNAT, False),
        ({"src_nat": "1.1.1.1"}, {**PLAIN, "reply_dport": 12}, True),
        ({"src_nat": "9.9.9.9:98"}, SNAT, False),
        ({"dst_nat": "8.8.8.8:88"}, DNAT, True),
        ({"dst_nat": "8.8.8.8:88"}, BOTH, True),
        ({"any_nat": ""}, DNAT, True),
        ({"any_nat": ""}, PLAIN, False),
        ({"any_nat": ""}, {**SNAT, "status": DST_NAT_DONE}, False),
        ({"any_nat": "9.9.9.9:99"}, SNAT, True),
        ({"any_nat": "8.8.8.8"}, BOTH, True),
        ({"any_nat": "8.8.8.8:99"}, BOTH, False),
        ({"any_nat": "7.7.7.7"}, BOTH, False),
        ({"src_nat": "9.9.9.9", "reply_dst": "9.9.9.8"}, SNAT, False),
        ({"family": "ipv4"}, {"family": 2}, True),
        ({"family": "ipv4"}, {"family": 10}, False),
        ({"orig_dport": "80"}, {"orig_protocol": 17, "orig_dport": 80}, True),
        ({"orig_dport": "80"}, {"orig_protocol": 47, "orig_dport": 80}, False),
        ({"orig_key_dst": "80"}, {"orig_protocol": 47, "orig_dport": 80}, True),
        ({"icmp_type": "8"}, {"orig_protocol": 1, "orig_icmp_type": 8}, True),
        ({"icmp_type": "128"}, {"orig_protocol": 58, "orig_icmp_type": 128}, False),
        ({"icmp_code": "0"}, {"orig_protocol": 1, "orig_icmp_type": 8}, False),
        ({"icmp_id": "9"}, {"orig_protocol": 1, "orig_icmp_id": 9}, True),
        ({"mark": "1/1"}, {"mark": 3}, True),
        ({"mark": "0"}, {}, True),
        ({"mark": "16/15"}, {"mark": 16}, False),
        ({"label": "5,32"}, {"labels": LABELS}, True),
        ({"label": "5,33"}, {"labels": LABELS}, False),
        ({"label": "5"}, {}, False),
        ({"secmark": "a:b"}, {"secctx": b"a:b\0"}, True),
        ({"secmark": "a:b"}, {}, False),
        ({"secmark": "0"}, {}, True),
        ({"secmark": "5"}, {}, False),
    ],
)
def test_entries_are_judged(
    words: dict[str, str], fields: dict[str, object], accepted: bool
) -> None:
    assert accepted == judged(build(words), **fields)


def test_the_number_of_a_context_with_a_name_is_not_known() -> None:
    with pytest.raises(InvalidRequest, match="a:b"):
        judged(build({"secmark": "5"}), secctx=b"a:b\0")


def test_many_values_are_tested_in_their_order() -> None:
    filter_ = build({"orig_src": "10.0.0.0/8", "orig_dport": "443", "mark": "1/1"})
    assert filter_.tested == ("orig_src", "orig_dport", "mark")
    test = filter_.test
    assert test is not None
    inside, outside = packed("10.9.9.9"), packed("11.0.0.1")
    assert test((inside, 443, 3))
    assert not test((inside, 443, None))  # no mark attribute: the mark is 0
    assert not test((inside, None, 1))
    assert not test((outside, 443, 1))
    assert Filter().test is None


def test_one_family_is_asked_for_where_one_is_meant() -> None:
    assert Filter().requests() == ALL
    assert [request.family for request in build({"orig_src": "::1"}).requests()] == [V6]
    assert [request.family for request in build({"family": "ipv4"}).requests()] == [V4]
    assert [request.family for request in build({"any_nat": "10.0.0.1"}).requests()] == [V4]
    assert [request.family for request in build({"status": "ASSURED"}).requests()] == [0]
    # A tuple is filtered with a family only.
    assert [request.family for request in build({"proto": "6"}).requests()] == [V4, V6]
    assert build({"proto": "6"}).plain_requests() == ALL


CONNLABEL = """\
# connlabel.conf
0	first
 1 web server
0x10 sixteen
020\tsame bit
3 web server
4 bad;name
5
6\tspaces \t
1024 too many
x none
7nospace
"""


def test_labels_have_the_names_that_the_library_takes() -> None:
    """Its rules, in src/conntrack/labels.c; tests/kernel compares with conntrack(8) itself."""
    assert connlabels.parse_names(CONNLABEL) == {
        0: "first",
        1: "web server",
        16: "sixteen",
        6: "spaces",
        7: "nospace",
    }


@given(st.text())
def test_any_file_of_labels_is_read(text: str) -> None:
    assert all(0 <= number < 1024 for number in connlabels.parse_names(text))


@given(st.integers(0, (1 << 128) - 1))
def test_labels_are_numbered_from_the_lowest_bit(bits: int) -> None:
    words = [bits >> 32 * number & 0xFFFFFFFF for number in range(4)]
    assert connlabels.label_bits(struct.pack("=4I", *words)) == bits
    assert sum(1 << number for number in connlabels.numbers(bits)) == bits
    assert connlabels.label_bits(None) == 0


def test_without_a_file_labels_have_numbers(tmp_path: Path) -> None:
    assert connlabels.read_names(str(tmp_path / "none")) is None
    (tmp_path / "some").write_text("3 three\n")
    assert connlabels.read_names(str(tmp_path / "some")) == {3: "three"}

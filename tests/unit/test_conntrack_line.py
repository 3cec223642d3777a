"""conntrack(8)'s lines of messages that no kernel here sends; tests/kernel has those it does."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fill
from captures import ENTRIES, LISTING
from conntrack_common.ctnetlink.entries import Reader
from conntrack_common.errors import InvalidRequest, MalformedData
from conntrack_plugins.stat.conntrack_line import EXTRAS, LineFormat, parse_output

NEW, DESTROY = 1 << 8, 1 << 8 | 2  # nlmsghdr's types


def message(attributes: bytes, kind: int = NEW, family: int = 2) -> bytes:
    body = struct.pack(">BBH", family, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def lines(*messages: bytes, extras: tuple[str, ...] = ()) -> list[str]:
    shape = LineFormat(extras)
    return [shape.line(form, values) for form, values in Reader().read(b"".join(messages))]


def entry(protocol: int, ports: bytes = b"", **attributes: bytes) -> bytes:
    """An entry's attributes: addresses, a protocol, what else is given by number."""
    tuples = b"".join(
        fill.nest(
            kind,
            fill.nest(1, fill.attribute(1, bytes(4)), fill.attribute(2, b"\x0a\0\0\1")),
            fill.nest(2, fill.attribute(1, bytes([protocol])), ports),
        )
        for kind in (1, 2)
    )
    return tuples + b"".join(
        fill.attribute(int(name[1:]), payload) for name, payload in attributes.items()
    )


TUPLE = "src=0.0.0.0 dst=10.0.0.1"


def test_a_captured_table_is_listed_as_conntrack_listed_it() -> None:
    """But for the time left, and the age, which was another when it was captured."""

    def timeless(line: str) -> list[str]:
        words = line.split()
        return [word for word in (*words[:2], *words[3:]) if not word.startswith("delta-time=")]

    assert sorted(map(timeless, lines(*ENTRIES))) == sorted(map(timeless, LISTING))


def test_an_offloaded_flow_has_no_state_and_no_timeout() -> None:
    ports = fill.attribute(2, b"\0\1") + fill.attribute(3, b"\0\2")
    made = lines(message(entry(6, ports, a3=struct.pack(">I", 0x400E))))
    ends = f"{TUPLE} sport=1 dport=2"
    assert made == [f"tcp      6 {ends} {ends} [OFFLOAD]\n"]


def test_without_a_status_nothing_is_said_of_replies() -> None:
    assert lines(message(entry(50))) == [f"unknown  50 {TUPLE} {TUPLE}\n"]


def test_ports_that_the_kernel_does_not_know_are_0() -> None:
    assert lines(message(entry(33))) == [
        f"dccp     33 {TUPLE} sport=0 dport=0 {TUPLE} sport=0 dport=0\n"
    ]
    assert "srckey=0x0 dstkey=0x0" in lines(message(entry(47)))[0]


def test_an_end_says_how_long_it_lasted() -> None:
    start, stop = 1_700_000_000_900_000_000, 1_700_000_005_100_000_000
    times = fill.attribute(1, struct.pack(">Q", start)) + fill.attribute(2, struct.pack(">Q", stop))
    sent = message(entry(50) + fill.nest(20, times), DESTROY)
    (line,) = lines(sent, extras=("ktimestamp",))
    clock = [time.ctime(moment // 10**9) for moment in (start, stop)]
    assert (
        line == f"unknown  50 {TUPLE} {TUPLE} delta-time=5 [start={clock[0]}] [stop={clock[1]}]\n"
    )


@pytest.mark.parametrize(
    "attributes",
    [
        b"",
        fill.attribute(3, struct.pack(">I", 8)),
        fill.nest(1, fill.nest(2, fill.attribute(1, b"\x06"))),
        entry(6)[:36],  # without the reply
    ],
)
def test_what_is_no_entry_has_no_line(attributes: bytes) -> None:
    """One field would be taken by itself, and none not at all."""
    with pytest.raises(MalformedData, match="an entry: it has no "):
        lines(message(attributes))


@given(
    st.lists(st.sampled_from([*range(1, 27)]), max_size=8), st.binary(max_size=40), st.booleans()
)
def test_any_attributes_make_a_line_or_malformed_data(
    kinds: list[int], payload: bytes, is_entry: bool
) -> None:
    made = entry(6) if is_entry else b""
    made += b"".join(fill.attribute(kind, payload) for kind in kinds)
    try:
        (line,) = lines(message(made), extras=EXTRAS)
    except MalformedData:
        return
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("output", "extras"),
    [
        ("table", None),
        ("conntrack", ()),
        ("id", ("id",)),
        ("conntrack,labels", ("labels",)),
        ("timestamp,id,extended,id", ("extended", "id", "timestamp")),
    ],
)
def test_outputs_are_known(output: str, extras: tuple[str, ...] | None) -> None:
    assert parse_output(output) == extras


@pytest.mark.parametrize("output", ["", "xml", "save", "id,", "table,id", "ID", "json"])
def test_other_outputs_are_refused(output: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^-o "):
        parse_output(output)

"""Counting messages by masks: against conntrack(8)'s text, and against a kernel gone wrong."""

from __future__ import annotations

import random
import re
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import DONE, DUMP, ENTRIES, LISTING, with_zone_and_status
from conntrack_common.ctnetlink.census import Census, Query
from conntrack_common.ctnetlink.entries import Reader
from conntrack_common.errors import ConntrackError, MalformedData
from conntrack_common.terms import protocol_name, state_name

BY_STATE = Query(
    ("orig_protocol", "tcp_state", "sctp_state", "dccp_state"),
    lambda found: (protocol_name(found.get("orig_protocol", 0)), state_name(found)),
)
TOTAL = Query((), lambda _found: "all")


def counts(query: Query, data: bytes = DUMP, limit: int = 100_000) -> dict[Any, int]:
    census = Census(query, limit)
    census.count(data)
    return counted(census)


def counted(census: Census) -> dict[Any, int]:
    """The counts by label, or by label and values where there are any."""
    return {
        (label, *values) if values else label: cell.entries
        for label, values, cell in census.take_groups()
    }


def test_states_are_those_of_the_listing() -> None:
    theirs = Counter(
        (words[0], None if "=" in words[3] else words[3]) for words in map(str.split, LISTING)
    )
    assert dict(theirs) == counts(BY_STATE)


def test_the_order_of_messages_does_not_matter() -> None:
    shuffled = ENTRIES.copy()
    random.Random(1).shuffle(shuffled)
    assert counts(BY_STATE) == counts(BY_STATE, b"".join(shuffled) + DONE)


def test_repeated_messages_are_counted_each() -> None:
    ours = counts(BY_STATE, b"".join(ENTRIES * 7) + DONE)
    assert {group: 7 * entries for group, entries in counts(BY_STATE).items()} == ours


def test_a_dump_may_come_in_many_buffers() -> None:
    census = Census(TOTAL)
    for message in ENTRIES:
        census.count(message)
    assert len(LISTING) == census.total == census.seen


def test_sources_are_those_of_the_listing() -> None:
    theirs = Counter(re.search(r"src=(\S+)", line)[1] for line in LISTING)  # type: ignore[index]
    query = Query((), lambda _found: (), values=("orig_src",))
    assert sorted(theirs.values()) == sorted(counts(query).values())
    assert len(theirs) == len(counts(query))


def test_packets_and_bytes_are_those_of_the_listing() -> None:
    census = Census(Query((), lambda _found: (), counters=True))
    census.count(DUMP)
    ((_label, _values, cell),) = census.take_groups()
    sums = [
        sum(int(number) for number in re.findall(rf"{name}=(\d+)", "\n".join(LISTING)))
        for name in ("packets", "bytes")
    ]
    assert [len(LISTING), *sums] == [cell.counted, cell.packets, cell.bytes]


def test_a_label_of_none_leaves_entries_out() -> None:
    only_tcp = Query(
        ("orig_protocol",), lambda found: "tcp" if found["orig_protocol"] == 6 else None
    )
    theirs = sum(line.startswith("tcp ") for line in LISTING)
    assert {"tcp": theirs} == counts(only_tcp)
    assert {"tcp": theirs} == counts(only_tcp._replace(tested=("mark",), test=lambda _v: True))


def test_a_test_decides_on_each_entry() -> None:
    query = Query((), lambda _found: "x", tested=("orig_dport",), test=lambda v: v[0] == 443)
    theirs = sum(bool(re.search(r"dport=443\b.*src=", line)) for line in LISTING)
    assert {"x": theirs} == counts(query)


BY_SOURCE = Query((), lambda _found: (), values=("orig_src", "orig_sport", "orig_protocol"))
IN_CELLS = BY_SOURCE._replace(tested=("mark",), test=lambda _values: True)


@pytest.mark.parametrize("query", [BY_SOURCE, IN_CELLS])
@given(limit=st.integers(2, 40), rng=st.randoms(use_true_random=False))
def test_groups_beyond_the_limit_keep_the_error_bound(
    query: Query, limit: int, rng: random.Random
) -> None:
    picked = rng.choices(ENTRIES, weights=range(1, len(ENTRIES) + 1), k=800)
    exact = counts(query, b"".join(picked))
    census = Census(query, limit)
    for at in range(0, 800, 100):
        census.count(b"".join(picked[at : at + 100]))
        assert census.size <= limit
    assert census.total == 800
    assert census.error <= 2 * 800 / limit
    ours = counted(census)
    for group, entries in exact.items():
        assert ours.get(group, 0) <= entries <= ours.get(group, 0) + census.error


def test_numbers_and_cells_count_the_same() -> None:
    assert counts(BY_SOURCE) == counts(IN_CELLS)
    assert sum(counts(BY_SOURCE).values()) == len(LISTING)


BY_ZONE_AND_STATUS = Query(
    ("zone", "status"), lambda found: (found.get("zone", 0), found["status"])
)
PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), min_size=1, max_size=400)


@given(PAIRS, st.integers(1, 40), st.booleans())
def test_labels_beyond_the_limit_keep_total_and_error_bound(
    pairs: list[tuple[int, int]], limit: int, split: bool
) -> None:
    """No cell goes on counting unseen when its group has been dropped."""
    query = BY_ZONE_AND_STATUS._replace(values=("orig_protocol",) if split else ())
    census = Census(query, limit)
    for pair in pairs:
        census.count(with_zone_and_status(*pair))
        assert census.size <= limit
        assert census.shapes.keys <= limit
    assert census.total == census.seen == len(pairs)
    exact = Counter(pairs)
    ours = Counter({label: cell.entries for label, _values, cell in census.take_groups()})
    for group, entries in exact.items():
        assert ours[group] <= entries <= ours[group] + census.error
    assert census.error <= 2 * len(pairs) / limit


@given(PAIRS, st.integers(1, 40))
def test_keys_are_forgotten_and_no_count_with_them(
    pairs: list[tuple[int, int]], limit: int
) -> None:
    """There may be more keys than labels, and all keys of ignored entries have none."""
    query = BY_ZONE_AND_STATUS._replace(label=lambda found: found["status"] & 1 or None)
    for tested in ((), ("mark",)):
        census = Census(query._replace(tested=tested), limit)
        for pair in pairs:
            census.count(with_zone_and_status(*pair))
            assert census.shapes.keys <= limit
        assert census.seen == len(pairs)
        assert census.total == sum(status & 1 for _zone, status in pairs)


@given(PAIRS, st.integers(2, 40))
def test_groups_may_be_taken_at_any_time(pairs: list[tuple[int, int]], every: int) -> None:
    census, sums = Census(BY_ZONE_AND_STATUS), Counter[object]()
    for number, pair in enumerate(pairs):
        census.count(with_zone_and_status(*pair))
        if number % every == 0:
            sums.update(counted(census))
    sums.update(counted(census))
    assert sums == Counter(pairs)
    assert (census.total, census.size) == (len(pairs), 0)


@pytest.mark.parametrize("query", [TOTAL, BY_STATE, TOTAL._replace(values=("orig_src",))])
def test_who_asked_is_no_part_of_a_key(query: Query) -> None:
    """In an event, sequence and port are those of whoever changed the table: one key for all."""
    census = Census(query)
    for _client in range(300):
        census.count(with_zone_and_status(7, 8))
    assert (census.shapes.keys, census.total) == (1, 300)


@pytest.mark.parametrize("cut", [1, 3, 15, 17, 40, len(ENTRIES[0]) - 1])
def test_a_message_cut_short_is_malformed(cut: int) -> None:
    for before in (b"", b"".join(ENTRIES)):
        with pytest.raises(MalformedData):
            Census(BY_STATE).count(before + ENTRIES[0][:cut])


@pytest.mark.parametrize(
    "read",
    [
        lambda data: list(Reader().read(data)),
        lambda data: Census(TOTAL._replace(values=("orig_src", "zone"))).count(data),
    ],
)
def test_a_message_whose_last_value_is_cut_off_is_malformed(
    read: Callable[[bytes], object],
) -> None:
    """Its headers are whole, and a value is blank in its key: that many zeros are missing of it."""
    whole = with_zone_and_status(7, 8)
    with pytest.raises(MalformedData):
        read(whole + whole[:-4])


@pytest.mark.parametrize("length", [0, 1, 15, 4096, 0xFFFFFFFF])
def test_a_wrong_length_is_malformed(length: int) -> None:
    changed = struct.pack("=I", length) + ENTRIES[0][4:]
    with pytest.raises(MalformedData):
        Census(BY_STATE).count(changed)


def test_messages_of_other_subsystems_are_passed_over() -> None:
    other = struct.pack("=IHHII", 24, 0x0A03, 0, 1, 0) + bytes(8)
    census = Census(TOTAL)
    census.count(other + other + ENTRIES[0] + DONE)
    assert census.total == 1


def test_an_unknown_attribute_and_state_are_kept_apart_from_known_ones() -> None:
    tcp = next(
        message for message in ENTRIES if message[16] == 2 and b"\x05\x00\x01\x00\x06" in message
    )
    longer = tcp + struct.pack("=HHI", 8, 99, 7)
    longer = struct.pack("=I", len(longer)) + longer[4:]
    ours = counts(BY_STATE, tcp + longer + DONE)
    assert list(ours.values()) == [2]
    state = longer.index(b"\x05\x00\x01\x00", longer.index(b"\x04\x80")) + 4
    newer = bytearray(longer)
    newer[state] = 77
    assert counts(BY_STATE, bytes(newer) + DONE) == {("tcp", "STATE77"): 1}


@given(st.lists(st.tuples(st.integers(0, len(DUMP) - 1), st.integers(0, 255)), max_size=30))
def test_a_mutated_dump_raises_only_what_the_taxonomy_knows(changes: list[tuple[int, int]]) -> None:
    data = bytearray(DUMP)
    for offset, value in changes:
        data[offset] = value
    for query in (BY_STATE, Query((), lambda _found: (), values=("orig_src", "start"), age=True)):
        try:
            Census(query).count(bytes(data))
        except ConntrackError:
            continue


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_what_the_taxonomy_knows(data: bytes) -> None:
    try:
        Census(BY_STATE).count(data)
    except ConntrackError:
        return


def test_a_label_sees_the_kind_of_message() -> None:
    seen: list[Mapping[str, Any]] = []
    Census(Query((), lambda found: seen.append(found) or "x")).count(ENTRIES[0])  # type: ignore[func-returns-value]
    assert (seen[0]["type"], seen[0]["flags"]) == (0, 2)

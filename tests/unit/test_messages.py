"""Where fields stand in an entry's message."""

from __future__ import annotations

import re
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import ENTRIES, LISTING
from conntrack_common.ctnetlink.messages import NAMES, decode, layout
from conntrack_common.errors import MalformedData


def fields(message: bytes) -> dict[str, object]:
    return decode(message, layout(message).fields, NAMES)


def test_every_entry_is_read_as_conntrack_reads_it() -> None:
    """The listing is of the same table, read a moment later: compared as sets of tuples."""
    theirs = {
        (match[1], match[2])
        for line in LISTING
        if (match := re.search(r"src=(\S+) dst=(\S+)", line))
    }
    ours = set()
    for message in ENTRIES:
        found = fields(message)
        family = socket.AF_INET if found["family"] == 2 else socket.AF_INET6
        source, target = found["orig_src"], found["orig_dst"]
        assert isinstance(source, bytes)
        assert isinstance(target, bytes)
        ours.add((socket.inet_ntop(family, source), socket.inet_ntop(family, target)))
    assert theirs == ours


def test_values_stand_in_order_and_inside() -> None:
    for message in ENTRIES:
        places = layout(message).values
        assert sorted(places) == list(places)
        assert all(
            20 < place.offset <= place.offset + place.size <= len(message) for place in places
        )


def test_absent_fields_are_left_out() -> None:
    found = fields(ENTRIES[0])
    assert "labels" not in found
    assert "secctx" not in found


@pytest.mark.parametrize("length", range(20))
def test_a_message_without_room_is_malformed(length: int) -> None:
    with pytest.raises(MalformedData):
        layout(ENTRIES[0][:length])


def test_an_attribute_longer_than_its_nest_is_malformed() -> None:
    message = bytearray(ENTRIES[0])
    struct.pack_into("=H", message, 28, 200)  # CTA_IP_V4_SRC or V6_SRC in CTA_TUPLE_IP
    with pytest.raises(MalformedData, match="length"):
        layout(bytes(message))


def test_a_field_of_another_size_is_malformed() -> None:
    tail = struct.pack("=HHH", 6, 3, 0) + b"\0\0"  # CTA_STATUS of two bytes
    with pytest.raises(MalformedData):
        layout(ENTRIES[0][:20] + tail)


@given(st.binary(max_size=200))
def test_arbitrary_attributes_raise_only_malformed_data(data: bytes) -> None:
    try:
        layout(ENTRIES[0][:20] + data)
    except MalformedData:
        return

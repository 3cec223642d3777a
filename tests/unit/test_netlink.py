"""netlink's framing: what is short, too long, or refused."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conntrack_common.errors import Interrupted, MalformedData, NotAvailable, NotPermitted
from conntrack_common.sources.netlink import (
    attribute,
    attributes,
    error_number,
    message,
    refusal,
    split_messages,
)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40))))
def test_attributes_are_read_as_they_are_written(pairs: list[tuple[int, bytes]]) -> None:
    assert list(attributes(b"".join(attribute(*pair) for pair in pairs))) == pairs


@given(st.binary(max_size=100))
def test_arbitrary_bytes_raise_only_malformed_data(data: bytes) -> None:
    for read in (attributes, split_messages):
        try:
            list(read(data))
        except MalformedData:
            continue


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_a_wrong_length_is_malformed(length: int) -> None:
    with pytest.raises(MalformedData):
        list(attributes(struct.pack("=HHI", length, 1, 0)))


def test_short_bodies_are_malformed() -> None:
    with pytest.raises(MalformedData):
        message(b"\2\0")
    with pytest.raises(MalformedData):
        error_number(b"\0\0")
    assert message(b"\2\0\0\7rest") == (2, 7, b"rest")
    assert error_number(struct.pack("=i", -13)) == 13


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EPERM, NotPermitted),
        (errno.EPROTONOSUPPORT, NotAvailable),
        (errno.EINVAL, NotAvailable),
        (errno.ENOBUFS, Interrupted),
        (errno.ENOMEM, Interrupted),
        (errno.EINTR, Interrupted),
        (errno.EAGAIN, Interrupted),
        (errno.ENOENT, NotAvailable),
    ],
)
def test_refusals_are_the_taxonomys(number: int, kind: type[Exception]) -> None:
    assert type(refusal(OSError(number, "so"))) is kind

"""Digits from outside: what C would take, and nothing that only Python takes."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conntrack_common.digits import LONGEST, UINT16, UINT32, as_c, decimal, whole

NONE = [
    "",
    " 1",
    "1 ",
    "+1",
    "-1",
    "1_0",
    "0x1",
    "1.0",
    "\u0661",
    "\u00b2",
    "\x00",
    "nan",
    "9" * 5000,
]


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_number(text: str) -> None:
    assert whole(text) is None
    assert whole(text, base=16) is None


@given(st.integers(0, UINT32))
def test_numbers_are_what_python_wrote(number: int) -> None:
    assert whole(str(number)) == as_c(str(number)) == number
    assert whole(f"{number:x}", base=16) == as_c(hex(number)) == as_c(f"0X{number:X}") == number
    assert as_c(f"0{number:o}") == number


@given(st.integers())
def test_the_largest_is_the_largest(number: int) -> None:
    assert whole(str(number), UINT16) == (number if 0 <= number <= UINT16 else None)


def test_zeros_in_front_count_as_digits() -> None:
    assert whole("0" * (LONGEST - 1) + "7") == 7
    assert whole("0" * LONGEST + "7") is None


@given(st.text())
def test_nothing_is_raised(text: str) -> None:
    for base in (8, 10, 16):
        number = whole(text, base=base)
        assert number is None or number == int(text, base)
    assert as_c(text) is None or text.isascii()


@pytest.mark.parametrize("text", ["0x", "08", "0xg", "0x-1", "x1", "0b1", "0o7", "00x1"])
def test_what_c_would_not_read_to_its_end(text: str) -> None:
    assert as_c(text) is None


@pytest.mark.parametrize("text", [*NONE[:7], *NONE[8:], ".5", "5.", "1.2.3", "1e3", "inf", "0.-1"])
def test_what_is_no_decimal_number(text: str) -> None:
    assert decimal(text, 1e9) is None


@given(st.decimals(0, 10**6, places=3))
def test_decimal_numbers_are_what_they_say(number: Decimal) -> None:
    assert decimal(f"{number:f}", 1e9) == float(number)
    assert decimal(f"{number:f}", 1000) == (float(number) if number <= 1000 else None)

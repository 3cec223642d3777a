"""Whole numbers in text: the one place where digits from outside become an int.

Python's own `int` takes signs, blanks, underscores and the digits of all scripts, and raises
ValueError of its own at more than 4,300 digits (since 3.11): none of that is in the formats that
are read here.
"""

from __future__ import annotations

UINT8, UINT16, UINT32, UINT64 = (2**bits - 1 for bits in (8, 16, 32, 64))
_DIGITS = {
    8: frozenset("01234567"),
    10: frozenset("0123456789"),
    16: frozenset("0123456789abcdefABCDEF"),
}
LONGEST = 40  # more digits than that fit no number of any format read here, zeros in front included


def whole(text: str, largest: int = UINT64, base: int = 10) -> int | None:
    """Return the number that ASCII digits of a base (8, 10, 16) write; None if it is none.

    A sign, a blank, an underscore, a prefix, an empty text, more than `LONGEST` digits or a number
    above `largest` is none.
    """
    if not 0 < len(text) <= LONGEST or not _DIGITS[base].issuperset(text):
        return None
    number = int(text, base)
    return number if number <= largest else None


def decimal(text: str, largest: float) -> float | None:
    """Return the number that digits write, with a point and more of them or without; None if none.

    As in `whole`, there is no sign, no blank and no exponent; 'nan' and 'inf' are none.
    """
    head, point, tail = text.partition(".")
    if whole(head) is None or (point and whole(tail) is None):
        return None
    number = float(text)
    return number if number <= largest else None


def as_c(text: str, largest: int = UINT64) -> int | None:
    """Return the number that C's strtoul with base 0 reads: 10, 0x1f, 017; None if it is none.

    As in `whole`, there is no sign and no blank.
    """
    if text[:2] in {"0x", "0X"}:
        return whole(text[2:], largest, 16)
    if text[:1] == "0" and len(text) > 1:
        return whole(text[1:], largest, 8)
    return whole(text, largest)

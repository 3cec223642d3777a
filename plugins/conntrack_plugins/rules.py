"""Thresholds as text, `METRIC,WARN,CRIT`: what the checks judge by, and agents' configuration has.

Format of a range: the Monitoring Plugins' development guidelines, "Threshold and ranges".
"""

from __future__ import annotations

import re

from conntrack_common.catalogue import expression as expressions
from conntrack_common.catalogue.expression import Expression
from conntrack_common.errors import InvalidRequest
from conntrack_common.records import NamedTuple

STATES = ("ok", "warning", "critical", "unknown")
INFINITY = float("inf")
_NUMBER = r"-?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})"
RANGE = re.compile(rf"(@?)(?:(~|{_NUMBER})?:)?({_NUMBER})?", re.ASCII)


class Range(NamedTuple):
    """The values that are good: from `start` to `end`, or all others if it is inverted.

    `text` is how it was written.
    """

    start: float = 0
    end: float = INFINITY
    invert: bool = False
    text: str = ""

    def match(self, value: float) -> bool:
        """Return whether a value is good."""
        return (value < self.start or value > self.end) is self.invert

    def __str__(self) -> str:
        start = "~:" if self.start == -INFINITY else f"{self.start}:" if self.start else ""
        return f"{'@' * self.invert}{start}{'' if self.end == INFINITY else self.end}"


class Rule(NamedTuple):
    """What is measured, and the ranges in which it is good.

    `absent` is the state where its source could be read but has no such value; a `quiet` rule is
    in the first line only if it is broken.
    """

    expression: Expression
    warning: Range
    critical: Range
    absent: str = "unknown"
    quiet: bool = False


def parse_range(text: str) -> Range:
    """Return a range; a percent sign behind a number is ignored. Raises InvalidRequest."""
    words = text.replace("%", "").strip()
    match = RANGE.fullmatch(words)
    if not match:
        raise _refused(text, "there are other characters than numbers have, or too many")
    inverted, low, high = match.groups()
    start = -INFINITY if low == "~" else _number(low, 0)
    end = _number(high, INFINITY)
    if start > end:
        raise _refused(text, f"start {start} must not be greater than end {end}")
    return Range(start, end, bool(inverted), words)


def _refused(text: str, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"{text[:80]!r} is no Nagios range ({reason}): write [@][start:]end, as 80, 10: or @0:5"
    )


def _number(text: str | None, default: float) -> float:
    if not text:
        return default
    return float(text) if "." in text else int(text)


def parse_rule(text: str) -> Rule:
    """Return what `--check METRIC,WARN,CRIT` means; raises InvalidRequest."""
    expression, comma, ranges = text.partition(",")
    if "[" in expression and "]" not in expression:  # a comma between two labels
        head, bracket, ranges = text.partition("]")
        rate, comma, ranges = ranges.partition(",")
        expression = head + bracket + rate
    warning, _, critical = ranges.partition(",")
    if not comma or "," in critical:
        raise InvalidRequest(
            f"--check {text!r}: write METRIC,WARN,CRIT, as cpu.drop/s,0,10 (a range may be empty)"
        )
    return Rule(expressions.parse(expression), parse_range(warning), parse_range(critical))

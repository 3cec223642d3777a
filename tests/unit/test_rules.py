"""Thresholds as text, and the ranges in them, which nagiosplugin reads the same."""

from __future__ import annotations

import math
import re

import nagiosplugin
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conntrack_common.catalogue import expression as expressions
from conntrack_common.errors import InvalidRequest
from conntrack_plugins.nagios.measured import Measured
from conntrack_plugins.rules import parse_range, parse_rule


@pytest.mark.parametrize(
    ("text", "expression", "ranges"),
    [
        ("cpu.drop/s,0,10", "cpu.drop/s", ("0", "10")),
        ("table.usage,80%,90%", "table.usage", ("80", "90")),
        ("tcp.state[state=CLOSE],,5", "tcp.state[state=CLOSE]", ("", "5")),
        ("cpu.drop[cpu=1]/s,@1:2", "cpu.drop[cpu=1]/s", ("@1:2", "")),
        ("table.entries,~:5,10:", "table.entries", ("~:5", "10:")),
    ],
)
def test_rules(text: str, expression: str, ranges: tuple[str, str]) -> None:
    rule = parse_rule(text)
    assert expressions.text(rule.expression) == expression
    assert (str(rule.warning), str(rule.critical)) == ranges


@pytest.mark.parametrize("text", ["cpu.drop", "cpu.drop,1,2,3", "cpu.drop,x", "cpu.drop,5:1"])
def test_broken_rules_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_rule(text)


# What the guidelines' grammar makes, and this: many digits, which Python writes with an exponent.
NUMBERS = st.one_of(
    st.integers(-(10**40) + 1, 10**40 - 1).map(str),
    st.from_regex(r"-?([0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40})", fullmatch=True),
    st.sampled_from(["0", "-0", "0.0", "-0.0", "5.", ".5", "0.0000001"]),
)
PERCENT = st.sampled_from(["", "%"])
STARTS = st.one_of(st.sampled_from(["", ":", "~:"]), st.builds("{}{}:".format, NUMBERS, PERCENT))
ENDS = st.one_of(st.just(""), st.builds("{}{}".format, NUMBERS, PERCENT))
RANGES = st.builds("{}{}{}".format, st.sampled_from(["", "@"]), STARTS, ENDS)
VALUES = st.one_of(st.integers(-(10**41), 10**41), st.floats())


@given(RANGES, st.lists(VALUES))
@example("@5:10.5", [4, 5, 7, 10.5, 11])
@example("~:10%", [float("-inf"), 10, 10.1, float("nan")])
def test_a_range_is_nagiosplugins(text: str, values: list[float]) -> None:
    try:
        oracle = nagiosplugin.Range(text.replace("%", ""))
    except ValueError as error:
        with pytest.raises(InvalidRequest, match=re.escape(str(error))):
            parse_range(text)
        return
    found = parse_range(text)
    assert (found.invert, found.start, found.end) == oracle
    assert str(found) == str(oracle)
    assert nagiosplugin.Range(found.text) == oracle
    edges = [found.start, found.end]
    beside = [math.nextafter(edge, to) for edge in edges for to in (-math.inf, math.inf)]
    for value in (*values, *edges, *beside):
        assert found.match(value) == oracle.match(value)


@pytest.mark.parametrize(
    "text",
    ["1_0", "\u0661", "nan", "inf", "-", "+1", "1e3", "0x1", "~", "1:2:3", "9" * 5000],
)
def test_a_range_of_other_numbers_is_none(text: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_range(text)
    assert len(str(raised.value)) < 300


def test_labels_of_performance_data_hold_no_equals_sign() -> None:
    measured = Measured(parse_rule("tcp.state[state=CLOSE],1,2"), (("netns", "a'b=c"),), 1)
    assert measured.label.startswith("tcp.state.CLOSE.a_b_c~")

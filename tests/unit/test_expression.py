"""What thresholds are put on, and the ranges themselves."""

from __future__ import annotations

import nagiosplugin
import pytest

from conntrack_common.catalogue import expression as expressions
from conntrack_common.catalogue.lookup import CATALOGUE, absences, find, samples, select
from conntrack_common.errors import InvalidRequest, NotAvailable
from conntrack_common.model import CpuCounters, Reading, Sysctls, TableCounts
from conntrack_plugins.nagios.plugin import Finding, parse_range, parse_rule

READING = Reading(
    time=1.0,
    host="gate",
    sysctls=Sysctls(entries=30, limit=120),
    counters=(CpuCounters(0, {"drop": 5, "found": 7}), CpuCounters(1, {"drop": 11})),
    counts=TableCounts(30, {"tcp_state": {"CLOSE": 4, "SYN_SENT": 6}, "zone": {"0": 30}}),
)


def totals(text: str, reading: Reading = READING) -> dict[tuple[tuple[str, str], ...], float]:
    found = expressions.series(expressions.parse(text), reading)
    return {series.labels: series.total for series in found}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("table.entries", {(): 30}),
        ("table.usage", {(): 0.25}),
        ("cpu.drop", {(): 16}),
        ("cpu.drop[cpu=1]", {(): 11}),
        ("cpu.found", {(): 7}),
        ("cpu.invalid", {}),
        ("tcp.state[state=CLOSE]", {(): 4}),
        ("tcp.state", {(("state", "CLOSE"),): 4, (("state", "SYN_SENT"),): 6}),
        ("tcp.state[state=LISTEN]", {(): 0}),
    ],
)
def test_values(text: str, expected: dict[object, float]) -> None:
    assert totals(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nosuch",
        "cpu.drop[cpu]",
        "cpu.drop[zone=1]",
        "table.entries/s",
        "cpu.drop/m",
        "a[b",
        "[",
    ],
)
def test_what_can_not_be_meant_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        expressions.parse(text)


def test_a_misspelt_metric_names_its_neighbours() -> None:
    with pytest.raises(InvalidRequest, match=r"cpu\.early_drop"):
        find("cpu.earlydrop")
    with pytest.raises(InvalidRequest, match="no metric matches"):
        select(["nosuch.*"])


def test_texts_are_read_back() -> None:
    for text in ("cpu.drop/s", "cpu.drop[cpu=1]/s", "tcp.state[state=CLOSE]", "table.usage"):
        assert expressions.text(expressions.parse(text)) == text


def test_a_namespace_is_the_first_label() -> None:
    found = list(samples(READING._replace(netns="blue"), [find("cpu.drop")]))
    assert found[0].labels == (("netns", "blue"), ("cpu", "0"))
    assert totals("cpu.drop", READING._replace(netns="blue")) == {(("netns", "blue"),): 16}


def test_what_is_absent_has_a_reason_and_no_value() -> None:
    broken = Reading(1.0, "gate", failures={"sysctls": NotAvailable("no such thing")})
    assert [found.id for found in samples(broken, CATALOGUE)] == ["source.up"]
    reasons = {absent.id: absent.reason for absent in absences(broken, CATALOGUE)}
    assert reasons["table.entries"] == "no such thing"
    assert all(reasons.values())


def test_the_catalogue_is_sound() -> None:
    ids = [metric.id for metric in CATALOGUE]
    assert len(ids) == len(set(ids))
    for metric in CATALOGUE:
        assert metric.help.endswith(".")
        assert (metric.kind == "counter") == (metric.bits in {32, 64})


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


def test_a_percent_sign_is_passed_over() -> None:
    assert str(parse_range("80%")) == "80"
    for text in ("", "10", "10:", "~:10", "@5:10.5", "-3:.5", "0:", ":7", "5."):
        assert parse_range(text) == nagiosplugin.Range(text)


@pytest.mark.parametrize(
    "text",
    ["1_0", "\u0661", "nan", "inf", "-", "+1", "1e3", "0x1", "~", "1:2:3", "9" * 5000],
)
def test_a_range_of_other_numbers_is_none(text: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_range(text)
    assert len(str(raised.value)) < 300


def test_labels_of_performance_data_hold_no_equals_sign() -> None:
    finding = Finding(parse_rule("tcp.state[state=CLOSE],1,2"), (("netns", "a'b=c"),))
    assert finding.label.startswith("tcp.state.CLOSE.a_b_c~")

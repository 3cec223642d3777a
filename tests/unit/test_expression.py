"""What thresholds are put on, and the ranges themselves."""

from __future__ import annotations

import pytest

from conntrack_common.catalogue import expression as expressions
from conntrack_common.catalogue.lookup import CATALOGUE, absences, find, samples, select
from conntrack_common.errors import InvalidRequest, NotAvailable
from conntrack_common.model import CpuCounters, Reading, Sysctls, TableCounts

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

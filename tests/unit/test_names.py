"""Each agent's names and texts, for every metric, and with hostile labels."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conntrack_common.catalogue.lookup import CATALOGUE
from conntrack_common.errors import InvalidRequest
from conntrack_common.model import Sample
from conntrack_plugins import collectd, prometheus, telegraf
from conntrack_plugins.labels import without
from conntrack_plugins.names import names

LABEL = st.text(min_size=1, max_size=30)


def test_names_are_unique_in_each_agent() -> None:
    for agent in range(3):
        found = [names(metric)[agent] for metric in CATALOGUE]
        assert len(found) == len(set(found))


def test_names_fit_each_agents_rules() -> None:
    for metric in CATALOGUE:
        name = prometheus.name(metric)
        assert re.fullmatch(r"conntrack_[a-z0-9_]+", name)
        assert name.endswith("_total") == (metric.kind == "counter")
        measurement, field = telegraf.name(metric)
        assert re.fullmatch(r"[a-z0-9_]+", measurement + field)
        assert field not in metric.labels
        sample = Sample(metric.id, tuple((label, "x") for label in metric.labels), 1)
        place = collectd.identifier(sample)
        assert place.type in {"percent", "conntrack", "derive", "gauge"}
        assert all(len(part) <= 63 and "/" not in part for part in place)


def untagged(line: str) -> tuple[dict[str, str], str]:
    """The tags and the fields of a line, by the protocol's own rules of escaping."""
    head, _, fields = re.split(r"(?<!\\)( )", line.rstrip("\n"), maxsplit=1)
    parts = re.split(r"(?<!\\),", head)[1:]
    pairs = (re.split(r"(?<!\\)=", part) for part in parts)
    return {key: re.sub(r"\\([,= ])", r"\1", value) for key, value in pairs}, fields


@given(LABEL)
def test_line_protocol_survives_any_label(value: str) -> None:
    line = telegraf.line_protocol([Sample("table.protocol", (("protocol", value),), 3)])
    assert line.count("\n") == 1
    tags, fields = untagged(line)
    kept = (
        (without("\\", value) if "\\" in value else value).replace("\n", "\\n").replace("\t", "\\t")
    )
    assert (tags, fields) == ({"protocol": kept}, "entries=3i")


@given(LABEL)
def test_exposition_survives_any_label(value: str) -> None:
    text = prometheus.exposition([Sample("table.protocol", (("protocol", value),), 3)])
    match = re.fullmatch(
        r"# HELP [^\n]+\n# TYPE \w+ gauge\n\w+\{protocol=\"((?:[^\"\\\n]|\\[\\\"n])*)\"\} 3\n", text
    )
    assert match
    unescaped = re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), match[1])
    assert unescaped == value


def test_a_field_keeps_its_type() -> None:
    for value in (0, 0.5, 1):
        assert "usage_percent=" in (
            line := telegraf.line_protocol([Sample("table.usage", (), value)])
        )
        assert "." in line.split("=")[1]
    assert telegraf.line_protocol([Sample("table.entries", (), 7)]) == "conntrack entries=7i\n"


@pytest.mark.parametrize(
    "line",
    [
        ("Nosuch", ("x",)),
        ("Interval", ("fast",)),
        ("Interval", (0.0,)),
        ("Interval", (True,)),
        ("Metrics", ("nosuch.*",)),
        ("Instance", ()),
        ("Instance", (b"a\xe9b",)),  # as collectd hands over what is no UTF-8
        ("Instance", (True,)),
        ("Netns", (b"\xff",)),
        ("ProcRoot", (b"/\xff",)),
        ("Metrics", (b"cpu.*\xff",)),
        ("Netns", (1.5,)),
        ("Events", ("yes",)),
    ],
)
def test_collectd_refuses_what_can_not_be_meant(line: tuple[str, tuple[object, ...]]) -> None:
    with pytest.raises(InvalidRequest):
        collectd.parse([line])


def test_collectd_takes_what_can() -> None:
    lines = [("metrics", ("cpu.*", "table.usage")), ("INTERVAL", (5.0,)), ("Netns", ("all",))]
    settings = collectd.parse(lines)
    assert {metric.id.split(".")[0] for metric in settings.metrics} == {"cpu", "table"}
    assert (settings.interval, settings.netns) == (5.0, "all")
    assert collectd.parse([("Netns", (1234.0,))]).netns == "1234"  # a process ID

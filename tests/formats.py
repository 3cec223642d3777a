"""Readers of what the commands print, written from the formats' own descriptions."""

from __future__ import annotations

import re
from typing import NamedTuple

Labels = tuple[tuple[str, str], ...]


class Perfdata(NamedTuple):
    """One performance datum: numbers as text."""

    value: str
    unit: str
    warning: str
    critical: str
    least: str
    most: str


def perfdata(text: str) -> dict[str, Perfdata]:
    """Read the performance data of a plugin's first line, or a `performance_data` field."""
    found = {}
    for label, quoted, rest in re.findall(r"(?:'([^']*)'|([^\s=']+))=(\S+)", text):
        value, warning, critical, least, most, *_ = [*rest.split(";"), "", "", "", ""]
        match = re.fullmatch(r"(-?[0-9.]+)(\D*)", value)
        assert match, f"{rest!r} is no performance datum"
        found[label or quoted] = Perfdata(*match.groups(), warning, critical, least, most)
    return found


def plugin(output: str) -> tuple[str, dict[str, Perfdata]]:
    """Return a plugin's first line and its performance data."""
    first = output.split("\n", maxsplit=1)[0]
    said, _bar, data = first.partition("|")
    return said.strip(), perfdata(data)


def line_protocol(text: str) -> dict[tuple[str, Labels], dict[str, str]]:
    """Return each line's fields (with their suffixes) by measurement and tags."""
    lines = {}
    for line in text.splitlines():
        series, fields = line.split(" ")
        measurement, *tags = series.split(",")
        key = (measurement, tuple(_pair(tag) for tag in tags))
        assert key not in lines, f"{key} has two lines"
        lines[key] = dict(_pair(field) for field in fields.split(","))
    return lines


def exposition(text: str) -> dict[tuple[str, Labels], float]:
    """Return the samples of a Prometheus text."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        assert match, f"{line!r} is no sample"
        name, labels, value = match.groups()
        pairs = re.findall(r'(\w+)="([^"]*)"', labels or "")
        found[name, tuple(pairs)] = float(value)
    return found


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value

"""The catalogue's part for ctnetlink's events."""

from __future__ import annotations

from collections.abc import Callable

from conntrack_common.catalogue.metric import COUNTER, Metric, Values
from conntrack_common.model import Reading


def _event(field: str) -> Callable[[Reading], Values]:
    return lambda reading: {(): getattr(reading.events, field)}


def _events(name: str, unit: str, text: str) -> Metric:
    return Metric(
        f"events.{name}",
        COUNTER,
        unit,
        text,
        "events",
        _event(name),
        bits=64,
        absent_when="only a process that keeps running counts events: conntrack-telegraf --execd, "
        "or collectd with 'Events true'",
    )


EVENTS = (
    _events("new", "events", "New entries since counting began."),
    _events("update", "events", "Changes of entries since counting began."),
    _events("destroy", "events", "Entries that ended since counting began."),
    _events("lost", "overruns", "How often the kernel dropped events: the counts are too low."),
)

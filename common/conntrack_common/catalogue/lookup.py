"""The whole catalogue, and what is looked up in it: metrics by their ids, samples of a reading.

To add a quantity, add one entry to the part that it belongs to, and one test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from conntrack_common.catalogue.cpu import COUNTERS, SYNPROXY
from conntrack_common.catalogue.events import EVENTS
from conntrack_common.catalogue.metric import STATE, Metric, Values, nearest
from conntrack_common.catalogue.sync import SYNC
from conntrack_common.catalogue.table import COUNTS, SIZES
from conntrack_common.errors import DaemonUnused, InvalidRequest
from conntrack_common.model import PARTS, Absent, Reading, Sample, Value


def _take_up(reading: Reading) -> Values:
    """Return 1 for each part that was read and 0 for each that failed, but for an unused daemon."""
    up = {part: getattr(reading, part) is not None for part in PARTS}
    unused = {part for part, why in reading.failures.items() if isinstance(why, DaemonUnused)}
    return {
        (part,): int(is_up)
        for part, is_up in up.items()
        if (is_up or part in reading.failures) and part not in unused
    }


CATALOGUE = (
    *SIZES,
    *COUNTERS,
    *SYNPROXY,
    *COUNTS,
    *EVENTS,
    *SYNC,
    Metric(
        "source.up",
        STATE,
        "state",
        "1 if this source of numbers could be read, 0 if it could not.",
        "",
        _take_up,
        labels=("source",),
        absent_when="nothing was read",
    ),
)
BY_ID = {metric.id: metric for metric in CATALOGUE}
# What any user may read without delay; all else reads the whole table.
CHEAP = tuple(metric for metric in CATALOGUE if metric.source in {"sysctls", "counters", ""})
LISTED = " ('conntrack-stat metrics' lists them all)"


def find(metric_id: str) -> Metric:
    """Return the metric with this id; raises InvalidRequest, which names the nearest ones."""
    if metric_id in BY_ID:
        return BY_ID[metric_id]
    raise InvalidRequest(f"there is no metric {metric_id!r}{nearest(metric_id, BY_ID)}{LISTED}")


def shown(metric: Metric, value: Value) -> Value:
    """Return a value in the unit that people read: a ratio in percent, all else as it is."""
    return value * 100 if metric.unit == "ratio" else value


def select(patterns: Iterable[str]) -> tuple[Metric, ...]:
    """Return the metrics whose ids match one of the patterns (as `table.*`), in catalogue order.

    Raises InvalidRequest when a pattern matches none.
    """
    from fnmatch import fnmatchcase

    chosen = set()
    for pattern in patterns:
        matching = {metric.id for metric in CATALOGUE if fnmatchcase(metric.id, pattern)}
        if not matching:
            raise InvalidRequest(f"no metric matches {pattern!r}{nearest(pattern, BY_ID)}{LISTED}")
        chosen |= matching
    return tuple(metric for metric in CATALOGUE if metric.id in chosen)


def sendable(patterns: Iterable[str]) -> tuple[Metric, ...]:
    """Return the metrics that an agent can get at every interval, as `select` does.

    The other node is asked by check_conntrackd and conntrack-stat sync alone. Raises
    InvalidRequest when a pattern matches nothing else.
    """
    chosen = set()
    for pattern in patterns:
        matching = select([pattern])
        own = {metric for metric in matching if metric.source != "peer"}
        if not own:
            raise InvalidRequest(
                f"{pattern} needs the other node's statistics, which only check_conntrackd and "
                "'conntrack-stat sync' ask for (--peer-command, --peer-file, --peer-socket)"
            )
        chosen |= own
    return tuple(metric for metric in CATALOGUE if metric in chosen)


def samples(reading: Reading, metrics: Iterable[Metric]) -> Iterator[Sample]:
    """Yield the value of each metric and label combination that the reading has.

    Samples of a namespace other than this process' own have the label netns before all others.
    """
    where = () if reading.netns is None else (("netns", reading.netns),)
    for metric in metrics:
        for values, value in _values(reading, metric).items():
            yield Sample(metric.id, (*where, *zip(metric.labels, values)), value)


def absences(reading: Reading, metrics: Iterable[Metric]) -> Iterator[Absent]:
    """Yield the metrics that have no value, each with the reason."""
    for metric in metrics:
        if metric.source in reading.failures:
            yield Absent(metric.id, str(reading.failures[metric.source]))
        elif not _values(reading, metric):
            yield Absent(metric.id, metric.why(reading) or metric.absent_when)


def _values(reading: Reading, metric: Metric) -> Values:
    part: object | None = getattr(reading, metric.source) if metric.source else reading
    return {} if part is None else metric.take(reading)

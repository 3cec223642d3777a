"""The catalogue: every quantity once. All names derive from it by rule.

To add a quantity, add one entry here and one test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from conntrack_common.analysis.change import is_approximate
from conntrack_common.analysis.usage import usage
from conntrack_common.counter_metrics import COUNTERS, SYNPROXY
from conntrack_common.digits import UINT16, whole
from conntrack_common.errors import DaemonUnused, InvalidRequest
from conntrack_common.metric import COUNTER, GAUGE, STATE, Metric, Values
from conntrack_common.model import PARTS, Absent, Reading, Sample, Sysctls, Value
from conntrack_common.sync_metrics import SYNC
from conntrack_common.terms import (
    FAMILIES,
    STATE_ALIASES,
    TCP_STATES,
    TOLD_FLAGS,
    protocol_name,
    protocol_number,
)


def _sysctl(field: str) -> Callable[[Reading], Values]:
    def take(reading: Reading) -> Values:
        value = getattr(reading.sysctls, field)
        return {} if value is None else {(): value}

    return take


def _take_usage(reading: Reading) -> Values:
    table = reading.sysctls or Sysctls()
    ratio = usage(table.entries, table.limit)
    return {} if ratio is None else {(): ratio}


def _take_timeouts(reading: Reading) -> Values:
    return {(name,): seconds for name, seconds in (reading.timeouts or {}).items()}


def _counts(dimension: str) -> Callable[[Reading], Values]:
    def take(reading: Reading) -> Values:
        counts = reading.counts.by[dimension] if reading.counts else {}
        return {(value,): entries for value, entries in counts.items()}

    return take


def _event(field: str) -> Callable[[Reading], Values]:
    return lambda reading: {(): getattr(reading.events, field)}


def _take_approximate(reading: Reading) -> Values:
    approximate = is_approximate(reading.counts.change) if reading.counts else None
    return {} if approximate is None else {(): int(approximate)}


def _take_changed(reading: Reading) -> Values:
    change = reading.counts.change if reading.counts else None
    return {} if change is None else {(): change.entries}


def _take_up(reading: Reading) -> Values:
    """Return 1 for each part that was read and 0 for each that failed, but for an unused daemon."""
    up = {part: getattr(reading, part) is not None for part in PARTS}
    unused = {part for part, why in reading.failures.items() if isinstance(why, DaemonUnused)}
    return {
        (part,): int(is_up)
        for part, is_up in up.items()
        if (is_up or part in reading.failures) and part not in unused
    }


def _table(name: str, field: str, unit: str, text: str, kind: str = GAUGE) -> Metric:
    return Metric(f"table.{name}", kind, unit, text, "sysctls", _sysctl(field))


def _breakdown(metric_id: str, label: str, dimension: str, text: str) -> Metric:
    return Metric(
        metric_id,
        GAUGE,
        "entries",
        text,
        "counts",
        _counts(dimension),
        labels=(label,),
        absent_when="no entries",
        named=NAMED[dimension],
    )


def _one_of(known: Sequence[str], aliases: Mapping[str, str] = {}) -> Callable[[str], str]:
    spelled = {name.lower(): name for name in known}
    spelled.update({alias.lower(): name for alias, name in aliases.items()})

    def named(value: str) -> str:
        if value.lower() not in spelled:
            raise InvalidRequest(f"there is no {value!r}{nearest(value.upper(), known)}")
        return spelled[value.lower()]

    return named


def _zone(value: str) -> str:
    number = whole(value, UINT16)
    if number is None:
        raise InvalidRequest(f"{value!r} is no zone: a zone is a number from 0 to {UINT16}")
    return str(number)


# The values that the table's labels can have; after a whole read, the others have no entry.
NAMED: Mapping[str, Callable[[str], str]] = {
    "protocol": lambda value: protocol_name(protocol_number(value)),
    "family": _one_of(tuple(FAMILIES.values())),
    "zone": _zone,
    "status": _one_of((*TOLD_FLAGS, "UNREPLIED")),
    "tcp_state": _one_of(TCP_STATES[1:], STATE_ALIASES),
}


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


_NO_SIZE = "the table's size can be read neither under /proc/sys/net nor by ctnetlink"
_NO_LIMIT = (
    "nf_conntrack_max is 0 (no limit) or unknown: set net.netfilter.nf_conntrack_max, "
    "or watch table.entries"
)

CATALOGUE: tuple[Metric, ...] = (
    _table("entries", "entries", "entries", "Entries in this namespace's table."),
    _table(
        "limit", "limit", "entries", "Most entries that a table may hold (all namespaces: one)."
    ),
    Metric(
        "table.usage",
        GAUGE,
        "ratio",
        "Entries as a share of the limit; at 1 the kernel drops packets of new connections.",
        "sysctls",
        _take_usage,
        absent_when=_NO_LIMIT,
    ),
    _table("buckets", "buckets", "buckets", "Size of the hash table (all namespaces share it)."),
    _table("expect_limit", "expect_max", "expectations", "Most expectations that may wait."),
    _table("acct", "acct", "state", "1 if packets and bytes are counted per entry.", STATE),
    _table("timestamp", "timestamp", "state", "1 if entries keep their start time.", STATE),
    _table("events", "events", "state", "0 no events, 1 always, 2 while somebody listens.", STATE),
    _table("helper", "helper", "state", "1 if helpers are assigned automatically.", STATE),
    Metric(
        "table.timeout",
        GAUGE,
        "seconds",
        "How long an entry lives after its last packet, by protocol and state.",
        "timeouts",
        _take_timeouts,
        labels=("timeout",),
    ),
    *COUNTERS,
    *SYNPROXY,
    _breakdown("table.protocol", "protocol", "protocol", "Entries of each protocol."),
    _breakdown("table.family", "family", "family", "Entries of each address family."),
    _breakdown(
        "table.zone", "zone", "zone", "Entries in each of the 20 largest zones of both directions."
    ),
    _breakdown(
        "table.status",
        "status",
        "status",
        "Entries that have each status flag; an entry may have several.",
    ),
    _breakdown("tcp.state", "state", "tcp_state", "TCP entries in each state."),
    Metric(
        "table.approximate",
        STATE,
        "state",
        "1 if the table changed by more than 1 %, or was resized, both times that it was counted.",
        "counts",
        _take_approximate,
        absent_when=_NO_SIZE,
    ),
    Metric(
        "table.changed",
        GAUGE,
        "entries",
        "How many entries came or went while the table was counted, as far as its size shows.",
        "counts",
        _take_changed,
        absent_when=_NO_SIZE,
    ),
    _events("new", "events", "Entries that were new since the counting began."),
    _events("update", "events", "Changes of entries since the counting began."),
    _events("destroy", "events", "Entries that ended since the counting began."),
    _events("lost", "overruns", "How often the kernel dropped events: the counts are too low."),
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
# What anybody may read at once; all else reads the whole table.
CHEAP = tuple(metric for metric in CATALOGUE if metric.source in {"sysctls", "counters", ""})


LISTED = " ('conntrack-stat metrics' lists them all)"


def find(metric_id: str) -> Metric:
    """Return the metric with this id; raises InvalidRequest, which names the nearest ones."""
    if metric_id in BY_ID:
        return BY_ID[metric_id]
    raise InvalidRequest(f"there is no metric {metric_id!r}{nearest(metric_id, BY_ID)}{LISTED}")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the part of a sentence that suggests known words for a misspelt one."""
    from difflib import get_close_matches

    names = list(known)
    close = get_close_matches(word, names, n=3, cutoff=0.5) or names[:3]
    return f"; did you mean {' or '.join(close)}?"


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
        found = {metric.id for metric in CATALOGUE if fnmatchcase(metric.id, pattern)}
        if not found:
            raise InvalidRequest(f"no metric matches {pattern!r}{nearest(pattern, BY_ID)}{LISTED}")
        chosen |= found
    return tuple(metric for metric in CATALOGUE if metric.id in chosen)


def sendable(patterns: Iterable[str]) -> tuple[Metric, ...]:
    """Return the metrics that an agent that keeps asking can get, as `select` does.

    The other node is asked by check_conntrackd and conntrack-stat sync alone. Raises
    InvalidRequest when a pattern matches nothing else.
    """
    chosen = set()
    for pattern in patterns:
        matching = select([pattern])
        sent = {metric for metric in matching if metric.source != "peer"}
        if not sent:
            raise InvalidRequest(
                f"{pattern} needs the other node's statistics, which only check_conntrackd and "
                "'conntrack-stat sync' ask for (--peer-command, --peer-file, --peer-socket)"
            )
        chosen |= sent
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

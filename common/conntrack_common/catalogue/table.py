"""The catalogue's part for the table: its size and settings, and its entries counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from conntrack_common.analysis.change import is_approximate
from conntrack_common.analysis.usage import usage
from conntrack_common.catalogue.metric import GAUGE, STATE, Metric, Values, nearest
from conntrack_common.digits import UINT16, whole
from conntrack_common.errors import InvalidRequest
from conntrack_common.model import Reading, Sysctls
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


def _take_approximate(reading: Reading) -> Values:
    approximate = is_approximate(reading.counts.change) if reading.counts else None
    return {} if approximate is None else {(): int(approximate)}


def _take_changed(reading: Reading) -> Values:
    change = reading.counts.change if reading.counts else None
    return {} if change is None else {(): change.entries}


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
            raise InvalidRequest(f"{value!r} is unknown{nearest(value.upper(), known)}")
        return spelled[value.lower()]

    return named


def _zone(value: str) -> str:
    number = whole(value, UINT16)
    if number is None:
        raise InvalidRequest(f"{value!r} is not a zone: a zone is a number from 0 to {UINT16}")
    return str(number)


# The values that the table's labels can have; after a whole read, the others have no entry.
NAMED: Mapping[str, Callable[[str], str]] = {
    "protocol": lambda value: protocol_name(protocol_number(value)),
    "family": _one_of(tuple(FAMILIES.values())),
    "zone": _zone,
    "status": _one_of((*TOLD_FLAGS, "UNREPLIED")),
    "tcp_state": _one_of(TCP_STATES[1:], STATE_ALIASES),
}


_NO_SIZE = "the table's size can be read neither under /proc/sys/net nor by ctnetlink"
_NO_LIMIT = (
    "nf_conntrack_max is 0 (no limit) or unknown: set net.netfilter.nf_conntrack_max, "
    "or watch table.entries"
)

SIZES = (
    _table("entries", "entries", "entries", "Entries in this namespace's table."),
    _table(
        "limit", "limit", "entries", "Most entries that a table may have (all namespaces share it)."
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
    _table("expect_limit", "expect_max", "expectations", "Most expectations at a time."),
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
)
COUNTS = (
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
        "How many entries were added or removed while the table was counted, by its size.",
        "counts",
        _take_changed,
        absent_when=_NO_SIZE,
    ),
)

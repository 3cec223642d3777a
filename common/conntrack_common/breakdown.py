"""The table by any set of dimensions, read in one pass."""

from __future__ import annotations

import heapq
import itertools
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from conntrack_common.errors import Interrupted, InvalidRequest, NotAvailable
from conntrack_common.filters import ZONES, Filter, zone_of
from conntrack_common.model import Breakdown, Group, TableCounts
from conntrack_common.record import NamedTuple
from conntrack_common.sources.dump import Request, receive
from conntrack_common.sources.entries import address, text
from conntrack_common.sources.table import (
    BYTES,
    COUNTED,
    ENTRIES,
    FIRST,
    PACKETS,
    STAMPED,
    STARTS,
    Census,
    Query,
)
from conntrack_common.terms import (
    FAMILIES,
    STATES,
    TCP_STATES,
    TOLD_FLAGS,
    protocol_name,
    state_name,
    status_names,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ATTEMPTS = 2
ZONES_TOLD = 20  # a metric's labels must not grow with the number of zones


def _silent(_entries: int) -> None:
    """Tell nobody."""


class Few(NamedTuple):
    """A dimension with few values: the fields that it needs, and the values that they make.

    An entry counts under each of the values, which are more than one for status alone.
    """

    fields: tuple[str, ...]
    values: Callable[[Mapping[str, Any]], tuple[str | None, ...]]


class Many(NamedTuple):
    """A dimension with many values: its field, and how a value is written."""

    field: str
    text: Callable[[Any], str]


def _protocol(found: Mapping[str, Any]) -> str | None:
    number = found.get("orig_protocol")
    return None if number is None else protocol_name(number)


def _state(found: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """Return the state of one protocol alone; entries of others count under none."""
    name = state_name({field: found.get(field)})
    return () if name is None else (name,)


DIMENSIONS: Mapping[str, Few | Many] = {
    "protocol": Few(("orig_protocol",), lambda found: (_protocol(found),)),
    "state": Few(tuple(STATES), lambda found: (state_name(found),)),
    "family": Few(("family",), lambda found: (FAMILIES.get(found["family"]),)),
    "zone": Few(ZONES, lambda found: (str(zone_of(found)),)),
    "status": Few(("status",), lambda found: status_names(found.get("status", 0))),
    "tcp_state": Few(("tcp_state",), lambda found: _state(found, "tcp_state")),
    "helper": Few(("helper",), lambda found: (text(found.get("helper")),)),
    "mark": Many("mark", str),
    "src": Many("orig_src", address),
    "dst": Many("orig_dst", address),
    "sport": Many("orig_sport", str),
    "dport": Many("orig_dport", str),
    "reply-src": Many("reply_src", address),
    "reply-dst": Many("reply_dst", address),
    "reply-sport": Many("reply_sport", str),
    "reply-dport": Many("reply_dport", str),
}
# What is counted for metrics, and the values that are told even if they are 0.
MARGINS: Mapping[str, Sequence[str]] = {
    "protocol": ("tcp", "udp", "icmp", "icmpv6"),
    "tcp_state": TCP_STATES[1:],
    "family": tuple(FAMILIES.values()),
    "zone": (),
    "status": (*TOLD_FLAGS, "UNREPLIED"),
}


def count_table(
    by: Sequence[str] = (),
    filter_: Filter | None = None,
    *,
    counters: bool = False,
    age: bool = False,
    top: int | None = None,
    progress: Callable[[int], None] = _silent,
) -> Breakdown:
    """Count the entries that a filter means, by dimensions, as `conntrack -L` would list them.

    With `counters`, packets and bytes are added up; with `age`, ages are measured; `top` keeps the
    largest groups only. A dump that the kernel reports as disturbed is repeated once. `progress`
    is told the entries read so far, now and then. Raises InvalidRequest (an unknown dimension),
    NotPermitted, NotAvailable, Interrupted, MalformedData.
    """
    check_dimensions(by)
    wanted = filter_ or Filter()
    query = _query(by, wanted, counters=counters, age=age)
    census = _take_census(query, wanted, progress)
    total = census.total
    merged = _merged(census, by)
    largest = heapq.nlargest(
        len(merged) if top is None else top, merged.items(), key=lambda item: item[1][ENTRIES]
    )
    now = time.time()
    groups = tuple(_group(tuple(zip(by, values)), cell, now) for values, cell in largest)
    return Breakdown(total, groups, census.interrupted, census.error)


def count_margins(filter_: Filter | None = None) -> TableCounts:
    """Count the table by each of MARGINS by itself, in one pass; raises as `count_table` does."""
    wanted = filter_ or Filter()
    census = _take_census(_query(MARGINS, wanted), wanted)
    by: dict[str, dict[str, int]] = {name: dict.fromkeys(MARGINS[name], 0) for name in MARGINS}
    for group, cell in census.groups.items():
        label, *values = group if census.is_split else (group,)
        for name, choice in zip(MARGINS, _choices(tuple(MARGINS), label, values)):
            for value in choice:
                by[name][str(value)] = by[name].get(str(value), 0) + cell[ENTRIES]
    by["zone"] = _largest(by["zone"], ZONES_TOLD)
    return TableCounts(census.total, by, census.interrupted)


def _largest(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """Return the largest counts by name, and all else together as `other`."""
    told = dict(heapq.nlargest(most, counts.items(), key=lambda item: item[1]))
    rest = sum(counts.values()) - sum(told.values())
    return {**told, "other": rest} if len(counts) > most else told


def check_dimensions(by: Sequence[str]) -> None:
    """Raise InvalidRequest if one of these is no dimension of the table."""
    for name in by:
        if name not in DIMENSIONS:
            known = ", ".join(DIMENSIONS)
            raise InvalidRequest(f"the table can't be counted by {name!r}: known are {known}")


def _query(
    by: Iterable[str], wanted: Filter, *, counters: bool = False, age: bool = False
) -> Query:
    dimensions = [DIMENSIONS[name] for name in by]
    few = [found for found in dimensions if isinstance(found, Few)]
    many = [found for found in dimensions if isinstance(found, Many)]
    key = dict.fromkeys((*wanted.key, *(field for each in few for field in each.fields)))

    def label(fields: Mapping[str, Any]) -> tuple[tuple[str | None, ...], ...] | None:
        return tuple(each.values(fields) for each in few) if wanted.accepts(fields) else None

    return Query(
        key=tuple(key),
        label=label,
        values=tuple(each.field for each in many),
        tested=wanted.tested,
        test=wanted.test,
        counters=counters,
        age=age,
    )


def _take_census(query: Query, wanted: Filter, progress: Callable[[int], None] = _silent) -> Census:
    requests = wanted.requests()
    for attempt in range(ATTEMPTS):
        is_last = attempt == ATTEMPTS - 1
        try:
            census = _pass(query, requests, progress)
        except NotAvailable:
            if requests == wanted.plain_requests():
                raise
            # An older kernel refuses the filter; the reader's own gives the same answer.
            requests = wanted.plain_requests()
            census = _pass(query, requests, progress)
        except Interrupted:
            if is_last:
                raise
            continue
        if not census.interrupted or is_last:
            return census
    raise Interrupted("the table's dump was disturbed each time: try again")


def _pass(query: Query, requests: Sequence[Request], progress: Callable[[int], None]) -> Census:
    census = Census(query)
    for number, buffer in enumerate(receive(requests)):
        buffer.ended = census.count(buffer.data)
        if number % 256 == 255:
            progress(census.total)
    return census


def _merged(census: Census, by: Sequence[str]) -> dict[tuple[str | None, ...], list[int]]:
    """Return the cells by dimensions; an entry with several status flags is in several of them.

    The census is emptied, so that a large one does not take its room twice.
    """
    merged: dict[tuple[str | None, ...], list[int]] = {}
    while census.groups:
        group, cell = census.groups.popitem()
        label, *values = group if census.is_split else (group,)
        for key in itertools.product(*_choices(by, label, values)):
            known = merged.setdefault(key, [0] * len(cell))
            first = min((each[FIRST] for each in (known, cell) if each[STAMPED]), default=0)
            known[:] = map(operator.add, known, cell)
            known[FIRST] = first
    return merged


def _choices(
    by: Sequence[str], label: Iterable[tuple[str | None, ...]], values: Iterable[object]
) -> Iterator[tuple[str | None, ...]]:
    """Yield, for each dimension, the values that a cell counts under."""
    few, many = iter(label), iter(values)
    for name in by:
        dimension = DIMENSIONS[name]
        if isinstance(dimension, Few):
            yield next(few)
        else:
            value = next(many)
            yield (None if value is None else dimension.text(value),)


def _group(by: tuple[tuple[str, str | None], ...], cell: list[int], now: float) -> Group:
    counted, stamped = cell[COUNTED], cell[STAMPED]
    return Group(
        by,
        cell[ENTRIES],
        counted,
        packets=cell[PACKETS] if counted else None,
        bytes=cell[BYTES] if counted else None,
        mean_age=max(0.0, now - cell[STARTS] / stamped / 1e9) if stamped else None,
        oldest=max(0.0, now - cell[FIRST] / 1e9) if stamped else None,
    )

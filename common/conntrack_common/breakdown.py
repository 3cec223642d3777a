"""The table by any set of dimensions, read in one pass."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from conntrack_common.analysis.change import is_approximate
from conntrack_common.ctnetlink.census import Cell, Census, Query
from conntrack_common.ctnetlink.dump import Pass
from conntrack_common.ctnetlink.entries import address, text
from conntrack_common.ctnetlink.shapes import LIMIT
from conntrack_common.errors import Interrupted, InvalidRequest
from conntrack_common.filters.filter import Filter
from conntrack_common.model import REST, Breakdown, Change, Group, TableCounts
from conntrack_common.records import NamedTuple
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
    from typing import Any, TypeVar

    Counted = TypeVar("Counted", bound=Census)

ATTEMPTS = 2
ZONES_TOLD = 20  # a metric's labels must not grow with the number of zones


def _silent(_entries: int) -> None:
    """Pass nothing on."""


class Few(NamedTuple):
    """A dimension with few values: the fields that it needs, and the values that they make.

    An entry counts under each of the values; `is_exact` if it always has one, and one only.
    """

    fields: tuple[str, ...]
    values: Callable[[Mapping[str, Any]], tuple[str | None, ...]]
    is_exact: bool = True


class Many(NamedTuple):
    """A dimension with many values: its field, and how a value is written.

    `is_exact` if no two values are written alike.
    """

    field: str
    text: Callable[[Any], str]
    is_exact: bool = True


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
    "zone": Few(("zone",), lambda found: (str(found.get("zone", 0)),)),
    "orig-zone": Few(("orig_zone",), lambda found: (str(found.get("orig_zone", 0)),)),
    "reply-zone": Few(("reply_zone",), lambda found: (str(found.get("reply_zone", 0)),)),
    "status": Few(("status",), lambda found: status_names(found.get("status", 0)), is_exact=False),
    "tcp_state": Few(("tcp_state",), lambda found: _state(found, "tcp_state"), is_exact=False),
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
    largest groups only. A table that changed much meanwhile is read once more. `progress` is given
    the entries read so far, now and then. Raises InvalidRequest (an unknown dimension),
    NotPermitted, NotAvailable, Interrupted, MalformedData.
    """
    check_dimensions(by)
    wanted = filter_ or Filter()
    query = _query(by, wanted, counters=counters, age=age)
    census, change = _count(lambda: Census(query), wanted, progress)
    if top is not None and all(DIMENSIONS[name].is_exact for name in by):
        census.keep_largest(top)  # which takes less time than to write all their names
    merged = _merged(census, by)
    largest = heapq.nlargest(
        len(merged) if top is None else top, merged.items(), key=lambda item: item[1].entries
    )
    now = time.time()
    groups = tuple(_group(tuple(zip(by, values)), cell, now) for values, cell in largest)
    return Breakdown(census.total, groups, change, census.error)


def count_margins(filter_: Filter | None = None) -> TableCounts:
    """Count the table by each of MARGINS by itself, in one pass; raises as `count_table` does."""
    wanted = filter_ or Filter()
    margins, change = _count(lambda: _Margins(wanted), wanted)
    return TableCounts(margins.total, margins.counts(), change)


class _Margins(Census):
    """Counts by each dimension by itself.

    Groups are combinations of all dimensions. Before there are too many of them, they are added up,
    so that none is ever dropped, and the memory grows with each dimension alone.
    """

    def __init__(self, wanted: Filter, limit: int = LIMIT) -> None:
        super().__init__(_query(MARGINS, wanted), limit)
        self._by = {name: dict.fromkeys(MARGINS[name], 0) for name in MARGINS}

    def count(self, data: bytes) -> None:
        """Count the messages of one buffer; raises MalformedData."""
        super().count(data)
        if self.size > self.limit // 2:
            self._add_up()

    def _add_up(self) -> None:
        for label, values, cell in self.take_groups():
            for name, choice in zip(MARGINS, _choices(tuple(MARGINS), label, values)):
                for value in choice:
                    self._by[name][str(value)] = self._by[name].get(str(value), 0) + cell.entries

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the counts by each dimension's values."""
        self._add_up()
        return {**self._by, "zone": _largest(self._by["zone"], ZONES_TOLD)}


def _largest(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """Return the largest counts by name, and all else together as REST."""
    told = dict(heapq.nlargest(most, counts.items(), key=lambda item: item[1]))
    rest = sum(counts.values()) - sum(told.values())
    return {**told, REST: rest} if len(counts) > most else told


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


def _count(
    census: Callable[[], Counted], wanted: Filter, progress: Callable[[int], None] = _silent
) -> tuple[Counted, Change | None]:
    """Let a new census count the table, and another one if that was disturbed."""
    for attempt in range(ATTEMPTS):
        is_last = attempt == ATTEMPTS - 1
        try:
            counted, change = _pass(census(), wanted, progress)
        except Interrupted:
            if is_last:
                raise
            continue
        if is_last or not is_approximate(change):
            break
    return counted, change


def _pass(
    census: Counted, wanted: Filter, progress: Callable[[int], None]
) -> tuple[Counted, Change | None]:
    dump = Pass(wanted.requests(), wanted.plain_requests())
    for number, data in enumerate(dump):
        census.count(data)
        if number % 16 == 15:
            progress(census.total)
    return census, dump.change(census.seen)


def _merged(census: Census, by: Sequence[str]) -> dict[tuple[str | None, ...], Cell]:
    """Return the cells by dimensions; an entry with several status flags is in several of them.

    The census is emptied, so that a large one does not take its room twice.
    """
    merged: dict[tuple[str | None, ...], Cell] = {}
    for label, values, cell in census.take_groups():
        for key in itertools.product(*_choices(by, label, values)):
            merged.setdefault(key, Cell()).add(cell)
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


def _group(by: tuple[tuple[str, str | None], ...], cell: Cell, now: float) -> Group:
    counted, stamped = cell.counted, cell.stamped
    return Group(
        by,
        cell.entries,
        counted,
        packets=cell.packets if counted else None,
        bytes=cell.bytes if counted else None,
        mean_age=max(0.0, now - cell.starts / stamped / 1e9) if stamped else None,
        oldest=max(0.0, now - cell.first / 1e9) if stamped else None,
    )

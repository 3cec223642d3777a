"""Entries counted by what they have in common, in a memory that grows with the groups to a limit.

shapes.py finds which entries of a buffer are alike; here is decided, once for each form, what those
count under, and their own values are added up where there are any.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping

from conntrack_common.ctnetlink.shapes import LIMIT, Form, Shapes
from conntrack_common.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from conntrack_common.ctnetlink.shapes import Values

COUNTERS = ("orig_packets", "reply_packets", "orig_bytes", "reply_bytes")


class Query(NamedTuple):
    """What is counted.

    `key` names fields with few values; `label` maps them, and `type` and `flags` of the message, to
    what the entries are counted under, or to None where they are not. `values` names fields with
    many values, which are put behind the label; `test`, where there is one, gets the values of
    `tested` and decides on each entry. Packets and bytes are added up if `counters`, ages if `age`.
    """

    key: tuple[str, ...]
    label: Callable[[Mapping[str, Any]], Hashable]
    values: tuple[str, ...] = ()
    tested: tuple[str, ...] = ()
    test: Callable[[Values], bool] | None = None
    counters: bool = False
    age: bool = False

    @property
    def taken(self) -> tuple[str, ...]:
        """All fields whose values are taken from each entry by itself."""
        counters = COUNTERS if self.counters else ()
        return (*self.values, *self.tested, *counters, *(("start",) if self.age else ()))


class Cell:
    """What is counted of a group.

    `entries`; `counted` of them have accounting, with so many `packets` and `bytes`; `stamped` have
    a timestamp: the sum of their `starts` and the `first` (nanoseconds since 1970).
    """

    __slots__ = ("bytes", "counted", "entries", "first", "packets", "stamped", "starts")

    def __init__(self, entries: int = 0) -> None:
        self.entries = entries
        self.counted = self.packets = self.bytes = 0
        self.stamped = self.starts = self.first = 0

    def start(self, start: int | None) -> None:
        """Count one entry's timestamp, if it has one."""
        if start:
            self.first = min(start, self.first) if self.stamped else start
            self.stamped += 1
            self.starts += start

    def add(self, other: Cell) -> None:
        """Count what another cell has counted, too."""
        if other.stamped:
            self.first = min(other.first, self.first) if self.stamped else other.first
        self.entries += other.entries
        self.counted += other.counted
        self.packets += other.packets
        self.bytes += other.bytes
        self.stamped += other.stamped
        self.starts += other.starts


class Census:
    """Counts entries, whatever their number, in a memory that grows with the groups up to a limit.

    A group is a label, or a label and values. `seen` is how many entries were read, `total` how
    many were meant, those of dropped groups among them, `size` how many groups there are.
    """

    def __init__(self, query: Query, limit: int = LIMIT) -> None:
        self._query = query
        self.limit = limit
        self.shapes = Shapes(query.key, query.taken, limit)
        self._labels: dict[Form, Hashable] = {}
        # By label, then by values: how many entries there are, or cells where more is added up.
        self._counts: dict[Hashable, Counter[Values]] = {}
        self._cells: dict[Hashable, dict[Values, Cell]] = {}
        self.size = self.error = self.seen = self.total = 0

    def count(self, data: bytes) -> None:
        """Count the messages of one buffer; raises MalformedData when those before it are counted.

        A group may be counted for a moment that is beyond the limit.
        """
        query, labels = self._query, self._labels
        has_cells, is_split, first = query.counters or query.age, query.taken, len(query.values)
        for form, offsets in self.shapes.find(data):
            self.seen += len(offsets)
            label = labels[form] if form in labels else self._label(form)
            if label is None:
                continue
            if has_cells:
                self._add(label, form.rows(data, offsets))
            else:
                counts = self._counts.get(label)
                if counts is None:
                    counts = self._counts[label] = Counter()
                groups = len(counts)
                entries = len(offsets)
                if not is_split:
                    counts[()] += entries
                elif query.test is None:
                    counts.update(form.rows(data, offsets))
                else:
                    rows = [row[:first] for row in self._meant(form.rows(data, offsets))]
                    counts.update(rows)
                    entries = len(rows)
                self.total += entries
                self.size += len(counts) - groups
            while self.size > self.limit:
                self._thin()

    def by_label(self) -> dict[Any, int]:
        """Return how many entries each label has; another thread may count meanwhile."""
        return {label: sum(list(counts.values())) for label, counts in list(self._counts.items())}

    def keep_largest(self, most: int) -> None:
        """Forget all groups but so many of each label, the largest ones."""
        for label, counts in self._counts.items():
            self._counts[label] = Counter(dict(counts.most_common(most)))
        for label, groups in self._cells.items():
            largest = heapq.nlargest(most, groups.items(), key=lambda item: item[1].entries)
            self._cells[label] = dict(largest)

    def take_groups(self) -> Iterator[tuple[Any, Values, Cell]]:
        """Yield label, values and cell of each group, which is forgotten then.

        `seen`, `total` and `error` go on.
        """
        counts, self._counts = self._counts, {}
        cells, self._cells = self._cells, {}
        self.size = 0
        while counts:
            label, entries = counts.popitem()
            while entries:
                values, number = entries.popitem()
                yield label, values, Cell(number)
        while cells:
            label, groups = cells.popitem()
            while groups:
                values, cell = groups.popitem()
                yield label, values, cell

    def _label(self, form: Form) -> Hashable:
        """Decide what the entries of a form count under."""
        if len(self._labels) >= self.limit:
            self._labels.clear()
        fields = {**form.fields, "type": form.kind, "flags": form.flags}
        label = self._labels[form] = self._query.label(fields)
        return label

    def _meant(self, rows: Iterator[Values]) -> Iterator[Values]:
        """Return the rows that pass the query's test, if there is one."""
        test, first = self._query.test, len(self._query.values)
        if test is None:
            return rows
        last = first + len(self._query.tested)
        return (row for row in rows if test(row[first:last]))

    def _add(self, label: Hashable, rows: Iterator[Values]) -> None:
        """Add up packets, bytes and ages of entries with this label."""
        query, groups = self._query, self._cells.setdefault(label, {})
        first = len(query.values)
        counters = first + len(query.tested)
        for row in self._meant(rows):
            cell = groups.get(row[:first])
            if cell is None:
                cell = groups[row[:first]] = Cell()
                self.size += 1
            self.total += 1
            cell.entries += 1
            if query.counters and row[counters] is not None:
                cell.counted += 1
                cell.packets += row[counters] + row[counters + 1]
                cell.bytes += row[counters + 2] + row[counters + 3]
            if query.age:
                cell.start(row[-1])

    def _thin(self) -> None:
        """Make room by Misra and Gries' algorithm: take the median from each count, drop the small.

        A group may then have up to `error` entries more than are counted for it; over a whole
        table of N entries that is at most 2 N / limit.
        """
        counts, self._counts = self._counts, {}
        cells, self._cells = self._cells, {}
        numbers = [n for each in counts.values() for n in each.values()]
        numbers += [cell.entries for each in cells.values() for cell in each.values()]
        median = sorted(numbers)[len(numbers) // 2]
        self.error += median
        self.size = 0
        for label, each in counts.items():
            if rest := {values: n - median for values, n in each.items() if n > median}:
                self._counts[label] = Counter(rest)
                self.size += len(rest)
        for label, groups in cells.items():
            if large := {values: cell for values, cell in groups.items() if cell.entries > median}:
                self._cells[label] = large
                self.size += len(large)
                for cell in large.values():
                    cell.entries -= median

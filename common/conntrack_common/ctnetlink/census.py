"""The table, counted in one pass.

Messages of one shape have the same attributes at the same offsets. So, for each shape, a mask
blanks the values that nobody asked for, and what is left of a message (all its headers, and the
values that were asked for) is the key under which it is counted. Equal keys prove equal shapes; a
key that was never seen is read by a slow walk. The message's length alone does not tell the shape:
a mark and a zone take the same room.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

from conntrack_common.ctnetlink.messages import Layout, Place, decode, layout
from conntrack_common.ctnetlink.socket import HEADER, NFNL_SUBSYS_CTNETLINK, SOURCE
from conntrack_common.errors import MalformedData
from conntrack_common.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Cell = list[int]
    Values = tuple[Any, ...]

LENGTH = struct.Struct("=I")
SEQUENCE_AND_PORT = Place(8, 8, "")  # of nlmsghdr
# What a cell counts: entries; those with accounting, their packets and bytes; those with a
# timestamp, the sum of their start times and the earliest one (nanoseconds since 1970).
ENTRIES, COUNTED, PACKETS, BYTES, STAMPED, STARTS, FIRST = range(7)
CELL_SIZE = FIRST + 1
LIMIT = 100_000  # groups, and known keys
IGNORED = object()  # stands where a label would, for entries that are not asked for
COUNTERS = ("orig_packets", "reply_packets", "orig_bytes", "reply_bytes")


class Query(NamedTuple):
    """What is counted.

    `key` names fields with few values; `label` maps them to what the entries are counted under,
    or to None where they are not. `values` names fields with many values, which are put behind
    the label; `test`, where there is one, gets the values of `tested` and decides on each entry.
    Packets and bytes are added up if `counters`, ages if `age`.
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


class Shape(NamedTuple):
    """How to read one shape of message: `found` holds the cell or label of each known key."""

    mask: int
    values: Callable[[bytes, int], Values]
    found: dict[int, Any]


class Census:
    """Counts entries, whatever their number, in a memory that grows with the groups up to a limit.

    `groups` maps a label, or a label and values, to a cell, or to a number if only entries are
    counted by values; `seen` is how many messages were read, `total` how many entries were meant,
    those of dropped groups among them.
    """

    def __init__(self, query: Query, limit: int = LIMIT) -> None:
        self._query = query
        self.limit = limit
        self._shapes: dict[int, list[Shape]] = {}
        self._keys = 0
        self._ignored = [0] * CELL_SIZE
        self._is_split = bool(query.taken)
        self._is_plain = self._is_split and query.taken == query.values
        self.groups: dict[Any, Any] = {}
        self.error = 0
        self.seen = 0

    @property
    def total(self) -> int:
        """All entries that were counted."""
        return self.seen - self._ignored[ENTRIES]

    def count(self, data: bytes) -> None:
        """Count the messages of one buffer; raises MalformedData."""
        shapes, length_at, number = self._shapes, LENGTH.unpack_from, int.from_bytes
        is_split, is_plain, groups, take = self._is_split, self._is_plain, self.groups, self._take
        offset, end, seen = 0, len(data), 0
        while offset + 4 <= end:
            length = length_at(data, offset)[0]
            for shape in shapes.get(length, ()):
                mask, values, known = shape
                found = known.get(number(data[offset : offset + length], "little") & mask)
                if found is not None:
                    break
            else:
                self._learn(data, offset, length)
                continue
            if not is_split:
                found[0] += 1
            elif is_plain and found is not IGNORED:  # half of the time of a cell
                group = (found, values(data, offset))
                groups[group] = groups.get(group, 0) + 1
            else:
                take(found, values(data, offset))
            offset += (length + 3) & ~3
            seen += 1
        self.seen += seen
        while is_plain and len(self.groups) > self.limit:
            self._thin()
        if offset != end:
            raise MalformedData(SOURCE, f"offset {offset}", "a message is cut short")

    def take_groups(self) -> Iterator[tuple[Any, Values, Cell]]:
        """Yield label, values and cell of each group, which is forgotten then.

        `seen`, `total` and `error` go on.
        """
        groups, self.groups = self.groups, {}
        self._forget()
        while groups:
            group, cell = groups.popitem()
            label, values = group if self._is_split else (group, ())
            yield label, values, [cell, *[0] * FIRST] if self._is_plain else cell

    def _take(self, label: Hashable, values: Values) -> None:
        """Count one entry under its label and its own values."""
        query = self._query
        tested, counters = len(query.values), len(query.values) + len(query.tested)
        if label is IGNORED or (query.test and not query.test(values[tested:counters])):
            self._ignored[ENTRIES] += 1
            return
        cell = self._cell((label, values[:tested]))
        cell[ENTRIES] += 1
        if query.counters and values[counters] is not None:
            cell[COUNTED] += 1
            cell[PACKETS] += values[counters] + values[counters + 1]
            cell[BYTES] += values[counters + 2] + values[counters + 3]
        if query.age and values[-1]:
            cell[FIRST] = min(values[-1], cell[FIRST]) if cell[STAMPED] else values[-1]
            cell[STAMPED] += 1
            cell[STARTS] += values[-1]

    def _cell(self, group: Hashable) -> Cell:
        cell: Cell | None = self.groups.get(group)
        if cell is None:
            if len(self.groups) >= self.limit:
                self._thin()
            cell = self.groups[group] = [0] * CELL_SIZE
        return cell

    def _thin(self) -> None:
        """Make room by Misra and Gries' algorithm: take the median from each count, drop the small.

        A group may then have up to `error` entries more than are counted for it; over a whole
        table of N entries that is at most 2 N / limit.
        """
        groups, self.groups = self.groups, {}
        if self._is_plain:
            median = sorted(groups.values())[len(groups) // 2]
            self.groups = {group: n - median for group, n in groups.items() if n > median}
        else:
            median = sorted(cell[ENTRIES] for cell in groups.values())[len(groups) // 2]
            for group, cell in groups.items():
                cell[ENTRIES] -= median
                if cell[ENTRIES] > 0:
                    self.groups[group] = cell
        self.error += median
        self._forget()

    def _forget(self) -> None:
        """Forget all keys, whose cells may be dropped by now: each is learnt once more."""
        for shape in itertools.chain.from_iterable(self._shapes.values()):
            shape.found.clear()
        self._keys = 0

    def _learn(self, data: bytes, offset: int, length: int) -> None:
        """Make the message at this offset known."""
        if length < HEADER.size or offset + length > len(data):
            raise MalformedData(SOURCE, f"offset {offset}", f"a message says it has {length} bytes")
        message = data[offset : offset + length]
        _length, kind, flags, _sequence, _port = HEADER.unpack_from(message)
        if kind >> 8 != NFNL_SUBSYS_CTNETLINK:
            self._know(message, Layout({}, (Place(8, length - 8, ""),)), None)
            return
        found = layout(message)
        fields = decode(message, found.fields, self._query.key)
        fields["type"], fields["flags"] = kind & 0xFF, flags
        self._know(message, found, self._query.label(fields))

    def _know(self, message: bytes, found: Layout, label: Hashable) -> None:
        key_places = {found.fields[name] for name in self._query.key if name in found.fields}
        mask = blank(len(message), (place for place in found.values if place not in key_places))
        shapes = self._shapes.setdefault(len(message), [])
        shape = next((shape for shape in shapes if shape.mask == mask), None)
        if shape is None:
            shape = Shape(mask, reader(found.fields, self._query.taken), {})
            shapes.append(shape)
        if self._keys >= self.limit:
            self._forget()
        self._keys += 1
        key = int.from_bytes(message, "little") & mask
        if self._is_split:
            shape.found[key] = IGNORED if label is None else label
        else:
            shape.found[key] = self._ignored if label is None else self._cell(label)


def blank(length: int, values: Iterable[Place]) -> int:
    """Return a mask for messages of this length that leaves out values and their padding.

    It leaves out nlmsghdr's sequence and port, too, which tell requests and sockets apart: in an
    event they are those of whoever changed the table.
    """
    mask = bytearray(b"\xff" * length)
    for place in (SEQUENCE_AND_PORT, *values):
        end = place.offset + place.size
        end += -end % 4
        mask[place.offset : end] = bytes(min(end, length) - place.offset)
    return int.from_bytes(mask, "little")


def reader(fields: Mapping[str, Place], names: Sequence[str]) -> Callable[[bytes, int], Values]:
    """Return what takes these fields' values, in this order, from a message at an offset.

    A field that the message lacks has the value None.
    """
    present = sorted({fields[name] for name in names if name in fields})
    code, position = ">", 0
    for place in present:
        code += f"{place.offset - position}x{place.code or f'{place.size}s'}"
        position = place.offset + place.size
    unpack = struct.Struct(code).unpack_from
    order = [present.index(fields[name]) if name in fields else None for name in names]
    if order == list(range(len(present))):
        return unpack

    def read(data: bytes, offset: int) -> Values:
        values = unpack(data, offset)
        return tuple(None if at is None else values[at] for at in order)

    return read

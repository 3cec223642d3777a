"""Messages of the same shape, found by their headers and taken apart without walking them.

Messages of one shape have the same attributes at the same offsets. So, for each shape, a mask
blanks all values but those of the fields with few values that are asked for; what is left of a
message is its key. A key that was never seen is read by the walk of messages.py, once.

Why equal keys mean equal shapes: take a message whose key under a shape's mask is known, and walk
it as the message was walked from which that key was learnt. Each step of that walk depends on
nlmsghdr's length and type and on the attributes' headers met so far, and on nothing else. The mask
lets all of these through: it blanks sequence and port, and the values and their padding, which are
no headers. So the first header is at the same offset and has the same bytes in both messages,
hence so has the second, and so on to the end. The length alone does not show the shape: a mark and
a zone take the same room.

Why learning ends: a message that is learnt is read by the form that was just made of it and is not
looked up again, so each message of a buffer is learnt once at most, even where keys are forgotten.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import itemgetter

from conntrack_common.ctnetlink.messages import (
    HEADER,
    NAMES,
    NFNL_SUBSYS_CTNETLINK,
    SOURCE,
    Place,
    decode,
    layout,
    message_at,
)
from conntrack_common.errors import MalformedData

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = tuple[Any, ...]

LENGTH = struct.Struct("=I")
SEQUENCE_AND_PORT = Place(8, 8, "")  # of nlmsghdr
LIMIT = 100_000  # keys that are remembered


class Form:
    """What all messages of one key have in common.

    `kind` and `flags` are nlmsghdr's, `fields` the values of the fields that are part of the key,
    `at` says where in a message's values each field is. Forms are equal only to themselves.
    """

    __slots__ = ("at", "fields", "flags", "kind", "offsets", "values")

    def __init__(
        self,
        kind: int,
        flags: int,
        fields: Mapping[str, Any],
        at: Mapping[str, int],
        values: Callable[[bytes, int], Values],
    ) -> None:
        self.kind, self.flags, self.fields, self.at, self.values = kind, flags, fields, at, values
        self.offsets: list[int] = []  # where in the buffer that is walked such messages begin

    def rows(self, data: bytes, offsets: Sequence[int]) -> Iterator[Values]:
        """Return the values of the messages at these offsets; no Python runs between them."""
        return map(self.values, repeat(data), offsets)

    def field(self, values: Values, name: str) -> Any:
        """Return a field's value, or None where messages of this form have none."""
        place = self.at.get(name)
        return None if place is None else values[place]

    def picker(self, names: Sequence[str]) -> Callable[[Values], Values]:
        """Return what takes these fields' values, None where messages of this form have none."""
        places = [self.at.get(name) for name in names]
        return lambda values: tuple([None if at is None else values[at] for at in places])


class Shapes:
    """Finds the form of each message; `limit` keys are remembered at most.

    `key` names fields with few values, which become part of a form; `taken` those whose values are
    taken from each message, in this order and None where it has none; all that it has if None.
    """

    def __init__(
        self, key: Sequence[str] = (), taken: Sequence[str] | None = None, limit: int = LIMIT
    ) -> None:
        self._key, self._taken, self._limit = key, taken, limit
        self._known: dict[int, list[tuple[int, dict[int, Form]]]] = {}  # by length: mask, forms
        self.keys = 0

    def find(self, data: bytes) -> Iterator[tuple[Form, list[int]]]:
        """Yield each form that a buffer of messages has, and the offsets of its messages.

        What is no entry is passed over. Raises MalformedData, when all before that was yielded.
        """
        forms: list[Form] = []
        fault = None
        try:
            self._walk(data, forms)
        except MalformedData as error:
            fault = error
        groups = [(form, form.offsets) for form in forms]
        for form in forms:
            form.offsets = []
        yield from groups
        if fault is not None:
            raise fault

    def each(self, data: bytes) -> Iterator[tuple[Form, int]]:
        """Yield the form and the offset of each message of a buffer, in order; raises as `find`.

        The loop is that of `_walk` once more: sorting what that found takes a fifth longer.
        """
        shapes, length_at, number = self._known.get, LENGTH.unpack_from, int.from_bytes
        offset, end = 0, len(data)
        while offset + 4 <= end:
            (length,) = length_at(data, offset)
            for mask, known in shapes(length, ()):
                form = known.get(number(data[offset : offset + length], "little") & mask)
                if form is not None:
                    break
            else:
                form = self._learn(message_at(data, offset, length))
            if offset + length > end:
                break  # what is cut off was blank
            if form is not None:
                yield form, offset
            offset += (length + 3) & ~3
        if offset != end:
            raise MalformedData(SOURCE, f"offset {offset}", "a message is cut short")

    def _walk(self, data: bytes, forms: list[Form]) -> None:
        """Put down each message's offset in its form, and in `forms` which were met."""
        shapes, length_at, number = self._known.get, LENGTH.unpack_from, int.from_bytes
        offset, end = 0, len(data)
        form = None
        while offset + 4 <= end:
            (length,) = length_at(data, offset)
            for mask, known in shapes(length, ()):
                form = known.get(number(data[offset : offset + length], "little") & mask)
                if form is not None:
                    break
            else:
                form = self._learn(message_at(data, offset, length))
            if form is not None:
                offsets = form.offsets
                if not offsets:
                    forms.append(form)
                offsets.append(offset)
            offset += (length + 3) & ~3
        if offset != end:
            if offset > end and form is not None:  # what is cut off was blank
                form.offsets.pop()
            raise MalformedData(SOURCE, f"offset {offset}", "a message is cut short")

    def _learn(self, message: bytes) -> Form | None:
        """Return the form of a message whose key is not known; None if it is no entry."""
        _length, kind, flags, _sequence, _port = HEADER.unpack_from(message)
        if kind >> 8 != NFNL_SUBSYS_CTNETLINK:
            return None
        fields, places = layout(message)
        in_key = {fields[name] for name in self._key if name in fields}
        mask = blank(len(message), (place for place in places if place not in in_key))
        taken = self._taken
        if taken is None:
            taken = sorted(NAMES & fields.keys(), key=lambda name: fields[name].offset)
        form = Form(
            kind & 0xFF,
            flags,
            decode(message, fields, self._key),
            {name: index for index, name in enumerate(taken) if name in fields},
            reader(fields, taken),
        )
        if self.keys >= self._limit:
            self._known.clear()
            self.keys = 0
        shapes = self._known.setdefault(len(message), [])
        known = next((known for each, known in shapes if each == mask), None)
        if known is None:
            known = {}
            shapes.append((mask, known))
        known[int.from_bytes(message, "little") & mask] = form
        self.keys += 1
        return form


def blank(length: int, values: Iterable[Place]) -> int:
    """Return a mask for messages of this length that leaves out values and their padding.

    It leaves out nlmsghdr's sequence and port, too, which differ by request and socket: in an
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

    A field that is not in the message has the value None.
    """
    present = sorted({fields[name] for name in names if name in fields})
    code, position = ">", 0
    for place in present:
        code += f"{place.offset - position}x{place.code or f'{place.size}s'}"
        position = place.offset + place.size
    unpack = struct.Struct(code).unpack_from
    absent = len(present)  # where None stands
    order = [present.index(fields[name]) if name in fields else absent for name in names]
    if order == list(range(len(present))):
        return unpack
    if len(order) == 1:
        return lambda _data, _offset: (None,)
    pick = itemgetter(*order)
    return lambda data, offset: pick((*unpack(data, offset), None))

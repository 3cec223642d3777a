"""Whole entries from a dump or from events, one by one, in a memory that does not grow.

As in census.py, messages of one shape are known by their headers, and one `struct` takes all their
values at once.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence

from conntrack_common.ctnetlink.census import LENGTH, blank, reader
from conntrack_common.ctnetlink.entry import Entry, Tuple
from conntrack_common.ctnetlink.messages import NAMES, layout
from conntrack_common.ctnetlink.socket import HEADER, NFNL_SUBSYS_CTNETLINK, SOURCE
from conntrack_common.errors import MalformedData
from conntrack_common.printable import printable
from conntrack_common.records import NamedTuple
from conntrack_common.terms import FAMILIES, STATES, state_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = tuple[Any, ...]


class Form(NamedTuple):
    """One shape of message: which messages have it, and what they hold.

    `kind` and `flags` are nlmsghdr's; `at` tells where in the values each field stands.
    """

    mask: int
    key: int
    kind: int
    flags: int
    at: Mapping[str, int]
    values: Callable[[bytes, int], Values]

    def field(self, values: Values, name: str) -> Any:
        """Return a field's value, or None where messages of this form lack it."""
        place = self.at.get(name)
        return None if place is None else values[place]

    def picker(self, names: Sequence[str]) -> Callable[[Values], Values]:
        """Return what takes these fields' values, None where messages of this form lack one."""
        places = [self.at.get(name) for name in names]
        return lambda values: tuple([None if at is None else values[at] for at in places])


class Reader:
    """Takes messages apart; `seen` counts them."""

    def __init__(self) -> None:
        self._forms: dict[int, list[Form]] = {}
        self.seen = 0

    def read(self, data: bytes) -> Iterator[tuple[Form, Values]]:
        """Yield the form and values of each message of a buffer; raises MalformedData."""
        forms, length_at, number = self._forms, LENGTH.unpack_from, int.from_bytes
        offset, end = 0, len(data)
        while offset + 4 <= end:
            length = length_at(data, offset)[0]
            for form in forms.get(length, ()):
                if number(data[offset : offset + length], "little") & form.mask == form.key:
                    break
            else:
                learnt = self._learn(data, offset, length)
                if learnt is None:
                    offset += (length + 3) & ~3
                    continue
                form = learnt
            self.seen += 1
            yield form, form.values(data, offset)
            offset += (length + 3) & ~3
        if offset != end:
            raise MalformedData(SOURCE, f"offset {offset}", "a message is cut short")

    def _learn(self, data: bytes, offset: int, length: int) -> Form | None:
        """Return the form of the message at this offset, or None if it is no entry."""
        if length < HEADER.size or offset + length > len(data):
            raise MalformedData(SOURCE, f"offset {offset}", f"a message says it has {length} bytes")
        message = data[offset : offset + length]
        _length, kind, flags, _sequence, _port = HEADER.unpack_from(message)
        if kind >> 8 != NFNL_SUBSYS_CTNETLINK:
            return None
        found = layout(message)
        mask = blank(length, found.values)
        names = sorted(NAMES & found.fields.keys(), key=lambda name: found.fields[name].offset)
        form = Form(
            mask,
            int.from_bytes(message, "little") & mask,
            kind & 0xFF,
            flags,
            {name: index for index, name in enumerate(names)},
            reader(found.fields, names),
        )
        self._forms.setdefault(length, []).append(form)
        return form


def entry(form: Form, values: Values) -> Entry:
    """Return a message's values as an Entry."""
    found = {name: values[index] for name, index in form.at.items()}
    states = {name: found[name] for name in STATES if name in found}
    return Entry(
        family=FAMILIES.get(found["family"], str(found["family"])),
        protocol=found.get("orig_protocol", 0),
        state=state_name(states),
        orig=_tuple(found, "orig"),
        reply=_tuple(found, "reply"),
        status=found.get("status", 0),
        helper=text(found.get("helper")),
        secctx=text(found.get("secctx")),
        **{name: found.get(name) for name in PLAIN},
    )


PLAIN = ("timeout", "mark", "zone", "labels", "use", "id", "start", "stop")


def _tuple(found: Mapping[str, Any], direction: str) -> Tuple:
    return Tuple(
        address(found.get(f"{direction}_src")),
        address(found.get(f"{direction}_dst")),
        *(found.get(f"{direction}_{name}") for name in Tuple._fields[2:]),
    )


def address(packed: bytes | None) -> str:
    """Return an address as text; an entry without one has an empty text."""
    if packed is None:
        return ""
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def text(payload: bytes | None) -> str | None:
    """Return a string of the kernel's, with what can't be printed made visible."""
    if payload is None:
        return None
    return printable(payload.rstrip(b"\0").decode("ascii", "backslashreplace"))

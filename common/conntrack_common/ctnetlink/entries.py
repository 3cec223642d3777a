"""Whole entries from a dump or from events, one by one, in a memory that does not grow.

shapes.py finds their forms, by which one `struct` takes all values of a message at once.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping

from conntrack_common.ctnetlink.entry import Entry, Tuple
from conntrack_common.ctnetlink.shapes import Form, Shapes
from conntrack_common.printable import printable
from conntrack_common.terms import FAMILIES, STATES, state_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from conntrack_common.ctnetlink.shapes import Values


class Reader:
    """Takes messages apart; `seen` counts them."""

    def __init__(self) -> None:
        self._shapes = Shapes()
        self.seen = 0

    def read(self, data: bytes) -> Iterator[tuple[Form, Values]]:
        """Yield the form and values of each message of a buffer; raises MalformedData."""
        for form, offset in self._shapes.each(data):
            self.seen += 1
            yield form, form.values(data, offset)


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

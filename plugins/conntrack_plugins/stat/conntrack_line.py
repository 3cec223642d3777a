"""Entries as conntrack(8) -L and -E print them, for those who grep as before.

Format: libnetfilter_conntrack's default output (src/conntrack/snprintf_default.c), byte for byte.
A line is a template for all entries of one form, protocol, state and status, filled with the
values that differ.
"""

from __future__ import annotations

import operator
import socket
import time
from collections.abc import Callable, Iterator, Mapping

from conntrack_common.ctnetlink.entries import text
from conntrack_common.ctnetlink.messages import SOURCE
from conntrack_common.errors import InvalidRequest, MalformedData
from conntrack_common.host import connlabels
from conntrack_common.records import NamedTuple
from conntrack_common.terms import (
    FAMILIES,
    GRE,
    ICMP,
    ICMPV6,
    PORT_PROTOCOLS,
    SEEN_REPLY,
    STATES,
    STATUS_FLAGS,
    protocol_name,
    state_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from conntrack_common.ctnetlink.shapes import Form, Values
    from conntrack_common.filters.filter import Filter

    Names = Mapping[int, str] | None

NAMED = (ICMP, GRE, ICMPV6, *PORT_PROTOCOLS)  # the protocols that the library has names for
KEY = ("orig_protocol", "status", *STATES)
LIMIT = 10_000  # templates that are remembered
ENDS = ("HW_OFFLOAD", "OFFLOAD", "ASSURED")  # of these flags, the first is shown
NEEDED = ("orig_protocol", "orig_src", "orig_dst", "reply_src", "reply_dst")
# What conntrack(8) -o adds to its lines; `timestamp` is an event's, and `userspace` always there.
EXTRAS = ("extended", "id", "ktimestamp", "labels", "timestamp", "userspace")
OUTPUTS = ("table", "conntrack", *EXTRAS)
SECOND = 1_000_000_000  # nanoseconds
REFUSED = {
    "xml": "only conntrack(8) has it; use --json for programs",
    "save": "only conntrack(8) has it, and loads it",
}


def parse_output(output: str) -> tuple[str, ...] | None:
    """Return which of EXTRAS are added to conntrack(8)'s lines; None for a table.

    Raises InvalidRequest.
    """
    words = output.split(",")
    for word in words:
        if word not in OUTPUTS:
            why = REFUSED.get(word, f"known are {', '.join(OUTPUTS)}")
            raise InvalidRequest(f"-o {word}: {why}")
    if words == ["table"]:
        return None
    if "table" in words:
        raise InvalidRequest(
            f"-o {output}: the table has none of the fields that conntrack(8) adds"
        )
    return tuple(word for word in EXTRAS if word in words)


class LineFormat:
    """Writes messages as lines, with those of EXTRAS that are asked for.

    Labels are shown, too, where a filter asks for some, as conntrack(8) does.
    """

    def __init__(self, extras: tuple[str, ...] = (), wanted: Filter | None = None) -> None:
        self._extras = extras
        shows_labels = "labels" in extras or (wanted is not None and wanted.labels)
        self._names = connlabels.read_names() if shows_labels else None
        self._fills: dict[tuple[Form, Values], _Fill] = {}

    @property
    def caution(self) -> str:
        """A sentence where labels are asked for and this host has no names for them."""
        if "labels" not in self._extras or self._names is not None:
            return ""
        return f"no label has a name: {connlabels.FILE} is missing; --json shows numbers\n"

    def line(self, form: Form, values: Values) -> str:
        """Return one entry's line, with its end; raises MalformedData if it has no addresses."""
        key = (form, tuple([values[form.at[name]] for name in KEY if name in form.at]))
        fill = self._fills.get(key)
        if fill is None:
            if len(self._fills) >= LIMIT:
                self._fills.clear()  # events may be shown for months
            fill = self._fills[key] = _fill(form, values, self._extras, self._names)
        template, pick = fill
        return template % pick(values)


class _Fill(NamedTuple):
    """A template, and what takes its values."""

    template: str
    pick: Callable[[Values], Values]


class _Word(NamedTuple):
    """A word of a line; a field's value is put into it, after a conversion if there is one."""

    text: str
    field: str = ""
    convert: Callable[[Any], object] | None = None


def _fill(form: Form, values: Values, extras: tuple[str, ...], names: Names) -> _Fill:
    for name in NEEDED:
        if name not in form.at:
            raise MalformedData(SOURCE, "an entry", f"it has no {name.replace('_', ' ')}")
    status = form.field(values, "status")
    ends = [] if status is None else [name for name in ENDS if status & STATUS_FLAGS[name]]
    unreplied = status is not None and not status & SEEN_REPLY
    words = [
        *_head(form, values, extras),
        *_direction(form, values, "orig"),
        *([_Word("[UNREPLIED]")] if unreplied else []),
        *_direction(form, values, "reply"),
        *(_Word(f"[{name}]") for name in ends[:1]),
        *_tail(form, extras, names),
    ]
    filled = [word for word in words if word.field]
    return _Fill(" ".join(word.text for word in words) + "\n", _picker(form, filled))


def _head(form: Form, values: Values, extras: tuple[str, ...]) -> Iterator[_Word]:
    if "extended" in extras:
        family = form.field(values, "family")
        yield _Word(f"{FAMILIES.get(family, 'unknown'):8} {family}")
    protocol = form.field(values, "orig_protocol")
    name = protocol_name(protocol) if protocol in NAMED else "unknown"
    yield _Word(f"{name:8} {protocol}")
    if "timeout" in form.at:
        yield _Word("%d", "timeout")
    state = state_name({name: form.field(values, name) for name in STATES if name in form.at})
    if state:
        yield _Word(state)


def _direction(form: Form, values: Values, direction: str) -> Iterator[_Word]:
    is_ipv4 = len(form.field(values, "orig_src")) == 4
    address = socket.inet_ntoa if is_ipv4 else _ipv6
    yield _Word("src=%s", f"{direction}_src", address)
    yield _Word("dst=%s", f"{direction}_dst", address)
    protocol = form.field(values, "orig_protocol")
    if protocol in PORT_PROTOCOLS:
        ends = {"sport=": "sport", "dport=": "dport"}
    elif protocol == GRE:
        ends = {"srckey=0x": "sport", "dstkey=0x": "dport"}
    else:
        ends = {"type=": "icmp_type", "code=": "icmp_code", "id=": "icmp_id"}
        ends = ends if protocol in {ICMP, ICMPV6} else {}
    for word, name in ends.items():
        # A kernel without this protocol's tracker sends no ports, and the library writes 0.
        code, field = "%x" if protocol == GRE else "%d", f"{direction}_{name}"
        yield _Word(word + code, field) if field in form.at else _Word(f"{word}0")
    if f"{direction}_zone" in form.at:
        yield _Word(f"zone-{direction}=%d", f"{direction}_zone")
    counters = f"{direction}_packets", f"{direction}_bytes"
    if all(name in form.at for name in counters):
        yield _Word("packets=%d", counters[0])
        yield _Word("bytes=%d", counters[1])


def _tail(form: Form, extras: tuple[str, ...], names: Names) -> Iterator[_Word]:
    words = [
        _Word("mark=%d", "mark"),
        _Word("secctx=%s", "secctx", text),
        _Word("zone=%d", "zone"),
        _Word("delta-time=%d", "start", _age),
    ]
    if "ktimestamp" in extras:
        words += [_Word("[start=%s]", "start", _clock), _Word("[stop=%s]", "stop", _clock)]
    words += [_Word("helper=%s", "helper", text), _Word("use=%d", "use")]
    if "id" in extras:
        words.append(_Word("id=%d", "id"))
    if names is not None:
        words.append(_Word("labels%s", "labels", lambda payload: _labels(payload, names)))
    return (word for word in words if word.field in form.at)


def _picker(form: Form, words: list[_Word]) -> Callable[[Values], Values]:
    """Return what takes these words' values, as the template wants them.

    Most are wanted as they are: those are picked at once, and the others replaced.
    """
    at_once = operator.itemgetter(*(form.at[word.field] for word in words))  # four addresses, more
    converted = [(index, word.convert) for index, word in enumerate(words) if word.convert]

    def pick(values: Values) -> Values:
        picked = list(at_once(values))
        for index, convert in converted:
            picked[index] = convert(picked[index])
        return tuple(picked)

    if not {"start", "stop"} <= form.at.keys():
        return pick
    start, stop = form.at["start"], form.at["stop"]
    age = [word.convert for word in words].index(_age)

    def pick_ended(values: Values) -> Values:
        picked = list(pick(values))
        picked[age] = values[stop] // SECOND - values[start] // SECOND
        return tuple(picked)

    return pick_ended


def _ipv6(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6, packed)


def _age(start: int) -> int:
    return int(time.time()) - start // SECOND


def _clock(moment: int) -> str:
    return time.ctime(moment // SECOND)


def _labels(payload: bytes, names: Mapping[int, str]) -> str:
    """Return the labels' names; the library overwrites the '=' where none has one."""
    numbers = connlabels.numbers(connlabels.label_bits(payload))
    named = [names[number] for number in numbers if number in names]
    return f"={','.join(named)}" if named else ""

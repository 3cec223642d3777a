"""Entries as conntrack(8) -L prints them, for those who grep as before.

Format: libnetfilter_conntrack's default output (src/conntrack/snprintf_default.c), byte for byte.
A line is a template for all entries of one form, protocol, state and status, filled with the
values that differ.
"""

from __future__ import annotations

import operator
import socket
import time
from collections.abc import Callable

from conntrack_common.sources.entries import Form, text
from conntrack_common.terms import STATES, STATUS_FLAGS, state_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from conntrack_common.sources.entries import Values

    Fill = tuple[str, Callable[[Values], Values]]

# The protocols that the library has names for.
NAMES = {
    1: "icmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    47: "gre",
    58: "icmpv6",
    132: "sctp",
    136: "udplite",
}
ICMP, GRE = (1, 58), 47
PORTED = (6, 17, 33, 132, 136)
KEY = ("orig_protocol", "status", *STATES)


class LineFormat:
    """Writes messages as lines."""

    def __init__(self) -> None:
        self._fills: dict[tuple[int, Values], Fill] = {}

    def line(self, form: Form, values: Values) -> str:
        """Return one entry's line, with its end."""
        key = (id(form), tuple(values[form.at[name]] for name in KEY if name in form.at))
        fill = self._fills.get(key)
        if fill is None:
            fill = self._fills[key] = _fill(form, values)
        template, pick = fill
        return template % pick(values)


def _fill(form: Form, values: Values) -> Fill:
    """Return the template of all messages like this one, and what takes its values from them."""
    protocol = form.field(values, "orig_protocol")
    status = form.field(values, "status") or 0
    words, fields = [f"{NAMES.get(protocol, 'unknown'):8} {protocol}"], []
    if "timeout" in form.at:
        words.append("%d")
        fields.append("timeout")
    state = state_name({name: form.field(values, name) for name in STATES if name in form.at})
    words += [state] if state else []
    _direction(form, "orig", protocol, words, fields)
    words += [] if status & STATUS_FLAGS["SEEN_REPLY"] else ["[UNREPLIED]"]
    _direction(form, "reply", protocol, words, fields)
    for flag in ("HW_OFFLOAD", "OFFLOAD", "ASSURED"):
        if status & STATUS_FLAGS[flag]:
            words.append(f"[{flag}]")
            break
    for name, word in (
        ("mark", "mark=%d"),
        ("secctx", "secctx=%s"),
        ("zone", "zone=%d"),
        ("start", "delta-time=%d"),
        ("helper", "helper=%s"),
        ("use", "use=%d"),
    ):
        if name in form.at:
            words.append(word)
            fields.append(name)
    return " ".join(words) + "\n", _picker(form, values, fields)


def _direction(
    form: Form, direction: str, protocol: int, words: list[str], fields: list[str]
) -> None:
    pairs = [("src=%s", "src"), ("dst=%s", "dst")]
    if protocol in PORTED:
        pairs += [("sport=%d", "sport"), ("dport=%d", "dport")]
    elif protocol == GRE:
        pairs += [("srckey=%#x", "sport"), ("dstkey=%#x", "dport")]
    elif protocol in ICMP:
        pairs += [("type=%d", "icmp_type"), ("code=%d", "icmp_code"), ("id=%d", "icmp_id")]
    for word, name in pairs:
        field = f"{direction}_{name}"
        # A kernel without this protocol's tracker sends no ports, and the library writes 0.
        words.append(word if field in form.at else word.split("%")[0] + "0")
        fields += [field] if field in form.at else []
    for word, name in (("packets=%d", "packets"), ("bytes=%d", "bytes")):
        if f"{direction}_{name}" in form.at:
            words.append(word)
            fields.append(f"{direction}_{name}")
    if f"{direction}_zone" in form.at:
        words.append(f"zone-{direction}=%d")
        fields.append(f"{direction}_zone")


def _picker(form: Form, values: Values, fields: list[str]) -> Callable[[Values], Values]:
    """Return what takes these fields' values, as the template wants them.

    Most are wanted as they are: those are picked at once, and the others replaced.
    """
    places = [form.at[name] for name in fields]
    converted = [
        (index, convert)
        for index, (name, place) in enumerate(zip(fields, places))
        if (convert := _converter(name, values[place])) is not None
    ]
    at_once = operator.itemgetter(*places)

    def pick(values: Values) -> Values:
        picked = list(at_once(values))
        for index, convert in converted:
            picked[index] = convert(picked[index])
        return tuple(picked)

    return pick


def _converter(name: str, example: object) -> Callable[[Any], object] | None:
    if name.endswith(("_src", "_dst")):
        is_ipv4 = isinstance(example, bytes) and len(example) == 4
        return socket.inet_ntoa if is_ipv4 else _ipv6
    if name in {"helper", "secctx"}:
        return text
    return _age if name == "start" else None


def _ipv6(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6, packed)


def _age(start: int) -> int:
    return int(time.time()) - start // 1_000_000_000

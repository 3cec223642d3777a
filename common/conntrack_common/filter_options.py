"""conntrack(8)'s filter options as words: their names, and how a command line becomes a Filter."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from conntrack_common.errors import InvalidRequest
from conntrack_common.filters import ADDRESSES, DST_NAT, PORTS, SRC_NAT, Filter, Prefix
from conntrack_common.record import NamedTuple
from conntrack_common.terms import SEEN_REPLY, STATES, STATUS_FLAGS, protocol_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Option(NamedTuple):
    """One option: its spellings, the name of its value, and what it means."""

    flags: tuple[str, ...]
    name: str
    metavar: str
    help: str

    @property
    def value_is_optional(self) -> bool:
        """True for the NAT options: without an address they mean any."""
        return self.name in NAT


OPTIONS = (
    Option(("-p", "--proto"), "proto", "PROTO", "protocol: tcp, udp, icmp …, or a number"),
    Option(("--state",), "state", "STATE", "TCP, SCTP or DCCP state, as ESTABLISHED"),
    Option(("-s", "--orig-src", "--src"), "orig_src", "IP[/N]", "source of the first packet"),
    Option(("-d", "--orig-dst", "--dst"), "orig_dst", "IP[/N]", "destination of the first packet"),
    Option(("-r", "--reply-src"), "reply_src", "IP[/N]", "source of the reply"),
    Option(("-q", "--reply-dst"), "reply_dst", "IP[/N]", "destination of the reply"),
    Option(("--sport", "--orig-port-src"), "orig_sport", "PORT", "source port: number or name"),
    Option(("--dport", "--orig-port-dst"), "orig_dport", "PORT", "destination port"),
    Option(("--reply-port-src",), "reply_sport", "PORT", "source port of the reply"),
    Option(("--reply-port-dst",), "reply_dport", "PORT", "destination port of the reply"),
    Option(("-f", "--family"), "family", "ipv4|ipv6", "one address family (default: both)"),
    Option(("-m", "--mark"), "mark", "MARK[/MASK]", "connection mark"),
    Option(("-u", "--status"), "status", "FLAG,…", "all of these flags, as ASSURED or UNREPLIED"),
    Option(("-w", "--zone"), "zone", "ZONE", "conntrack zone"),
    Option(("-n", "--src-nat"), "src_nat", "IP", "with translated source (to IP)"),
    Option(("-g", "--dst-nat"), "dst_nat", "IP", "with translated destination (to IP)"),
    Option(("-j", "--any-nat"), "any_nat", "", "translated either way"),
)
FAMILIES = {"ipv4": int(socket.AF_INET), "ipv6": int(socket.AF_INET6)}


def build(words: Mapping[str, str]) -> Filter:
    """Return the filter that options mean; `words` maps their names to their texts.

    Raises InvalidRequest.
    """
    parsed: dict[str, Any] = {}
    for name, text in words.items():
        if name in NAT:
            flags, field = NAT[name]
            parsed["nat"] = parsed.get("nat", 0) | flags
            if text and not field:
                raise InvalidRequest("--any-nat takes no address here: use --src-nat or --dst-nat")
            if text:
                parsed[field] = parse_prefix(text)
        else:
            field, parse = PARSERS[name]
            parsed[field] = parse(text)
    families = {value.family for value in parsed.values() if isinstance(value, Prefix)}
    families |= {parsed["family"]} if "family" in parsed else set()
    if len(families) > 1:
        raise InvalidRequest("the filter names IPv4 and IPv6 at once, and no entry is both")
    return Filter(**parsed)


def parse_prefix(text: str) -> Prefix:
    """Return an address or prefix (10.0.0.0/8, 2001:db8::/32); raises InvalidRequest."""
    address, slash, length = text.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        packed = socket.inet_pton(family, address)
    except (OSError, ValueError):  # ValueError: a NUL character, before Python 3.10
        raise InvalidRequest(f"{text!r} is no address: write 192.0.2.1 or 10.0.0.0/8") from None
    bits = len(packed) * 8
    if slash and "." in length and family == socket.AF_INET:
        return Prefix(int(family), packed, _mask_length(text, length))
    if slash and not (length.isascii() and length.isdigit() and int(length) <= bits):
        raise InvalidRequest(f"{text!r} is no prefix: its length is 0 to {bits}")
    return Prefix(int(family), packed, int(length) if slash else bits)


def _mask_length(text: str, mask: str) -> int:
    """Return the length of a mask such as 255.255.255.0."""
    try:
        number = int.from_bytes(socket.inet_pton(socket.AF_INET, mask), "big")
    except (OSError, ValueError):
        raise InvalidRequest(f"{text!r}: {mask!r} is no mask") from None
    length = bin(number).count("1")
    if number != (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF:
        raise InvalidRequest(f"{text!r}: the mask {mask} has holes, and no prefix fits it")
    return length


def parse_port(text: str) -> int:
    """Return a port's number (443, https); raises InvalidRequest."""
    if text.isascii() and text.isdigit() and int(text) < 65536:
        return int(text)
    try:
        return socket.getservbyname(text)
    except (OSError, ValueError):
        raise InvalidRequest(f"{text!r} is no port: give 0 to 65535, or a service's name") from None


def parse_status(text: str) -> tuple[int, int]:
    """Return the flags that must be set and those that must not; raises InvalidRequest."""
    required = forbidden = 0
    for word in text.upper().split(","):
        if word in {"UNREPLIED", "UNSET"}:
            forbidden |= SEEN_REPLY | (STATUS_FLAGS["ASSURED"] if word == "UNSET" else 0)
        elif word in STATUS_FLAGS:
            required |= STATUS_FLAGS[word]
        else:
            known = ", ".join(["UNREPLIED", *STATUS_FLAGS])
            raise InvalidRequest(f"{word!r} is no status: known are {known}")
    return required, forbidden


def parse_mark(text: str) -> tuple[int, int]:
    """Return a mark's value and mask (0x10/0xff); raises InvalidRequest."""
    value, slash, mask = text.partition("/")
    try:
        parsed = int(value, 0), int(mask, 0) if slash else 0xFFFFFFFF
    except ValueError:
        parsed = (-1, -1)
    if not all(0 <= number <= 0xFFFFFFFF for number in parsed):
        raise InvalidRequest(f"{text!r} is no mark: write a number, or NUMBER/MASK, as 0x10/0xff")
    return parsed


def parse_zone(text: str) -> int:
    """Return a zone's number; raises InvalidRequest."""
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise InvalidRequest(f"{text!r} is no zone: a zone is a number from 0 to 65535")
    return int(text)


def parse_state(text: str) -> str:
    """Return a state's name; raises InvalidRequest."""
    known = [name for names in STATES.values() for name in names]
    if text.upper() not in known:
        raise InvalidRequest(f"{text!r} is no state: known are {', '.join(dict.fromkeys(known))}")
    return text.upper()


def parse_family(text: str) -> int:
    """Return an address family's number; raises InvalidRequest."""
    if text not in FAMILIES:
        raise InvalidRequest(f"{text!r} is no address family: write ipv4 or ipv6")
    return FAMILIES[text]


# How each option's text is read, and the field of Filter that it becomes.
PARSERS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "proto": ("protocol", protocol_number),
    "state": ("state", parse_state),
    "family": ("family", parse_family),
    "mark": ("mark", parse_mark),
    "status": ("status", parse_status),
    "zone": ("zone", parse_zone),
    **{name: (name, parse_prefix) for name in ADDRESSES},
    **{name: (name, parse_port) for name in PORTS},
}
# A translated source is where the replies go to; a translated destination is where they come from.
NAT = {
    "src_nat": (SRC_NAT, "reply_dst"),
    "dst_nat": (DST_NAT, "reply_src"),
    "any_nat": (SRC_NAT | DST_NAT, ""),
}

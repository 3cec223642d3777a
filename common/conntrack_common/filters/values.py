"""The values of conntrack(8)'s filter options, read from text.

Each function raises InvalidRequest for a text that is not understood. Numbers are read as
conntrack(8) reads them: marks, zones, keys and contexts as C's strtoul does (16, 0x10, 020), others
by their digits.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from conntrack_common.digits import UINT8, UINT16, UINT32, as_c, whole
from conntrack_common.errors import InvalidRequest
from conntrack_common.filters.conditions import Nat, Network
from conntrack_common.host import connlabels
from conntrack_common.terms import SEEN_REPLY, STATE_ALIASES, STATES, STATUS_FLAGS

FAMILIES = {"ipv4": int(socket.AF_INET), "ipv6": int(socket.AF_INET6)}


def parse_network(text: str) -> Network:
    """Return an address or network: 10.0.0.0/8, 10.0.0.0/255.0.0.0, 2001:db8::/32.

    Raises InvalidRequest.
    """
    address, slash, length = text.partition("/")
    packed = _packed(address, text)
    bits = len(packed) * 8
    if slash and "." in length and bits == 32:
        return Network(packed, parse_mask(length))
    ones = whole(length, bits) if slash else bits
    if ones is None:
        raise InvalidRequest(f"{text!r} is not a prefix: its length is 0 to {bits}")
    return Network(packed, ((1 << bits) - (1 << bits - ones)).to_bytes(len(packed), "big"))


def _packed(address: str, text: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.inet_pton(family, address)
    except (OSError, ValueError):  # ValueError: a NUL character, before Python 3.10
        raise InvalidRequest(f"{text!r} is not an address: write 192.0.2.1 or 10.0.0.0/8") from None


def parse_mask(text: str) -> bytes:
    """Return a mask's bits (255.255.255.0, ffff:ffff::); raises InvalidRequest."""
    try:
        return _packed(text, text)
    except InvalidRequest:
        raise InvalidRequest(f"{text!r} is not a mask: write it as an address") from None


def parse_nat(text: str) -> Nat:
    """Return what was translated to: nothing (any), IP, IP/N, IP:PORT or [IP6]:PORT.

    Raises InvalidRequest.
    """
    if not text:
        return Nat()
    bracket, closed, port = text.partition("]")
    if text.startswith("["):
        if not (closed and port.startswith(":")):
            raise InvalidRequest(
                f"{text!r}: brackets are for an IPv6 address and a port, [IP]:PORT"
            )
        return Nat(parse_network(bracket[1:]), parse_port(port[1:]))
    address, colon, port = text.partition(":")
    if colon and ":" not in port:
        return Nat(parse_network(address), parse_port(port))
    return Nat(parse_network(text))


def parse_port(text: str) -> int:
    """Return a port's number (443, https); raises InvalidRequest."""
    number = whole(text, UINT16)
    if number is not None:
        return number
    try:
        return socket.getservbyname(text)
    except (OSError, ValueError):
        raise InvalidRequest(f"{text!r} is not a port: give 0 to 65535 or a service name") from None


def parse_status(text: str) -> tuple[int, int]:
    """Return the flags that must be set and those that must not; raises InvalidRequest."""
    required = forbidden = 0
    for word in text.upper().split(","):
        negated = word.startswith("!")
        name = word[negated:]
        if name not in STATUS_WORDS:
            known = ", ".join(STATUS_WORDS)
            raise InvalidRequest(f"{word!r} is not a status: known are {known}, and ! before one")
        wanted, unwanted = STATUS_WORDS[name]
        required |= unwanted if negated else wanted
        forbidden |= wanted if negated else unwanted
    if required == forbidden == 0:
        raise InvalidRequest("--status UNSET selects nothing: name a flag")
    return required, forbidden


STATUS_WORDS = {
    "UNREPLIED": (0, SEEN_REPLY),
    "UNSET": (0, 0),
    **{name: (flag, 0) for name, flag in STATUS_FLAGS.items()},
}


def parse_mark(text: str) -> tuple[int, int]:
    """Return a mark's value and mask: 16, 0x10/0xff, 020; raises InvalidRequest."""
    value, slash, mask = text.partition("/")
    parsed = as_c(value, UINT32), as_c(mask, UINT32) if slash else UINT32
    if parsed[0] is None or parsed[1] is None:
        raise InvalidRequest(f"{text!r} is not a mark: write a number or NUMBER/MASK, as 0x10/0xff")
    return parsed[0], parsed[1]


def parse_labels(text: str) -> int:
    """Return the bits of labels, given by connlabel.conf's names or by number.

    Raises InvalidRequest.
    """
    names = connlabels.read_names()
    known = {name: number for number, name in (names or {}).items()}
    bits = 0
    for word in text.split(","):
        number = known.get(word, whole(word, connlabels.LARGEST))
        if number is None:
            why = "is missing" if names is None else "does not have it"
            raise InvalidRequest(
                f"{word!r} is not a label, and {connlabels.FILE}, which names labels, {why}: "
                f"give a name from there, or a number from 0 to {connlabels.LARGEST}"
            )
        bits |= 1 << number
    return bits


def parse_secmark(text: str) -> int | str:
    """Return a security context's name, or its number; raises InvalidRequest."""
    if not text:
        raise InvalidRequest("--secmark needs a security context's name, as secctx= shows it")
    number = as_c(text, UINT32)
    return text if number is None else number


def parse_state(text: str) -> str:
    """Return a state's name; raises InvalidRequest."""
    known = dict.fromkeys(name for names in STATES.values() for name in names)
    name = STATE_ALIASES.get(text.upper(), text.upper())
    if name not in known:
        listed = ", ".join([*known, *STATE_ALIASES])
        raise InvalidRequest(f"{text!r} is not a state: known are {listed}")
    return name


def parse_family(text: str) -> int:
    """Return an address family's number; raises InvalidRequest."""
    if text not in FAMILIES:
        raise InvalidRequest(f"{text!r} is not an address family: write ipv4 or ipv6")
    return FAMILIES[text]


def _number(
    what: str, largest: int, read: Callable[[str, int], int | None] = whole
) -> Callable[[str], int]:
    """Return what reads a number, up to the largest; that raises InvalidRequest."""

    def parse(text: str) -> int:
        number = read(text, largest)
        if number is None:
            raise InvalidRequest(f"{text!r} is not {what}: give a number from 0 to {largest}")
        return number

    return parse


parse_zone = _number("a zone", UINT16, as_c)
parse_key = _number("a GRE key", UINT16, as_c)
parse_type = _number("an ICMP type", UINT8)
parse_code = _number("an ICMP code", UINT8)
parse_identifier = _number("an ICMP identifier", UINT16)

"""conntrack(8)'s filter options as words: their names, and how a command line becomes a Filter.

Meaning and values: conntrack(8), and its extensions/libct_proto_*.c for a protocol's own options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from conntrack_common.errors import InvalidRequest
from conntrack_common.filters.filter import NATS, NETWORKS, PORTS, ZONES, Filter
from conntrack_common.filters.values import (
    parse_code,
    parse_family,
    parse_identifier,
    parse_key,
    parse_labels,
    parse_mark,
    parse_mask,
    parse_nat,
    parse_network,
    parse_port,
    parse_secmark,
    parse_state,
    parse_status,
    parse_type,
    parse_zone,
)
from conntrack_common.records import NamedTuple
from conntrack_common.terms import (
    GRE,
    ICMP,
    ICMPV6,
    PORT_PROTOCOLS,
    STATE_PROTOCOLS,
    protocol_name,
    protocol_number,
)

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
        return self.name in NATS

    @property
    def is_list(self) -> bool:
        """True if its value is a list, to which giving the option again adds."""
        return self.metavar.endswith(",…")


ORIGINAL, REPLY = "original direction", "reply direction"
TO = "to this address and port, if given"

OPTIONS = (
    Option(("-p", "--proto", "--protonum"), "proto", "PROTO", "protocol: tcp, udp … or a number"),
    Option(("--state",), "state", "STATE", "TCP, SCTP or DCCP state, such as ESTABLISHED"),
    Option(("-s", "--orig-src", "--src"), "orig_src", "IP[/N]", f"source address, {ORIGINAL}"),
    Option(("-d", "--orig-dst", "--dst"), "orig_dst", "IP[/N]", f"destination address, {ORIGINAL}"),
    Option(("--mask-src",), "mask_src", "MASK", "mask of --orig-src, such as 255.255.255.0"),
    Option(("--mask-dst",), "mask_dst", "MASK", "mask of --orig-dst"),
    Option(("-r", "--reply-src"), "reply_src", "IP[/N]", f"source address, {REPLY}"),
    Option(("-q", "--reply-dst"), "reply_dst", "IP[/N]", f"destination address, {REPLY}"),
    Option(
        ("--sport", "--orig-port-src"), "orig_sport", "PORT", f"source port or service, {ORIGINAL}"
    ),
    Option(("--dport", "--orig-port-dst"), "orig_dport", "PORT", f"destination port, {ORIGINAL}"),
    Option(("--reply-port-src",), "reply_sport", "PORT", f"source port, {REPLY}"),
    Option(("--reply-port-dst",), "reply_dport", "PORT", f"destination port, {REPLY}"),
    Option(("--icmp-type",), "icmp_type", "NUMBER", "ICMP type"),
    Option(("--icmp-code",), "icmp_code", "NUMBER", "ICMP code"),
    Option(("--icmp-id",), "icmp_id", "NUMBER", "ICMP identifier"),
    Option(("--icmpv6-type",), "icmpv6_type", "NUMBER", "ICMPv6 type"),
    Option(("--icmpv6-code",), "icmpv6_code", "NUMBER", "ICMPv6 code"),
    Option(("--icmpv6-id",), "icmpv6_id", "NUMBER", "ICMPv6 identifier"),
    Option(("--srckey", "--orig-key-src"), "orig_key_src", "KEY", f"GRE source key, {ORIGINAL}"),
    Option(
        ("--dstkey", "--orig-key-dst"), "orig_key_dst", "KEY", f"GRE destination key, {ORIGINAL}"
    ),
    Option(("--reply-key-src",), "reply_key_src", "KEY", f"GRE source key, {REPLY}"),
    Option(("--reply-key-dst",), "reply_key_dst", "KEY", f"GRE destination key, {REPLY}"),
    Option(("-f", "--family"), "family", "ipv4|ipv6", "address family (default: both)"),
    Option(("-m", "--mark"), "mark", "MARK[/MASK]", "connection mark"),
    Option(("-l", "--label"), "label", "LABEL,…", "labels, all of them set: names or numbers"),
    Option(("-c", "--secmark"), "secmark", "CONTEXT", "security context"),
    Option(("-u", "--status"), "status", "FLAG,…", "status flags, all of them set; !FLAG: not set"),
    Option(("-w", "--zone"), "zone", "ZONE", "conntrack zone of both directions"),
    Option(("--orig-zone",), "orig_zone", "ZONE", f"conntrack zone, {ORIGINAL} only"),
    Option(("--reply-zone",), "reply_zone", "ZONE", f"conntrack zone, {REPLY} only"),
    Option(("-n", "--src-nat"), "src_nat", "IP[:PORT]", f"source NAT, {TO}"),
    Option(("-g", "--dst-nat"), "dst_nat", "IP[:PORT]", f"destination NAT, {TO}"),
    Option(("-j", "--any-nat"), "any_nat", "IP[:PORT]", f"source or destination NAT, {TO}"),
)
FLAGS = {option.name: option.flags[-1] for option in OPTIONS}


def build(words: Mapping[str, str]) -> Filter:
    """Return the filter that options mean; `words` maps their names to their texts.

    Raises InvalidRequest.
    """
    parsed: dict[str, Any] = {}
    for name, text in words.items():
        field, parse = PARSERS[name]
        parsed[field] = parse(text)
    _mask(parsed, "orig_src", "mask_src")
    _mask(parsed, "orig_dst", "mask_dst")
    parsed.update(_protocol_of(words, parsed.get("protocol")))
    wanted = Filter(**parsed)
    _check(wanted)
    return wanted


def _mask(parsed: dict[str, Any], name: str, mask: str) -> None:
    """Give a network the mask that has an option of its own."""
    if mask in parsed:
        if name not in parsed:
            raise InvalidRequest(f"{FLAGS[mask]} is the mask of {FLAGS[name]}, which is missing")
        network, given = parsed[name], parsed.pop(mask)
        if len(network.address) != len(given):
            raise InvalidRequest(f"{FLAGS[mask]} and {FLAGS[name]} have two address families")
        parsed[name] = network._replace(mask=given)


def _protocol_of(words: Mapping[str, str], protocol: int | None) -> dict[str, int]:
    """Return the protocol, also where an option implies it that no other protocol has."""
    for name in IMPLIED.keys() & words.keys():
        if protocol not in {None, IMPLIED[name]}:
            raise InvalidRequest(
                f"{FLAGS[name]} is only for {protocol_name(IMPLIED[name])}: leave it out, "
                "or the option that chooses another protocol"
            )
        protocol = IMPLIED[name]
    if protocol is None:
        return {}
    for name in PORTS:
        if name in words and protocol not in PORT_PROTOCOLS:
            raise InvalidRequest(f"{FLAGS[name]}: {protocol_name(protocol)} has no ports")
    return {"protocol": protocol}


def _check(wanted: Filter) -> None:
    """Raise InvalidRequest for a filter that no entry can pass."""
    states = STATE_PROTOCOLS.get(wanted.protocol or 0, ())
    if wanted.state is not None and wanted.protocol is not None and wanted.state not in states:
        name = protocol_name(wanted.protocol)
        known = f"known are {', '.join(states)}" if states else "it has no states"
        raise InvalidRequest(f"{wanted.state!r} is not a state of {name}: {known}")
    if wanted.any_nat is not None and (wanted.src_nat, wanted.dst_nat) != (None, None):
        raise InvalidRequest("--any-nat can't be given with --src-nat or --dst-nat")
    if not wanted.families:
        raise InvalidRequest("the filter names IPv4 and IPv6 at once, and no entry is both")
    required, forbidden = wanted.flags
    if required & forbidden:
        raise InvalidRequest("--status has a flag and its opposite at once")


# How each option's text is read, and the field of Filter that it becomes.
PARSERS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "proto": ("protocol", protocol_number),
    "state": ("state", parse_state),
    "family": ("family", parse_family),
    "mark": ("mark", parse_mark),
    "label": ("labels", parse_labels),
    "secmark": ("secmark", parse_secmark),
    "status": ("status", parse_status),
    "mask_src": ("mask_src", parse_mask),
    "mask_dst": ("mask_dst", parse_mask),
    **{name: (name, parse_zone) for name in ZONES},
    **{name: (name, parse_network) for name in NETWORKS},
    **{name: (name, parse_port) for name in PORTS},
    **{name: (name, parse_nat) for name in NATS},
    **{f"{icmp}_type": ("icmp_type", parse_type) for icmp in ("icmp", "icmpv6")},
    **{f"{icmp}_code": ("icmp_code", parse_code) for icmp in ("icmp", "icmpv6")},
    **{f"{icmp}_id": ("icmp_id", parse_identifier) for icmp in ("icmp", "icmpv6")},
    "orig_key_src": ("orig_sport", parse_key),
    "orig_key_dst": ("orig_dport", parse_key),
    "reply_key_src": ("reply_sport", parse_key),
    "reply_key_dst": ("reply_dport", parse_key),
}
# The protocol of options that only one has.
IMPLIED = {
    name: protocol
    for protocol, word in ((ICMP, "icmp_"), (ICMPV6, "icmpv6_"), (GRE, "_key_"))
    for name in PARSERS
    if word in name
}

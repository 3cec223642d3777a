"""Netfilter's terms: protocols, states and status flags, named as conntrack(8) prints them.

Numbers: linux/in.h, linux/netfilter/nf_conntrack_tcp.h, _sctp.h, _common.h of the kernel, and
net/netfilter/nf_conntrack_proto_dccp.c.
"""

from __future__ import annotations

from collections.abc import Mapping

from conntrack_common.digits import UINT8, as_c
from conntrack_common.errors import InvalidRequest

ICMP, TCP, UDP, DCCP, GRE, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 33, 47, 58, 132, 136
PORT_PROTOCOLS = (TCP, UDP, DCCP, SCTP, UDPLITE)
PROTOCOLS = {
    ICMP: "icmp",
    2: "igmp",
    TCP: "tcp",
    UDP: "udp",
    DCCP: "dccp",
    41: "ipv6",
    GRE: "gre",
    50: "esp",
    51: "ah",
    ICMPV6: "icmpv6",
    89: "ospf",
    112: "vrrp",
    SCTP: "sctp",
    UDPLITE: "udplite",
}
PROTOCOL_ALIASES = {"ipv6-icmp": ICMPV6, "icmp6": ICMPV6}
FAMILIES = {2: "ipv4", 10: "ipv6"}

TCP_STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",  # LISTEN before Linux 2.6.31
)
SCTP_STATES = (
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
    "HEARTBEAT_ACKED",  # until Linux 6.0
)
DCCP_STATES = (
    "NONE",
    "REQUEST",
    "RESPOND",
    "PARTOPEN",
    "OPEN",
    "CLOSEREQ",
    "CLOSING",
    "TIMEWAIT",
    "IGNORE",
    "INVALID",
)
STATES = {"tcp_state": TCP_STATES, "sctp_state": SCTP_STATES, "dccp_state": DCCP_STATES}
STATE_PROTOCOLS = {TCP: TCP_STATES, SCTP: SCTP_STATES, DCCP: DCCP_STATES}
STATE_ALIASES = {"LISTEN": "SYN_SENT2"}

SEEN_REPLY = 1 << 1
STATUS_FLAGS = {
    "EXPECTED": 1 << 0,
    "SEEN_REPLY": SEEN_REPLY,
    "ASSURED": 1 << 2,
    "CONFIRMED": 1 << 3,
    "SRC_NAT": 1 << 4,
    "DST_NAT": 1 << 5,
    "SEQ_ADJUST": 1 << 6,
    "SRC_NAT_DONE": 1 << 7,
    "DST_NAT_DONE": 1 << 8,
    "DYING": 1 << 9,
    "FIXED_TIMEOUT": 1 << 10,
    "TEMPLATE": 1 << 11,
    "NAT_CLASH": 1 << 12,
    "HELPER": 1 << 13,
    "OFFLOAD": 1 << 14,
    "HW_OFFLOAD": 1 << 15,
}
# Flags that describe a connection; the others are the kernel's bookkeeping.
TOLD_FLAGS = tuple(
    name
    for name in STATUS_FLAGS
    if name not in {"CONFIRMED", "SRC_NAT_DONE", "DST_NAT_DONE", "TEMPLATE", "NAT_CLASH"}
)


def protocol_name(number: int) -> str:
    """Return a protocol's name in small letters, or its number where it has none here."""
    return PROTOCOLS.get(number, str(number))


def protocol_number(text: str) -> int:
    """Return the number of a protocol: its name, also of /etc/protocols, or 17, 0x11, 021.

    Raises InvalidRequest.
    """
    import socket

    names = {**{name: number for number, name in PROTOCOLS.items()}, **PROTOCOL_ALIASES}
    number = as_c(text, UINT8)
    if number is None:
        number = names.get(text.lower())
    if number is None:
        try:
            number = socket.getprotobyname(text)
        except (OSError, ValueError):  # ValueError: a NUL character
            raise InvalidRequest(
                f"{text!r} is not a protocol: known are {', '.join(names)}, the names in "
                "/etc/protocols, and numbers up to 255"
            ) from None
    return number


def state_name(fields: Mapping[str, object]) -> str | None:
    """Return the state of an entry's protocol, or None where it has none (UDP, offloaded flows).

    A state newer than this table is called by its number.
    """
    for field, names in STATES.items():
        number = fields.get(field)
        if isinstance(number, int):
            return names[number] if number < len(names) else f"STATE{number}"
    return None


def status_names(status: int) -> tuple[str, ...]:
    """Return the flags that a status has, and UNREPLIED where no reply was seen."""
    names = tuple(name for name in TOLD_FLAGS if status & STATUS_FLAGS[name])
    return names if status & SEEN_REPLY else (*names, "UNREPLIED")

"""Fill this namespace's table with synthetic entries, and tell the truth about them.

    ip netns exec NS python3 tests/fill.py 100000 --seed 7

IPCTNL_MSG_CT_NEW in batches (linux/netfilter/nfnetlink_conntrack.h). The seed fixes the mix, every
entry lives for a day, and the printed JSON counts what the kernel took: a protocol that this
kernel does not track (SCTP, DCCP) is left out and replaced.
"""

from __future__ import annotations

import argparse
import errno
import json
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

NETLINK_NETFILTER = 12
IPCTNL_MSG_CT_NEW = 1 << 8  # subsystem NFNL_SUBSYS_CTNETLINK, message 0
NLMSG_ERROR = 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
NLA_F_NESTED = 0x8000
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_PROTOINFO = 1, 2, 3, 4
CTA_TIMEOUT, CTA_MARK, CTA_ZONE = 7, 8, 18
IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED = 0x2, 0x4, 0x8
DAY = 86400

NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "sctp": 132, "dccp": 33}
MIX = {"tcp": 56, "udp": 28, "icmp": 10, "sctp": 4, "dccp": 2}
# enum tcp_conntrack, as conntrack(8) writes it; ASSURED from the first complete handshake on.
TCP_STATES = {
    "SYN_SENT": (1, 10),
    "SYN_RECV": (2, 6),
    "ESTABLISHED": (3, 48),
    "FIN_WAIT": (4, 6),
    "CLOSE_WAIT": (5, 6),
    "LAST_ACK": (6, 4),
    "TIME_WAIT": (7, 13),
    "CLOSE": (8, 5),
    "SYN_SENT2": (9, 2),
}
ASSURED_STATES = {"ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT"}
REFUSALS = {errno.EOPNOTSUPP, errno.EINVAL, errno.EPROTONOSUPPORT, errno.ENOENT}


class Entry(NamedTuple):
    """What one entry is."""

    number: int
    family: int
    protocol: str
    ports: tuple[int, int]
    server: int
    state: str = ""
    status: int = IPS_CONFIRMED
    mark: int = 0
    zone: int = 0


def attribute(kind: int, *payloads: bytes) -> bytes:
    payload = b"".join(payloads)
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def nest(kind: int, *payloads: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, *payloads)


def drawn(number: int, rng: random.Random) -> Entry:
    """One entry of the mix."""
    family = socket.AF_INET6 if rng.random() < 0.2 else socket.AF_INET
    protocol = rng.choices(list(MIX), list(MIX.values()))[0]
    if protocol == "icmp" and family == socket.AF_INET6:
        protocol = "icmpv6"
    state, status = "", IPS_CONFIRMED
    if protocol == "tcp":
        state = rng.choices(list(TCP_STATES), [share for _, share in TCP_STATES.values()])[0]
        status |= 0 if state == "SYN_SENT" else IPS_SEEN_REPLY
        status |= IPS_ASSURED if state in ASSURED_STATES else 0
    elif protocol == "udp":
        status |= rng.choice((0, IPS_SEEN_REPLY, IPS_SEEN_REPLY | IPS_ASSURED))
    else:
        status |= IPS_SEEN_REPLY
    return Entry(
        number,
        family,
        protocol,
        (1024 + number * 7919 % 60000, rng.choice((22, 53, 80, 443, 4500))),
        rng.randrange(1, 250),
        state,
        status,
        rng.choice((1, 2, 0xBEEF)) if rng.random() < 0.05 else 0,
        rng.choice((7, 12)) if rng.random() < 0.04 else 0,
    )


def assured(number: int) -> Entry:
    """One that the kernel does not evict when the table is full."""
    return Entry(
        number,
        socket.AF_INET,
        "udp",
        (1024 + number * 7919 % 60000, 53),
        1,
        status=IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED,
    )


def encoded(entry: Entry) -> bytes:
    """The attributes of an entry's IPCTNL_MSG_CT_NEW."""
    client, server = _addresses(entry)
    first, second = entry.ports
    if entry.protocol in {"icmp", "icmpv6"}:
        kind = (8, 0) if entry.protocol == "icmp" else (128, 129)
        there, back = (first, kind[0]), (first, kind[1])
    else:
        there, back = (first, second), (second, first)
    return b"".join(
        (
            nest(CTA_TUPLE_ORIG, *_tuple(entry, client, server, there)),
            nest(CTA_TUPLE_REPLY, *_tuple(entry, server, client, back)),
            attribute(CTA_STATUS, struct.pack(">I", entry.status)),
            _protoinfo(entry),
            attribute(CTA_TIMEOUT, struct.pack(">I", DAY)),
            attribute(CTA_MARK, struct.pack(">I", entry.mark)) if entry.mark else b"",
            attribute(CTA_ZONE, struct.pack(">H", entry.zone)) if entry.zone else b"",
        )
    )


def _addresses(entry: Entry) -> tuple[bytes, bytes]:
    if entry.family == socket.AF_INET:
        return struct.pack(">I", 0x0A000000 | entry.number), bytes((192, 168, 0, entry.server))
    net = bytes.fromhex("20010db80000000000000000")
    return net + struct.pack(">I", 1 << 24 | entry.number), net + struct.pack(">I", entry.server)


def _tuple(entry: Entry, src: bytes, dst: bytes, ports: tuple[int, int]) -> tuple[bytes, bytes]:
    kinds = (1, 2) if entry.family == socket.AF_INET else (3, 4)  # CTA_IP_V4_SRC ... V6_DST
    parts = [attribute(1, bytes((NUMBERS[entry.protocol],)))]  # CTA_PROTO_NUM
    if entry.protocol in {"icmp", "icmpv6"}:
        ident = 4 if entry.protocol == "icmp" else 7  # CTA_PROTO_ICMP_ID, _TYPE, _CODE follow
        parts.append(attribute(ident, struct.pack(">H", ports[0])))
        parts.append(attribute(ident + 1, bytes((ports[1],))))
        parts.append(attribute(ident + 2, b"\0"))
    else:
        parts += [attribute(kind, struct.pack(">H", ports[kind - 2])) for kind in (2, 3)]
    addresses = (attribute(kinds[0], src), attribute(kinds[1], dst))
    return nest(1, *addresses), nest(2, *parts)  # CTA_TUPLE_IP, CTA_TUPLE_PROTO


def _protoinfo(entry: Entry) -> bytes:
    if entry.protocol == "tcp":
        flags = [attribute(kind, b"\x0a\x0a") for kind in (4, 5)]
        state = bytes((TCP_STATES[entry.state][0],))
        return nest(CTA_PROTOINFO, nest(1, attribute(1, state), *flags))
    if entry.protocol == "sctp":
        tags = [attribute(kind, struct.pack(">I", entry.number + kind)) for kind in (2, 3)]
        return nest(CTA_PROTOINFO, nest(3, attribute(1, b"\x04"), *tags))
    if entry.protocol == "dccp":
        parts = (attribute(1, b"\x04"), attribute(2, b"\0"), attribute(3, bytes(8)))
        return nest(CTA_PROTOINFO, nest(2, *parts))
    return b""


class Filler:
    """A ctnetlink socket of the namespace in which it is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.settimeout(30)

    def __enter__(self) -> Filler:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def insert(self, entries: list[Entry]) -> dict[int, int]:
        """Ask for these entries; return the errno of each one (by place) that was refused."""
        self._socket.send(b"".join(_messages(entries)))
        errors: dict[int, int] = {}
        while len(entries) not in errors:
            data = self._socket.recv(1 << 17)
            offset = 0
            while offset < len(data):
                length, kind, _flags, sequence, _port = struct.unpack_from("=IHHII", data, offset)
                if kind == NLMSG_ERROR:
                    errors[sequence] = -struct.unpack_from("=i", data, offset + 16)[0]
                offset += length + 3 & ~3
        return {place - 1: error for place, error in errors.items() if error}


def _messages(entries: list[Entry]) -> Iterator[bytes]:
    for sequence, entry in enumerate(entries, start=1):
        body = struct.pack(">BBH", entry.family, 0, 0) + encoded(entry)
        flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
        flags |= NLM_F_ACK if sequence == len(entries) else 0
        yield struct.pack("=IHHII", 16 + len(body), IPCTNL_MSG_CT_NEW, flags, sequence, 0) + body


def fill(count: int, seed: int = 1, batch: int = 200) -> dict[str, dict[str, int] | int]:
    """Insert as many entries of the mix and return the truth: how many of which."""
    rng = random.Random(seed)
    taken: list[Entry] = []
    number = 0
    with Filler() as filler:
        while len(taken) < count:
            number += 1
            size = min(batch, count - len(taken))
            entries = [drawn(number + place, rng) for place in range(size)]
            number += size
            refused = filler.insert(entries)
            for place, error in refused.items():
                if entries[place].protocol not in {"sctp", "dccp"} or error not in REFUSALS:
                    raise OSError(error, f"the kernel refused {entries[place]}")
            taken += [entry for place, entry in enumerate(entries) if place not in refused]
    return truth(taken)


def truth(entries: list[Entry]) -> dict[str, dict[str, int] | int]:
    """Count what the entries are."""
    families = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
    unreplied = sum(not entry.status & IPS_SEEN_REPLY for entry in entries)
    sure = sum(bool(entry.status & IPS_ASSURED) for entry in entries)
    return {
        "entries": len(entries),
        "protocol": dict(Counter(entry.protocol for entry in entries)),
        "family": dict(Counter(families[entry.family] for entry in entries)),
        "tcp_state": dict(Counter(entry.state for entry in entries if entry.state)),
        "status": {"UNREPLIED": unreplied, "ASSURED": sure},
        "zone": dict(Counter(str(entry.zone) for entry in entries)),
        "mark": dict(Counter(str(entry.mark) for entry in entries)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill this namespace's conntrack table.")
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    json.dump(fill(options.count, options.seed), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()

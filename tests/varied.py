"""A table with entries of every kind that conntrack(8)'s filters tell apart, inserted by itself."""

from __future__ import annotations

import contextlib
import itertools
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import processes
from namespaces import Namespace

CLIENTS = {"ipv4": ("10.0.0.1", "10.0.0.2", "10.0.1.1"), "ipv6": ("2001:db8::1", "2001:db8:1::1")}
SERVERS = {"ipv4": ("192.0.2.1", "192.0.2.130"), "ipv6": ("2001:db8:ff::1", "2001:db8:ff::2")}
TRANSLATED = {"ipv4": ("198.51.100.1", "198.51.100.2"), "ipv6": ("2001:db8:a::1", "2001:db8:a::2")}
TCP_STATES = (
    *("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK"),
    *("TIME_WAIT", "CLOSE", "LISTEN"),
)
SCTP_STATES = (
    *("CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD"),
    "SHUTDOWN_ACK_SENT",
)
STATUSES = ("", "-u SEEN_REPLY", "-u SEEN_REPLY,ASSURED", "-u FIXED_TIMEOUT")
ICMP = {"ipv4": ("icmp", (8, 13, 15)), "ipv6": ("icmpv6", (128, 139))}
OTHERS = (2, 41, 50, 51, 89, 112, 253)
ZONES = ("-w 1", "-w 2", "--orig-zone 1", "--orig-zone 2", "--reply-zone 1", "--reply-zone 3")
MARKS = ("1", "0x10", "0x11", "0xff00", "0xffffffff")
# Numbers of labels, and the names that connlabel.conf gives them.
LABELS = {1: "web", 5: "late", 33: "far", 127: "last"}
LABELLED = ("--label-add web", "--label-add web,late", "--label-add late,far,last")
VTAGS = "--orig-vtag 1 --reply-vtag 2"
DCCP = "-I -p dccp -s 10.0.0.1 -d 192.0.2.1 -t 3600 --sport 9 --dport 80 --state OPEN --role client"
# Nothing has this mark: the rule lets the kernel keep labels, and sets none.
RULES = """
table inet labels {
    chain out {
        type filter hook output priority 0;
        meta mark 4242 ct label set 127
    }
}
"""
COVER = 'mount -t overlay covers -o "lowerdir=$1:/etc" /etc && shift && exec "$@"'

WRONG_VERSION = "1.4.7"  # conntrack(8) of Debian 12, whose own faults the tests name


def version() -> str:
    """The version of conntrack(8)."""
    return processes.must(["conntrack", "-V"]).split()[1].lstrip("v")


@contextlib.contextmanager
def names_of_labels() -> Iterator[Path]:
    """A folder to cover /etc with: it has a connlabel.conf."""
    with tempfile.TemporaryDirectory(prefix="ctplug", dir="/tmp") as folder:
        made = Path(folder, "xtables")
        made.mkdir()
        lines = [f"{number}\t{name}\n" for number, name in LABELS.items()]
        (made / "connlabel.conf").write_text("# tests\n" + "".join(lines), "ascii")
        Path(folder).chmod(0o755)
        yield Path(folder)


def covered(folder: Path, words: Sequence[str]) -> list[str]:
    """Return the words that run a command where that folder covers /etc, by `ip netns exec`."""
    return ["sh", "-c", COVER, "sh", str(folder), *words]


def kinds(family: str) -> Iterator[str]:
    """Yield what the entries of a family are; PORTS stands for ports of their own."""
    for state, status in zip(TCP_STATES * 2, itertools.cycle(STATUSES)):
        yield f"-p tcp PORTS --state {state} {status}"
    for protocol, status in itertools.product(("udp", "udplite"), STATUSES):
        yield f"-p {protocol} PORTS {status}"
    yield from (f"-p sctp PORTS --state {state} {VTAGS}" for state in SCTP_STATES)
    name, types = ICMP[family]
    for kind, code in itertools.product(types, (0, 1)):
        number = f"--{name}-type {kind} --{name}-code {code}"
        yield f"-p {name} {number} --{name}-id {100 + kind + code}"
    yield from (f"-p gre --srckey {key} --dstkey 0x7" for key in ("0x10", "0x1020"))
    yield from (f"-p {protocol}" for protocol in OTHERS)
    for zone, protocol in itertools.product(ZONES, ("tcp --state ESTABLISHED", "udp")):
        yield f"-p {protocol} PORTS {zone}"
    yield from (f"-p udp PORTS -m {mark} -u SEEN_REPLY" for mark in MARKS)
    first, second = TRANSLATED[family]
    there, back = (
        f"{address if family == 'ipv4' else f'[{address}]'}:{port}"
        for address, port in ((first, 4000), (second, 4001))
    )
    for nat in (f"-n {first}", f"-g {second}", f"-n {there}", f"-g {back}"):
        yield f"-p tcp PORTS --state ESTABLISHED -u SEEN_REPLY {nat}"
    yield f"-p udp PORTS -u SEEN_REPLY -n {there} -g {back}"
    yield f"-p udp PORTS -u SEEN_REPLY -n {back} -g {there} -m 1 -w 1"
    yield from (f"-p tcp PORTS --state ESTABLISHED {label}" for label in LABELLED)


def commands() -> list[str]:
    """Return the arguments of conntrack(8) that insert the entries, no two of which are alike."""
    made = []
    every = [(family, kind) for family in CLIENTS for kind in kinds(family)]
    for number, (family, kind) in enumerate(every, start=1):
        client = CLIENTS[family][number % len(CLIENTS[family])]
        server = SERVERS[family][number // 2 % 2]
        ports = f"--sport {1000 + number} --dport {(22, 53, 80, 4500)[number % 4]}"
        ends = f"-s {client} -d {server} -t {3600 + number}"
        made.append(f"-I {ends} {kind.replace('PORTS', ports)}")
    return made


@contextlib.contextmanager
def table(labels: Path) -> Iterator[Namespace]:
    """A namespace with these entries."""
    with Namespace(tracking=False) as made:
        made.rules(RULES)
        plain = [line for line in commands() if "label" not in line]
        made.must("conntrack", "-R", "-", stdin="".join(f"{line}\n" for line in plain))
        for line in set(commands()) - set(plain):  # conntrack 1.4.7 falls over several of these
            made.must(*covered(labels, ["conntrack", *shlex.split(line)]))
        made.run(["conntrack", *shlex.split(DCCP)])  # refused where the kernel does not track it
        yield made

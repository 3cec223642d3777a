"""SYNPROXY's counters in a flood of SYNs, and with a client that is real."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import processes
import traffic
from installation import command, python_path
from namespaces import Namespace, connect

pytestmark = pytest.mark.kernel

PORT, SYNS = 80, 300
RULES = f"""
table ip proxied {{
    chain raw {{
        type filter hook prerouting priority raw;
        tcp dport {PORT} tcp flags syn / fin,syn,rst,ack notrack
    }}
    chain input {{
        type filter hook input priority filter;
        tcp dport {PORT} ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
        tcp dport {PORT} ct state invalid drop
    }}
}}
"""


class Pair(NamedTuple):
    client: Namespace
    server: Namespace


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Two namespaces; the second one answers SYNs for port 80 by SYNPROXY."""
    with Namespace(tracking=False) as client, Namespace(tracking=False) as server:
        connect(client, server)
        server.rules(RULES)
        server.must("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0")
        yield Pair(client, server)


def flood(client: Namespace) -> None:
    # An address that nobody has, so that no RST comes back.
    source, target = socket.inet_aton("10.91.0.77"), socket.inet_aton(traffic.SERVER4)
    with client.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        for number in range(SYNS):
            head = struct.pack(">HHIIBBHHH", 2000 + number, PORT, number, 0, 5 << 4, 2, 512, 0, 0)
            pseudo = source + target + struct.pack(">BBH", 0, 6, len(head))
            sum_ = traffic.checksum(pseudo + head)
            tcp = head[:16] + struct.pack(">H", sum_) + head[18:]
            ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, source, target)
            raw.sendto(ip + tcp, (traffic.SERVER4, 0))


def totals(server: Namespace) -> dict[str, int]:
    """What Telegraf gets, the CPUs together."""
    words = [*command("conntrack-telegraf"), "--metrics", "synproxy.*"]
    done = server.run(words, env=python_path())
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, int] = {}
    for line in done.stdout.splitlines():
        series, _, fields = line.partition(" ")
        for field in fields.split(",") if series.startswith("conntrack_synproxy,cpu=") else ():
            name, _, value = field.partition("=")
            found[name] = found.get(name, 0) + int(value.rstrip("i"))
    return found


def test_each_syn_of_a_flood_is_counted_and_no_cookie_comes_back(pair: Pair) -> None:
    before = totals(pair.server)
    flood(pair.client)
    processes.until(
        lambda: totals(pair.server)["syn_received"] - before["syn_received"] >= SYNS,
        "SYNPROXY has seen the flood",
    )
    after = totals(pair.server)
    moved = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert moved == {"syn_received": SYNS}


def test_a_real_clients_cookie_is_valid(pair: Pair) -> None:
    with contextlib.ExitStack() as stack:
        listener = traffic.made(pair.server, socket.AF_INET, socket.SOCK_STREAM)
        stack.enter_context(listener).bind((traffic.SERVER4, PORT))
        listener.listen(1)
        client = traffic.made(pair.client, socket.AF_INET, socket.SOCK_STREAM)
        before = totals(pair.server)
        stack.enter_context(client).connect(listener.getsockname())
        after = totals(pair.server)
    moved = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert moved == {"syn_received": 1, "cookie_valid": 1}


def test_a_check_warns_of_a_flood(pair: Pair) -> None:
    words = [*command("check_conntrack"), "--check", f"synproxy.syn_received,{SYNS - 1},"]
    done = pair.server.run(words, env=python_path())
    assert (done.returncode, "synproxy.syn_received" in done.stdout) == (1, True)


def test_timeouts_are_those_of_sysctl_in_each_namespace(pair: Pair) -> None:
    pair.server.must("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_established=777")
    for where in pair:
        words = [*command("conntrack-telegraf"), "--metrics", "table.timeout"]
        said = where.run(words, env=python_path()).stdout
        ours = dict(
            re.findall(r"^conntrack_timeout,timeout=(\w+) seconds=(\d+)i$", said, re.MULTILINE)
        )
        theirs = {
            before + after: value
            for before, after, value in re.findall(
                r"^net\.netfilter\.nf_conntrack_(?!frag6|events)(\w+)_timeout(\w*) = (\d+)$",
                where.must("sysctl", "net.netfilter"),
                re.MULTILINE,
            )
        }
        assert ours == theirs
        assert len(ours) > 15

"""Packets, bytes and ages per group, with real connections."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator

import pytest

import oracle
from installation import command, python_path
from namespaces import Namespace

pytestmark = pytest.mark.kernel


@pytest.fixture
def accounting() -> Iterator[Namespace]:
    with Namespace() as made:
        made.must("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1")
        made.must("sysctl", "-qw", "net.netfilter.nf_conntrack_timestamp=1")
        yield made


def ask(namespace: Namespace, sizes: list[int]) -> None:
    """Send UDP questions of these sizes over loopback, each answered by one byte."""
    with namespace.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        client.connect(server.getsockname())
        for size in sizes:
            client.send(b"x" * size)
            _question, asker = server.recvfrom(2000)
            server.sendto(b"y", asker)


def test_packets_and_bytes_equal_what_conntrack_lists(accounting: Namespace) -> None:
    for sizes in ([10], [100, 200], [1000, 1, 5]):
        ask(accounting, sizes)
    lines = [line for line in oracle.listing(accounting) if line.startswith("udp")]
    assert len(lines) == 3
    sums = [
        sum(int(number) for line in lines for number in re.findall(rf"{name}=(\d+)", line))
        for name in ("packets", "bytes")
    ]
    words = [*command("conntrack-stat"), "count", "--by", "protocol", "--json", "-p", "udp"]
    (group,) = json.loads(accounting.must(*words, env=python_path()))["groups"]
    assert [group["packets"], group["bytes"]] == sums
    assert group["entries"] == 3


def test_ages_are_seconds_since_the_first_packet(accounting: Namespace) -> None:
    began = time.time()
    ask(accounting, [1])
    time.sleep(1.2)
    ask(accounting, [1])
    words = [*command("conntrack-stat"), "count", "--by", "protocol", "--json"]
    (group,) = json.loads(accounting.must(*words, env=python_path()))["groups"]
    passed = time.time() - began
    assert 1.2 <= group["oldest"] <= passed
    assert group["oldest"] - 1.3 < group["mean_age"] < group["oldest"]


def test_without_accounting_there_are_no_sums(namespace: Namespace) -> None:
    ask(namespace, [10])
    words = [*command("conntrack-stat"), "count", "--by", "protocol", "--json"]
    (group,) = json.loads(namespace.must(*words, env=python_path()))["groups"]
    assert group == {"by": {"protocol": "udp"}, "entries": 1}

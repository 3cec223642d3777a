"""conntrack-stat list and expect, against conntrack(8)'s own lists."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import oracle
import processes
import traffic
from installation import Installation, command, python_path
from namespaces import Filled, Namespace
from oracle import timeless

pytestmark = pytest.mark.kernel


def stat(namespace: Namespace, *words: str) -> subprocess.CompletedProcess[str]:
    return namespace.run([*command("conntrack-stat"), *words], env=python_path())


@pytest.fixture(scope="module")
def busy() -> Iterator[Namespace]:
    """Real connections, with accounting, timestamps and NAT."""
    with traffic.connections() as made:
        made.must("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1")
        made.must("sysctl", "-qw", "net.netfilter.nf_conntrack_timestamp=1")
        made.rules(
            "table ip nat {\n chain out {\n type nat hook output priority -100;\n"
            " udp dport 7777 dnat to 127.0.0.1:7778\n }\n}\n"
        )
        with made.entered():
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with server, client:
            server.bind(("127.0.0.1", 7778))
            server.settimeout(5)
            for size in (10, 500):
                client.sendto(b"x" * size, ("127.0.0.1", 7777))
                _question, asker = server.recvfrom(1000)
                server.sendto(b"y", asker)
            yield made


LISTS = [
    "",
    "-p tcp",
    "-p tcp --state ESTABLISHED",
    "-p udp --dport 4500",
    "-p icmp",
    "-p ipv6-icmp",
    "-p sctp",
    "-s 10.0.0.0/24",
    "-u ASSURED",
    "-w 7",
    "-m 1",
    "-f ipv6",
]


@pytest.mark.parametrize("options", LISTS)
def test_lines_are_those_of_conntrack(filled: Filled, options: str) -> None:
    words = shlex.split(options)
    theirs = filled.namespace.must("conntrack", "-L", *words)
    done = stat(filled.namespace, "list", "-o", "conntrack", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert timeless(theirs) == timeless(done.stdout)


def test_lines_of_real_connections_are_those_of_conntrack(busy: Namespace) -> None:
    theirs, ours = oracle.agreed(
        lambda: timeless(busy.must("conntrack", "-L")),
        lambda: timeless(stat(busy, "list", "-o", "conntrack").stdout),
    )
    assert theirs == ours
    assert any("bytes=" in line for line in ours)


@pytest.mark.parametrize("option", ["-g", "-n", "-j", "-n 127.0.0.1"])
def test_nat_options_are_those_of_conntrack(busy: Namespace, option: str) -> None:
    words = shlex.split(option)
    theirs, ours = oracle.agreed(
        lambda: timeless(busy.must("conntrack", "-L", *words)),
        lambda: timeless(stat(busy, "list", "-o", "conntrack", *words).stdout),
    )
    assert theirs == ours


def entries(namespace: Namespace, *words: str) -> list[dict[str, Any]]:
    done = stat(namespace, "list", "--json", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_json_says_what_conntrack_says(busy: Namespace) -> None:
    (found,) = entries(busy, "-p", "udp", "--dport", "7777")
    line = next(line for line in oracle.listing(busy) if "dport=7777" in line)
    for name in ("packets", "bytes"):
        there, back = map(int, re.findall(rf"{name}=(\d+)", line))
        ours = [found[name], found["reply"][name], found[f"total_{name}"]]
        assert ours == [there, back, there + back]
    assert (found["src"], found["dst"], found["dport"]) == ("127.0.0.1", "127.0.0.1", 7777)
    assert found["reply"]["sport"] == 7778
    assert "DST_NAT" in found["status"]
    assert "state" not in found
    assert found["age"] >= 0


def test_without_accounting_there_are_no_sums(filled: Filled) -> None:
    found = entries(filled.namespace, "--limit", "5")
    assert len(found) == 5
    names = {"packets", "bytes", "total_packets", "total_bytes", "age"}
    assert not any(names & {*entry, *entry["reply"]} for entry in found)


def test_csv_has_a_heading_and_every_entry(filled: Filled) -> None:
    done = stat(filled.namespace, "list", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == filled.entries
    states = [row["state"] for row in rows if row["protocol"] == "tcp"]
    assert {name: states.count(name) for name in set(states)} == filled.truth["tcp_state"]


def test_the_table_is_aligned_and_has_every_entry(filled: Filled) -> None:
    lines = stat(filled.namespace, "list").stdout.splitlines()
    assert len(lines) == filled.entries + 1
    assert len({line.index("→") for line in lines[1:]}) == 1
    assert "\x1b" not in "".join(lines)


def test_sorting_shows_the_largest_first(busy: Namespace) -> None:
    theirs = sorted(
        (
            sum(int(number) for number in re.findall(r"bytes=(\d+)", line))
            for line in oracle.listing(busy)
        ),
        reverse=True,
    )
    found = entries(busy, "--sort", "bytes", "--limit", "3")
    assert [entry.get("total_bytes", 0) for entry in found] == theirs[:3]


def test_a_limit_ends_it_early(filled: Filled) -> None:
    done = stat(filled.namespace, "list", "-o", "conntrack", "--limit", "2")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)


def test_a_reader_that_goes_away_ends_it_quietly(filled: Filled) -> None:
    listing = filled.namespace.argv([*command("conntrack-stat"), "list"])
    done = processes.run(["sh", "-c", '"$@" | head -n 1', "sh", *listing], env=python_path())
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


@pytest.mark.parametrize("words", [["--limit", "0"], ["-o", "conntrack", "--sort", "bytes"]])
def test_what_can_not_be_meant_is_one_sentence(filled: Filled, words: list[str]) -> None:
    done = stat(filled.namespace, "list", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_nobody_is_told_what_is_missing(filled: Filled, installation: Installation) -> None:
    for name in ("list", "expect", "top", "events"):
        words = [installation.command("conntrack-stat"), name]
        done = filled.namespace.run(words, user="nobody")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
        assert "CAP_NET_ADMIN" in done.stderr


def test_expectations_are_those_of_conntrack(namespace: Namespace) -> None:
    """An FTP server's answer makes the helper expect the data connection."""
    namespace.rules(
        'table inet ftp {\n ct helper ftp-standard {\n type "ftp" protocol tcp;\n }\n'
        " chain out {\n type filter hook output priority -10;\n"
        ' tcp dport 21 ct helper set "ftp-standard"\n }\n}\n'
    )
    with namespace.entered():
        listener = socket.create_server(("127.0.0.1", 21))
        client = socket.create_connection(("127.0.0.1", 21), 5)
    server, _peer = listener.accept()
    with listener, client, server:
        server.sendall(b"220 ready\r\n")  # the helper follows the lines of both directions
        assert client.recv(100).startswith(b"220")
        client.sendall(b"PASV\r\n")
        assert server.recv(100) == b"PASV\r\n"
        server.sendall(b"227 Entering Passive Mode (127,0,0,1,19,137).\r\n")
        assert client.recv(100).startswith(b"227")
        (theirs,) = namespace.must("conntrack", "-L", "expect").splitlines()
        done = stat(namespace, "expect", "--json")
        found = json.loads(done.stdout)
        assert stat(namespace, "expect", "--count").stdout == "1\n"
    assert "dport=5001" in theirs
    assert (found["protocol"], found["dst"], found["dport"]) == ("tcp", "127.0.0.1", 19 * 256 + 137)
    assert (found["master_dport"], found["helper"]) == (21, "ftp")


def test_no_expectation_is_none(namespace: Namespace) -> None:
    assert stat(namespace, "expect").stdout == ""
    assert stat(namespace, "expect", "--count").stdout == "0\n"

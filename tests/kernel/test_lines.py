"""Lists and events in conntrack(8)'s lines, byte for byte, whatever an entry has and -o adds."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fill
import oracle
import processes
import traffic
import varied
from installation import command, python_path
from namespaces import Namespace
from oracle import timeless
from varied import covered

pytestmark = pytest.mark.kernel

# Zones of both directions and of one, labels that have a name, one that has none, both, and a mark.
RULES = """
table inet kinds {
    chain zones {
        type filter hook output priority raw;
        udp dport 7001 ct original zone set 2
        udp dport 7002 ct reply zone set 3
        udp dport 7003 ct zone set 4
    }
    chain marks {
        type filter hook output priority 0;
        udp dport 7002 ct mark set 0x1f
        udp dport 7003 ct label set 5
        udp dport 7004 ct label set 77
        udp dport 7005 ct label set 77 ct label set 1
    }
}
"""
PORTS = range(7000, 7006)
ANSWERED = (7000, 7004)  # an answer to a zone of one direction would come from another


@pytest.fixture(scope="module")
def labels() -> Iterator[Path]:
    with varied.names_of_labels() as folder:
        yield folder


def detailed(namespace: Namespace) -> None:
    """Give entries everything that a line can show."""
    for name in ("acct", "timestamp"):
        namespace.must("sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}=1")
    namespace.rules(RULES)


def ask(namespace: Namespace) -> None:
    """Send a datagram to each port; some are answered."""
    with namespace.entered(), contextlib.ExitStack() as stack:
        for port in PORTS:
            server, client = (
                stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                for _end in range(2)
            )
            server.bind(("127.0.0.1", port))
            server.settimeout(5)
            client.sendto(b"x" * (port - 6000), ("127.0.0.1", port))
            _question, asker = server.recvfrom(2000)
            if port in ANSWERED:
                server.sendto(b"y", asker)


@pytest.fixture(scope="module")
def busy() -> Iterator[Namespace]:
    with traffic.connections() as made:
        detailed(made)
        ask(made)
        yield made


def stat(namespace: Namespace, labels: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = covered(labels, [*command("conntrack-stat"), *words])
    return namespace.run(argv, env=python_path())


OUTPUTS = [
    "",
    "extended",
    "id",
    "ktimestamp",
    "labels",
    "timestamp,userspace",
    "labels,id,ktimestamp,extended",
]


@pytest.mark.parametrize("output", OUTPUTS)
def test_lines_of_a_list_are_conntracks(busy: Namespace, labels: Path, output: str) -> None:
    words = ["-o", output] if output else []
    theirs, ours = oracle.agreed(
        lambda: timeless(busy.must(*covered(labels, ["conntrack", "-L", *words]))),
        lambda: timeless(stat(busy, labels, "list", "-o", output or "conntrack").stdout),
    )
    assert theirs == ours
    text = "\n".join(ours)
    for word in (" zone-orig=2 packets=", " zone-reply=3 packets=", " zone=4"):
        assert word in text
    assert ("labels=late" in text) == ("labels" in output)
    assert ("[start=" in text) == ("ktimestamp" in output)


def test_where_no_label_has_a_name_that_is_said(busy: Namespace) -> None:
    """conntrack(8) says so, too, and lists on."""
    argv = [*command("conntrack-stat"), "list", "-o", "labels"]
    done = busy.run(argv, env=python_path())
    assert "labels" not in done.stdout
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "connlabel.conf is missing" in done.stderr
    assert "No such file" in busy.run(["conntrack", "-L", "-o", "labels"]).stderr


@pytest.mark.parametrize(
    ("output", "why"),
    [("xml", "--json"), ("save", "conntrack"), ("color", "known"), ("table,id", "table")],
)
def test_what_is_not_written_is_one_sentence(busy: Namespace, output: str, why: str) -> None:
    for name in ("list", "events"):
        done = busy.run([*command("conntrack-stat"), name, "-o", output], env=python_path())
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert why in done.stderr


ZONED = {7000: {}, 7001: {"zone_orig": 2}, 7002: {"zone_reply": 3}, 7003: {"zone": 4}}
LABELLED = {7000: [], 7003: ["late"], 7004: ["77"], 7005: ["web", "77"]}


def test_json_and_csv_tell_zones_directions_and_labels_apart(busy: Namespace, labels: Path) -> None:
    listing = stat(busy, labels, "list", "--json", "-p", "udp")
    found = {each["dport"]: each for each in map(json.loads, listing.stdout.splitlines())}
    rows = csv.DictReader(io.StringIO(stat(busy, labels, "list", "--csv", "-p", "udp").stdout))
    table = {int(row["dport"]): row for row in rows}
    for port, zones in ZONED.items():
        expected = {"zone": 0, **zones}
        assert {key: found[port][key] for key in found[port] if "zone" in key} == expected
        assert {key: value for key, value in table[port].items() if "zone" in key and value} == {
            key: str(zone) for key, zone in expected.items()
        }
    for port, names in LABELLED.items():
        assert found[port].get("labels", []) == names
        assert table[port]["labels"] == ",".join(names)
    for line in oracle.listing(busy):
        ends = re.search(
            r" dport=(70\d\d) .*packets=(\d+) bytes=(\d+).*packets=(\d+) bytes=(\d+)", line
        )
        if ends:
            port, *numbers = map(int, ends.groups())
            there, back = numbers[:2], numbers[2:]
            entry, row = found[port], table[port]
            assert [entry["packets"], entry["bytes"]] == there
            assert [entry["reply"]["packets"], entry["reply"]["bytes"]] == back
            assert [entry["total_packets"], entry["total_bytes"]] == [
                there[0] + back[0],
                there[1] + back[1],
            ]
            names = ("packets", "bytes", "reply_packets", "reply_bytes")
            assert [int(row[name]) for name in names] == numbers


def test_zones_are_counted_by_direction(busy: Namespace, labels: Path) -> None:
    for dimension, counts in {
        "zone": {"4": 1},
        "orig-zone": {"2": 1},
        "reply-zone": {"3": 1},
    }.items():
        done = stat(busy, labels, "count", "--json", "--by", dimension)
        groups = {
            each["by"][dimension]: each["entries"] for each in json.loads(done.stdout)["groups"]
        }
        assert {zone: number for zone, number in groups.items() if zone != "0"} == counts


@contextlib.contextmanager
def listening(
    namespace: Namespace, argv: list[str], number: int = 1
) -> Iterator[subprocess.Popen[str]]:
    """A command that shows events, the first or another, from the moment when it listens."""
    with subprocess.Popen(
        namespace.argv(argv),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env=processes.environment(python_path()),
    ) as running:
        try:
            processes.until(lambda: subscribers(running.pid) == number, "it listens")
            yield running
        finally:
            running.kill()


def subscribers(pid: int) -> int:
    """Count netfilter's sockets that have joined groups in a process's namespace."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/net/netlink", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
        return sum(row[1] == "12" and int(row[3], 16) > 0 for row in rows)
    return 0


def shown(running: subprocess.Popen[str], expected: int) -> list[str]:
    """Wait until as many lines are there, interrupt the command and return them."""
    lines = []
    assert running.stdout is not None
    deadline = time.monotonic() + 20
    while len(lines) < expected and time.monotonic() < deadline:
        lines.append(running.stdout.readline())
    running.send_signal(signal.SIGINT)
    return [*lines, *running.stdout.readlines()]


def commanded(namespace: Namespace) -> None:
    """Change the table by packets, by a program that stays, and by one that goes at once."""
    ask(namespace)
    with namespace.entered(), fill.Filler() as filler:
        assert not filler.insert(
            [fill.drawn(number, fill.random.Random(number)) for number in (1, 2)]
        )
        namespace.must("conntrack", "-D", "-p", "udp", "--dport", "7004")
        time.sleep(0.3)  # who listens finds the program as long as it is there


@pytest.mark.parametrize("output", ["", "id,extended", "labels,ktimestamp"])
def test_lines_of_events_are_conntracks(output: str, labels: Path) -> None:
    words = ["-o", output] if output else []
    with Namespace() as namespace:
        detailed(namespace)
        theirs = listening(namespace, covered(labels, ["conntrack", "-E", *words]))
        argv = [*command("conntrack-stat"), "events", "-o", output or "conntrack"]
        ours = listening(namespace, covered(labels, argv), 2)
        with theirs as one, ours as other:
            commanded(namespace)
            events = len(PORTS) + len(ANSWERED) + 2 + 1  # two were inserted, and one deleted
            found, mine = shown(one, events), shown(other, events)
    # A program that has gone is not always found.
    gone = re.compile(r"(\[DESTROY\].*) progname=conntrack$")
    assert [gone.sub(r"\1", line) for line in found] == [gone.sub(r"\1", line) for line in mine]
    name = Path("/proc/self/comm").read_text("utf-8").strip()
    users = [line for line in mine if f"[USERSPACE] portid={os.getpid()} progname={name}\n" in line]
    assert len(users) == 2
    assert any("delta-time=" in line for line in mine if "[DESTROY]" in line)


def test_the_moment_of_an_event_stands_before_it() -> None:
    with Namespace() as namespace:
        began = time.time()
        argv = [*command("conntrack-stat"), "events", "-o", "timestamp", "-e", "NEW"]
        with listening(namespace, argv) as running:
            ask(namespace)
            lines = shown(running, len(PORTS))
    moments = [re.match(r"\[(\d+\.\d{6})\]\t    \[NEW\] udp ", line) for line in lines]
    assert all(moment and began <= float(moment[1]) <= time.time() for moment in moments)


def test_json_says_who_changed_the_table() -> None:
    with Namespace() as namespace:
        argv = [*command("conntrack-stat"), "events", "--json", "-e", "NEW"]
        with listening(namespace, argv) as running:
            commanded(namespace)
            found = [json.loads(line) for line in shown(running, len(PORTS) + 2)]
    users = [(each.get("portid"), each.get("progname")) for each in found]
    name = Path("/proc/self/comm").read_text("utf-8").strip()
    assert users.count((os.getpid(), name)) == 2
    assert users.count((None, None)) == len(PORTS)

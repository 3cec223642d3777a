"""conntrack-stat events and top, and Telegraf's execd form, with real events."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import pytest

import fill
import processes
from installation import command, python_path
from namespaces import Namespace

pytestmark = pytest.mark.kernel


@contextlib.contextmanager
def listening(namespace: Namespace, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`conntrack-stat events` in a namespace, from the moment it has subscribed."""
    argv = namespace.argv([*command("conntrack-stat"), "events", *words])
    running = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=processes.environment(python_path()),
    )
    try:
        processes.until(lambda: subscribed(running.pid), "it subscribes")
        yield running
    finally:
        running.kill()
        running.communicate()


def subscribed(pid: int) -> bool:
    """Tell whether the process has joined netfilter's multicast groups."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/net/netlink", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
        return any(row[1] == "12" and int(row[3], 16) for row in rows)
    return False


def ended(running: subprocess.Popen[str]) -> tuple[str, str]:
    """Interrupt it and return what it said."""
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 0, err
    return out, err


def rates(running: subprocess.Popen[str], seconds: int = 180) -> Iterator[dict[str, int]]:
    """Yield what the rows so far add up to, after each row; a row comes each second."""
    assert running.stdout
    sums: Counter[str] = Counter()
    for _ in range(seconds):
        sums.update(json.loads(running.stdout.readline()))
        yield sums


def filled(namespace: Namespace, entries: int, seed: int = 1) -> dict[str, dict[str, int] | int]:
    with namespace.entered():
        return fill.fill(entries, seed)


def test_every_new_entry_is_told(namespace: Namespace) -> None:
    with listening(namespace, "-e", "NEW", "--json", "--count", "500") as running:
        truth = filled(namespace, 500)
        out, err = running.communicate(timeout=120)
    told = [json.loads(line) for line in out.splitlines()]
    assert {event["event"] for event in told} == {"new"}
    protocols = [event["protocol"] for event in told]
    assert {name: protocols.count(name) for name in set(protocols)} == truth["protocol"]
    assert "500 events, lost 0 times" in err


@pytest.mark.parametrize(
    "words", [["-p", "tcp", "--dport", "22"], ["-p", "udp"], ["-u", "UNREPLIED"], ["-f", "ipv6"]]
)
def test_filters_mean_what_they_mean_in_a_list(namespace: Namespace, words: list[str]) -> None:
    with listening(namespace, "-e", "NEW", "-o", "conntrack", *words) as running:
        filled(namespace, 400)
        out, _err = ended(running)
    argv = [*command("conntrack-stat"), "count", *words]
    count = int(namespace.must(*argv, env=python_path()))
    assert count > 0
    assert len(out.splitlines()) == count
    assert all(line.startswith("    [NEW] ") for line in out.splitlines())


def test_changes_and_ends_are_told(namespace: Namespace) -> None:
    with listening(namespace, "--json") as running:
        filled(namespace, 20)
        namespace.must("ping", "-c2", "-i0.2", "127.0.0.1")  # its answer changes the entry
        namespace.must("conntrack", "-D", "-p", "udp")
        out, _err = ended(running)
    told = [json.loads(line) for line in out.splitlines()]
    udp = [event["event"] for event in told if event["protocol"] == "udp"]
    icmp = [event["event"] for event in told if event["src"] == "127.0.0.1"]
    assert udp.count("new") == udp.count("destroy") > 0
    assert icmp[:2] == ["new", "update"]


def test_rates_add_up_to_what_happened(namespace: Namespace) -> None:
    with listening(namespace, "--rate", "--json") as running:
        filled(namespace, 60_000)
        sums = next((sums for sums in rates(running) if sums["new"] >= 60_000), {})
        assert set(sums) == {"time", "new", "update", "destroy", "lost"}
        assert (sums["new"], sums["lost"]) == (60_000, 0)


def test_each_row_of_rates_is_of_a_whole_second(namespace: Namespace) -> None:
    for duration in (0.1, 1.1, 3):
        began = time.time()
        argv = [*command("conntrack-stat"), "events", "--rate", "--json"]
        out = namespace.must(*argv, "--duration", str(duration), env=python_path())
        ends = [json.loads(line)["time"] - began for line in out.splitlines()]
        assert len(ends) >= int(duration)
        assert all(end >= seconds for seconds, end in enumerate(ends, start=1)), ends


def test_rates_of_a_filter(namespace: Namespace) -> None:
    with listening(namespace, "--rate", "--json", "-p", "tcp", "--dport", "443") as running:
        filled(namespace, 5000)
        argv = [*command("conntrack-stat"), "count", "-p", "tcp", "--dport", "443"]
        count = int(namespace.must(*argv, env=python_path()))
        assert next(sums["new"] for sums in rates(running) if sums["new"] >= count) == count > 0


def test_an_overrun_is_told_and_not_fatal(namespace: Namespace) -> None:
    with listening(namespace, "--rate", "--json", "--buffer-size", "2048") as running:
        running.send_signal(signal.SIGSTOP)
        filled(namespace, 3000)
        running.send_signal(signal.SIGCONT)
        assert next(sums["new"] for sums in rates(running) if sums["lost"]) < 3000


def test_it_ends_after_a_number_and_a_time(namespace: Namespace) -> None:
    with listening(namespace, "--count", "3") as running:
        filled(namespace, 3)
        out, _err = running.communicate(timeout=20)
    assert (running.returncode, len(out.splitlines())) == (0, 3)
    began = time.monotonic()
    argv = [*command("conntrack-stat"), "events", "--duration", "0.5"]
    done = namespace.run(argv, env=python_path())
    assert (done.returncode, done.stdout) == (0, "")
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize(
    "words",
    [
        ["-e", "BIRTH"],
        ["--netns", "all"],
        ["--count", "-1"],
        ["-b", "0"],
        ["-b", str(2**40)],
        ["-b", str(10**15)],
    ],
)
def test_what_can_not_be_meant_is_one_sentence(namespace: Namespace, words: list[str]) -> None:
    done = namespace.run([*command("conntrack-stat"), "events", *words], env=python_path())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("filter_", ["", "-p udp", "-p tcp --dport 22 -f ipv4"])
def test_execd_counts_events_between_gathers(namespace: Namespace, filter_: str) -> None:
    argv = namespace.argv([*command("conntrack-telegraf"), "--execd", *shlex.split(filter_)])
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=processes.environment(python_path()),
    ) as running:
        assert running.stdin
        assert running.stdout
        gathers = []
        for entries in (0, 300, 40):
            if entries:
                filled(namespace, entries, seed=entries)
            time.sleep(0.5)
            running.stdin.write("\n")
            running.stdin.flush()
            lines: list[str] = []
            while not any(line.startswith("conntrack_events") for line in lines):
                lines.append(running.stdout.readline())
            gathers.append("".join(lines))
        running.stdin.close()
        assert running.wait(20) == 0
    counts = [re.search(r"^conntrack entries=(\d+)i", gather, re.MULTILINE) for gather in gathers]
    found = [int(match[1]) for match in counts if match]
    events = [re.search(r"conntrack_events new=(\d+)i", gather) for gather in gathers]
    assert [int(match[1]) for match in events if match] == found
    listed = namespace.must("conntrack", "-L", *shlex.split(filter_))
    assert found[::2] == [0, len(listed.splitlines())]
    assert filter_ or found == [0, 300, 340]


def test_top_once_shows_the_largest_talkers(namespace: Namespace) -> None:
    filled(namespace, 500)
    argv = [*command("conntrack-stat"), "top", "--once", "--by", "dport"]
    out = namespace.must(*argv, env=python_path())
    assert out.startswith("500 of ")
    argv = [*command("conntrack-stat"), "count", "--json", "--by", "dport", "--top", "1"]
    (largest,) = json.loads(namespace.must(*argv, env=python_path()))["groups"]
    assert re.search(
        rf"^ +{largest['by']['dport'] or '-'} +{largest['entries']} ", out, re.MULTILINE
    )


def test_top_in_a_terminal_of_80_by_24_ends_with_q(namespace: Namespace) -> None:
    filled(namespace, 700)
    server = ["tmux", "-L", namespace.name]
    shell = ["new-session", "-d", "-x", "80", "-y", "24", "sh"]
    processes.must([*server, "-f", "/dev/null", *shell], env=python_path())
    try:
        words = shlex.join(namespace.argv(command("conntrack-stat")))
        keys = f"{words} top --interval 0.3; echo ended $?"
        processes.must([*server, "send-keys", "-t", "0", keys, "Enter"])

        def shown() -> str:
            return processes.must([*server, "capture-pane", "-p", "-t", "0"])

        processes.until(lambda: "new 0/s" in shown(), shown)
        lines = shown().splitlines()
        assert lines[0].startswith("700 of ")
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 80
        processes.must([*server, "send-keys", "-t", "0", "q"])
        processes.until(lambda: "ended 0" in shown(), shown)
    finally:
        processes.run([*server, "kill-server"])

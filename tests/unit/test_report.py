"""Texts that hold nothing of conntrackd's, nothing of now, or several things at once."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

import processes
from conntrack_common.conntrackd.text import parse_statistics
from conntrack_common.duration import spelled
from conntrack_common.model.conntrackd import Cache
from conntrack_plugins.nagios import rates
from installation import command, python_path

DATA = Path(__file__).parent.parent / "data" / "conntrackd"
GOOD = (DATA / "ftfw" / "s.txt").read_text("ascii")
CHECK, SYNC = ["check_conntrackd"], ["conntrack-stat", "sync"]

# What stands where statistics should: nothing, a failure's own words, other formats, headings
# without numbers, the command without its answer.
NOTHINGS = {
    "empty": b"",
    "blank": b" \n\t\n\n",
    "ssh": b"ssh: connect to host fw2 port 22: Connection refused\n",
    "sudo": b"sudo: a password is required\n",
    "conntrackd": b"ERROR: can't connect: is conntrackd running? appropriate permissions?\n",
    "passwd": b"root:x:0:0:root:/root:/bin/bash\n",
    "html": b"<html>\n<title>502 Bad Gateway</title>\n</html>\n",
    "utf16": GOOD.encode("utf-16"),
    "binary": bytes(range(256)) * 80,
    "label and value": b"x: y\n" * 20_000,
    "headings": b"cache internal:\nmessage tracking:\nnetlink stats:\n",
    "prompt": b"root@fw:~# conntrackd -s\nvyos@vyos:~$\n",
    "vyos": b"Main Table Statistics:\n\n\nExpect Table Statistics:\n\n",
    "unreadable": b"cache internal:\ncurrent active connections: many\n",
}


def run(words: list[str], folder: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    state = ["--state-file", str(folder / "state")] * (words[0] == "check_conntrackd")
    done = subprocess.run(
        [*command(words[0]), *words[1:], *state],
        input=stdin,
        capture_output=True,
        env=processes.environment(python_path()),
        timeout=60,
        check=False,
    )
    texts = (text.decode("utf-8") for text in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, *texts)


def ways(folder: Path, content: bytes) -> dict[str, list[str]]:
    """The ways to ask whose answer is this text."""
    report, program = folder / "report.txt", folder / "conntrackd"
    report.write_bytes(content)
    program.write_text(f"#!/bin/sh\ncat {report}\n", "utf-8")
    program.chmod(0o755)
    return {"file": ["--file", str(report)], "command": ["--command", str(program)]}


@pytest.mark.parametrize("name", NOTHINGS)
@pytest.mark.parametrize("way", ["file", "command"])
def test_where_nothing_is_understood_nothing_is_well(tmp_path: Path, name: str, way: str) -> None:
    words = ways(tmp_path, NOTHINGS[name])[way]
    done = run([*CHECK, *words], tmp_path)
    assert (done.returncode, done.stdout[:21]) == (3, "CONNTRACKD UNKNOWN - "), done
    assert "is empty" in done.stdout or "has no statistics" in done.stdout
    assert "|" not in done.stdout
    done = run([*SYNC, *words], tmp_path)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", NOTHINGS)
def test_the_end_of_a_pipe_that_failed(tmp_path: Path, name: str) -> None:
    """As in `ssh firewall2 sudo conntrackd -s | check_conntrackd --file -`."""
    done = run([*CHECK, "--file", "-"], tmp_path, NOTHINGS[name])
    assert (done.returncode, "standard input" in done.stdout) == (3, True), done


@pytest.mark.parametrize("name", NOTHINGS)
@pytest.mark.parametrize("way", ["file", "command"])
def test_another_node_that_says_nothing_is_no_good_one(tmp_path: Path, name: str, way: str) -> None:
    own = tmp_path / "own.txt"
    own.write_text(GOOD, "ascii")
    option, value = ways(tmp_path, NOTHINGS[name])[way]
    words = ["--file", str(own), option.replace("--", "--peer-"), value]
    done = run([*CHECK, *words], tmp_path)
    assert done.returncode == 3, done
    assert "sync.peer.missing: the " in done.stdout
    assert "are needed" not in done.stdout
    done = run([*SYNC, *words], tmp_path)
    assert (done.returncode, "internal" in done.stdout, done.stderr != "") == (1, True, True), done


def test_more_that_is_not_understood_is_told_first(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    motd = "".join(f"* notice {number} *\n" for number in range(60))
    report.write_text(motd + GOOD, "ascii")
    done = run([*CHECK, "--file", str(report)], tmp_path)
    assert (done.returncode, "60 lines are not understood" in done.stdout) == (0, True), done
    done = run([*SYNC, "--file", str(report)], tmp_path)
    assert "60 lines are not understood" in done.stdout.splitlines()[0]


@pytest.mark.parametrize("which", ["own", "other", "both"])
@pytest.mark.parametrize(("age", "options", "is_old"), [
    (0, [], False),
    (800, [], False),
    (1000, [], True),
    (365 * 86400, [], True),
    (-3600, [], True),  # a clock is wrong, so that its age is unknown
    (1000, ["--max-age", "2000"], False),
    (60, ["--max-age", "30"], True),
    (365 * 86400, ["--max-age", "0"], False),
])  # fmt: skip
def test_a_saved_report_has_an_age(
    tmp_path: Path, which: str, age: float, options: list[str], is_old: bool
) -> None:
    own, other = tmp_path / "own.txt", tmp_path / "other.txt"
    own.write_text(GOOD, "ascii")
    other.write_text((DATA / "ftfw" / "s.backup.txt").read_text("ascii"), "ascii")
    for file in {"own": [own], "other": [other], "both": [own, other]}[which]:
        os.utime(file, (0, time.time() - age))
    words = ["--file", str(own), "--peer-file", str(other), *options]
    done = run([*CHECK, *words], tmp_path)
    text = done.stdout
    # What is of other times is not compared; of the same time it is, and both are old.
    assert done.returncode == (0 if not is_old else 1 if which == "both" else 3), done
    assert text.count("and may be") == (0 if not is_old else 2 if which == "both" else 1)
    assert ("apart, too far to compare" in text) == (is_old and which != "both")
    assert ("'sync.peer.missing'=0.00%" in text) == (not is_old or which == "both")
    shown = f"{spelled(age)[:5]}" if age >= 0 else "of a time"
    assert text.count(shown) >= (2 if which == "both" or age == 0 else 1)


def test_what_is_no_file_has_no_age(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    report.write_text(GOOD, "ascii")
    os.utime(report, (0, 0))
    done = run([*CHECK, "--file", "-"], tmp_path, GOOD.encode())
    assert (done.returncode, " old" in done.stdout) == (0, False), done
    pipe = ["bash", "-c", 'exec "$@" --file <(cat "$0")', str(report), *command(CHECK[0])]
    done = subprocess.run(
        [*pipe, "--state-file", str(tmp_path / "s")],
        env=processes.environment(python_path()),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, " old" in done.stdout) == (0, False), done


@pytest.mark.parametrize("text", ["-1", "x", "1e3", "1.5", str(10**10), "9" * 5000])
def test_an_age_that_is_none(tmp_path: Path, text: str) -> None:
    done = run([*CHECK, "--file", "-", f"--max-age={text}"], tmp_path, GOOD.encode())
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    assert "--max-age" in done.stdout


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", "100000000000000", "9" * 5000])
@pytest.mark.parametrize("program", ["check_conntrack", "check_conntrackd"])
def test_a_time_out_that_is_none(tmp_path: Path, program: str, text: str) -> None:
    done = run([program, f"--timeout={text}", "--state-file", str(tmp_path / "s")], tmp_path)
    assert (done.returncode, done.stderr) == (3, "")
    assert "no whole number from 1 to 86400" in done.stdout


def test_the_rate_of_a_report_is_that_of_its_own_times(tmp_path: Path) -> None:
    """Written anew every 300 seconds and read every minute: no zeros, and no flood between them."""
    file = str(tmp_path / "state")
    now = rates.exchange(file, "run", {"x": 1000}, age=320)
    assert now is None
    # Its time of writing is found anew in each run, from two clocks.
    for age in (20.0, 20.3, 19.6, 20.1):
        earlier = rates.exchange(file, "run", {"x": 1300}, age)
        assert earlier is not None
        assert earlier.counters == {"x": 1000}
        assert earlier.seconds == pytest.approx(300, abs=1)
    earlier = rates.exchange(file, "run", {"x": 1900}, age=0.0)
    assert earlier is not None
    assert (earlier.counters, round(earlier.seconds)) == ({"x": 1300}, 20)


def test_a_report_from_before_the_last_one_starts_anew(tmp_path: Path) -> None:
    file = str(tmp_path / "state")
    for age in (300.0, 200.0):
        rates.exchange(file, "run", {"x": 7}, age)
    assert rates.exchange(file, "run", {"x": 3}, age=250.0) is None
    earlier = rates.exchange(file, "run", {"x": 9}, age=100.0)
    assert earlier is not None
    assert (round(earlier.seconds), earlier.counters) == (150, {"x": 3})


@pytest.mark.parametrize(("words", "kind"), [
    ("conntrackd -s", "ct"),
    ("conntrackd -s ct", "ct"),
    ("conntrackd -s cache", "ct"),
    ("conntrackd -C /run/conntrackd/conntrackd.conf -s exp", "expect"),
    ("conntrackd -s e", "expect"),
    ("sudo /usr/sbin/conntrackd -s expect", "expect"),
])  # fmt: skip
@pytest.mark.parametrize("prompt", ["", "# ", "root@fw:~# ", "[root@fw ~]# ", "vyos@vyos:~$ "])
def test_the_command_tells_what_it_prints(words: str, kind: str, prompt: str) -> None:
    text = f"{prompt}{words}\ncache internal:\ncurrent active connections: 5\n{prompt}\n"
    found = parse_statistics(text, "expect" if kind == "ct" else "ct")
    assert found.caches == (Cache("internal", kind, active=5),)
    assert [line.text for line in found.unknown] in ([], ["#"])


def test_two_reports_of_vyos_in_one() -> None:
    expected = GOOD.replace("          21", "           1")
    assert expected != GOOD
    text = (
        "vyos@vyos:~$ show conntrack-sync statistics\n\nMain Table Statistics:\n\n"
        f"{GOOD}\n\n\nExpect Table Statistics:\n\n{expected}\n\nvyos@vyos:~$\n"
    )
    found = parse_statistics(text)
    assert found.unknown == ()
    alone, other = parse_statistics(GOOD), parse_statistics(expected, "expect")
    assert found.caches == (*alone.caches, *other.caches)
    assert {cache.kind for cache in other.caches} == {"expect"}


JOINED = {
    "cache internal: current active connections: 7": {"sync.cache.active": 7},
    "cache external: connections created: 9 failed: 3": {
        "sync.cache.created": 9,
        "sync.cache.created_failed": 3,
    },
    "external inject: connections created: 9 failed: 3": {
        "sync.cache.created": 9,
        "sync.cache.created_failed": 3,
    },
    "traffic processed: 5 Bytes 6 Pckts": {"sync.traffic.bytes": 5, "sync.traffic.packets": 6},
    "message tracking: 5 Malformed msgs 6 Lost msgs": {
        "sync.messages.malformed": 5,
        "sync.messages.lost": 6,
    },
    "queue errorq: maximum elements: 128": {"sync.queue.maximum": 128},
    "netlink stats: events received: 4": {"sync.runtime.events_received": 4},
    "runtime stats: child process failed: 4": {"sync.runtime.child_failed": 4},
    "UDP traffic (active device=eth0): 5 Bytes sent 6 Bytes recv": {
        "sync.link.bytes_sent": 5,
        "sync.link.bytes_received": 6,
    },
}


@pytest.mark.parametrize("line", JOINED)
def test_a_heading_joined_with_its_first_line(tmp_path: Path, line: str) -> None:
    report = tmp_path / "report.txt"
    report.write_text(f"{line}\n", "ascii")
    done = run([*SYNC, "--json", "--file", str(report)], tmp_path)
    samples = {found["id"]: found["value"] for found in json.loads(done.stdout)["samples"]}
    assert samples == JOINED[line]


def test_losses_that_only_the_network_statistics_say(tmp_path: Path) -> None:
    text = (DATA / "ftfw" / "s-network.txt").read_text("ascii").partition("UDP traffic")[0]
    for old, new in (("Packets lost:\t\t                   0", "Packets lost: 51234"),):
        assert old in text
        text = text.replace(old, new)
    report = tmp_path / "report.txt"
    report.write_text(text, "ascii")
    done = run([*SYNC, "--file", str(report)], tmp_path)
    assert "messages lost 51,234, messages malformed 0" in done.stdout
    done = run([*SYNC, "--json", "--file", str(report)], tmp_path)
    samples = {found["id"]: found["value"] for found in json.loads(done.stdout)["samples"]}
    assert samples["sync.messages.lost"] == 51234


def test_the_reason_of_what_a_report_does_not_hold_is_true(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    report.write_text(GOOD, "ascii")
    done = run([*SYNC, "--json", "--file", str(report)], tmp_path)
    absent = {found["id"]: found["reason"] for found in json.loads(done.stdout)["absent"]}
    assert not [reason for reason in absent.values() if "in the mode it runs in" in reason]
    for metric, request in (("runtime.uptime", "runtime"), ("queue.usage", "queue")):
        assert f"'conntrackd -s {request}'" in absent[f"sync.{metric}"]
        assert (DATA / "ftfw" / f"s-{request}.txt").read_text("ascii")

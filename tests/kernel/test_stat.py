"""conntrack-stat status, counters, doctor and demo on the real kernel."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import oracle
import processes
from installation import Installation, command, python_path
from namespaces import Filled, Namespace

pytestmark = pytest.mark.kernel


def stat(namespace: Namespace, *words: str) -> subprocess.CompletedProcess[str]:
    return namespace.run([*command("conntrack-stat"), *words], env=python_path())


def doctor(namespace: Namespace) -> dict[str, Any]:
    found = json.loads(stat(namespace, "doctor", "--json").stdout)
    return {check["id"]: check for check in found["checks"]}


def test_status_shows_the_true_count(filled: Filled) -> None:
    done = stat(filled.namespace, "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"entries   {filled.entries:,} of {oracle.sysctl(filled.namespace, 'max'):,}\n" in (
        done.stdout
    )
    assert "\x1b" not in done.stdout


def test_status_is_what_comes_without_a_command(filled: Filled) -> None:
    assert stat(filled.namespace).stdout == stat(filled.namespace, "status").stdout


def test_counters_equal_conntracks(filled: Filled) -> None:
    theirs = oracle.statistics(filled.namespace)
    rows = {
        words[0]: words[1:]
        for line in stat(filled.namespace, "counters").stdout.splitlines()
        if (words := line.replace(",", "").split())
    }
    for name in theirs[0]:
        assert rows[name] == [str(theirs[cpu][name]) for cpu in sorted(theirs)]


def test_json_has_the_documented_shape(filled: Filled) -> None:
    document = json.loads(stat(filled.namespace, "status", "--json").stdout)
    assert set(document) == {"schema", "time", "host", "netns", "samples", "absent"}
    entries = [sample for sample in document["samples"] if sample["id"] == "table.entries"]
    assert entries == [
        {
            "id": "table.entries",
            "labels": {},
            "value": filled.entries,
            "kind": "gauge",
            "unit": "entries",
        }
    ]
    assert all(absent["reason"] for absent in document["absent"])


def test_doctor_finds_what_is_installed(filled: Filled) -> None:
    found = doctor(filled.namespace)
    path = processes.must(["sh", "-c", "command -v conntrack"]).strip()
    assert path in found["conntrack"]["message"]
    assert found["netlink"]["status"] == "ok"
    assert stat(filled.namespace, "doctor").stdout.count("✓") >= 8


def test_doctor_without_rights_names_the_ways(filled: Filled, installation: Installation) -> None:
    words = [installation.command("conntrack-stat"), "doctor", "--json"]
    done = filled.namespace.run(words, user="nobody")
    found = {check["id"]: check for check in json.loads(done.stdout)["checks"]}
    message = found["netlink"]["message"]
    assert all(way in message for way in ("CAP_NET_ADMIN", "root", "sudoers", "systemd"))


def test_doctor_on_a_host_without_tracking(tmp_path: Path) -> None:
    words = [*command("conntrack-stat"), "--proc-root", str(tmp_path), "doctor"]
    done = processes.run(words, env=python_path())
    assert (done.returncode, done.stderr) == (1, "")
    assert "✗" in done.stdout


def test_demo_shows_every_agent_and_leaves_nothing() -> None:
    before = processes.must(["ip", "netns", "list"])
    with Namespace(tracking=False) as outside:
        done = stat(outside, "demo")
        assert (done.returncode, done.stderr) == (0, "")
        assert oracle.count(outside) == 0
    counts = set(re.findall(r"(?:entries=|table_entries |'table.entries'=)(\d+)", done.stdout))
    assert len(counts) == 1
    assert int(counts.pop()) >= 36
    for program in ("check_conntrack", "conntrack-telegraf", "conntrack-prometheus"):
        assert f"$ {program}" in done.stdout
    assert processes.must(["ip", "netns", "list"]) == before


def test_demo_where_tracking_is_active_is_not_needed(filled: Filled) -> None:
    assert stat(filled.namespace, "demo", "--if-inactive").stdout == ""


def test_demo_without_root_is_one_sentence(installation: Installation, filled: Filled) -> None:
    words = [installation.command("conntrack-stat"), "demo"]
    done = filled.namespace.run(words, user="nobody")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "root" in done.stderr


def test_a_reader_that_goes_away_ends_it_quietly(filled: Filled) -> None:
    words = " ".join(filled.namespace.argv(["head", "-c", "1"]))
    line = [*command("conntrack-stat"), "metrics"]
    done = processes.run(["sh", "-c", f'"$@" | {words}', "sh", *line], env=python_path())
    assert (done.stdout, done.stderr) == ("t", "")

"""--netns: other namespaces' tables, each once, without leaving one's own."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

import fill
import processes
from installation import command, python_path
from namespaces import Filled, Namespace

pytestmark = pytest.mark.kernel


def run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return processes.run([*command(name), *words], env=python_path())


def counts(*words: str) -> dict[str, int]:
    """Entries by namespace, as conntrack-stat counts them."""
    done = run("conntrack-stat", "count", "--json", *words)
    assert done.returncode == 0, done
    found = map(json.loads, done.stdout.splitlines())
    return {document["netns"]: document["total"] for document in found}


def test_a_named_namespace(filled: Filled) -> None:
    assert counts("--netns", filled.namespace.name) == {filled.namespace.name: filled.entries}


def test_all_has_each_namespace_once(filled: Filled) -> None:
    with Namespace() as other:
        with other.entered():
            fill.fill(123)
        found = counts("--netns", "all")
    assert found[filled.namespace.name] == filled.entries
    assert found[other.name] == 123
    assert {"host", "self"} & set(found)


def test_the_namespace_of_a_process(filled: Filled) -> None:
    sleeper = subprocess.Popen(filled.namespace.argv(["sleep", "60"]))
    try:
        own = os.readlink("/proc/self/ns/net")
        processes.until(
            lambda: os.readlink(f"/proc/{sleeper.pid}/ns/net") != own, "the process is inside"
        )
        assert counts("--netns", str(sleeper.pid)) == {f"pid:{sleeper.pid}": filled.entries}
    finally:
        sleeper.kill()
        sleeper.wait()


def test_every_adapter_names_the_namespace(filled: Filled) -> None:
    name = filled.namespace.name
    telegraf = run("conntrack-telegraf", "--netns", name)
    assert f"conntrack,netns={name} entries={filled.entries}i," in telegraf.stdout
    prometheus = run("conntrack-prometheus", "--netns", name)
    assert f'conntrack_table_entries{{netns="{name}"}} {filled.entries}\n' in prometheus.stdout
    nagios = run("check_conntrack", "--netns", name)
    assert f"'table.entries.{name}'={filled.entries};" in nagios.stdout
    status = json.loads(run("conntrack-stat", "status", "--json", "--netns", name).stdout)
    assert status["netns"] == name
    assert {"netns": name} in [sample["labels"] for sample in status["samples"]]


def test_an_unknown_namespace_is_one_sentence() -> None:
    done = run("conntrack-stat", "count", "--netns", "no-such-namespace")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no network namespace 'no-such-namespace'" in done.stderr
    assert run("check_conntrack", "--netns", "../etc").returncode == 3


def test_a_stale_name_is_one_sentence_and_no_part_of_all() -> None:
    stale = "/run/netns/ct-stale-name"
    with open(stale, "w", encoding="ascii"):
        pass
    try:
        done = run("conntrack-stat", "count", "--netns", "ct-stale-name")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
        assert "ct-stale-name" not in counts("--netns", "all")
    finally:
        os.unlink(stale)

"""--netns: other namespaces' tables, each once, without leaving one's own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import fill
import formats
import processes
from installation import command, python_path
from namespaces import Filled, Namespace
from pair import pair
from private import line, private

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


@pytest.mark.agent("conntrackd")
@pytest.mark.parametrize("netns", ["all", "NAME"])
def test_conntrackd_is_the_hosts_and_asked_once(folder: Path, netns: str) -> None:
    """Its socket is the same in each namespace, and so would its numbers be."""
    with pair(folder) as (first, second):
        names = [first.namespace.name, second.namespace.name]
        asked = f"--netns {netns.replace('NAME', names[0])} --proc-root /proc"
        sync = "--metrics 'sync.*,table.entries,source.up'"
        # A configuration where the commands look for one, in this mount namespace alone.
        done = private(
            f"mount -t tmpfs t /etc/conntrackd; cp {first.config} /etc/conntrackd/conntrackd.conf\n"
            f"{line('conntrack-telegraf')} {asked} {sync} >{folder}/telegraf\n"
            f"{line('conntrack-prometheus')} {asked} {sync} >{folder}/prometheus\n"
            f"{line('check_conntrack')} {asked} --state-file {folder}/state --check "
            f"sync.cache.active,, --check sync.messages.lost/s,, --check cpu.drop/s,,"
            f" >{folder}/nagios\n",
            keep=names,
        )
    assert (done.returncode, done.stderr) == (0, b""), done
    places = {names[0]} if netns == "NAME" else {"host", *names}

    lines = formats.line_protocol((folder / "telegraf").read_text("utf-8"))
    caches = [dict(tags) for (name, tags) in lines if name == "conntrackd_cache"]
    assert sorted(tags["cache"] for tags in caches) == ["external", "internal"]
    assert not [tags for (name, tags) in lines if "conntrackd" in name and "netns" in dict(tags)]
    assert {dict(tags)["netns"] for (name, tags) in lines if name == "conntrack"} == places

    text = formats.exposition((folder / "prometheus").read_text("utf-8"))
    active = [
        dict(labels) for (name, labels) in text if name == "conntrack_sync_cache_active_entries"
    ]
    assert sorted(active, key=str) == [{"cache": "external"}, {"cache": "internal"}]
    assert text["conntrack_source_up", (("source", "sync"),)] == 1
    entries = [dict(labels) for (name, labels) in text if name == "conntrack_table_entries"]
    assert {labels["netns"] for labels in entries} == places

    said, data = formats.plugin((folder / "nagios").read_text("utf-8"))
    assert {name for name in data if name.startswith("sync")} == {
        "sync.cache.active.external",
        "sync.cache.active.internal",
    }
    assert said.count("sync.messages.lost/s") == 1
    assert said.count("cpu.drop") == len(places)
    assert "absent" not in said
    assert "does not show" not in said

"""Looking loads no module: only where there are modules, in a machine of the tests own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import processes
from installation import command, python_path

MODULES = Path("/proc/modules")
TRACKING = ("nf_conntrack_netlink", "nf_nat", "nft_ct", "nf_conntrack")
# All that reads connection tracking, but for what makes a table of its own (demo).
LOOKS = [
    ["check_conntrack"],
    ["check_conntrack", "--check", "tcp.state,,"],
    ["check_conntrack", "-p", "tcp"],
    ["conntrack-telegraf", "--metrics", "*"],
    ["conntrack-prometheus", "--metrics", "*"],
    ["conntrack-stat", "status"],
    ["conntrack-stat", "counters"],
    ["conntrack-stat", "doctor"],
    ["conntrack-stat", "count"],
    ["conntrack-stat", "count", "--by", "src"],
    ["conntrack-stat", "list"],
    ["conntrack-stat", "expect"],
    ["conntrack-stat", "top", "--once"],
    ["conntrack-stat", "events", "--duration", "0.2"],
]


def loaded() -> set[str]:
    return {line.split()[0] for line in MODULES.read_text("ascii").splitlines()}


def is_modular() -> bool:
    folder = Path("/lib/modules", os.uname().release)
    return MODULES.exists() and any(folder.rglob("nf_conntrack.ko*"))


@pytest.fixture
def unloaded() -> Iterator[set[str]]:
    """The modules that are loaded, without connection tracking, which can be had."""
    if os.geteuid() or not is_modular():
        pytest.skip("nf_conntrack is built into this kernel, or this user may not unload it")
    processes.run(["modprobe", "-r", *TRACKING])
    if "nf_conntrack" in loaded():
        pytest.skip("nf_conntrack is in use on this machine")
    yield loaded()
    processes.run(["modprobe", "nf_conntrack"])


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_looking_loads_nothing(words: list[str], unloaded: set[str]) -> None:
    done = processes.run([*command(words[0]), *words[1:]], env=python_path(), stdin="\n")
    assert loaded() == unloaded
    assert done.returncode == (3 if words[0] == "check_conntrack" else 1), done
    assert "modprobe nf_conntrack" in done.stdout + done.stderr


def test_an_agent_loads_no_ctnetlink_and_a_person_does(unloaded: set[str]) -> None:
    processes.must(["modprobe", "nf_conntrack"])
    agent = [*command("conntrack-telegraf"), "--metrics", "table.entries,tcp.state"]
    done = processes.run(agent, env=python_path())
    assert "nf_conntrack_netlink" not in loaded()
    assert "conntrack entries=0i" in done.stdout
    assert "'modprobe nf_conntrack_netlink' adds it" in done.stderr
    processes.must([*command("conntrack-stat"), "list"], env=python_path())
    assert "nf_conntrack_netlink" in loaded()

"""Looking loads no module: only where there are modules, in a machine of the tests own."""

from __future__ import annotations

import pytest

import modules
import processes
from installation import command, python_path

pytestmark = [pytest.mark.kernel, pytest.mark.machine, pytest.mark.usefixtures("unloaded")]

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


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_looking_loads_nothing(words: list[str]) -> None:
    before = modules.loaded().keys()
    done = processes.run([*command(words[0]), *words[1:]], env=python_path(), stdin="\n")
    assert modules.loaded().keys() == before
    assert done.returncode == (3 if words[0] == "check_conntrack" else 1), done
    assert "modprobe nf_conntrack" in done.stdout + done.stderr


def test_an_agent_loads_no_ctnetlink_and_a_person_does() -> None:
    processes.must(["modprobe", "nf_conntrack"])
    agent = [*command("conntrack-telegraf"), "--metrics", "table.entries,tcp.state"]
    done = processes.run(agent, env=python_path())
    assert "nf_conntrack_netlink" not in modules.loaded()
    assert "conntrack entries=0i" in done.stdout
    assert "'modprobe nf_conntrack_netlink' loads it" in done.stderr
    processes.must([*command("conntrack-stat"), "list"], env=python_path())
    assert "nf_conntrack_netlink" in modules.loaded()

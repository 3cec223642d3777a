"""check_conntrackd, conntrack-stat sync and the sync metrics, with real pairs of conntrackd."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import oracle
import processes
from installation import Installation, command, python_path
from modules import IN_MACHINE
from namespaces import NOBODY
from pair import Node, pair
from processes import Daemon

pytestmark = [pytest.mark.kernel, pytest.mark.agent("conntrackd")]

ENTRIES = 200
OLD_ENOUGH = ["--check", "sync.runtime.uptime,,"]  # these daemons have just been started


@pytest.fixture
def nodes(folder: Path) -> Iterator[tuple[Node, Node]]:
    with pair(folder) as made:
        yield made


def check(node: Node, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    state = ["--state-file", str(folder / "state.json")]
    argv = [*command("check_conntrackd"), "--socket", str(node.socket), *OLD_ENOUGH, *state, *words]
    return node.namespace.run(argv, env=python_path())


def active(node: Node, name: str) -> int:
    """The entries of a cache, as conntrackd itself prints them."""
    found = re.search(rf"cache {name}:\ncurrent active connections:\s+(\d+)", node.says())
    assert found, node.says()
    return int(found[1])


def replicated(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    first.fill(ENTRIES)
    processes.until(lambda: active(first, "internal") >= ENTRIES, "the first node has them")
    processes.until(
        lambda: active(second, "external") == active(first, "internal"), "the second has them, too"
    )


def test_every_number_is_conntrackds_own(nodes: tuple[Node, Node]) -> None:
    replicated(nodes)
    first, _second = nodes
    argv = [*command("conntrack-stat"), "sync", "--json", "--socket", str(first.socket)]

    def says() -> str:
        return "".join(
            first.says(*request) for request in ((), ("cache",), ("queue",), ("runtime",))
        )

    before = says()
    document = json.loads(first.namespace.must(*argv, env=python_path()))
    after = says()
    ours = {
        ".".join([sample["id"], *sample["labels"].values()]): sample["value"]
        for sample in document["samples"]
    }

    def said(pattern: str) -> tuple[int, int]:
        """What it said before we asked, and afterwards: its heartbeats go on."""
        matches = [re.search(pattern, text) for text in (before, after)]
        first_number, last_number = (int(match[1]) if match else -1 for match in matches)
        assert first_number >= 0, pattern
        return first_number, last_number

    expected = {
        "sync.cache.active.internal": said(r"cache internal:\n.*connections:\s+(\d+)"),
        "sync.cache.created.internal": said(r"connections created:\s+(\d+)"),
        "sync.cache.objects.external": said(r"cache:external\s+active objects:\s+(\d+)"),
        "sync.link.packets_sent.sync": said(r"(\d+) Pckts sent"),
        "sync.link.bytes_received.sync": said(r"Bytes sent\s+(\d+) Bytes recv"),
        "sync.messages.lost": said(r"(\d+) Lost msgs"),
        "sync.queue.maximum.rsqueue": said(r"rsqueue:\n.*\nmaximum elements:\s+(\d+)"),
        "sync.runtime.events_received": said(r"events received:\s+(\d+)"),
        "sync.runtime.buffer_size": said(r"current buffer size \(in bytes\):\s+(\d+)"),
    }
    wrong = {
        name: (first_number, ours[name], last_number)
        for name, (first_number, last_number) in expected.items()
        if not first_number <= ours[name] <= last_number
    }
    assert wrong == {}
    assert ours["sync.link.up.sync"] == 1


def test_a_cut_link_is_critical_until_it_is_joined(nodes: tuple[Node, Node], folder: Path) -> None:
    first, second = nodes
    link = ["ip", "-n", first.namespace.name, "link", "set", "sync"]
    assert check(first, folder).returncode == 0
    processes.must([*link, "down"])
    done = check(first, folder)
    assert done.returncode == 2
    assert done.stdout.startswith("CONNTRACKD CRITICAL - sync.link.running 0 ")
    # Its kernel takes up to a second to tell it.
    processes.until(
        lambda: check(second, folder, "--state-file", str(folder / "b.json")).returncode == 2,
        "the other end has no carrier",
    )
    processes.must([*link, "up"])
    processes.until(lambda: check(first, folder).returncode == 0, "it is well again")


def test_a_full_cache_is_named(folder: Path) -> None:
    with pair(folder, hash_limit=50) as (first, _second):
        assert check(first, folder).returncode == 0
        time.sleep(1.1)
        first.fill(ENTRIES)
        processes.until(lambda: "failed:\t           0" not in first.says()[:120], "it is full")
        done = check(first, folder)
        assert done.returncode == 2
        assert "sync.cache.created_no_space[cache=internal]/s" in done.stdout.split("|")[0]


def test_a_node_whose_peer_lacks_its_entries_is_critical(
    nodes: tuple[Node, Node], folder: Path
) -> None:
    replicated(nodes)
    first, second = nodes
    report = folder / "peer.txt"
    report.write_text(second.says(), "ascii")
    assert check(first, folder, "--peer-file", str(report)).returncode == 0
    first.fill(3 * ENTRIES, seed=77)
    processes.until(lambda: active(first, "internal") >= 3 * ENTRIES, "there are more")
    done = check(first, folder, "--peer-file", str(report))
    assert (done.returncode, "sync.peer.missing" in done.stdout) == (2, True)


def test_a_node_that_takes_nothing_over_is_critical(nodes: tuple[Node, Node], folder: Path) -> None:
    """The other node's saved report never changes, while this node's cache grows."""
    replicated(nodes)
    first, second = nodes
    report = folder / "peer.txt"
    report.write_text(second.says(), "ascii")
    words = ["--peer-file", str(report), "--check", "sync.peer.missing,,"]
    assert check(first, folder, *words).returncode == 0
    time.sleep(1.1)
    assert check(first, folder, *words).returncode == 0  # nothing to take over is fine
    time.sleep(1.1)
    first.fill(50, seed=99)
    processes.until(lambda: active(first, "internal") >= ENTRIES + 50, "there are more")
    done = check(first, folder, *words)
    assert done.returncode == 2, done
    assert "sync.peer.created/s: nothing is taken over" in done.stdout


@pytest.mark.parametrize("way", ["--socket", "--command"])
@pytest.mark.parametrize("seconds", [1, 2])
def test_a_stopped_daemon_is_critical_in_time(
    nodes: tuple[Node, Node], folder: Path, way: str, seconds: int
) -> None:
    if IN_MACHINE and seconds == 1:
        pytest.skip("in an emulated machine Python takes a second to start")
    first, second = nodes
    asked = {
        "--socket": [way, str(first.socket)],
        "--command": [way, "conntrackd", "--config", str(first.config)],
    }[way]
    argv = [*command("check_conntrackd"), *asked, "-t", str(seconds)]
    argv += ["--state-file", str(folder / "state.json")]
    for words in ([], ["--peer-socket", str(second.socket)]):
        for node in nodes:
            node.signal(signal.SIGSTOP)
        began = time.monotonic()
        done = first.namespace.run([*argv, *words], env=python_path())
        assert (done.returncode, time.monotonic() - began < seconds + 20) == (2, True), done
        assert "in time" in done.stdout
        assert "Timeout" not in done.stdout
        for node in nodes:
            node.signal(signal.SIGCONT)
    assert check(first, folder).returncode == 0
    # The other node alone hangs.
    second.signal(signal.SIGSTOP)
    done = check(first, folder, "-t", str(seconds), "--peer-socket", str(second.socket))
    assert (done.returncode, "did not answer in time" in done.stdout) == (2, True), done


def test_watching_goes_on_while_the_daemon_is_restarted(
    nodes: tuple[Node, Node], folder: Path
) -> None:
    first, _second = nodes
    argv = [*command("conntrack-stat"), "sync", "--socket", str(first.socket), "--watch", "0.2"]
    with Daemon(first.namespace.argv(argv), folder / "watch", python_path()) as watch:
        watch.until(lambda: watch.said().count("conntrackd on ") > 1, "it watches")
        first.stop()
        watch.until(lambda: "conntrackd is not running" in watch.said(), "it says so")
        before = watch.said().count("conntrackd on ")
        first.start()
        watch.until(lambda: watch.said().count("conntrackd on ") > before + 1, "it goes on")
    assert "Traceback" not in watch.said()


def test_a_killed_daemon_leaves_what_is_named(nodes: tuple[Node, Node], folder: Path) -> None:
    first, _second = nodes
    first.signal(signal.SIGKILL)
    assert first.daemon
    first.daemon.process.wait(10)
    argv = [*command("check_conntrackd"), "--config", str(first.config)]
    done = first.namespace.run(argv, env=python_path())
    assert done.returncode == 2
    assert "stale socket" in done.stdout
    first.lock.unlink()
    first.socket.unlink()
    assert "is not running" in check(first, folder).stdout


def test_nobody_is_told_the_ways(
    nodes: tuple[Node, Node], installation: Installation, folder: Path
) -> None:
    first, _second = nodes
    state = folder / "nobody.json"
    state.touch()
    import os

    os.chown(state, NOBODY, NOBODY)
    argv = [installation.command("check_conntrackd"), "--socket", str(first.socket)]
    done = first.namespace.run([*argv, "--state-file", str(state)], user="nobody")
    assert done.returncode == 3
    assert "sudoers" in done.stdout


def test_the_command_is_another_way(nodes: tuple[Node, Node], folder: Path) -> None:
    first, _second = nodes
    replicated(nodes)
    words = ["--command", "conntrackd", "--config", str(first.config)]
    argv = [*command("check_conntrackd"), *words, *OLD_ENOUGH]
    argv += ["--state-file", str(folder / "c.json")]
    done = first.namespace.run(argv, env=python_path())
    assert (done.returncode, done.stderr) == (0, ""), done
    assert f"[cache=internal] {active(first, 'internal')};" in done.stdout


def test_adapters_find_the_configured_socket(nodes: tuple[Node, Node]) -> None:
    replicated(nodes)
    first, _second = nodes
    bind = f'mount --bind {first.config} /etc/conntrackd/conntrackd.conf && exec "$@"'
    before = ["unshare", "--mount", "sh", "-c", bind, "sh"]
    for name in ("conntrack-telegraf", "conntrack-prometheus"):
        argv = [*before, *command(name), "--metrics", "sync.*"]
        out = first.namespace.must(*argv, env=python_path())
        count = active(first, "internal")
        assert (
            f"conntrackd_cache,cache=internal active={count}i" in out
            or f'conntrack_sync_cache_active_entries{{cache="internal"}} {count}\n' in out
        ), out


def test_nothing_but_statistics_is_ever_asked(nodes: tuple[Node, Node], folder: Path) -> None:
    """The table, the caches and the daemon survive every command; others are answered meanwhile."""
    replicated(nodes)
    first, second = nodes
    before = [oracle.count(first.namespace), active(first, "internal"), active(second, "external")]
    flushes = re.search(r"flush kernel table:\s+(\d+)", first.says("runtime"))
    for _round in range(5):
        assert check(first, folder, "--peer-socket", str(second.socket)).returncode == 0
        argv = [*command("conntrack-stat"), "sync", "--socket", str(first.socket)]
        first.namespace.must(*argv, env=python_path())
        first.says("cache")
    after = [oracle.count(first.namespace), active(first, "internal"), active(second, "external")]
    assert before == after
    assert flushes
    assert flushes[0] in first.says("runtime")
    assert first.daemon
    assert first.daemon.process.poll() is None


def doctor(node: Node) -> dict[str, dict[str, str]]:
    argv = [*command("conntrack-stat"), "doctor", "--json", "--config", str(node.config)]
    done = node.namespace.run(argv, env=python_path())
    return {found["id"]: found for found in json.loads(done.stdout)["checks"]}


def test_doctor_holds_the_configuration_against_the_host(nodes: tuple[Node, Node]) -> None:
    first, _second = nodes
    well = doctor(first)
    assert {well[name]["status"] for name in ("sync.daemon", "sync.link.address")} == {"ok"}
    assert well["sync.config.hash_limit"]["status"] == "warning"
    first.config.write_text(first.config.read_text("ascii").replace("10.72.9.1", "10.72.9.77"))
    assert "10.72.9.1" in doctor(first)["sync.link.address"]["remedy"]
    first.config.write_text(
        first.config.read_text("ascii").replace("Interface sync", "Interface x")
    )
    found = doctor(first)["sync.link.interface"]
    assert (found["status"], "no interface x" in found["message"]) == ("problem", True)

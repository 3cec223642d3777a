"""Two real nodes in each of conntrackd's modes: well, cut off, and through a fail-over and back."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

import oracle
import processes
from installation import command, python_path
from modules import IN_MACHINE
from pair import KEEP_EXTERNAL, KEEP_INTERNAL, MODES, Node, pair

pytestmark = [pytest.mark.kernel, pytest.mark.agent("conntrackd")]

ENTRIES = 200
OLD_ENOUGH = ["--check", "sync.runtime.uptime,,"]  # these daemons have just been started
SECOND = 1.1  # between two runs whose counters are compared
FAIL_OVERS = ("ftfw", "notrack", "alarm")
STANDSTILL = "sync.peer.created/s: nothing is taken over"


def check(node: Node, other: Node, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    state = ["--state-file", str(folder / f"{node.config.stem}.json"), *OLD_ENOUGH]
    ways = ["--socket", str(node.socket), "--peer-socket", str(other.socket)]
    argv = [*command("check_conntrackd"), *ways, *state, *words]
    return node.namespace.run(argv, env=python_path())


def told(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.partition("|")[0]


def number(text: str, label: str) -> int:
    """The number behind this label in what conntrackd prints of its external part."""
    external = text.partition("external")[2]
    line = next(line for line in external.splitlines() if label in line)
    return int(line.partition(":")[2].split()[0])


def taken_over(node: Node) -> int:
    text = node.says()
    return number(text, "created") + number(text, "updated")


def replicate(first: Node, second: Node, entries: int, seed: int) -> None:
    before = taken_over(second)
    first.fill(entries, seed)
    processes.until(lambda: taken_over(second) >= before + entries, "the other has them")


@contextlib.contextmanager
def linked(mode: str) -> Iterator[tuple[Path, Node, Node]]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ctplug", dir="/tmp")))
        nodes = stack.enter_context(pair(folder, mode))
        for node in nodes:
            processes.until(lambda node=node: "RUNNING" in node.says("link"), "its link runs")
        yield folder, *nodes


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, Future[None]]]:
    """All modes at the same time: most of it is waiting, but on a slow machine."""
    with ThreadPoolExecutor(2 if IN_MACHINE else 12) as threads:
        made = {mode: threads.submit(well_until_cut, mode) for mode in MODES}
        for mode in FAIL_OVERS:
            made[f"{mode} fail-over"] = threads.submit(fail_over_and_back, mode)
        yield made


@pytest.mark.parametrize("mode", MODES)
def test_a_pair_is_well_until_it_is_cut(runs: dict[str, Future[None]], mode: str) -> None:
    runs[mode].result()


@pytest.mark.parametrize("mode", FAIL_OVERS)
def test_a_fail_over_and_back_loses_nothing(runs: dict[str, Future[None]], mode: str) -> None:
    runs[f"{mode} fail-over"].result()


def well_until_cut(mode: str) -> None:
    with linked(mode) as (folder, first, second):
        for seed in range(2):
            replicate(first, second, ENTRIES, seed)
            for node, other in ((first, second), (second, first)):
                done = check(node, other, folder)
                assert done.returncode == 0, done
                assert STANDSTILL not in done.stdout
            time.sleep(SECOND)
        done = check(first, second, folder)
        whole = mode in KEEP_EXTERNAL and mode in KEEP_INTERNAL
        assert ("sync.peer.missing 0.00%" in told(done)) == whole, done
        if not whole:
            which = "External" if mode in KEEP_INTERNAL else "Internal"
            assert f"(Disable{which}Cache)" in told(done)
        if mode in KEEP_INTERNAL:
            assert f"sync.cache.active[cache=internal] {2 * ENTRIES};" in told(done)
        cut(folder, first, second)


def cut(folder: Path, first: Node, second: Node) -> None:
    second.cut_off()
    time.sleep(SECOND)
    check(first, second, folder)  # what came before the cut
    time.sleep(SECOND)
    quiet = check(first, second, folder)
    assert quiet.returncode == 0, quiet  # there was nothing to take over
    first.fill(ENTRIES, seed=77)
    time.sleep(SECOND)
    done = check(first, second, folder)
    assert (done.returncode, STANDSTILL in told(done)) == (2, True), done
    assert f"of {ENTRIES} new connections" in told(done)
    back = check(second, first, folder)
    assert STANDSTILL not in back.stdout


def fail_over_and_back(mode: str) -> None:
    """As conntrackd's own primary-backup.sh does it; the kernels' tables are the truth."""
    with linked(mode) as (folder, first, second):
        replicate(first, second, ENTRIES, 5)
        time.sleep(SECOND)
        shown: list[tuple[int, str]] = []

        def look() -> None:
            for node, other in ((first, second), (second, first)):
                done = check(node, other, folder)
                shown.append((done.returncode, told(done)))

        look()
        assert [status for status, _text in shown] == [0, 0], shown
        for seed, (old, new) in enumerate(((first, second), (second, first))):
            new.does("-c", "-f", "-R", "-B")
            if mode != "alarm":  # in which conntrackd 1.4.7 crashes when it purges its cache
                old.does("-t", "-n")
                # What the old one sent is no longer there to compare: the worst case.
                processes.until(lambda new=new: flushed(new), "what the other sent is flushed")
            # A few live for ten seconds only, which a slow machine takes.
            assert oracle.count(new.namespace) >= ENTRIES * 0.95
            look()
            time.sleep(SECOND)
            look()
            if mode == "alarm":
                break
            processes.until(lambda old=old: oracle.count(old.namespace) == 0, "it is purged")
            look()
            new.fill(ENTRIES, seed=90 + seed)
            time.sleep(SECOND)
            look()
            assert [status for status, _text in shown[-2:]] == [0, 0], shown
        assert not [line for line in shown if line[0] > 1], shown
        assert all("fail-over" in text for status, text in shown if status == 1), shown


def flushed(node: Node) -> bool:
    """Flush the external cache; while a commit is in progress, that is passed over."""
    node.does("-f external")
    return number(node.says(), "active") == 0


def test_a_loss_is_critical_beside_the_other_nodes_own(folder: Path) -> None:
    """What the other node has of its own is no more than some of what is missing."""
    with pair(folder, "notrack") as (first, second):
        second.cut_off()
        second.fill(ENTRIES // 10, seed=3)
        first.fill(ENTRIES, seed=5)
        processes.until(lambda: f"{ENTRIES}\n" in first.says(), "it has them")
        done = check(first, second, folder)
        assert (done.returncode, "sync.peer.missing 90.00%" in told(done)) == (2, True), done


def test_nodes_that_forward_both_and_do_not_replicate(folder: Path) -> None:
    with pair(folder, "notrack") as (first, second):
        for node in (first, second):
            node.cut_off()
        for node in (first, second):
            node.fill(ENTRIES, seed=5)
            processes.until(lambda node=node: f"{ENTRIES}\n" in node.says(), "it has them")
        done = check(first, second, folder)
        assert (done.returncode, "fail-over" in told(done)) == (1, True), done
        time.sleep(SECOND)
        check(first, second, folder)
        first.fill(ENTRIES // 10, seed=7)
        time.sleep(SECOND)
        done = check(first, second, folder)
        assert (done.returncode, STANDSTILL in told(done)) == (2, True), done

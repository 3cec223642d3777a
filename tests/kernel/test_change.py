"""A table that changes while it is read: told, read once more, and never half of the truth."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import fill
from conntrack_common import breakdown
from conntrack_common.analysis.change import is_approximate
from conntrack_common.filters import Filter
from conntrack_common.listing import Dump
from conntrack_common.model import Breakdown, Change
from conntrack_common.sources.dump import Pass, Request
from installation import command, python_path
from namespaces import Namespace

pytestmark = pytest.mark.kernel

ENTRIES = 50_000
UDP = Filter(protocol=17)


@pytest.fixture
def large() -> Iterator[Namespace]:
    with Namespace() as made:
        with made.entered():
            fill.fill(ENTRIES, seed=3)
        yield made


@pytest.fixture(autouse=True)
def passes(monkeypatch: pytest.MonkeyPatch) -> list[Pass]:
    """All passes over a table that `count_table` makes."""
    made: list[Pass] = []

    def recorded(*requests: Sequence[Request]) -> Pass:
        made.append(Pass(*requests))
        return made[-1]

    monkeypatch.setattr(breakdown, "Pass", recorded)
    return made


def size(namespace: Namespace) -> int:
    return int(namespace.must("conntrack", "-C"))


def counted(namespace: Namespace, wanted: Filter, disturb: Callable[[], object]) -> Breakdown:
    """Count, and disturb in the middle of each reading: after 256 buffers, some 36,000 entries."""
    with namespace.entered():
        return breakdown.count_table(["protocol"], wanted, progress=lambda _entries: disturb())


def flush(namespace: Namespace) -> None:
    namespace.must("conntrack", "-F")


NUMBERS = itertools.count(1 << 22)  # beyond those of `fill`


def grow(namespace: Namespace, entries: int = 20_000) -> None:
    """Add assured UDP entries that are not there yet."""
    with namespace.entered(), fill.Filler() as filler:
        for _batch in range(entries // 10):
            filler.insert([fill.assured(next(NUMBERS)) for _entry in range(10)])


@pytest.mark.parametrize("wanted", [Filter(), UDP, Filter(status=(2, 0)), Filter(family=2)])
def test_a_table_that_stands_still_is_not_approximate(
    large: Namespace, wanted: Filter, passes: list[Pass]
) -> None:
    found = counted(large, wanted, lambda: None)
    assert found.change == Change(0, ENTRIES)
    assert len(passes) == 1


@pytest.mark.parametrize("wanted", [Filter(), Filter(status=(8, 0))])
def test_a_flush_in_the_middle_is_read_once_more(
    large: Namespace, wanted: Filter, passes: list[Pass]
) -> None:
    """Half of a table that is there no more is no number; what is left after the flush is one."""
    found = counted(large, wanted, lambda: flush(large))
    assert found.total == size(large) == 0
    assert is_approximate(found.change) is False
    assert len(passes) == 2


def test_a_flush_in_each_reading_is_told(large: Namespace, passes: list[Pass]) -> None:
    def disturb() -> None:
        flush(large)
        if len(passes) == 1:
            grow(large, 60_000)

    found = counted(large, Filter(), disturb)
    assert len(passes) == 2
    assert is_approximate(found.change)
    assert found.change is not None
    assert found.change.entries == found.total > size(large) == 0


@pytest.mark.parametrize("wanted", [Filter(), Filter(status=(8, 0))])
def test_a_table_that_is_filled_all_the_time_is_told(
    large: Namespace, wanted: Filter, passes: list[Pass]
) -> None:
    found = counted(large, wanted, lambda: grow(large))
    assert len(passes) == 2
    assert is_approximate(found.change)
    assert found.change is not None
    assert found.change.entries >= 20_000


@pytest.mark.parametrize(
    ("disturb", "approximate"),
    [
        (lambda _namespace: None, False),
        (flush, True),
        (grow, True),
    ],
)
def test_a_list_says_that_the_table_changed(
    large: Namespace, disturb: Callable[[Namespace], None], approximate: bool
) -> None:
    dump = Dump(Filter())
    with large.entered():
        for number, _entry in enumerate(dump):
            if number == ENTRIES // 2:
                disturb(large)
    assert is_approximate(dump.change) == approximate


def test_what_is_flushed_at_any_time_is_never_half_of_the_truth(namespace: Namespace) -> None:
    """conntrack(8) flushes while the command runs: what it says is the truth, or approximate."""
    argv = namespace.argv([*command("conntrack-stat"), "count", "--json"])
    for delay in (0.05, 0.1, 0.15, 0.2):
        grow(namespace, ENTRIES)
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(python_path())
        ) as running:
            time.sleep(delay)
            flush(namespace)
            out, err = running.communicate(timeout=60)
        assert (running.returncode, err) == (0, b"")
        found = json.loads(out)
        assert found["approximate"] or found["total"] in {0, ENTRIES}, found


@pytest.mark.parametrize("wanted", [Filter(), UDP])
def test_expired_entries_are_no_change(
    namespace: Namespace, wanted: Filter, passes: list[Pass]
) -> None:
    """The kernel counts them until somebody comes by, and conntrack(8) doesn't list them either."""
    with namespace.entered():
        fill.fill(300, seed=6)
    entry = "-I -p udp -s 10.9.0.{} -d 10.9.1.1 --sport 9 --dport 9 -t 1\n"
    lines = "".join(entry.format(number) for number in range(1, 250))
    namespace.must("conntrack", "-R", "-", stdin=lines)
    time.sleep(1.1)
    counted(namespace, wanted, lambda: None)
    assert len(passes) == 1


def test_an_ordinary_busy_table_is_not_approximate(large: Namespace, passes: list[Pass]) -> None:
    """Some 150 new connections come while 50,000 are read, on a machine of any speed."""
    began = time.monotonic()
    counted(large, Filter(), lambda: None)
    pause = (time.monotonic() - began) / 15
    stop = threading.Event()

    def come() -> None:
        while not stop.wait(pause):
            grow(large, 10)

    busy = threading.Thread(target=come)
    busy.start()
    try:
        found = counted(large, Filter(), lambda: None)
    finally:
        stop.set()
        busy.join()
    assert found.change is not None
    assert 0 < found.change.entries < ENTRIES // 100
    assert len(passes) == 2


BUCKETS = Path("/proc/sys/net/netfilter/nf_conntrack_buckets")


@pytest.fixture
def resize() -> Iterator[Callable[[int], None]]:
    """Set the size of the hash table that all namespaces share: only the first one's may."""
    before = BUCKETS.read_text("ascii").strip()
    with subprocess.Popen(
        ["sh", "-c", f"while read n; do echo $n >{BUCKETS} && echo $n; done"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="ascii",
    ) as shell:

        def write(buckets: int | str) -> None:
            assert shell.stdin
            assert shell.stdout
            shell.stdin.write(f"{buckets}\n")
            shell.stdin.flush()
            assert shell.stdout.readline().strip() == str(buckets)

        yield write
        write(before)


@pytest.mark.machine
def test_a_resize_in_the_middle_is_read_once_more(
    large: Namespace, resize: Callable[[int], None], passes: list[Pass]
) -> None:
    buckets = int(BUCKETS.read_text("ascii"))

    def disturb() -> None:
        if len(passes) == 1:
            resize(buckets // 4)

    found = counted(large, Filter(), disturb)
    assert (found.total, len(passes)) == (ENTRIES, 2)
    assert is_approximate(found.change) is False


@pytest.mark.machine
@pytest.mark.parametrize("wanted", [Filter(), Filter(status=(8, 0))])
def test_a_resize_in_each_reading_is_told(
    large: Namespace, resize: Callable[[int], None], passes: list[Pass], wanted: Filter
) -> None:
    """A part of the table is skipped, or read twice."""
    sizes = itertools.cycle(int(BUCKETS.read_text("ascii")) * 4 // power for power in (16, 4))
    found = counted(large, wanted, lambda: resize(next(sizes)))
    assert len(passes) == 2
    assert found.total != ENTRIES
    assert found.change is not None
    assert found.change.resized
    assert is_approximate(found.change)


@pytest.mark.machine
def test_a_list_says_that_the_table_was_resized(
    large: Namespace, resize: Callable[[int], None]
) -> None:
    buckets, dump = int(BUCKETS.read_text("ascii")), Dump(Filter())
    with large.entered():
        for number, _entry in enumerate(dump):
            if number == ENTRIES // 2:
                resize(buckets // 4)
    assert dump.change is not None
    assert dump.change.resized


def test_hidden_sysctls_leave_the_evidence_to_ctnetlink(large: Namespace) -> None:
    """Containers may hide /proc/sys."""
    hidden = 'mount -t tmpfs none /proc/sys && exec "$@"'
    words = [*command("conntrack-stat"), "count", "--json"]
    done = large.run(["unshare", "-m", "sh", "-c", hidden, "sh", *words], env=python_path())
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["total"], found["approximate"], found["changed"]) == (ENTRIES, False, 0)


def test_the_metrics_say_what_changed(large: Namespace) -> None:
    words = [*command("conntrack-prometheus"), "--metrics", "table.approximate,table.changed"]
    done = large.run(words, env=python_path())
    assert "\nconntrack_table_approximate 0\n" in done.stdout
    assert "\nconntrack_table_changed_entries 0\n" in done.stdout

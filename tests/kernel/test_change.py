"""A table that changes while it is read: told, read once more, and never half of the truth."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fill
from conntrack_common import breakdown
from conntrack_common.analysis.change import is_approximate
from conntrack_common.ctnetlink.dump import Pass
from conntrack_common.filters.filter import Filter
from conntrack_common.listing import Dump
from conntrack_common.model import Breakdown, Change
from installation import command, python_path
from namespaces import Namespace

pytestmark = pytest.mark.kernel

ENTRIES = 10_000  # some 70 buffers
MIDDLE = 20  # buffers; the receiving thread is up to nine ahead
UDP = Filter(protocol=17)


@pytest.fixture
def large() -> Iterator[Namespace]:
    with Namespace() as made:
        with made.entered():
            fill.fill(ENTRIES, seed=3)
        yield made


class Disturbed(Pass):
    """A pass over the table in whose middle something is done."""

    passes = 0
    disturb: Callable[[], object]

    def __iter__(self) -> Iterator[bytes]:
        Disturbed.passes += 1
        for number, data in enumerate(super().__iter__()):
            if number == MIDDLE:
                Disturbed.disturb()
            yield data


@pytest.fixture(autouse=True)
def disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breakdown, "Pass", Disturbed)
    monkeypatch.setattr(Disturbed, "passes", 0)


def size(namespace: Namespace) -> int:
    return int(namespace.must("conntrack", "-C"))


def counted(
    namespace: Namespace, wanted: Filter, disturb: Callable[[], object]
) -> tuple[Breakdown, int]:
    """Count, and do something in the middle of each pass; return how many there were, too."""
    Disturbed.passes, Disturbed.disturb = 0, disturb
    with namespace.entered():
        return breakdown.count_table(["protocol"], wanted), Disturbed.passes


def flush(namespace: Namespace) -> None:
    namespace.must("conntrack", "-F")


NUMBERS = itertools.count(1 << 22)  # beyond those of `fill`


def grow(namespace: Namespace, entries: int = ENTRIES // 5) -> None:
    """Add assured UDP entries that are not there yet."""
    batch = min(entries, 200)
    with namespace.entered(), fill.Filler() as filler:
        for _batch in range(entries // batch):
            filler.insert([fill.assured(next(NUMBERS)) for _entry in range(batch)])


@pytest.mark.parametrize("wanted", [Filter(), UDP, Filter(status=(2, 0)), Filter(family=2)])
def test_a_table_that_stands_still_is_not_approximate(large: Namespace, wanted: Filter) -> None:
    found, passes = counted(large, wanted, lambda: None)
    assert (found.change, passes) == (Change(0, ENTRIES), 1)


@pytest.mark.parametrize("wanted", [Filter(), Filter(status=(8, 0))])
def test_a_flush_in_the_middle_is_read_once_more(large: Namespace, wanted: Filter) -> None:
    """Half of a table that is there no more is no number; what is left after the flush is one."""
    found, passes = counted(large, wanted, lambda: flush(large))
    assert found.total == size(large) == 0
    assert (is_approximate(found.change), passes) == (False, 2)


def test_a_flush_in_each_reading_is_told(large: Namespace) -> None:
    def disturb() -> None:
        flush(large)
        if Disturbed.passes == 1:
            grow(large, ENTRIES * 2)

    found, passes = counted(large, Filter(), disturb)
    assert (is_approximate(found.change), passes) == (True, 2)
    assert found.change is not None
    assert found.change.entries == found.total > size(large) == 0


@pytest.mark.parametrize("wanted", [Filter(), Filter(status=(8, 0))])
def test_a_table_that_is_filled_all_the_time_is_told(large: Namespace, wanted: Filter) -> None:
    found, passes = counted(large, wanted, lambda: grow(large))
    assert (is_approximate(found.change), passes) == (True, 2)
    assert found.change is not None
    assert found.change.entries >= ENTRIES // 5


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
    argv = namespace.argv([*command("conntrack-stat"), "count", "--json", "--by", "protocol"])
    for delay in (0.05, 0.1, 0.15, 0.2):
        grow(namespace, 30_000)
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(python_path())
        ) as running:
            time.sleep(delay)
            flush(namespace)
            out, err = running.communicate(timeout=60)
        assert (running.returncode, err) == (0, b"")
        found = json.loads(out)
        assert found["approximate"] or found["total"] in {0, 30_000}, found


@pytest.mark.parametrize("wanted", [Filter(), UDP])
def test_expired_entries_are_no_change(namespace: Namespace, wanted: Filter) -> None:
    """The kernel counts them until somebody comes by, and conntrack(8) doesn't list them either."""
    with namespace.entered():
        fill.fill(300, seed=6)
    entry = "-I -p udp -s 10.9.0.{} -d 10.9.1.1 --sport 9 --dport 9 -t 1\n"
    lines = "".join(entry.format(number) for number in range(1, 250))
    namespace.must("conntrack", "-R", "-", stdin=lines)
    time.sleep(1.1)
    _found, passes = counted(namespace, wanted, lambda: None)
    assert passes == 1


def test_an_ordinary_busy_table_is_not_approximate(large: Namespace) -> None:
    """Fifty new connections, half a hundredth, come while the table is read."""
    found, passes = counted(large, Filter(), lambda: grow(large, 50))
    assert found.change is not None
    assert (found.change.entries, passes) == (50, 1)
    assert is_approximate(found.change) is False


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
    large: Namespace, resize: Callable[[int], None]
) -> None:
    buckets = int(BUCKETS.read_text("ascii"))
    found, passes = counted(
        large, Filter(), lambda: resize(buckets // 4) if Disturbed.passes == 1 else None
    )
    assert (found.total, passes) == (ENTRIES, 2)
    assert is_approximate(found.change) is False


@pytest.mark.machine
@pytest.mark.parametrize("wanted", [Filter(), Filter(status=(8, 0))])
def test_a_resize_in_each_reading_is_told(
    large: Namespace, resize: Callable[[int], None], wanted: Filter
) -> None:
    """A part of the table is skipped, or read twice."""
    buckets = int(BUCKETS.read_text("ascii"))
    sizes = itertools.cycle((buckets // 4, buckets))
    found, passes = counted(large, wanted, lambda: resize(next(sizes)))
    assert found.total != ENTRIES
    assert found.change is not None
    assert (found.change.resized, is_approximate(found.change), passes) == (True, True, 2)


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
    for by in ([], ["--by", "protocol"]):
        words = [*command("conntrack-stat"), "count", "--json", *by]
        done = large.run(["unshare", "-m", "sh", "-c", hidden, "sh", *words], env=python_path())
        assert (done.returncode, done.stderr) == (0, "")
        found = json.loads(done.stdout)
        assert (found["total"], found["approximate"], found["changed"]) == (ENTRIES, False, 0)


def test_the_metrics_say_what_changed(large: Namespace) -> None:
    words = [*command("conntrack-prometheus"), "--metrics", "table.approximate,table.changed"]
    done = large.run(words, env=python_path())
    assert "\nconntrack_table_approximate 0\n" in done.stdout
    assert "\nconntrack_table_changed_entries 0\n" in done.stdout

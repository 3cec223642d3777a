"""A table that is really full: what the kernel drops and evicts is what we say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

import fill
import formats
import oracle
import traffic
from conntrack_common.ctnetlink import stats
from conntrack_common.model import CpuCounters
from conntrack_common.proc.files import ProcRoot
from installation import command, python_path
from namespaces import Namespace

pytestmark = [pytest.mark.kernel, pytest.mark.machine]

Read = Callable[[], Sequence[CpuCounters]]

LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")


class Full(NamedTuple):
    namespace: Namespace
    limit: int
    refused: int


@pytest.fixture(scope="module")
def limit() -> Iterator[int]:
    """A limit of all namespaces that is soon reached."""
    before = LIMIT.read_text("ascii")
    LIMIT.write_text("8000", "ascii")
    yield 8000
    LIMIT.write_text(before, "ascii")


@pytest.fixture(scope="module")
def full(limit: int) -> Iterator[Full]:
    """A table filled to nf_conntrack_max that got more flows, until some evicted an entry.

    The kernel looks for one that may be in eight chains of its hash table, so their share is chosen
    to let it find one for about half of the flows. Beyond 95 percent its garbage collection evicts
    such entries, too, whenever it comes by.
    """
    with Namespace() as made:
        step = max(2, 20 * limit // oracle.sysctl(made, "buckets"))
        with made.entered(), fill.Filler() as filler:
            for start in range(0, limit, 200):
                assert not filler.insert(
                    [
                        _entry(number, weak=number % step == 0)
                        for number in range(start, start + 200)
                    ]
                )
        assert oracle.sysctl(made, "max") == limit
        refused = flows = 0
        while flows < 200 or not (refused and oracle.total(oracle.statistics(made), "early_drop")):
            assert flows < 4000, "the table never was full"
            refused += not traffic.sent(made, 1024 + flows)
            flows += 1
        yield Full(made, limit, refused)


def _entry(number: int, *, weak: bool) -> fill.Entry:
    sure = fill.assured(number + 1)
    return sure._replace(status=sure.status & ~fill.IPS_ASSURED) if weak else sure


def test_kernel_dropped_and_evicted(full: Full) -> None:
    rows = oracle.statistics(full.namespace)
    assert oracle.total(rows, "drop") == full.refused > 0
    assert oracle.total(rows, "early_drop") > 0


@pytest.mark.parametrize("read", [ProcRoot().cpu_counters, stats.cpu_counters])
def test_sources_tell_drops_from_other_counters(full: Full, read: Read) -> None:
    rows = oracle.statistics(full.namespace)
    with full.namespace.entered():
        ours = {row.cpu: dict(row.values) for row in read()}
    assert {cpu: {name: ours[cpu][name] for name in row} for cpu, row in rows.items()} == rows


def test_check_says_critical_with_the_kernels_numbers(full: Full) -> None:
    checks = ["--check", "cpu.drop,0,", "--check", "cpu.early_drop,,0"]
    words = [*command("check_conntrack"), "-w", "80", "-c", "90", *checks]
    entries, done = oracle.agreed(
        lambda: oracle.count(full.namespace),
        lambda: full.namespace.run(words, env=python_path()),
    )
    rows = oracle.statistics(full.namespace)
    said, data = formats.plugin(done.stdout)
    assert done.returncode == 2, done
    usage = f"{entries / full.limit:.2%} ({entries} of {full.limit} entries"
    assert said.startswith(f"CONNTRACK CRITICAL - table.usage {usage}"), said
    assert int(data["table.entries"].value) == entries
    assert int(data["cpu.drop"].value) == oracle.total(rows, "drop")
    assert int(data["cpu.early_drop"].value) == oracle.total(rows, "early_drop")


def test_telegraf_has_the_same_drops_of_each_cpu(full: Full) -> None:
    done = full.namespace.run(command("conntrack-telegraf"), env=python_path())
    lines = formats.line_protocol(done.stdout)
    for cpu, row in oracle.statistics(full.namespace).items():
        fields = lines["conntrack_cpu", (("cpu", str(cpu)),)]
        ours = {name: fields[name] for name in ("drop", "early_drop")}
        assert ours == {name: f"{row[name]}i" for name in ours}

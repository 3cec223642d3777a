"""What is taken for a table that changed while it was read, and what is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from conntrack_common.analysis.change import is_approximate
from conntrack_common.catalogue.lookup import absences, find, samples
from conntrack_common.ctnetlink import watch
from conntrack_common.model import Change, Reading, Sysctls, TableCounts


def watched(
    monkeypatch: pytest.MonkeyPatch, sizes: Sequence[Sysctls], read: int | None
) -> Change | None:
    """The change that a watch reports which sees these sizes, the last one at the end."""
    seen = iter(sizes)
    monkeypatch.setattr(watch, "table_size", lambda: next(seen))
    watching = watch.Watch()
    for _size in sizes[1:-1]:
        watching.look()
    return watching.change(read)


def entries(*numbers: int | None) -> list[Sysctls]:
    return [Sysctls(entries=number, buckets=65536) for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "read", "expected"),
    [
        ((1000, 1000), 1000, 0),
        ((1000, 1000), None, 0),
        ((0, 0), 0, 0),
        ((1000, 0), 400, 400),  # flushed in the middle
        ((1000, 0), None, 1000),
        ((0, 1000), 500, 1000),  # filled
        ((0, 1000), None, 1000),
        ((1000, 200, 1000), 1000, 800),  # flushed and filled
        ((1000, 1900, 1000), 1000, 900),  # filled and flushed
        ((1000, 1000), 700, 300),  # a part was skipped
        ((1000, 1000), 1300, 300),  # or was read twice
        ((1000, 700), 700, 0),  # entries that had expired are no more
        ((1000, 700), None, 0),
        ((1000, 1005), 1001, 5),
    ],
)
def test_changes_of_the_size(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...], read: int | None, expected: int
) -> None:
    change = watched(monkeypatch, entries(*numbers), read)
    assert change is not None
    assert (change.entries, change.resized) == (expected, False)
    assert is_approximate(change) == (expected > 20)


@pytest.mark.parametrize("read", [None, 1000])
def test_a_resize_is_noticed_even_if_it_is_undone(
    monkeypatch: pytest.MonkeyPatch, read: int | None
) -> None:
    sizes = [Sysctls(entries=1000, buckets=buckets) for buckets in (64, 128, 64)]
    change = watched(monkeypatch, sizes, read)
    assert change is not None
    assert change.resized
    assert is_approximate(change)


@pytest.mark.parametrize("buckets", [(None, 64), (64, None, 64), (None, None)])
def test_unknown_buckets_are_no_resize(
    monkeypatch: pytest.MonkeyPatch, buckets: tuple[int | None, ...]
) -> None:
    change = watched(monkeypatch, [Sysctls(entries=5, buckets=each) for each in buckets], 5)
    assert change == Change(0, 5)


@pytest.mark.parametrize("numbers", [(None, None), (7, None), (None, 7)])
def test_an_unknown_size_is_no_claim(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[int | None, ...]
) -> None:
    change = watched(monkeypatch, entries(*numbers), 7)
    assert change is None
    assert is_approximate(change) is None


@pytest.mark.parametrize(
    ("change", "approximate"),
    [
        (Change(0, 0), False),
        (Change(10, 10), False),  # in so small a table that is nothing
        (Change(11, 11), True),
        (Change(10_000, 1_000_000), False),
        (Change(10_001, 1_000_000), True),
        (Change(0, 1_000_000, resized=True), True),
    ],
)
def test_a_hundredth_is_much(change: Change, approximate: bool) -> None:
    assert is_approximate(change) == approximate


def test_the_metrics_are_absent_where_the_size_is_unknown() -> None:
    metrics = [find("table.approximate"), find("table.changed")]
    reading = Reading(time=1.0, host="gate", counts=TableCounts(50, {}, Change(30, 60)))
    assert [sample.value for sample in samples(reading, metrics)] == [1, 30]
    unknown = reading._replace(counts=TableCounts(50, {}))
    assert list(samples(unknown, metrics)) == []
    assert all("ctnetlink" in absent.reason for absent in absences(unknown, metrics))

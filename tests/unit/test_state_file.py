"""What a check remembers: only what this module wrote, of this boot, is compared with."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from conntrack_plugins.nagios import rates

RUN = "run"
LAST = {"time": 1.0, "counters": {"a": 5}}


def remembered(path: Path, last: object, base: object = None) -> rates.Earlier | None:
    """Write a file as if by an earlier run, and return what a run is then compared with."""
    rates.exchange(str(path), RUN, {})
    (name,) = json.loads(path.read_text("ascii"))
    path.write_text(json.dumps({name: [last, base]}), "ascii")
    return rates.exchange(str(path), RUN, {"a": 7})


def test_a_true_run_is_compared_with(tmp_path: Path) -> None:
    clock = time.clock_gettime(time.CLOCK_BOOTTIME)
    earlier = remembered(tmp_path / "state", {"time": clock - 60, "counters": {"a": 5}})
    assert earlier is not None
    assert (round(earlier.seconds), earlier.counters) == (60, {"a": 5})


@pytest.mark.parametrize("when", [float("-inf"), float("inf"), float("nan"), -1e300, 1e300, "1", 1])
def test_a_time_that_never_was_is_a_first_run(tmp_path: Path, when: object) -> None:
    clock = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert remembered(tmp_path / "last", {**LAST, "time": when}) is None
    last = {**LAST, "time": clock}
    assert remembered(tmp_path / "base", last, {**LAST, "time": when}) is None


@pytest.mark.parametrize("value", [True, -1, 1.5, float("nan"), "5", None, [5]])
def test_a_counter_that_is_none_is_a_first_run(tmp_path: Path, value: object) -> None:
    clock = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert remembered(tmp_path / "s", {"time": clock - 9, "counters": {"a": value}}) is None


def test_a_shorter_content_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    path = tmp_path / "state"
    rates.exchange(str(path), RUN, {str(number): number for number in range(1000)})
    (name,) = found = json.loads(path.read_text("ascii"))
    found[name][0]["time"] -= 60
    path.write_text(json.dumps(found), "ascii")
    rates.exchange(str(path), RUN, {"a": 1})
    rates.exchange(str(path), "another", {"a": 1})
    assert len(json.loads(path.read_text("ascii"))) == 2

"""Growth of counters that wrap and are reset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conntrack_common.analysis.rates import MOST, differences, sum_of_rates
from conntrack_common.analysis.usage import usage

WIDTH = 1 << 32


@given(st.integers(0, WIDTH - 1), st.integers(0, WIDTH // 2 - 1))
def test_growth_is_true_across_a_wrap(before: int, grown: int) -> None:
    assert differences({"a": before}, {"a": (before + grown) % WIDTH}, 32) == {"a": grown}


@given(st.integers(1, WIDTH // 2 - 1), st.data())
def test_a_small_step_back_is_a_reset_of_all(before: int, data: st.DataObject) -> None:
    now = data.draw(st.integers(0, before - 1))
    assert differences({"a": before, "b": 1}, {"a": now, "b": 2}, 32) is None


@given(st.lists(st.tuples(st.integers(0, WIDTH - 1), st.integers(0, 10**6)), min_size=1))
def test_each_counter_wraps_by_itself(rows: list[tuple[int, int]]) -> None:
    before = {str(cpu): value for cpu, (value, _grown) in enumerate(rows)}
    now = {str(cpu): (value + grown) % WIDTH for cpu, (value, grown) in enumerate(rows)}
    assert sum_of_rates(before, now, 32, 4.0) == sum(grown for _value, grown in rows) / 4


@given(st.integers(WIDTH // 2 + 1, WIDTH - 1), st.floats(0.1, 86400))
def test_a_reset_from_above_half_is_no_rate_that_no_cpu_has(before: int, seconds: float) -> None:
    rate = sum_of_rates({"a": before}, {"a": 0}, 32, seconds)
    assert rate is None or rate <= MOST


@pytest.mark.parametrize("seconds", [1.26, 60, 300])
def test_a_large_counter_that_is_reset_between_two_checks(seconds: float) -> None:
    assert sum_of_rates({"a": 0xC0000000}, {"a": 0}, 32, seconds) is None
    assert sum_of_rates({"a": 0xC0000000, "b": 7}, {"a": 3, "b": 9}, 32, seconds) is None


@pytest.mark.parametrize("packets", [0, 1, 1_000_000, 2_000_000])
def test_a_wrap_at_the_speed_of_a_cpu_is_a_rate(packets: int) -> None:
    before = WIDTH - 1000
    for seconds in (1, 60, 300):
        now = (before + packets * seconds) % WIDTH
        assert sum_of_rates({"a": before}, {"a": now}, 32, seconds) == packets


def test_what_does_not_wrap_has_no_limit() -> None:
    """Bytes, and counters of a machine that is faster than any now."""
    assert sum_of_rates({"a": 0}, {"a": 10**9}, 64, 1) == 10**9


def test_what_only_one_side_has_is_left_out() -> None:
    assert differences({"a": 1, "gone": 5}, {"a": 3, "new": 9}, 32) == {"a": 2}
    assert sum_of_rates({"gone": 5}, {"new": 9}, 32, 1.0) is None


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_without_time_there_is_no_rate(seconds: float) -> None:
    assert sum_of_rates({"a": 1}, {"a": 2}, 32, seconds) is None


def test_usage_needs_a_limit() -> None:
    assert usage(25, 100) == 0.25
    assert usage(25, 0) is None
    assert usage(25, None) is None
    assert usage(None, 100) is None

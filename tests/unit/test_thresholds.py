"""The settings' thresholds in collectd's words."""

from __future__ import annotations

import pytest

from conntrack_plugins.render.settings import defaults
from conntrack_plugins.render.thresholds import Threshold, thresholds


def threshold(check: str, metrics: str = "*") -> Threshold:
    """What becomes of one check, behind that of usage."""
    _usage, found = thresholds({**defaults(), "checks": (check,), "metrics": metrics})
    return found


@pytest.mark.parametrize(
    ("check", "bounds"),
    [
        ("table.entries,1234567,2345678", {"WarningMax": "1234567", "FailureMax": "2345678"}),
        ("table.entries,10:,", {"WarningMin": "10"}),
        ("table.entries,,5:9", {"FailureMin": "5", "FailureMax": "9"}),
        ("cpu.drop/s,0,10", {"WarningMax": "0", "FailureMax": "10"}),
        ("cpu.drop/s,0.5,", {"WarningMax": "0.5"}),
        ("tcp.state[state=SYN_RECV],~:7,", {"WarningMax": "7"}),
    ],
)
def test_bounds(check: str, bounds: dict[str, str]) -> None:
    found = threshold(check)
    assert (dict(found.bounds), found.why_not) == (bounds, "")


@pytest.mark.parametrize(
    ("check", "metrics", "why_not"),
    [
        ("tcp.state,1,2", "*", "it judges each series by itself: name the state"),
        ("cpu.drop,1,2", "*", "it knows counters by their growth, and nothing else's"),
        ("table.entries,@1:2,", "*", "it has no inverted ranges"),
        ("table.entries,,", "*", "no value is bad"),
        (
            "tcp.state[state=CLOSE],1,2",
            "",
            "tcp.state is not sent; add it to the setting metrics",
        ),
    ],
)
def test_what_collectd_can_not_judge_is_told(check: str, metrics: str, why_not: str) -> None:
    found = threshold(check, metrics)
    assert (found.bounds, found.why_not) == ((), why_not)


def test_usage_comes_first_in_percent() -> None:
    found = next(thresholds({**defaults(), "warning": 62.5}))
    assert found.place[1:] == ("percent", "usage")
    assert found.bounds == (("WarningMax", "62.5"), ("FailureMax", "90"))

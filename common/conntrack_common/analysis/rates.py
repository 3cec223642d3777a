"""Counters between two readings: a true difference in spite of wraps and resets."""

from __future__ import annotations

from collections.abc import Mapping

# What one CPU can do in a second. Dropping packets before there is a socket buffer, and so before
# connection tracking, gets to 10 million; with one, no more than 2 million were seen.
MOST = 3_000_000


def differences(
    before: Mapping[str, int], now: Mapping[str, int], bits: int
) -> dict[str, int] | None:
    """Return how much each counter grew, by name; None if they were reset in between.

    Counters of one CPU (or one daemon) start anew together, so one that went back means that
    all did. A counter that went back by more than half of its range has wrapped at 2**bits;
    by less, it was reset. Names that only one side has are left out.
    """
    grown = {}
    for name in before.keys() & now.keys():
        difference = (now[name] - before[name]) % (1 << bits)
        if now[name] < before[name] and difference >= 1 << (bits - 1):
            return None
        grown[name] = difference
    return grown


def sum_of_rates(
    before: Mapping[str, int], now: Mapping[str, int], bits: int, seconds: float
) -> float | None:
    """Return the growth of all counters together per second; None if unknown.

    Each counter wraps by itself, so the differences are added and not the counters. It is
    unknown after a reset, when no time has passed, and when the two have no counter in common. A
    counter that was reset from above half of its range looks like one that wrapped: it is treated
    as one only if a CPU can have counted so far in that time.
    """
    grown = differences(before, now, bits)
    if not grown or seconds <= 0:
        return None
    if any(now[name] < before[name] and grown[name] > MOST * seconds for name in grown):
        return None
    return sum(grown.values()) / seconds

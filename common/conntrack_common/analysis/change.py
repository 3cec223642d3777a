"""Whether the table changed so much while it was read that what was counted is approximate."""

from __future__ import annotations

from conntrack_common.model import Change

MUCH = 1 / 100  # of the table; one whose entries live for minutes changes less while it is read
FEW = 10  # entries: in a small table, a hundredth is nothing


def is_approximate(change: Change | None) -> bool | None:
    """Return whether a reading of the table is approximate; None if that is unknown.

    It is if the hash table was resized meanwhile, or if the table changed by more than a hundredth
    of its entries (and more than ten of them).
    """
    if change is None:
        return None
    return change.resized or change.entries > max(FEW, change.size * MUCH)

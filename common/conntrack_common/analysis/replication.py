"""Whether two conntrackd nodes hold the same connections."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from conntrack_common.sync_model import Cache, SyncStatistics


def cache(statistics: SyncStatistics, name: str) -> Cache | None:
    """Return a node's cache of connections (not of expectations) by its name."""
    for found in statistics.caches:
        if (found.name, found.kind) == (name, "ct"):
            return found
    return None


def missing_share(own: SyncStatistics, peer: SyncStatistics) -> float | None:
    """Return which share of this node's internal cache the peer's external cache lacks.

    Where the caches are disabled, what was created is compared in their place. None if either is
    unknown; 0 for a node with nothing to replicate, as a backup has.
    """
    internal, external = cache(own, "internal"), cache(peer, "external")
    if internal is None or external is None:
        return None
    both = (internal.active, external.active)
    if None in both:
        both = (internal.created, external.created)
    here, there = both
    if here is None or there is None:
        return None
    return max(0.0, (here - there) / here) if here else 0.0


def stands_still(created: float | None, taken_over: float | None) -> bool:
    """Tell whether the other node takes nothing over although there is something to take over.

    `created` is the growth per second of this node's internal cache, `taken_over` that of what the
    other node made of it; what is unknown (None) stands for nothing.
    """
    return bool(created) and taken_over == 0

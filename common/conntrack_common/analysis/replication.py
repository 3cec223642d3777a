"""Whether two conntrackd nodes have the same connections.

Only numbers of entries can be compared, so this finds what must be missing, and not what may be.
"""

from __future__ import annotations

from collections.abc import Mapping

from conntrack_common.analysis.rates import differences

TYPE_CHECKING = False
if TYPE_CHECKING:
    from conntrack_common.model.conntrackd import Cache, SyncStatistics

BITS = 32  # the width of conntrackd's counters of entries
OFFERED, CREATED, UPDATED, RESYNCED = "offered", "created", "updated", "resynced"


def cache(statistics: SyncStatistics, name: str) -> Cache | None:
    """Return a node's cache of connections (not of expectations) by its name."""
    for candidate in statistics.caches:
        if (candidate.name, candidate.kind) == (name, "ct"):
            return candidate
    return None


def incomparable(own: SyncStatistics, peer: SyncStatistics) -> str:
    """Return why the nodes' numbers of entries can't be compared; "" if they can."""
    internal, external = cache(own, "internal"), cache(peer, "external")
    if internal is None:
        return "this node's statistics have no internal cache to compare"
    if internal.disabled:
        return "this node keeps no internal cache (DisableInternalCache) to compare"
    if external is None:
        return "the other node's statistics have no external cache to compare"
    if external.disabled:
        return "the other node keeps no external cache (DisableExternalCache) to compare"
    if internal.active is None or external.active is None:
        return "the numbers of entries are missing from the statistics of both nodes"
    return ""


def missing_share(own: SyncStatistics, peer: SyncStatistics) -> float | None:
    """Return which share of this node's internal cache can't be in either of the peer's caches.

    After a fail-over, the other node has the connections in its internal cache, and this one still
    has them, too. None if they can't be compared; 0 for a node with nothing to replicate, as a
    backup has.
    """
    share = not_external_share(own, peer)
    here, there = cache(own, "internal"), cache(peer, "internal")
    if share is None or here is None or not here.active:
        return share
    return max(0.0, share - ((there.active if there else None) or 0) / here.active)


def not_external_share(own: SyncStatistics, peer: SyncStatistics) -> float | None:
    """Return which share of this node's internal cache is missing from the peer's external one."""
    internal, external = cache(own, "internal"), cache(peer, "external")
    if internal is None or external is None or internal.active is None or external.active is None:
        return None
    missing = max(0, internal.active - external.active)
    return missing / internal.active if missing else 0.0


def takeover(own: SyncStatistics, peer: SyncStatistics) -> Mapping[str, int]:
    """Return the counters that show whether the peer takes over what this node offers it.

    An entry that the peer has, or had, is updated and not created; most are where it keeps no
    external cache. What a cache got from the kernel's table (`conntrackd -R`, at a fail-over) need
    not be sent. Empty if a node does not show them.
    """
    internal, external = cache(own, "internal"), cache(peer, "external")
    offered = internal.created if internal else None
    created = external.created if external else None
    updated = external.updated if external else None
    if offered is None or created is None or updated is None:
        return {}
    resynced = (own.runtime.resync_kernel_table if own.runtime else None) or 0
    return {OFFERED: offered, CREATED: created, UPDATED: updated, RESYNCED: resynced}


def offered_in_vain(before: Mapping[str, int], now: Mapping[str, int]) -> int:
    """Return how many entries this node offered while the peer took over none; 0 is none.

    Both are takeovers; what is unknown, as after a restart of a daemon, is none.
    """
    grown = differences(before, now, BITS) or {}
    stands_still = grown.get(CREATED) == grown.get(UPDATED) == grown.get(RESYNCED) == 0
    return grown.get(OFFERED, 0) if stands_still else 0

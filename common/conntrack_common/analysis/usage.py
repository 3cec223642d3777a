"""How full the table is."""

from __future__ import annotations


def usage(entries: int | None, limit: int | None) -> float | None:
    """Return entries as a share of the limit (1 is full), or None where there is no limit.

    A limit of 0 means that the kernel sets none (nf_conntrack_alloc in nf_conntrack_core.c).
    """
    if entries is None or not limit:
        return None
    return entries / limit

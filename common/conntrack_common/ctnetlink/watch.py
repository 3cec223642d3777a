"""How the table changes while it is read, seen by its size.

The kernel marks a list that changed while it was dumped (NLM_F_DUMP_INTR), but never this one:
ctnetlink_dump_table in nf_conntrack_netlink.c checks nothing, in Linux 5.10 to 6.18. It goes
through the hash table bucket by bucket, so that a flush in the middle leaves half of the truth,
and a resize skips a part of the table or shows it twice.
"""

from __future__ import annotations

import contextlib

from conntrack_common.ctnetlink import stats
from conntrack_common.errors import ConntrackError
from conntrack_common.model import Change, Sysctls
from conntrack_common.proc.files import ProcRoot


class Watch:
    """Looks at the table's size when it is made, and whenever it is asked to."""

    def __init__(self) -> None:
        size = table_size()
        self._first = self._lowest = self._last = size.entries
        self._growth = 0
        self._buckets = {size.buckets}

    def look(self) -> None:
        """Look once more."""
        size = table_size()
        self._last = size.entries
        self._buckets.add(size.buckets)
        if self._last is not None and self._lowest is not None:
            self._lowest = min(self._lowest, self._last)
            self._growth = max(self._growth, self._last - self._lowest)

    def change(self, read: int | None) -> Change | None:
        """Look for the last time and return how the table changed; None if its size is unknown.

        `read` is how many entries were read if all were asked for, and is compared with how many
        there are now. It is not compared with how many there were before: the kernel counts
        entries that have expired until somebody comes by, and a dump removes those in its way.
        So of a reading that asked for a part, only the loss of half of the table is taken for one.
        """
        self.look()
        if self._first is None or self._lowest is None or self._last is None:
            return None
        if read is not None:
            missed = abs(self._last - read)
        else:
            missed = self._first - self._lowest if self._lowest < self._first // 2 else 0
        return Change(
            entries=max(missed, self._growth),
            size=max(self._first, self._last, read or 0),
            resized=len(self._buckets - {None}) > 1,
        )


def table_size() -> Sysctls:
    """Return the number of entries and buckets, as far as they can be read here."""
    with contextlib.suppress(ConntrackError):
        size = ProcRoot().sysctls(("entries", "buckets"))
        if size.entries is not None:
            return size
    with contextlib.suppress(ConntrackError):
        return stats.table_size()
    return Sysctls()

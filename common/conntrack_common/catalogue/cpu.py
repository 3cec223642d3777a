"""The catalogue's part for the kernel's counters, each CPU by itself.

What raises each one: net/netfilter/nf_conntrack_core.c, explained in docs/counters.md.
"""

from __future__ import annotations

from collections.abc import Callable

from conntrack_common.catalogue.metric import COUNTER, Metric, Values
from conntrack_common.model import Reading


def _cpu(part: str, name: str) -> Callable[[Reading], Values]:
    def take(reading: Reading) -> Values:
        return {
            (str(row.cpu),): row.values[name]
            for row in getattr(reading, part) or ()
            if name in row.values
        }

    return take


def _counter(name: str, unit: str, text: str, absent_when: str = "") -> Metric:
    return Metric(
        f"cpu.{name}",
        COUNTER,
        unit,
        text,
        "counters",
        _cpu("counters", name),
        labels=("cpu",),
        bits=32,
        absent_when=absent_when or "this kernel has no such counter",
    )


def _synproxy(name: str, unit: str, text: str) -> Metric:
    return Metric(
        f"synproxy.{name}",
        COUNTER,
        unit,
        text,
        "synproxy",
        _cpu("synproxy", name),
        labels=("cpu",),
        bits=32,
        absent_when="there is no /proc/net/stat/synproxy: no rule with SYNPROXY has loaded it",
    )


_RETIRED = "newer kernels no longer count it and always show 0"

COUNTERS: tuple[Metric, ...] = (
    _counter(
        "found",
        "tuples",
        "Addresses and ports that NAT tried for a connection and found in use: it tries others.",
    ),
    _counter(
        "invalid",
        "packets",
        "Packets that fit no connection, as rules see them by 'ct state invalid'.",
    ),
    _counter(
        "insert",
        "entries",
        "Entries inserted by programs (conntrackd, conntrack -I), and not those of packets.",
    ),
    _counter(
        "insert_failed",
        "packets",
        "Packets dropped: their entry clashed with another (see drop), or its chain was too long.",
    ),
    _counter(
        "drop",
        "packets",
        "Packets dropped: the table was full, memory short, or the new entry clashed with another, "
        "as when NAT's ports are used up (then insert_failed grows alike).",
    ),
    _counter(
        "early_drop", "entries", "Unassured entries evicted for new ones: the table was full."
    ),
    _counter(
        "error",
        "packets",
        "ICMP packets that were malformed, or that reported an error of an unknown connection.",
    ),
    _counter("search_restart", "lookups", "Lookups restarted because the hash table had changed."),
    _counter(
        "clash_resolve",
        "entries",
        "New entries that clashed with another, but whose packet passed all the same.",
        "kernels before Linux 5.10 do not count it",
    ),
    _counter(
        "chaintoolong",
        "entries",
        "Entries not inserted because a hash chain was too long: there are too few buckets.",
        "kernels before Linux 5.15 do not count it",
    ),
    _counter(
        "expect_new",
        "connections",
        "Connections that a helper had expected, such as FTP's data connections.",
    ),
    _counter("expect_create", "expectations", "Expectations added."),
    _counter(
        "expect_delete",
        "expectations",
        "Expectations that ended: they were met, timed out or were deleted.",
    ),
    _counter("searched", "entries", "Entries that lookups skipped.", _RETIRED),
    _counter("new", "entries", "Entries created for packets that were not expected.", _RETIRED),
    _counter("ignore", "packets", "Packets seen that were tracked already.", _RETIRED),
    _counter("delete", "entries", "Entries freed.", _RETIRED),
    _counter("delete_list", "entries", "Entries removed from the table.", _RETIRED),
)

# net/netfilter/nf_synproxy_core.c
SYNPROXY: tuple[Metric, ...] = (
    _synproxy("syn_received", "packets", "SYNs that SYNPROXY has answered with a cookie."),
    _synproxy("cookie_valid", "packets", "ACKs with a valid cookie: the client is real."),
    _synproxy("cookie_invalid", "packets", "ACKs with an invalid or old cookie."),
    _synproxy("cookie_retrans", "packets", "ACKs with a valid cookie that arrived once more."),
    _synproxy("conn_reopened", "connections", "Closed connections that a client opened again."),
)

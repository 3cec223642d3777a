"""The counters as ctnetlink sends them: per CPU, and the table's size.

They are there on kernels without /proc/net/stat/nf_conntrack, and need CAP_NET_ADMIN.
Format: linux/netfilter/nfnetlink_conntrack.h (enum ctattr_stats_cpu, ctattr_stats_global,
ctattr_expect_stats).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from conntrack_common.ctnetlink.messages import (
    NFNL_SUBSYS_CTNETLINK,
    NFNL_SUBSYS_CTNETLINK_EXP,
    SOURCE,
    Message,
    attributes,
)
from conntrack_common.ctnetlink.socket import IPCTNL_MSG_CT_GET_STATS, NetlinkSocket
from conntrack_common.errors import MalformedData, NotAvailable
from conntrack_common.model import CpuCounters, Sysctls
from conntrack_common.proc.files import kept_counters

IPCTNL_MSG_CT_GET_STATS_CPU = 4
IPCTNL_MSG_EXP_GET_STATS_CPU = 3

CTA_STATS = {
    1: "searched",
    2: "found",
    3: "new",
    4: "invalid",
    5: "ignore",
    6: "delete",
    7: "delete_list",
    8: "insert",
    9: "insert_failed",
    10: "drop",
    11: "early_drop",
    12: "error",
    13: "search_restart",
    14: "clash_resolve",  # since Linux 5.10
    15: "chaintoolong",  # since Linux 5.15
}
CTA_STATS_EXP = {1: "expect_new", 2: "expect_create", 3: "expect_delete"}
CTA_STATS_GLOBAL = {1: "entries", 2: "limit"}  # limit: since Linux 4.18


def cpu_counters() -> tuple[CpuCounters, ...]:
    """Return each CPU's counters, as `conntrack -S` and `conntrack -S expect` show them.

    A counter newer than this module is kept as `unknownN`. Raises NotPermitted, NotAvailable,
    Interrupted, MalformedData.
    """
    with NetlinkSocket() as netlink:
        entries = netlink.dump(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET_STATS_CPU)
        by_cpu = _by_cpu(entries, CTA_STATS)
        expectations = netlink.dump(NFNL_SUBSYS_CTNETLINK_EXP, IPCTNL_MSG_EXP_GET_STATS_CPU)
        for cpu, values in _by_cpu(expectations, CTA_STATS_EXP).items():
            by_cpu.setdefault(cpu, {}).update(values)
    if not by_cpu:
        raise NotAvailable("ctnetlink lists no CPU's counters: this kernel keeps none")
    return kept_counters(by_cpu)


def table_size() -> Sysctls:
    """Return the table's count and, where the kernel says it, limit, as `conntrack -C` does.

    Raises as `cpu_counters` does.
    """
    with NetlinkSocket() as netlink:
        for message in netlink.get(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET_STATS):
            size = _numbers(message.attributes, CTA_STATS_GLOBAL)
            return Sysctls(entries=size.get("entries"), limit=size.get("limit"))
    raise NotAvailable("ctnetlink did not say the table's size")


def _by_cpu(messages: Iterable[Message], names: dict[int, str]) -> dict[int, dict[str, int]]:
    return {message.resource: _numbers(message.attributes, names) for message in messages}


def _numbers(data: bytes, names: dict[int, str]) -> dict[str, int]:
    found = {}
    for kind, payload in attributes(data):
        if len(payload) == 4:
            found[names.get(kind, f"unknown{kind}")] = struct.unpack(">I", payload)[0]
        elif kind in names:
            raise MalformedData(SOURCE, f"attribute {kind}", f"{len(payload)} bytes, not 4")
    return found

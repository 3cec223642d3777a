"""Which of netfilter's modules are there, found out without the kernel loading one.

The kernel loads nfnetlink when a NETLINK_NETFILTER socket is opened by anybody
(net/netlink/af_netlink.c, netlink_create), and a subsystem's module with the first request to it,
or with the first listener to its events (net/netfilter/nfnetlink.c); nf_conntrack comes along.
A program that only reads must not change the host, and an owner may have left a module out on
purpose: so nothing is asked before this shows that it is there.
"""

from __future__ import annotations

import os

from conntrack_common.errors import NO_CONNTRACK, NotAvailable

CTNETLINK, HOOK, NFTABLES = "nf_conntrack_netlink", "nfnetlink_hook", "nf_tables"
CONNTRACK, NFNETLINK = "nf_conntrack", "nfnetlink"
# What shows that nf_conntrack is loaded or built in; a container may hide some of them.
EVIDENCE = (
    "/proc/sys/net/netfilter/nf_conntrack_count",
    "/proc/sys/net/netfilter/nf_conntrack_max",
    "/proc/thread-self/net/stat/nf_conntrack",
    "/proc/thread-self/net/nf_conntrack",
    f"/sys/module/{CONNTRACK}",
)


def is_there(name: str) -> bool:
    """Return whether a module is loaded or built in.

    A built-in one need not be visible. It counts as built in where nf_conntrack is, unless
    this kernel's folder has it as a file to load.
    """
    loaded = _loaded()
    if name in loaded or os.path.isdir(f"/sys/module/{name}"):
        return True
    if name == CONNTRACK:
        return any(map(os.path.exists, EVIDENCE))
    return is_there(CONNTRACK) and CONNTRACK not in loaded and not _is_file(name)


def require(name: str) -> None:
    """Raise NotAvailable if asking this module's part of the kernel would load it."""
    if not is_there(CONNTRACK):
        raise NotAvailable(f"nf_conntrack is not loaded: {NO_CONNTRACK}")
    if not is_there(name):
        raise NotAvailable(
            f"{name} is not loaded, and only reading loads no module: 'modprobe {name}' loads it, "
            f"and a line '{name}' in /etc/modules-load.d/conntrack.conf at every boot"
        )


def _loaded() -> set[str]:
    try:
        with open("/proc/modules", encoding="ascii", errors="replace") as file:
            return {line.partition(" ")[0] for line in file}
    except OSError:
        return set()  # a kernel without modules: all is built in


def _is_file(name: str) -> bool:
    try:
        path = f"/lib/modules/{os.uname().release}/modules.dep"
        with open(path, encoding="utf-8", errors="replace") as file:
            return any(f"/{name}.ko" in line.partition(":")[0] for line in file)
    except OSError:
        return False

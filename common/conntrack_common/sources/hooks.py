"""Who makes the kernel track connections in this namespace.

Without a user, no hook is registered and the table stays empty. Formats:
linux/netfilter/nf_tables.h and, for the list of hooks (since Linux 5.14),
linux/netfilter/nfnetlink_hook.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from conntrack_common.errors import ConntrackError, NotAvailable, NotPermitted
from conntrack_common.model import Sysctls, Tracking
from conntrack_common.sources.netlink import (
    NFNL_SUBSYS_HOOK,
    Message,
    NetlinkSocket,
    attribute,
    attributes,
)
from conntrack_common.sources.procfs import ProcRoot

NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_HOOK_GET = 0
NFT_MSG_GETCHAIN, NFT_MSG_GETRULE = 4, 7
NFPROTO_IPV4, NFPROTO_IPV6 = 2, 10
NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT = 0, 3

NFNLA_HOOK_HOOKNUM, NFNLA_HOOK_FUNCTION_NAME = 1, 4
NFTA_CHAIN_TYPE, NFTA_RULE_EXPRESSIONS = 7, 4
NFTA_EXPR_NAME, NFTA_EXPR_DATA = 1, 2
NFTA_COMPAT_NAME = 1  # of an iptables match or target in an nft rule

# Expressions of nftables, and matches and targets of iptables-nft, that need tracking.
USERS = {
    *("ct", "connlimit", "masq", "nat", "redir", "synproxy", "flow_offload"),
    *("connbytes", "connlabel", "connlimit", "connmark", "conntrack", "ctstate", "state"),
    *("CONNMARK", "CONNSECMARK", "CT", "DNAT", "MASQUERADE", "NETMAP", "REDIRECT", "SNAT"),
}


def tracking(proc: ProcRoot, sysctls: Sysctls | ConntrackError) -> Tracking:
    """Tell whether connections are tracked in this namespace.

    The kernel's own list of hooks decides where it has one; else entries in the table, rules
    that use tracking, and a legacy nat table are evidence. It raises nothing.
    """
    if not proc.is_live:
        return Tracking(active=None, evidence="this is a copy of /proc")
    if _has_entries(sysctls):
        return Tracking(active=True, evidence="there are entries")
    try:
        with NetlinkSocket() as netlink:
            return _look(netlink, proc)
    except NotPermitted:
        return Tracking(active=None, evidence="looking at hooks and rules needs CAP_NET_ADMIN")
    except ConntrackError as error:
        return Tracking(active=None, evidence=str(error))


def _has_entries(sysctls: Sysctls | ConntrackError) -> bool:
    return isinstance(sysctls, Sysctls) and bool(sysctls.entries)


def _look(netlink: NetlinkSocket, proc: ProcRoot) -> Tracking:
    try:
        names = hook_functions(_hooks(netlink))
    except NotAvailable:
        evidence = _rules(netlink, proc)
        nothing = "no entries, and no nftables rule or nat table that needs tracking"
        return Tracking(active=bool(evidence), evidence=evidence or nothing)
    return Tracking(active=bool(names), evidence=f"hooks: {', '.join(names) or 'none'}")


def _rules(netlink: NetlinkSocket, proc: ProcRoot) -> str:
    tables = f"{proc.read('net/ip_tables_names')} {proc.read('net/ip6_tables_names')}"
    if "nat" in tables.split():
        return "an iptables nat table"
    try:
        chains = netlink.dump(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETCHAIN)
        if any(is_nat_chain(chain.attributes) for chain in chains):
            return "an nftables nat chain"
        for rule in netlink.dump(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETRULE):
            used = USERS.intersection(expressions(rule.attributes))
            if used:
                return f"an nftables rule with {', '.join(sorted(used))}"
    except NotAvailable:
        return ""  # a kernel without nftables
    return ""


def _hooks(netlink: NetlinkSocket) -> Iterator[Message]:
    for family in (NFPROTO_IPV4, NFPROTO_IPV6):
        for hook in (NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT):
            number = attribute(NFNLA_HOOK_HOOKNUM, hook.to_bytes(4, "big"))
            yield from netlink.dump(NFNL_SUBSYS_HOOK, NFNL_MSG_HOOK_GET, number, family)


def hook_functions(messages: Iterable[Message]) -> list[str]:
    """Return the names of connection tracking's own functions among registered hooks."""
    names = {
        _name(payload)
        for message in messages
        for kind, payload in attributes(message.attributes)
        if kind == NFNLA_HOOK_FUNCTION_NAME
    }
    return sorted(name for name in names if "conntrack" in name)


def is_nat_chain(chain: bytes) -> bool:
    """Tell whether a chain's attributes say that it is a base chain of type nat."""
    return any(
        kind == NFTA_CHAIN_TYPE and _name(value) == "nat" for kind, value in attributes(chain)
    )


def expressions(rule: bytes) -> Iterator[str]:
    """Yield the names of a rule's expressions, and of the iptables extensions in them."""
    for kind, expression_list in attributes(rule):
        if kind != NFTA_RULE_EXPRESSIONS:
            continue
        for _element, expression in attributes(expression_list):
            parts = dict(attributes(expression))
            name = _name(parts.get(NFTA_EXPR_NAME, b""))
            yield name
            if name in {"match", "target"}:
                compat = dict(attributes(parts.get(NFTA_EXPR_DATA, b"")))
                yield _name(compat.get(NFTA_COMPAT_NAME, b""))


def _name(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode("ascii", "replace")

"""Who makes the kernel track connections in this namespace.

Without a user, no hook is registered and packets make no entry. Formats:
linux/netfilter/nf_tables.h, nf_tables_compat.h, xt_CT.h and, for the list of hooks (since
Linux 5.14), nfnetlink_hook.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from conntrack_common.ctnetlink.messages import NFNL_SUBSYS_HOOK, Message, attribute, attributes
from conntrack_common.ctnetlink.socket import NetlinkSocket
from conntrack_common.errors import ConntrackError, NotAvailable, NotPermitted
from conntrack_common.model import Sysctls, Tracking
from conntrack_common.proc.files import ProcRoot
from conntrack_common.proc.modules import CONNTRACK, HOOK, NFNETLINK, NFTABLES, is_there, require
from conntrack_common.records import NamedTuple

NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_HOOK_GET = 0
NFT_MSG_GETRULE, NFT_MSG_GETSET, NFT_MSG_GETOBJ = 7, 10, 19
NFPROTO_INET, NFPROTO_IPV4, NFPROTO_BRIDGE, NFPROTO_IPV6 = 1, 2, 7, 10
NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT = 0, 3

NFNLA_HOOK_HOOKNUM, NFNLA_HOOK_FUNCTION_NAME = 1, 4
NFTA_RULE_EXPRESSIONS = 4
NFTA_SET_EXPR, NFTA_SET_EXPRESSIONS = 17, 18
NFTA_OBJ_TYPE = 3
NFTA_EXPR_NAME, NFTA_EXPR_DATA = 1, 2
NFTA_DYNSET_EXPR, NFTA_DYNSET_EXPRESSIONS = 7, 10
NFTA_COMPAT_NAME, NFTA_COMPAT_INFO = 1, 3  # of an iptables match or target in an nft rule
XT_CT_NOTRACK = 1

# Expressions of nftables, and matches and targets of iptables, that register the hooks (they call
# nf_ct_netns_get). A chain of type nat, a table nat and notrack do not.
USERS = {
    *("ct", "connlimit", "masq", "nat", "redir", "synproxy", "flow_offload"),
    *("cluster", "connbytes", "connlabel", "connlimit", "connmark", "conntrack", "helper", "state"),
    *("CONNMARK", "CONNSECMARK", "CT", "DNAT", "MASQUERADE", "NETMAP", "REDIRECT", "SNAT"),
    "SYNPROXY",
}
EXEMPTING = {"notrack", "NOTRACK"}
# Objects that do so whether or not a rule names them (enum NFT_OBJECT_*).
OBJECTS = {3: "ct helper", 5: "ct count", 7: "ct timeout", 9: "ct expectation", 10: "synproxy"}
BOTH = ("IPv4", "IPv6")
# Which connections a table's family is about; what it is not here for can't ask for tracking.
FAMILIES = {
    NFPROTO_INET: BOTH,
    NFPROTO_BRIDGE: BOTH,
    NFPROTO_IPV4: ("IPv4",),
    NFPROTO_IPV6: ("IPv6",),
}
LEGACY = {"IPv4": "ip_tables_names", "IPv6": "ip6_tables_names"}


class Use(NamedTuple):
    """An expression or object of nftables, and the connections that its table is about."""

    name: str
    families: tuple[str, ...]


def tracking(proc: ProcRoot, sysctls: Sysctls | ConntrackError) -> Tracking:
    """Return whether connections are tracked in this namespace.

    The kernel's own list of hooks decides where it has one, else the rules of nftables. Entries
    prove nothing: programs put some in, and they outlive the rule that tracked them. It raises
    nothing.
    """
    if not proc.is_live:
        return Tracking(active=None, evidence="this is a copy of /proc")
    if not is_there(CONNTRACK):
        return Tracking(active=False, evidence="nf_conntrack is not loaded")
    entries = sysctls.entries if isinstance(sysctls, Sysctls) else None
    try:
        if not is_there(NFNETLINK):  # nor nf_tables then
            return _inferred([], _legacy(proc), entries or 0)
        with NetlinkSocket(module=NFNETLINK) as netlink:
            return _look(netlink, proc, entries or 0)
    except NotPermitted:
        return Tracking(active=None, evidence="looking at hooks and rules needs CAP_NET_ADMIN")
    except ConntrackError as error:
        return Tracking(active=None, evidence=str(error))


def _look(netlink: NetlinkSocket, proc: ProcRoot, entries: int) -> Tracking:
    uses = list(_uses(netlink))
    try:
        require(HOOK)
        names = hook_functions(_hooks(netlink))
    except NotAvailable:
        return _inferred(uses, _legacy(proc), entries)
    evidence = f"hooks: {', '.join(names)}" if names else _unused("hook", entries)
    return Tracking(
        active=True if names else None if entries else False,
        evidence=evidence,
        families=tuple(family for family in BOTH if any(family.lower() in name for name in names)),
        exempt=any(use.name in EXEMPTING for use in uses),
    )


def _inferred(uses: list[Use], legacy: dict[str, str], entries: int) -> Tracking:
    exempt = any(use.name in EXEMPTING for use in uses)
    using = [use for use in uses if use.name not in EXEMPTING]
    families = tuple(family for family in BOTH if any(family in use.families for use in using))
    unread = ", ".join(tables for family, tables in legacy.items() if family not in families)
    if families:
        names = sorted({use.name for use in using})
        evidence = f"nftables: {', '.join(names)}"
        return Tracking(
            active=True, evidence=evidence, families=families, exempt=exempt, unread=unread
        )
    if unread:
        evidence = (
            f"the rules in {unread} can't be read; a list of hooks would do, if this kernel has "
            "one: modprobe nfnetlink_hook"
        )
        return Tracking(None, evidence, unread=unread)
    return Tracking(None if entries else False, _unused("nftables rule", entries))


def _unused(what: str, entries: int) -> str:
    if not entries:
        return f"no {what} for it"
    return (
        f"no {what} for it; the table's entries ({entries}) were put in by a program, have "
        "outlived their rules, or are Open vSwitch's or tc's"
    )


def _legacy(proc: ProcRoot) -> dict[str, str]:
    """Return the tables of iptables-legacy and ip6tables-legacy, by address family."""
    found = {}
    for family, name in LEGACY.items():
        tables = (proc.read(f"thread-self/net/{name}") or "").split()
        if tables:
            program = "iptables" if family == "IPv4" else "ip6tables"
            found[family] = f"{program}-legacy's tables {', '.join(sorted(tables))}"
    return found


def _uses(netlink: NetlinkSocket) -> Iterator[Use]:
    """Yield the expressions and objects of nftables that use tracking, or exempt from it."""
    if not is_there(NFTABLES):
        return
    try:
        for rule in netlink.dump(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETRULE):
            yield from _named(rule, expressions(rule.attributes, NFTA_RULE_EXPRESSIONS))
        for found in netlink.dump(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETSET):
            yield from _named(found, expressions(found.attributes, NFTA_SET_EXPRESSIONS))
            yield from _named(found, expressions(_listed(found.attributes, NFTA_SET_EXPR), 1))
        for found in netlink.dump(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETOBJ):
            number = dict(attributes(found.attributes)).get(NFTA_OBJ_TYPE, b"")
            name = OBJECTS.get(int.from_bytes(number, "big"))
            if name:
                yield Use(name, FAMILIES.get(found.family, ()))
    except NotAvailable:
        return  # a kernel without nftables


def _named(message: Message, names: Iterable[str]) -> Iterator[Use]:
    families = FAMILIES.get(message.family, ())
    yield from (Use(name, families) for name in names if name in USERS | EXEMPTING)


def _hooks(netlink: NetlinkSocket) -> Iterator[Message]:
    for family in (NFPROTO_IPV4, NFPROTO_IPV6):
        for hook in (NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT):
            number = attribute(NFNLA_HOOK_HOOKNUM, hook.to_bytes(4, "big"))
            yield from netlink.dump(NFNL_SUBSYS_HOOK, NFNL_MSG_HOOK_GET, number, family)


def hook_functions(messages: Iterable[Message]) -> list[str]:
    """Return the names of connection tracking's own functions among registered hooks.

    ipv4_conntrack_defrag is none of them: it only puts fragments together, for TPROXY, too. Raises
    NotAvailable where the kernel does not name its hooks (CONFIG_KALLSYMS).
    """
    hooks = [dict(attributes(message.attributes)) for message in messages]
    names = {_name(hook.get(NFNLA_HOOK_FUNCTION_NAME, b"")) for hook in hooks}
    if "" in names:
        raise NotAvailable("this kernel does not name its hooks")
    own = ("_conntrack_in", "_conntrack_local")
    return sorted(name for name in names if name.partition(".")[0].endswith(own))


def expressions(data: bytes, kind: int) -> Iterator[str]:
    """Yield the names of the expressions in attributes of that kind, and of those inside of them.

    Inside are iptables' matches and targets, and what a rule does to elements of a set.
    """
    for found, expression_list in attributes(data):
        if found != kind:
            continue
        for _element, expression in attributes(expression_list):
            parts = dict(attributes(expression))
            name, inside = _name(parts.get(NFTA_EXPR_NAME, b"")), parts.get(NFTA_EXPR_DATA, b"")
            yield name
            if name in {"match", "target"}:
                yield _extension(dict(attributes(inside)))
            elif name == "dynset":
                yield from expressions(inside, NFTA_DYNSET_EXPRESSIONS)
                yield from expressions(_listed(inside, NFTA_DYNSET_EXPR), 1)


def _listed(data: bytes, kind: int) -> bytes:
    """Return a list that holds the one expression in attributes of that kind."""
    alone = (value for found, value in attributes(data) if found == kind)
    return b"".join(attribute(1, attribute(1, value)) for value in alone)


def _extension(parts: dict[int, bytes]) -> str:
    name, info = _name(parts.get(NFTA_COMPAT_NAME, b"")), parts.get(NFTA_COMPAT_INFO, b"")
    if name == "CT" and len(info) >= 2 and struct.unpack_from("=H", info)[0] & XT_CT_NOTRACK:
        return "NOTRACK"
    return name


def _name(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode("ascii", "replace")

"""The Helper block of conntrackd.conf: helpers that conntrackd loads, or refuses.

Source: conntrack-tools src/read_config_yy.y, src/helpers/: each helper's name, and the protocols
that it knows; its one policy has the helper's name.
"""

from __future__ import annotations

from conntrack_common.conntrackd.conf_syntax import Statement, refuse

HELPERS = {
    "amanda": ("udp",),
    "dhcpv6": ("udp",),
    "ftp": ("tcp",),
    "mdns": ("udp",),
    "rpc": ("tcp", "udp"),
    "sane": ("tcp",),
    "slp": ("udp",),
    "ssdp": ("tcp", "udp"),
    "tftp": ("udp",),
    "tns": ("tcp",),
}
LONGEST_POLICY = 16  # bytes


def check_helper(path: str, helper: Statement) -> None:
    """Refuse the helpers of a block that conntrackd would not load; raises InvalidRequest.

    A policy may belong to the type after its block, since conntrackd keeps it until then.
    """
    waiting: list[Statement] = []
    _check(path, helper.block, waiting)


def _check(path: str, block: tuple[Statement, ...], waiting: list[Statement]) -> None:
    for statement in block:
        if statement.name == "Policy":
            if not statement.block:
                refuse(path, statement.line, f"Policy {statement.value} is empty")
            waiting.append(statement)
        elif statement.name == "Type":
            _check(path, statement.block, waiting)
            _check_type(path, statement)
            for policy in waiting:
                if policy.value != statement.value:
                    problem = f"helper {statement.value} has no policy {policy.value}"
                    refuse(path, policy.line, problem)
            waiting.clear()


def _check_type(path: str, statement: Statement) -> None:
    name, family, protocol = (word.text for word in statement.words[1:])
    if family not in ("inet", "inet6"):
        refuse(path, statement.line, f"{family} is neither inet nor inet6")
    if protocol not in ("tcp", "udp"):
        refuse(path, statement.line, f"{protocol} is neither tcp nor udp")
    if protocol not in HELPERS.get(name, ()):
        known = ", ".join(HELPERS)
        refuse(
            path, statement.line, f"there is no helper {name} for {protocol} (known are {known})"
        )

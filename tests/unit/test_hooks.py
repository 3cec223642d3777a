"""Who uses connection tracking, by the attributes of nftables' chains and rules."""

from __future__ import annotations

import sys

import pytest

from conntrack_common.ctnetlink.messages import Message, attribute
from conntrack_common.errors import NotAvailable
from conntrack_common.host.hooks import USERS, expressions, hook_functions


def expression(name: str, data: bytes = b"") -> bytes:
    return attribute(1, attribute(1, name.encode() + b"\0") + attribute(2, data))


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (["ct", "cmp", "counter"], {"ct"}),
        (["payload", "cmp", "masq"], {"masq"}),
        (["meta", "cmp", "immediate"], set()),
    ],
)
def test_expressions_that_need_tracking(names: list[str], used: set[str]) -> None:
    rule = attribute(1, b"table\0") + attribute(4, b"".join(map(expression, names)))
    assert list(expressions(rule, 4)) == names
    assert used == USERS & set(names)


def test_iptables_extensions_are_found_inside() -> None:
    match = expression("match", attribute(1, b"conntrack\0") + attribute(2, b"\0\0\0\3"))
    target = expression("target", attribute(1, b"MASQUERADE\0"))
    rule = attribute(4, match + target)
    assert list(expressions(rule, 4)) == ["match", "conntrack", "target", "MASQUERADE"]


def test_a_target_that_exempts_is_told_from_one_that_tracks() -> None:
    for flags, name in ((b"\1\0", "NOTRACK"), (b"\0\0", "CT"), (b"", "CT")):
        native = flags if sys.byteorder == "little" else flags[::-1]
        target = expression("target", attribute(1, b"CT\0") + attribute(3, native))
        assert list(expressions(attribute(4, target), 4)) == ["target", name]


def test_what_a_rule_does_to_elements_of_a_set_is_looked_at() -> None:
    one = attribute(1, b"connlimit\0")
    several = expression("dynset", attribute(10, attribute(1, one)))
    alone = expression("dynset", attribute(7, one))
    for found in (several, alone):
        assert list(expressions(attribute(4, found), 4)) == ["dynset", "connlimit"]


def test_hooks_of_connection_tracking_are_told_from_others() -> None:
    def hooks(*names: str) -> list[Message]:
        return [Message(2, 0, attribute(4, name.encode() + b"\0")) for name in names]

    tracking = hooks("ipv4_conntrack_in", "nft_do_chain_inet", "ipv4_conntrack_in")
    assert hook_functions(tracking) == ["ipv4_conntrack_in"]
    assert hook_functions(hooks("ipv6_conntrack_local.cfi")) == ["ipv6_conntrack_local.cfi"]
    assert hook_functions(hooks("ipv4_conntrack_defrag", "nf_nat_ipv4_pre_routing")) == []
    with pytest.raises(NotAvailable):
        hook_functions([Message(2, 0, b"")])

"""Who uses connection tracking, by the attributes of nftables' chains and rules."""

from __future__ import annotations

import pytest

from conntrack_common.sources.hooks import USERS, expressions, hook_functions, is_nat_chain
from conntrack_common.sources.netlink import Message, attribute


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
    assert list(expressions(rule)) == names
    assert used == USERS & set(names)


def test_iptables_extensions_are_found_inside() -> None:
    match = expression("match", attribute(1, b"conntrack\0") + attribute(2, b"\0\0\0\3"))
    target = expression("target", attribute(1, b"MASQUERADE\0"))
    rule = attribute(4, match + target)
    assert list(expressions(rule)) == ["match", "conntrack", "target", "MASQUERADE"]


def test_a_nat_chain_is_told_from_a_filter_chain() -> None:
    assert is_nat_chain(attribute(3, b"post\0") + attribute(7, b"nat\0"))
    assert not is_nat_chain(attribute(7, b"filter\0"))
    assert not is_nat_chain(attribute(3, b"nat\0"))


def test_hooks_of_connection_tracking_are_told_from_others() -> None:
    messages = [
        Message(2, 0, attribute(4, name))
        for name in (b"ipv4_conntrack_in\0", b"nft_do_chain_inet\0", b"ipv4_conntrack_in\0")
    ]
    assert hook_functions(messages) == ["ipv4_conntrack_in"]

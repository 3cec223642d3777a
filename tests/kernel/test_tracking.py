"""What doctor says about tracking, against a ping over loopback and the table after it.

Where the kernel lists its hooks (nfnetlink_hook) they decide, elsewhere rules do: both must agree
with the table, or doctor says that it is unknown.
"""

from __future__ import annotations

import json
import re
import shutil

import pytest

import fill
import oracle
from installation import command, python_path
from namespaces import Namespace

pytestmark = pytest.mark.kernel

RULE = "table {0} t {{ chain c {{ type {1} hook {2} priority 0; {3}; }}; }}"
SET = "set s {{ type ipv4_addr; flags dynamic; {0} }};"
FLOWS = "flowtable f { hook ingress priority 0; devices = { lo }; };"
NFT = {
    "nothing": "",
    "an empty nat chain": "table ip t { chain c { type nat hook postrouting priority 0; }; }",
    "empty nat chains": "table inet t { chain c { type nat hook postrouting priority 0; }; }",
    "masquerade": RULE.format("ip", "nat", "postrouting", "oifname x masquerade"),
    "masquerade, inet": RULE.format("inet", "nat", "postrouting", "oifname x masquerade"),
    "snat": RULE.format("ip", "nat", "postrouting", "oifname x snat to 10.0.0.1"),
    "dnat, IPv6": RULE.format("ip6", "nat", "prerouting", "iifname x dnat to ::2"),
    "redirect": RULE.format("ip", "nat", "prerouting", "tcp dport 9 redirect to :10"),
    **{
        f"ct in {family}": RULE.format(family, "filter", "input", "ct state new counter")
        for family in ("inet", "ip", "ip6")
    },
    "ct in a chain that no hook calls": "table ip t { chain c { ct state new; }; }",
    "ct in a table that sleeps": RULE.format("ip", "filter", "input", "ct state new").replace(
        "chain", "flags dormant; chain", 1
    ),
    "ct in a verdict map": RULE.format("inet", "filter", "input", "ct state vmap { new : accept }"),
    "ct as what a map gives": RULE.format(
        "ip6", "filter", "input", "ct mark set meta mark map { 1 : 2 }"
    ),
    "notrack alone": RULE.format("inet", "filter", "output", "notrack"),
    "tproxy": RULE.format("ip", "filter", "prerouting", "tcp dport 9 tproxy to :10"),
    "socket": RULE.format("ip", "filter", "prerouting", "socket transparent 1 accept"),
    "ct count": RULE.format("ip", "filter", "input", "ct count over 20 drop"),
    "ct count of a set's elements": f"table ip t {{ {SET.format('')} chain c {{ type filter hook "
    "input priority 0; add @s { ip saddr ct count over 20 } drop; }; }",
    "ct count in a set": f"table ip t {{ {SET.format('ct count over 3;')} }}",
    "a set of marks": "table inet t { set s { typeof ct mark; }; }",
    "a helper that no rule names": 'table ip t { ct helper f { type "ftp" protocol tcp; }; }',
    "a time-out that no rule names": "table ip t { ct timeout f { protocol tcp; l3proto ip; "
    "policy = { established : 100 }; }; }",
    "an expectation that no rule names": "table ip t { ct expectation f { protocol tcp; dport 9; "
    "timeout 1m; size 2; l3proto ip; }; }",
    "a synproxy that no rule names": "table ip t { synproxy f { mss 1460; wscale 7; }; }",
    "synproxy": RULE.format("ip", "filter", "input", "tcp dport 9 synproxy mss 1460 wscale 7"),
}
# Not every kernel takes these.
MAYBE = {
    "ct in bridge": RULE.format("bridge", "filter", "input", "ct state new counter"),
    "a flowtable": f"table inet t {{ {FLOWS} }}",
    "a flow that is offloaded": f"table inet t {{ {FLOWS} chain c {{ type filter hook forward "
    "priority 0; flow add @f; }; }",
}
XTABLES = {
    "-t nat -L": False,
    "-t nat -A POSTROUTING -o x -j MASQUERADE": True,
    "-t nat -A POSTROUTING -o x -j NETMAP --to 10.0.0.0/8": True,
    "-A INPUT -m state --state NEW": True,
    "-A INPUT -m conntrack --ctstate NEW": True,
    "-A INPUT -m helper --helper ftp": True,
    "-A INPUT -m connmark --mark 1": True,
    "-A INPUT -m connlabel --label 1": True,
    "-A INPUT -p tcp -m connlimit --connlimit-above 9 -j DROP": True,
    "-A INPUT -m connbytes --connbytes 1: --connbytes-dir both --connbytes-mode packets": True,
    "-A INPUT -m cluster --cluster-total-nodes 2 --cluster-local-node 1 "
    "--cluster-hash-seed 1": True,
    "-A INPUT -p tcp -j SYNPROXY --mss 1460": True,
    "-t mangle -A PREROUTING -j CONNMARK --save-mark": True,
    "-t mangle -A PREROUTING -j CONNSECMARK --save": True,
    "-t mangle -A PREROUTING -p tcp -j TPROXY --on-port 9": False,
    "-t mangle -A PREROUTING -p tcp -m socket": False,
    "-t raw -A PREROUTING -j CT --zone 4": True,
    "-t raw -A PREROUTING -j CT --notrack": False,
}


def tracked(namespace: Namespace) -> set[str]:
    """The families of which a ping makes an entry."""
    for address in ("127.0.0.1", "::1"):
        namespace.must("ping", "-c1", "-W5", address)
    words = {line.split()[0] for line in oracle.listing(namespace)}
    return {family for word, family in (("icmp", "IPv4"), ("icmpv6", "IPv6")) if word in words}


def said(namespace: Namespace) -> tuple[str, str]:
    """The status and the sentence of doctor."""
    words = [*command("conntrack-stat"), "doctor", "--json"]
    found = json.loads(namespace.run(words, env=python_path()).stdout)["checks"]
    check = next(check for check in found if check["id"] == "tracking")
    return check["status"], check["message"]


def families(message: str) -> set[str]:
    """The families that a sentence calls tracked."""
    named = re.match(r"(?:(IPv[46]) )?connections are tracked", message)
    return set() if not named else {named[1]} if named[1] else {"IPv4", "IPv6"}


def agreed(namespace: Namespace) -> tuple[str, str]:
    """Doctor's words, when a ping has proved them."""
    status, message = said(namespace)
    assert status == ("ok" if families(message) else "warning"), message
    assert families(message) == tracked(namespace), message
    return status, message


@pytest.mark.parametrize("case", NFT)
def test_nftables(case: str) -> None:
    with Namespace(tracking=False) as namespace:
        namespace.rules(NFT[case])
        agreed(namespace)


@pytest.mark.parametrize("case", MAYBE)
def test_nftables_that_this_kernel_may_refuse(case: str) -> None:
    with Namespace(tracking=False) as namespace:
        namespace.run(["nft", "-f", "-"], stdin=MAYBE[case])
        agreed(namespace)


@pytest.mark.parametrize("rule", XTABLES)
def test_iptables_nft(rule: str) -> None:
    if not shutil.which("iptables-nft"):
        pytest.skip("iptables is not installed")
    with Namespace(tracking=False) as namespace:
        namespace.must("iptables-nft", *rule.split())
        _status, message = agreed(namespace)
    assert (families(message) == {"IPv4"}) == XTABLES[rule]


@pytest.mark.parametrize("rule", XTABLES)
def test_iptables_legacy_is_known_by_hooks_or_not_at_all(rule: str) -> None:
    if not shutil.which("iptables-legacy"):
        pytest.skip("iptables is not installed")
    with Namespace(tracking=False) as namespace:
        if namespace.run(["iptables-legacy", *rule.split()]).returncode:
            pytest.skip("this kernel has no iptables-legacy")
        status, message = said(namespace)
        found = tracked(namespace)
        assert (found == {"IPv4"}) == XTABLES[rule]
        if "hooks:" in message or "no hook" in message:
            assert families(message) == found, message
        else:
            assert (status, "iptables-legacy's tables" in message) == ("unknown", True), message


def test_packets_that_rules_exempt_are_told() -> None:
    every = "table inet n {{ chain {0} {{ type filter hook {0} priority raw; notrack; }}; }}"
    with Namespace() as namespace:
        for hook in ("output", "prerouting"):
            namespace.rules(every.format(hook))
        assert tracked(namespace) == set()
        status, message = said(namespace)
    assert (status, "exempt by notrack" in message) == ("ok", True), message


def test_entries_that_a_program_put_in_prove_nothing() -> None:
    with Namespace(tracking=False) as namespace:
        with namespace.entered(), fill.Filler() as filler:
            assert not filler.insert([fill.assured(1), fill.assured(2)])
        status, message = said(namespace)
        assert tracked(namespace) == set()
    assert (status, "entries (2)" in message) == ("unknown", True), message


def test_entries_that_outlive_their_rule_prove_nothing() -> None:
    with Namespace() as namespace:
        assert tracked(namespace) == {"IPv4", "IPv6"}
        namespace.must("nft", "flush", "ruleset")
        before = oracle.count(namespace)
        status, message = said(namespace)
        tracked(namespace)
        assert oracle.count(namespace) == before > 0
    assert status == "unknown", message


def test_without_rights_it_can_not_be_told(namespace: Namespace) -> None:
    tracked(namespace)
    words = [*command("conntrack-stat"), "doctor", "--json"]
    done = namespace.run(words, user="nobody", env=python_path())
    if done.returncode == 126 or not done.stdout:
        pytest.skip("nobody may not read this tree")
    found = {check["id"]: check for check in json.loads(done.stdout)["checks"]}["tracking"]
    assert (found["status"], "CAP_NET_ADMIN" in found["message"]) == ("unknown", True)

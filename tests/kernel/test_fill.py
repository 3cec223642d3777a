"""The tests' own means: what the filler says is what the kernel holds; real states do arise."""

from __future__ import annotations

import re
from collections import Counter

import pytest

import oracle
import traffic
from namespaces import Filled

pytestmark = pytest.mark.kernel
STATUS = ("UNREPLIED", "ASSURED")


def test_truth_of_the_filler_is_what_conntrack_lists(filled: Filled) -> None:
    lines = oracle.listing(filled.namespace)
    words = [line.split() for line in lines]
    v6 = sum(":" in line for line in lines)
    listed = {
        "entries": len(lines),
        "protocol": Counter(word[0] for word in words),
        "family": {"ipv6": v6, "ipv4": len(lines) - v6},
        "tcp_state": Counter(word[3] for word in words if word[0] == "tcp"),
        "status": {name: sum(f"[{name}]" in line for line in lines) for name in STATUS},
        "zone": Counter(_after("zone=", line) for line in lines),
        "mark": Counter(_after("mark=", line) for line in lines),
    }
    assert listed == filled.truth
    # A whole run in a machine without KVM takes an hour or two.
    assert all(43200 < int(word[2]) <= 86400 for word in words), "every entry lives for a day"


def _after(prefix: str, line: str) -> str:
    match = re.search(rf" {prefix}(\d+)", line)
    return match[1] if match else "0"


def test_real_connections_show_their_states() -> None:
    with traffic.connections() as namespace:
        lines = oracle.listing(namespace)
        for pattern in traffic.EXPECTED:
            assert sum(bool(re.search(pattern, line)) for line in lines) == 1, (pattern, lines)
        assert len(lines) == len(traffic.EXPECTED)

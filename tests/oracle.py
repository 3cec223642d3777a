"""What conntrack(8) says about a namespace: the truth that our numbers are compared with."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from namespaces import Namespace

Ours = TypeVar("Ours")
Theirs = TypeVar("Theirs")
Statistics = dict[int, dict[str, int]]


def count(namespace: Namespace) -> int:
    """`conntrack -C`"""
    return int(namespace.must("conntrack", "-C"))


def statistics(namespace: Namespace) -> Statistics:
    """`conntrack -S`: each CPU's counters by conntrack(8)'s names."""
    rows = {}
    for line in namespace.must("conntrack", "-S").splitlines():
        pairs = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}
        rows[pairs.pop("cpu")] = pairs
    return rows


def total(rows: Statistics, name: str) -> int:
    return sum(row[name] for row in rows.values())


def listing(namespace: Namespace) -> list[str]:
    """`conntrack -L`: IPv4 and IPv6, one line an entry."""
    return namespace.must("conntrack", "-L").splitlines()


def sysctl(namespace: Namespace, name: str) -> int:
    return int(namespace.must("sysctl", "-n", f"net.netfilter.nf_conntrack_{name}"))


def agreed(theirs: Callable[[], Theirs], ours: Callable[[], Ours]) -> tuple[Theirs, Ours]:
    """Read both, the oracle before and after: only a pair between which nothing changed counts."""
    for _attempt in range(10):
        before, found, after = theirs(), ours(), theirs()
        if before == after:
            return before, found
    raise AssertionError("the table never kept still between two readings of the oracle")


def timeless(text: str) -> list[str]:
    """Return lines without what differs between two lists of one table, and in no order.

    Those are the time left and delta-time, and use=, in which older kernels count the dump itself.
    """
    lines = [re.sub(r"^((?:ipv\d +\d+ )?\w+ +\d+) \d+", r"\1", line) for line in text.splitlines()]
    return sorted(re.sub(r" (use|delta-time)=\d+", "", line) for line in lines)

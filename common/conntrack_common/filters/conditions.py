"""Conditions on an entry's fields with many values: addresses, ports, marks, labels, translations.

Each is bound to the places of its fields in a tuple of values, and then asked for entry by entry: a
condition is one call, and looks at no more than it needs.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from conntrack_common.host.connlabels import label_bits
from conntrack_common.records import NamedTuple
from conntrack_common.terms import STATUS_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = tuple[Any, ...]
    Holds = Callable[[Values], bool]


class Network(NamedTuple):
    """An address, or all that are alike under a mask; both hold 4 or 16 bytes."""

    address: bytes
    mask: bytes

    @property
    def family(self) -> int:
        """The addresses' family."""
        return int(socket.AF_INET if len(self.address) == 4 else socket.AF_INET6)

    @property
    def is_one(self) -> bool:
        """True for a single address."""
        return self.mask == b"\xff" * len(self.mask)

    def holds(self, at: int) -> Holds:
        """Return what tests whether the address at this place of a tuple of values matches."""
        wanted, size = self.address, len(self.address)
        if self.is_one:
            return lambda values: values[at] == wanted
        mask = int.from_bytes(self.mask, "big")
        network = int.from_bytes(self.address, "big") & mask

        def is_within(values: Values) -> bool:
            address = values[at]
            return (
                address is not None
                and len(address) == size
                and int.from_bytes(address, "big") & mask == network
            )

        return is_within


class Nat(NamedTuple):
    """What an end was translated to; None is any."""

    network: Network | None = None
    port: int | None = None


class End(NamedTuple):
    """An end of a connection: the flag that shows that NAT has decided on it, and its fields.

    `reply` are the fields that have the values of `orig` unless it was translated. This decides,
    as in conntrack(8), and not SRC_NAT and DST_NAT: IPVS sets no such flags.
    """

    done: int
    orig: tuple[str, ...]
    reply: tuple[str, ...]


SOURCE = End(
    STATUS_FLAGS["SRC_NAT_DONE"],
    ("orig_src", "orig_sport", "orig_icmp_id"),
    ("reply_dst", "reply_dport", "reply_icmp_id"),
)
DESTINATION = End(
    STATUS_FLAGS["DST_NAT_DONE"], ("orig_dst", "orig_dport"), ("reply_src", "reply_sport")
)


class Requirement(NamedTuple):
    """What fields must be; `bind` takes the place of each, and returns what tests a tuple."""

    fields: tuple[str, ...]
    bind: Callable[..., Holds]


def all_of(tests: list[Holds]) -> Holds:
    """Return the test whether all of these hold; there is one at least."""
    if len(tests) == 1:
        return tests[0]

    def hold(values: Values) -> bool:
        for holds in tests:  # noqa: SIM110 - all() of a generator takes twice as long
            if not holds(values):
                return False
        return True

    return hold


def equal(wanted: int) -> Callable[[int], Holds]:
    """Return what binds the test for one value."""
    return lambda at: lambda values: values[at] == wanted


def masked(value: int, mask: int) -> Callable[[int], Holds]:
    """Return what binds the test for a value under a mask; one that is absent is 0."""
    return lambda at: lambda values: (values[at] or 0) & mask == value


def labelled(bits: int) -> Callable[[int], Holds]:
    """Return what binds the test for labels that must be set."""
    return lambda at: lambda values: label_bits(values[at]) & bits == bits


def translated(nat: Nat, *ends: End) -> Requirement:
    """Return the test whether one of these ends was translated, and to what is wanted."""
    fields = [field for end in ends for field in ("status", *end.orig, *end.reply)]

    def bind(*places: int) -> Holds:
        rest = iter(places)
        tests = []
        for end in ends:
            status = next(rest)
            orig = [next(rest) for _field in end.orig]
            reply = [next(rest) for _field in end.reply]
            to = [] if nat.network is None else [nat.network.holds(reply[0])]
            to += [] if nat.port is None else [equal(nat.port)(reply[1])]
            tests.append(all_of([masked(end.done, end.done)(status), _differ(orig, reply), *to]))
        return lambda values: any(test(values) for test in tests)

    return Requirement(tuple(fields), bind)


def _differ(some: list[int], others: list[int]) -> Holds:
    pairs = list(zip(some, others))
    return lambda values: any(values[one] != values[other] for one, other in pairs)

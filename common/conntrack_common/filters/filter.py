"""conntrack(8)'s filters: which entries of the table match.

Meaning: conntrack(8), "FILTER PARAMETERS", and filter_nat and nfct_filter of conntrack-tools'
src/conntrack.c. The kernel leaves out what it can (ctnetlink/kernel_filter.py), and everything is
tested here once more: kernels that can do less give the same answer, slower.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping

from conntrack_common.ctnetlink.dump import ALL, Request
from conntrack_common.ctnetlink.kernel_filter import Wanted
from conntrack_common.errors import InvalidRequest
from conntrack_common.filters.conditions import (
    DESTINATION,
    SOURCE,
    Nat,
    Network,
    Requirement,
    all_of,
    equal,
    labelled,
    masked,
    translated,
)
from conntrack_common.records import NamedTuple
from conntrack_common.terms import GRE, STATES, state_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from conntrack_common.filters.conditions import Holds

ANY_FAMILY = 0  # AF_UNSPEC
NETWORKS = ("orig_src", "orig_dst", "reply_src", "reply_dst")
PORTS = ("orig_sport", "orig_dport", "reply_sport", "reply_dport")
ZONES = ("zone", "orig_zone", "reply_zone")
NATS = ("src_nat", "dst_nat", "any_nat")
# Fields of Filter, and those of a message that must have the same value: with few values, and with
# many.
FEW = {
    "family": "family",
    "protocol": "orig_protocol",
    "icmp_type": "orig_icmp_type",
    "icmp_code": "orig_icmp_code",
    **{name: name for name in ZONES},
}
MANY = {**{name: name for name in PORTS}, "icmp_id": "orig_icmp_id"}


class Filter(NamedTuple):
    """Which entries match; None leaves a field open.

    `status` are flags that must be set and flags that must not be; `mark` is a value and its mask;
    `labels` are bits that must be set; `secmark` is a security context's name, or its number.
    `zone` is the zone of both directions, 0 if an entry has none.
    """

    family: int | None = None
    protocol: int | None = None
    state: str | None = None
    orig_src: Network | None = None
    orig_dst: Network | None = None
    reply_src: Network | None = None
    reply_dst: Network | None = None
    orig_sport: int | None = None
    orig_dport: int | None = None
    reply_sport: int | None = None
    reply_dport: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    icmp_id: int | None = None
    status: tuple[int, int] = (0, 0)
    mark: tuple[int, int] | None = None
    labels: int = 0
    secmark: int | str | None = None
    zone: int | None = None
    orig_zone: int | None = None
    reply_zone: int | None = None
    src_nat: Nat | None = None
    dst_nat: Nat | None = None
    any_nat: Nat | None = None

    @property
    def flags(self) -> tuple[int, int]:
        """The status flags that must be set, those of NAT among them, and those that must not."""
        required, forbidden = self.status
        required |= 0 if self.src_nat is None else SOURCE.done
        required |= 0 if self.dst_nat is None else DESTINATION.done
        return required, forbidden

    @property
    def families(self) -> tuple[int, ...]:
        """The address families that can match: both, one, or none."""
        nats = [nat for name in NATS if (nat := getattr(self, name)) is not None]
        networks = [getattr(self, name) for name in NETWORKS] + [nat.network for nat in nats]
        wanted = {network.family for network in networks if network is not None}
        wanted |= {self.family} if self.family is not None else set()
        both = (int(socket.AF_INET), int(socket.AF_INET6))
        return tuple(family for family in both if wanted <= {family})

    @property
    def _is_about_ports(self) -> bool:
        """True where a port is wanted and GRE's keys, which have the same fields, are not."""
        return self.protocol is None and any(getattr(self, name) is not None for name in PORTS)

    @property
    def key(self) -> tuple[str, ...]:
        """The fields with few values that `accepts` looks at."""
        names = [field for name, field in FEW.items() if getattr(self, name) is not None]
        names += ["orig_protocol"] if self._is_about_ports else []
        names += ["status"] if self.flags != (0, 0) or self.any_nat is not None else []
        names += STATES if self.state is not None else ()
        names += ["secctx"] if self.secmark is not None else []
        return tuple(names)

    def accepts(self, fields: Mapping[str, Any]) -> bool:
        """Return whether entries whose `key` fields have these values match.

        Raises InvalidRequest if that can't be known: the number of a context that has a name.
        """
        required, forbidden = self.flags
        status = fields.get("status", 0)
        return (
            all(
                fields.get(field, 0 if name in ZONES else None) == getattr(self, name)
                for name, field in FEW.items()
                if getattr(self, name) is not None
            )
            and not (self._is_about_ports and fields.get("orig_protocol") == GRE)
            and (self.state is None or state_name(fields) == self.state)
            and status & required == required
            and not status & forbidden
            and (self.any_nat is None or bool(status & (SOURCE.done | DESTINATION.done)))
            and (self.secmark is None or _has_context(self.secmark, fields.get("secctx")))
        )

    @property
    def tested(self) -> tuple[str, ...]:
        """The fields with many values that `test` looks at, in its order."""
        return tuple(dict.fromkeys(field for test in self._tests() for field in test.fields))

    @property
    def test(self) -> Holds | None:
        """What tests whether an entry whose `tested` fields have these values matches."""
        at = self.tested.index
        tests = [test.bind(*map(at, test.fields)) for test in self._tests()]
        return all_of(tests) if tests else None

    def _tests(self) -> Iterator[Requirement]:
        for name in NETWORKS:
            if (network := getattr(self, name)) is not None:
                yield Requirement((name,), network.holds)
        for name, field in MANY.items():
            if (number := getattr(self, name)) is not None:
                yield Requirement((field,), equal(number))
        if self.mark is not None:
            yield Requirement(("mark",), masked(*self.mark))
        if self.labels:
            yield Requirement(("labels",), labelled(self.labels))
        if self.src_nat is not None:
            yield translated(self.src_nat, SOURCE)
        if self.dst_nat is not None:
            yield translated(self.dst_nat, DESTINATION)
        if self.any_nat is not None:
            yield translated(self.any_nat, SOURCE, DESTINATION)

    def requests(self) -> tuple[Request, ...]:
        """Return the dumps to ask for, filtered as far as the kernel can."""
        wanted, families = self._wanted(), self.families
        if len(families) > 1 and not wanted.needs_family():
            families = (ANY_FAMILY,)
        return tuple(Request(family, wanted.attributes(family)) for family in families)

    def plain_requests(self) -> tuple[Request, ...]:
        """Return the dumps to ask a kernel for that refuses a filter."""
        return tuple(map(Request, self.families)) if len(self.families) < 2 else ALL

    def _wanted(self) -> Wanted:
        src, dst = (
            network.address if network is not None and network.is_one else None
            for network in (self.orig_src, self.orig_dst)
        )
        zones = [zone for name in ZONES if (zone := getattr(self, name)) is not None]
        return Wanted(
            self.flags,
            self.mark,
            max(zones, default=None),  # an entry has one zone, for one direction or for both
            src,
            dst,
            self.protocol,
            self.orig_sport,
            self.orig_dport,
        )


def _has_context(wanted: int | str, context: bytes | None) -> bool:
    """Return whether an entry's security context is that of a --secmark."""
    if context is None:
        return wanted == 0
    name = context.rstrip(b"\0").decode("utf-8", "replace")
    if isinstance(wanted, int):
        raise InvalidRequest(
            f"--secmark {wanted}: the kernel shows contexts by name and not by number: "
            f"give the name, such as {name}"
        )
    return name == wanted

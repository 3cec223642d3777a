"""A whole entry of the table, in netfilter's own terms."""

from __future__ import annotations

from conntrack_common.records import NamedTuple


class Tuple(NamedTuple):
    """One direction of a connection; what its protocol does not have is None.

    For GRE the ports are the call keys.
    """

    src: str
    dst: str
    sport: int | None = None
    dport: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    icmp_id: int | None = None
    zone: int | None = None
    packets: int | None = None
    bytes: int | None = None


class Entry(NamedTuple):
    """One tracked connection.

    `status` are flags (terms.STATUS_FLAGS), `timeout` is in seconds, `start` and `stop` in
    nanoseconds since 1970. What the kernel did not send is None: no accounting, no timestamps,
    no protocol information (offloaded flows).
    """

    family: str
    protocol: int
    state: str | None
    orig: Tuple
    reply: Tuple
    status: int
    timeout: int | None = None
    mark: int | None = None
    zone: int | None = None
    helper: str | None = None
    secctx: str | None = None
    labels: bytes | None = None
    use: int | None = None
    id: int | None = None
    start: int | None = None
    stop: int | None = None

    @property
    def packets(self) -> int | None:
        """Packets both ways."""
        return _sum(self.orig.packets, self.reply.packets)

    @property
    def bytes(self) -> int | None:
        """Bytes both ways."""
        return _sum(self.orig.bytes, self.reply.bytes)


def _sum(there: int | None, back: int | None) -> int | None:
    return None if there is None and back is None else (there or 0) + (back or 0)

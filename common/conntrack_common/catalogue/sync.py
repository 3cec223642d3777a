"""The catalogue's part for conntrackd: every statistic that it prints, once.

Counters start at 0 with the daemon. Their widths: conntrack-tools src/cache.c, run.c, queue.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from conntrack_common.analysis.replication import cache, incomparable, missing_share
from conntrack_common.analysis.usage import usage
from conntrack_common.catalogue.metric import COUNTER, GAUGE, STATE, Metric, Values
from conntrack_common.model import Reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_LIMIT = 2**31 - 1  # txqueue's maximum
UNSUPPORTED = "conntrackd does not show it in the mode it runs in"
NO_PEER = "the other node's statistics are needed: give --peer-file or --peer-command"


def _of_each(part: str, key: str, field: str) -> Callable[[Reading], Values]:
    """Return what takes a field of each cache, link or queue."""

    def take(reading: Reading) -> Values:
        rows: tuple[Any, ...] = getattr(reading.sync, part)
        if part == "caches":  # expectations have caches of the same names
            rows = tuple(row for row in rows if row.kind == "ct")
        values = {(getattr(row, key),): getattr(row, field) for row in rows}
        return {labels: value for labels, value in values.items() if value is not None}

    return take


def _of(parts: str, field: str) -> Callable[[Reading], Values]:
    """Return what takes a field of the first part that has it: some are in two answers."""

    def take(reading: Reading) -> Values:
        for part in parts.split():
            value = getattr(getattr(reading.sync, part), field, None)
            if value is not None:
                return {(): value}
        return {}

    return take


def _not_in_report(request: str) -> Callable[[Reading], str]:
    """Return what explains why the answer to this request is missing from a saved report."""
    words = "conntrackd -s" if request == "ct" else f"conntrackd -s {request}"

    def why(reading: Reading) -> str:
        if reading.sync is None or reading.sync.report is None:
            return ""
        return f"the report does not contain it: '{words}' prints it, in the modes that have it"

    return why


def _link_up(reading: Reading) -> Values:
    links = reading.sync.links if reading.sync else ()
    return {(link.device,): int(link.status == "RUNNING") for link in links if link.status}


def _links_running(reading: Reading) -> Values:
    up = _link_up(reading)
    return {(): sum(up.values())} if up else {}


def _queue_usage(reading: Reading) -> Values:
    rows = reading.sync.queues if reading.sync else ()
    shares = {(row.name,): usage(row.length, row.maximum) for row in rows}
    unlimited = {(row.name,) for row in rows if row.maximum == NO_LIMIT}
    return {
        labels: share
        for labels, share in shares.items()
        if share is not None and labels not in unlimited
    }


def _peer_created(reading: Reading) -> Values:
    external = cache(reading.peer, "external") if reading.peer else None
    created = external.created if external else None
    return {} if created is None else {(): created}


def _missing(reading: Reading) -> Values:
    share = missing_share(reading.sync, reading.peer) if reading.sync and reading.peer else None
    return {} if share is None else {(): share}


def _incomparable(reading: Reading) -> str:
    return incomparable(reading.sync, reading.peer) if reading.sync and reading.peer else ""


def _metrics(
    group: str,
    part: str,
    request: str,
    label: tuple[str, str] | None,
    rows: tuple[tuple[Any, ...], ...],
) -> Iterator[Metric]:
    """Yield the metrics of one section: name, unit, width (0 is a gauge), help, request."""
    for name, unit, bits, text, *other in rows:
        yield Metric(
            f"sync.{group}.{name}",
            COUNTER if bits else GAUGE,
            unit,
            text,
            "sync",
            _of_each(part, label[1], name) if label else _of(part, name),
            (label[0],) if label else (),
            bits,
            UNSUPPORTED,
            _not_in_report(other[0] if other else request),
        )


CACHE = (
    ("active", "entries", 0, "Entries in a cache of conntrackd."),
    (
        *("objects", "entries", 0),
        *("Entries in a cache, and dead ones kept for retransmission.", "cache"),
    ),
    ("created", "entries", 32, "Entries put into a cache, or injected into the kernel."),
    ("created_failed", "entries", 32, "Entries that could not be put into a cache."),
    ("created_no_memory", "entries", 32, "Entries refused because memory was short.", "cache"),
    (
        *("created_no_space", "entries", 32),
        *("Entries refused because HashLimit was reached.", "cache"),
    ),
    ("updated", "entries", 32, "Changes in a cache."),
    ("updated_failed", "entries", 32, "Changes that failed."),
    ("destroyed", "entries", 32, "Entries removed from a cache."),
    ("destroyed_failed", "entries", 32, "Entries that could not be removed from a cache."),
)
LINK = (
    ("bytes_sent", "bytes", 64, "Bytes sent over a dedicated link."),
    ("bytes_received", "bytes", 64, "Bytes received over a dedicated link."),
    ("packets_sent", "packets", 64, "Packets sent over a dedicated link."),
    ("packets_received", "packets", 64, "Packets received over a dedicated link."),
    ("errors_sent", "packets", 64, "Packets that could not be sent over a dedicated link."),
    ("errors_received", "packets", 64, "Packets that could not be received."),
)
MESSAGES = (
    ("malformed", "messages", 64, "Malformed messages from the other node."),
    ("lost", "gaps", 64, "Grows with gaps in the messages from the other node; no exact number."),
)
NETWORK = (
    ("before", "messages", 64, "Messages that arrived twice or out of order."),
    ("wrong_version", "messages", 32, "Messages of another protocol version."),
    ("malformed_header", "messages", 32, "Messages with a malformed header."),
    ("malformed_payload", "messages", 32, "Messages with a malformed payload."),
    ("bad_type", "messages", 32, "Messages of an unknown type."),
    ("truncated", "messages", 32, "Messages that were cut short."),
    ("bad_size", "messages", 32, "Messages of a wrong size."),
)
RUNTIME = (
    ("uptime", "seconds", 0, "Time since conntrackd started, in whole minutes."),
    ("events_received", "events", 64, "Events that the kernel sent to conntrackd."),
    ("events_filtered", "events", 64, "Events that its filter ignored."),
    ("netlink_overrun", "overruns", 32, "How often the kernel had to drop events."),
    ("catch_event_failed", "errors", 32, "Failures to read events, overruns among them."),
    ("buffer_size", "bytes", 0, "Size of the buffer for events; it grows with overruns."),
    ("resync_kernel_table", "resyncs", 32, "How often it read the kernel's table again."),
    ("flush_kernel_table", "flushes", 32, "How often it flushed the kernel's table."),
    ("child_failed", "processes", 32, "Child processes that failed."),
    ("select_failed", "errors", 32, "Failures of select."),
    ("wait_failed", "errors", 32, "Failures of wait."),
    ("local_read_failed", "clients", 32, "Clients that connected but sent no request."),
)
QUEUE = (
    ("length", "nodes", 0, "Elements in a queue."),
    ("maximum", "nodes", 0, "Most elements that a queue may hold."),
    ("no_space", "errors", 32, "Elements that a full queue refused."),
)
TRAFFIC = (
    ("bytes", "bytes", 64, "Bytes of the connections that ended (needs accounting)."),
    ("packets", "packets", 64, "Packets of the connections that ended (needs accounting)."),
)

SYNC: tuple[Metric, ...] = (
    *_metrics("cache", "caches", "ct", ("cache", "name"), CACHE),
    Metric(
        "sync.link.up",
        STATE,
        "state",
        "1 if a dedicated link is running, 0 if it is down or has no carrier.",
        "sync",
        _link_up,
        ("link",),
        0,
        UNSUPPORTED,
        _not_in_report("link"),
    ),
    Metric(
        "sync.link.running",
        GAUGE,
        "links",
        "How many dedicated links are running; without one, nothing is replicated.",
        "sync",
        _links_running,
        absent_when=UNSUPPORTED,
        why=_not_in_report("link"),
    ),
    *_metrics("link", "links", "ct", ("link", "device"), LINK),
    *_metrics("messages", "tracking network", "ct", None, MESSAGES),
    *_metrics("network", "network", "network", None, NETWORK),
    *_metrics("queue", "queues", "queue", ("queue", "name"), QUEUE),
    Metric(
        "sync.queue.usage",
        GAUGE,
        "ratio",
        "Elements in a queue as a share of the most that it may hold.",
        "sync",
        _queue_usage,
        ("queue",),
        0,
        UNSUPPORTED,
        _not_in_report("queue"),
    ),
    *_metrics("runtime", "runtime", "runtime", None, RUNTIME),
    *_metrics("traffic", "traffic", "ct", None, TRAFFIC),
    Metric(
        "sync.peer.created",
        COUNTER,
        "entries",
        "Entries that the other node created: in its external cache, or in its kernel.",
        "peer",
        _peer_created,
        bits=32,
        absent_when=NO_PEER,
    ),
    Metric(
        "sync.peer.missing",
        GAUGE,
        "ratio",
        "Share of this node's connections that the other node is missing: how many more there are "
        "than in its external and its internal cache together.",
        "peer",
        _missing,
        absent_when=NO_PEER,
        why=_incomparable,
    ),
)

"""What to read for the metrics that are asked for, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from conntrack_common.catalogue.lookup import absences, samples
from conntrack_common.catalogue.metric import Metric
from conntrack_common.errors import (
    ConntrackError,
    DaemonUnused,
    MalformedData,
    NotAvailable,
    NotPermitted,
)
from conntrack_common.model import CpuCounters, Reading, Sysctls, TableCounts
from conntrack_common.proc.files import ProcRoot, hostname

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from conntrack_common.conntrackd.report import Way
    from conntrack_common.ctnetlink.events import EventCounter
    from conntrack_common.filters.filter import Filter
    from conntrack_common.model.conntrackd import SyncStatistics

    Part = TypeVar("Part")

# All of conntrackd's statistics but expectations and its children.
SYNC_REQUESTS = ("ct", "network", "cache", "runtime", "link", "queue")
SYNC_TIMEOUT = 5.0  # seconds


def collect_in(
    netns: str,
    metrics: Sequence[Metric],
    root: ProcRoot | None = None,
    filter_: Filter | None = None,
) -> list[Reading]:
    """Collect in each network namespace that `netns` means; an empty one is this thread's own.

    conntrackd's statistics are read once, into a reading of its own without a namespace. Raises
    InvalidRequest for an unknown namespace, NotPermitted if it may not be entered, NotAvailable if
    it has gone.
    """
    if not netns:
        return [collect(metrics, root, filter_)]
    from conntrack_common.netns import entering

    inside = [metric for metric in metrics if metric.source != "sync"]

    def read(name: str | None) -> Iterator[Reading]:
        yield collect(inside, root, filter_)._replace(netns=name)

    readings = list(entering.each(netns, read))
    if len(inside) < len(metrics):
        # conntrackd belongs to the host: its socket is the same in all namespaces.
        readings.append(collect([metric for metric in metrics if metric.source == "sync"], root))
    return readings


def collect(
    metrics: Iterable[Metric], root: ProcRoot | None = None, filter_: Filter | None = None
) -> Reading:
    """Read what these metrics need, once.

    With a filter, only the entries that match are counted, in table.entries and table.usage, too.
    It raises nothing: a part that can't be read is left out, with the reason in `failures`.
    """
    proc, wanted = root or ProcRoot(), {metric.source for metric in metrics}
    sysctls = _attempt(lambda: read_sysctls(proc)) if "sysctls" in wanted else None
    counters = _attempt(lambda: read_counters(proc)) if "counters" in wanted else None
    synproxy = _attempt(proc.synproxy_counters) if "synproxy" in wanted else None
    timeouts = _attempt(proc.timeouts) if "timeouts" in wanted else None
    sync = _attempt(lambda: _read_sync_beside(proc)) if "sync" in wanted else None
    counts = None
    if "counts" in wanted or filter_ is not None:
        counts = _attempt(lambda: read_counts(proc, filter_))
    if filter_ is not None and isinstance(sysctls, Sysctls):
        sysctls = (
            sysctls._replace(entries=counts.total) if isinstance(counts, TableCounts) else counts
        )
    parts = {
        "sysctls": sysctls,
        "counters": counters,
        "synproxy": synproxy,
        "timeouts": timeouts,
        "counts": counts,
        "sync": sync,
    }
    return Reading(
        time=time.time(),
        host=hostname(),
        sysctls=None if isinstance(sysctls, ConntrackError) else sysctls,
        counters=None if isinstance(counters, ConntrackError) else counters,
        synproxy=None if isinstance(synproxy, ConntrackError) else synproxy,
        timeouts=None if isinstance(timeouts, ConntrackError) else timeouts,
        counts=None if isinstance(counts, ConntrackError) else counts,
        sync=None if isinstance(sync, ConntrackError) else sync,
        failures={name: part for name, part in parts.items() if isinstance(part, ConntrackError)},
        asked=frozenset(wanted),
        identity=proc.identity(),
    )


def with_events(reading: Reading, counter: EventCounter) -> Reading:
    """Return a reading with the events so far, or with the reason why they are not counted."""
    events = _attempt(counter.counts)
    if isinstance(events, ConntrackError):
        return reading._replace(failures={**reading.failures, "events": events})
    return reading._replace(events=events)


def require(readings: Sequence[Reading], metrics: Iterable[Metric]) -> Sequence[Reading]:
    """Return the readings if they have any quantity; raises the reason if there is none.

    Malformed data raises in any case: no other number of that host can be trusted then.
    """
    quantities = [metric for metric in metrics if metric.source]
    failures = [failure for reading in readings for failure in reading.failures.values()]
    malformed = [failure for failure in failures if isinstance(failure, MalformedData)]
    if malformed:
        raise malformed[0]
    if any(True for reading in readings for _sample in samples(reading, quantities)):
        return readings
    if failures:
        raise failures[0]
    for reading in readings:
        for absent in absences(reading, quantities):
            raise NotAvailable(f"{absent.id}: {absent.reason}")
    return readings


def _attempt(read: Callable[[], Part]) -> Part | ConntrackError:
    try:
        return read()
    except ConntrackError as error:
        return error


def read_sysctls(proc: ProcRoot) -> Sysctls:
    """Return the table's size and settings from /proc, or its size by ctnetlink if they are hidden.

    Containers may hide the sysctls. Raises NotAvailable, NotPermitted, MalformedData.
    """
    try:
        return proc.sysctls()
    except (NotAvailable, NotPermitted) as error:
        if not proc.is_live:
            raise
        from conntrack_common.ctnetlink import stats as counters

        try:
            return counters.table_size()
        except ConntrackError:
            raise error from None


def read_counters(proc: ProcRoot) -> tuple[CpuCounters, ...]:
    """Return the per-CPU counters from /proc, or by ctnetlink where this kernel has no such file.

    /proc comes first: it needs no privilege. Raises NotAvailable, NotPermitted, MalformedData,
    Interrupted.
    """
    try:
        return proc.cpu_counters()
    except (NotAvailable, NotPermitted) as error:
        if not proc.is_live:
            raise
        from conntrack_common.ctnetlink import stats as counters

        try:
            return counters.cpu_counters()
        except ConntrackError:
            raise error from None  # it names ctnetlink as the other way, and what that needs


def read_counts(proc: ProcRoot, filter_: Filter | None) -> TableCounts:
    """Return the table's counts by each of the dimensions that are metrics.

    Raises NotPermitted, NotAvailable, Interrupted, MalformedData.
    """
    if not proc.is_live:
        raise NotAvailable(f"{proc.path} is a copy of /proc, which has no table of entries")
    from conntrack_common.breakdown import count_margins

    return count_margins(filter_)


def collect_sync(way: Way, peer: Way | None, timeout: float) -> Reading:
    """Read conntrackd's statistics, and the other node's if there is a way; raises nothing."""
    own = _attempt(lambda: read_sync(way, timeout))
    other = None if peer is None else _attempt(lambda: read_sync(peer, timeout))
    parts = {"sync": own, "peer": other}
    return Reading(
        time=time.time(),
        host=hostname(),
        sync=None if isinstance(own, ConntrackError) else own,
        peer=None if isinstance(other, ConntrackError) else other,
        failures={name: part for name, part in parts.items() if isinstance(part, ConntrackError)},
        asked=frozenset(parts),
        identity=ProcRoot().boot(),
    )


def _read_sync_beside(proc: ProcRoot) -> SyncStatistics:
    if not proc.is_live:
        raise NotAvailable(f"conntrackd is not read together with {proc.path}, a copy of /proc")
    return read_sync()


def read_sync(way: Way | None = None, timeout: float = SYNC_TIMEOUT) -> SyncStatistics:
    """Return conntrackd's statistics, by its socket if no other way is given.

    Raises DaemonUnused (without a way, where nobody runs it), DaemonUnreachable,
    DaemonNotAnswering, NotPermitted, MalformedData.
    """
    from conntrack_common.conntrackd.report import Socket, read_statistics

    if way is not None:
        return read_statistics(way, SYNC_REQUESTS, timeout)
    from conntrack_common.conntrackd.conf import CONFIG_FILES, find_socket
    from conntrack_common.conntrackd.process import is_used

    socket = find_socket()
    if not is_used(CONFIG_FILES, socket, ProcRoot()):
        raise DaemonUnused(
            "conntrackd is not used on this host: there is no configuration "
            f"({' or '.join(CONFIG_FILES)}), no socket and no process of it"
        )
    return read_statistics(Socket(socket), SYNC_REQUESTS, timeout)


def complaints(readings: Iterable[Reading]) -> tuple[str, ...]:
    """Return why parts could not be read: each reason once, but for a daemon that nobody runs."""
    reasons = {
        str(failure): None
        for reading in readings
        for failure in reading.failures.values()
        if not isinstance(failure, DaemonUnused)
    }
    return tuple(reasons)

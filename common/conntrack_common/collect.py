"""What to read for the metrics that are asked for, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from os import uname

from conntrack_common.errors import ConntrackError, NotAvailable, NotPermitted
from conntrack_common.metrics import Metric, samples
from conntrack_common.model import CpuCounters, Reading, Sysctls
from conntrack_common.sources.procfs import ProcRoot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    Part = TypeVar("Part")


def collect(metrics: Iterable[Metric], root: ProcRoot | None = None) -> Reading:
    """Read what these metrics need, once.

    It raises nothing: a part that can't be read is left out, with the reason in `failures`.
    """
    proc = root or ProcRoot()
    wanted = {metric.source for metric in metrics}
    sysctls = _attempt(read_sysctls, proc) if "sysctls" in wanted else None
    counters = _attempt(read_counters, proc) if "counters" in wanted else None
    parts = {"sysctls": sysctls, "counters": counters}
    return Reading(
        time=time.time(),
        host=uname().nodename,
        sysctls=None if isinstance(sysctls, ConntrackError) else sysctls,
        counters=None if isinstance(counters, ConntrackError) else counters,
        failures={name: part for name, part in parts.items() if isinstance(part, ConntrackError)},
    )


def require(reading: Reading, metrics: Iterable[Metric]) -> Reading:
    """Return the reading if it holds any quantity; raises the reason if all of it failed."""
    quantities = (metric for metric in metrics if metric.source)
    if reading.failures and not any(True for _ in samples(reading, quantities)):
        raise next(iter(reading.failures.values()))
    return reading


def _attempt(read: Callable[[ProcRoot], Part], proc: ProcRoot) -> Part | ConntrackError:
    try:
        return read(proc)
    except ConntrackError as error:
        return error


def read_sysctls(proc: ProcRoot) -> Sysctls:
    """Return the table's size and settings from /proc; its size by ctnetlink where /proc lacks it.

    Containers may hide the sysctls. Raises NotAvailable, NotPermitted, MalformedData.
    """
    try:
        return proc.sysctls()
    except (NotAvailable, NotPermitted) as error:
        if not proc.is_live:
            raise
        from conntrack_common.sources import counters

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
        from conntrack_common.sources import counters

        try:
            return counters.cpu_counters()
        except ConntrackError:
            raise error from None  # it says that ctnetlink is the other way, and what that needs

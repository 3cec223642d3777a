"""conntrack-stat status, counters and metrics: the table and the counters on one screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from conntrack_common.catalogue.expression import Expression, series
from conntrack_common.catalogue.lookup import CATALOGUE, CHEAP, find, select, sendable, shown
from conntrack_common.catalogue.metric import Metric
from conntrack_common.collect import collect_in, require
from conntrack_common.model import Reading, Sysctls
from conntrack_plugins import arguments
from conntrack_plugins.stat.document import SCHEMA, document
from conntrack_plugins.stat.screen import as_json, columns, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

SWITCHES = {0: "off", 1: "on", 2: "while somebody listens"}
BAR = 40


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands."""
    arguments.subcommand(commands, "status", status, "how full the table is, and the counters")
    arguments.subcommand(commands, "counters", counters, "every counter, each CPU by itself")
    arguments.subcommand(
        commands, "metrics", metrics, "all metrics, and each agent's name for them", takes=["json"]
    )


def status(args: argparse.Namespace) -> Iterator[str]:
    """Yield the table's size and settings, and the counters' sums: what any user may read."""
    wanted = [metric for metric in CHEAP if metric.id.startswith(("table.", "cpu."))]
    return _read(args, tuple(wanted), _status)


def counters(args: argparse.Namespace) -> Iterator[str]:
    """Yield the counters, one column for each CPU."""
    return _read(args, select(["cpu.*"]), _counters)


def _read(
    args: argparse.Namespace, wanted: tuple[Metric, ...], show: Callable[[Reading], Iterator[str]]
) -> Iterator[str]:
    readings = collect_in(args.netns, wanted, arguments.proc_root(args.proc_root))
    if args.json:
        yield from (as_json(document(reading, wanted)) for reading in readings)
    require(readings, wanted)
    if args.json:
        return
    for reading in readings:
        yield f"Connection tracking on {reading.host}"
        yield f", network namespace {reading.netns}\n\n" if reading.netns else "\n\n"
        yield from show(reading)
        reasons = {str(failure) for failure in reading.failures.values()}
        yield from (f"\nmissing: {reason}\n" for reason in sorted(reasons))
        yield "\n" * (reading is not readings[-1])


def _status(reading: Reading) -> Iterator[str]:
    if reading.sysctls:
        yield from _table(reading, reading.sysctls)
    if reading.counters:
        yield f"\nCounters, {len(reading.counters)} CPUs together (32 bits each, they wrap)\n\n"
        yield render(columns(["counter", ">sum", "what it counts"], _sums(reading)))


def _table(reading: Reading, table: Sysctls) -> Iterator[str]:
    from rich.text import Text

    usage = find("table.usage")
    for share in series(Expression(usage), reading):
        percent = shown(usage, share.total)
        colour = "red" if percent >= 90 else "yellow" if percent >= 80 else "green"
        bar = "█" * min(BAR, round(share.total * BAR))
        line = Text.assemble(
            "  usage     ", (bar, colour), (bar.ljust(BAR, "░")[len(bar) :], "dim")
        )
        yield render(line.append(f"  {percent:.1f}%", style="bold"))
    yield f"  entries   {_number(table.entries)} of {_number(table.limit)}\n"
    yield f"  buckets   {_number(table.buckets)}\n"
    yield f"  expected  at most {_number(table.expect_max)} expectations\n"
    for name in ("acct", "timestamp", "events"):
        value = getattr(table, name)
        yield f"  {name:9} {'unknown' if value is None else SWITCHES.get(value, value)}\n"


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _sums(reading: Reading) -> Iterator[list[str]]:
    for metric in select(["cpu.*"]):
        for counter in series(Expression(metric), reading):
            yield [metric.id, f"{counter.total:,}", metric.help]


def _counters(reading: Reading) -> Iterator[str]:
    rows = reading.counters or ()
    names = [metric.id.partition(".")[2] for metric in select(["cpu.*"])]
    # A kernel newer than the catalogue may have counters that are missing from it.
    names += sorted({name for row in rows for name in row.values} - set(names))
    yield render(
        columns(
            ["counter", *(f">cpu{row.cpu}" for row in rows)],
            (
                [name, *(_number(row.values.get(name)) for row in rows)]
                for name in names
                if any(name in row.values for row in rows)
            ),
        )
    )


def metrics(args: argparse.Namespace) -> Iterator[str]:
    """Yield the catalogue, with the names that agents use."""
    from conntrack_plugins.names import names

    sent = sendable(["*"])
    described = [
        {
            "id": metric.id,
            "kind": metric.kind,
            "unit": metric.unit,
            "labels": list(metric.labels),
            "help": metric.help,
            "names": dict(zip(("prometheus", "influxdb", "collectd"), names(metric)))
            if metric in sent
            else {},
        }
        for metric in CATALOGUE
    ]
    if args.json:
        yield as_json({"schema": SCHEMA, "metrics": described})
        return
    for metric in CATALOGUE:
        labels = "".join(f" [{label}=…]" for label in metric.labels)
        yield f"{metric.id}{labels}\n    {metric.help} ({metric.kind}, {metric.unit})\n"

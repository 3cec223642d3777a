"""conntrack-stat top: who talks, in which states, how fast, on a screen that is renewed."""

from __future__ import annotations

import contextlib
import heapq
import shutil
import sys
import time
from collections.abc import Iterator

from conntrack_common.analysis.change import is_approximate
from conntrack_common.breakdown import count_margins, count_table
from conntrack_common.ctnetlink.events import EventCounter
from conntrack_common.errors import ConntrackError, InvalidRequest
from conntrack_common.filters.filter import Filter
from conntrack_common.listing import event_query
from conntrack_common.model import Breakdown, EventCounts, Group, Sysctls, TableCounts
from conntrack_common.proc.files import ProcRoot
from conntrack_common.records import NamedTuple
from conntrack_plugins import arguments
from conntrack_plugins.stat import terminal
from conntrack_plugins.stat.entries import in_namespaces
from conntrack_plugins.stat.screen import caution, columns, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from rich.console import Group as Renderables
    from rich.console import RenderableType

EXAMPLES = """\
  conntrack-stat top
  conntrack-stat top --by dst,dport -p tcp --interval 5
  conntrack-stat top --once                 one screen, as in a pipe or where TERM is dumb

Keys: q quits; e, b and p sort by entries, bytes and packets (the last two need accounting)
"""
SORTS = {"e": "entries", "b": "bytes", "p": "packets"}
HEAD = 9  # lines above the talkers


class Sight(NamedTuple):
    """What one screen shows."""

    table: Sysctls
    talkers: Breakdown
    counts: TableCounts
    events: EventCounts | None
    seconds: float


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    command = arguments.subcommand(
        commands,
        "top",
        top,
        "the sources with the most entries, renewed every 2 seconds",
        EXAMPLES,
        takes=["netns"],
    )
    command.add_argument(
        "--by", metavar="DIMENSION,…", default="src", help="group by these dimensions (src)"
    )
    command.add_argument(
        "--interval",
        metavar="SECONDS",
        type=arguments.seconds(0.1, 3600),
        default=2.0,
        help="seconds between two screens (2)",
    )
    command.add_argument("--once", action="store_true", default=False, help="show one screen only")
    arguments.add_filters(command)


def top(args: argparse.Namespace) -> Iterator[str]:
    """Show talkers, states and rates until q is pressed, or once."""
    by, wanted = args.by.split(","), arguments.filter_of(args)
    if args.netns == "all":
        raise InvalidRequest("top shows one namespace at a time: give --netns NAME")

    def show_here(_netns: str | None) -> Iterator[str]:
        if args.once or not sys.stdout.isatty() or not terminal.moves():
            size = shutil.get_terminal_size()
            yield render(screen(look(by, wanted, None, 0.0), "entries", size.lines))
        else:
            _live(by, wanted, args.interval)

    yield from in_namespaces(args, show_here)


def look(by: list[str], wanted: Filter, counter: EventCounter | None, seconds: float) -> Sight:
    """Read all that one screen shows; `seconds` is the time since the last one."""
    table = ProcRoot().sysctls()
    talkers = count_table(by, wanted, counters=bool(table.acct))
    events = counter.counts() if counter else None
    return Sight(table, talkers, count_margins(wanted), events, seconds)


def _live(by: list[str], wanted: Filter, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console, sort = Console(), "entries"
    with contextlib.ExitStack() as stack:
        counter = _counter(stack, wanted)
        stack.enter_context(terminal.restored())
        stack.enter_context(terminal.keys())
        last, began = None, time.monotonic()
        live = stack.enter_context(Live(console=console, screen=True, auto_refresh=False))
        while True:
            now = time.monotonic()
            sight = look(by, wanted, counter, now - began)
            rates = _since(last, sight)
            last, began = sight, now
            until = time.monotonic() + interval
            while True:
                live.update(screen(rates, sort, console.height), refresh=True)
                key = terminal.key(until - time.monotonic())
                if key == terminal.QUIT:
                    return
                if not key:
                    break
                sort = SORTS.get(key, sort)


def _counter(stack: contextlib.ExitStack, wanted: Filter) -> EventCounter | None:
    try:
        counter = EventCounter(event_query(wanted))
    except ConntrackError:
        return None  # without rates, then; the table itself will show what is not permitted
    stack.callback(counter.close)
    return counter


def _since(last: Sight | None, sight: Sight) -> Sight:
    """Return a sight whose events are those since the last one."""
    if last is None or last.events is None or sight.events is None:
        return sight._replace(events=None)
    grown = (after - before for before, after in zip(last.events, sight.events))
    return sight._replace(events=EventCounts(*grown))


def screen(sight: Sight, sort: str, height: int) -> Renderables:
    """Return what a terminal of this height shows."""
    from rich.console import Group as Renderables
    from rich.text import Text

    table = sight.table
    share = f" = {sight.counts.total / table.limit:.1%}" if table.limit else ""
    lines = [f"{sight.counts.total:,} of {table.limit or 0:,} entries{share}"]
    if sight.events and sight.seconds:
        rates = zip(("new", "update", "destroy"), sight.events)
        text = ", ".join(f"{name} {number / sight.seconds:,.0f}/s" for name, number in rates)
        lines.append(f"{text}, lost {sight.events.lost} times")
    else:
        lines.append("rates are known from the next screen on")
    for name in ("protocol", "tcp_state", "status"):
        counts = sorted(sight.counts.by[name].items(), key=lambda item: -item[1])
        lines.append("  ".join(f"{value} {entries:,}" for value, entries in counts if entries))
    if sight.talkers.error:
        lines.append(f"talkers may have up to {sight.talkers.error:,} entries more")
    if is_approximate(sight.talkers.change):
        lines.append(caution(sight.talkers.change).rstrip())
    shown = [Text(text, no_wrap=True, overflow="ellipsis") for text in lines]
    return Renderables(*shown, Text(), _talkers(sight, sort, max(1, height - HEAD)))


def _talkers(sight: Sight, sort: str, rows: int) -> RenderableType:
    groups = heapq.nlargest(rows, sight.talkers.groups, lambda group: _sorted_by(group, sort))
    names = [name for name, _value in groups[0].by] if groups else ["talker"]
    counted = any(group.bytes is not None for group in groups)
    more = [">packets", ">bytes"] if counted else []
    return columns(
        [*names, ">entries", ">share", *more],
        (
            [
                *(value or "-" for _name, value in group.by),
                f"{group.entries:,}",
                f"{group.entries / sight.talkers.total:.1%}",
                *([f"{group.packets or 0:,}", f"{group.bytes or 0:,}"] if counted else []),
            ]
            for group in groups
        ),
    )


def _sorted_by(group: Group, sort: str) -> int:
    value: int | None = getattr(group, sort)
    return value or 0

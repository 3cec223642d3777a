"""conntrack-stat events: the table's events, as they happen."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator

from conntrack_common.ctnetlink.census import Census
from conntrack_common.ctnetlink.entries import Reader, entry
from conntrack_common.ctnetlink.events import (
    BUFFER,
    LARGEST_BUFFER,
    Listener,
    event_counts,
    event_name,
    parse_names,
    silence,
)
from conntrack_common.ctnetlink.users import Programs
from conntrack_common.errors import InvalidRequest
from conntrack_common.filters.filter import Filter
from conntrack_common.listing import Matcher, event_query
from conntrack_common.model import EventCounts
from conntrack_common.proc.files import ProcRoot
from conntrack_plugins import arguments, run
from conntrack_plugins.stat.conntrack_line import LineFormat, parse_output
from conntrack_plugins.stat.entries import in_namespaces
from conntrack_plugins.stat.listing import add_output, described
from conntrack_plugins.stat.listing import line as entry_line
from conntrack_plugins.stat.screen import as_json, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from conntrack_common.ctnetlink.shapes import Form, Values

EXAMPLES = """\
  conntrack-stat events -e NEW -p tcp --dport 22      who connects by ssh
  conntrack-stat events -e DESTROY --json | jq .total_bytes
  conntrack-stat events --rate --duration 60          how many a second, for a minute

The kernel drops events when the buffer is full; how often it did is shown as `lost`.
"""
COLORS = {"NEW": "32", "UPDATE": "36", "DESTROY": "31"}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    command = arguments.subcommand(
        commands,
        "events",
        events,
        "the table's events, as they happen",
        EXAMPLES,
        takes=["json", "netns"],
    )
    command.add_argument(
        "-e",
        "--event-mask",
        metavar="EVENT,…",
        default="ALL",
        help="event mask: NEW, UPDATES, DESTROY, ALL (ALL)",
    )
    add_output(command)
    command.add_argument(
        "--rate",
        action="store_true",
        default=False,
        help="show how many events there were in each second",
    )
    command.add_argument(
        "--count",
        metavar="N",
        type=arguments.whole_number(1, arguments.MANY),
        default=0,
        help="end after N events",
    )
    command.add_argument(
        "--duration",
        metavar="SECONDS",
        type=arguments.seconds(0.001, arguments.MANY),
        default=0.0,
        help="end after this time",
    )
    command.add_argument(
        "-b",
        "--buffer-size",
        metavar="BYTES",
        type=arguments.whole_number(1, LARGEST_BUFFER),
        default=BUFFER,
        help="size of the netlink socket's receive buffer",
    )
    arguments.add_filters(command)


def events(args: argparse.Namespace) -> Iterator[str]:
    """Yield a line for each event that matches the filter, until it is interrupted."""
    names, wanted = parse_names(args.event_mask), arguments.filter_of(args)
    parse_output(args.output)
    if args.netns == "all":
        raise InvalidRequest("events shows one namespace at a time: give --netns NAME")

    def listen_here(_netns: str | None) -> Iterator[str]:
        if reason := silence(ProcRoot()):
            run.complain(f"new entries will not be seen: {reason}")
        with Listener(names, args.buffer_size) as listener:
            show = _rates if args.rate else _lines
            yield from show(End(args), listener, wanted, args)

    yield from in_namespaces(args, listen_here)


class End:
    """When to stop: after a number of events, after a time, or when a signal asks for it.

    Then what was received by that time is still shown, for a second at most.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._count = args.count
        self.began = time.monotonic()
        self._time = self.began + args.duration if args.duration else float("inf")
        self.is_asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: object) -> None:
        self.is_asked = True
        self._time = min(self._time, time.monotonic() + 1)
        signal.signal(number, signal.SIG_DFL)  # asked twice, it ends at once

    def is_due(self, shown: int) -> bool:
        """Return whether it is time, after so many events were shown."""
        enough = bool(self._count) and shown >= self._count
        return enough or time.monotonic() >= self._time


def _lines(end: End, listener: Listener, wanted: Filter, args: argparse.Namespace) -> Iterator[str]:
    reader, is_meant, shape = Reader(), Matcher(wanted), Shape(args, wanted)
    shown = lost = 0
    while not end.is_due(shown):
        text = ""
        data = listener.receive()
        if end.is_asked and not data:
            break
        for form, values in reader.read(data):
            if is_meant(form, values):
                text += shape.text(form, values)
                shown += 1
        if text:
            yield text
        if listener.lost != lost:
            lost = listener.lost
            run.complain(f"the kernel dropped events ({lost} times by now)")
    run.complain(f"{shown} events, lost {listener.lost} times")


class Shape:
    """Writes events as lines, in the shape that was asked for."""

    def __init__(self, args: argparse.Namespace, wanted: Filter) -> None:
        self._json, self._extras = args.json, parse_output(args.output)
        self._format = LineFormat(self._extras or (), wanted)
        self._programs = Programs()
        self._colored = is_terminal()
        run.complain(self._format.caution, end="")

    def text(self, form: Form, values: Values) -> str:
        """Return one event's line."""
        name = event_name(form.kind, form.flags)
        port = int.from_bytes(form.field(values, "portid"), sys.byteorder)
        if self._json:
            event = {"time": time.time(), "event": name.lower(), **described(entry(form, values))}
            return as_json({**event, **self._user(port)})
        if self._extras is not None:
            line = f"{f'[{name}]':>9} {self._format.line(form, values).rstrip()}"
            by = "".join(f" {word}={value}" for word, value in self._user(port).items())
            return f"{self._moment()}{line}{' [USERSPACE]' if by else ''}{by}\n"
        clock = time.strftime("%H:%M:%S")
        shown = f"\x1b[{COLORS[name]}m{name:7}\x1b[0m" if self._colored else f"{name:7}"
        return f"{clock} {shown} {entry_line(entry(form, values), colored=self._colored)}"

    def _moment(self) -> str:
        """Return what -o timestamp puts before an event."""
        if "timestamp" not in (self._extras or ()):
            return ""
        seconds, rest = divmod(time.time_ns(), 1_000_000_000)
        return f"[{seconds}.{rest // 1000:06}]\t"

    def _user(self, port: int) -> dict[str, object]:
        """Return the port and, if known, the program that changed the table; {} for a packet."""
        program = self._programs.name(port) if port else ""
        return {**({"portid": port} if port else {}), **({"progname": program} if program else {})}


def _rates(end: End, listener: Listener, wanted: Filter, args: argparse.Namespace) -> Iterator[str]:
    census = Census(event_query(wanted))
    last, seconds = EventCounts(0, 0, 0, 0), 0
    is_due = False
    while not is_due:
        data = listener.receive()
        if end.is_asked and not data:
            break  # what was counted since the last whole second is not a rate
        if data:
            census.count(data)
        is_due = end.is_due(census.total if args.count else 0)
        if time.monotonic() >= end.began + seconds + 1:
            now = event_counts(census, listener.lost)
            yield _rate(args, last, now)
            last, seconds = now, seconds + 1


def _rate(args: argparse.Namespace, last: EventCounts, now: EventCounts) -> str:
    rates = {name: after - before for name, before, after in zip(now._fields, last, now)}
    if args.json:
        return as_json({"time": time.time(), **rates})
    words = "  ".join(f"{name} {number:8,}" for name, number in rates.items())
    return f"{time.strftime('%H:%M:%S')}  {words}\n"

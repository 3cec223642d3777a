"""conntrack-stat list: the table's entries, one a line, in a memory that does not grow."""

from __future__ import annotations

import functools
import heapq
import io
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from conntrack_common.ctnetlink.entry import Entry, Tuple
from conntrack_common.errors import InvalidRequest
from conntrack_common.filters.filter import Filter
from conntrack_common.host import connlabels
from conntrack_common.listing import Dump, Matcher
from conntrack_common.terms import SEEN_REPLY, protocol_name, status_names
from conntrack_plugins import arguments, run
from conntrack_plugins.stat.conntrack_line import EXTRAS, LineFormat, parse_output
from conntrack_plugins.stat.entries import in_namespaces
from conntrack_plugins.stat.screen import Progress, as_json, caution, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
  conntrack-stat list -p tcp --state ESTABLISHED
  conntrack-stat list -p udp --dport 500 --json
  conntrack-stat list -o conntrack | grep 'dport=22 '    as conntrack -L
  conntrack-stat list --sort bytes --limit 20            the largest (needs accounting)
  conntrack-stat list --netns all --csv
"""
SORTED = 100  # how many entries --sort shows without --limit
BATCH = 500  # lines that are written at once
# What --sort sorts by, largest first; an entry that has no such value comes last.
KEYS: dict[str, Callable[[Entry], int]] = {
    "bytes": lambda entry: entry.bytes or 0,
    "packets": lambda entry: entry.packets or 0,
    "timeout": lambda entry: entry.timeout or 0,
    "age": lambda entry: -entry.start if entry.start else -sys.maxsize,
}
COLORS = {"ESTABLISHED": "32", "SYN_SENT": "33", "SYN_RECV": "33", "UNREPLIED": "33"}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    command = arguments.subcommand(
        commands, "list", list_entries, "the table's entries", EXAMPLES, takes=["json", "netns"]
    )
    shape = command.add_mutually_exclusive_group()
    add_output(shape)
    shape.add_argument("--csv", action="store_true", default=False, help="print CSV instead")
    command.add_argument("--sort", choices=list(KEYS), help="sort by this, the largest first")
    command.add_argument(
        "--limit",
        metavar="N",
        type=arguments.whole_number(1, arguments.MANY),
        help=f"show N entries at most ({SORTED} with --sort)",
    )
    arguments.add_filters(command)


def add_output(to: argparse._ActionsContainer) -> None:
    """Add the option for what a line shows."""
    to.add_argument(
        "-o",
        "--output",
        metavar="FORMAT,…",
        default="table",
        help="output format: table (default), conntrack for conntrack(8)'s lines, or what its -o "
        f"adds to them: {', '.join(EXTRAS)}",
    )


def list_entries(args: argparse.Namespace) -> Iterator[str]:
    """Yield the entries that match the filter, in the shape asked for."""
    wanted, extras = arguments.filter_of(args), parse_output(args.output)
    limit = getattr(args, "limit", None)
    sort = getattr(args, "sort", None)
    if sort and extras is not None:
        raise InvalidRequest("-o conntrack does not sort: leave out --sort, or pipe it to sort(1)")

    def list_here(netns: str | None) -> Iterator[str]:
        dump = Dump(wanted)
        if extras is not None and not args.json:
            lines: Iterable[str] = itertools.islice(_conntrack_lines(dump, wanted, extras), limit)
        else:
            lines = _shaped(args, _chosen(dump, sort, limit), netns)
        yield from _batches(lines)
        run.complain(caution(dump.change), end="")

    yield from in_namespaces(args, list_here)


def _chosen(dump: Dump, sort: str | None, limit: int | None) -> Iterable[Entry]:
    if sort is None:
        return itertools.islice(dump, limit)
    with Progress("entries read") as progress:
        return heapq.nlargest(limit or SORTED, progress.watch(dump), key=KEYS[sort])


def _conntrack_lines(dump: Dump, wanted: Filter, extras: tuple[str, ...]) -> Iterator[str]:
    is_meant, shape = Matcher(wanted), LineFormat(extras, wanted)
    run.complain(shape.caution, end="")
    everything, write = wanted == Filter(), shape.line
    for form, values in dump.messages():
        if everything or is_meant(form, values):
            yield write(form, values)


def _batches(lines: Iterable[str]) -> Iterator[str]:
    """Yield many lines at once: writing each by itself would take as long as making it."""
    source = iter(lines)
    while batch := "".join(itertools.islice(source, BATCH)):
        yield batch


def _shaped(args: argparse.Namespace, entries: Iterable[Entry], netns: str | None) -> Iterator[str]:
    where = {} if netns is None else {"netns": netns}
    if args.json:
        return (as_json({**where, **described(entry)}) for entry in entries)
    if args.csv:
        return _csv(entries, where)
    return _table(entries, netns)


def described(entry: Entry) -> dict[str, object]:
    """Return an entry as a document; what it does not have is left out.

    What is beside `src` and `dst`, packets and bytes among it, is the original direction's.
    """
    now = time.time()
    whole = {
        "protocol": protocol_name(entry.protocol),
        "state": entry.state,
        "family": entry.family,
        **_direction(entry.orig),
        "reply": _direction(entry.reply),
        "status": list(status_names(entry.status)),
        "timeout": entry.timeout,
        "mark": entry.mark,
        "labels": _labels(entry) or None,
        "zone": entry.zone or 0,
        "zone_orig": entry.orig.zone,
        "zone_reply": entry.reply.zone,
        "helper": entry.helper,
        "secctx": entry.secctx,
        "total_packets": entry.packets,
        "total_bytes": entry.bytes,
        "age": None if not entry.start else round(max(0.0, now - entry.start / 1e9), 3),
        "id": entry.id,
    }
    return {name: value for name, value in whole.items() if value is not None}


def _direction(direction: Tuple) -> dict[str, object]:
    fields = direction._asdict()
    del fields["zone"]
    return {name: value for name, value in fields.items() if value is not None}


def _labels(entry: Entry) -> list[str]:
    """Return an entry's labels as --label takes them: by name, or by number without one."""
    numbers = connlabels.numbers(connlabels.label_bits(entry.labels))
    names = _label_names() if numbers else {}
    return [names.get(number, str(number)) for number in numbers]


@functools.lru_cache(maxsize=1)
def _label_names() -> Mapping[int, str]:
    return connlabels.read_names() or {}


CSV_COLUMNS = (
    *("netns", "family", "protocol", "state", "src", "sport", "dst", "dport"),
    *("reply_src", "reply_sport", "reply_dst", "reply_dport", "icmp_type", "icmp_code", "icmp_id"),
    *("status", "timeout", "mark", "labels", "zone", "zone_orig", "zone_reply", "helper"),
    *("packets", "bytes", "reply_packets", "reply_bytes", "total_packets", "total_bytes", "age"),
)


def _csv(entries: Iterable[Entry], where: dict[str, str]) -> Iterator[str]:
    import csv

    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        fields = described(entry)
        row = {f"reply_{name}": value for name, value in _direction(entry.reply).items()}
        lists = {"status": " ".join(status_names(entry.status)), "labels": ",".join(_labels(entry))}
        writer.writerow({**where, **fields, **row, **lists})
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _table(entries: Iterable[Entry], netns: str | None) -> Iterator[str]:
    """Yield lines of fixed columns, so that none waits for the longest."""
    colored = is_terminal()
    if netns:
        yield f"network namespace {netns}\n"
    yield f"{'protocol':8} {'state':11} {'source':>45}   {'destination':45} {'timeout':>8} more\n"
    for entry in entries:
        yield line(entry, colored=colored)


def line(entry: Entry, *, colored: bool) -> str:
    """Return an entry as a line of fixed columns."""
    state = entry.state or ("" if entry.status & SEEN_REPLY else "UNREPLIED")
    shown = f"{state:11}"
    if colored and state in COLORS:
        shown = f"\x1b[{COLORS[state]}m{shown}\x1b[0m"
    there = f"{_end(entry, entry.orig.src, entry.orig.sport):>45} → "
    there += f"{_end(entry, entry.orig.dst, entry.orig.dport):45}"
    timeout = "" if entry.timeout is None else f"{entry.timeout} s"
    whole = f"{protocol_name(entry.protocol):8} {shown} {there} {timeout:>8} {_more(entry)}"
    return f"{whole.rstrip()}\n"


def _end(entry: Entry, address: str, port: int | None) -> str:
    if port is None:
        return address
    return f"[{address}]:{port}" if entry.family == "ipv6" else f"{address}:{port}"


def _more(entry: Entry) -> str:
    """Return what most entries don't have."""
    words = [name for name in status_names(entry.status) if name not in {"SEEN_REPLY", "UNREPLIED"}]
    if entry.reply.src != entry.orig.dst or entry.reply.dst != entry.orig.src:
        back = _end(entry, entry.reply.src, entry.reply.sport)
        words.append(f"reply={back}→{_end(entry, entry.reply.dst, entry.reply.dport)}")
    values = {
        "mark": entry.mark or None,
        "labels": ",".join(_labels(entry)) or None,
        "zone": entry.zone,
        "zone-orig": entry.orig.zone,
        "zone-reply": entry.reply.zone,
        "helper": entry.helper,
        "packets": entry.packets,
        "bytes": entry.bytes,
    }
    words += [f"{name}={value}" for name, value in values.items() if value is not None]
    return " ".join(words)

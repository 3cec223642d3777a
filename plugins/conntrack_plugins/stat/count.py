"""conntrack-stat count: the table by any set of dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conntrack_common.analysis.change import is_approximate
from conntrack_common.breakdown import DIMENSIONS, check_dimensions, count_table
from conntrack_common.collect import read_sysctls
from conntrack_common.errors import ConntrackError, NotAvailable
from conntrack_common.filters.filter import Filter
from conntrack_common.model import Breakdown, Change, Group, Sysctls
from conntrack_common.netns import entering
from conntrack_common.proc.files import ProcRoot
from conntrack_plugins import arguments
from conntrack_plugins.stat.document import SCHEMA
from conntrack_plugins.stat.entries import in_namespaces
from conntrack_plugins.stat.screen import Progress, as_json, caution, columns, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = f"""\
  conntrack-stat count                                   as conntrack -C, of both families
  conntrack-stat count --by protocol,state
  conntrack-stat count --by src --top 10 -u UNREPLIED    sources that get no reply
  conntrack-stat count -p udp --dport 500
  conntrack-stat count --by zone,status --netns all --json

Dimensions: {", ".join(DIMENSIONS)}.
An entry with several status flags counts under each of them. Packets and bytes are added up where
net.netfilter.nf_conntrack_acct is on, ages shown where nf_conntrack_timestamp is. Addresses, ports
and marks are counted exactly up to 100,000 groups, and beyond by Misra and Gries' algorithm, with
the largest possible error printed.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    command = arguments.subcommand(
        commands, "count", count, "how many entries, by protocol, state, source …", EXAMPLES
    )
    command.add_argument(
        "--by", metavar="DIMENSION,…", default="", help="group by these dimensions (see below)"
    )
    command.add_argument(
        "--top",
        metavar="N",
        type=arguments.whole_number(1, arguments.MANY),
        help="show only the N largest groups",
    )
    arguments.add_filters(command)


def count(args: argparse.Namespace) -> Iterator[str]:
    """Yield the table's breakdown, in each of the namespaces asked for."""
    by = [name.strip() for name in args.by.split(",") if name.strip()]
    check_dimensions(by)
    top = getattr(args, "top", None)
    wanted = arguments.filter_of(args)

    proc = arguments.proc_root(args.proc_root)
    if not by and wanted == Filter():
        yield from entering.each(args.netns, lambda netns: _size(args, proc, netns))
        return
    if not proc.is_live:
        raise NotAvailable(f"{proc.path} is a copy of /proc, which has no table of entries")

    def count_here(netns: str | None) -> Iterator[str]:
        settings = _settings()
        with Progress("entries read") as progress:
            found = count_table(
                by,
                wanted,
                counters=bool(settings.acct),
                age=bool(settings.timestamp),
                top=top,
                progress=progress.show,
            )
        if args.json:
            yield as_json(_document(found, netns))
        else:
            yield from _screen(found, by, netns)

    yield from in_namespaces(args, count_here)


def _size(args: argparse.Namespace, proc: ProcRoot, netns: str | None) -> Iterator[str]:
    """Yield the kernel's own count, which any user may read, at once."""
    entries = read_sysctls(proc).entries
    if entries is None:
        raise NotAvailable(f"the table's size is missing from {proc.path}/sys/net")
    found = Breakdown(entries, (Group((), entries),), Change(0, entries))  # of one moment
    yield from [as_json(_document(found, netns))] if args.json else _screen(found, (), netns)


def _settings() -> Sysctls:
    try:
        return ProcRoot().sysctls()
    except ConntrackError:
        return Sysctls()  # containers may hide them; the count itself will show what is wrong


def _document(found: Breakdown, netns: str | None) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "netns": netns,
        "total": found.total,
        "approximate": is_approximate(found.change),
        "changed": None if found.change is None else found.change.entries,
        "error": found.error,
        "groups": [_described(group) for group in found.groups],
    }


def _described(group: Group) -> dict[str, object]:
    values = {
        "packets": group.packets,
        "bytes": group.bytes,
        "mean_age": group.mean_age,
        "oldest": group.oldest,
    }
    known = {name: value for name, value in values.items() if value is not None}
    return {"by": dict(group.by), "entries": group.entries, **known}


def _screen(found: Breakdown, by: Sequence[str], netns: str | None) -> Iterator[str]:
    if netns:
        yield f"network namespace {netns}\n"
    if not by:
        yield f"{found.total}\n"
    else:
        yield render(columns([*by, *_headings(found)], _rows(found)))
        yield f"{found.total:,} entries in all\n"
    yield caution(found.change)
    if found.error:
        yield f"approximate: each group may have up to {found.error:,} entries more\n"


def _headings(found: Breakdown) -> list[str]:
    headings = [">entries", ">share"]
    if any(group.packets is not None for group in found.groups):
        headings += [">packets", ">bytes"]
    if any(group.mean_age is not None for group in found.groups):
        headings += [">mean age", ">oldest"]
    return headings


def _rows(found: Breakdown) -> Iterator[list[str]]:
    headings = _headings(found)
    for group in found.groups:
        row = [value or "-" for _name, value in group.by]
        row += [f"{group.entries:,}", f"{group.entries / found.total:.1%}"]
        if ">packets" in headings:
            row += [_number(group.packets), _number(group.bytes)]
        if ">mean age" in headings:
            row += [_seconds(group.mean_age), _seconds(group.oldest)]
        yield row


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} s"

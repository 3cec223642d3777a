"""conntrack-stat sync: conntrackd's caches, links, queues and health on one screen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from conntrack_common.catalogue.lookup import absences, find, select, shown
from conntrack_common.collect import collect_sync
from conntrack_common.duration import spelled
from conntrack_common.errors import ConntrackError, InvalidRequest
from conntrack_common.model import Reading
from conntrack_common.model.conntrackd import SyncStatistics
from conntrack_common.printable import printable
from conntrack_plugins import arguments, conntrackd_arguments
from conntrack_plugins.stat.document import document
from conntrack_plugins.stat.screen import as_json, columns, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from conntrack_common.conntrackd.report import Way

EXAMPLES = """\
  conntrack-stat sync
  conntrack-stat sync --watch 5
  conntrack-stat sync --peer-command 'ssh other sudo -n /usr/bin/timeout 5 /usr/sbin/conntrackd'
  conntrackd -s | conntrack-stat sync --file -
"""
TIMEOUT = 5.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    command = arguments.subcommand(
        commands,
        "sync",
        sync,
        "conntrackd: caches, links, queues, health",
        EXAMPLES,
        takes=["json"],
    )
    conntrackd_arguments.add_ways(command)
    command.set_defaults(socket="", config="", command="", file="")
    command.set_defaults(peer_file="", peer_socket="", peer_command="")
    command.add_argument(
        "--watch",
        metavar="SECONDS",
        type=arguments.seconds(0.2, arguments.DAY),
        nargs="?",
        const=2.0,
        help="show it again every so many seconds (2)",
    )


def sync(args: argparse.Namespace) -> Iterator[str]:
    """Yield one screen of statistics, or one after the other; a failure is raised at the end."""
    asked = conntrackd_arguments.way(args.file, args.command, args.socket, args.config)
    peer = conntrackd_arguments.peer_way(args.peer_file, args.peer_command, args.peer_socket)
    if args.watch is None:
        yield from _look(asked, peer, json=args.json)
        return
    if args.file:
        raise InvalidRequest("--watch needs a running daemon: leave out --file")
    while True:
        try:
            yield from _look(asked, peer, json=args.json)
        except InvalidRequest:
            raise
        except ConntrackError as error:  # it may be restarted while it is watched
            yield "" if args.json else f"{error}\n"
        time.sleep(args.watch)
        yield "" if args.json else "\n"


def _look(asked: Way, peer: Way | None, *, json: bool) -> Iterator[str]:
    wanted = select(["sync.*"])
    reading = collect_sync(asked, peer, TIMEOUT)
    if json:
        yield as_json(document(reading, wanted))
    elif reading.sync:
        yield from _screen(reading, reading.sync)
    for part in ("sync", "peer"):
        if part in reading.failures:
            raise reading.failures[part]


def _screen(reading: Reading, found: SyncStatistics) -> Iterator[str]:
    yield f"{', '.join(_heading(reading.host, found))}\n\n"
    for title, kind in (("caches", "ct"), ("expectations", "expect")):
        rows = [cache for cache in found.caches if cache.kind == kind]
        yield from _section(title, rows, CACHE_COLUMNS)
    yield from _section("links", found.links, LINK_COLUMNS)
    yield from _section("queues", found.queues, QUEUE_COLUMNS)
    yield from _health(reading, found)


def _heading(host: str, found: SyncStatistics) -> Iterator[str]:
    uptime = found.runtime.uptime if found.runtime else None
    since = [] if uptime is None else [f"up {uptime // 3600} h {uptime % 3600 // 60} min"]
    if found.report is None:
        yield f"conntrackd on {host}"
    else:
        name = "standard input" if found.report == "-" else printable(found.report)
        age = "" if found.age is None else f", {spelled(found.age)} old"
        yield f"conntrackd by {name}{age}"
    yield from since
    if len(found.unknown) > found.known:
        yield f"{len(found.unknown)} lines are not understood"


CACHE_COLUMNS = (
    *("name", "active", "created", "created_failed", "created_no_space"),
    *("updated", "destroyed"),
)
LINK_COLUMNS = (
    *("device", "transport", "status", "role", "packets_sent", "packets_received"),
    *("errors_sent", "errors_received"),
)
QUEUE_COLUMNS = ("name", "length", "maximum", "no_space")


def _section(
    title: str, rows: Sequence[tuple[object, ...]], fields: Sequence[str]
) -> Iterator[str]:
    if not rows:
        return
    known = [field for field in fields if any(getattr(row, field) is not None for row in rows)]
    headings = [title if field == fields[0] else f">{field.replace('_', ' ')}" for field in known]
    yield render(columns(headings, ([_text(getattr(row, name)) for name in known] for row in rows)))
    yield "\n"


def _text(value: object) -> str:
    if isinstance(value, int):
        return "unlimited" if value == 2**31 - 1 else f"{value:,}"
    return "-" if value is None else str(value)


def _health(reading: Reading, found: SyncStatistics) -> Iterator[str]:
    numbers = {
        "messages lost": "sync.messages.lost",
        "messages malformed": "sync.messages.malformed",
        "netlink overruns": "sync.runtime.netlink_overrun",
        "children failed": "sync.runtime.child_failed",
    }
    totals = [
        f"{name} {value:,}"
        for name, metric in numbers.items()
        for value in find(metric).take(reading).values()
    ]
    yield f"{', '.join(totals)}\n" if totals else ""
    if reading.peer:
        missing = find("sync.peer.missing")
        for share in missing.take(reading).values():
            percent = f"{shown(missing, share):.1f}%"
            yield f"{percent} of this node's connections are missing on the other node\n"
        yield from (f"{absent.reason}\n" for absent in absences(reading, [missing]))
    for line in found.unknown:
        yield printable(f"not understood ({line.section}): {line.text}") + "\n"

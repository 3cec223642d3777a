"""conntrack-stat sync: conntrackd's caches, links, queues and health on one screen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from conntrack_common.collect import collect_sync, require
from conntrack_common.errors import InvalidRequest
from conntrack_common.metrics import find, select, shown
from conntrack_common.model import Reading
from conntrack_common.printable import printable
from conntrack_common.sync_model import SyncStatistics
from conntrack_plugins import command, daemon
from conntrack_plugins.cli.document import document
from conntrack_plugins.cli.screen import as_json, columns, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
  conntrack-stat sync
  conntrack-stat sync --watch 5
  conntrack-stat sync --peer-command 'ssh other sudo -n /usr/sbin/conntrackd'
  conntrackd -s | conntrack-stat sync --file -
"""
TIMEOUT = 5.0


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    made = command.subcommand(
        commands, "sync", sync, "conntrackd: caches, links, queues, health", EXAMPLES, reads=False
    )
    daemon.add_ways(made)
    made.set_defaults(socket="", config="", command="", file="")
    made.set_defaults(peer_file="", peer_socket="", peer_command="")
    made.add_argument(
        "--watch", metavar="SECONDS", type=float, nargs="?", const=2.0, help="again and again (2)"
    )


def sync(args: argparse.Namespace) -> Iterator[str]:
    """Yield one screen of statistics, or one after the other."""
    asked = daemon.way(args.file, args.command, args.socket, args.config)
    peer = daemon.peer_way(args.peer_file, args.peer_command, args.peer_socket)
    if args.watch is not None and not (0.2 <= args.watch <= 86400 and not args.file):
        raise InvalidRequest("--watch takes 0.2 seconds to a day, and a daemon that can be asked")
    wanted = select(["sync.*"])
    while True:
        reading = collect_sync(asked, peer, TIMEOUT)
        if args.json:
            yield as_json(document(reading, wanted))
        require([reading], wanted)
        if not args.json:
            yield from _screen(reading)
        if args.watch is None:
            return
        time.sleep(args.watch)
        yield "" if args.json else "\n"


def _screen(reading: Reading) -> Iterator[str]:
    found = reading.sync
    if found is None:
        return
    uptime = found.runtime.uptime if found.runtime else None
    since = "" if uptime is None else f", up {uptime // 3600} h {uptime % 3600 // 60} min"
    yield f"conntrackd on {reading.host}{since}\n\n"
    yield from _section("caches", found.caches, CACHE_COLUMNS)
    yield from _section("links", found.links, LINK_COLUMNS)
    yield from _section("queues", found.queues, QUEUE_COLUMNS)
    yield from _health(reading, found)


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
    told = [field for field in fields if any(getattr(row, field) is not None for row in rows)]
    headings = [title if field == fields[0] else f">{field.replace('_', ' ')}" for field in told]
    yield render(columns(headings, ([_text(getattr(row, name)) for name in told] for row in rows)))
    yield "\n"


def _text(value: object) -> str:
    if isinstance(value, int):
        return "unlimited" if value == 2**31 - 1 else f"{value:,}"
    return "-" if value is None else str(value)


def _health(reading: Reading, found: SyncStatistics) -> Iterator[str]:
    numbers = {
        "messages lost": found.tracking and found.tracking.lost,
        "messages malformed": found.tracking and found.tracking.malformed,
        "netlink overruns": found.runtime and found.runtime.netlink_overrun,
        "children failed": found.runtime and found.runtime.child_failed,
    }
    told = [f"{name} {value:,}" for name, value in numbers.items() if value is not None]
    yield f"{', '.join(told)}\n" if told else ""
    missing = find("sync.peer.missing")
    for share in missing.take(reading).values():
        yield f"the other node lacks {shown(missing, share):.1f}% of this node's connections\n"
    if "peer" in reading.failures:
        yield f"the other node: {reading.failures['peer']}\n"
    for line in found.unknown:
        yield printable(f"not understood ({line.section}): {line.text}") + "\n"

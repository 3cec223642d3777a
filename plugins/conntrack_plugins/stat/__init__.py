"""conntrack-stat: connection tracking for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from conntrack_plugins import arguments, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
  conntrack-stat                 how full the table is, and the counters
  conntrack-stat count --by protocol,state
  conntrack-stat list -p tcp --state ESTABLISHED
  conntrack-stat events -e NEW
  conntrack-stat top
  conntrack-stat sync            conntrackd's caches, links, queues and health
  conntrack-stat counters        every counter, each CPU by itself
  conntrack-stat metrics         what can be measured, and what each agent calls it
  conntrack-stat doctor          what is missing or wrong, and how to mend it
  conntrack-stat render nagios   an agent's configuration
  conntrack-stat demo            all of it on a table of its own (root)
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser; the function under `work` makes a subcommand's output."""
    from conntrack_plugins.stat import (
        count,
        demo,
        doctor,
        events,
        expect,
        listing,
        render,
        status,
        sync,
        top,
    )

    made = arguments.parser("conntrack-stat", "Show Linux connection tracking.", EXAMPLES)
    made.set_defaults(
        work=status.status, name="status", takes=arguments.SHARED, **arguments.SHARED_DEFAULTS
    )
    arguments.add_netns(made)
    arguments.add_json(made)
    commands = made.add_subparsers(title="commands", metavar="COMMAND")
    for module in (status, count, listing, events, top, expect, sync, doctor, demo, render):
        module.add(commands)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run conntrack-stat."""
    return run.run("conntrack-stat", lambda: _report(argv))


def _report(argv: Sequence[str] | None) -> Iterable[str]:
    args = parser().parse_args(argv)
    arguments.check_shared(args)
    text: Iterable[str] = args.work(args)
    return text

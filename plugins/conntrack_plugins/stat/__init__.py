"""conntrack-stat: connection tracking for people."""

from __future__ import annotations

import sys
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
  conntrack-stat doctor          what is missing or wrong, and how to fix it
  conntrack-stat render nagios   an agent's configuration
  conntrack-stat demo            all of it on a table of its own (root)
"""

# Each subcommand, in the order of --help, and its module.
MODULES = {
    "status": "status",
    "counters": "status",
    "metrics": "status",
    "count": "count",
    "list": "listing",
    "events": "events",
    "top": "top",
    "expect": "expect",
    "sync": "sync",
    "doctor": "doctor",
    "demo": "demo",
    "render": "render",
}


def parser(names: Iterable[str] = MODULES) -> argparse.ArgumentParser:
    """Return the command's parser; the function under `work` makes a subcommand's output.

    Only the modules of these subcommands are imported.
    """
    from importlib import import_module

    modules = dict.fromkeys(MODULES[name] for name in names)
    options = arguments.parser("conntrack-stat", "Show Linux connection tracking.", EXAMPLES)
    arguments.add_netns(options)
    arguments.add_json(options)
    commands = options.add_subparsers(title="commands", metavar="COMMAND")
    for name in modules:
        module = import_module(f"{__name__}.{name}")
        module.add(commands)
        if name == "status":  # what is done without a subcommand
            options.set_defaults(work=module.status, name=name, takes=arguments.SHARED)
    options.set_defaults(**arguments.SHARED_DEFAULTS)
    return options


def needed(words: Sequence[str]) -> Iterable[str]:
    """Return the subcommands that a command line may need: its own, or all if that is unclear."""
    rest = iter(words)
    for word in rest:
        if word in MODULES:
            return [word]
        if word in {"--netns", "--proc-root"}:
            next(rest, None)
        elif word != "--json":
            return MODULES  # --help shows all of them, and so does what is said of a wrong one
    return ["status"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run conntrack-stat."""
    return run.run("conntrack-stat", lambda: _report(sys.argv[1:] if argv is None else argv))


def _report(argv: Sequence[str]) -> Iterable[str]:
    args = parser(needed(argv)).parse_args(argv)
    arguments.check_shared(args)
    text: Iterable[str] = args.work(args)
    return text

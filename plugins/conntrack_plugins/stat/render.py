"""conntrack-stat render: an agent's configuration, made of the settings."""

from __future__ import annotations

import os
from collections.abc import Iterator

from conntrack_plugins import arguments, run
from conntrack_plugins.stat.screen import as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
  conntrack-stat render                         the agents, and where their files belong
  conntrack-stat render nrpe                    what would be written
  conntrack-stat render icinga2 --output /etc/icinga2/conf.d --check
  conntrack-stat render telegraf --set 'metrics=table.*,tcp.state' --set interval=10
  conntrack-stat render settings > conntrack-plugins.conf
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    made = arguments.subcommand(
        commands,
        "render",
        render,
        "an agent's configuration, or write it where the agent reads it",
        EXAMPLES,
        takes=["json"],
    )
    made.add_argument("agent", metavar="AGENT", nargs="?", help="which agent; without it, a list")
    made.add_argument("-o", "--output", metavar="DIR", help="write the files there, all or none")
    made.add_argument(
        "--settings",
        metavar="FILE",
        default="",
        help="settings to read (/etc/conntrack-plugins.conf, if it is there)",
    )
    made.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting, over the file's (repeatable)",
    )
    made.add_argument(
        "--check", action="store_true", help="let the agent's own validator judge it before"
    )
    made.add_argument("--force", action="store_true", help="replace files that are there already")


def render(args: argparse.Namespace) -> Iterator[str]:
    """Yield the files' text, or the names of those that were written."""
    from conntrack_plugins.render import AGENTS, write
    from conntrack_plugins.render import render as rendered
    from conntrack_plugins.render.settings import load

    if args.agent is None:
        yield from _agents(args)
        return
    settings = load(AGENTS, args.settings, args.set)
    files = rendered(args.agent, settings)
    checked = []
    if args.check:
        from conntrack_plugins.render.validators import validate

        checked = list(validate(args.agent, files, settings))
    if args.output is not None:
        write(files, args.output, AGENTS[args.agent].mode, force=args.force)
    if args.json:
        found = [
            {"name": file.name, "text": file.text, "place": AGENTS[args.agent].place}
            for file in files
        ]
        yield as_json({"files": found, "checked": checked})
        return
    for words in checked:
        run.complain(f"checked by '{words}'")
    if args.output is not None:
        yield from (f"written: {os.path.join(args.output, file.name)}\n" for file in files)
        return
    for file in files:
        heading = f"==> {file.name} <==\n" if len(files) > 1 else ""
        yield f"{heading}{file.text}"


def _agents(args: argparse.Namespace) -> Iterator[str]:
    from conntrack_plugins.render import AGENTS

    if args.json:
        agents = {name: {"text": a.text, "place": a.place} for name, a in AGENTS.items()}
        yield as_json({"agents": agents})
        return
    for name, agent in AGENTS.items():
        yield f"{name:11} {agent.text}\n{'':11} ({agent.place})\n"

"""conntrack-stat render: an agent's configuration, made from the settings."""

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
    command = arguments.subcommand(
        commands,
        "render",
        render,
        "an agent's configuration, or write it where the agent reads it",
        EXAMPLES,
        takes=["json"],
    )
    command.add_argument(
        "agent", metavar="AGENT", nargs="?", help="the agent; without it, all agents are listed"
    )
    command.add_argument(
        "-o", "--output", metavar="DIR", help="write the files to this directory, all or none"
    )
    command.add_argument(
        "--settings",
        metavar="FILE",
        default="",
        help="file of settings (default: /etc/conntrack-plugins.conf, if it exists)",
    )
    command.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting that overrides the file's (repeatable)",
    )
    command.add_argument(
        "--check", action="store_true", help="run the agent's own validator on it first"
    )
    command.add_argument("--force", action="store_true", help="replace existing files")


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
        documents = [
            {"name": file.name, "text": file.text, "place": AGENTS[args.agent].place}
            for file in files
        ]
        yield as_json({"files": documents, "checked": checked})
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

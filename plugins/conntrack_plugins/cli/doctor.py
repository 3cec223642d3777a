"""conntrack-stat doctor: what is missing or wrong on this host, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator

from conntrack_common.analysis.diagnosis import diagnose
from conntrack_common.sources.host import host
from conntrack_plugins import command
from conntrack_plugins.cli.screen import as_json, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

MARKS = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "problem": ("✗", "red"),
    "unknown": ("?", "cyan"),
}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    command.subcommand(
        commands, "doctor", doctor, "what is missing or wrong, and how to mend it (exit 1 if so)"
    )


def doctor(args: argparse.Namespace) -> Iterator[str]:
    """Yield a line for each check; the exit status is 1 if there is a problem."""
    from rich.text import Text

    checks = list(diagnose(host(command.proc_root(args.proc_root))))
    if args.json:
        yield as_json({"checks": [check._asdict() for check in checks]})
    else:
        for check in checks:
            remedy = f"\n  → {check.remedy}" if check.remedy else ""
            yield render(Text.assemble(MARKS[check.status], f" {check.message}{remedy}"))
    if any(check.status == "problem" for check in checks):
        raise SystemExit(command.FAILURE)

"""conntrack-stat doctor: what is missing or wrong on this host, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterator

from conntrack_common.analysis.diagnosis import diagnose, diagnose_daemon
from conntrack_common.collect import collect_sync
from conntrack_common.conntrackd.report import Socket
from conntrack_common.errors import ConntrackError, InvalidRequest, NotPermitted
from conntrack_common.host.network import read_host
from conntrack_common.host.system import host
from conntrack_common.model import Diagnosis
from conntrack_common.netns import entering
from conntrack_common.printable import printable
from conntrack_common.proc.files import ProcRoot
from conntrack_plugins import arguments, conntrackd_arguments, run
from conntrack_plugins.stat.screen import as_json, render

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
    command = arguments.subcommand(
        commands,
        "doctor",
        doctor,
        "what is missing or wrong, and how to fix it (exit status 1 if there is a problem)",
    )
    command.add_argument(
        "--config",
        metavar="FILE",
        default="",
        help="conntrackd.conf to compare with the host (default: where conntrackd has it)",
    )


def _daemon(args: argparse.Namespace, proc: ProcRoot) -> Iterator[Diagnosis]:
    """Yield the diagnoses of conntrackd, where it is configured or a configuration is named."""
    path = args.config or (conntrackd_arguments.config_file() if proc.is_live else "")
    if not path:
        return
    try:
        config = conntrackd_arguments.read_config(path)
    except ConntrackError as error:
        hidden = isinstance(error, NotPermitted) and not args.config
        yield Diagnosis("sync.config", "unknown" if hidden else "problem", str(error))
        return
    answer = None
    if proc.is_live and config.socket:
        reading = collect_sync(Socket(config.socket), None, timeout=3.0)
        answer = reading.sync or reading.failures["sync"]
    yield from diagnose_daemon(answer, config, read_host(config, proc))


def doctor(args: argparse.Namespace) -> Iterator[str]:
    """Yield a line for each diagnosis; the exit status is 1 if there is a problem."""
    from rich.text import Text

    proc = arguments.proc_root(args.proc_root)
    if args.config and args.netns == "all":
        raise InvalidRequest(
            "--config is compared with one namespace: name it, or leave out --netns"
        )
    every: list[Diagnosis] = []

    def doctor_here(netns: str | None) -> Iterator[str]:
        # conntrackd belongs to the host, and not to each namespace.
        ours = netns is None or args.config
        diagnoses = [*diagnose(host(proc)), *(_daemon(args, proc) if ours else ())]
        every.extend(diagnoses)
        if args.json:
            yield as_json(
                {"netns": netns, "checks": [diagnosis._asdict() for diagnosis in diagnoses]}
            )
            return
        yield f"network namespace {netns}\n" if netns else ""
        for diagnosis in diagnoses:
            remedy = f"\n  → {printable(diagnosis.remedy)}" if diagnosis.remedy else ""
            yield render(
                Text.assemble(MARKS[diagnosis.status], f" {printable(diagnosis.message)}{remedy}")
            )

    yield from entering.each(args.netns, doctor_here)
    if any(diagnosis.status == "problem" for diagnosis in every):
        raise SystemExit(run.FAILURE)

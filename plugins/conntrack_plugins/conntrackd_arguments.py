"""How the command line says where conntrackd is, for check_conntrackd and conntrack-stat sync."""

from __future__ import annotations

import contextlib
import shlex

from conntrack_common.errors import ConntrackError, DaemonUnreachable, InvalidRequest
from conntrack_common.proc.files import ProcRoot
from conntrack_plugins.arguments import whole_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from conntrack_common.conntrackd.report import Way
    from conntrack_common.model.conntrackd import SyncConfig

COMMAND = "conntrackd"
# Of a daemon that hangs, sudo's children would stay: they are root's, and only timeout ends them.
BY_SUDO = "sudo -n /usr/bin/timeout 5 /usr/sbin/conntrackd"
LONGEST_AGE = 10**9  # seconds

WAYS = (
    ("--socket", "PATH", "its UNIX socket (default: as configured)"),
    ("--config", "FILE", "its configuration, where the socket stands"),
    ("--file", "FILE", "a saved report; - is standard input"),
    ("--peer-file", "FILE", "the other node's saved report"),
    ("--peer-socket", "PATH", "the other node's socket"),
    ("--peer-command", "WORDS", f"as 'ssh other {BY_SUDO}'"),
)


def add_ways(to: argparse.ArgumentParser) -> None:
    """Add the options that say how conntrackd is asked; they have no defaults."""
    import argparse

    to.add_argument(
        "--command",
        metavar="WORDS",
        nargs="?",
        const=COMMAND,
        default=argparse.SUPPRESS,
        help=f"ask by 'conntrackd -s', as --command '{BY_SUDO}'",
    )
    for flag, metavar, text in WAYS:
        to.add_argument(flag, metavar=metavar, default=argparse.SUPPRESS, help=text)


def add_max_age(to: argparse.ArgumentParser) -> None:
    """Add the option that says how old a saved report may be; it has no default."""
    to.add_argument(
        "--max-age",
        metavar="SECONDS",
        type=whole_number(0, LONGEST_AGE),
        help="how old a saved report may be before it is a WARNING; 0 is any (900)",
    )


def way(file: str, command: str, socket: str, config: str) -> Way:
    """Return the way to ask that the options mean; raises InvalidRequest."""
    from conntrack_common.conntrackd.report import Command, SavedReport, Socket

    if file:
        return SavedReport(file)
    if command:
        return Command(_words(command), config or None)
    if socket:
        return Socket(socket)
    from conntrack_common.conntrackd.conf import find_socket

    if not config:
        return Socket(find_socket())
    path = read_config(config).socket  # a broken or missing one is told, not passed over
    if path is None:
        raise InvalidRequest(
            f"{config} configures no socket, so conntrackd can't be asked: add "
            "'UNIX { Path /var/run/conntrackd.ctl }' to General"
        )
    return Socket(path)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise InvalidRequest(
            f"the command {command!r} is no command line ({error}): quote it as for a shell"
        ) from error


def peer_way(file: str, command: str, socket: str) -> Way | None:
    """Return the way to the other node that the options mean, or None; raises InvalidRequest."""
    return way(file, command, socket, "") if file or command or socket else None


def config_file() -> str:
    """Return conntrackd's configuration where it usually stands, or "" where there is none."""
    from os.path import lexists

    from conntrack_common.conntrackd.conf import CONFIG_FILES

    return next((path for path in CONFIG_FILES if lexists(path)), "")


def read_config(path: str) -> SyncConfig:
    """Return conntrackd's configuration; raises InvalidRequest, NotPermitted."""
    from conntrack_common.conntrackd import conf

    return conf.read_config(path)


def explain(failure: ConntrackError, asked: Way, config: str, proc: ProcRoot) -> str:
    """Return why conntrackd gave no statistics, with what the host shows of it."""
    from conntrack_common.conntrackd.process import read_facts
    from conntrack_common.conntrackd.report import Socket
    from conntrack_common.model.conntrackd import SyncConfig

    if not isinstance(failure, DaemonUnreachable) or not isinstance(asked, Socket):
        return str(failure)
    lock = SyncConfig("").lock_file
    with contextlib.suppress(ConntrackError):
        lock = read_config(config or config_file()).lock_file
    facts = read_facts(asked.path, lock, proc)
    notes = [str(failure)]
    if facts.processes:
        pids = ", ".join(str(process.pid) for process in facts.processes)
        notes.append(f"a conntrackd runs (process {pids}), but not on this socket")
    elif facts.lock_exists:
        notes.append(f"its lock file {lock} is stale and would keep it from starting: remove it")
    return "; ".join(notes)

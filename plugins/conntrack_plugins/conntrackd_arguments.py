"""The options that choose how conntrackd is read, for check_conntrackd and conntrack-stat sync."""

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
# If the daemon hangs, sudo's children would stay: they belong to root, and only timeout ends them.
BY_SUDO = "sudo -n /usr/bin/timeout 5 /usr/sbin/conntrackd"
LONGEST_AGE = 10**9  # seconds

WAYS = (
    ("--socket", "PATH", "conntrackd's UNIX socket (default: as in conntrackd.conf)"),
    ("--config", "FILE", "conntrackd.conf, which names the socket"),
    ("--file", "FILE", "read a file with the output of 'conntrackd -s'; - is standard input"),
    ("--peer-file", "FILE", "read the other node's statistics from a file"),
    ("--peer-socket", "PATH", "read the other node's statistics from this socket"),
    ("--peer-command", "WORDS", f"read them by a command, such as 'ssh other {BY_SUDO}'"),
)


def add_ways(to: argparse.ArgumentParser) -> None:
    """Add the options that choose how conntrackd is read; they have no defaults."""
    import argparse

    to.add_argument(
        "--command",
        metavar="WORDS",
        nargs="?",
        const=COMMAND,
        default=argparse.SUPPRESS,
        help="run 'conntrackd -s' instead of using the socket; WORDS replaces 'conntrackd', as "
        f"'{BY_SUDO}'",
    )
    for flag, metavar, text in WAYS:
        to.add_argument(flag, metavar=metavar, default=argparse.SUPPRESS, help=text)


def add_max_age(to: argparse.ArgumentParser) -> None:
    """Add the option for how old a saved report may be; it has no default."""
    to.add_argument(
        "--max-age",
        metavar="SECONDS",
        type=whole_number(0, LONGEST_AGE),
        help="WARNING if a saved report is older than this; 0: never (900)",
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
    path = read_config(config).socket  # a broken or missing one is an error here
    if path is None:
        raise InvalidRequest(
            f"{config} configures no socket, so conntrackd can't be reached: add "
            "'UNIX { Path /var/run/conntrackd.ctl }' to General"
        )
    return Socket(path)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise InvalidRequest(
            f"the command {command!r} is not understood ({error}): quote it as for a shell"
        ) from error


def peer_way(file: str, command: str, socket: str) -> Way | None:
    """Return the way to the other node that the options mean, or None; raises InvalidRequest."""
    return way(file, command, socket, "") if file or command or socket else None


def config_file() -> str:
    """Return the path of conntrackd's configuration where it usually is, or "" without one."""
    from os.path import lexists

    from conntrack_common.conntrackd.conf import CONFIG_FILES

    return next((path for path in CONFIG_FILES if lexists(path)), "")


def read_config(path: str) -> SyncConfig:
    """Return conntrackd's configuration; raises InvalidRequest, NotPermitted."""
    from conntrack_common.conntrackd import conf

    return conf.read_config(path)


def explain(failure: ConntrackError, asked: Way, config: str, proc: ProcRoot) -> str:
    """Return why conntrackd has no statistics, with what the host shows of it."""
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
        notes.append(f"its lock file {lock} is stale and keeps it from starting: remove it")
    return "; ".join(notes)

"""What the host shows of conntrackd without asking it: its processes, its lock file, its socket.

The lock file holds no process id (src/main.c: only O_EXCL), so it does not show whose it is; the
daemon removes it, and the socket, unless it is killed.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from os import listdir
from os import stat as stat_file

from conntrack_common.digits import whole
from conntrack_common.errors import NotAvailable, NotPermitted
from conntrack_common.model.conntrackd import DaemonFacts, DaemonProcess
from conntrack_common.proc.files import ProcRoot


def read_facts(socket: str, lock_file: str, proc: ProcRoot) -> DaemonFacts:
    """Return whether lock file and socket are there, and the daemons of all network namespaces.

    What this user may not see is None; with hidepid, processes of others are not among them.
    Raises nothing.
    """
    return DaemonFacts(
        lock_exists=_exists(lock_file),
        socket_exists=_exists(socket, is_socket=True),
        processes=find_daemons(proc),
    )


def is_used(configs: Iterable[str], socket: str, proc: ProcRoot) -> bool:
    """Return whether a configuration, the socket or a process shows that somebody runs the daemon.

    What this user may not see counts as seen. Raises nothing.
    """
    files = (_exists(path) for path in (*configs, socket))
    return any(seen is not False for seen in files) or bool(find_daemons(proc))


def _exists(path: str, *, is_socket: bool = False) -> bool | None:
    try:
        mode = stat_file(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return None
    return stat.S_ISSOCK(mode) or not is_socket


def find_daemons(proc: ProcRoot) -> tuple[DaemonProcess, ...]:
    """Return the running conntrackd daemons, without their children and without its clients."""
    try:
        numbers = [whole(name) for name in listdir(proc.path)]
    except OSError:
        return ()
    found: dict[int, tuple[int, DaemonProcess]] = {}
    for number in sorted(number for number in numbers if number is not None):
        parent_and_daemon = _read_daemon(proc, str(number))
        if parent_and_daemon:
            found[number] = parent_and_daemon
    return tuple(daemon for parent, daemon in found.values() if parent not in found)


def _read_daemon(proc: ProcRoot, name: str) -> tuple[int, DaemonProcess] | None:
    try:
        status = proc.read(f"{name}/stat") or ""
        if "(conntrackd)" not in status:
            return None
        command = proc.read(f"{name}/cmdline") or ""
    except (NotAvailable, NotPermitted):
        return None  # it ended meanwhile, or is hidden
    return parse_process(status, command)


def parse_process(status: str, command: str) -> tuple[int, DaemonProcess] | None:
    """Return the parent's id and the daemon, from /proc/PID/stat and cmdline; None for a client.

    A daemon has no options but -d and -C FILE (src/main.c); all others are a client's. One that
    has ended and waits for its parent (Z) is none.
    """
    pid, _, rest = status.partition(" (conntrackd) ")
    state_and_parent = rest.split(None, 2)
    words = command.rstrip("\0").split("\0")[1:]
    config = None
    while words:
        word = words.pop(0)
        if word == "-C" and words:
            config = words.pop(0)
        elif word != "-d":
            return None
    if len(state_and_parent) < 3 or state_and_parent[0] in ("Z", "X"):
        return None
    own, parent = whole(pid), whole(state_and_parent[1])
    if own is None or parent is None:
        return None
    return parent, DaemonProcess(own, state_and_parent[0], config)

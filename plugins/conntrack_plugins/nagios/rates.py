"""What a check remembers from its last run, so that it knows how fast a counter grows.

The file is JSON under an exclusive lock, so that two runs at the same time wait for each other. It
is this user's and begins with a mark: no other file is read or written, whatever --state-file
says.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
import zlib
from collections.abc import Iterator, Mapping

from conntrack_common.errors import InvalidRequest
from conntrack_common.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A rate over less than this would turn a single event into a flood.
SHORTEST = 1.0
# Runs are forgotten after this, or a file would grow with the namespaces that there ever were.
LONGEST = 7 * 86400.0
DIRECTORY = "/var/tmp/conntrack-plugins-"  # noqa: S108 - default_path looks whose it is
REMEDY = "give --state-file a file in a directory that only this user may write to"
MARK = "conntrack-plugins "  # every name begins with it, and so every file
LARGEST = 16 << 20  # bytes
PATIENCE = 1.0  # seconds to wait for another run that has the file
PAUSE = 0.01


class Earlier(NamedTuple):
    """The counters of an earlier run, and how many seconds ago that was."""

    seconds: float
    counters: Mapping[str, int]


def exchange(
    path: str,
    run: str,
    now: Mapping[str, int],
    age: float = 0.0,
    patience: float = PATIENCE,
) -> Earlier | None:
    """Remember the counters of this run and return those of the last one of the same name.

    `run` names the boot, the namespace and the options that a check runs with; others in the file
    are left alone. On the first run, as with a damaged file, the answer is None. A run within
    SHORTEST of the last one is compared with the one before that, and changes nothing. `age` is how
    many seconds ago the counters were read: of a report that nobody wrote anew, the rate stays what
    it was. Raises InvalidRequest; the file is then as it was.
    """
    import json

    try:
        with _opened(path) as file:
            _lock(file, patience)
            content = os.pread(file, LARGEST, 0)
            if not _is_mine(content):
                raise _Refused("it holds something else: remove it, or name another file")
            # Under the lock, so that of two runs the later one to write has the later time.
            clock = time.clock_gettime(time.CLOCK_BOOTTIME)
            kept = _kept(content, clock)
            name = f"{MARK}{zlib.crc32(run.encode('utf-8', 'surrogatepass')):08x}"
            earlier, pair = _compared(kept.get(name), now, clock, age)
            if pair:
                _write(file, json.dumps({**kept, name: pair}).encode())
    except OSError as error:
        raise InvalidRequest(
            f"{path} can't be used to remember counters ({error.strerror}): {REMEDY}"
        ) from error
    return earlier


class _Refused(OSError):
    """The file is none that this user's checks have written."""

    def __init__(self, reason: str) -> None:
        super().__init__(0, reason)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    # Of a pipe, only O_NONBLOCK does not wait for the other end.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if os.path.islink(path):
        raise _Refused("it is a symbolic link")
    file = os.open(path, flags, 0o600)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise _Refused("it is no regular file")
        if found.st_uid != os.geteuid():
            raise _Refused("it belongs to another user")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _Refused("others may write to it")
        yield file
    finally:
        os.close(file)


def _lock(file: int, patience: float) -> None:
    """Wait for the file's lock, which anybody may hold who can read it, and no longer than that."""
    until = time.monotonic() + patience
    while not _is_locked(file):
        if time.monotonic() >= until:
            raise _Refused("another process has it locked")
        time.sleep(PAUSE)


def _is_locked(file: int) -> bool:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_mine(content: bytes) -> bool:
    """Return whether a file's content was written here, or is nothing that anybody could miss."""
    # A file system that was not unmounted may have left zeros.
    return content.startswith(f'{{"{MARK}'.encode()) or not content.strip(b"\0\t\n\r ")


def _kept(content: bytes, clock: float) -> dict[str, Any]:
    """Return the runs that a file holds, by name; of a damaged one none."""
    import json

    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return {name: pair for name, pair in found.items() if _is_pair(pair, clock)}


def _write(file: int, content: bytes) -> None:
    at = 0
    while at < len(content):
        at += os.pwrite(file, content[at:], at)
    os.ftruncate(file, len(content))
    os.fchmod(file, 0o600)  # whoever can read it can lock it


def _compared(
    pair: Any, now: Mapping[str, int], clock: float, age: float
) -> tuple[Earlier | None, Any]:
    """Return what to compare with, and the last runs if they have to be remembered anew."""
    moment = clock - age
    last, base = pair or (None, None)
    if last and last["time"] - moment >= SHORTEST:  # a report from before the last one
        base, last = None, None
    elif last and moment - last["time"] >= SHORTEST:
        base, last = last, None
    earlier = Earlier(moment - base["time"], base["counters"]) if base else None
    return earlier, None if last else ({"time": moment, "counters": dict(now)}, base)


def _is_pair(remembered: object, clock: float) -> bool:
    """Return whether these are the last run and the one before that this module wrote."""
    return (
        isinstance(remembered, list)
        and len(remembered) == 2
        and _is_run(remembered[0], clock)
        and (remembered[1] is None or _is_run(remembered[1], clock))
    )


def _is_run(remembered: object, clock: float) -> bool:
    """Return whether this is a run that this module wrote, in the past of this boot."""
    return (
        isinstance(remembered, dict)
        and isinstance(remembered.get("time"), float)
        and clock - LONGEST < remembered["time"] <= clock
        and isinstance(remembered.get("counters"), dict)
        and all(type(value) is int and value >= 0 for value in remembered["counters"].values())
    )


def default_path(check: str, subject: str) -> str:
    """Return the file where a check of this subject (its options) remembers its counters.

    Services with other options use another file, because they run at other times. Raises
    InvalidRequest when its directory can't be trusted.
    """
    # systemd names several with ':' between them.
    directory = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    directory = directory or f"{DIRECTORY}{os.getuid()}"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        found = os.lstat(directory)
    except OSError as error:
        raise InvalidRequest(f"{directory} can't be made ({error.strerror}): {REMEDY}") from error
    mine = found.st_uid in (os.getuid(), 0) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not (stat.S_ISDIR(found.st_mode) and mine):
        raise InvalidRequest(f"{directory} is writable to others, or no directory: {REMEDY}")
    return f"{directory}/{check}-{zlib.crc32(subject.encode('utf-8', 'surrogatepass')):08x}.json"

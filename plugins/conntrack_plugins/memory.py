"""What a check remembers from its last run, so that it can tell how fast a counter grows.

The file is a nagiosplugin.Cookie: JSON under an exclusive lock, so that two runs at the same time
wait for each other.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections.abc import Mapping

from conntrack_common.errors import InvalidRequest
from conntrack_common.record import NamedTuple

# A rate over less than this would turn a single event into a flood.
SHORTEST = 1.0
DIRECTORY = "/var/tmp/conntrack-plugins-"  # noqa: S108 - default_path looks whose it is
REMEDY = "give --state-file a file in a directory that only this user may write to"


class Earlier(NamedTuple):
    """The counters of an earlier run, and how many seconds ago that was."""

    seconds: float
    counters: Mapping[str, int]


def exchange(path: str, identity: str, now: Mapping[str, int]) -> Earlier | None:
    """Remember the counters of this run and return those of the last one.

    `identity` names the boot and the namespace; after a change, as on the first run, there is
    nothing to compare with and the answer is None. A run within SHORTEST of the last one is
    compared with the one before that, and changes nothing. Raises InvalidRequest.
    """
    import nagiosplugin

    cookie = nagiosplugin.Cookie(path)
    try:
        with cookie:
            # Under the lock, so that of two runs the later one to write has the later time.
            clock = time.clock_gettime(time.CLOCK_BOOTTIME)
            return _exchange(cookie, identity, now, clock)
    except ValueError:
        # Cookie has emptied the damaged file, but still locks it: this is a first run.
        cookie.close()
        return exchange(path, identity, now)
    except OSError as error:
        raise InvalidRequest(
            f"{path} can't be used to remember counters ({error.strerror}): {REMEDY}"
        ) from error


def _exchange(
    cookie: dict[str, object], identity: str, now: Mapping[str, int], clock: float
) -> Earlier | None:
    last, base = cookie.get("last"), cookie.get("base")
    if cookie.get("identity") != identity or not _is_run(last, clock):
        last = base = None
    elif clock - last["time"] >= SHORTEST:  # type: ignore[index]
        base, last = last, None
    if last is None:
        cookie.update(identity=identity, last={"time": clock, "counters": dict(now)}, base=base)
    if not _is_run(base, clock):
        return None
    return Earlier(clock - base["time"], base["counters"])  # type: ignore[index]


def _is_run(remembered: object, clock: float) -> bool:
    """Tell whether this is a run that this module wrote, in the past of this boot."""
    return (
        isinstance(remembered, dict)
        and isinstance(remembered.get("time"), float)
        and remembered["time"] <= clock
        and isinstance(remembered.get("counters"), dict)
        and all(isinstance(value, int) for value in remembered["counters"].values())
    )


def default_path(check: str, subject: str) -> str:
    """Return the file where a check of this subject (its options) remembers its counters.

    Services with other options use another file, because they run at other times. Raises
    InvalidRequest when its directory can't be trusted.
    """
    directory = os.environ.get("STATE_DIRECTORY") or f"{DIRECTORY}{os.getuid()}"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        found = os.lstat(directory)
    except OSError as error:
        raise InvalidRequest(f"{directory} can't be made ({error.strerror}): {REMEDY}") from error
    mine = found.st_uid in (os.getuid(), 0) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not (stat.S_ISDIR(found.st_mode) and mine):
        raise InvalidRequest(f"{directory} is writable to others, or no directory: {REMEDY}")
    return f"{directory}/{check}-{zlib.crc32(subject.encode()):08x}.json"

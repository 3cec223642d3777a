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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A rate over less than this would turn a single event into a flood.
SHORTEST = 1.0
# Runs are forgotten after this, or a file would grow with the namespaces that there ever were.
LONGEST = 7 * 86400.0
DIRECTORY = "/var/tmp/conntrack-plugins-"  # noqa: S108 - default_path looks whose it is
REMEDY = "give --state-file a file in a directory that only this user may write to"


class Earlier(NamedTuple):
    """The counters of an earlier run, and how many seconds ago that was."""

    seconds: float
    counters: Mapping[str, int]


def exchange(path: str, run: str, now: Mapping[str, int], age: float = 0.0) -> Earlier | None:
    """Remember the counters of this run and return those of the last one of the same name.

    `run` names the boot, the namespace and the options that a check runs with; others in the file
    are left alone. On the first run the answer is None. A run within SHORTEST of the last one is
    compared with the one before that, and changes nothing. `age` is how many seconds ago the
    counters were read: of a report that nobody wrote anew, the rate stays what it was. Raises
    InvalidRequest.
    """
    import nagiosplugin

    cookie = nagiosplugin.Cookie(path)
    try:
        with cookie:
            # Under the lock, so that of two runs the later one to write has the later time.
            clock = time.clock_gettime(time.CLOCK_BOOTTIME)
            return _exchange(cookie, f"{zlib.crc32(run.encode()):08x}", now, clock, age)
    except ValueError:
        # Cookie has emptied the damaged file, but still locks it: this is a first run.
        cookie.close()
        return exchange(path, run, now, age)
    except OSError as error:
        raise InvalidRequest(
            f"{path} can't be used to remember counters ({error.strerror}): {REMEDY}"
        ) from error


def _exchange(
    cookie: dict[str, Any], run: str, now: Mapping[str, int], clock: float, age: float
) -> Earlier | None:
    kept = {name: pair for name, pair in cookie.items() if _is_pair(pair, clock)}
    moment = clock - age
    last, base = kept.get(run, (None, None))
    if last and last["time"] - moment >= SHORTEST:  # a report from before the last one
        base, last = None, None
    elif last and moment - last["time"] >= SHORTEST:
        base, last = last, None
    if last is None:
        kept[run] = ({"time": moment, "counters": dict(now)}, base)
        cookie.clear()
        cookie.update(kept)
    return Earlier(moment - base["time"], base["counters"]) if base else None


def _is_pair(remembered: object, clock: float) -> bool:
    """Tell whether these are the last run and the one before that this module wrote."""
    return (
        isinstance(remembered, list)
        and len(remembered) == 2
        and _is_run(remembered[0], clock)
        and clock - remembered[0]["time"] < LONGEST
        and (remembered[1] is None or _is_run(remembered[1], clock))
    )


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

"""Network namespaces: which there are, and what they are called.

Formats: ip-netns(8), namespaces(7), proc(5).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from conntrack_common.digits import whole
from conntrack_common.errors import ConntrackError, InvalidRequest, NotAvailable, NotPermitted
from conntrack_common.netns.containers import owner
from conntrack_common.records import NamedTuple

ALL = "all"
HOST = "host"  # what the namespace of process 1 is called
SELF = "self"  # and this thread's own, where it has no other name
OWN = {HOST: b"/proc/1/ns/net", SELF: b"/proc/thread-self/ns/net"}
PROCESS = "pid:"
NAMED = b"/run/netns"
FOLDER = b"/netns"  # where ip-netns(8), Docker, Podman, containerd and CRI-O name theirs
# What Docker, Podman and CNI call theirs is another name after a restart.
MADE_UP = re.compile(rb"[0-9a-f]{12}|(?:cni-|netns-)?[0-9a-f]{8}-[0-9a-f-]{27}")
ESCAPED = re.compile(r"\\[x\\]")
OCTAL = re.compile(rb"\\([0-3][0-7]{2})")  # as mountinfo writes blanks, backslashes and newlines
LISTED = 10  # names in a sentence


class Namespace(NamedTuple):
    """A network namespace: the name that it is shown by, and a file that it is mounted on."""

    name: str
    path: bytes


def label(name: bytes) -> str:
    r"""Return a file's name as text for any agent and terminal; no two names become the same.

    What is not printable, or no UTF-8, is written as `\xNN` for each byte, and each backslash
    beside it as two; so is a name that looks like the result of that.
    """
    text = name.decode("utf-8", "surrogateescape")
    if text.isprintable() and not ESCAPED.search(text):
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character == "\\":
        return r"\\"
    if character.isprintable():
        return character
    return "".join(rf"\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def find(name: str) -> list[Namespace]:
    """Return the namespaces that a name, a path, a process ID or `all` means.

    `all` is each namespace once: the host's, those that are mounted on a file, as ip-netns(8)
    and container runtimes do, and those of running processes. A name is that of such a file, or
    one that `all` shows. Raises InvalidRequest, and NotPermitted for a path.
    """
    if name == ALL:
        return _all()
    if name in OWN:
        return [Namespace(name, OWN[name])]
    if "/" in name:
        return [_at_path(_raw(name))]
    return _called(name) or _process(name) or _shown(name)


def _called(name: str) -> list[Namespace]:
    path = NAMED + b"/" + _raw(name)
    paths = [mount for mount in _mounts() if _name(mount) == _name(path)]
    if _raw(name) in _files():  # which may be a file that no namespace is mounted on any more
        paths.append(path)
    return [Namespace(_name(path), path) for path in paths[:1]]


def _process(name: str) -> list[Namespace]:
    process = name.removeprefix(PROCESS)
    if not whole(process) or not os.path.exists(f"/proc/{process}"):
        return []
    return [Namespace(PROCESS + process, _of_process(process))]


def _shown(name: str) -> list[Namespace]:
    every = _all()
    shown = [namespace for namespace in every if namespace.name == name]
    if not shown:
        raise InvalidRequest(f"there is no network namespace {name!r}: {_choice(every)}")
    return shown


def _choice(every: Iterable[Namespace]) -> str:
    names = [namespace.name for namespace in every if not namespace.name.startswith(PROCESS)]
    listed = ", ".join(names[:LISTED])
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"give its path, a process ID, {ALL!r}, or a name, such as {listed}{more}"


def _raw(name: str) -> bytes:
    """Return a name as the file system has it; an agent may use what the locale can't."""
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def _name(path: bytes) -> str:
    folder, _, name = path.rpartition(b"/")
    text = label(name)
    is_free = text not in OWN and text != ALL and not text.startswith(PROCESS)
    return text if folder.endswith(FOLDER) and is_free else label(path)


def _of_process(process: object) -> bytes:
    return f"/proc/{process}/ns/net".encode()


def _at_path(path: bytes) -> Namespace:
    try:
        if inode(path):
            return Namespace(_name(path), path)
    except PermissionError as error:
        raise refusal(error, path) from error
    except (OSError, ValueError):
        pass  # no such file
    raise InvalidRequest(
        f"{label(path)} is not a network namespace: give a file that one is mounted on, such as "
        f"{os.fsdecode(NAMED)}/NAME or /proc/PID/ns/net"
    )


def inode(path: bytes) -> int | None:
    """Return the inode of the namespace that is mounted on a file; None if there is none.

    Raises OSError.
    """
    file = os.stat(path)
    return file.st_ino if file.st_dev == _device() else None


@functools.cache
def _device() -> int:
    """Return the device of the file system that all namespaces' files are on, and no others."""
    return os.stat(OWN[SELF]).st_dev


def _files() -> list[bytes]:
    try:
        return os.listdir(NAMED)
    except OSError:
        return []


def _mounts() -> list[bytes]:
    """Return the files on which network namespaces are mounted, those of ip-netns(8) first."""
    with open("/proc/thread-self/mountinfo", "rb") as file:
        lines = [line.split(b" ") for line in file.read().split(b"\n")]
    paths = {
        OCTAL.sub(lambda found: bytes([whole(found[1].decode(), base=8) or 0]), line[4])
        for line in lines
        if len(line) > 4 and line[3].startswith(b"net:[")
    }
    return sorted(paths, key=lambda path: (not path.startswith(NAMED + b"/"), path))


def _all() -> list[Namespace]:
    known: dict[int, Namespace] = {}
    names: set[str] = {ALL}
    for name, path in _candidates(known):
        with contextlib.suppress(OSError):  # it has gone, or may not be looked at
            number = inode(path)
            if number and number not in known:
                known[number] = Namespace(label(path) if name in names else name, path)
                names.add(known[number].name)
    return list(known.values())


def _candidates(known: Collection[int]) -> Iterator[tuple[str, bytes]]:
    """Yield names and paths, the best name of a namespace first.

    `known` are the inodes of those that have a name by now: they need no other.
    """
    mounts = _mounts()
    made_up = [path for path in mounts if MADE_UP.fullmatch(path.rpartition(b"/")[2])]
    yield HOST, OWN[HOST]
    yield from ((_name(path), path) for path in mounts if path not in made_up)
    yield SELF, OWN[SELF]
    others = [process for number, process in _processes().items() if number not in known]
    owners = {process: _owner(process) for process in others}
    # Where a container has several namespaces, nothing says which of them is its own.
    single = {name for name, times in Counter(owners.values()).items() if name and times == 1}
    yield from ((name, _of_process(process)) for process, name in owners.items() if name in single)
    yield from ((_name(path), path) for path in made_up)
    yield from ((f"{PROCESS}{process}", _of_process(process)) for process in others)


def _processes() -> dict[int, int]:
    """Return the inodes of the namespaces that processes are in, each with the lowest process."""
    lowest: dict[int, int] = {}
    for process in sorted(filter(None, map(whole, os.listdir("/proc")))):
        with contextlib.suppress(OSError):  # it has ended, or may not be looked at
            number = inode(_of_process(process))
            if number:
                lowest.setdefault(number, process)
    return lowest


def _owner(process: int) -> str:
    try:
        with open(f"/proc/{process}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            return label(owner(file.read()).encode("utf-8", "surrogateescape"))
    except OSError:
        return ""


def refusal(error: OSError, path: bytes = b"") -> ConntrackError:
    """Return the taxonomy's error for the kernel's error about a namespace."""
    if error.errno in {errno.EPERM, errno.EACCES}:
        return NotPermitted(
            "entering another network namespace needs root (CAP_SYS_ADMIN): run it with sudo"
        )
    which = f" {label(path)}" if path else ""
    return NotAvailable(f"the network namespace{which} can't be entered: {error.strerror}")

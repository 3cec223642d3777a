"""Network namespaces: which there are, entering them, and making one that nobody else sees.

Entering changes the calling thread alone; whatever it reads then (sockets, /proc/sys/net,
/proc/thread-self/net) is the namespace's. Format: ip-netns(8), namespaces(7).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from conntrack_common.errors import ConntrackError, InvalidRequest, NotAvailable, NotPermitted
from conntrack_common.record import NamedTuple
from conntrack_common.sources.procfs import ProcRoot

CLONE_NEWNET = 0x40000000
NAMED = "/run/netns"
HOST = "host"  # what the namespace of process 1 is called
SELF = "self"  # and this thread's own, where it has no other name
PROC = ProcRoot().path
OWN = {HOST: f"{PROC}/1/ns/net", SELF: f"{PROC}/thread-self/ns/net"}


class Namespace(NamedTuple):
    """A network namespace: what it is called, and a file that stands for it."""

    name: str
    path: str


def find(name: str) -> list[Namespace]:
    """Return the namespaces that NAME, a process's number or `all` means.

    `all` is each namespace once: the host's, those that ip-netns(8) names, and those of running
    processes (that is, of containers). Raises InvalidRequest.
    """
    if name == "all":
        return list(_all())
    if name in OWN:
        return [Namespace(name, OWN[name])]
    named = Namespace(name, f"{NAMED}/{name}")
    if "/" not in name and os.path.exists(named.path):
        return [named]
    if name.isascii() and name.isdigit() and os.path.exists(f"{PROC}/{name}"):
        return [Namespace(f"pid:{name}", f"{PROC}/{name}/ns/net")]
    known = ", ".join([*_names(), *OWN, "all"])
    raise InvalidRequest(
        f"there is no network namespace {name!r}: give a process's number or one of {known}"
    )


def _names() -> list[str]:
    try:
        return sorted(os.listdir(NAMED))
    except OSError:
        return []


def _all() -> Iterator[Namespace]:
    seen = set()
    candidates = [Namespace(HOST, OWN[HOST])]
    candidates += [Namespace(name, f"{NAMED}/{name}") for name in _names()]
    candidates += [Namespace(SELF, OWN[SELF])]
    candidates += [
        Namespace(f"pid:{number}", f"{PROC}/{number}/ns/net")
        for number in sorted(int(name) for name in os.listdir(PROC) if name.isdigit())
    ]
    for candidate in candidates:
        try:
            found = os.stat(candidate.path)
        except OSError:
            continue  # the process has ended, or may not be looked at
        if (found.st_dev, found.st_ino) not in seen:
            seen.add((found.st_dev, found.st_ino))
            yield candidate


@contextlib.contextmanager
def inside(namespace: Namespace) -> Iterator[None]:
    """Let this thread work in another network namespace.

    Raises NotPermitted without CAP_SYS_ADMIN, NotAvailable if the namespace has gone.
    """
    with contextlib.ExitStack() as stack:
        home = _open(f"{PROC}/thread-self/ns/net", stack)
        there = _open(namespace.path, stack)
        _call("setns", there, CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", home, CLONE_NEWNET)


def each(name: str) -> Iterator[str | None]:
    """Let this thread work in each namespace that a name means, one after the other.

    Yields what the namespace is called; with an empty name, only None: the thread stays where it
    is. Raises as `find` and `inside` do, but passes over those of `all` that have gone.
    """
    if not name:
        yield None
        return
    for namespace in find(name):
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(inside(namespace))
            except NotAvailable:
                if name != "all":
                    raise
                continue
            yield namespace.name


def enter_new() -> None:
    """Move this process into a new network namespace, which ends with the process.

    Raises NotPermitted without CAP_SYS_ADMIN, NotAvailable on a kernel without namespaces.
    """
    _call("unshare", CLONE_NEWNET)


def _open(path: str, stack: contextlib.ExitStack) -> int:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _refusal(error) from error
    stack.callback(os.close, file)
    return file


def _call(function: str, *arguments: int) -> None:
    # os.setns and os.unshare came with Python 3.12; pyroute2 takes 0.15 s to import.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments):
        number = ctypes.get_errno()
        raise _refusal(OSError(number, os.strerror(number)))


def _refusal(error: OSError) -> ConntrackError:
    if error.errno in {errno.EPERM, errno.EACCES}:
        return NotPermitted(
            "other network namespaces are open to root (CAP_SYS_ADMIN) only: run it with sudo"
        )
    return NotAvailable(f"the network namespace can't be entered: {error.strerror}")

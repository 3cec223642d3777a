"""Entering network namespaces, and making one that nobody else sees.

Entering changes only the calling thread; whatever it reads then (sockets, /proc/sys/net,
/proc/thread-self/net) belongs to the namespace. Format: namespaces(7).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from conntrack_common.errors import ConntrackError, NotAvailable, Stranded
from conntrack_common.netns.names import ALL, OWN, SELF, Namespace, find, inode, label, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    Step = TypeVar("Step")

CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def inside(namespace: Namespace) -> Iterator[None]:
    """Let this thread work in another network namespace, and never beyond the with-statement.

    Raises NotPermitted without CAP_SYS_ADMIN, NotAvailable if the namespace has gone, and Stranded
    if the thread can't return.
    """
    with _opened(namespace.path) as there, _entered(there):
        yield


def each(name: str, work: Callable[[str | None], Iterator[Step]]) -> Iterator[Step]:
    """Yield what `work` yields in each namespace that a name means, one after the other.

    `work` takes what the namespace is called, and runs inside of it from one yield to the next;
    whoever iterates never does. With an empty name it is None and the thread stays where it is.
    Raises as `find` and `inside` do, but leaves out those of `all` that have gone.
    """
    if not name:
        yield from work(None)
        return
    for namespace in find(name):
        with contextlib.ExitStack() as stack:
            try:
                there = stack.enter_context(_opened(namespace.path))
            except NotAvailable:
                if name != ALL:
                    raise
                continue
            yield from _steps(there, work(namespace.name))


def _steps(there: int, steps: Iterator[Step]) -> Iterator[Step]:
    while True:
        with _entered(there):
            try:
                step = next(steps)
            except StopIteration:
                return
        yield step


def enter_new() -> None:
    """Move this process into a new network namespace, which ends with the process.

    Raises NotPermitted without CAP_SYS_ADMIN, NotAvailable on a kernel without namespaces.
    """
    _call("unshare", CLONE_NEWNET)


@contextlib.contextmanager
def _opened(path: bytes) -> Iterator[int]:
    try:
        if not inode(path):
            raise NotAvailable(f"{label(path)} is no longer a network namespace: remove it")
        # It might be a pipe by now, and whoever opens that waits.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise refusal(error, path) from error
    try:
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _entered(there: int) -> Iterator[None]:
    with _opened(OWN[SELF]) as home:
        _enter(home)  # a thread that may not return doesn't leave
        try:
            _enter(there)
            yield
        finally:
            try:
                _enter(home)
            except ConntrackError as error:
                raise Stranded(
                    f"this thread can't return to its own network namespace ({error}): "
                    "nothing that it reads can be trusted, so it must end"
                ) from error


def _enter(file: int) -> None:
    _call("setns", file, CLONE_NEWNET)


def _call(function: str, *arguments: int) -> None:
    # os.setns and os.unshare came with Python 3.12; pyroute2 takes 0.15 s to import.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments):
        number = ctypes.get_errno()
        raise refusal(OSError(number, os.strerror(number)))

"""Who uses a netlink port: the program that changed the table.

Formats: /proc/net/netlink (netlink_seq_show in net/netlink/af_netlink.c), /proc/PID/fd and comm.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from conntrack_common.ctnetlink.socket import NETLINK_NETFILTER
from conntrack_common.digits import whole
from conntrack_common.printable import printable

SOCKETS = "/proc/thread-self/net/netlink"


class Programs:
    """Finds programs by their ports; the last one is remembered as long as its socket is there."""

    def __init__(self) -> None:
        self._last: tuple[int, str] = 0, ""
        self._name = ""

    def name(self, port: int) -> str:
        """Return the name of the program whose socket has this port; empty if it has gone."""
        inode = _inode(port)
        if (port, inode) != self._last:
            self._last, self._name = (port, inode), _program(port, inode) if inode else ""
        return self._name


def _inode(port: int) -> str:
    """Return the inode of netfilter's socket with this port; empty if there is none."""
    with contextlib.suppress(OSError), open(SOCKETS, encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[1:3] == [str(NETLINK_NETFILTER), str(port)]:
                return words[9]
    return ""


def _program(port: int, inode: str) -> str:
    for pid in _processes(port):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is another user's
            if any(link == f"socket:[{inode}]" for link in _links(pid)):
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    # conntrack(8) reads it up to the first ')', in which /proc/PID/stat ends it.
                    return printable(file.read().rstrip("\n").partition(")")[0])
    return ""


def _processes(port: int) -> Iterator[str]:
    """Yield processes, the most likely first: a program's first port is its process's number."""
    yield str(port)
    with contextlib.suppress(OSError):
        yield from (name for name in os.listdir("/proc") if whole(name) is not None)


def _links(pid: str) -> Iterator[str]:
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/{pid}/fd/{name}")

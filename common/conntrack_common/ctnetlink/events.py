"""ctnetlink's events: entries that are new, changed or gone, as the kernel sends them.

The kernel drops events when a listener's buffer is full, and says so once (ENOBUFS). That is
counted as lost and never fatal. Format: linux/netfilter/nfnetlink.h (enum nfnetlink_groups).
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterable, Mapping

from conntrack_common.ctnetlink.census import Census, Query
from conntrack_common.ctnetlink.socket import NetlinkSocket, refusal
from conntrack_common.errors import ConntrackError, InvalidRequest, MalformedData, NotAvailable
from conntrack_common.model import EventCounts
from conntrack_common.proc.files import ProcRoot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
SO_RCVBUFFORCE = 33
GROUPS = {"NEW": 1, "UPDATE": 2, "DESTROY": 3}  # NFNLGRP_CONNTRACK_*
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400
IPCTNL_MSG_CT_DELETE = 2
BUFFER = 16 << 20  # bytes; some 30,000 events, as the kernel accounts for them
LARGEST_BUFFER = (1 << 30) - 1  # the kernel doubles it, in an int (sock_setsockopt)
TICK = 0.2  # seconds after which a quiet listener looks whether it should stop


def event_name(kind: int, flags: int) -> str:
    """Return what a message says: NEW, UPDATE or DESTROY."""
    if kind == IPCTNL_MSG_CT_DELETE:
        return "DESTROY"
    return "NEW" if flags & (NLM_F_CREATE | NLM_F_EXCL) else "UPDATE"


def parse_names(text: str) -> tuple[str, ...]:
    """Return the events that `-e NEW,UPDATES,DESTROY,ALL` means; raises InvalidRequest."""
    names: list[str] = []
    for word in text.upper().split(","):
        name = "UPDATE" if word == "UPDATES" else word
        if name != "ALL" and name not in GROUPS:
            raise InvalidRequest(f"{word!r} is no event: known are NEW, UPDATES, DESTROY and ALL")
        names += GROUPS if name == "ALL" else [name]
    return tuple(dict.fromkeys(names))


def silence(proc: ProcRoot) -> str:
    """Return why the kernel sends no event of a new entry in this namespace; empty if it may."""
    try:
        settings = proc.sysctls()
    except ConntrackError:
        return ""  # hidden, as containers do
    if settings.entries is not None and settings.events is None:
        return "this kernel has no events (it is built without CONFIG_NF_CONNTRACK_EVENTS)"
    if settings.events == 0:
        return (
            "events are switched off in this network namespace (nf_conntrack_events is 0): "
            "'sysctl -w net.netfilter.nf_conntrack_events=1' switches them on for new entries"
        )
    return ""


class Listener:
    """A subscription; use it as a context manager.

    `lost` counts how often the kernel had to drop events, `buffer` is the room that it gave them
    in bytes. Raises InvalidRequest (a buffer of no such size), NotPermitted, NotAvailable.
    """

    def __init__(self, names: Iterable[str] = tuple(GROUPS), buffer: int = BUFFER) -> None:
        if not 0 < buffer <= LARGEST_BUFFER:
            raise InvalidRequest(
                f"a receive buffer of {buffer} bytes: give a number from 1 to {LARGEST_BUFFER}"
            )
        self.lost = 0
        self._netlink = NetlinkSocket(TICK)
        sock = self._netlink.socket
        try:
            self._set_buffer(sock, buffer)
            for name in names:
                sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, GROUPS[name])
        except OSError as error:
            sock.close()
            raise refusal(error) from error
        self.buffer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        self._receive = sock.recv

    @staticmethod
    def _set_buffer(sock: socket.socket, size: int) -> None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
        except PermissionError:  # at most net.core.rmem_max then
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_error: object) -> None:
        self._netlink.socket.close()

    def receive(self) -> bytes:
        """Return the next datagram of events, or nothing if none came within a tick."""
        try:
            return self._receive(65536)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                self.lost += 1
            elif error.errno not in {errno.EAGAIN, errno.EINTR}:
                raise refusal(error) from error
            return b""


def query(
    key: tuple[str, ...] = (),
    accepts: Callable[[Mapping[str, Any]], bool] = lambda _fields: True,
    tested: tuple[str, ...] = (),
    test: Callable[[tuple[Any, ...]], bool] | None = None,
) -> Query:
    """Return what counts events by their names; the arguments are a filter's."""

    def label(fields: Mapping[str, Any]) -> str | None:
        return event_name(fields["type"], fields["flags"]) if accepts(fields) else None

    return Query(key, label, tested=tested, test=test)


class EventCounter:
    """Counts events in a thread, from its making until `close`.

    Raises NotPermitted, NotAvailable (no thread can be started, among others).
    """

    def __init__(self, wanted: Query | None = None, buffer: int = BUFFER) -> None:
        self._listener = Listener(buffer=buffer)
        self._census = Census(wanted or query())
        self._stopped = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="conntrack-events", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._listener.__exit__()
            raise NotAvailable(
                f"events are counted in a thread, and none can be started ({error}): raise the "
                "service's TasksMax= or the user's limit of processes (ulimit -u)"
            ) from error

    def _run(self) -> None:
        try:
            while not self._stopped:
                self._count(self._listener.receive())
        except BaseException as error:  # noqa: BLE001 - whoever asks for the counts is told
            self._failure = error

    def _count(self, data: bytes) -> None:
        try:
            self._census.count(data)
        except MalformedData:
            self._listener.lost += 1  # one event that could not be read

    def counts(self) -> EventCounts:
        """Return the events so far; raises NotAvailable once none can come any more, and why."""
        if reason := silence(ProcRoot()):
            raise NotAvailable(reason)
        if self._failure is not None:
            reason = str(self._failure) or type(self._failure).__name__
            raise NotAvailable(f"events are no longer counted ({reason}): restart this process")
        return event_counts(self._census, self._listener.lost)

    def close(self) -> None:
        """Stop counting."""
        self._stopped = True
        self._thread.join()
        self._listener.__exit__()


def event_counts(census: Census, lost: int) -> EventCounts:
    """Return a census of events as counts."""
    counted = census.by_label()
    new, update, destroy = (counted.get(name, 0) for name in GROUPS)
    return EventCounts(new, update, destroy, lost)

"""Receiving dumps of the table as fast as the kernel makes them.

A thread does nothing but receive: recv gives up the interpreter's lock while the kernel fills the
buffer, so that the kernel's time and the reader's overlap. Where no thread can be had, the reader
receives for itself.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence

from conntrack_common.ctnetlink.messages import (
    HEADER,
    NFNL_SUBSYS_CTNETLINK,
    NLMSG_DONE,
    NLMSG_ERROR,
    answer_end,
)
from conntrack_common.ctnetlink.socket import NLM_F_DUMP, NetlinkSocket, raise_end, request
from conntrack_common.ctnetlink.watch import Watch
from conntrack_common.errors import NotAvailable
from conntrack_common.model import Change
from conntrack_common.records import NamedTuple

IPCTNL_MSG_CT_GET = 1
AHEAD = 8  # buffers that may wait for their reader
LOOKS = 16  # buffers between two looks at the table's size: some 2,000 entries, 6 ms
DONE_SIZE = HEADER.size + 4
TIMEOUT = 20.0  # seconds without an answer


class Request(NamedTuple):
    """What to dump: one address family (0 is all), filtered by attributes where the kernel can."""

    family: int = 0
    attributes: bytes = b""
    subsystem: int = NFNL_SUBSYS_CTNETLINK
    command: int = IPCTNL_MSG_CT_GET


ALL = (Request(),)


class Pass:
    """One pass over the table: iterate it once for the kernel's answers, buffers of whole messages.

    `plain` is requested instead where not so many sockets can be had. Raises NotPermitted,
    NotAvailable, Interrupted, MalformedData.
    """

    def __init__(
        self, requests: Sequence[Request] = ALL, plain: Sequence[Request] | None = None
    ) -> None:
        self._requests = requests
        self._plain = requests if plain is None else plain
        self._dumps: Sequence[_Dump] = ()
        self._watch = Watch()

    def __iter__(self) -> Iterator[bytes]:
        with contextlib.ExitStack() as sockets:
            self._dumps = self._opened(sockets)
            for number, data in enumerate(_ahead(self._dumps)):
                if number % LOOKS == LOOKS - 1:
                    self._watch.look()
                yield data

    def _opened(self, sockets: contextlib.ExitStack) -> Sequence[_Dump]:
        try:
            return [_Dump(each, sockets) for each in self._requests]
        except NotAvailable:
            if self._plain == self._requests:
                raise
        sockets.close()
        return [_Dump(each, sockets) for each in self._plain]

    def change(self, read: int) -> Change | None:
        """Return how the table changed, so many entries having been read; ask when all were."""
        all_was_asked = tuple(dump.wanted for dump in self._dumps) == ALL
        return self._watch.change(read if all_was_asked else None)


class _Dump:
    """One dump: iterate it once.

    The kernel refuses a filter before the first entry or never, and then is asked without it.
    `wanted` is what it was asked for at last.
    """

    def __init__(self, wanted: Request, sockets: contextlib.ExitStack) -> None:
        self.wanted = wanted
        self._netlink = sockets.enter_context(NetlinkSocket(TIMEOUT))

    def __iter__(self) -> Iterator[bytes]:
        data, end = self._begun()
        while end is None:
            yield data
            data, end = self._received()
        yield data[:end]

    def _begun(self) -> tuple[bytes, int | None]:
        try:
            return self._asked()
        except NotAvailable:
            if not self.wanted.attributes:
                raise
        self.wanted = self.wanted._replace(attributes=b"")
        return self._asked()

    def _asked(self) -> tuple[bytes, int | None]:
        family, attributes, subsystem, command = self.wanted
        # In here the kernel goes through the table until the first buffer is full: by a filter
        # that leaves few entries, that is the time of the whole dump.
        self._netlink.send(request(subsystem, command, NLM_F_DUMP, attributes, family, 1))
        return self._received()

    def _received(self) -> tuple[bytes, int | None]:
        data = self._netlink.receive()
        end = answer_end(data) if looks_last(data) else None  # not every buffer is gone through
        if end is not None:
            raise_end(data[end:])
        return data, end


def looks_last(data: bytes) -> bool:
    """Return whether a buffer ends as a dump's last one does, or begins as a refusal does."""
    if len(data) < DONE_SIZE:
        return True
    length, kind, *_ = HEADER.unpack_from(data, len(data) - DONE_SIZE)
    return (length, kind) == (DONE_SIZE, NLMSG_DONE) or HEADER.unpack_from(data)[1] == NLMSG_ERROR


def _ahead(dumps: Sequence[_Dump]) -> Iterator[bytes]:
    """Yield the buffers of all dumps, each of them received by a thread where one can be had."""
    waiting: queue.Queue[bytes | BaseException | None] = queue.Queue(AHEAD)
    receivers: list[_Receiver] = []
    try:
        for dump in dumps:
            receiver = _Receiver(dump, waiting)
            try:
                receiver.start()
            except RuntimeError:  # the user or the service may have no more threads
                break
            receivers.append(receiver)
        running = len(receivers)
        while running:
            item = waiting.get()
            if isinstance(item, bytes):
                yield item
            elif item is None:
                running -= 1
            else:
                raise item
        for dump in dumps[len(receivers) :]:
            yield from dump
    finally:
        for receiver in receivers:
            receiver.stop()


class _Receiver(threading.Thread):
    """Receives one dump until its end, or until it is stopped."""

    def __init__(self, dump: _Dump, waiting: queue.Queue[bytes | BaseException | None]) -> None:
        super().__init__(name="conntrack-dump", daemon=True)
        self._dump = dump
        self._waiting = waiting
        self._stopped = False

    def run(self) -> None:
        """Hand over each buffer, and at last None, or what was raised: the reader waits for it."""
        last = None
        try:
            for data in self._dump:
                self._waiting.put(data)
                if self._stopped:
                    break
        except BaseException as error:  # noqa: BLE001 - whatever it is, the reader raises it
            last = error
        self._waiting.put(last)

    def stop(self) -> None:
        """End the thread; it is in recv or in put, and neither lasts."""
        self._stopped = True
        while self.is_alive():
            with contextlib.suppress(queue.Empty):
                self._waiting.get(timeout=0.01)

"""Receiving the table, with faults that a real kernel can't be made to have."""

from __future__ import annotations

import errno
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest

import scripted
from captures import ENTRIES, LISTING
from conntrack_common.breakdown import count_margins, count_table
from conntrack_common.collect import with_events
from conntrack_common.ctnetlink import watch
from conntrack_common.ctnetlink.dump import ALL, Pass, Request, looks_last
from conntrack_common.ctnetlink.events import LARGEST_BUFFER, EventCounter, Listener
from conntrack_common.ctnetlink.messages import answer_end
from conntrack_common.errors import (
    ConntrackError,
    Interrupted,
    InvalidRequest,
    MalformedData,
    NotAvailable,
)
from conntrack_common.filters.filter import Filter
from conntrack_common.listing import Dump
from conntrack_common.model import Reading, Sysctls
from scripted import Asked, ScriptedKernel, installed

UDP = Filter(protocol=17)  # by tuple, so that each family has a dump of its own
UDP_ENTRIES = sum(line.startswith("udp ") for line in LISTING)
REFUSALS = [errno.EOPNOTSUPP, errno.EINVAL]
READERS: list[Callable[[Filter], int]] = [
    lambda wanted: count_table((), wanted).total,
    lambda wanted: count_table(["src"], wanted).total,
    lambda wanted: count_margins(wanted).total,
    lambda wanted: sum(1 for _entry in Dump(wanted)),
]


def is_of(family: int, message: bytes) -> bool:
    return not family or message[16] == family


def everything(asked: Asked) -> list[bytes]:
    return scripted.buffers([message for message in ENTRIES if is_of(asked.family, message)])


def dumping() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "conntrack-dump"]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The host's own table is not looked at, and no thread is left."""
    monkeypatch.setattr(watch, "table_size", Sysctls)
    yield
    assert dumping() == []


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("refusing", [(2,), (10,), (2, 10)])
def test_a_late_refusal_makes_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[Filter], int],
    number: int,
    refusing: tuple[int, ...],
) -> None:
    """One family's dump may be refused long after the other's has begun."""

    def script(asked: Asked) -> Iterable[bytes]:
        if asked.family in refusing and asked.attributes:
            time.sleep(0.1)
            return [scripted.refused(number)]
        return everything(asked)

    installed(monkeypatch, ScriptedKernel(script))
    assert read(UDP) == UDP_ENTRIES


@pytest.mark.parametrize("read", READERS)
def test_a_second_socket_that_can_not_be_had_makes_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[Filter], int]
) -> None:
    """EMFILE is no refusal of the filter, but one dump of all needs one socket."""
    kernel = installed(monkeypatch, ScriptedKernel(everything))
    kernel.refuses_to_open = lambda open_by_now: errno.EMFILE if open_by_now else 0
    assert read(UDP) == UDP_ENTRIES
    kernel.refuses_to_open = lambda _open_by_now: errno.EMFILE
    with pytest.raises(NotAvailable):
        read(UDP)


@pytest.mark.parametrize("read", READERS)
def test_an_error_after_the_first_entries_is_an_error(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[Filter], int]
) -> None:
    """What stands between entries can't be mended by asking once more: they are out already."""
    script = [b"".join(ENTRIES[:20]), scripted.refused(errno.EOPNOTSUPP)]
    kernel = installed(monkeypatch, ScriptedKernel(lambda _asked: script))
    with pytest.raises(NotAvailable):
        read(UDP)
    assert len([asked for asked in kernel.asked if asked.kind == 1 << 8 | 1]) == 2


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("end", [scripted.done, scripted.refused])
@pytest.mark.parametrize("before", [(), (b"".join(ENTRIES[:20]),)])
def test_a_dump_that_ends_with_an_error_is_no_table(
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[Filter], int],
    end: Callable[[int], bytes],
    before: tuple[bytes, ...],
) -> None:
    script = [*before, end(errno.ENOMEM)]
    installed(monkeypatch, ScriptedKernel(lambda _asked: script))
    with pytest.raises(Interrupted, match="try again"):
        read(Filter())


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        RuntimeError("a third kind"),
        KeyboardInterrupt(),
        MalformedData("a", "b", "c"),
    ],
)
def test_whatever_ends_the_receiving_reaches_the_reader(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[Filter], int], fault: BaseException
) -> None:
    script = [b"".join(ENTRIES[:20]), fault]
    installed(monkeypatch, ScriptedKernel(lambda _asked: script))
    with pytest.raises(type(fault)):
        read(Filter())


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize("wanted", [Filter(), UDP])
def test_without_threads_the_table_is_read_all_the_same(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[Filter], int], threads: int, wanted: Filter
) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if len(started) >= threads:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    installed(monkeypatch, ScriptedKernel(everything))
    assert read(wanted) == (UDP_ENTRIES if wanted.protocol else len(LISTING))


def test_one_dump_in_the_kernels_order_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = installed(monkeypatch, ScriptedKernel(everything))
    families = [entry.family for entry in Dump(Filter())]
    theirs = ["ipv6" if re.search(r"src=\S*:", line) else "ipv4" for line in LISTING]
    assert Counter(families) == Counter(theirs)
    assert [asked.family for asked in kernel.asked if asked.kind == 1 << 8 | 1] == [0]


def test_a_reader_may_stop_early(monkeypatch: pytest.MonkeyPatch) -> None:
    script = [*[b"".join(ENTRIES)] * 100, scripted.done()]
    kernel = installed(monkeypatch, ScriptedKernel(lambda _asked: script))
    entries = iter(Dump(Filter()))
    next(entries)
    entries.close()  # type: ignore[attr-defined]
    assert [each.is_closed for each in kernel.sockets if each.asked[0].kind == 1 << 8 | 1] == [True]


def test_bytes_that_look_like_an_end_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry may end in the same bytes as a dump does, and another may follow."""
    lookalike = scripted.netlink(1 << 8, ENTRIES[0][16:] + scripted.done())
    assert looks_last(lookalike)
    assert answer_end(lookalike) is None
    script = [ENTRIES[1] + lookalike, b"".join(ENTRIES), scripted.done()]
    installed(monkeypatch, ScriptedKernel(lambda _asked: script))
    assert b"".join(Pass()) == b"".join(script[:2])


def test_an_end_may_stand_behind_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer_end(ENTRIES[0] + scripted.done()) == len(ENTRIES[0])
    assert answer_end(b"".join(ENTRIES)) is None
    script = [b"".join(ENTRIES) + scripted.done()]
    installed(monkeypatch, ScriptedKernel(lambda _asked: script))
    assert b"".join(Pass(ALL)) == b"".join(ENTRIES)


def test_a_refusal_without_another_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ScriptedKernel(lambda _asked: [scripted.refused(errno.EOPNOTSUPP)]))
    for requests in (ALL, (Request(2), Request(10))):
        with pytest.raises(NotAvailable):
            list(Pass(requests))
        with pytest.raises(NotAvailable):
            list(Pass(requests, plain=requests))


# Events, which are counted in a thread, too.


def counter_of(monkeypatch: pytest.MonkeyPatch, fault: BaseException) -> EventCounter:
    """A counter whose socket fails as soon as it is asked."""
    kernel = ScriptedKernel(lambda _asked: ())
    installed(monkeypatch, kernel)
    original = scripted.ScriptedSocket.recv

    def recv(self: scripted.ScriptedSocket, size: int) -> bytes:
        raise fault

    monkeypatch.setattr(scripted.ScriptedSocket, "recv", recv)
    counter = EventCounter()
    monkeypatch.setattr(scripted.ScriptedSocket, "recv", original)
    counter._thread.join(10)
    return counter


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOMEM, "Cannot allocate memory"), MemoryError(), RuntimeError("odd")]
)
def test_a_counter_of_events_that_has_ended_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    counter = counter_of(monkeypatch, fault)
    reason = str(fault.strerror if isinstance(fault, OSError) else fault) or "MemoryError"
    for _time in range(3):
        with pytest.raises(ConntrackError, match=rf"{reason}.*restart"):
            counter.counts()
    reading = with_events(Reading(time=1.0, host="gate"), counter)
    assert reading.events is None
    assert reason in str(reading.failures["events"])
    counter.close()


def test_without_threads_events_are_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    kernel = installed(monkeypatch, ScriptedKernel(lambda _asked: ()))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(NotAvailable, match=r"TasksMax=.*ulimit -u"):
        EventCounter()
    assert [each.is_closed for each in kernel.sockets] == [True]


@pytest.mark.parametrize("size", [-1, 0, LARGEST_BUFFER + 1, 2**31, 2**40, 10**15, 10**30])
def test_a_buffer_beyond_the_kernels_is_refused_in_a_sentence(size: int) -> None:
    with pytest.raises(InvalidRequest, match=f"{size} bytes"):
        Listener(buffer=size)

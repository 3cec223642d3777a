"""Receiving dumps: early ends, refusals, few resources, and threads that end."""

from __future__ import annotations

import shlex
import struct
import threading
from pathlib import Path

import pytest

import oracle
from conntrack_common.breakdown import count_table
from conntrack_common.ctnetlink.census import Census, Query
from conntrack_common.ctnetlink.dump import Pass, Request
from conntrack_common.ctnetlink.events import EventCounter
from conntrack_common.ctnetlink.messages import NFNL_SUBSYS_CTNETLINK
from conntrack_common.ctnetlink.socket import NLM_F_DUMP, NetlinkSocket, raise_end, request
from conntrack_common.errors import ConntrackError, NotAvailable
from conntrack_common.filters.filter import Filter
from conntrack_common.listing import Dump
from installation import Installation
from namespaces import Filled, Namespace

pytestmark = pytest.mark.kernel

TOTAL = Query((), lambda _found: "all")
CLIENTS = 600  # of netlink, one after the other


def dumping() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "conntrack-dump"]


def test_a_dump_ends_and_so_do_its_threads(filled: Filled) -> None:
    census = Census(TOTAL)
    with filled.namespace.entered():
        for data in Pass():
            census.count(data)
    assert census.total == filled.entries
    assert dumping() == []


def test_a_reader_may_stop_early(filled: Filled) -> None:
    with filled.namespace.entered():
        buffers = iter(Pass())
        next(buffers)
        buffers.close()  # type: ignore[attr-defined]
    assert dumping() == []


def test_a_failing_reader_leaves_no_thread(filled: Filled) -> None:
    def read() -> None:
        for _data in Pass():
            raise RuntimeError("enough")

    with filled.namespace.entered(), pytest.raises(RuntimeError):
        read()
    assert dumping() == []


def test_a_refused_request_is_the_taxonomys_error(filled: Filled) -> None:
    wrong = Request(family=2, attributes=struct.pack("=HHI", 8, 25, 0), command=77)
    with filled.namespace.entered(), pytest.raises(ConntrackError):
        list(Pass([wrong]))
    assert dumping() == []


# CTA_FILTER with CTA_FILTER_ORIG_FLAGS, all of which no kernel knows.
UNKNOWN = struct.pack("=HHHHI", 12, 25 | 0x8000, 8, 1, 0xFFFFFFFF)


class Refused(Filter):
    """A filter whose kernel part is refused by kernels that know filters (5.8)."""

    def requests(self) -> tuple[Request, ...]:
        return tuple(each._replace(attributes=UNKNOWN) for each in super().requests())


def test_an_unknown_filter_is_refused(filled: Filled) -> None:
    with filled.namespace.entered(), NetlinkSocket() as netlink:
        netlink.send(request(NFNL_SUBSYS_CTNETLINK, 1, NLM_F_DUMP, UNKNOWN, 2, 1))
        with pytest.raises(NotAvailable):
            raise_end(netlink.receive())


def test_a_kernel_that_refuses_the_filter_gives_the_same_answer(filled: Filled) -> None:
    with filled.namespace.entered():
        expected = count_table(["protocol"], Filter(protocol=17))
        assert count_table(["protocol"], Refused(protocol=17)) == expected
        assert sum(1 for _entry in Dump(Refused(protocol=17))) == expected.total


def test_a_second_list_may_be_asked_for_before_the_first_has_ended(filled: Filled) -> None:
    """The kernel has one dump a socket, and says EBUSY to another one."""
    with filled.namespace.entered(), NetlinkSocket() as netlink:
        for _time in range(3):
            unread = netlink.dump(NFNL_SUBSYS_CTNETLINK, 1)
            next(unread)
        assert sum(1 for _message in netlink.dump(NFNL_SUBSYS_CTNETLINK, 1)) == filled.entries


@pytest.mark.parametrize("processes", [1, 2])
def test_without_threads_commands_say_the_same(
    filled: Filled, installation: Installation, processes: int
) -> None:
    """RLIMIT_NPROC leaves a user one process, or one more for a single thread."""

    def run(words: str, *before: str) -> str:
        argv = [*before, *shlex.split(words)]
        argv[len(before)] = installation.command(argv[len(before)])
        done = filled.namespace.run(argv, user="64123", caps=["net_admin"])
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    for words in (
        "conntrack-stat count --json --by protocol,state",
        "conntrack-stat count --json -p udp --by zone",
        "conntrack-telegraf --metrics table.protocol,tcp.state",
        "conntrack-stat list -o conntrack -p icmp",
    ):
        limited = run(words, "prlimit", f"--nproc={processes}")
        assert oracle.timeless(run(words)) == oracle.timeless(limited)


def test_without_threads_events_are_refused_and_nothing_else(
    filled: Filled, installation: Installation
) -> None:
    words = [installation.command("conntrack-telegraf"), "--execd"]
    done = filled.namespace.run(
        ["prlimit", "--nproc=1", *words], user="64123", caps=["net_admin"], stdin="\n\n"
    )
    assert done.returncode == 0, done
    assert done.stdout.count(f"conntrack entries={filled.entries}i") == 2
    assert "TasksMax=" in done.stderr
    assert "Traceback" not in done.stderr


def test_events_of_many_clients_are_one_key(namespace: Namespace) -> None:
    """Each netlink client has a port of its own, and events carry it."""
    entry = "-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2"
    script = f"conntrack -I {entry} -t 60 && conntrack -D {entry}"
    with namespace.entered():
        counter = EventCounter()
    try:
        namespace.must(
            "sh", "-c", f"for n in $(seq {CLIENTS // 2}); do {script}; done >/dev/null 2>&1"
        )
        events = counter.counts()
        assert (events.new, events.destroy, events.lost) == (CLIENTS // 2, CLIENTS // 2, 0)
        assert counter._census.shapes.keys <= 4
    finally:
        counter.close()


def test_reading_leaves_no_file_open(filled: Filled) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with filled.namespace.entered():
        for wanted in (Filter(), Filter(protocol=17), Refused(protocol=17)):
            count_table(["protocol"], wanted)
    assert len(list(Path("/proc/self/fd").iterdir())) == before

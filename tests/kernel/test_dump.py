"""Receiving dumps: early ends, refusals, and threads that end."""

from __future__ import annotations

import struct
import threading

import pytest

from conntrack_common.breakdown import count_table
from conntrack_common.errors import ConntrackError
from conntrack_common.filters import Filter
from conntrack_common.sources.dump import Request, looks_last, receive
from conntrack_common.sources.table import Census, Query
from namespaces import Filled

pytestmark = pytest.mark.kernel

TOTAL = Query((), lambda _found: "all")


def dumping() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "conntrack-dump"]


def test_a_dump_ends_and_so_do_its_threads(filled: Filled) -> None:
    census = Census(TOTAL)
    with filled.namespace.entered():
        for buffer in receive():
            buffer.ended = census.count(buffer.data)
    assert census.total == filled.entries
    assert dumping() == []


def test_a_reader_may_stop_early(filled: Filled) -> None:
    with filled.namespace.entered():
        buffers = receive()
        next(buffers)
        buffers.close()
    assert dumping() == []


def test_a_failing_reader_leaves_no_thread(filled: Filled) -> None:
    def read() -> None:
        for _buffer in receive():
            raise RuntimeError("enough")

    with filled.namespace.entered(), pytest.raises(RuntimeError):
        read()
    assert dumping() == []


def test_a_refused_request_is_the_taxonomys_error(filled: Filled) -> None:
    wrong = Request(family=2, attributes=struct.pack("=HHI", 8, 25, 0), command=77)
    census = Census(TOTAL)

    def read() -> None:
        for buffer in receive([wrong]):
            buffer.ended = census.count(buffer.data)

    with filled.namespace.entered(), pytest.raises(ConntrackError):
        read()
    assert dumping() == []


def test_a_kernel_that_refuses_the_filter_gives_the_same_answer(filled: Filled) -> None:
    class Refused(Filter):
        """A filter whose kernel part no kernel knows (both families: EOPNOTSUPP)."""

        def requests(self) -> tuple[Request, ...]:
            return tuple(request._replace(family=0) for request in super().requests())

    with filled.namespace.entered():
        expected = count_table(["protocol"], Filter(protocol=17))
        assert count_table(["protocol"], Refused(protocol=17)) == expected


def test_bytes_that_look_like_an_end_are_none() -> None:
    done = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)
    assert looks_last(b"\0" * 100 + done)
    assert not looks_last(b"\x64\0\0\0" + b"\0" * 100)

"""netlink's framing: what is short, too long, or refused."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scripted
from conntrack_common.ctnetlink import stats
from conntrack_common.ctnetlink.messages import attribute, attributes, message, split_messages
from conntrack_common.ctnetlink.socket import (
    NetlinkSocket,
    error_number,
    refusal,
    set_receive_timeout,
)
from conntrack_common.errors import (
    ConntrackError,
    Interrupted,
    MalformedData,
    NotAvailable,
    NotPermitted,
)
from scripted import ScriptedKernel, installed

EXPECTATION = scripted.netlink(2 << 8, b"\2\0\0\0")  # NFNL_SUBSYS_CTNETLINK_EXP
SO_RCVTIMEO_NEW = 66  # asm-generic/socket.h, since Linux 5.1


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40))))
def test_attributes_are_read_as_they_are_written(pairs: list[tuple[int, bytes]]) -> None:
    assert list(attributes(b"".join(attribute(*pair) for pair in pairs))) == pairs


@given(st.binary(max_size=100))
def test_arbitrary_bytes_raise_only_malformed_data(data: bytes) -> None:
    for read in (attributes, split_messages):
        try:
            list(read(data))
        except MalformedData:
            continue


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_a_wrong_length_is_malformed(length: int) -> None:
    with pytest.raises(MalformedData):
        list(attributes(struct.pack("=HHI", length, 1, 0)))


def test_short_bodies_are_malformed() -> None:
    with pytest.raises(MalformedData):
        message(b"\2\0")
    with pytest.raises(MalformedData):
        error_number(b"\0\0")
    assert message(b"\2\0\0\7rest") == (2, 7, b"rest")
    assert error_number(struct.pack("=i", -13)) == 13


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EPERM, NotPermitted),
        (errno.EPROTONOSUPPORT, NotAvailable),
        (errno.EINVAL, NotAvailable),
        (errno.ENOBUFS, Interrupted),
        (errno.ENOMEM, Interrupted),
        (errno.EINTR, Interrupted),
        (errno.EAGAIN, Interrupted),
        (errno.ENOENT, NotAvailable),
    ],
)
def test_refusals_are_the_taxonomys(number: int, kind: type[Exception]) -> None:
    assert type(refusal(OSError(number, "so"))) is kind


def listed(monkeypatch: pytest.MonkeyPatch, *answers: bytes | BaseException) -> list[object]:
    """What a list is read as whose answers are these."""
    installed(monkeypatch, ScriptedKernel(lambda _asked: answers))
    with NetlinkSocket() as netlink:
        return list(netlink.dump(2, 1))


@pytest.mark.parametrize("before", [(), (EXPECTATION,), (EXPECTATION * 3, EXPECTATION)])
@pytest.mark.parametrize("end", [scripted.done, scripted.refused])
@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOMEM, Interrupted), (errno.EPERM, NotPermitted)]
)
def test_an_answer_that_ends_with_an_error_is_no_list(
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[bytes, ...],
    end: Callable[[int], bytes],
    number: int,
    kind: type[ConntrackError],
) -> None:
    with pytest.raises(kind):
        listed(monkeypatch, *before, end(number))


def test_an_answer_that_ends_well_is_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed(monkeypatch, scripted.done()) == []
    assert len(listed(monkeypatch, EXPECTATION * 2, EXPECTATION + scripted.done())) == 3


@pytest.mark.parametrize("number", [1, 4096, 2**31 - 1, -(2**31), -4096])
def test_what_is_no_error_number_is_malformed(number: int) -> None:
    """The kernel's are 0 to -4095 (MAX_ERRNO); strerror itself can't take all that an int holds."""
    with pytest.raises(MalformedData):
        error_number(struct.pack("=i", number))


@given(st.integers(-(2**31), 2**31 - 1))
def test_any_end_of_an_answer_is_success_or_the_taxonomys(number: int) -> None:
    for end in (scripted.netlink(2, struct.pack("=i", number)), scripted.netlink(3, b"\0\0")):
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(ConntrackError):
            assert listed(patch, end) == []
            assert number == 0


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOMEM, errno.EADDRINUSE])
def test_a_socket_that_can_not_be_bound_is_closed(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    kernel = installed(monkeypatch, ScriptedKernel(lambda _asked: ()))
    kernel.refuses_to_bind = number
    with pytest.raises(ConntrackError):
        NetlinkSocket()
    assert [each.is_closed for each in kernel.sockets] == [True]


@pytest.mark.parametrize("size", [8, 16])
def test_a_time_limit_has_the_size_that_the_kernel_takes(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """8 bytes on 32-bit systems, 16 where they have a 64-bit time_t, and everywhere else."""
    kernel = installed(monkeypatch, ScriptedKernel(lambda _asked: (), timeval=size))
    with NetlinkSocket(1.25):
        pass
    option = kernel.sockets[0].options[socket.SO_RCVTIMEO]
    assert isinstance(option, bytes)
    assert struct.unpack("=ii" if size == 8 else "=qq", option) == (1, 250_000)


@pytest.mark.parametrize("option", [socket.SO_RCVTIMEO, SO_RCVTIMEO_NEW])
def test_a_time_limit_is_kept_by_the_kernel(monkeypatch: pytest.MonkeyPatch, option: int) -> None:
    monkeypatch.setattr(socket, "SO_RCVTIMEO", option)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        try:
            set_receive_timeout(ours, 0.05)
        except OSError as error:
            pytest.skip(f"this kernel has no option {option}: {error}")
        began = time.monotonic()
        with pytest.raises(BlockingIOError):
            ours.recv(10)
        assert 0.04 < time.monotonic() - began < 5


def statistics(*pairs: tuple[int, bytes]) -> list[bytes]:
    body = b"\0\0\0\0" + b"".join(attribute(*pair) for pair in pairs)
    return [scripted.netlink(1 << 8 | 4, body), scripted.done()]


def test_a_statistic_of_a_newer_kernel_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new counter is kept as unknown; what is new and no counter is passed over."""
    found = statistics((2, b"\0\0\0\7"), (16, b"\0\0\0\5"), (17, bytes(8)), (18, b"text\0"))
    answers = {1 << 8 | 4: found, 2 << 8 | 3: [scripted.done()]}
    installed(monkeypatch, ScriptedKernel(lambda asked: answers[asked.kind]))
    (row,) = stats.cpu_counters()
    assert row.values == {"found": 7, "unknown16": 5}


def test_a_known_statistic_of_another_size_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ScriptedKernel(lambda _asked: statistics((2, bytes(8)))))
    with pytest.raises(MalformedData):
        stats.cpu_counters()

"""A kernel whose netlink answers a test has written: for faults that a real one never shows."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import pytest

NLMSG_ERROR, NLMSG_DONE = 2, 3


class Asked(NamedTuple):
    """One request, as far as the script looks at it."""

    kind: int
    family: int
    attributes: bytes


class ScriptedKernel:
    """Takes the place of socket.socket: each request gets the answers that `script` has for it.

    An exception among the answers is raised by recv, which says EAGAIN at the answers' end.
    """

    def __init__(
        self, script: Callable[[Asked], Iterable[bytes | BaseException]], timeval: int = 16
    ) -> None:
        self._script = script
        self._timeval = timeval
        self.sockets: list[ScriptedSocket] = []
        self.refuses_to_open: Callable[[int], int] = lambda _number: 0
        self.refuses_to_bind = 0

    def open(self, *_arguments: int) -> ScriptedSocket:
        number = self.refuses_to_open(sum(not each.is_closed for each in self.sockets))
        if number:
            raise OSError(number, "refused to open")
        self.sockets.append(ScriptedSocket(self._script, self.refuses_to_bind, self._timeval))
        return self.sockets[-1]

    @property
    def asked(self) -> list[Asked]:
        """All requests so far."""
        return [asked for each in self.sockets for asked in each.asked]


class ScriptedSocket:
    def __init__(
        self,
        script: Callable[[Asked], Iterable[bytes | BaseException]],
        refuses_to_bind: int,
        timeval: int,
    ) -> None:
        self._script, self._refuses_to_bind, self._timeval = script, refuses_to_bind, timeval
        self._answers: list[bytes | BaseException] = []
        self.asked: list[Asked] = []
        self.options: dict[int, bytes | int] = {}
        self.is_closed = False

    def bind(self, _address: tuple[int, int]) -> None:
        if self._refuses_to_bind:
            raise OSError(self._refuses_to_bind, "refused to bind")

    def settimeout(self, _seconds: float | None) -> None:
        pass

    def getsockopt(self, _level: int, _option: int, size: int = 0) -> bytes | int:
        return bytes(min(size, self._timeval)) if size else 0

    def setsockopt(self, _level: int, option: int, value: bytes | int) -> None:
        if option == socket.SO_RCVTIMEO and (
            not isinstance(value, bytes) or len(value) != self._timeval
        ):
            raise OSError(errno.EINVAL, "Invalid argument")
        self.options[option] = value

    def send(self, data: bytes) -> int:
        kind = struct.unpack_from("=H", data, 4)[0]
        self.asked.append(Asked(kind, data[16], data[20:]))
        self._answers = list(self._script(self.asked[-1]))
        return len(data)

    def recv(self, _size: int) -> bytes:
        if not self._answers:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        self.is_closed = True


def installed(monkeypatch: pytest.MonkeyPatch, kernel: ScriptedKernel) -> ScriptedKernel:
    """Let every socket that is opened from now on be the kernel's."""
    monkeypatch.setattr(socket, "socket", kernel.open)
    return kernel


def netlink(kind: int, body: bytes, flags: int = 2) -> bytes:
    """A netlink message."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def done(error: int = 0) -> bytes:
    return netlink(NLMSG_DONE, struct.pack("=i", -error))


def refused(error: int) -> bytes:
    return netlink(NLMSG_ERROR, struct.pack("=i", -error) + bytes(16), flags=0)


def buffers(messages: Sequence[bytes], size: int = 20) -> list[bytes]:
    """Messages as a dump brings them: many in each buffer, and its end."""
    parts = [b"".join(messages[at : at + size]) for at in range(0, len(messages), size)]
    return [*parts, done()]

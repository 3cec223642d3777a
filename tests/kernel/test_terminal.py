"""conntrack-stat top in a real terminal, which is given back as it was, however it ends."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

import processes
from installation import command, python_path
from namespaces import Namespace

pytestmark = pytest.mark.kernel

SCREEN, NO_SCREEN, CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


class Terminal:
    """A terminal in which `conntrack-stat top` runs; its standard error goes elsewhere."""

    def __init__(
        self, namespace: Namespace, *words: str, stdin: bool = True, term: str = "xterm"
    ) -> None:
        self.hand, self.end = pty.openpty()
        self.before = termios.tcgetattr(self.end)
        self.shown = b""
        closed = [] if stdin else ["sh", "-c", 'exec "$@" <&-', "sh"]
        self.process = subprocess.Popen(
            [*closed, *namespace.argv([*command("conntrack-stat"), "top", *words])],
            stdin=self.end,
            stdout=self.end,
            stderr=subprocess.PIPE,
            env=processes.environment({**python_path(), "TERM": term}),
            start_new_session=True,
        )

    def read(self, seconds: float = 0.05) -> bytes:
        """What is shown by now."""
        while self.hand >= 0 and select.select([self.hand], [], [], seconds)[0]:
            self.shown += os.read(self.hand, 65536)
        return self.shown

    def until(self, text: bytes) -> None:
        processes.until(lambda: text in self.read(), lambda: repr(self.shown))

    def type(self, keys: bytes) -> None:
        os.write(self.hand, keys)

    def hang_up(self) -> None:
        os.close(self.hand)
        self.hand = -1

    def ended(self) -> tuple[int, bytes]:
        """Its exit status and what it complained of."""
        processes.until(lambda: [self.read(), self.process.poll()][1] is not None, "it ends")
        assert self.process.stderr
        return self.process.returncode, self.process.stderr.read()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self.end)
        if self.hand >= 0:
            self.hang_up()


@contextlib.contextmanager
def top(namespace: Namespace, *words: str, **more: object) -> Iterator[Terminal]:
    terminal = Terminal(namespace, *words, **more)  # type: ignore[arg-type]
    try:
        yield terminal
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, -15), (signal.SIGHUP, -1), (signal.SIGINT, 130)],
    ids=["TERM", "HUP", "INT"],
)
def test_a_signal_gives_the_terminal_back(
    namespace: Namespace, number: signal.Signals, status: int
) -> None:
    with top(namespace, "--interval", "30") as terminal:
        terminal.until(b"known from the next screen on")
        assert termios.tcgetattr(terminal.end) != terminal.before
        terminal.process.send_signal(number)
        assert terminal.ended() == (status, b"")
        assert termios.tcgetattr(terminal.end) == terminal.before
        shown = terminal.read()
        assert shown.rindex(NO_SCREEN) > shown.rindex(SCREEN)
        assert CURSOR in shown[shown.rindex(SCREEN) :]


def test_keys_that_are_typed_together_are_all_taken(namespace: Namespace) -> None:
    with top(namespace, "--interval", "30") as terminal:
        terminal.until(b"known from the next screen on")
        began = time.monotonic()
        terminal.type(b"ebpeq")
        assert terminal.ended() == (0, b"")
        assert time.monotonic() - began < 20  # and not after the interval
        assert termios.tcgetattr(terminal.end) == terminal.before


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_can_not_move_gets_one_screen(namespace: Namespace, term: str) -> None:
    with top(namespace, term=term) as terminal:
        assert terminal.ended() == (0, b"")
        assert terminal.read().startswith(b"0 of ")
        assert b"\x1b" not in terminal.read()
        assert termios.tcgetattr(terminal.end) == terminal.before


def test_without_standard_input_it_has_no_keys(namespace: Namespace) -> None:
    with top(namespace, "--interval", "0.2", stdin=False) as terminal:
        terminal.until(b"new 0/s")
        terminal.process.terminate()
        assert terminal.ended() == (-15, b"")


def test_it_ends_with_its_terminal(namespace: Namespace) -> None:
    with top(namespace, "--interval", "0.2") as terminal:
        terminal.until(b"known from the next screen on")
        terminal.hang_up()
        assert terminal.ended() == (0, b"")

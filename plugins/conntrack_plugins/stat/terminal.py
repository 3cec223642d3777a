"""A terminal from which single keys are read, and which is restored however the command ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import time
import tty
from collections.abc import Iterator

KEYBOARD = 0  # standard input
QUIT = "q"


class _Ended(BaseException):
    """A signal has asked this process to end; nobody who catches Exception may ignore it."""


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Let TERM and HUP end what is inside by an exception, and then this process by themselves."""
    caught: list[int] = []

    def end(number: int, _frame: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # restoring is not disturbed
        caught.append(number)
        raise _Ended

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        for number in before:
            signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if caught else handler)
        for asked in caught:
            signal.raise_signal(asked)


@contextlib.contextmanager
def keys() -> Iterator[None]:
    """Let single keys be read, without Enter and without being shown."""
    if not os.isatty(KEYBOARD):
        yield
        return
    before = termios.tcgetattr(KEYBOARD)
    try:
        tty.setcbreak(KEYBOARD)
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(KEYBOARD, termios.TCSADRAIN, before)


def key(seconds: float) -> str:
    """Return the next key, QUIT if the terminal has gone, or nothing when the time is over."""
    if seconds <= 0:
        return ""
    if not os.isatty(KEYBOARD):
        time.sleep(seconds)
        return ""
    try:
        # Not by sys.stdin, which would read all keys that were typed and give one of them.
        ready, _, _ = select.select([KEYBOARD], [], [], seconds)
        return (os.read(KEYBOARD, 1).decode("ascii", "replace") or QUIT) if ready else ""
    except OSError:
        return QUIT


def moves() -> bool:
    """Return whether the terminal can show one screen in place of another."""
    return os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}  # as in rich

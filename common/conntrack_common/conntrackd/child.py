"""A command that is run for its output: bounded in time and size, and ended with this process.

Its children are ended with it as far as this user may: what sudo started belongs to root, and ends
by itself only if something ends it, such as timeout(1).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from conntrack_common.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Any

PIECE = 65536
ENDING = 0.2  # seconds that a killed process is waited for


class Output(NamedTuple):
    """How a command ended, and what it printed; `status` is None if it printed too much."""

    status: int | None
    output: str
    errors: str


def run(words: Sequence[str], deadline: float, longest: int, **environment: str) -> Output:
    """Run a command, without input and in a session of its own, and return what it printed.

    `deadline` is a time.monotonic(); of a command that prints more than `longest` bytes, no more
    is read. Whatever ends this call or, by TERM or HUP, this process, ends the command, too. Raises
    TimeoutError, OSError (it can't be started).
    """
    import subprocess

    with _Ending() as ending:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        status = None
        try:
            ending.watch(process)
            texts = _read(process, deadline, longest)
            if all(len(text) <= longest for text in texts):
                status = process.wait(max(0.0, deadline - monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            if status is None:
                _end(process)
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()
    output, errors = (text.decode("utf-8", "replace") for text in texts)
    return Output(status, output, errors)


def _read(process: subprocess.Popen[bytes], deadline: float, longest: int) -> list[bytearray]:
    """Return standard output and error, up to their ends or until one is too long."""
    import selectors

    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe]
    texts = [bytearray() for _ in pipes]
    with selectors.DefaultSelector() as selector:
        for pipe, text in zip(pipes, texts):
            selector.register(pipe, selectors.EVENT_READ, text)
        while selector.get_map() and all(len(text) <= longest for text in texts):
            ready = selector.select(max(0.0, deadline - monotonic()))
            if not ready and monotonic() >= deadline:
                raise TimeoutError
            for key, _events in ready:
                piece = os.read(key.fd, PIECE)
                key.data.extend(piece)
                if not piece:
                    selector.unregister(key.fileobj)
    return texts


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and its children."""
    import subprocess

    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(ENDING)


class _Ending:
    """Ends a command before this process ends, or is interrupted, by a signal of these.

    Ctrl-C would otherwise raise KeyboardInterrupt in the middle of Popen, which has started the
    command by then and knows nothing of it.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    USUAL = (signal.SIG_DFL, signal.default_int_handler)

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._caught: int | None = None
        self._taken: dict[int, Any] = {}

    def __enter__(self) -> _Ending:
        for number in self.SIGNALS:
            handler = signal.getsignal(number)
            if handler in self.USUAL:
                with suppress(ValueError):  # not in the main thread, which alone gets signals
                    signal.signal(number, self._catch)
                    self._taken[number] = handler
        return self

    def watch(self, process: subprocess.Popen[bytes]) -> None:
        """End this process, too, from now on; at once if the signal was faster."""
        self._process = process
        if self._caught is not None:
            self._catch(self._caught, None)

    def _catch(self, number: int, _frame: Any) -> None:
        self._caught = number
        if self._process is not None:
            self._caught = None
            _end(self._process)
            signal.signal(number, self._taken[number])
            signal.raise_signal(number)

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._taken.items():
            signal.signal(number, handler)
        if self._caught is not None:  # it came where nothing was started
            signal.raise_signal(self._caught)

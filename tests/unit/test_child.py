"""A command's output is bounded, and what it started ends with us, whatever ends us."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import processes
from conntrack_common.conntrackd import child
from installation import command, python_path

LONGEST = 1 << 20
# It says who it and its child are, and waits.
WAITS = "sleep 300 &\necho $$ $! >{}\nsleep 300\n"


class Rang(Exception):
    """What nagiosplugin's alarm does: it raises in the midst of anything."""


def program(folder: Path, lines: str) -> str:
    made = folder / "conntrackd"
    made.write_text(f"#!/bin/sh\n{lines}", "utf-8")
    made.chmod(0o755)
    return str(made)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def waiting(folder: Path) -> Callable[[], list[int]]:
    """What returns the ids of the program that waits, and of its child, once it does."""
    file = folder / "pids"
    return lambda: list(map(int, file.read_text("ascii").split())) if file.exists() else []


def all_ended(pids: list[int]) -> None:
    assert len(pids) == 2
    processes.until(lambda: not any(map(is_alive, pids)), f"{pids} have ended", 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("words", [["check_conntrackd"], ["conntrack-stat", "sync"]], ids=len)
def test_a_signal_ends_the_command_too(
    tmp_path: Path, words: list[str], number: signal.Signals
) -> None:
    way = ["--command", program(tmp_path, WAITS.format(tmp_path / "pids"))]
    more = ["-t", "300", "--state-file", str(tmp_path / "s")] if len(words) == 1 else []
    argv = [*command(words[0]), *words[1:], *way, *more]
    with processes.Daemon(argv, tmp_path / "log", python_path()) as ours:
        pids = ours.until(waiting(tmp_path), "the command runs")
        ours.process.send_signal(number)
        ours.process.wait(5)
        all_ended(pids)
    if number != signal.SIGINT:
        assert ours.process.returncode == -number


def test_an_alarm_ends_the_command_too(tmp_path: Path) -> None:
    def ring(_number: int, _frame: object) -> None:
        raise Rang

    words = [program(tmp_path, WAITS.format(tmp_path / "pids"))]
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(Rang):
            child.run(words, time.monotonic() + 60, LONGEST)
    finally:
        signal.signal(signal.SIGALRM, before)
    all_ended(waiting(tmp_path)())


def test_an_interrupt_while_the_command_starts_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            started.append(self)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        child.run([program(tmp_path, "exec sleep 60\n")], time.monotonic() + 60, LONGEST)
    assert started[0].poll() == -signal.SIGKILL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_deadline_ends_the_command_too(tmp_path: Path) -> None:
    words = [program(tmp_path, WAITS.format(tmp_path / "pids"))]
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        child.run(words, time.monotonic() + 0.5, LONGEST)
    assert time.monotonic() - began < 20
    all_ended(waiting(tmp_path)())


def test_what_closed_its_output_is_ended_at_the_deadline(tmp_path: Path) -> None:
    words = [program(tmp_path, "exec >&- 2>&-\n" + WAITS.format(tmp_path / "pids"))]
    with pytest.raises(TimeoutError):
        child.run(words, time.monotonic() + 0.5, LONGEST)
    all_ended(waiting(tmp_path)())


@pytest.mark.parametrize("stream", ["1", "2"])
@pytest.mark.parametrize("words", [["check_conntrackd"], ["conntrack-stat", "sync"]], ids=len)
def test_an_endless_output_is_not_kept(tmp_path: Path, words: list[str], stream: str) -> None:
    way = ["--command", program(tmp_path, f"exec cat /dev/zero >&{stream}\n")]
    state = ["--state-file", str(tmp_path / "s")] if len(words) == 1 else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    done = processes.run([*command(words[0]), *words[1:], *way, *state], env=python_path())
    assert done.returncode == {1: 3, 2: 1}[len(words)], done
    assert "still no end" in done.stdout + done.stderr
    # In kilobytes; a run without such a command takes 30,000.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(before, 100_000)


@pytest.mark.parametrize("size", [LONGEST, LONGEST + 1])
def test_the_bound_is_exact(tmp_path: Path, size: int) -> None:
    words = [program(tmp_path, f"head -c {size} /dev/zero\necho end >&2\n")]
    status, output, errors = child.run(words, time.monotonic() + 20, LONGEST)
    if size > LONGEST:
        assert status is None
        assert len(output) > LONGEST
    else:
        assert (status, len(output), errors) == (0, size, "end\n")


def test_signals_mean_afterwards_what_they_meant_before(tmp_path: Path) -> None:
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        for lines in ("true\n", "false\n"):
            child.run([program(tmp_path, lines)], time.monotonic() + 20, LONGEST)
        with pytest.raises(FileNotFoundError):
            child.run([f"{tmp_path}/none"], time.monotonic() + 20, LONGEST)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, handler)


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    words = [program(tmp_path, f"kill -HUP {os.getpid()}\nsleep 0.2\necho answer\n")]
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert child.run(words, time.monotonic() + 20, LONGEST).output == "answer\n"
    finally:
        signal.signal(signal.SIGHUP, handler)


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for lines in ("echo x\n", "exec cat /dev/zero\n", "sleep 9\n"):
        with contextlib.suppress(TimeoutError):
            child.run([program(tmp_path, lines)], time.monotonic() + 0.4, LONGEST)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_word_that_no_command_can_have() -> None:
    done = subprocess.run(
        [*command("conntrack-stat"), "sync", "--command", "no-such-program"],
        env=processes.environment(python_path()),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, "there is no program no-such-program" in done.stderr) == (1, True)

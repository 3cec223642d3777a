"""Processes that tests start: with the distribution's PATH, a mark, and an end.

Everything started here carries MARK in its environment, by which `marked` finds what was left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

MARK = f"CONNTRACK_PLUGINS_TESTS=run{os.getpid()}"
# Debian's tools and daemons want Debian's Python, not the one that runs the tests.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    name, _, value = MARK.partition("=")
    return {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/tmp", name: value, **(more or {})}


def run(
    argv: Sequence[str | os.PathLike[str]],
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run to the end; the caller judges the exit status."""
    return subprocess.run(
        [os.fspath(word) for word in argv],
        env=environment(env),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )


def must(
    argv: Sequence[str | os.PathLike[str]],
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> str:
    """Run a tool of the tests' own that has to succeed, and return what it prints."""
    done = run(argv, stdin=stdin, env=env, timeout=timeout)
    if done.returncode:
        raise AssertionError(f"{argv} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def until(
    condition: Callable[[], Result], what: str | Callable[[], str], seconds: float = 60
) -> Result:
    """Poll until the condition is true and return its value; fail with `what` at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {seconds} s: {what if isinstance(what, str) else what()}"
            )
        time.sleep(0.05)


class Daemon:
    """A daemon in the foreground, in a session of its own, ended by its id."""

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [os.fspath(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment(env),
                cwd="/",
                start_new_session=True,
            )

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask it to end; after ten seconds kill its process group."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def until(self, condition: Callable[[], Result], what: str, seconds: float = 60) -> Result:
        """Wait for something that this daemon does; fail at once if it ends before."""

        def attempt() -> Result:
            found = condition()
            if not found and self.process.poll() is not None:
                raise AssertionError(
                    f"it ended ({self.process.returncode}) before {what}:\n{self.said()[-3000:]}"
                )
            return found

        return until(attempt, lambda: f"{what}; it said:\n{self.said()[-3000:]}", seconds)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def marked() -> dict[int, str]:
    """The processes that tests started and that still run: id and command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        # It may end while it is looked at.
        with contextlib.suppress(OSError):
            if MARK.encode() in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = words.decode("utf-8", "replace").strip()
    return found

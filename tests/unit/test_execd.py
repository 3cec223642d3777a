"""Telegraf's questions on standard input: each line is one, whatever it holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import processes
from installation import command, python_path

SYSTEM = Path(__file__).parent.parent / "data" / "proc" / "ok"
WORDS = ["--execd", "--metrics", "table.entries", "--proc-root", str(SYSTEM)]
GATHER = b"conntrack entries=1000i\nconntrack_source,source=sysctls up=1i\n"


def execd(
    said: bytes, *before: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*before, *command("conntrack-telegraf"), *WORDS],
        input=said,
        env=processes.environment({**python_path(), **(env or {})}),
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("said", "gathers"),
    [
        (b"", 0),
        (b"\n", 1),
        (b"\n\n\n", 3),
        (b"some words\n\n", 2),
        (b"\r\n", 1),
        (b"half a line", 1),
        (b"\nhalf a line", 2),
        (b"\xff\xfe\n\x00\n", 2),
        (b"x" * 200_000 + b"\n" + b"y" * 70_000 + b"\n\n", 3),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_each_line_is_answered(said: bytes, gathers: int, encoding: str) -> None:
    done = execd(said, env={"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stdout, done.stderr) == (0, GATHER * gathers, b"")


def test_a_line_without_end_takes_no_memory() -> None:
    limited = ["prlimit", f"--as={200 << 20}"]
    done = execd(bytes(300 << 20) + b"\n\n", *limited)
    assert (done.returncode, done.stdout, done.stderr) == (0, GATHER * 2, b"")


def test_an_input_that_can_not_be_read_is_one_sentence() -> None:
    script = 'exec "$@" 0>/dev/null'
    done = processes.run(
        ["sh", "-c", script, "sh", *command("conntrack-telegraf"), *WORDS], env=python_path()
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "standard input can't be read (Bad file descriptor)" in done.stderr

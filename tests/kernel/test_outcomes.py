"""Every command with every standard stream closed, full or without a reader: it ends as it must.

The commands are taken from their parsers, so that a new one is tried, too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import processes
from conntrack_plugins.manual.commands import commands
from installation import command, python_path
from namespaces import Filled

pytestmark = pytest.mark.kernel

REPORT = str(Path(__file__).parent.parent / "data" / "conntrackd" / "ftfw" / "s-all.txt")
# What a command needs in order to say something, and to end.
WORDS = {
    "check_conntrackd": f"--file {REPORT} --max-age 0",
    "conntrack-stat events": "--rate --duration 1.1",
    "conntrack-stat expect": "--count",
    "conntrack-stat render": "nagios",
    "conntrack-stat sync": f"--file {REPORT}",
    "conntrack-stat top": "--once",
}
MORE = (
    "conntrack-telegraf --execd",
    "conntrack-stat list --csv",
    "conntrack-stat list -o conntrack",
    "conntrack-stat events --duration 0.3",
    "conntrack-stat nosuch",
)
# How they end as usual where that depends on nothing else.
ANOTHER = {
    "check_conntrack --help": 3,
    "check_conntrackd --help": 3,
    "conntrack-stat nosuch": 2,
}
READER_GONE = ""
STREAMS = {
    "stdout closed": ">&-",
    "stdout full": ">/dev/full",
    "stdout without a reader": READER_GONE,
    "stderr closed": "2>&-",
    "stderr full": "2>/dev/full",
    "stdin closed": "<&-",
    "all closed": "<&- >&- 2>&-",
}
WITH_OUTPUT = ("stderr closed", "stderr full", "stdin closed")


class Ended(NamedTuple):
    status: int
    output: str
    errors: str


def lines() -> Iterator[str]:
    for name, found in commands().items():
        for path in [name, *(f"{name} {sub.name}" for sub in found.subcommands)]:
            yield f"{path} {WORDS.get(path, '')}".strip()
        yield f"{name} --help"
    yield from MORE


def ended(filled: Filled, line: str, asking: Path) -> dict[str, Ended]:
    """How a command line ends as usual (under an empty name), and with each of the streams."""
    program, *words = line.split()
    reader, writer = os.pipe()
    os.close(reader)
    running = {}
    for name, redirection in {"": "2>&2", **STREAMS}.items():
        with asking.open(encoding="ascii") as stdin:
            shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command(program), *words]
            running[name] = subprocess.Popen(
                filled.namespace.argv(shell),
                stdin=stdin,
                stdout=writer if redirection == READER_GONE else subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=processes.environment({**python_path(), "COLUMNS": "100"}),
                encoding="utf-8",
            )
    os.close(writer)
    found = {}
    for name, process in running.items():
        with process:
            output, errors = process.communicate(timeout=60)
            found[name] = Ended(process.returncode, output or "", errors)
    return found


@pytest.fixture
def asking(tmp_path: Path) -> Path:
    """What stands on standard input: Telegraf's question."""
    path = tmp_path / "asking"
    path.write_text("\n", "ascii")
    return path


@pytest.mark.parametrize("line", list(lines()))
def test_each_stream_is_closed_or_full(filled: Filled, asking: Path, line: str) -> None:
    found = ended(filled, line, asking)
    usual = found.pop("")
    assert usual.status == ANOTHER.get(line, usual.status)
    for name, end in found.items():
        said = end.output + end.errors
        assert not [word for word in ("Traceback", "Exception ignored", "bug") if word in said], end
        asked = "--execd" not in line or name not in {"stdin closed", "all closed"}
        printed = bool(usual.output) and asked
        lost = printed and name not in WITH_OUTPUT
        failed = 3 if line.startswith("check_") else 1
        assert end.status == (failed if lost else usual.status), (name, end, usual)
        if name in WITH_OUTPUT:
            assert bool(end.output) == printed, (name, end)
        elif lost and name in {"stdout closed", "stdout full"}:
            assert "standard output can't be written" in end.errors.splitlines()[-1], (name, end)

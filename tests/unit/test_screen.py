"""No number, address or status is cut: not in a pipe, and not on a narrow terminal."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest

import processes
from conntrack_plugins.stat.screen import columns
from installation import command, python_path

REPORT = """\
cache internal:
current active connections:\t  4294967295
connections created:\t\t  4294967294\tfailed:\t  4294967293
connections updated:\t\t  4294967292\tfailed:\t           0
connections destroyed:\t\t  4294967291\tfailed:\t           0

UDP traffic device=enp129s0f1np1 status=NO-CARRIER role=BACKUP:
18446744073709551615 Bytes sent 18446744073709551614 Bytes recv
18446744073709551613 Pckts sent 18446744073709551612 Pckts recv
18446744073709551611 Error send 18446744073709551610 Error recv

queue rsqueue:
current elements:\t\t  4294967290
maximum elements:\t\t  4294967289
not enough space errors:\t  4294967288
"""
WORDS = ("enp129s0f1np1", "NO-CARRIER", "BACKUP", "rsqueue")
CPUS = 64
HEADINGS = "entries searched found new invalid ignore delete delete_list insert insert_failed drop"


def in_a_pipe(words: list[str], _columns: int) -> str:
    done = processes.run([*command("conntrack-stat"), *words], env=python_path())
    assert done.returncode == 0, done
    return done.stdout


def on_a_terminal(words: list[str], columns: int) -> str:
    """What a command shows on a terminal of so many columns."""
    ours, its = pty.openpty()
    ioctl(its, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = processes.environment({**python_path(), "TERM": "xterm", "NO_COLOR": "1"})
    argv = [*command("conntrack-stat"), *words]
    with subprocess.Popen(argv, stdin=its, stdout=its, stderr=its, env=env) as process:
        os.close(its)
        pieces = []
        try:
            while piece := os.read(ours, 65536):
                pieces.append(piece)
        except OSError:
            pass  # that is how a terminal ends
    os.close(ours)
    assert process.returncode == 0
    return re.sub(r"\x1b\[[\d;]*m", "", b"".join(pieces).decode())


@pytest.fixture
def sync(tmp_path: Path) -> tuple[list[str], set[str]]:
    """A report with the longest numbers, and what has to be seen of it."""
    report = tmp_path / "report.txt"
    report.write_text(REPORT, "ascii")
    lines = [line for line in REPORT.splitlines() if "Bytes" not in line]
    wanted = {f"{int(number):,}" for line in lines for number in re.findall(r"\d{10,}", line)}
    return ["sync", "--file", str(report)], {*wanted, *WORDS}


@pytest.fixture
def counters(tmp_path: Path) -> tuple[list[str], set[str]]:
    """The counters of many CPUs."""
    stat = tmp_path / "proc" / "net" / "stat"
    stat.mkdir(parents=True)
    names = HEADINGS.split()
    numbers = [
        [0xF0000000 + cpu * len(names) + column for column in range(len(names))]
        for cpu in range(CPUS)
    ]
    rows = [" ".join(f"{number:08x}" for number in row) for row in numbers]
    (stat / "nf_conntrack").write_text("\n".join([HEADINGS, *rows, ""]), "ascii")
    shown = {f"{row[names.index('drop')]:,}" for row in numbers}
    shown |= {f"{row[names.index('found')]:,}" for row in numbers}
    return ["counters", "--proc-root", str(tmp_path / "proc")], shown


@pytest.mark.parametrize("show", [in_a_pipe, on_a_terminal])
@pytest.mark.parametrize("width", [20, 80, 200])
@pytest.mark.parametrize("table", ["sync", "counters"])
def test_every_value_is_shown_whole(
    request: pytest.FixtureRequest, show: object, width: int, table: str
) -> None:
    words, wanted = request.getfixturevalue(table)
    text = show(words, width)  # type: ignore[operator]
    assert wanted <= set(re.split(r"[\s(),]{2,}|\s", text)), text
    assert "…" not in text
    lines = text.split("\n")
    if show is on_a_terminal and width == 80:
        assert max(len(line.rstrip("\r")) for line in lines if line.startswith("  ")) <= 80
    if show is in_a_pipe and table == "counters":
        assert len(lines) < 30  # a row stays a line, for those who count columns


def test_a_wide_character_takes_its_place() -> None:
    table = columns(["name", ">entries"], [["東京", "1"], ["x", "22"]]).plain
    assert table.splitlines() == ["  name    entries", "  東京          1", "  x            22"]

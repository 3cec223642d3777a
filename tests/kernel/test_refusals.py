"""What a sandbox, a file system or a limit refuses is one sentence, wherever it is noticed."""

from __future__ import annotations

import platform
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import processes
import seccomp
from conntrack_plugins.manual.commands import commands
from installation import command, python_path

pytestmark = pytest.mark.kernel

HERE = Path(__file__).parent.parent
REPORT = str(HERE / "data" / "conntrackd" / "ftfw" / "s-all.txt")
WORDS = {"check_conntrackd": ["--file", REPORT], "sync": ["--file", REPORT], "render": ["nagios"]}
FAMILIES = {"netlink": socket.AF_NETLINK, "unix": socket.AF_UNIX, "inet": socket.AF_INET}
LINES = [
    [name, *words, *WORDS.get((words or [name])[-1], [])]
    for name, found in commands().items()
    for words in [[], *([sub.name] for sub in found.subcommands)]
]


def judged(done: subprocess.CompletedProcess[str], program: str) -> None:
    said = done.stdout + done.stderr
    assert "Traceback" not in said, done
    assert "this is a bug" not in said, done
    assert done.returncode in ({0, 1, 2, 3} if program.startswith("check_") else {0, 1}), done
    if done.returncode == 1 and not program.startswith("check_") and "doctor" not in done.args:
        assert re.search(rf"^{program}( demo)?: ", done.stderr, re.MULTILINE), done


@pytest.mark.skipif(platform.machine() not in seccomp.SOCKET, reason="socket(2) has another number")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_without_sockets_of_a_family(line: list[str], family: str) -> None:
    """As RestrictAddressFamilies= does it."""
    program, *words = line
    if words[:1] == ["events"]:
        words += ["--duration", "0.1"]
    sandbox = [sys.executable, str(HERE / "seccomp.py"), str(int(FAMILIES[family]))]
    done = processes.run([*sandbox, *command(program), *words], env=python_path())
    judged(done, program)
    if words == ["demo"]:
        assert done.returncode == (1 if family != "unix" else done.returncode)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["conntrack-stat", "render", "nagios", "--output", "FOLDER"], 2),
        (["conntrack-prometheus", "--output", "FOLDER/x.prom"], 2),
        (["check_conntrack", "--check", "cpu.drop/s,0,1", "--state-file", "FOLDER/s"], 3),
    ],
    ids=["render", "prometheus", "check"],
)
@pytest.mark.parametrize("option", ["ro", "size=4k"])
def test_a_file_system_that_takes_nothing(
    folder: Path, words: list[str], status: int, option: str
) -> None:
    program, *rest = [word.replace("FOLDER", str(folder)) for word in words]
    fill = f"dd if=/dev/zero of={folder}/full bs=1k count=8 2>/dev/null"
    line = shlex.join([*command(program), *rest])
    script = f"mount -t tmpfs -o {option} t {folder}; {fill}; {line}"
    done = processes.run(
        ["unshare", "--mount", "--propagation", "private", "bash", "-c", script], env=python_path()
    )
    said = done.stdout if status == 3 else done.stderr
    assert (done.returncode, said.count("\n")) == (status, 1), done
    reason = "Read-only file system" if option == "ro" else "No space left on device"
    assert reason in said
    assert "Traceback" not in done.stdout + done.stderr

"""What all commands have in common: help, version, refusals, and readers that go away."""

from __future__ import annotations

import subprocess

import pytest

import conntrack_common
import processes
from installation import command, entry_points, python_path

COMMANDS = sorted(entry_points())
CHECKS = [name for name in COMMANDS if name.startswith("check_")]


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return processes.run([*command(program), *words], env=python_path())


@pytest.mark.parametrize("program", COMMANDS)
def test_help_has_examples(program: str) -> None:
    done = run(program, "--help")
    assert (done.returncode, done.stderr) == (3 if program in CHECKS else 0, "")
    assert f"usage: {program} " in done.stdout
    assert f"examples:\n  {program}" in done.stdout


@pytest.mark.parametrize("program", COMMANDS)
def test_version(program: str) -> None:
    done = run(program, "--version")
    assert done.stdout == f"{program} {conntrack_common.__version__}\n"


@pytest.mark.parametrize("program", COMMANDS)
@pytest.mark.parametrize(
    "words", [["--nosuch"], ["--proc-root", "/nosuch"], ["--proc-root"], ["--netns", "nosuch"]]
)
def test_what_can_not_be_meant_is_one_sentence(program: str, words: list[str]) -> None:
    done = run(program, *words)
    if program in CHECKS:
        assert (done.returncode, done.stderr, done.stdout.count("\n")) == (3, "", 1), done
        assert " UNKNOWN - " in done.stdout
    else:
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
        assert done.stderr.startswith(f"{program}: ")


@pytest.mark.parametrize("name", ["count", "list", "events", "top", "status", "doctor", "expect"])
def test_each_subcommand_has_help(name: str) -> None:
    done = run("conntrack-stat", name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: conntrack-stat {name} " in done.stdout


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    words = [*command("conntrack-stat"), "metrics"]
    done = processes.run(["sh", "-c", '"$@" | head -c 1', "sh", *words], env=python_path())
    assert (done.stdout, done.stderr) == ("t", "")

"""Whatever is raised, wherever: the right exit status, one sentence, no traceback."""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

import processes
from conntrack_common import errors
from conntrack_plugins import run
from installation import command, entry_points, python_path

COMMANDS = sorted(entry_points())
CHECKS = [name for name in COMMANDS if name.startswith("check_")]
STATUS = {errors.InvalidRequest: 2, KeyboardInterrupt: 130}


def raised() -> Iterator[BaseException]:
    """One of each class that Python or this project may raise, with a text to break out of."""
    text = "what | happened\nand \x1b[31mmore"
    for found in [*vars(builtins).values(), *vars(errors).values()]:
        if isinstance(found, type) and issubclass(found, BaseException):
            if issubclass(found, errors.MalformedData):
                yield found("file", "line 1", text)
            elif found is UnicodeDecodeError:
                yield found("utf-8", b"\xff", 0, 1, text)
            elif found is UnicodeEncodeError:
                yield found("ascii", "\xff", 0, 1, text)
            elif found is UnicodeTranslateError:
                yield found("\xff", 0, 1, text)
            elif found.__name__.endswith("ExceptionGroup"):
                yield found(text, [ValueError(text)])
            else:
                yield found(text)


RAISED = [
    *raised(),
    OSError(24, "Too many open files", "/proc/sys"),
    RuntimeError("can't start new thread"),
    ModuleNotFoundError("No module named 'rich'", name="rich"),
    SystemExit(None),
    SystemExit(2),
]


def lines(text: str) -> int:
    assert "Traceback" not in text
    assert "\x1b" not in text
    return text.count("\n")


@pytest.mark.parametrize("error", RAISED, ids=repr)
def test_a_command_ends_with_one_sentence(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> Iterator[str]:
        yield "begun\n"
        raise error

    status = run.run("some-command", work)
    said = capsys.readouterr()
    expected = STATUS.get(type(error), 1)
    silent = isinstance(error, (KeyboardInterrupt, BrokenPipeError))
    if isinstance(error, SystemExit) and not isinstance(error.code, str):
        expected, silent = error.code or 0, True  # type: ignore[assignment]
    assert (status, said.out, lines(said.err)) == (expected, "begun\n", 0 if silent else 1)
    assert silent or said.err.startswith("some-command: ")


@pytest.mark.parametrize("error", RAISED, ids=repr)
def test_a_check_is_unknown(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    def judge(_options: None) -> NoReturn:
        raise error

    def parse() -> NoReturn:
        raise error

    silent = isinstance(error, BrokenPipeError)
    ways: list[Callable[[], int]] = [
        lambda: run.check("SOME", lambda: None, judge),
        lambda: run.check("SOME", parse, lambda _options: 0),
    ]
    for way in ways:
        status, said = way(), capsys.readouterr()
        if isinstance(error, SystemExit) and not isinstance(error.code, str):
            continue  # a verdict, or help
        assert (status, lines(said.out), said.err) == (3, 0 if silent else 1, "")
        assert silent or (said.out.startswith("SOME UNKNOWN - ") and "|" not in said.out)


@pytest.mark.parametrize("state", [0, 1, 2, 3])
def test_a_verdict_is_kept(state: int) -> None:
    def judge(_options: None) -> NoReturn:
        raise SystemExit(state)

    assert run.check("SOME", lambda: None, judge) == state
    assert run.check("SOME", lambda: None, lambda _options: state) == state


def test_help_is_no_verdict() -> None:
    def parse() -> NoReturn:
        raise SystemExit(0)

    assert run.check("SOME", parse, lambda _options: 0) == 3


def test_a_bug_says_where_and_how_to_see_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> Iterator[str]:
        yield str({}["missing"])

    assert run.run("some-command", work) == 1
    said = capsys.readouterr().err
    assert "KeyError: 'missing'" in said
    assert f"{__file__}, line " in said
    assert run.TRACEBACK in said
    monkeypatch.setenv(run.TRACEBACK, "1")
    assert run.run("some-command", work) == 1
    assert "Traceback (most recent call last):" in capsys.readouterr().err


# Tries to import what a command imports, one module after the other, and raises instead. A fork
# for each, so that the interpreter starts once.
BROKEN_IMPORTS = """
import json, os, sys, tempfile, traceback
import conntrack_plugins.commands as commands
sys.argv = ["x", *sys.argv[2:]]
start = getattr(commands, {function!r})
RAISED = [ImportError("broken"), KeyboardInterrupt(), RuntimeError("polluted"), MemoryError(),
    SyntaxError("broken"), OSError(24, "Too many open files"), ModuleNotFoundError("broken"),
    RecursionError("deep"), AttributeError("partially initialized module"), SystemExit("no")]

class Finder:
    def __init__(self, broken="", error=None):
        self.names, self.broken, self.error = [], broken, error
    def find_spec(self, name, path=None, target=None):
        self.names.append(name)
        if name == self.broken:
            raise self.error

def tried(finder):
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.meta_path.insert(0, finder)
            status = 70
            try:
                status = start()
                if not finder.broken:
                    print(json.dumps(finder.names))
                sys.stdout.flush()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        _pid, status = os.waitpid(child, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read().decode()

status, said = tried(Finder())
usual, _, _end = said.rpartition("[")
every = dict.fromkeys(json.loads(f"[{{_end}}"))
# Of others' modules, which may be hundreds, some.
names = [n for at, n in enumerate(every) if n.startswith("conntrack_") or at % 4 == 0]
for number, name in enumerate(names):
    error = RAISED[number % len(RAISED)]
    found = tried(Finder(name, error))
    is_usual = found == (status, usual)
    print(json.dumps([name, type(error).__name__, is_usual, *found]), flush=True)
"""


@pytest.mark.parametrize("program", COMMANDS)
def test_an_import_that_fails_is_a_failure_like_others(program: str, tmp_path: Path) -> None:
    system = str(Path(__file__).parent.parent / "data" / "proc" / "ok")
    code = BROKEN_IMPORTS.format(function=entry_points()[program][1])
    done = processes.run(
        [sys.executable, "-c", code, program, "--proc-root", system],
        env={**python_path(), "STATE_DIRECTORY": str(tmp_path)},
    )
    assert not done.stderr
    tried = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(tried) > 10
    for name, error, is_usual, status, said in tried:
        told = f"{name}: {error}: {status}: {said}"
        assert "Traceback" not in said, told
        if is_usual:  # some are only wanted, as _locale by locale: without them it goes on
            continue
        if program in CHECKS:
            assert (status, said.count("\n")) == (3, 1), told
            assert " UNKNOWN - " in said, told
        else:
            assert status == (130 if error == "KeyboardInterrupt" else 1), told
            sentences = [line for line in said.splitlines() if line.startswith(f"{program}: ")]
            assert len(sentences) == (0 if error == "KeyboardInterrupt" else 1), told


@pytest.mark.parametrize("program", CHECKS)
def test_a_check_whose_library_is_broken_is_unknown(program: str, tmp_path: Path) -> None:
    """Even if it raises something else than ModuleNotFoundError."""
    (tmp_path / "nagiosplugin").mkdir()
    (tmp_path / "nagiosplugin" / "__init__.py").write_text("raise ImportError('broken')\n", "ascii")
    path = f"{tmp_path}{os.pathsep}{python_path()['PYTHONPATH']}"
    done = processes.run(command(program), env={"PYTHONPATH": path})
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (3, 1, "")
    assert " UNKNOWN - a part of this program can't be imported (broken)" in done.stdout


@pytest.fixture
def silent(folder: Path) -> Iterator[str]:
    """A socket that takes a request and never answers."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s"))
        server.listen()
        yield str(folder / "s")


@pytest.mark.parametrize(
    ("words", "status", "output"),
    [
        (["check_conntrackd", "-t", "60", "--socket"], 3, "CONNTRACKD UNKNOWN - interrupted\n"),
        (["conntrack-stat", "sync", "--socket"], 130, ""),
    ],
    ids=["check", "command"],
)
def test_an_interrupt_is_no_traceback(
    silent: str, words: list[str], status: int, output: str
) -> None:
    program, *rest = words
    with subprocess.Popen(
        [*command(program), *rest, silent],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=processes.environment(python_path()),
        encoding="utf-8",
    ) as process:
        processes.until(lambda: waits(process.pid), "it waits for an answer")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == (output, "")
        assert process.returncode == status


def waits(pid: int) -> bool:
    """Whether a process has a connected UNIX socket."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            if os.readlink(path).startswith("socket:"):
                return True
    return False

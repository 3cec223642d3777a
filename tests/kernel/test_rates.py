"""Rates between two runs of check_conntrack, and the file in which it remembers the first."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import formats
import oracle
import processes
import traffic
from installation import Installation, command, python_path
from namespaces import NOBODY, Namespace

pytestmark = pytest.mark.kernel

FIRST = "no earlier run to compare with"
RATE = "cpu.invalid/s"
LABEL = "cpu.invalid.rate"


def check(namespace: Namespace, state: Path, ranges: str = ",") -> tuple[str, str, int]:
    """Return the first line, the rate in the performance data (or nothing), and the status."""
    words = [*command("check_conntrack"), "--state-file", str(state)]
    done = namespace.run([*words, "--check", f"{RATE},{ranges}"], env=python_path())
    assert "Traceback" not in done.stdout + done.stderr, done
    said, data = formats.plugin(done.stdout)
    return said, data[LABEL].value if LABEL in data else "", done.returncode


def apart(since: float) -> None:
    """Wait until a run counts as another one (a second after the last)."""
    processes.until(lambda: time.monotonic() - since > 1.05, "a second")


def test_rate_is_the_difference_over_the_time_between(namespace: Namespace, folder: Path) -> None:
    state = folder / "state"
    traffic.invalid(namespace, 5)  # from before the first run: not part of the rate
    count0 = oracle.total(oracle.statistics(namespace), "invalid")
    begin0 = time.monotonic()
    said, rate, status = check(namespace, state)
    end0 = time.monotonic()
    assert (status, rate) == (0, "")
    assert FIRST in said

    traffic.invalid(namespace, 500)
    apart(end0)
    begin1 = time.monotonic()
    said, rate, status = check(namespace, state)
    end1 = time.monotonic()
    grown = oracle.total(oracle.statistics(namespace), "invalid") - count0
    assert status == 0, said
    assert grown >= 500
    least, most = grown / (end1 - begin0), grown / (begin1 - end0)
    assert least - 0.01 <= float(rate) <= most + 0.01, (least, most)

    apart(end1)
    said, rate, _status = check(namespace, state)
    assert float(rate) == 0, "nothing has happened since the second run"


@pytest.mark.parametrize(("ranges", "status"), [("0,100000", 1), ("0,0", 2), ("100000,100000", 0)])
def test_rate_is_judged(namespace: Namespace, folder: Path, ranges: str, status: int) -> None:
    check(namespace, folder / "state", ranges)
    begun = time.monotonic()
    traffic.invalid(namespace, 50)
    apart(begun)
    assert check(namespace, folder / "state", ranges)[2] == status


def test_runs_at_the_same_time_do_not_damage_the_state(namespace: Namespace, folder: Path) -> None:
    state = folder / "state"
    traffic.invalid(namespace, 5)
    check(namespace, state)
    begun = time.monotonic()
    traffic.invalid(namespace, 100)
    apart(begun)
    words = [*command("check_conntrack"), "--state-file", str(state), "--check", f"{RATE},,"]
    runs = [
        subprocess.Popen(
            namespace.argv(words),
            env=processes.environment(python_path()),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _number in range(6)
    ]
    rates = []
    for done in runs:
        output = done.communicate(timeout=30)[0]
        assert done.returncode == 0, output
        rates.append(float(formats.plugin(output)[1][LABEL].value))
    # One that waited for more than a second compares with the others, since when nothing came.
    assert max(rates) > 0
    json.loads(state.read_text("utf-8"))
    ended = time.monotonic()
    apart(ended)
    assert float(check(namespace, state)[1]) == 0


MARK = b'{"conntrack-plugins '
DAMAGE = {
    "empty": b"",
    "blank": b" \n",
    "zeros": bytes(4096),
    "bytes": MARK + b"\0\xff{",
    "cut": MARK + b'1": [{"time": ',
    "types": MARK + b'1": [{"time": "x"}, 1], "b": 2, "c": []}',
    "deep lists": MARK + b'1": ' + b"[" * 200_000,
    "deep records": MARK + b'1": ' + b'{"a":' * 200_000,
    "long number": MARK + b'1": [{"time": ' + b"9" * 5000 + b"}]}",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_state_is_a_first_run(namespace: Namespace, folder: Path, damage: bytes) -> None:
    state = folder / "state"
    state.write_bytes(damage)
    said, rate, status = check(namespace, state)
    assert (status, rate) == (0, ""), said
    assert FIRST in said
    ((last, before),) = json.loads(state.read_text("utf-8")).values()
    assert last["counters"]
    assert before is None


@pytest.mark.parametrize(
    "content",
    [
        b"precious\n",
        b'{"their": {"own": 1}}\n',
        b"[1, 2]",
        b"5",
        b"\x7fELF\0\0\xff",
        b"[" * 200_000,
    ],
    ids=["text", "json", "list", "number", "program", "deep"],
)
def test_a_file_of_something_else_is_left_alone(
    namespace: Namespace, folder: Path, content: bytes
) -> None:
    state = folder / "state"
    state.write_bytes(content)
    said, rate, status = check(namespace, state)
    assert (status, rate) == (3, ""), said
    assert f"{state} can't be used to remember counters (it holds something else: " in said
    assert state.read_bytes() == content


def owned_by_another(path: Path) -> None:
    path.touch()
    os.chown(path, NOBODY, NOBODY)


def writable_to_others(path: Path) -> None:
    path.touch()
    path.chmod(0o666)


@pytest.mark.parametrize(
    ("reason", "make"),
    [
        ("it is a symbolic link", lambda path: path.symlink_to(path.parent / "precious")),
        ("it is a symbolic link", lambda path: path.symlink_to("nothing")),
        ("it is no regular file", os.mkfifo),
        ("it belongs to another user", owned_by_another),
        ("others may write to it", writable_to_others),
        ("Is a directory", os.mkdir),
    ],
    ids=["link", "dangling link", "pipe", "owner", "mode", "directory"],
)
def test_state_that_is_no_file_of_ones_own_is_left_alone(
    namespace: Namespace, folder: Path, reason: str, make: Callable[[Path], None]
) -> None:
    (folder / "precious").write_bytes(b"")
    make(folder / "state")
    said, rate, status = check(namespace, folder / "state")
    assert (status, rate) == (3, ""), said
    assert f"can't be used to remember counters ({reason})" in said
    assert "table.usage 0.00%" in said, "the rest is judged"
    assert {path.name for path in folder.iterdir()} == {"precious", "state"}
    assert (folder / "precious").read_bytes() == b""


def test_a_locked_state_keeps_only_the_rates(namespace: Namespace, folder: Path) -> None:
    state = folder / "state"
    check(namespace, state)
    assert state.stat().st_mode & 0o777 == 0o600
    with state.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        began = time.monotonic()
        said, rate, status = check(namespace, state)
        assert time.monotonic() - began < 20, "and not after the time-out"
    assert (status, rate) == (3, ""), said
    assert "another process has it locked" in said
    assert "table.usage 0.00%" in said


def test_state_of_another_namespace_is_a_first_run(namespace: Namespace, folder: Path) -> None:
    with Namespace() as other:
        check(other, folder / "state")
        ended = time.monotonic()
        traffic.invalid(namespace, 100)
        apart(ended)
        said, rate, status = check(namespace, folder / "state")
    assert (status, rate) == (0, ""), said
    assert FIRST in said


def test_state_that_nobody_may_write(
    namespace: Namespace, folder: Path, installation: Installation
) -> None:
    words = [installation.command("check_conntrack"), "--state-file", str(folder / "state")]
    done = namespace.run([*words, "--check", f"{RATE},,"], user="nobody")
    assert done.returncode == 3, done
    assert (
        f"{folder}/state can't be used to remember counters (Permission denied): "
        "give --state-file a file in a directory that only this user may write to"
    ) in done.stdout
    assert formats.plugin(done.stdout)[1]["table.entries"].value == "0", "the rest is measured"


def test_default_state_of_a_directory_of_systemd(
    namespace: Namespace, folder: Path, installation: Installation
) -> None:
    """Another namespace's counters are not compared, although the command line is the same."""
    env = {"STATE_DIRECTORY": str(folder)}
    folder.chmod(0o700)
    words = [*command("check_conntrack"), "--check", f"{RATE},,"]
    with Namespace() as other:
        for place in (namespace, other):
            done = place.run(words, env={**python_path(), **env})
            assert FIRST in done.stdout, done
    (state,) = folder.iterdir()
    assert len(json.loads(state.read_text("utf-8"))) == 2


def test_default_state_beside_other_users_is_refused(
    namespace: Namespace, folder: Path, installation: Installation
) -> None:
    folder.chmod(0o777)
    words = [*command("check_conntrack"), "--check", f"{RATE},,"]
    env = {**python_path(), "STATE_DIRECTORY": str(folder)}
    done = namespace.run(words, env=env)
    assert done.returncode == 3, done
    assert f"{folder} is writable to others, or no directory" in done.stdout
    assert not list(folder.iterdir())

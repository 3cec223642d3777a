"""Namespaces as runtimes leave them: names of any bytes, mounts anywhere, containers that restart.

Each test has a /run of its own and sees no processes but its own: `all` is what it made.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import formats
import processes
from conntrack_common.netns.names import label
from conntrack_plugins.labels import without
from private import line, private

pytestmark = pytest.mark.kernel

# Bytes that a file's name may hold, and what a person would not have called anything.
RESERVED = (b"host", b"self", b"all", b"pid:1")
NAMES = (
    *(b"x\xff", b"x\xfe", b"x\\xff", b"x\ny", b"x\x1b[2Jy", b"x\ty", b"x\ry", b"x\x7f", b"a\\"),
    *(b"-x", b"a=b", b"a'b", b'a"b', b"a|b", b"a_b", b"$(id)", b"a b,c=d", b"42"),
    *("xünï".encode(), "xönï".encode(), "\u202ex".encode(), b"y" * 84 + b"1", b"y" * 84 + b"2"),
    *RESERVED,
)
# Files beside them that stand for no namespace.
STRAY = "mkfifo fifo; touch file; mkdir dir; ln -s nowhere dangling; ln -s /dev/null null"


def quoted(name: bytes) -> str:
    """A name as bash takes it in any locale."""
    return "$'" + "".join(f"\\x{byte:02x}" for byte in name) + "'"


ADD = "".join(f"ip netns add {quoted(name)}\n" for name in NAMES) + STRAY
# In the last, Python itself has no more than ASCII.
LOCALES = {
    "UTF-8": {"LC_ALL": "C.UTF-8"},
    "C": {"LC_ALL": "C"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def labels() -> set[str]:
    """What they are called: as they are where that is text, which another test tells of all."""
    return {label(b"/run/netns/" + name if name in RESERVED else name) for name in NAMES}


def check_text(data: bytes) -> str:
    text = data.decode("utf-8")
    odd = {character for character in text if not character.isprintable()} - {"\n"}
    assert not odd
    return text


def odd(*words: str, locale: str = "UTF-8") -> str:
    done = private(f"{ADD}\n{line(*words)}", env=LOCALES[locale])
    assert done.returncode == 0, done
    check_text(done.stderr)
    return check_text(done.stdout)


@pytest.mark.parametrize("locale", LOCALES)
def test_odd_names_in_prometheus(locale: str) -> None:
    text = odd("conntrack-prometheus", "--netns", "all", "--metrics", "cpu.drop", locale=locale)
    rows = "".join(row for row in text.splitlines() if row.startswith("conntrack_cpu_drop"))
    found = [
        json.loads(f'"{part.split(chr(34) + ",cpu")[0]}"') for part in rows.split('netns="')[1:]
    ]
    assert labels() <= set(found)
    assert len(found) == len(set(found)) * (os.cpu_count() or 1)


@pytest.mark.parametrize("locale", LOCALES)
def test_odd_names_in_prometheus_textfile(locale: str, tmp_path: Path) -> None:
    output = tmp_path / "x.prom"
    odd("conntrack-prometheus", "--netns", "all", "--output", str(output), locale=locale)
    text = check_text(output.read_bytes())
    assert text.count("conntrack_table_entries{") >= len(NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["x.prom"]


@pytest.mark.parametrize("locale", LOCALES)
def test_odd_names_in_telegraf(locale: str) -> None:
    text = odd("conntrack-telegraf", "--netns", "all", "--metrics", "table.entries", locale=locale)
    tags = [
        row.split(",netns=", maxsplit=1)[1].rsplit(" ", maxsplit=1)[0] for row in text.splitlines()
    ]
    assert len(tags) == len(set(tags))
    escapes = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ "})
    wanted = {without("\\", name).translate(escapes) for name in labels()}
    assert wanted <= set(tags)


@pytest.mark.parametrize("locale", LOCALES)
def test_odd_names_in_nagios(locale: str) -> None:
    text = odd("check_conntrack", "--netns", "all", "--check", "cpu.drop/s,0,1", locale=locale)
    assert text.count("\n") == 1
    said, data = formats.plugin(text)
    assert said.startswith("CONNTRACK OK - table.usage[netns=")
    entries = [name for name in data if name.startswith("table.entries.")]
    assert len(entries) == text.count("'table.entries.") + text.count(" table.entries.")
    assert len(entries) >= len(NAMES)
    for name in labels():
        if not set(name) & set("='|"):
            shown = name.encode("ascii", "backslashreplace").decode() if locale == "ASCII" else name
            assert f"table.entries.{shown}" in data


@pytest.mark.parametrize(
    "words", [["status"], ["counters"], ["count"], ["list"], ["expect"], ["doctor"]], ids=" ".join
)
def test_odd_names_on_a_terminal(words: list[str]) -> None:
    text = odd("conntrack-stat", *words, "--netns", "all")
    if words != ["expect"]:
        for name in labels():
            assert f"network namespace {name}\n" in text


def test_odd_names_in_json() -> None:
    text = odd("conntrack-stat", "count", "--netns", "all", "--json")
    found = [json.loads(row)["netns"] for row in text.splitlines()]
    assert labels() <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("name", [b"x\xff\xfe", "xünï".encode(), b"x\ny", b"y" * 84, b"a=b"])
@pytest.mark.parametrize("locale", LOCALES)
def test_an_odd_name_can_be_given(name: bytes, locale: str) -> None:
    commands = "\n".join(
        f"{line(*words)} --netns {given}"
        for words in (["conntrack-telegraf"], ["conntrack-prometheus"], ["check_conntrack"])
        # as the file is called, as all commands show it, and by its path
        for given in (quoted(name), shlex.quote(label(name)), f"/run/netns/{quoted(name)}")
    )
    done = private(f"ip netns add {quoted(name)}\n{commands}", env=LOCALES[locale])
    assert (done.returncode, done.stderr) == (0, b"")
    text = check_text(done.stdout)
    assert text.count("table_entries{") == text.count("conntrack,netns=") == 3
    assert text.count("CONNTRACK OK") == 3


@pytest.mark.parametrize(
    "stray", ["fifo", "file", "dir", "dangling", "null", "/dev/watchdog", "/run"]
)
def test_what_is_no_namespace_is_neither_opened_nor_waited_for(stray: str) -> None:
    done = private(f"{STRAY}\ntimeout 20 {line('conntrack-stat', 'count')} --netns {stray}")
    assert done.returncode == (2 if "/" in stray else 1), done
    assert done.stderr.count(b"\n") == 1
    assert b"network namespace" in done.stderr


def counted(script: str, netns: str = "all") -> dict[str, int]:
    """Entries by namespace, of a script that ends where they are to be counted."""
    done = private(f"{script}\n{line('conntrack-stat', 'count', '--json')} --netns {netns}")
    assert (done.returncode, done.stderr) == (0, b""), done
    found = map(json.loads, done.stdout.decode().splitlines())
    return {document["netns"]: document["total"] for document in found}


SANDBOX = "0123456789ab"
# A namespace with one entry, that no file in /run/netns stands for.
DOCKER = f"""
ip netns add made; ip -n made link set lo up; made="ip netns exec made"
$made nft add table inet t
$made nft add chain inet t c '{{ type filter hook output priority 0; }}'
$made nft add rule inet t c ct state new counter
$made ping -qc 1 127.0.0.1 >/dev/null
touch /run/docker/netns/{SANDBOX}; mount --bind made /run/docker/netns/{SANDBOX}; ip netns del made
"""


@pytest.mark.parametrize("netns", ["all", SANDBOX, f"/run/docker/netns/{SANDBOX}"])
def test_a_mount_of_docker_without_a_process(netns: str) -> None:
    assert counted(DOCKER, netns)[SANDBOX] == 1


@pytest.mark.parametrize("folder", ["/run/user/1000/netns", "/run/srv", "/run/a b\\\\c"])
def test_a_mount_anywhere(folder: str) -> None:
    folder = folder.replace("\\\\", "\\")
    moved = f"{DOCKER}mkdir -p '{folder}'; touch '{folder}/gate'\n"
    moved += f"mount --bind /run/docker/netns/{SANDBOX} '{folder}/gate'\n"
    moved += f"umount /run/docker/netns/{SANDBOX}"
    name = "gate" if folder.endswith("netns") else label(f"{folder}/gate".encode())
    assert counted(moved)[name] == 1
    assert counted(moved, f"'{folder}/gate'") == {name: 1}


def test_mounts_of_one_name_are_two() -> None:
    twice = "ip netns add x; ip netns add y; touch /run/docker/netns/x\n"
    found = counted(f"{twice}mount --bind y /run/docker/netns/x; ip netns del y")
    assert {"x", "/run/docker/netns/x"} <= set(found)


INSIDE = f"nsenter --net=/run/docker/netns/{SANDBOX} sleep 60 >/dev/null &\nsleep 0.3\n"


def test_a_name_survives_the_process() -> None:
    """As a container that is restarted: another process in the same namespace."""
    assert counted(DOCKER + INSIDE)[SANDBOX] == counted(DOCKER)[SANDBOX] == 1


CONTAINER = "3f4a5b6c7d8e" + "0" * 52
CALLED = "docker-3f4a5b6c7d8e"


@pytest.fixture
def start() -> Iterator[str]:
    """What starts a process in a control group as Docker makes one, in a namespace of its own."""
    mounts = [text.split() for text in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    root = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    group = (root or Path("/nosuch")) / f"docker-{CONTAINER}.scope"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be created here: {error}")
    try:
        # In two steps: the shell that joins it has ended when the process is in its namespace.
        yield (
            f"sh -c 'echo $$ >{group}/cgroup.procs; exec unshare --net sleep 60' >/dev/null &\n"
            "pid=$!; sleep 0.3\n"
        )
    finally:
        processes.until(lambda: not (group / "cgroup.procs").read_text("ascii"), "it is empty")
        group.rmdir()


def test_a_container_is_called_the_same_after_a_restart(start: str) -> None:
    restarted = f"{start}kill $pid; wait $pid || true\n{start}"
    for script in (start, restarted):
        found = counted(script)
        assert CALLED in found
        assert not [name for name in found if name.startswith("pid:")]
        assert counted(script, CALLED) == {CALLED: 0}
        (name,) = counted(script, "$pid")
        assert name.startswith("pid:")
        assert counted(script, "pid:$pid") == {name: 0}


def test_a_container_of_several_namespaces_gives_its_name_to_none(start: str) -> None:
    found = counted(start + start)
    assert len([name for name in found if name.startswith("pid:")]) == 2
    assert CALLED not in found


def test_a_name_that_docker_made_up_gives_way_to_the_container(start: str) -> None:
    mount = f"touch /run/docker/netns/{SANDBOX}\n"
    mount += f"mount --bind /proc/$pid/ns/net /run/docker/netns/{SANDBOX}"
    found = counted(start + mount)
    assert CALLED in found
    assert SANDBOX not in found
    assert counted(start + mount, SANDBOX) == {SANDBOX: 0}

"""Rates are of one and the same namespace: one made anew, or another of that name, is a first run.

All of it on kernels with the namespace's cookie (Linux 5.14), without it (what is injected here is
true on older ones), and where nothing tells namespaces apart.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import formats
import processes
import traffic
from conntrack_common.catalogue.lookup import select
from conntrack_common.collect import collect_in
from conntrack_common.proc import files
from conntrack_common.proc.files import ProcRoot
from installation import command, python_path
from namespaces import Namespace
from private import private

pytestmark = pytest.mark.kernel

FIRST = "no earlier run to compare with"
RESET = "was reset"
RATE = "cpu.invalid/s"
CODE = (
    "import sys\n"
    "from conntrack_common.proc import files\n"
    "{injected}\n"
    "from conntrack_plugins.nagios.conntrack import main\n"
    "sys.exit(main())\n"
)
NO_COOKIE = "files.SO_NETNS_COOKIE = 0x7fff"  # as an older kernel, it is refused
NO_SOCKET = "files.ProcRoot._route_socket = lambda self: ''"
MARKS = {"cookie": "", "socket": NO_COOKIE, "none": f"{NO_COOKIE}; {NO_SOCKET}"}
marks = pytest.mark.parametrize("mark", ["cookie", "socket"])


def check(
    mark: str, state: Path, netns: str = "", inside: Namespace | None = None
) -> tuple[str, dict[str, float]]:
    """The first line of a check of rates, and the rates, by label."""
    code = CODE.format(injected=MARKS[mark])
    words = [sys.executable, "-c", code, "--state-file", str(state), "--check", f"{RATE},,"]
    words += ["--netns", netns] if netns else []
    argv = inside.argv(words) if inside else words
    done = processes.run(argv, env=python_path())
    assert done.returncode in {0, 3}, done
    said, data = formats.plugin(done.stdout)
    return said, {name: float(one.value) for name, one in data.items() if name.endswith(".rate")}


def apart() -> None:
    time.sleep(1.1)  # a run within a second of the last one compares nothing anyway


@marks
@pytest.mark.parametrize("way", ["inside", "name", "path"])
def test_rates_of_one_namespace_are_known(
    namespace: Namespace, folder: Path, mark: str, way: str
) -> None:
    given = {"inside": "", "name": namespace.name, "path": f"/run/netns/{namespace.name}"}[way]
    inside = namespace if way == "inside" else None
    said, rates = check(mark, folder / "state", given, inside)
    assert FIRST in said
    assert not rates
    traffic.invalid(namespace, 50)
    apart()
    said, rates = check(mark, folder / "state", given, inside)
    assert FIRST not in said
    assert sum(rates.values()) > 0


@marks
@pytest.mark.parametrize("way", ["inside", "name", "path"])
def test_one_made_anew_is_a_first_run(folder: Path, mark: str, way: str) -> None:
    """The new one has the name, larger counters and, as the kernel has it, the inode."""
    name = Namespace().name
    given = {"inside": "", "name": name, "path": f"/run/netns/{name}"}[way]
    inodes: list[str] = []
    while len(set(inodes)) == len(inodes) < 5:  # others make namespaces, too
        with Namespace(name=name) as made:
            inodes.append(made.must("readlink", "/proc/self/ns/net"))
            traffic.invalid(made, 20 + 500 * len(inodes))
            said, rates = check(mark, folder / "state", given, made if way == "inside" else None)
            assert FIRST in said
            assert RESET not in said
            assert not rates
        apart()
    assert len(inodes) > 1


@marks
def test_a_process_that_is_elsewhere_now_is_a_first_run(folder: Path, mark: str) -> None:
    """As a process ID that is used again."""
    with Namespace() as one, Namespace() as other:
        traffic.invalid(one, 20)
        traffic.invalid(other, 500)
        waits = f"read line; exec {' '.join(other.argv(['sleep', '60']))}"
        argv = one.argv(["bash", "-c", waits])
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, env=processes.environment())
        try:
            for place in (one, other):
                inode = place.must("readlink", "/proc/self/ns/net").strip()
                processes.until(
                    lambda wanted=inode: os.readlink(f"/proc/{process.pid}/ns/net") == wanted,
                    "the process is there",
                )
                said, rates = check(mark, folder / "state", f"pid:{process.pid}")
                assert FIRST in said
                assert not rates
                assert process.stdin
                if place is one:
                    process.stdin.write(b"\n")
                    process.stdin.flush()
                apart()
        finally:
            process.kill()
            process.communicate()


@marks
def test_one_that_is_new_since_the_last_run_was_not_reset(folder: Path, mark: str) -> None:
    code = CODE.format(injected=MARKS[mark])
    check_all = (
        f"{sys.executable} -c '{code}' --netns all --check {RATE},, --state-file {folder}/state\n"
    )
    check_all = check_all.replace("lambda self: ''", 'lambda self: ""')
    script = f"ip netns add old\n{check_all}sleep 1.1; ip netns add new\n{check_all}"
    done = private(script)
    assert done.returncode == 0, done
    first, second = done.stdout.decode().splitlines()
    assert f"cpu.invalid[netns=old]/s: {FIRST}" in first
    assert "cpu.invalid[netns=old]/s 0.0" in second
    assert f"cpu.invalid[netns=new]/s: {FIRST}" in second
    assert RESET not in second


def test_where_nothing_tells_namespaces_apart_the_rate_is_unknown(
    namespace: Namespace, folder: Path
) -> None:
    for _run in range(2):
        said, rates = check("none", folder / "state", namespace.name)
        assert said.startswith("CONNTRACK UNKNOWN")
        assert "does not show whether the network namespace is still the one" in said
        assert not rates
        apart()


def identities(*names: str) -> list[str | None]:
    return [collect_in(name, select(["table.entries"]))[0].identity for name in names]


@pytest.fixture(params=["cookie", "socket"])
def marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "socket":
        monkeypatch.setattr(files, "SO_NETNS_COOKIE", 0x7FFF)


@pytest.mark.usefixtures("marked")
def test_an_identity_is_of_one_namespace_for_ever() -> None:
    seen: list[str | None] = []
    for _time in range(12):
        with Namespace(tracking=False) as one, Namespace(tracking=False) as other:
            pair = identities(one.name, other.name)
            assert pair == identities(one.name, other.name)
            seen += pair
    assert None not in seen
    assert len(set(seen)) == 24


@pytest.mark.usefixtures("marked")
def test_nobody_may_know_the_identity(namespace: Namespace) -> None:
    code = (
        "from conntrack_common.proc import files\n"
        f"files.SO_NETNS_COOKIE = {files.SO_NETNS_COOKIE}\n"
        "print(files.ProcRoot().identity())"
    )
    words = [sys.executable, "-c", code]
    argv = namespace.argv(words)
    mine = processes.must(argv, env=python_path()).strip()
    assert [mine] == identities(namespace.name)


@pytest.fixture
def elsewhere(folder: Path) -> Iterator[str]:
    """The running kernel's /proc, mounted in another place."""
    place = folder / "proc"
    place.mkdir()
    processes.must(["mount", "--bind", "/proc", str(place)])
    try:
        yield str(place)
    finally:
        processes.must(["umount", str(place)])


@pytest.mark.usefixtures("marked")
def test_proc_elsewhere_is_as_live_as_proc(elsewhere: str, namespace: Namespace) -> None:
    traffic.sent(namespace, 9)
    found = []
    root = ProcRoot(elsewhere)
    assert root.is_live
    with Namespace() as other:
        for place in (namespace, other):
            with place.entered():
                found.append(root.identity())
                assert root.identity() == ProcRoot().identity()
    assert None not in found
    assert len(set(found)) == 2
    words = ["--proc-root", elsewhere, "--metrics", "table.entries,table.protocol"]
    text = namespace.must(*command("conntrack-telegraf"), *words, env=python_path())
    assert "conntrack entries=1i\n" in text
    assert "conntrack,protocol=udp protocol=1i" in text or "protocol=udp entries=1i" in text


def test_a_copy_of_proc_is_not_live(folder: Path) -> None:
    for name in ("sys/net/netfilter/nf_conntrack_count", "sys/net/netfilter/nf_conntrack_max"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(Path("/proc", name).read_bytes())
    assert not ProcRoot(str(folder)).is_live
    assert not ProcRoot("/sys").is_live

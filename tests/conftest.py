"""Fixtures of all tests: namespaces, the installation for agents, and the check for leftovers."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import fill
import namespaces
import processes
import rendered
from installation import DEBIAN, Installation, copied, is_debian
from namespaces import Filled, Namespace

TOOLS = ("ip", "nft", "conntrack", "setpriv", "sysctl", "ping")
GLOBAL_SYSCTLS = ("max", "buckets", "expect_max", "acct", "timestamp", "events")
MEMORY = Path("/var/tmp")  # where checks remember counters, if nothing else is said
NETFILTER = Path("/proc/sys/net/netfilter")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skip", action="store_true", help="a test that can't run here fails, with the reason"
    )


def missing(*programs: str) -> str:
    """Why tests that need these programs can't run; empty if they can."""
    for program in programs:
        if not shutil.which(program, path=processes.PATH):
            return f"{program} is not installed (tests/debian-packages.txt names the packages)"
    return ""


def missing_for_kernel() -> str:
    if os.geteuid():
        return "needs root, to make network namespaces"
    if not NETFILTER.is_dir():
        return "this kernel has no connection tracking now (modprobe nf_conntrack)"
    return missing(*TOOLS)


def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("agent")
    reason = missing_for_kernel() if item.get_closest_marker("kernel") else ""
    reason = reason or missing(*marker.args if marker else ())
    if reason:
        pytest.skip(reason)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and item.config.getoption("--no-skip"):
        report.outcome = "failed"
        report.longrepr = f"with --no-skip this fails: {report.longrepr}"


def global_sysctls() -> dict[str, str]:
    """What all namespaces share, and this one's settings: tests leave them alone."""
    paths = [NETFILTER / f"nf_conntrack_{name}" for name in GLOBAL_SYSCTLS]
    return {path.name: path.read_text("ascii").strip() for path in paths if path.exists()}


@pytest.fixture(autouse=True, scope="session")
def nothing_left() -> Iterator[None]:
    """Fail the session that leaves a namespace, a process or a changed setting behind."""
    before = global_sysctls()
    remembered = set(MEMORY.glob("conntrack-plugins-*"))
    yield
    for made in set(MEMORY.glob("conntrack-plugins-*")) - remembered:
        shutil.rmtree(made)
    running, standing = processes.marked(), namespaces.left_over()
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    for name in standing:
        processes.must(["ip", "netns", "del", name])
    assert not standing, "namespaces were left (and have been removed now)"
    assert not running, "processes were left (and have been ended now)"
    assert global_sysctls() == before, "a setting of the host has changed"


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A namespace that tracks, with an empty table."""
    with Namespace() as made:
        yield made


@pytest.fixture(scope="session")
def filled(nothing_left: None) -> Iterator[Filled]:
    """A filled namespace for tests that only read."""
    with Namespace() as made:
        with made.entered():
            truth = fill.fill(3000, seed=5)
        yield Filled(made, truth)


@pytest.fixture
def filled_namespace(filled: Filled) -> Namespace:
    return filled.namespace


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """The commands for users who may read neither this Python nor this tree."""
    if is_debian():
        yield DEBIAN
        return
    with tempfile.TemporaryDirectory(prefix="ctplug", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield copied(Path(folder, "installed"))


@pytest.fixture
def hostile(folder: Path) -> Installation:
    """The commands under a path that tries to break out of an agent's syntax."""
    return copied(folder / rendered.HOSTILE)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, with a short name, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="ctplug", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)

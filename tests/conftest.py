"""Fixtures of all tests: namespaces, the installation for agents, and the check for leftovers."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import fill
import modules
import namespaces
import processes
import rendered
import shelter
from installation import DEBIAN, Installation, copied, is_debian
from modules import IN_MACHINE
from namespaces import Filled, Namespace

TOOLS = ("ip", "nft", "conntrack", "setpriv", "sysctl", "ping")
GLOBAL_SYSCTLS = ("max", "buckets", "expect_max", "acct", "timestamp", "events")
PACKAGING = Path(__file__).parent / "package"
NETFILTER = Path("/proc/sys/net/netfilter")
MODULES = ["nf_conntrack", "nf_conntrack_netlink"]

# The same examples every time, and no deadlines: neither chance nor a busy machine decides what is
# green. `make fuzz` searches (--hypothesis-profile=search), and what it finds becomes an @example.
UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, database=None, **UNHURRIED)
settings.register_profile("search", max_examples=2000, print_blob=True, **UNHURRIED)
settings.load_profile("same")


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
    if not NETFILTER.is_dir() and IN_MACHINE:
        processes.must(["modprobe", "-a", *MODULES])
    if not NETFILTER.is_dir():
        return "this kernel has no connection tracking now (modprobe nf_conntrack)"
    return missing(*TOOLS)


def unfit(item: pytest.Item) -> str:
    """Why a test can't run here; empty if it can."""
    agent = item.get_closest_marker("agent")
    if item.get_closest_marker("machine") and not IN_MACHINE:
        return "needs a machine that belongs to the tests (make kernels)"
    kernel = item.get_closest_marker("kernel") and "unloaded" not in item.fixturenames
    return (missing_for_kernel() if kernel else "") or missing(*agent.args if agent else ())


def pytest_runtest_setup(item: pytest.Item) -> None:
    reason = unfit(item)
    if reason:
        pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules can be unloaded as long as nothing of this session uses them: that goes first."""
    items.sort(key=lambda item: "unloaded" not in getattr(item, "fixturenames", ()))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and item.config.getoption("--no-skip"):
        report.outcome = "failed"
        report.longrepr = f"with --no-skip this fails: {report.longrepr}"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Cover the host's files, unless packages are to be installed in them."""
    if not any(PACKAGING in item.path.parents for item in session.items):
        shelter.enter()


@pytest.fixture(autouse=True, scope="session")
def nothing_left() -> Iterator[None]:
    """Fail the session that leaves a namespace or a process behind."""
    yield
    running, standing = processes.marked(), namespaces.left_over()
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    for name in standing:
        processes.must(["ip", "netns", "del", name])
    assert not standing, "namespaces were left (and have been removed now)"
    assert not running, "processes were left (and have been ended now)"


def global_sysctls() -> dict[str, str]:
    """What all namespaces share, and this one's settings; empty without connection tracking."""
    paths = [NETFILTER / f"nf_conntrack_{name}" for name in GLOBAL_SYSCTLS]
    return {path.name: path.read_text("ascii").strip() for path in paths if path.exists()}


@pytest.fixture(autouse=True)
def nothing_set() -> Iterator[None]:
    """Fail the test that leaves a setting changed: in the machine, nobody else can have done it."""
    before = global_sysctls() if IN_MACHINE else {}
    yield
    after = global_sysctls() if before else {}
    assert after in ({}, before), "a setting of all namespaces has changed"


@pytest.fixture
def unloaded() -> None:
    """No module of connection tracking is loaded; for tests that need the machine."""
    processes.until(lambda: modules.unloaded("nf_conntrack"), "nf_conntrack is unloaded", 60)


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

"""A thread never stays in a foreign network namespace, whatever is raised and wherever."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import conntrack_common
import conntrack_plugins
import fill
import processes
from conntrack_common.catalogue.lookup import select
from conntrack_common.collect import collect_in
from conntrack_common.errors import NotAvailable, Stranded
from conntrack_common.netns import entering
from conntrack_common.netns.names import Namespace as Found
from conntrack_plugins import stat as cli
from conntrack_plugins import telegraf
from conntrack_plugins.nagios import conntrack
from installation import command as installed
from installation import python_path
from namespaces import Filled, Namespace

pytestmark = pytest.mark.kernel

OURS = tuple(
    str(Path(str(package.__file__)).parent) for package in (conntrack_common, conntrack_plugins)
)
ENTERING = str(entering.__file__)
RAISED = (RuntimeError, KeyboardInterrupt, GeneratorExit, SystemExit, MemoryError, NotAvailable)


def place() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def stat(*words: str) -> Callable[[str], object]:
    """What runs a subcommand to its end, as conntrack-stat does."""
    return lambda netns: list(steps(*words, "--netns", netns))


def steps(*words: str) -> Iterator[str]:
    """What conntrack-stat prints, piece by piece."""
    args = cli.parser().parse_args(words)
    found: Iterator[str] = args.work(args)
    return found


WORK: dict[str, Callable[[str], object]] = {
    "collect": lambda netns: collect_in(netns, select(["*"])),
    "telegraf": lambda netns: list(telegraf.report(telegraf.Options(netns=netns))),
    "check": lambda netns: list(
        conntrack.outcomes(
            conntrack.Options(netns=netns, check=["cpu.drop/s,,"], state_file="/dev/null")
        )
    ),
    "count": stat("count", "--by", "src"),
    "list": stat("list", "-o", "conntrack"),
    "list --json": stat("list", "--json"),
    "list --sort": stat("list", "--sort", "timeout"),
    "expect": stat("expect"),
    "events": stat("events", "--duration", "0.2"),
    "top": stat("top", "--once"),
    "status": stat("status"),
    "doctor": stat("doctor"),
}


class Injection:
    """Raises at the n-th call of a function of ours in a foreign namespace."""

    def __init__(self, home: str, wanted: int, raised: type[BaseException]) -> None:
        self.calls = 0
        self._home, self._wanted, self._raised = home, wanted, raised

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(OURS) and path != ENTERING and place() != self._home:
            self.calls += 1
            if self.calls == self._wanted:
                raise self._raised("injected")


def injected(work: Callable[[], object], injection: Injection) -> BaseException | None:
    sys.settrace(injection)
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - anything at all
        return error  # with its traceback, that is, with all frames and what they hold
    finally:
        sys.settrace(None)
    return None


@pytest.fixture(scope="module")
def small() -> Iterator[str]:
    """The name of a namespace with few entries: each call is looked at."""
    with Namespace() as made:
        with made.entered():
            fill.fill(20)
        yield made.name


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", WORK)
def test_whatever_is_raised_the_thread_is_home(small: str, name: str) -> None:
    home, netns = place(), small
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    counting = Injection(home, 0, RuntimeError)
    try:
        held = [injected(lambda: WORK[name](netns), counting)]
        assert counting.calls > 3
        step = max(1, counting.calls // 12)
        for number, call in enumerate(range(1, counting.calls, step)):
            injection = Injection(home, call, RAISED[number % len(RAISED)])
            held.append(injected(lambda: WORK[name](netns), injection))
            assert place() == home, (call, held[-1])
        assert any(isinstance(error, RuntimeError) for error in held)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before):
            signal.signal(number, handler)
    del held
    gc.collect()
    assert place() == home


@pytest.mark.parametrize(
    "words",
    [["list", "--json"], ["list", "-o", "conntrack"], ["count", "--by", "src"], ["doctor"]],
    ids=" ".join,
)
@pytest.mark.parametrize("end", ["kept", "closed", "thrown"])
def test_whoever_takes_one_piece_is_home(filled: Filled, words: list[str], end: str) -> None:
    home = place()
    iterator: Any = steps(*words, "--netns", filled.namespace.name)
    assert next(iterator)
    assert place() == home, "between two pieces the thread is its owner's"
    if end == "closed":
        iterator.close()
    if end == "thrown":
        with pytest.raises(KeyboardInterrupt):
            iterator.throw(KeyboardInterrupt())
    assert place() == home
    del iterator
    assert place() == home


def test_pieces_are_made_inside_and_all_of_them(filled: Filled) -> None:
    home = place()
    text = ""
    for piece in steps("list", "-o", "conntrack", "--netns", filled.namespace.name):
        text += piece
        assert place() == home
    assert text.count("\n") == filled.entries
    seen = []

    def look(_name: str | None) -> Iterator[str]:
        for _time in range(3):
            yield place()

    for inner in entering.each(filled.namespace.name, look):
        seen.append((inner, place()))
    ((inner, outer),) = set(seen)
    assert (inner, outer) == (filled.namespace.must("readlink", "/proc/self/ns/net").strip(), home)


@pytest.fixture
def no_way_back(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What lets every setns fail from the third on: the trial, there, and home."""
    calls: list[int] = []
    enter = entering._enter

    def refused(file: int) -> None:
        calls.append(file)
        if len(calls) > 2:
            raise NotAvailable("setns: out of memory")
        enter(file)

    return lambda: monkeypatch.setattr(entering, "_enter", refused)


def in_a_thread(work: Callable[[], object]) -> object:
    """What a thread of its own returns or raises; no other one is lost with it."""
    result: list[object] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # noqa: BLE001 - anything at all
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


def test_a_thread_that_can_not_come_back_does_not_go_on(
    filled: Filled, no_way_back: Callable[[], None]
) -> None:
    no_way_back()
    found = in_a_thread(lambda: collect_in(filled.namespace.name, select(["table.entries"])))
    assert isinstance(found, Stranded)
    assert not isinstance(found, Exception)
    assert "can't return" in str(found)
    assert "out of memory" in str(found)


@pytest.mark.parametrize(
    ("name", "main", "words", "status"),
    [
        ("conntrack_plugins.telegraf", "main", [], 1),
        ("conntrack_plugins.telegraf", "main", ["--execd"], 1),
        ("conntrack_plugins.prometheus", "main", [], 1),
        ("conntrack_plugins.stat", "main", ["count"], 1),
        ("conntrack_plugins.nagios.conntrack", "main", [], 3),
    ],
)
def test_a_command_that_can_not_come_back_ends_with_a_sentence(
    filled: Filled, name: str, main: str, words: list[str], status: int
) -> None:
    code = (
        "import sys\n"
        "from conntrack_common.netns import entering\n"
        "from conntrack_common.errors import NotAvailable\n"
        "calls, enter = [], entering._enter\n"
        "def refused(file):\n"
        "    calls.append(file)\n"
        "    if len(calls) % 3 == 0:\n"
        "        raise NotAvailable('setns: out of memory')\n"
        "    enter(file)\n"
        "entering._enter = refused\n"
        f"from {name} import {main} as main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    argv = [sys.executable, "-c", code, *words, "--netns", filled.namespace.name]
    done = processes.run(argv, env=python_path(), stdin="\n\n")
    assert done.returncode == status, done
    said = (done.stdout if status == 3 else done.stderr).splitlines()
    assert len(said) == 1, done
    assert "can't return to its own network namespace" in said[0]


def test_who_may_not_come_back_does_not_go() -> None:
    """In a user namespace, that namespace's are open to its root, but not the one outside."""
    code = (
        "import os, sys\n"
        "from conntrack_common.collect import collect_in\n"
        "from conntrack_common.catalogue.lookup import select\n"
        "home = os.readlink('/proc/thread-self/ns/net')\n"
        "try:\n"
        "    collect_in(sys.argv[1], select(['table.entries']))\n"
        "except BaseException as error:\n"
        "    print(type(error).__name__)\n"
        "assert home == os.readlink('/proc/thread-self/ns/net')\n"
    )
    script = 'unshare --net sleep 60 & trap "kill $!" EXIT; sleep 0.5; "$@" "$!"'
    argv = ["unshare", "--user", "--map-root-user", "bash", "-c", script, "-"]
    done = processes.run([*argv, sys.executable, "-c", code], env=python_path())
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr}")
    assert (done.returncode, done.stdout) == (0, "NotPermitted\n"), done


def test_a_namespace_that_has_gone_is_an_error_and_no_part_of_all(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It vanishes after it was found and before it is entered."""
    with Namespace() as gone:
        found = [Found(gone.name, f"/run/netns/{gone.name}".encode())]
        found += entering.find(filled.namespace.name)
    monkeypatch.setattr(entering, "find", lambda _name: found)
    metrics = select(["table.entries"])
    (reading,) = collect_in("all", metrics)
    assert reading.netns == filled.namespace.name
    with pytest.raises(NotAvailable, match=gone.name):
        collect_in(gone.name, metrics)


def test_one_that_ends_while_it_is_read_is_read_to_the_end() -> None:
    with Namespace() as ending:
        iterator = steps("list", "--netns", ending.name)
        assert next(iterator)
    assert list(iterator) == []


READERS = [
    *(["conntrack-stat", name] for name in ("count", "list", "expect", "events", "top")),
    *(["conntrack-stat", name] for name in ("status", "counters", "doctor")),
    ["conntrack-telegraf"],
    ["conntrack-prometheus"],
    ["check_conntrack"],
]
OTHERS = [["conntrack-stat", name] for name in ("metrics", "sync", "demo", "render")]
NONE = ["/nosuch/x", "/etc/passwd", "../x", "99999999", "pid:0", ".", "\x1b[2J\n"]


@pytest.mark.parametrize(
    ("words", "netns"),
    [
        *((words, "nonsense") for words in (*READERS, *OTHERS)),
        *((words, netns) for words in READERS[-3:] for netns in NONE),
    ],
)
def test_a_namespace_that_is_none_is_one_sentence(words: list[str], netns: str) -> None:
    done = processes.run([*installed(words[0]), *words[1:], "--netns", netns], env=python_path())
    is_check = words[0] == "check_conntrack"
    assert done.returncode == (3 if is_check else 2), done
    said = done.stdout if is_check else done.stderr
    assert said.count("\n") == 1, done
    assert said.strip().isprintable(), done
    assert "network namespace" in said or "--netns" in said


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_what_is_of_no_namespace_takes_none(words: list[str]) -> None:
    argv = [*installed(words[0]), "--netns", "all", words[1]]
    done = processes.run(argv, env=python_path())
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "has no --netns: leave it out" in done.stderr

"""Measure, as ratios of commands that take turns in one run: `make bench`, as root.

Each pair of commands runs A B A B …, and the median of the ratios A/B is printed with what it must
be and what it aims at: of the time on the wall, and of the processors' (user and system), which
other work on the machine disturbs less. The machine's speed drifts; a ratio of neighbours stays
true. With --against, an older checkout's commands take turns with this one's.
docs/performance.md keeps results with date and machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent
sys.path[:0] = [str(TREE / folder) for folder in ("common", "plugins", "tests")]

from installation import command, from_tree, python_path  # noqa: E402
from namespaces import Namespace  # noqa: E402

PATH = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
# A cache of compiled modules is what an installed package has.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    **python_path(),
    "PATH": PATH,
}
DIMENSIONS = "protocol,state,family,zone,status"
PYROUTE2 = """
import socket
from pyroute2 import NFCTSocket
for family in (socket.AF_INET, socket.AF_INET6):
    with NFCTSocket(nfgen_family=family) as ct:
        for entry in ct.dump():
            pass
"""


class Pair(NamedTuple):
    """Two commands, and what the ratio of their times must be and aims at.

    `elsewhere` is what the second one needs in its environment, if not what ours needs.
    """

    name: str
    ours: Sequence[str]
    theirs: Sequence[str]
    must: float
    aim: float | None = None
    elsewhere: Mapping[str, str] = {}


class Cost(NamedTuple):
    """What a command took: seconds on the wall and of the processors, and its peak in MiB."""

    wall: float
    processor: float
    peak: float


def cost(argv: Sequence[str], environment: Mapping[str, str] = {}) -> Cost:
    """Run a command, throw away what it prints, and return what it took."""
    with tempfile.TemporaryFile() as complaints:
        began = time.perf_counter()
        with subprocess.Popen(
            argv,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            env={**ENVIRONMENT, **environment},
        ) as run:
            _pid, status, usage = os.wait4(run.pid, 0)
            run.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        if run.returncode and "check_" not in " ".join(argv):  # a check's status is its verdict
            complaints.seek(0)
            said = complaints.read().decode()[-500:]
            raise SystemExit(f"{argv} ended with {run.returncode}: {said}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(pair: Pair, runs: int, inside: Sequence[str] = ()) -> None:
    """Print one pair's median times and ratios."""
    rounds = [
        (cost([*inside, *pair.ours]), cost([*inside, *pair.theirs], pair.elsewhere))
        for _ in range(runs + 1)
    ][1:]  # the first round warms up
    wall = [(ours.wall, theirs.wall) for ours, theirs in rounds]
    processor = [(ours.processor, theirs.processor) for ours, theirs in rounds]
    aim = f", aim {pair.aim:.3g}" if pair.aim else ""
    verdict = "ok" if ratio(wall) <= pair.must else "OVER"
    print(
        f"{pair.name:58} {compared(wall)}   processor {compared(processor)}"
        f"   must {pair.must:.3g}{aim}: {verdict}",
        flush=True,
    )


def ratio(rounds: Sequence[tuple[float, float]]) -> float:
    """Return the median of the ratios of neighbours."""
    return statistics.median(ours / theirs for ours, theirs in rounds)


def compared(rounds: Sequence[tuple[float, float]]) -> str:
    """Return both medians and the ratio as text."""
    ours, theirs = (statistics.median(column) for column in zip(*rounds))
    return f"{ours:7.3f} s / {theirs:7.3f} s = {ratio(rounds):6.3f}"


def start_up() -> Iterator[Pair]:
    """Yield what a check costs that finds a small table."""
    python = sys.executable
    bare = [python, "-c", "pass"]
    yield Pair(
        "check_conntrack / import nagiosplugin",
        command("check_conntrack"),
        [python, "-c", "import nagiosplugin"],
        1.3,
    )
    report = str(TREE / "tests/data/conntrackd/ftfw/s-all.txt")
    yield Pair(
        "check_conntrackd / import nagiosplugin",
        [*command("check_conntrackd"), "--file", report, "--max-age", "0"],
        [python, "-c", "import nagiosplugin"],
        1.5,
    )
    yield Pair("check_conntrack / bare interpreter", command("check_conntrack"), bare, 5)
    yield Pair("conntrack-telegraf / bare interpreter", command("conntrack-telegraf"), bare, 2)


def whole_table(drain: str) -> Iterator[Pair]:
    """Yield what reading a large table costs."""
    stat = command("conntrack-stat")
    count = [*stat, "count", "--json", "--by", DIMENSIONS]
    listing = ["conntrack", "-L"]
    yield Pair("breakdown / the kernel's drain", count, [drain], 1.6, 1.2)
    for by, must in (("src", 1.25), ("src,dport,protocol", 1.6)):
        many = [*stat, "count", "--json", "--by", by, "--top", "10"]
        yield Pair(f"count --by {by} / the kernel's drain", many, [drain], must)
    yield Pair("breakdown / conntrack -L", count, listing, 0.6, 0.4)
    yield Pair(
        "count -p icmp / conntrack -L -p icmp",
        [*stat, "count", "-p", "icmp"],
        [*listing, "-p", "icmp"],
        0.35,
        0.2,
    )
    ours = [*stat, "list", "-o", "conntrack"]
    yield Pair("list -o conntrack / conntrack -L", ours, listing, 4, 1.5)


def peers(folder: str) -> Iterator[Pair]:
    """Yield what the same takes with two libraries of Go; none where there is no Go."""
    go = shutil.which("go")
    if not go:
        print("libraries of Go: skipped, go is not installed")
        return
    binary = f"{folder}/peers"
    subprocess.run([go, "build", "-o", binary, "."], cwd=HERE / "peers", check=True)
    count = [*command("conntrack-stat"), "count", "--json", "--by", "protocol"]
    for name in ("ti-mo", "vishvananda"):
        yield Pair(f"count by protocol / Go, {name}", count, [binary, name], 1)


def older(tree: Path) -> Iterator[Pair]:
    """Yield what reading a large table costs here and in another checkout."""
    here, before = (from_tree("conntrack-stat", each) for each in (TREE, tree))
    there = {"PYTHONPATH": f"{tree}/common:{tree}/plugins"}
    for words in (
        ["count"],
        ["count", "--json", "--by", DIMENSIONS],
        ["count", "-p", "icmp"],
        ["count", "--json", "--by", "dport", "--top", "10"],
        ["count", "--json", "--by", "src,dst", "--top", "10"],
        ["list", "-o", "conntrack"],
    ):
        yield Pair(" ".join(words), [*here, *words], [*before, *words], 1.1, elsewhere=there)


@contextmanager
def room(entries: int) -> Iterator[None]:
    """Make room in the table where there is none, and take it back."""
    limit = Path("/proc/sys/net/netfilter/nf_conntrack_max")
    before = limit.read_text("ascii")
    if int(before) > entries * 1.2:
        yield
        return
    limit.write_text(str(entries * 2), "ascii")
    try:
        yield
    finally:
        limit.write_text(before, "ascii")


@contextmanager
def filled(entries: int) -> Iterator[Namespace]:
    """Make a namespace with a table of this size."""
    with Namespace() as namespace:
        # In a process of its own: a child's peak memory includes its parent's at the fork.
        cost(namespace.argv([sys.executable, str(TREE / "tests/fill.py"), str(entries)]))
        yield namespace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--growth", action="store_true", help="show 10 k, 100 k, 1 M and 2 M, too")
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="compare with an older checkout, and no more"
    )
    args = parser.parse_args()
    print(f"{platform.release()}, Python {platform.python_version()}, {os.cpu_count()} processors")
    for pair in () if args.against else start_up():
        measure(pair, args.runs * 5)
    if os.geteuid():
        raise SystemExit("the rest needs root: it fills a table in a namespace of its own")
    with tempfile.TemporaryDirectory() as folder:
        drain = f"{folder}/drain"
        subprocess.run(["cc", "-O2", "-o", drain, str(HERE / "drain.c")], check=True)
        with room(args.entries):
            large(args, folder, drain)
        if args.growth:
            growth(drain)


def large(args: argparse.Namespace, folder: str, drain: str) -> None:
    """Measure a table of the size that was asked for."""
    with filled(args.entries) as namespace:
        inside = namespace.argv([])
        print(f"\n{args.entries:,} entries")
        for pair in older(args.against) if args.against else whole_table(drain):
            measure(pair, args.runs, inside)
        if args.against:
            return
        for pair in peers(folder):
            measure(pair, args.runs, inside)
            print(f"{'its peak memory':58} {cost([*inside, *pair.theirs]).peak:8.1f} MiB")
        count = [*inside, *command("conntrack-stat"), "count", "--json", "--by", DIMENSIONS]
        print(f"{'breakdown, peak memory':58} {cost(count).peak:8.1f} MiB   must 40, aim 20")
    small = min(args.entries, 100_000)
    with filled(small) as namespace:
        print(f"\n{small:,} entries")
        ours = [*command("conntrack-stat"), "count", "--json", "--by", DIMENSIONS]
        theirs = [sys.executable, "-c", PYROUTE2]
        pair = Pair("breakdown / pyroute2's dump", ours, theirs, 1 / 25, 1 / 50)
        measure(pair, 1, namespace.argv([]))


def growth(drain: str) -> None:
    """Show that time grows with the table, and memory does not."""
    for entries in (10_000, 100_000, 1_000_000, 2_000_000):
        with room(entries), filled(entries) as namespace:
            inside = namespace.argv([])
            count = [*inside, *command("conntrack-stat"), "count", "--json", "--by", DIMENSIONS]
            rounds = [(cost(count), cost([*inside, drain])) for _ in range(3)]
            wall = [(ours.wall, theirs.wall) for ours, theirs in rounds]
            processor = [(ours.processor, theirs.processor) for ours, theirs in rounds]
            print(
                f"{entries:10,} entries: {compared(wall)}   processor {compared(processor)}"
                f"   {max(ours.peak for ours, _ in rounds):5.1f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Measure, as ratios of commands that take turns in one run: `make bench`, as root.

Each pair of commands runs A B A B …, and the median of the ratios A/B is printed with what it must
be and what it aims at. The machine's speed drifts; a ratio of neighbours stays true.
docs/performance.md keeps results with date and machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
TREE = HERE.parent.parent
sys.path[:0] = [str(TREE / folder) for folder in ("common", "plugins", "tests")]

from installation import command  # noqa: E402
from namespaces import Namespace  # noqa: E402

PATH = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
# A cache of compiled modules is what an installed package has.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
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
    """Two commands, and what the ratio of their times must be and aims at."""

    name: str
    ours: Sequence[str]
    theirs: Sequence[str]
    must: float
    aim: float | None = None


def seconds(argv: Sequence[str]) -> float:
    """Run a command, throw away what it prints, and return how long it took."""
    began = time.perf_counter()
    done = subprocess.run(
        argv,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        check=False,
    )
    if done.returncode and "check_" not in argv[0]:  # a check's status is its verdict
        raise SystemExit(f"{argv} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return time.perf_counter() - began


def measure(pair: Pair, runs: int, inside: Sequence[str] = ()) -> None:
    """Print one pair's median times and ratio."""
    ours, theirs, ratios = [], [], []
    for number in range(runs + 1):
        mine, other = seconds([*inside, *pair.ours]), seconds([*inside, *pair.theirs])
        if number:  # the first round warms up
            ours.append(mine)
            theirs.append(other)
            ratios.append(mine / other)
    ratio = statistics.median(ratios)
    verdict = "ok" if ratio <= pair.must else "OVER"
    aim = f", aim {pair.aim:.3g}" if pair.aim else ""
    print(
        f"{pair.name:58} {statistics.median(ours):8.3f} s / {statistics.median(theirs):8.3f} s"
        f" = {ratio:6.3f}   must {pair.must:.3g}{aim}: {verdict}",
        flush=True,
    )


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
        [*command("check_conntrackd"), "--file", report],
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
    yield Pair("breakdown / conntrack -L", count, listing, 0.6, 0.4)
    yield Pair(
        "count -p icmp / conntrack -L -p icmp",
        [*stat, "count", "-p", "icmp"],
        [*listing, "-p", "icmp"],
        0.35,
        0.2,
    )
    if "list" in subprocess.run([*stat, "--help"], capture_output=True, check=True).stdout.decode():
        ours = [*stat, "list", "-o", "conntrack"]
        yield Pair("list -o conntrack / conntrack -L", ours, listing, 4, 1.5)


def peak(argv: Sequence[str]) -> float:
    """Return the most memory, in MiB, that a command had at once."""
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, env=ENVIRONMENT) as run:
        _pid, _status, usage = os.wait4(run.pid, 0)
        run.returncode = 0
    return usage.ru_maxrss / 1024


@contextmanager
def room(entries: int) -> Iterator[None]:
    """Make room in the table, and take it back."""
    limit = Path("/proc/sys/net/netfilter/nf_conntrack_max")
    before = limit.read_text("ascii")
    limit.write_text(str(max(entries * 2, int(before))), "ascii")
    try:
        yield
    finally:
        limit.write_text(before, "ascii")


@contextmanager
def filled(entries: int) -> Iterator[Namespace]:
    """Make a namespace with a table of this size."""
    with Namespace() as namespace:
        # In a process of its own: a child's peak memory includes its parent's at the fork.
        seconds(namespace.argv([sys.executable, str(TREE / "tests/fill.py"), str(entries)]))
        yield namespace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--growth", action="store_true", help="show 10 k, 100 k, 1 M and 2 M, too")
    args = parser.parse_args()
    print(f"{platform.release()}, Python {platform.python_version()}, {os.cpu_count()} processors")
    for pair in start_up():
        measure(pair, args.runs * 5)
    if os.geteuid():
        raise SystemExit("the rest needs root: it fills a table in a namespace of its own")
    with tempfile.TemporaryDirectory() as folder:
        drain = f"{folder}/drain"
        subprocess.run(["cc", "-O2", "-o", drain, str(HERE / "drain.c")], check=True)
        with room(args.entries):
            large(args, drain)
        if args.growth:
            growth(drain)


def large(args: argparse.Namespace, drain: str) -> None:
    """Measure a table of the size that was asked for."""
    with filled(args.entries) as namespace:
        inside = namespace.argv([])
        print(f"\n{args.entries:,} entries")
        for pair in whole_table(drain):
            measure(pair, args.runs, inside)
        count = [*inside, *command("conntrack-stat"), "count", "--json", "--by", DIMENSIONS]
        print(f"{'breakdown, peak memory':58} {peak(count):8.1f} MiB   must 40, aim 20")
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
            times = [(seconds(count), seconds([*inside, drain])) for _ in range(3)]
            ours, theirs = (statistics.median(column) for column in zip(*times))
            print(
                f"{entries:10,} entries: {ours:7.3f} s, {peak(count):5.1f} MiB "
                f"(drain {theirs:7.3f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Search for inputs that break a parser, for a time: hypothesis at random, then atheris.

    python tests/fuzz/fuzz.py --seconds 300
    python tests/fuzz/fuzz.py --target report --seconds 60     one parser, by atheris

A parser may raise what the taxonomy knows and nothing else. Memory is bounded; what is found is
printed, and belongs as an @example beside the test of its kind.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from conntrack_common.errors import ConntrackError

TREE = Path(__file__).resolve().parent.parent.parent
MEMORY = 1024  # MiB for one parser
# What libFuzzer starts from: a real text, or none.
SEEDS = {
    "report": "tests/data/conntrackd",
    "statistics": "tests/data/proc",
    "messages": "tests/data/dump",
}


def messages(data: bytes) -> None:
    """ctnetlink's messages, read one by one, written as lines, and counted."""
    from conntrack_common.breakdown import MARGINS, _query
    from conntrack_common.ctnetlink.census import Census
    from conntrack_common.ctnetlink.entries import Reader, entry
    from conntrack_common.filters.filter import Filter
    from conntrack_plugins.stat.conntrack_line import LineFormat

    lines = LineFormat()
    with contextlib.suppress(ConntrackError):
        for form, values in Reader().read(data):
            lines.line(form, values)
            entry(form, values)
    Census(_query(MARGINS, Filter())).count(data)


def expectation(data: bytes) -> None:
    """An expectation's attributes."""
    from conntrack_common.ctnetlink.expectations import parse

    parse(data)


def statistics(data: bytes) -> None:
    """The texts of /proc."""
    from conntrack_common.proc.files import parse_stat, parse_sysctl

    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ConntrackError):
        parse_sysctl(text, "fuzz")
    parse_stat(text, "fuzz")


def report(data: bytes) -> None:
    """conntrackd's statistics."""
    from conntrack_common.conntrackd.text import parse_statistics

    parse_statistics(data.decode("utf-8", "replace"))


def configuration(data: bytes) -> None:
    """conntrackd.conf."""
    from conntrack_common.conntrackd.conf import parse_config

    parse_config(data.decode("utf-8", "replace"), "fuzz")


def expression(data: bytes) -> None:
    """What a threshold is put on."""
    from conntrack_common.catalogue.expression import parse

    parse(data.decode("utf-8", "replace"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (messages, expectation, statistics, report, configuration, expression)
}


def attack(name: str, seconds: int) -> None:
    """Let atheris look for an input that this parser does not stand; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["conntrack_common", "conntrack_plugins"]):
        for path in ("ctnetlink.entries", "conntrackd.text", "conntrackd.conf"):
            importlib.import_module(f"conntrack_common.{path}")
        importlib.import_module("conntrack_common.catalogue.expression")

    def one(data: bytes) -> None:
        with contextlib.suppress(ConntrackError):
            TARGETS[name](data)

    seeds = [str(TREE / SEEDS[name])] if name in SEEDS else []
    limits = [f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY}"]
    corpus = tempfile.mkdtemp(
        prefix="ctfuzz"
    )  # it ends with TMPDIR, since atheris ends the process
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={corpus}/", corpus, *seeds], one)
    atheris.Fuzz()


def main() -> int:
    """Search; the exit status is 1 if anything was found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=int, default=300)
    options.add_argument("--target", choices=list(TARGETS))
    said = options.parse_args()
    if said.target:
        attack(said.target, said.seconds)
        return 0
    has_atheris = importlib.util.find_spec("atheris") is not None
    share = said.seconds // 2 if has_atheris else said.seconds
    failed = [*_hypothesis(share), *(_atheris(said.seconds - share) if has_atheris else [])]
    print(f"found something in: {', '.join(failed)}" if failed else "nothing was found")
    return int(bool(failed))


def _hypothesis(seconds: int) -> list[str]:
    """Run the tests that draw their inputs, at random, again and again."""
    end = time.monotonic() + seconds
    files = [
        str(path)
        for path in (TREE / "tests/unit").glob("*.py")
        if "@given" in path.read_text("utf-8")
    ]
    words = [sys.executable, "-m", "pytest", "-q", "-x", "--hypothesis-profile=search", *files]
    while (left := end - time.monotonic()) > 0:
        try:
            if subprocess.run(words, cwd=TREE, timeout=left, check=False).returncode:
                return ["hypothesis"]
        except subprocess.TimeoutExpired:
            break
    return []


def _atheris(seconds: int) -> list[str]:
    each = max(1, seconds // len(TARGETS))
    failed = []
    for name in TARGETS:
        words = [sys.executable, __file__, "--target", name, "--seconds", str(each)]
        with tempfile.TemporaryDirectory(prefix="ctfuzz") as folder:
            done = subprocess.run(
                words, cwd=TREE, env={**os.environ, "TMPDIR": folder}, check=False
            )
        if done.returncode:
            failed.append(name)
    return failed


if __name__ == "__main__":
    sys.exit(main())

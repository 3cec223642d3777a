"""What each command prints of saved systems, whole: output, errors and exit status.

`make golden` renews the files; the difference is part of a review.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

import processes
from conntrack_plugins.render import AGENTS
from installation import command, entry_points, python_path

DATA = Path(__file__).parent.parent / "data"
SETTINGS = DATA / "settings"
PROC, GOLDEN, SYNC = DATA / "proc", DATA / "golden", DATA / "conntrackd"
SET_UPS = sorted(path.name for path in SYNC.iterdir() if path.is_dir())
SITUATIONS = sorted(path.name for path in PROC.iterdir())
ADAPTERS = ("check_conntrack", "conntrack-telegraf", "conntrack-prometheus")


class Case(NamedTuple):
    """One run: the command, the saved system, further options, and the file that holds it."""

    program: str
    situation: str
    options: str = ""
    name: str = ""

    @property
    def path(self) -> Path:
        return GOLDEN / self.program / f"{self.name or self.situation}.txt"


CASES = [
    *(Case(program, situation) for program in ADAPTERS for situation in SITUATIONS),
    *(Case("conntrack-stat", situation, "status") for situation in SITUATIONS),
    *(
        Case("conntrack-stat", situation, "counters", f"counters-{situation}")
        for situation in ("ok", "extra-column", "retired", "no-stat-file")
    ),
    Case("conntrack-stat", "ok", "status --json", "json"),
    Case("conntrack-stat", "no-conntrack", "status --json", "json-no-conntrack"),
    Case("conntrack-stat", "ok", "metrics", "metrics"),
    Case("conntrack-stat", "ok", "render", "render"),
    Case("conntrack-stat", "ok", "render nosuch", "render-unknown-agent"),
    Case("conntrack-stat", "ok", "render nrpe --settings SETTINGS/broken.conf", "render-broken"),
    *(Case("conntrack-stat", "ok", f"render {agent}", f"render-{agent}") for agent in AGENTS),
    *(
        Case(
            "conntrack-stat", "ok", f"render {agent} --settings SETTINGS/gate.conf", f"gate-{agent}"
        )
        for agent in AGENTS
    ),
    Case("conntrack-stat", "ok", "count", "count-of-a-copy"),
    *(Case("check_conntrackd", "ok", f"-v --file SYNC/{name}/s-all.txt", name) for name in SET_UPS),
    *(
        Case("conntrack-stat", "ok", f"sync --file SYNC/{name}/s-all.txt", f"sync-{name}")
        for name in SET_UPS
    ),
    Case(
        "check_conntrackd",
        "ok",
        "--file SYNC/ftfw/s-all.txt --peer-file SYNC/ftfw/s.backup.txt",
        "with-its-peer",
    ),
    Case("check_conntrackd", "ok", "--file SYNC/nosuch.txt", "no-report"),
    Case("check_conntrackd", "ok", "--socket /nosuch/socket", "not-running"),
    Case("check_conntrackd", "ok", "--check sync.nosuch,1,2", "unknown-metric"),
    Case(
        "check_conntrackd",
        "ok",
        "--file SYNC/ftfw/s-all.txt --check sync.runtime.uptime,, "
        "--check 'sync.cache.active[cache=internal],20,30'",
        "own-rules",
    ),
    Case("check_conntrack", "ok", "-v", "verbose"),
    Case("check_conntrack", "nearly-full", "-w 90 -c 95", "ok-below-its-own-thresholds"),
    Case("check_conntrack", "nearly-full", "-w 50% -c 60%", "critical-above-its-own-thresholds"),
    Case("check_conntrack", "nearly-full", "--check table.entries,100,200", "entries-too-many"),
    Case("check_conntrack", "ok", "--check 'cpu.drop[cpu=1],0,'", "one-cpu"),
    Case("check_conntrack", "ok", "--check cpu.new,0,", "a-retired-counter"),
    Case("check_conntrack", "ok", "--check cpu.drops,0,1", "unknown-metric"),
    Case("check_conntrack", "ok", "--check table.entries/s,1,2", "no-counter"),
    Case("check_conntrack", "ok", "--check tcp.state,1,2", "no-table-in-a-copy"),
    Case("check_conntrack", "ok", "-w 9:3", "wrong-range"),
    Case("check_conntrack", "ok", "--nosuch", "unknown-option"),
    Case("check_conntrack", "no-conntrack", "--no-conntrack ok", "no-conntrack-is-ok"),
    Case("check_conntrack", "no-conntrack", "--no-conntrack critical", "no-conntrack-is-critical"),
    Case("conntrack-telegraf", "ok", "--metrics 'table.*'", "chosen"),
    Case("conntrack-telegraf", "ok", "--metrics nosuch.*", "unknown-metric"),
    Case("conntrack-telegraf", "no-stat-file", "--metrics cpu.*", "nothing-to-send"),
    Case("conntrack-prometheus", "ok", "--metrics cpu.drop", "chosen"),
    Case("check_conntrack", "ok", "--check synproxy.syn_received,0,", "no-synproxy"),
    Case("check_conntrack", "ok", "--check 'table.timeout[timeout=udp],0,'", "no-timeouts"),
    *(
        Case(program, "full", "--metrics 'synproxy.*,table.timeout'", "synproxy-and-timeouts")
        for program in ("conntrack-prometheus", "conntrack-telegraf")
    ),
    Case(
        "check_conntrack",
        "full",
        "--check synproxy.cookie_invalid,0, "
        "--check 'table.timeout[timeout=tcp_established],,86400'",
        "synproxy-and-timeouts",
    ),
    Case("conntrack-prometheus", "ok", "--output /nosuch/folder/x.prom", "unwritable"),
]


READ_NO_PROC = {"metrics", "render", "sync"}


def run(case: Case, folder: Path) -> str:
    root = str(PROC / case.situation)
    options = shlex.split(
        case.options.replace("SYNC", str(SYNC)).replace("SETTINGS", str(SETTINGS))
    )
    if options[:1] == ["render"] and "--settings" not in options:
        options += ["--settings", os.devnull]  # a host's own are none of a test's
    # Saved reports are as old as the checkout.
    state = ["--state-file", str(folder / "state"), "--max-age", "0"]
    more = state * (case.program == "check_conntrackd")
    reads = not {*options[:1]} & READ_NO_PROC
    words = [*command(case.program), *["--proc-root", root][: 2 * reads], *more, *options]
    done = processes.run(words, env={**python_path(), "COLUMNS": "100"})
    text = f"$ {case.program} {case.options}\n[{done.returncode}]\n{readable(done.stdout)}"
    text += f"--- standard error\n{done.stderr}" if done.stderr else ""
    text = text.replace(root, "PROC").replace(str(SYNC), "SYNC").replace(str(SETTINGS), "SETTINGS")
    text = re.sub(r"\d+ (?:days?|h|min|s)(?: \d+ (?:h|min|s))? old", "- old", text)
    return re.sub(r'("time": |"host": |on )("?[\w.-]+"?)(,|$)', r"\1-\3", text, flags=re.MULTILINE)


def readable(output: str) -> str:
    """JSON with a value a line, so that a diff shows which one changed; all else as it is."""
    if not output.startswith("{"):
        return output
    return json.dumps(json.loads(output), indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.program}-{case.path.stem}")
def test_golden(case: Case, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    got = run(case, tmp_path)
    if request.config.getoption("--update-golden"):
        case.path.parent.mkdir(parents=True, exist_ok=True)
        case.path.write_text(got, "utf-8")
    assert case.path.read_text("utf-8") == got


def test_every_command_has_its_cases() -> None:
    needed = {"ok", "full", "no-conntrack", "garbled-count", "limit-zero"}
    for program in set(entry_points()) - {"check_conntrackd"}:  # which reads no /proc
        covered = {case.situation for case in CASES if case.program == program}
        assert needed <= covered, program


def test_no_golden_file_is_left_over() -> None:
    assert {case.path for case in CASES} == set(GOLDEN.rglob("*.txt"))


def test_each_saved_system_says_where_it_comes_from() -> None:
    for situation in SITUATIONS:
        assert (PROC / situation / "ORIGIN").read_text("utf-8").strip()


def test_nothing_that_went_wrong_shows_a_traceback_or_a_number() -> None:
    for case in CASES:
        text = case.path.read_text("utf-8")
        assert "Traceback" not in text
        if case.situation in {"no-conntrack", "garbled-count"} and case.program in ADAPTERS[:2]:
            assert not re.search(r"entries=\d", text)

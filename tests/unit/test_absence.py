"""What can't be known is absent, with its reason; an option is heeded or refused."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

import processes
from conntrack_common.catalogue import expression
from conntrack_common.catalogue.lookup import find, samples, select, sendable
from conntrack_common.collect import collect, complaints, require
from conntrack_common.conntrackd import process
from conntrack_common.ctnetlink import events
from conntrack_common.errors import (
    ConntrackError,
    DaemonUnreachable,
    DaemonUnused,
    InvalidRequest,
    NotAvailable,
    NotPermitted,
)
from conntrack_common.model import PARTS, REST, EventCounts, Reading, Sysctls, TableCounts
from conntrack_common.proc import modules
from conntrack_common.proc.files import ProcRoot
from conntrack_plugins import arguments
from conntrack_plugins import stat as cli
from installation import command as program
from installation import python_path

PROC = Path(__file__).parent.parent / "data" / "proc"
SHARED = {"json": ["--json"], "netns": ["--netns", "x"], "proc_root": ["--proc-root", "/"]}


def subcommands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in cli.parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


PAIRS = [(name, option) for name, _parser in subcommands() for option in SHARED]


@pytest.mark.parametrize(("name", "option"), PAIRS)
def test_an_option_is_heeded_or_refused(name: str, option: str) -> None:
    own = dict(subcommands())[name]
    has = any(action.dest == option for action in own._actions)
    assert has == (option in own.get_default("takes"))
    args = cli.parser().parse_args([*SHARED[option], name])
    if has:
        arguments.check_shared(args)
    else:
        with pytest.raises(InvalidRequest, match=f"--{option.replace('_', '-')}"):
            arguments.check_shared(args)


# What read a copy of /proc, and a number that stands in that copy.
READ_COPIES = {"status": "1,000", "counters": "3,598", "count": "1000", "doctor": "1000"}


def test_only_what_can_read_a_copy_takes_one() -> None:
    taking = [name for name, own in subcommands() if "proc_root" in own.get_default("takes")]
    assert sorted(taking) == sorted(READ_COPIES)


@pytest.mark.parametrize("name", READ_COPIES)
def test_a_copy_of_proc_is_what_is_read(name: str) -> None:
    words = [*program("conntrack-stat"), name, "--proc-root", str(PROC / "ok")]
    done = processes.run(words, env=python_path())
    assert READ_COPIES[name] in done.stdout, done


@pytest.mark.parametrize("words", [["--by", "src"], ["-p", "tcp"]])
def test_a_copy_holds_no_entries(words: list[str]) -> None:
    argv = [*program("conntrack-stat"), "count", "--proc-root", str(PROC / "ok"), *words]
    done = processes.run(argv, env=python_path())
    assert (done.returncode, done.stdout) == (1, "")
    assert "is a copy of /proc, which has no table of entries" in done.stderr


def test_conntrackd_is_not_asked_beside_a_copy() -> None:
    reading = collect(select(["sync.*"]), ProcRoot(str(PROC / "ok")))
    assert "is not read together with" in str(reading.failures["sync"])


@pytest.mark.parametrize("options", [["--netns", "self"], ["--proc-root", str(PROC / "ok")]])
def test_events_are_of_this_namespace_and_kernel_or_refused(options: list[str]) -> None:
    words = [*program("conntrack-telegraf"), "--execd", "--metrics", "events.*", *options]
    done = processes.run(words, env=python_path(), stdin="\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "leave out --netns and --proc-root" in done.stderr


def reading_of(**parts: object) -> Reading:
    return Reading(0.0, "host", **parts)  # type: ignore[arg-type]


FULL = {
    "sysctls": Sysctls(1, 2),
    "counters": (),
    "timeouts": {},
    "synproxy": (),
    "counts": TableCounts(0, {}),
    "events": EventCounts(0, 0, 0, 0),
    "sync": object(),
    "peer": object(),
}


def ups(reading: Reading) -> dict[str, float]:
    return {sample.labels[-1][1]: sample.value for sample in samples(reading, [find("source.up")])}


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_up_or_down(part: str) -> None:
    assert set(FULL) == set(PARTS)
    assert ups(reading_of(**{part: FULL[part]})) == {part: 1}
    assert ups(reading_of(failures={part: NotAvailable("no")})) == {part: 0}
    assert ups(reading_of()) == {}


def test_a_daemon_that_nobody_runs_is_not_down() -> None:
    unused = reading_of(sysctls=Sysctls(1, 2), failures={"sync": DaemonUnused("not used")})
    assert ups(unused) == {"sysctls": 1}
    assert complaints([unused]) == ()
    stopped = reading_of(sysctls=Sysctls(1, 2), failures={"sync": DaemonUnreachable("gone")})
    assert ups(stopped) == {"sysctls": 1, "sync": 0}
    assert complaints([stopped, stopped]) == ("gone",)


def test_a_daemon_is_used_if_anything_shows_it(tmp_path: Path) -> None:
    proc = ProcRoot(str(PROC / "ok"))  # in which no process runs
    config, socket = tmp_path / "conntrackd.conf", tmp_path / "socket"
    assert not process.is_used([str(config)], str(socket), proc)
    config.touch()
    assert process.is_used([str(config)], str(socket), proc)


def counted(**zones: int) -> Reading:
    by = {"protocol": {"tcp": 3}, "tcp_state": {"SYN_SENT": 3}, "status": {}, "family": {}}
    return reading_of(counts=TableCounts(3, {**by, "zone": zones}))


@pytest.mark.parametrize(
    "text",
    [
        "table.protocol[protocol=sctp]",
        "table.protocol[protocol=89]",
        "table.zone[zone=7]",
        "table.status[status=assured]",
        "table.family[family=ipv6]",
        "tcp.state[state=SYN_RECV]",
    ],
)
def test_a_known_label_without_an_entry_is_zero_after_a_whole_read(text: str) -> None:
    parsed = expression.parse(text)
    (series,) = expression.series(parsed, counted())
    assert (series.total, series.labels) == (0, ())
    (series,) = expression.series(parsed, counted()._replace(netns="blue"))
    assert (series.total, series.labels) == (0, (("netns", "blue"),))
    assert expression.series(parsed, reading_of(failures={"counts": NotAvailable("no")})) == []


def test_a_zone_among_the_others_is_no_zero() -> None:
    assert not expression.series(expression.parse("table.zone[zone=7]"), counted(**{REST: 5}))
    with pytest.raises(InvalidRequest):
        expression.parse("table.zone[zone=65536]")


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("tcp.state[state=SYN_RCVD]", "SYN_RECV"),
        ("table.status[status=ASURED]", "ASSURED"),
        ("table.family[family=ipv5]", "ipv4"),
        ("table.protocol[protocol=tpc]", "tcp"),
    ],
)
def test_a_misspelt_label_names_the_nearest(text: str, near: str) -> None:
    with pytest.raises(InvalidRequest, match=near):
        expression.parse(text)


@pytest.mark.parametrize("pattern", ["sync.peer.*", "sync.peer.missing"])
@pytest.mark.parametrize("name", ["conntrack-telegraf", "conntrack-prometheus"])
def test_what_no_agent_can_get_is_refused(name: str, pattern: str) -> None:
    done = processes.run([*program(name), "--metrics", pattern], env=python_path())
    assert (done.returncode, done.stdout) == (2, "")
    assert "the other node's statistics" in done.stderr
    assert not any(metric.source == "peer" for metric in sendable(["*", "sync.*"]))


def test_nothing_at_all_has_its_reason() -> None:
    with pytest.raises(NotAvailable, match=r"events\.new: only a process that keeps running"):
        require([reading_of()], select(["events.*", "source.up"]))


SETTINGS = {
    "0": "switched off",
    "1": "",
    "2": "",
    None: "CONFIG_NF_CONNTRACK_EVENTS",
}


@pytest.mark.parametrize("value", SETTINGS)
def test_events_that_can_not_come_are_no_zero(value: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "sys" / "net" / "netfilter"
    folder.mkdir(parents=True)
    (folder / "nf_conntrack_count").write_text("1\n")
    if value is not None:
        (folder / "nf_conntrack_events").write_text(f"{value}\n")
    reason = events.silence(ProcRoot(str(tmp_path)))
    assert SETTINGS[value] in reason
    assert bool(reason) == bool(SETTINGS[value])


def test_hidden_settings_are_not_no_connection_tracking(tmp_path: Path) -> None:
    stat = tmp_path / "net" / "stat"
    stat.mkdir(parents=True)
    with pytest.raises(NotAvailable):
        ProcRoot(str(tmp_path)).sysctls()
    (stat / "nf_conntrack").write_text("entries found\n0 0\n")
    with pytest.raises(NotPermitted, match="hidden"):
        ProcRoot(str(tmp_path)).sysctls()
    check = [*program("check_conntrack"), "--proc-root", str(tmp_path), "--no-conntrack", "ok"]
    done = processes.run(check, env=python_path())
    assert (done.returncode, "hidden" in done.stdout) == (3, True), done


@pytest.mark.parametrize(
    ("loaded", "files", "there"),
    [
        ({"nf_conntrack", "nf_tables"}, {"nf_conntrack_netlink"}, False),
        ({"nf_conntrack"}, set(), False),  # modules, whose files a container doesn't show
        ({"nf_conntrack", "nf_conntrack_netlink"}, {"nf_conntrack_netlink"}, True),
        (set(), set(), True),  # all is built in
        (set(), {"nf_conntrack_netlink"}, False),
    ],
)
def test_a_module_that_the_kernel_would_load_is_not_there(
    loaded: set[str], files: set[str], there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "_loaded", lambda: loaded)
    monkeypatch.setattr(modules, "_is_file", lambda name: name in files)
    monkeypatch.setattr(modules, "EVIDENCE", ["/"])
    assert modules.is_there(modules.CTNETLINK) == there
    if not there:
        with pytest.raises(ConntrackError, match="modprobe nf_conntrack_netlink"):
            modules.require(modules.CTNETLINK)
    monkeypatch.setattr(modules, "EVIDENCE", [])
    monkeypatch.setattr(modules, "_loaded", set)
    monkeypatch.setattr(modules.os.path, "isdir", lambda _path: False)
    with pytest.raises(NotAvailable, match="'modprobe nf_conntrack'"):
        modules.require(modules.CTNETLINK)

"""The collectd module in a real daemon, whose csv files are compared with the kernel's numbers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

import fill
import oracle
import processes
import rendered
import traffic
from conntrack_common.model import Sample
from conntrack_common.netns.names import label
from conntrack_plugins.collectd import identifier
from installation import Installation
from namespaces import NOBODY, Namespace
from private import private
from processes import Daemon

pytestmark = [pytest.mark.kernel, pytest.mark.agent("collectd")]

FRAME = """\
Hostname "gate"
FQDNLookup false
BaseDir "{0}"
PIDFile "{0}/pid"
PluginDir "/usr/lib/collectd"
TypesDB "/usr/share/collectd/types.db"
Interval 0.2
ReadThreads {1}
WriteThreads 1
LoadPlugin logfile
<Plugin logfile>
  LogLevel info
  PrintSeverity true
  File "{0}/log"
</Plugin>
LoadPlugin csv
<Plugin csv>
  DataDir "{0}/csv"
  StoreRates false
</Plugin>
"""
PYTHON = """\
LoadPlugin python
<Plugin python>
  ModulePath "{0}"
  Import "conntrack_plugins.collectd"
{1}</Plugin>
"""
MODULE = '  <Module "conntrack_plugins.collectd">\n{}  </Module>\n'


class Collectd(NamedTuple):
    """A daemon that runs, and the folder in which it writes."""

    daemon: Daemon
    folder: Path

    @property
    def log(self) -> list[str]:
        """The module's own lines, and tracebacks."""
        lines = (self.folder / "log").read_text("utf-8").splitlines()
        return [line for line in lines if "conntrack" in line or "Traceback" in line]

    def values(self, name: str) -> list[float]:
        """All values of one identifier, as `conntrack-table/conntrack-entries`."""
        found = []
        for file in sorted((self.folder / "csv/gate").glob(f"{name}-20*")):
            lines = file.read_text("ascii").splitlines()[1:]
            found += [float(line.split(",")[1]) for line in lines if line.count(",") == 1]
        return found

    def until_values(self, name: str, count: int) -> list[float]:
        what = f"{count} values of {name}"
        self.daemon.until(lambda: len(self.values(name)) >= count, what)
        return self.values(name)[:count]

    def stop(self) -> None:
        self.daemon.stop()
        assert self.daemon.process.returncode == 0, self.daemon.said()


# Takes a namespace, the insides of <Module> blocks, `threads` and `user`.
Start = Callable[..., Collectd]


@pytest.fixture
def started(folder: Path, installation: Installation) -> Iterator[Start]:
    """A function that starts a daemon with these <Module> blocks in a namespace."""
    daemons: list[Daemon] = []

    def start(
        namespace: Namespace, *blocks: str, threads: int = 5, user: str | None = None
    ) -> Collectd:
        state = folder / f"collectd{len(daemons)}"
        state.mkdir()
        if user:
            os.chown(state, NOBODY, NOBODY)
        file = folder / f"collectd{len(daemons)}.conf"
        modules = "".join(MODULE.format(block) for block in blocks)
        python = PYTHON.format(installation.modules, modules)
        file.write_text(FRAME.format(state, threads) + python, "utf-8", "surrogateescape")
        argv = namespace.argv(["collectd", "-f", "-C", file], user=user)
        daemons.append(Daemon(argv, folder / f"{file.name}.out"))
        return Collectd(daemons[-1], state)

    try:
        yield start
    finally:
        for daemon in daemons:
            daemon.stop()


def check_values(found: Collectd, namespace: Namespace, instance: str = "") -> None:
    """Compare one reading's values with the kernel's."""
    prefix = f"conntrack-{instance}-" if instance else "conntrack-"
    rows = oracle.statistics(namespace)
    last_cpu = max(rows)
    found.until_values(f"{prefix}cpu{last_cpu}/derive-search_restart", 1)
    table = {
        "conntrack-entries": oracle.count(namespace),
        "gauge-expect_limit": oracle.sysctl(namespace, "expect_max"),
        "gauge-acct": oracle.sysctl(namespace, "acct"),
    }
    ours = {name: found.until_values(f"{prefix}table/{name}", 1)[0] for name in table}
    assert ours == table
    counters = {
        cpu: {name: found.until_values(f"{prefix}cpu{cpu}/derive-{name}", 1)[0] for name in row}
        for cpu, row in rows.items()
    }
    assert counters == rows


def test_values_are_the_kernels(filled_namespace: Namespace, started: Start) -> None:
    collectd = started(filled_namespace)
    check_values(collectd, filled_namespace)
    collectd.stop()
    assert collectd.log == []


def test_percent_is_usage(filled_namespace: Namespace, started: Start) -> None:
    collectd = started(
        filled_namespace, '    Metrics "table.usage" "table.entries" "table.limit"\n'
    )
    percent = collectd.until_values("conntrack-table/percent-usage", 1)[0]
    limit = collectd.until_values("conntrack-table/conntrack-limit", 1)[0]
    assert percent == pytest.approx(100 * oracle.count(filled_namespace) / limit, abs=1e-6)
    assert not list((collectd.folder / "csv/gate").glob("conntrack-cpu*")), "only what was asked"


def test_values_follow_the_traffic(namespace: Namespace, started: Start) -> None:
    collectd = started(namespace)
    assert collectd.until_values("conntrack-table/conntrack-entries", 1) == [0]
    for _ in range(4):
        assert traffic.sent(namespace, 9)
    traffic.invalid(namespace, 6)
    rows = oracle.statistics(namespace)
    assert oracle.total(rows, "invalid") > 0

    def ours() -> dict[int, float]:
        values = {cpu: collectd.values(f"conntrack-cpu{cpu}/derive-invalid") for cpu in rows}
        return {cpu: found[-1] for cpu, found in values.items()}

    collectd.daemon.until(
        lambda: ours() == {cpu: row["invalid"] for cpu, row in rows.items()}, "the new counters"
    )
    collectd.daemon.until(
        lambda: collectd.values("conntrack-table/conntrack-entries")[-1] == 4, "the new entries"
    )


def test_blocks_in_several_threads(filled_namespace: Namespace, started: Start) -> None:
    names = [f"part{number}" for number in range(8)]
    intervals = {"part0": "    Interval 0.05\n", "part1": "    Interval 0.1\n"}
    blocks = [f'    Instance "{name}"\n{intervals.get(name, "")}' for name in names]
    collectd = started(filled_namespace, *blocks, threads=8)
    count = oracle.count(filled_namespace)
    for name in names:
        check_values(collectd, filled_namespace, name)
        many = 20 if name == "part0" else 5
        values = collectd.until_values(f"conntrack-{name}-table/conntrack-entries", many)
        assert values == [count] * many
    collectd.stop()
    assert collectd.log == []


BROKEN: Mapping[str, str] = {
    '    Metric "table.*"\n': (
        "unknown option 'Metric': known are Metrics, Interval, Instance, Netns, Events, ProcRoot"
    ),
    '    Instance "a\udce9b"\n': "option Instance: [b'a\\xe9b'] is not understood",
    "    Interval -1\n": "option Interval: [-1.0] is not understood",
    '    Metrics "tabel.*"\n': "no metric matches 'tabel.*'",
}


@pytest.mark.parametrize("block", BROKEN, ids=["option", "latin-1", "interval", "metric"])
def test_broken_block_is_one_sentence(
    filled_namespace: Namespace, started: Start, block: str
) -> None:
    """The good block beside it works."""
    collectd = started(filled_namespace, block, '    Instance "good"\n')
    check_values(collectd, filled_namespace, "good")
    collectd.stop()
    assert len(collectd.log) == 1, collectd.log
    line = collectd.log[0]
    assert "[error] conntrack_plugins: " in line
    assert BROKEN[block] in line
    assert line.endswith("; this <Module> block is not used")
    folders = {path.name for path in (collectd.folder / "csv/gate").iterdir()}
    assert all(name.startswith("conntrack-good-") for name in folders)


def test_lost_source_is_logged_once_and_its_return(
    filled_namespace: Namespace,
    started: Start,
    folder: Path,
) -> None:
    """The block reads a saved copy of /proc, in which there is nothing at first."""
    saved = folder / "saved"
    netfilter = saved / "sys/net/netfilter"
    blocks = (f'    Instance "saved"\n    ProcRoot "{saved}"\n    Metrics "table.entries"\n', "")
    collectd = started(filled_namespace, *blocks)
    check_values(collectd, filled_namespace)
    collectd.until_values("conntrack-table/conntrack-entries", 8)
    assert len(collectd.log) == 1, collectd.log
    assert f"no conntrack settings under {saved}/sys/net" in collectd.log[0]

    new = folder / "new"
    new.mkdir()
    (new / "nf_conntrack_count").write_text("17\n", "ascii")
    netfilter.parent.mkdir(parents=True)
    shutil.move(new, netfilter)
    assert collectd.until_values("conntrack-saved-table/conntrack-entries", 1) == [17]
    collectd.stop()
    assert len(collectd.log) == 2, collectd.log
    assert "all sources can be read again" in collectd.log[1]


def test_events_are_counted_between_reads(namespace: Namespace, started: Start) -> None:
    collectd = started(namespace, "    Events true\n")
    collectd.until_values("conntrack-events/derive-new", 2)
    with namespace.entered():
        fill.fill(150)
    processes.until(
        lambda: collectd.values("conntrack-events/derive-new")[-1] == 150,
        "the new entries are counted",
    )
    collectd.stop()
    assert collectd.log == []


def test_as_nobody(filled_namespace: Namespace, started: Start) -> None:
    collectd = started(filled_namespace, user="nobody")
    check_values(collectd, filled_namespace)
    status = Path(f"/proc/{collectd.daemon.process.pid}/status").read_text("ascii")
    assert f"Uid:\t{NOBODY}\t" in status
    assert "CapEff:\t0000000000000000" in status
    collectd.stop()
    assert collectd.log == []


def test_rendered_configuration_from_a_hostile_path(
    filled_namespace: Namespace, hostile: Installation, folder: Path
) -> None:
    """Its thresholds are judged by collectd, whose notifications stand in its log."""
    count = oracle.count(filled_namespace)
    said = (f"checks=table.entries,1,{count - 1}\ncpu.drop/s,0,10", "interval=1", "warning=70")
    files = rendered.render("collectd", folder, hostile, *said)
    state = folder / "state"
    state.mkdir()
    file = folder / "collectd.conf"
    include = f'Include "{files}/*.conf"\n'
    file.write_text(FRAME.format(state, 5) + include, "utf-8")
    with Daemon(filled_namespace.argv(["collectd", "-f", "-C", file]), folder / "out") as daemon:
        collectd = Collectd(daemon, state)
        check_values(collectd, filled_namespace)
        told = daemon.until(
            lambda: [line for line in collectd.log if "severity = FAILURE" in line], "an alarm"
        )
        collectd.stop()
    assert all("type = conntrack, type_instance = entries" in line for line in told), told
    assert "Traceback" not in "".join(collectd.log)


# Not UTF-8, not ASCII, what an identifier may not hold, and what is longer than one may be.
NAMES = (
    b"x\xff",
    b"x\xfe",
    b"x\ny",
    "xünï".encode(),
    b"host",
    *(b"n" * 120 + b"%d" % n for n in (1, 2)),
)


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_every_namespace_has_series_of_its_own(
    folder: Path, installation: Installation, locale: str
) -> None:
    modules = MODULE.format('    Netns "all"\n    Instance "an-instance"\n')
    modules += MODULE.format('    Netns "xünï"\n    Instance "named"\n')
    text = FRAME.format(folder, 5) + PYTHON.format(installation.modules, modules)
    (folder / "conf").write_text(text, "utf-8")
    added = "".join(
        "ip netns add $'" + "".join(f"\\x{byte:02x}" for byte in name) + "'\n" for name in NAMES
    )
    last = f"{folder}/csv/gate/conntrack-an-instance-*2*-table/conntrack-entries-*"
    done = private(
        f"{added}collectd -f -C {folder}/conf >{folder}/out 2>&1 & daemon=$!\n"
        f"for n in $(seq 100); do compgen -G '{last}' >/dev/null && break; sleep 0.2; done\n"
        "sleep 0.5; kill $daemon; wait $daemon",
        env={"LC_ALL": locale},
    )
    assert done.returncode == 0, done
    log = (folder / "log").read_text("utf-8")
    assert "Traceback" not in log
    assert "conntrack_plugins" not in log
    labels = [label(b"/run/netns/host" if name == b"host" else name) for name in NAMES]
    wanted = set()
    for netns in labels:
        rows = [("table.entries", {}), *(("cpu.drop", {"cpu": cpu}) for cpu in ("0", "1"))]
        for metric, more in rows[: 1 + (os.cpu_count() or 1)]:
            sample = Sample(metric, (("netns", netns), *more.items()), 1)
            place = identifier(sample, "an-instance")
            wanted.add(f"conntrack-{place.plugin_instance}/{place.type}-{place.type_instance}")
    files = [path for path in (folder / "csv/gate").rglob("*-20*") if path.is_file()]
    found = {f"{path.parent.name}/{path.name[:-11]}".rstrip("-") for path in files}
    assert {name.rstrip("-") for name in wanted} <= found
    assert len(wanted) == len(NAMES) * (1 + min(2, os.cpu_count() or 1))
    assert "conntrack-named-xünï-table/conntrack-entries" in found

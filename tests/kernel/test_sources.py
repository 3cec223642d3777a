"""The sources against conntrack(8) and sysctl(8), on counters that traffic has moved."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence

import pytest

import fill
import oracle
import traffic
from conntrack_common.ctnetlink import stats
from conntrack_common.errors import NETLINK_REMEDY
from conntrack_common.host import network
from conntrack_common.model import CpuCounters, Sysctls
from conntrack_common.model.conntrackd import SyncConfig
from conntrack_common.proc.files import ProcRoot
from installation import Installation
from namespaces import Filled, Namespace

pytestmark = pytest.mark.kernel

Read = Callable[[], Sequence[CpuCounters]]
BY_CTNETLINK = "from conntrack_common.ctnetlink import stats as source\n"
BY_PROC = "from conntrack_common.proc.files import ProcRoot\nsource = ProcRoot()\n"
DUMP = (
    "import json\nprint(json.dumps({row.cpu: dict(row.values) for row in source.cpu_counters()}))\n"
)

# With each insertion that fails a packet is dropped, so `drop` is left to the full table.
MOVED = ("found", "invalid", "error", "insert", "insert_failed")


@pytest.fixture(scope="module")
def moved() -> Iterator[Namespace]:
    """A namespace whose counters have moved, each by another amount."""
    with Namespace() as made:
        made.rules(traffic.SNAT)
        traffic.invalid(made, 7)
        traffic.error(made, 4)
        assert traffic.hidden(made, 9) == 9 - traffic.SNAT_PORTS
        with made.entered():
            fill.fill(11)
        rows = oracle.statistics(made)
        sums = [oracle.total(rows, name) for name in MOVED]
        assert all(sums), "traffic must have moved these counters"
        assert len(set(sums)) == len(sums), "a mixed-up pair of counters must show"
        yield made


def entries_by_proc() -> int | None:
    return ProcRoot().sysctls().entries


def entries_by_ctnetlink() -> int | None:
    return stats.table_size().entries


@pytest.mark.parametrize("read", [entries_by_proc, entries_by_ctnetlink])
def test_entries_are_those_that_conntrack_counts(
    filled: Filled, read: Callable[[], int | None]
) -> None:
    with filled.namespace.entered():
        ours = read()
    assert ours == oracle.count(filled.namespace) == filled.entries


@pytest.mark.parametrize("read", [entries_by_proc, entries_by_ctnetlink])
def test_entries_of_real_connections(read: Callable[[], int | None]) -> None:
    with traffic.connections() as namespace:

        def ours() -> int | None:
            with namespace.entered():
                return read()

        assert oracle.agreed(lambda: oracle.count(namespace), ours) == (len(traffic.EXPECTED),) * 2


def test_another_namespace_is_not_counted(filled: Filled, namespace: Namespace) -> None:
    assert traffic.sent(namespace, 9)
    with namespace.entered():
        ours = (entries_by_proc(), entries_by_ctnetlink())
    assert ours == (oracle.count(namespace),) * 2 == (1, 1)


def test_settings_are_those_that_sysctl_shows(namespace: Namespace) -> None:
    for name, value in {"acct": 1, "timestamp": 0, "events": 0}.items():
        namespace.must("sysctl", "-w", f"net.netfilter.nf_conntrack_{name}={value}")
    names = ("max", "buckets", "expect_max", "acct", "timestamp", "events")

    def ours() -> tuple[int | None, ...]:
        with namespace.entered():
            found: Sysctls = ProcRoot().sysctls()
        fields = (found.limit, found.buckets, found.expect_max)
        return (*fields, found.acct, found.timestamp, found.events)

    theirs, mine = oracle.agreed(
        lambda: tuple(oracle.sysctl(namespace, name) for name in names), ours
    )
    assert mine == theirs
    assert mine[3:] == (1, 0, 0)


def test_limit_by_ctnetlink_is_the_sysctl(namespace: Namespace) -> None:
    def ours() -> int | None:
        with namespace.entered():
            return stats.table_size().limit

    theirs, mine = oracle.agreed(lambda: oracle.sysctl(namespace, "max"), ours)
    assert mine == theirs


def by_proc() -> Sequence[CpuCounters]:
    return ProcRoot().cpu_counters()


@pytest.mark.parametrize("read", [by_proc, stats.cpu_counters])
def test_counters_of_each_cpu_are_those_of_conntrack(moved: Namespace, read: Read) -> None:
    def ours() -> oracle.Statistics:
        with moved.entered():
            return {row.cpu: dict(row.values) for row in read()}

    theirs, mine = oracle.agreed(lambda: oracle.statistics(moved), ours)
    assert mine.keys() == theirs.keys()
    for cpu, row in theirs.items():
        assert {name: mine[cpu].get(name) for name in row} == row, f"CPU {cpu}"


def test_both_ways_name_the_same_counters(moved: Namespace) -> None:
    with moved.entered():
        proc, netlink = by_proc(), stats.cpu_counters()
    assert [(row.cpu, dict(row.values)) for row in proc] == [
        (row.cpu, dict(row.values)) for row in netlink
    ]


def test_insertions_by_ctnetlink_are_counted(filled: Filled) -> None:
    with filled.namespace.entered():
        for rows in (by_proc(), stats.cpu_counters()):
            assert sum(row.values["insert"] for row in rows) >= filled.entries


def test_retired_counters_are_absent_after_traffic(moved: Namespace) -> None:
    """/proc shows columns that conntrack -S, which is told what is kept, does not."""
    kept = set(next(iter(oracle.statistics(moved).values())))
    header = moved.must("head", "-1", "/proc/net/stat/nf_conntrack").split()
    expectations = {"expect_new", "expect_create", "expect_delete"}
    assert {"new", "ignore", "delete"} <= set(header)
    with moved.entered():
        for rows in (by_proc(), stats.cpu_counters()):
            assert set(rows[0].values) == kept | expectations


def test_nobody_reads_proc(moved: Namespace, installation: Installation) -> None:
    code = installation.python(BY_PROC + "print(source.sysctls().entries)\n" + DUMP)

    def ours() -> list[str]:
        done = moved.run(code, user="nobody")
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    (count, rows), (entries, dumped) = oracle.agreed(
        lambda: (oracle.count(moved), oracle.statistics(moved)), ours
    )
    assert int(entries) == count
    assert _as_theirs(dumped, rows) == rows


@pytest.mark.parametrize("call", ["cpu_counters()", "table_size()"])
def test_nobody_is_refused_ctnetlink_with_the_remedy(
    moved: Namespace, installation: Installation, call: str
) -> None:
    code = (
        f"{BY_CTNETLINK}from conntrack_common.errors import NotPermitted\n"
        f"try:\n    source.{call}\nexcept NotPermitted as error:\n    print(error)\n"
    )
    done = moved.run(installation.python(code), user="nobody")
    assert (done.returncode, done.stderr) == (0, "")
    sentence = done.stdout.strip()
    assert sentence == f"the kernel refused (Operation not permitted): {NETLINK_REMEDY}"
    assert "CAP_NET_ADMIN" in sentence


def test_nobody_with_ambient_cap_net_admin_reads_ctnetlink(
    moved: Namespace, installation: Installation
) -> None:
    code = installation.python(BY_CTNETLINK + "print(source.table_size().entries)\n" + DUMP)

    def ours() -> list[str]:
        done = moved.run(code, user="nobody", caps=("net_admin",))
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    (count, rows), (entries, dumped) = oracle.agreed(
        lambda: (oracle.count(moved), oracle.statistics(moved)), ours
    )
    assert int(entries) == count
    assert _as_theirs(dumped, rows) == rows


def _as_theirs(dumped: str, rows: oracle.Statistics) -> oracle.Statistics:
    """Our counters from JSON, narrowed to the names that conntrack(8) prints."""
    ours = json.loads(dumped)
    return {
        int(cpu): {name: values[name] for name in rows[int(cpu)]} for cpu, values in ours.items()
    }


def test_interfaces_are_those_that_ip_shows(namespace: Namespace) -> None:
    """Of any name, with secondary, labelled and point-to-point addresses, up and down."""
    name = os.fsdecode(b"x\xff")
    for words in (
        f"link add {name} type veth peer name y0",
        f"link set {name} up",
        f"address add 192.0.2.1/32 dev {name}",
        "link set lo up",
        "address add 192.0.2.8 peer 192.0.2.9 dev y0",
        "address add 198.51.100.1/24 dev y0",
        "address add 198.51.100.2/24 dev y0 label y0:1",
        "address add 2001:db8::1/64 dev y0 nodad",
    ):
        namespace.must("ip", *words.split())
    listing = subprocess.run(
        namespace.argv(["ip", "-json", "address"]), capture_output=True, check=True
    ).stdout
    shown = json.loads(os.fsdecode(listing))
    with namespace.entered():
        found = network.read_host(SyncConfig("conntrackd.conf"), ProcRoot()).interfaces
    assert found
    assert found[name].addresses[0] == "192.0.2.1"
    assert {link["ifname"] for link in shown} == found.keys()
    for link in shown:
        ours = found[link["ifname"]]
        assert set(ours.addresses) == {each["local"] for each in link["addr_info"]}
        assert ours.up is ("UP" in link["flags"])

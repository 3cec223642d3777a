"""conntrack-stat count and the counts in the catalogue, against the filler and conntrack(8)."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import fill
import oracle
from conntrack_common.breakdown import DIMENSIONS
from installation import Installation, command, python_path
from namespaces import Filled, Namespace

pytestmark = pytest.mark.kernel

ENTRIES = 4000


@pytest.fixture(scope="module", params=[1, 2, 3])
def seeded(request: pytest.FixtureRequest) -> Iterator[Filled]:
    with Namespace() as made:
        if request.param == 3:  # whose packets and bytes are added up, too
            made.must("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1")
        with made.entered():
            truth = fill.fill(ENTRIES, seed=request.param)
        yield Filled(made, truth)


def stat(namespace: Namespace, *words: str) -> subprocess.CompletedProcess[str]:
    return namespace.run([*command("conntrack-stat"), *words], env=python_path())


def counted(namespace: Namespace, *words: str) -> dict[str, Any]:
    done = stat(namespace, "count", "--json", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def by_one(found: dict[str, Any], name: str) -> dict[str | None, int]:
    return {group["by"][name]: group["entries"] for group in found["groups"]}


@pytest.mark.parametrize("dimension", ["protocol", "family", "zone", "mark"])
def test_each_dimension_equals_the_truth(seeded: Filled, dimension: str) -> None:
    found = counted(seeded.namespace, "--by", dimension)
    assert found["total"] == ENTRIES
    assert by_one(found, dimension) == seeded.truth[dimension]
    assert (found["approximate"], found["error"]) == (False, 0)


def test_states_equal_the_truth(seeded: Filled) -> None:
    found = counted(seeded.namespace, "--by", "state", "-p", "tcp")
    assert by_one(found, "state") == seeded.truth["tcp_state"]


def test_status_flags_equal_the_truth(seeded: Filled) -> None:
    found = by_one(counted(seeded.namespace, "--by", "status"), "status")
    assert {name: found[name] for name in ("UNREPLIED", "ASSURED")} == seeded.truth["status"]


def test_several_dimensions_equal_what_conntrack_lists(seeded: Filled) -> None:
    theirs: Counter[tuple[str | None, ...]] = Counter()
    for line in oracle.listing(seeded.namespace):
        words = line.split()
        state = None if "=" in words[3] else words[3]
        # This kernel keeps no ports for DCCP, for which conntrack(8) prints 0.
        port = re.search(r"dport=(?!0 )(\d+)", line)
        zone = re.search(r"zone=(\d+)", line)
        key = (words[0], state, port[1] if port else None, zone[1] if zone else "0")
        theirs[key] += 1
    dimensions = ("protocol", "state", "dport", "zone")
    found = counted(seeded.namespace, "--by", ",".join(dimensions))
    ours = {
        tuple(group["by"][name] for name in dimensions): group["entries"]
        for group in found["groups"]
    }
    assert ours == dict(theirs)


@pytest.mark.parametrize(("dimension", "key"), [("src", "src"), ("dst", "dst"), ("sport", "sport")])
def test_values_of_many_equal_what_conntrack_lists(
    seeded: Filled, dimension: str, key: str
) -> None:
    lines = oracle.listing(seeded.namespace)
    found = [re.search(rf"\b{key}=(?!0 )(\S+)", line) for line in lines]
    theirs = Counter(match[1] for match in found if match)
    ours = by_one(counted(seeded.namespace, "--by", dimension), dimension)
    assert {value: entries for value, entries in ours.items() if value is not None} == theirs


SETS = [*DIMENSIONS, "tcp_state,dport", "status,src", "family,mark,dst", "state,helper"]


@pytest.mark.parametrize("by", SETS)
def test_top_is_the_largest_groups(seeded: Filled, by: str) -> None:
    everything = counted(seeded.namespace, "--by", by)
    largest = counted(seeded.namespace, "--by", by, "--top", "3")
    first, all_ = (
        [(tuple(each["by"].values()), each["entries"]) for each in found["groups"]]
        for found in (largest, everything)
    )
    assert [entries for _by, entries in first] == [entries for _by, entries in all_[:3]]
    assert set(first) <= set(all_)
    assert largest["total"] == ENTRIES


FILTERS = [
    "-p tcp",
    "-p udp",
    "-p icmp",
    "-p ipv6-icmp",
    "-p tcp --state ESTABLISHED",
    "-p tcp --state SYN_SENT",
    "-p udp --dport 4500",
    "-p tcp --dport 22 --state TIME_WAIT",
    "-s 10.0.1.0/24",
    "-s 10.0.0.77",
    "-d 192.168.0.7",
    "-s 2001:db8::/32 -f ipv6",
    "-r 192.168.0.7",
    "-q 10.0.0.77",
    "-u ASSURED",
    "-u SEEN_REPLY",
    "-m 1",
    "-m 0xBE00/0xFF00",
    "-w 7",
    "-w 0",
    "-f ipv4",
    "-f ipv6",
    "-f ipv6 -p tcp --state CLOSE -u SEEN_REPLY",
]


@pytest.mark.parametrize("options", FILTERS)
def test_filters_mean_what_conntrack_means(filled: Filled, options: str) -> None:
    words = shlex.split(options)
    theirs = len(filled.namespace.must("conntrack", "-L", *words).splitlines())
    assert counted(filled.namespace, *words)["total"] == theirs


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ("-p tcp --dport ssh", "-p tcp --dport 22"),
        ("--proto TCP --state established", "-p tcp --state ESTABLISHED"),
        ("-s 10.0.1.0/255.255.255.0", "-s 10.0.1.0/24"),
        ("--zone 7", "-w 7"),
    ],
)
def test_other_spellings(filled: Filled, options: str, same: str) -> None:
    theirs = len(filled.namespace.must("conntrack", "-L", *shlex.split(same)).splitlines())
    assert counted(filled.namespace, *shlex.split(options))["total"] == theirs


def test_unreplied_are_those_that_conntrack_marks(filled: Filled) -> None:
    theirs = sum("[UNREPLIED]" in line for line in oracle.listing(filled.namespace))
    assert counted(filled.namespace, "-u", "UNREPLIED")["total"] == theirs


def test_an_empty_table_is_counted_as_empty(namespace: Namespace) -> None:
    found = counted(namespace, "--by", "protocol")
    assert (found["total"], found["groups"]) == (0, [])
    assert stat(namespace, "count").stdout == "0\n"


def test_a_plain_count_is_a_number(filled: Filled) -> None:
    assert stat(filled.namespace, "count").stdout == f"{filled.entries}\n"


def test_nobody_is_told_what_is_missing(filled: Filled, installation: Installation) -> None:
    words = [installation.command("conntrack-stat"), "count", "--by", "protocol"]
    done = filled.namespace.run(words, user="nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "CAP_NET_ADMIN" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--by", "colour"],
        ["--top", "0"],
        ["-p", "nosuch"],
        ["-s", "10.0.0.0/33"],
        ["-s", "10.0.0.1", "-f", "ipv6"],
        ["--state", "SLEEPING"],
        ["-m", "1/2/3"],
        ["-u", "HAPPY"],
        ["-w", "70000"],
        ["--dport", "99999"],
    ],
)
def test_what_can_not_be_meant_is_one_sentence(filled: Filled, words: list[str]) -> None:
    done = stat(filled.namespace, "count", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done


def test_metrics_equal_the_truth(filled: Filled) -> None:
    words = [*command("conntrack-prometheus"), "--metrics", "table.*,tcp.*"]
    done = filled.namespace.run(words, env=python_path())
    found = re.findall(
        r'^conntrack_(\w+)_entries\{(\w+)="(\w+)"\} (\d+)$', done.stdout, re.MULTILINE
    )
    ours: dict[str, dict[str, int]] = {}
    for metric, _label, value, entries in found:
        if int(entries):
            ours.setdefault(metric, {})[value] = int(entries)
    assert ours["table_protocol"] == filled.truth["protocol"]
    assert ours["table_family"] == filled.truth["family"]
    assert ours["table_zone"] == filled.truth["zone"]
    assert ours["tcp_state"] == filled.truth["tcp_state"]
    status = filled.truth["status"]
    assert isinstance(status, dict)
    assert {name: ours["table_status"][name] for name in status} == status


def test_a_filter_narrows_what_a_check_counts(filled: Filled) -> None:
    words = [*command("check_conntrack"), "-u", "ASSURED", "--check", "table.entries,0:1,"]
    done = filled.namespace.run(words, env=python_path())
    status = filled.truth["status"]
    assert isinstance(status, dict)
    assert done.returncode == 1
    assert f"table.entries {status['ASSURED']} " in done.stdout


def test_a_check_of_one_state(filled: Filled) -> None:
    states = filled.truth["tcp_state"]
    assert isinstance(states, dict)
    check = f"tcp.state[state=SYN_RECV],{states['SYN_RECV'] - 1},{states['SYN_RECV']}"
    words = [*command("check_conntrack"), "--check", check]
    done = filled.namespace.run(words, env=python_path())
    assert done.returncode == 1, done
    assert f"tcp.state[state=SYN_RECV] {states['SYN_RECV']} (outside range" in done.stdout

"""Filters mean what conntrack(8) means: sets of options on a table with entries of every kind."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import varied
from conntrack_common.breakdown import count_table
from conntrack_common.catalogue.lookup import BY_ID
from conntrack_common.collect import collect
from conntrack_common.filters.filter import Filter
from conntrack_plugins import arguments, prometheus, telegraf
from conntrack_plugins import stat as cli
from conntrack_plugins.nagios import conntrack
from installation import command as installed
from installation import python_path
from namespaces import Namespace
from oracle import timeless
from varied import CLIENTS, SERVERS, TRANSLATED, covered

pytestmark = pytest.mark.kernel


class Table(NamedTuple):
    """A namespace with the table, and the folder that gives labels names there."""

    namespace: Namespace
    labels: Path

    def theirs(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        listing = ["conntrack", "-L", *words]
        needs_names = any(word in words for word in ("-l", "labels"))
        return self.namespace.run(covered(self.labels, listing) if needs_names else listing)


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    with varied.names_of_labels() as labels, varied.table(labels) as namespace:
        yield Table(namespace, labels)


class Choice(NamedTuple):
    """What one option is here, and in conntrack(8): listings of which an entry is in each one.

    `pattern` has to be found in the line where conntrack(8) takes the option and ignores it.
    """

    ours: str
    theirs: tuple[str, ...]
    pattern: str = ""


def same(words: str) -> Choice:
    return Choice(words, (words,))


def label(numbers: str) -> Choice:
    names = ",".join(varied.LABELS[int(number)] for number in numbers.split(","))
    return Choice(f"-l {numbers}", (f"-l {names}",))


# Before 5.15 conntrack(8) leaves flags that are not set to a kernel which doesn't know that.
NOT_SET = {"UNREPLIED": r"(?=.*\[UNREPLIED\])", "!ASSURED": r"(?!.*\[ASSURED\])"}


def status(flags: str) -> Choice:
    """conntrack(8) finds nothing for flags that are to be set with flags that are not."""
    each = flags.split(",")
    apart = not NOT_SET.keys().isdisjoint(each)
    theirs = tuple(f"-u {flag}" for flag in each) if apart else (f"-u {flags}",)
    return Choice(f"-u {flags}", theirs, "^" + "".join(NOT_SET.get(flag, "") for flag in each))


def keys(option: str, key: int) -> Choice:
    """conntrack(8) ignores GRE's keys, and shows them: in the reply, those of the other way."""
    name = "srckey" if option.endswith(("srckey", "src")) else "dstkey"
    times = 2 if option.startswith("--reply") else 1
    return Choice(f"{option} {key:#x}", ("",), rf"(?:.*\b{name}=){{{times}}}{key:#x}\b")


def nat(option: str, end: str) -> Choice:
    """conntrack(8) compares no IPv6 address here; the reply goes to the new source, and so on."""
    address, _, port = end.strip("[").partition("]:") if ":" in end[5:] else end.partition(":")
    if "." in end:
        return same(f"{option} {end}")
    behind = (
        rf" \S+ sport={port}\b" if option in {"-g", "--dst-nat"} else rf" sport=\d+ dport={port}\b"
    )
    name = "src" if option in {"-g", "--dst-nat"} else "dst"
    return Choice(f"{option} {end}", (option,), rf".* {name}={address}{behind if port else ' '}")


# By address family: what -s, -d and the like are given.
ADDRESSES = {
    family: {
        "src": [
            *(same(f"-s {address}") for address in CLIENTS[family]),
            *(same(f"--src {CLIENTS[family][0]}/{length}") for length in lengths),
            *(same(f"--mask-src {mask} -s {CLIENTS[family][1]}") for mask in masks),
        ],
        "dst": [
            *(same(f"-d {address}") for address in SERVERS[family]),
            *(same(f"--orig-dst {SERVERS[family][1]}/{length}") for length in lengths),
            *(same(f"-d {SERVERS[family][0]} --mask-dst {mask}") for mask in masks),
        ],
        "reply src": [same(f"-r {ip}") for ip in (*SERVERS[family], *TRANSLATED[family])],
        "reply dst": [same(f"-q {ip}") for ip in (*CLIENTS[family], *TRANSLATED[family])],
        "src nat": [same("-n"), *(nat("-n", end) for end in ends)],
        "dst nat": [same("-g"), *(nat("--dst-nat", end) for end in ends)],
        "any nat": [same("-j"), *(same(f"-j {end}") for end in ends if "." in end)],
    }
    for family, lengths, masks, ends in (
        (
            "ipv4",
            (0, 8, 23, 24, 31, 32),
            ("255.255.255.0", "255.0.255.255", "0.0.0.1", "255.255.255.255"),
            ("198.51.100.1", "198.51.100.2", "198.51.100.1:4000", "198.51.100.2:4001"),
        ),
        (
            "ipv6",
            (0, 32, 47, 64, 127, 128),
            ("ffff:ffff::", "::ffff", "ffff:ffff:0:ffff::"),
            ("2001:db8:a::1", "2001:db8:a::2", "[2001:db8:a::1]:4000", "[2001:db8:a::2]:4001"),
        ),
    )
}
GENERAL = {
    "family": [same("-f ipv4"), same("-f ipv6")],
    "mark": [
        *(same(f"-m {mark}") for mark in ("0", "1", "0x11", "021", "0x10/0xff", "0x1/017")),
        *(same(f"-m {mark}") for mark in ("0/1", "0xffffffff", "3/1", "0xff00/0xff00")),
    ],
    "status": [
        *(status(flag) for flag in ("ASSURED", "SEEN_REPLY", "UNREPLIED", "FIXED_TIMEOUT")),
        *(status(flags) for flags in ("seen_reply,assured", "UNSET,SEEN_REPLY", "!ASSURED")),
        *(status(flags) for flags in ("SEEN_REPLY,!ASSURED", "FIXED_TIMEOUT,UNREPLIED")),
        Choice("-u SEEN_REPLY -u ASSURED", ("-u SEEN_REPLY", "-u ASSURED")),
    ],
    "zone": [same(f"-w {zone}") for zone in ("0", "1", "0x2", "3", "01")],
    "orig zone": [same(f"--orig-zone {zone}") for zone in ("0", "1", "2")],
    "reply zone": [same(f"--reply-zone {zone}") for zone in ("0", "1", "0x3")],
    "label": [
        *(label(numbers) for numbers in ("1", "5", "1,5", "127")),
        Choice("-l 5 -l 33", ("-l late -l far",)),
    ],
}
PORTS = {
    "sport": [same("--sport 1004"), same("--orig-port-src 1101"), same("--sport 1042")],
    "dport": [same("--dport 22"), same("--dport 0053"), same("--orig-port-dst 4500")],
    "reply sport": [same("--reply-port-src 80"), same("--reply-port-src 4001")],
    "reply dport": [same("--reply-port-dst 4000"), same("--reply-port-dst 1022")],
}
TCP_STATES = [same(f"--state {state}") for state in (*varied.TCP_STATES, "SYN_SENT2")]
SCTP_STATES = [same(f"--state {state}") for state in varied.SCTP_STATES]
GRE = {
    "srckey": [keys("--srckey", 0x10), keys("--orig-key-src", 0x1020)],
    "dstkey": [keys("--dstkey", 7), keys("--orig-key-dst", 8)],
    "reply key": [keys("--reply-key-src", 7), keys("--reply-key-dst", 0x10)],
}


def icmp(name: str, kinds: tuple[int, ...], idents: tuple[int, ...]) -> dict[str, list[Choice]]:
    return {
        "type": [same(f"--{name}-type {kind}") for kind in kinds],
        "code": [same(f"--{name}-code {code}") for code in (0, 1)],
        "id": [same(f"--{name}-id {ident}") for ident in idents],
    }


# By protocol: its spellings, and its own options.
PROTOCOLS: list[tuple[tuple[str, ...], dict[str, list[Choice]]]] = [
    (("tcp", "6", "TCP"), {**PORTS, "state": TCP_STATES}),
    (("udp", "0x11", "021"), PORTS),
    (("udplite", "136"), PORTS),
    (("sctp", "132"), {**PORTS, "state": SCTP_STATES}),
    (("dccp",), {**PORTS, "state": [same("--state OPEN")]}),
    (("icmp", "1"), icmp("icmp", (8, 13, 17), (108, 114, 5))),
    (("icmpv6", "58"), icmp("icmpv6", (128, 139), (228, 240))),
    (("gre", "47"), GRE),
    (("ospf", "89", "0x59"), {}),
    (("esp", "ipv6-icmp"), {}),
    (("vrrp", "igmp", "ah", "41", "253", "254"), {}),
]


class Options(NamedTuple):
    """A set of options: the words of each one that was drawn."""

    protocol: str
    chosen: tuple[tuple[str, Choice], ...]

    @property
    def ours(self) -> list[str]:
        words = " ".join(choice.ours for _name, choice in self.chosen)
        return shlex.split(f"{self.protocol} {words}")

    def theirs(self) -> Iterator[list[str]]:
        """Yield listings; what is meant is in each of them."""
        names = [name for name, _choice in self.chosen]
        together, alone = [], []
        for name, choice in self.chosen:
            # With -u, the number of its flags is taken for the mark; with another option, -j's
            # address for a source.
            apart = len(choice.theirs) > 1 or (name == "mark" and "status" in names)
            apart |= choice.theirs[0].startswith("-j ")
            (alone if apart else together).extend(choice.theirs)
        yield shlex.split(f"{self.protocol} {' '.join(together)}")
        yield from map(shlex.split, alone)  # none of these belongs to a protocol

    def are_in(self, line: str) -> bool:
        return all(re.search(choice.pattern, line) for _name, choice in self.chosen)


# What conntrack(8) lists for one option alone, by the protocol that it belongs to.
Alone = dict[tuple[str, Choice], frozenset[str]]


@st.composite
def option_sets(draw: st.DrawFn, alone: Alone) -> Options:
    """One to five options that conntrack(8) takes together, and often finds something by."""
    spellings, own = draw(st.sampled_from([(("",), {}), (("",), {}), *PROTOCOLS]))
    spelling, family = draw(st.sampled_from(spellings)), draw(st.sampled_from(["ipv4", "ipv6"]))
    choices = {**GENERAL, **ADDRESSES[family], **own, "family": [same(f"-f {family}")]}
    least, most = (0, 4) if spelling else (1, 5)
    names = st.lists(st.sampled_from(sorted(choices)), min_size=least, max_size=most, unique=True)
    chosen: dict[str, Choice] = {}
    left = alone[spellings[0], same("")]
    for name in draw(names):
        if not (name in NATS and NATS & chosen.keys() and "any nat" in {name, *chosen}):
            found = choices[name]
            lists = [alone[spellings[0] if name in own else "", choice] for choice in found]
            good = [choice for choice, lines in zip(found, lists) if lines & left]
            chosen[name] = draw(
                st.sampled_from(good if good and draw(st.integers(0, 4)) else found)
            )
            left &= lists[found.index(chosen[name])]
    return Options(f"-p {spelling}" if spelling else "", tuple(chosen.items()))


NATS = {"src nat", "dst nat", "any nat"}


def listed(table: Table, options: Options) -> list[str]:
    """What conntrack(8) lists."""
    lines: set[str] | None = None
    for words in options.theirs():
        done = table.theirs(words)
        assert done.returncode == 0, (words, done.stderr)
        # With -l, they show labels, by the names that connlabel.conf has there.
        found = timeless(re.sub(r" labels\S*$", "", done.stdout, flags=re.MULTILINE))
        assert len(found) == len(set(found))
        lines = set(found) if lines is None else lines & set(found)
    return sorted(line for line in lines or () if options.are_in(line))


PARSER = cli.parser()


def ours(table: Table, words: list[str]) -> list[str]:
    """What conntrack-stat list shows."""
    args = PARSER.parse_args(["list", "-o", "conntrack", *words])
    with table.namespace.entered():
        return timeless("".join(args.work(args)))


def counted(table: Table, words: list[str]) -> set[int | None]:
    """What the other commands count, all with one filter."""
    with table.namespace.entered():
        wanted = arguments.filter_of(PARSER.parse_args(["count", *words]))
        reading = collect([BY_ID["table.entries"]], filter_=wanted)
        total = count_table(("src", "protocol", "orig-zone"), wanted).total
    for kind, parser in (
        (conntrack.Options, CHECK),
        (telegraf.Options, TELEGRAF),
        (prometheus.Options, PROMETHEUS),
    ):
        spelled = [IN_CHECK.get(word, word) for word in words] if parser is CHECK else words
        made = arguments.options(kind, lambda parser=parser: parser, spelled)  # type: ignore[misc]
        assert (made.filter_ or Filter()) == wanted
    return {total, reading.sysctls.entries if reading.sysctls else None}


CHECK, TELEGRAF, PROMETHEUS = conntrack.parser(), telegraf.parser(), prometheus.parser()
IN_CHECK = {"-w": "--zone", "-c": "--secmark"}  # where these are ranges


def test_the_table_has_every_kind(table: Table) -> None:
    lines = table.namespace.must("conntrack", "-L").splitlines()
    assert len(lines) > 100
    assert {line.split()[1] for line in lines} >= {
        "1",
        "2",
        "6",
        "17",
        "47",
        "58",
        "89",
        "132",
        "136",
    }
    assert timeless("\n".join(lines)) == ours(table, [])


EACH = [
    *(
        ("", choice)
        for choices in (GENERAL, *ADDRESSES.values())
        for choice in chain.from_iterable(choices.values())
    ),
    *((each[0], choice) for each, own in PROTOCOLS for choice in chain.from_iterable(own.values())),
    *((spelling, same("")) for each, _own in [(("",), {}), *PROTOCOLS] for spelling in each),
]


@pytest.fixture(scope="module")
def alone(table: Table) -> Alone:
    return {
        (protocol, choice): frozenset(listed(table, by_itself(protocol, choice)))
        for protocol, choice in EACH
    }


def by_itself(protocol: str, choice: Choice) -> Options:
    return Options(f"-p {protocol}" if protocol else "", (("", choice),))


def test_each_option_alone_is_conntracks(table: Table, alone: Alone) -> None:
    """Together in one test: with a test for each, the report would be longer than this file."""
    found = {key: ours(table, by_itself(*key).ours) for key in alone}
    assert {key: lines for key, lines in found.items() if lines != sorted(alone[key])} == {}


def test_sets_of_options_are_conntracks(table: Table, alone: Alone) -> None:
    sizes = []

    @settings(max_examples=80, derandomize=True, deadline=None, database=None)
    @given(option_sets(alone))
    def are_equal(options: Options) -> None:
        theirs = listed(table, options)
        assert ours(table, options.ours) == theirs
        assert counted(table, options.ours) == {len(theirs)}
        sizes.append(len(theirs))

    are_equal()
    assert sum(map(bool, sizes)) > len(sizes) / 3


def stat(table: Table, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [*installed("conntrack-stat"), *words]
    return table.namespace.run(covered(table.labels, argv), env=python_path())


EVERYWHERE = (
    "-s 2001:db8::1 -p tcp",
    "-p tcp --label web --orig-zone 0 -u !ASSURED -u UNREPLIED --mark 0/0xff",
    "-u UNREPLIED --icmpv6-type 128 -f ipv6",
    "-j 198.51.100.2 --protonum 0x6 --mask-dst 255.255.0.0 --dst 192.0.2.9",
    "-l late --secmark 0 --reply-zone 0 --state ESTABLISHED",
    "--dstkey 0x7 --srckey 020",
)


@pytest.mark.parametrize("options", EVERYWHERE)
def test_every_command_takes_them(table: Table, options: str) -> None:
    words = shlex.split(options)
    number = stat(table, "list", "-o", "conntrack", *words).stdout.count("\n")
    assert number
    answers = {
        "conntrack-stat count": rf"\A{number}\n",
        "conntrack-stat top --once": rf"\A{number} of ",
        "conntrack-telegraf --metrics table.entries": rf"\Aconntrack entries={number}i",
        "conntrack-prometheus --metrics table.entries": rf"^conntrack_table_entries {number}$",
        "check_conntrack --check table.entries,,": rf"'table\.entries'={number};",
        "conntrack-stat events --duration 0.1": r"\A\Z",
    }
    for program, answer in answers.items():
        name, *rest = program.split()
        argv = covered(table.labels, [*installed(name), *rest, *words])
        done = table.namespace.run(argv, env=python_path())
        assert done.returncode == 0, done
        assert re.search(answer, done.stdout, re.MULTILINE | re.DOTALL), (program, done)


@pytest.mark.parametrize(
    "words", ["-l web", "-l late,33", "-l far -l last", "--label web --label late"]
)
def test_labels_have_the_names_of_connlabel_conf(table: Table, words: str) -> None:
    names = words.replace("33", "far").replace("--label", "-l")
    theirs = table.theirs(shlex.split(names))
    done = stat(table, "list", "-o", "conntrack", *shlex.split(words))
    assert (done.returncode, done.stderr) == (0, "")
    assert timeless(done.stdout) == timeless(theirs.stdout) != []


def test_a_label_that_is_none_is_one_sentence(table: Table) -> None:
    for words in ("-l Web", "-l web,", "-l 128"):
        assert table.theirs(shlex.split(words)).returncode == 2
        done = stat(table, "list", *shlex.split(words))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "connlabel.conf" in done.stderr


class Fault(NamedTuple):
    """What conntrack(8) does wrong itself, and the lists by which it is seen."""

    options: str
    theirs: str
    right: str
    since: tuple[int, int] = (0, 0)  # the kernel with which it goes wrong


FAULTS = {
    "the status' number is taken for the mark": Fault("-m 1 -u SEEN_REPLY", "-m 99", "mark=1 .*"),
    "flags given apart find nothing": Fault(
        "-u SEEN_REPLY -u ASSURED", "-m 99", r"\[ASSURED\]", (5, 15)
    ),
    "a flag without another finds nothing": Fault("-u SEEN_REPLY,!ASSURED", "-m 99", "", (5, 15)),
    "an address behind = is ignored": Fault("--src-nat=198.51.100.9", "--src-nat", "none"),
    "the number of a context is ignored": Fault("-c 5", "", "none"),
    "an IPv6 address is ignored": Fault("-n 2001:db8:a::9", "-n -f ipv6", "none"),
    "an address is taken for the source": Fault("-p tcp -j 198.51.100.1", "-m 99", ""),
    "keys of GRE are ignored": Fault("-p gre --srckey 0x99", "-p gre", "none"),
    "a number too large is another": Fault("-w 65537", "-w 1", "refused"),
    "no number is 0": Fault("-m abc", "-m 0", "refused"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_where_conntrack_is_wrong_itself(table: Table, fault: str) -> None:
    """These are left out of the comparisons above, or put together of others there."""
    if varied.version() != varied.WRONG_VERSION:
        pytest.skip(f"conntrack {varied.WRONG_VERSION} is wrong here, not {varied.version()}")
    wrong = FAULTS[fault]
    major, minor = os.uname().release.split(".")[:2]
    if (int(major), int(minor)) < wrong.since:
        pytest.skip("wrong with kernels from {}.{} on".format(*wrong.since))
    theirs = table.theirs(shlex.split(wrong.options))
    assert theirs.stdout.count("\n") == table.theirs(shlex.split(wrong.theirs)).stdout.count("\n")
    done = stat(table, "list", "-o", "conntrack", *shlex.split(wrong.options))
    assert (done.returncode == 2) == (wrong.right == "refused")
    assert done.stdout != theirs.stdout
    if wrong.right == "none":
        assert done.stdout == ""

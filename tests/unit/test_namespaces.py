"""Names of network namespaces as labels: safe for every agent, and no two the same."""

from __future__ import annotations

import unicodedata
import zlib
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from conntrack_common.model import Sample
from conntrack_common.netns.containers import owner
from conntrack_common.netns.names import label
from conntrack_common.proc.files import ProcRoot
from conntrack_plugins import collectd, prometheus, telegraf
from conntrack_plugins.labels import shortened, without
from conntrack_plugins.nagios.measured import Measured
from conntrack_plugins.rules import parse_rule

ODD = ["a", "\\", "x", "\\x0a", "\n", "\x1b", "é", "=", "'", "|", "_", "~", "\u202e", "/"]
NAMES = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.lists(st.sampled_from(ODD), min_size=1, max_size=6).map(
        lambda parts: "".join(parts).encode()
    ),
    st.text(min_size=1, max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
)


@given(NAMES)
@example(b"x\xff")
@example(b"x\n\x1b[2J")
@example(b"\xed\xa0\x80")
def test_a_name_of_any_bytes_is_printable_text(name: bytes) -> None:
    made = label(name)
    assert made.isprintable()
    assert made.encode("utf-8")
    assert not [character for character in made if unicodedata.category(character)[0] == "C"]


def test_a_usual_name_is_its_own_label() -> None:
    for name in ("blue", "ovnmeta-8f1c", "a b,c=d", 'q"x', "b\\s\\", "ü%日", "-x", "a|b"):
        assert label(name.encode()) == name


@given(NAMES, NAMES)
@example(b"x\x0a", b"x\\x0a")
@example(b"x\xff", b"x\\xff")
@example(b"x\xff", b"x\xfe")
@example(b"\\\\x0a", b"\\\x0a")
def test_no_two_names_become_one(one: bytes, other: bytes) -> None:
    assume(one != other)
    assert label(one) != label(other)


TEXTS = st.one_of(
    st.text(min_size=1, max_size=20),
    st.text(min_size=1, max_size=20).map(lambda text: text * 20),
    st.lists(st.sampled_from(ODD), min_size=1, max_size=8).map("".join),
    st.integers(0, 99).map(lambda number: f"{'n' * 84}{number}"),
)


def series(netns: str) -> list[str]:
    """What each agent calls two CPUs' counters and a group of the table in a namespace."""
    found = []
    for metric, *labels in (("cpu.drop", "cpu", "0"), ("cpu.drop", "cpu", "1"), ("table.entries",)):
        sample = Sample(metric, (("netns", netns), *zip(labels[::2], labels[1::2])), 1)
        rule = parse_rule(f"{metric}{'[cpu=' + labels[1] + ']' if labels else ''},,")
        found += [
            f"collectd {collectd.identifier(sample)}",
            f"prometheus {prometheus.exposition([sample]).splitlines()[-1]}",
            f"telegraf {telegraf.line_protocol([sample])}",
            f"nagios {Measured(rule, (('netns', netns),), 1).label}",
        ]
    return found


@given(TEXTS, TEXTS)
@example("n" * 126 + "a", "n" * 126 + "b")
@example("a=b", "a'b")
@example("a|b", "a_b")
@example("/srv/a_b", "/srv/a/b")
@example("//\\", "\\/\\")
def test_no_two_namespaces_become_one_series_in_any_agent(one: str, other: str) -> None:
    names = {label(one.encode("utf-8", "replace")), label(other.encode("utf-8", "replace"))}
    found = [text for name in names for text in series(name)]
    assert len(set(found)) == len(found) == 12 * len(names)


@given(TEXTS)
def test_an_identifier_of_collectd_is_not_cut(netns: str) -> None:
    sample = Sample("cpu.drop", (("netns", netns), ("cpu", "1")), 1)
    for part in collectd.identifier(sample, "instance"):
        assert len(part.encode("utf-8", "replace")) <= 127
        assert "/" not in part
    assert collectd.identifier(sample).plugin_instance.endswith("-cpu1")


def test_labels_are_left_alone_where_they_fit() -> None:
    assert without("=", "a.b") == "a.b"
    assert without("='", "a=b") == f"a_b~{zlib.crc32(b'a=b'):08x}"
    assert shortened("é" * 10, 20) == "é" * 10
    long = "a" * 15 + "b" * 15
    assert shortened(long, 20) == f"aaaaa~{zlib.crc32(long.encode()):08x}~bbbbb"


ID = "3f4a5b6c7d8e" + "0" * 52
POD = "1f2e3d4c-0000-1111-2222-333344445555"
BURSTABLE = f"kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"/system.slice/docker-{ID}.scope", "docker-3f4a5b6c7d8e"),
        (f"/docker/{ID}", "docker-3f4a5b6c7d8e"),
        (f"/machine.slice/libpod-{ID}.scope/container", "libpod-3f4a5b6c7d8e"),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container",
            "libpod-3f4a5b6c7d8e@1000",
        ),
        (f"/kubepods.slice/{BURSTABLE}.slice/cri-containerd-{ID}.scope", f"pod-{POD}"),
        (f"/kubepods/besteffort/pod{POD}/{ID}", f"pod-{POD}"),
        ("/lxc.payload.web/init.scope", "lxc.payload.web"),
        ("/machine.slice/systemd-nspawn@web.service/payload", "systemd-nspawn@web.service"),
        ("/machine.slice/machine-web.scope", "machine-web.scope"),
        ("/system.slice/colord.service", "colord.service"),
        # What is inside of a container or of a user's session is theirs to name.
        (f"/system.slice/docker-{ID}.scope/system.slice/ssh.service", "docker-3f4a5b6c7d8e"),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/ssh.service",
            "ssh.service@1000",
        ),
        ("/user.slice/user-1000.slice/session-3.scope", ""),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-5.scope", ""),
        ("/init.scope", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_a_process_belongs_to_a_container_or_a_service(path: str, name: str) -> None:
    assert owner(f"0::{path}\n") == name
    assert owner(f"12:cpu,cpuacct:{path}\n1:name=systemd:{path}\n0::/\n") == name


@given(st.text())
def test_a_control_group_may_be_called_anything(text: str) -> None:
    owner(text)


def test_a_copy_of_proc_is_not_live(tmp_path: Path) -> None:
    assert ProcRoot().is_live
    assert not ProcRoot(str(tmp_path)).is_live
    assert not ProcRoot("/nosuch").is_live

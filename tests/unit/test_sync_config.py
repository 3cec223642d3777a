"""A conntrackd.conf against its host: each thing that can be wrong, and what the host says."""

from __future__ import annotations

import os

import pytest

from conntrack_common.analysis.sync_config import check_config
from conntrack_common.conntrackd.conf import parse_config
from conntrack_common.host.network import read_host
from conntrack_common.model.conntrackd import (
    HostNetwork,
    Interface,
    SyncConfig,
    SyncLink,
    UnknownLine,
)
from conntrack_common.proc.files import ProcRoot

LINK = SyncLink(
    "multicast",
    9,
    interface="eth2",
    address="225.0.0.50",
    interface_address="192.168.100.100",
    port=3780,
    send_buffer=1249280,
    receive_buffer=1249280,
)
UDP = SyncLink(
    "udp", 9, interface="eth2", address="192.168.100.100", destination="192.168.100.200", port=3780
)
CONFIG = SyncConfig(
    "c.conf",
    "ftfw",
    socket="/run/c.ctl",
    hash_limit=131072,
    netlink_buffer=2097152,
    netlink_buffer_max=8388608,
    links=(LINK,),
)
HOST = HostNetwork(
    interfaces={
        "eth2": Interface("eth2", up=True, running=True, addresses=("192.168.100.100", "fe80::1")),
        "down": Interface("down", up=False, running=False),
        "cut": Interface("cut", up=True, running=False),
    },
    conntrack_limit=65536,
    rmem_max=212992,
    wmem_max=212992,
    directories={"/run": True, "/var/lock": True},
)


def wrong(config=CONFIG, host=HOST, **link):
    if link:
        config = config._replace(links=(config.links[0]._replace(**link), *config.links[1:]))
    findings = [finding for finding in check_config(config, host) if finding.status != "ok"]
    assert all(finding.remedy for finding in findings)
    return [(finding.id, finding.status) for finding in findings]


def test_all_is_well():
    findings = check_config(CONFIG, HOST)
    assert [finding.id for finding in findings] == [
        "sync.config.socket",
        "sync.config.lock",
        "sync.config.hash_limit",
        "sync.config.netlink_buffer",
        "sync.config.rmem_max",
        "sync.config.wmem_max",
        "sync.link.interface",
        "sync.link.address",
        "sync.link.port",
        "sync.link.group",
    ]
    assert {finding.status for finding in findings} == {"ok"}
    assert {finding.remedy for finding in findings} == {""}
    assert all("\n" not in finding.message for finding in findings)
    assert wrong(CONFIG._replace(links=(UDP,))) == []


INTERFACE, ADDRESS, GROUP = "sync.link.interface", "sync.link.address", "sync.link.group"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"interface": None}, [(INTERFACE, "problem")]),
        ({"interface": "eth9"}, [(INTERFACE, "problem")]),
        ({"interface": "down"}, [(INTERFACE, "problem"), (ADDRESS, "warning")]),
        ({"interface": "cut"}, [(INTERFACE, "problem"), (ADDRESS, "warning")]),
        ({"interface_address": "192.168.100.1"}, [(ADDRESS, "problem")]),
        ({"interface_address": None}, [(ADDRESS, "warning")]),
        ({"address": "192.168.100.50"}, [(GROUP, "problem")]),
        ({"address": "255.0.0.50"}, [(GROUP, "problem")]),
        ({"address": "225.0.0.500"}, [(GROUP, "problem")]),
        ({"address": "224.0.0.18"}, [(GROUP, "warning")]),
        ({"address": None}, [(GROUP, "problem")]),
        ({"address": "ff02::1", "interface_address": None}, []),
        ({"port": None}, [("sync.link.port", "problem")]),
        ({"port": 65536}, [("sync.link.port", "problem")]),
        ({"port": 65537}, [("sync.link.port", "warning")]),
        ({"address": "ff02::1"}, [(ADDRESS, "problem")]),
        (
            {"address": "ff02::1", "interface_address": None, "unbound": True},
            [(ADDRESS, "warning")],
        ),
    ],
)
def test_multicast(change, found):
    assert wrong(**change) == found


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            {"address": "192.168.100.200"},
            [(ADDRESS, "problem"), ("sync.link.destination", "problem")],
        ),
        ({"destination": "192.168.100.100"}, [("sync.link.destination", "problem")]),
        ({"destination": None}, [("sync.link.destination", "problem")]),
        ({"address": None}, [(ADDRESS, "warning")]),
        ({"address": "0.0.0.0"}, [(ADDRESS, "warning")]),  # noqa: S104
        ({"destination": "fe80::2"}, [("sync.link.destination", "problem")]),
        ({"address": "FE80:0::1", "destination": "fe80::2"}, []),
    ],
)
def test_udp(change, found):
    assert wrong(CONFIG._replace(links=(UDP,)), **change) == found


@pytest.mark.parametrize(
    ("chosen", "status"),
    [(None, "problem"), ("192.168.100.100", None), ("10.0.0.1", "warning")],
)
def test_a_group_whose_interface_is_left_to_the_kernel(chosen, status):
    host = HOST._replace(routes={"225.0.0.50": chosen})
    assert wrong(CONFIG, host, interface_address=None) == ([(ADDRESS, status)] if status else [])


def test_two_links_that_listen_on_one_address():
    tcp = UDP._replace(transport="tcp")
    for other, found in (
        (tcp, "problem"),
        (tcp._replace(address=None), "problem"),
        (tcp._replace(address="10.0.0.1"), "warning"),
    ):
        links = (tcp, other._replace(line=20, interface="cut", destination="10.0.0.2"))
        assert ("sync.link.port", found) in wrong(CONFIG._replace(links=links))
    assert ("sync.link.port", "warning") in wrong(CONFIG._replace(links=(UDP, UDP)))


def test_redundant_links():
    other = LINK._replace(line=20)
    assert wrong(CONFIG._replace(links=(LINK, other))) == [
        ("sync.link.port", "warning"),
        ("sync.link.redundancy", "warning"),
    ]
    assert wrong(CONFIG._replace(links=())) == [("sync.link", "problem")]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"hash_limit": 131071}, [("sync.config.hash_limit", "warning")]),
        ({"hash_limit": 65536, "mode": "stats"}, []),
        ({"netlink_buffer_max": None}, [("sync.config.netlink_buffer", "warning")]),
        ({"netlink_buffer": None, "netlink_buffer_max": None}, []),
        ({"socket": None}, [("sync.config.socket", "warning")]),
        ({"socket": "/none/c"}, [("sync.config.socket", "problem")]),
        ({"socket": "/run/c\t#x"}, [("sync.config.socket", "warning")]),
        ({"lock_file": "/none/c"}, [("sync.config.lock", "problem")]),
        ({"log_file": "/run"}, [("sync.config.log", "problem")]),
        ({"stats_log_file": "/none/c"}, [("sync.config.stats_log", "problem")]),
        ({"hash_size": -1}, [("sync.config.hash_size", "problem")]),
        (
            {"ignored": (UnknownLine("", "line 3: X is not a facility"),)},
            [("sync.config.ignored", "warning")],
        ),
    ],
)
def test_general(change, found):
    host = HOST._replace(directories={**HOST.directories, "/none": False})
    assert wrong(CONFIG._replace(**change), host) == found


def test_what_could_not_be_seen_is_not_judged():
    findings = check_config(CONFIG, HostNetwork())
    assert {finding.status for finding in findings} == {"ok"}
    assert not [finding for finding in findings if finding.id in (INTERFACE, ADDRESS)]


def test_buffers_above_the_limit_are_explained():
    (finding,) = [each for each in check_config(CONFIG, HOST) if each.id == "sync.config.wmem_max"]
    assert "1249280" in finding.message
    assert "CAP_NET_ADMIN" in finding.message


def test_no_links_in_statistics_mode():
    assert wrong(SyncConfig("c.conf", socket="/run/c"), HOST) == []


def test_this_host():
    config = parse_config("General { UNIX { Path /nonexistent/x } }", "c.conf")
    host = read_host(config, ProcRoot())
    assert host.directories == {"/nonexistent": False, "/var/lock": os.path.isdir("/var/lock")}
    if host.interfaces is not None and host.interfaces.get("lo", (0, 0))[1]:
        assert "127.0.0.1" in host.interfaces["lo"].addresses


def test_a_copy_of_proc_has_no_interfaces(tmp_path):
    (tmp_path / "sys/net/core").mkdir(parents=True)
    (tmp_path / "sys/net/core/rmem_max").write_text("212992\n")
    (tmp_path / "sys/net/core/wmem_max").write_text("rubbish\n")
    (tmp_path / "sys/net/netfilter").mkdir()
    (tmp_path / "sys/net/netfilter/nf_conntrack_max").write_text("65536\n")
    host = read_host(CONFIG, ProcRoot(str(tmp_path)))
    assert (host.interfaces, host.conntrack_limit) == (None, 65536)
    assert (host.rmem_max, host.wmem_max) == (212992, None)

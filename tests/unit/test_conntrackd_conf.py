"""conntrackd.conf: the packaged one, upstream's examples' shapes, and broken ones."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conntrack_common.errors import InvalidRequest
from conntrack_common.sources.conntrackd_conf import find_socket, parse_config, read_config
from conntrack_common.sync_model import SyncConfig, SyncLink

DEBIAN = """\
# Default debian config. Please, take a look at conntrackd.conf(5)

General {
\tHashSize 8192
\tHashLimit 65535

\tSyslog on

\tLockFile /var/lock/conntrackd.lock

\tUNIX {
\t\tPath /var/run/conntrackd.sock
\t\tBacklog 20
\t}

\tSocketBufferSize 262142
\tSocketBufferSizeMaxGrown 655355

\t# default debian service unit file is of Type=notify
\tSystemd on
}

Stats {
\tLogFile on
}
"""
FTFW = """\
Sync {
    Mode FTFW {
        ResendQueueSize 1000
        CommitTimeout 180
        DisableExternalCache Off
    }
    Multicast Default {
        IPv4_address 225.0.0.50
        Group 3780
        IPv4_interface 192.168.100.100
        Interface eth2
        SndSocketBuffer 1249280
        RcvSocketBuffer 1249281
        Checksum on
    }
    Multicast {
        IPv6_address ff02::1234
        IPv6_interface fe80::1
        Group 3781
        Interface eth3.7
        Checksum no
    }
    Options { TCPWindowTracking Off ExpectationSync {
        ftp
        sip # comment
    } }
}
General {
    HashLimit 131072
    LogFile on
    NetlinkOverrunResync Off
    NetlinkEventsReliable yes
    NetlinkBufferSize 2097152 NetlinkBufferSizeMaxGrowth 8388608
    UNIX { Path /var/run/conntrackd.ctl Backlog 20 }
    Scheduler {
        Type FIFO
        Priority 99
    }
    Nice -20
    Filter From Userspace {
        Protocol Accept {
            TCP
            SCTP
        }
        Address Ignore { IPv4_address 127.0.0.1 # loopback
            IPv4_address 10.0.0.0/8
        }
        State Accept { ESTABLISHED CLOSED TIME_WAIT CLOSE_WAIT for TCP }
    }
}
"""


def parse(text):
    return parse_config(text, "c.conf")


def test_the_packaged_configuration():
    assert parse(DEBIAN) == SyncConfig(
        "c.conf",
        "stats",
        socket="/var/run/conntrackd.sock",
        systemd=True,
        hash_size=8192,
        hash_limit=65535,
        netlink_buffer=262142,
        netlink_buffer_max=655355,
    )


def test_a_pair_with_two_links():
    assert parse(FTFW) == SyncConfig(
        "c.conf",
        "ftfw",
        socket="/var/run/conntrackd.ctl",
        log_file="/var/log/conntrackd.log",
        hash_limit=131072,
        netlink_buffer=2097152,
        netlink_buffer_max=8388608,
        netlink_overrun_resync=-1,
        netlink_events_reliable=True,
        resend_queue_size=1000,
        commit_timeout=180,
        expectation_sync=True,
        links=(
            SyncLink(
                "multicast",
                7,
                default=True,
                interface="eth2",
                address="225.0.0.50",
                interface_address="192.168.100.100",
                port=3780,
                send_buffer=1249280,
                receive_buffer=1249281,
                checksum=True,
            ),
            SyncLink(
                "multicast", 16, interface="eth3.7", address="ff02::1234", port=3781, checksum=False
            ),
        ),
    )


def test_tcp_and_alarm():
    config = parse(
        "Sync { Mode persistent {\nRefreshTime 15\nCacheTimeout 30\n}\nTCP\n{\n"
        "IPv4_address 10.0.0.1\nIPv4_Destination_Address 10.0.0.2\nPort 3780\n"
        "Interface eth0\nErrorQueueLength 9\n}\n}"
    )
    assert (config.mode, config.refresh_time, config.cache_timeout) == ("alarm", 15, 30)
    assert config.error_queue_length == 9
    assert config.links[0][:7] == ("tcp", 5, False, "eth0", "10.0.0.1", "10.0.0.2", None)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", "stats"),
        ("Stats { }", "stats"),
        ("Helper {\nType ftp inet tcp {\nQueueNum 0\n} }", "helper"),
        ("Helper { }\nStats { }", "stats"),
        ("Sync { }", "ftfw"),
        ("Sync { Mode NoTrack { DisableInternalCache On } }", "notrack"),
        ("Sync { Mode nack { } }", "ftfw"),
    ],
)
def test_modes(text, mode):
    assert parse(text).mode == mode


def test_a_zero_is_no_value():
    assert parse("General { HashLimit 5 HashLimit 0 }").hash_limit == 262144


def test_a_path_ends_at_a_blank_only():
    config = parse("General {\nLockFile /a/b#c}\nUNIX { Path /x\t#y\n} }")
    assert (config.lock_file, config.socket) == ("/a/b#c}", "/x\t#y")


def test_unknown_statements_are_kept():
    config = parse(
        "General {\nNovelty on\nHashSize 7\n}\nSync { Mode ALARM { ResendQueueSize 5 } }"
    )
    assert config.hash_size == 7
    assert [(line.section, line.text) for line in config.unknown] == [
        ("General", "line 2: Novelty on"),
        ("Mode ALARM", "line 5: ResendQueueSize 5"),
    ]
    assert parse("general { }").unknown[0].text == "line 1: general"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("General {\n HashSize many\n}", 2, "takes a number, not 'many'"),
        ("General {\n HashSize\n}", 2, "takes one value"),
        ("General {\n LockFile lock\n}", 2, "path"),
        ("General {\n Systemd maybe\n}", 2, "on or off"),
        ('General {\n LockFile "/var/lock/x"\n}', 2, "quotes"),
        ("General {\n UNIX {\n Path /x\n}", 1, "never closed"),
        ("General { }\n}", 2, "closes no block"),
        ("{ }", 1, "belongs to no statement"),
        ("\nSync { Mode FAST { } }", 2, "Mode takes"),
        ("Sync { Mode FTFW\n }", 1, "Mode takes"),
        ("Stats { }\nSync { }", 2, "exclude each other"),
        ("Sync { UDP { }\nTCP { } }", 2, "all UDP"),
        ("Sync {" + "UDP { } " * 5 + "}", 1, "more than 4"),
        ("Sync { UDP Deflt { } }", 1, "Default"),
        ("a { " * 2000, 1, "belongs to no statement"),
    ],
)
def test_broken_configurations_are_named_by_line(text, line, problem):
    with pytest.raises(InvalidRequest, match=f"^c.conf, line {line}: .*{problem}"):
        parse(text)


def test_files(tmp_path):
    path = tmp_path / "c.conf"
    with pytest.raises(InvalidRequest, match="No such file"):
        read_config(str(path))
    path.write_text(FTFW)
    assert read_config(str(path)).socket == "/var/run/conntrackd.ctl"


def test_the_socket_is_found(tmp_path):
    config, broken, there = tmp_path / "c.conf", tmp_path / "broken", tmp_path / "there"
    config.write_text(DEBIAN)
    broken.write_text("General {")
    there.touch()
    assert find_socket([str(broken), str(config)], []) == "/var/run/conntrackd.sock"
    assert find_socket([str(broken)], ["/nonexistent/a", str(there)]) == str(there)
    assert find_socket([], ["/nonexistent/a", "/nonexistent/b"]) == "/nonexistent/a"


WORDS = st.sampled_from([*FTFW.split(), "{", "}", "\n", '"', "#", "/", "0"])


@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join), st.lists(WORDS).map("\n".join)))
def test_any_text_is_a_configuration_or_is_refused(text):
    with contextlib.suppress(InvalidRequest):
        parse(text)

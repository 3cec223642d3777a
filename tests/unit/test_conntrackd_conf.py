"""conntrackd.conf: the packaged one, upstream's examples' shapes, and broken ones."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conntrack_common.conntrackd.conf import find_socket, parse_config, read_config
from conntrack_common.errors import InvalidRequest
from conntrack_common.model.conntrackd import SyncConfig, SyncLink

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
        stats_log_file="/var/log/conntrackd-stats.log",
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


def test_what_conntrackd_takes_and_passes_over_is_kept():
    config = parse(
        "General {\nSyslog nosuch\nFilter { Address Ignore {\nIPv4_address 1.2.3.256\n"
        "IPv4_address 10.0.0.0/8\nIPv6_address ::/129\n} }\n}\n"
        "Sync { UDP {\nIPv4_Destination_Address 192.0.2.256\n} }\n"
    )
    lines = [line.text for line in config.ignored]
    assert [line.partition(":")[0] for line in lines] == ["line 2", "line 4", "line 6", "line 10"]
    assert "192.0.2.256 is not an address" in lines[-1]
    assert config.links[0].destination is None


@pytest.mark.parametrize("character", ["\0", "\ufeff", "é"])
def test_where_conntrackd_stops_reading_is_told(character):
    config = parse(f"General {{ HashLimit 5 }}\n{character}General {{ HashLimit 6 }}")
    assert config.hash_limit == 5
    assert "line 2: nothing is read from" in config.ignored[0].text
    assert parse(f"General {{ HashLimit 5 # {character}\n}}").ignored == ()


@pytest.mark.parametrize(
    ("digits", "limit"),
    [
        ("4294967296", 262144),
        ("4294967295", 4294967295),
        ("3000000000", 3000000000),
        ("4294967297", 1),
        ("9" * 5000, 4294967295),
        ("007", 7),
    ],
)
def test_a_number_is_cs_int(digits, limit):
    assert parse(f"General {{ HashLimit {digits} }}").hash_limit == limit


@pytest.mark.parametrize(
    ("text", "unbound"),
    [
        ("Multicast { IPv6_address ff05::1 Interface eth0 }", False),
        ("Multicast { Interface eth0 IPv6_address ff05::1 }", True),
        ("Multicast { Interface eth0 IPv4_address 225.0.0.1 }", False),
        ("UDP { Interface eth0 IPv6_address fe80::1 }", False),
    ],
)
def test_the_interface_of_an_ipv6_group_stands_behind_it(text, unbound):
    assert parse(f"Sync {{ {text} }}").links[0].unbound == unbound


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("General {\n HashSize many\n}", 2, "takes a number, not 'many'"),
        ("General {\n HashSize\n}", 3, "HashSize takes a number, not '}'"),
        ("General {\n LockFile lock\n}", 2, "path"),
        ("General {\n Nice 5\n}", 2, "a number with a sign"),
        ("General {\n Novelty on\n}", 2, "'Novelty' is not a statement in General"),
        ("General {\n Hashlimit 5\n}", 2, "did you mean HashLimit?"),
        ("general { }", 1, "did you mean General?"),
        ("Sync { Mode ALARM {\nResendQueueSize 5 } }", 2, "is not a statement in Mode"),
        ("Sync { Options { ExpectationSync {\nOff\n} } }", 2, "is not a statement in"),
        ("Sync { UDP { IPv4_Destination_Address\nfw2.example.net } }", 2, "an IP address"),
        ("Sync { UDP {\nInterface dead } }", 2, "takes a name, not 'dead'"),
        ("General { PollSecs\n0 }", 1, "PollSecs takes a number above 0"),
        ("General { Scheduler { Type\nidle } }", 1, "Type idle"),
        ("General { Scheduler { Priority 100 } }", 1, "0 to 99"),
        ("General { UNIX { Path /" + "x" * 107 + " } }", 1, "longer than 107 bytes"),
        ("Stats { LogFile /" + "x" * 256 + " }", 1, "longer than 256 bytes"),
        ("Filter { }", 1, "is not a statement outside of all blocks"),
        ("General { Filter { State Accept { ESTABLISHED } } }", 1, "for TCP"),
        ("Helper { Type ftp inet udp { } }", 1, "no helper ftp for udp"),
        ("Helper { Type sip inet udp { } }", 1, "no helper sip"),
        ("Helper { Type ftp ipv4 tcp { } }", 1, "neither inet nor inet6"),
        ("Helper { Type ftp inet tcp { Policy sip { ExpectMax 1 } } }", 1, "no policy sip"),
        ("Helper { Type ftp inet tcp { Policy ftp { } } }", 1, "is empty"),
        ("General { } # no line break behind it", 1, "'#' is not a statement"),
        ("General {\n Systemd maybe\n}", 2, "on or off"),
        ('General {\n LockFile "/var/lock/x"\n}', 2, "quotes"),
        ("General {\n UNIX {\n Path /x\n}", 1, "never closed"),
        ("General { }\n}", 2, "'}' is not a statement"),
        ("{ }", 1, "'{' is not a statement"),
        ("\nSync { Mode FAST { } }", 2, "Mode takes"),
        ("Sync { Mode FTFW\n }", 2, "FTFW takes a block in braces"),
        ("Stats { }\nSync { }", 2, "exclude each other"),
        ("Sync { UDP { }\nTCP { } }", 2, "all UDP"),
        ("Sync {" + "UDP { } " * 5 + "}", 1, "more than 4"),
        ("Sync { UDP Deflt { } }", 1, "Default"),
        ("a { " * 2000, 1, "'a' is not a statement"),
        ("Helper { " + "Type ftp inet tcp { " * 2000, 1, "without an end"),
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
    # What conntrackd would refuse now may be that with which it started, or a newer one's.
    newer = tmp_path / "newer"
    newer.write_text("General {\nNovelty on\nUNIX { Path /x/y\n} }")
    assert find_socket([str(newer), str(config)], []) == "/x/y"
    assert find_socket([str(broken)], ["/nonexistent/a", str(there)]) == str(there)
    assert find_socket([], ["/nonexistent/a", "/nonexistent/b"]) == "/nonexistent/a"


WORDS = st.sampled_from([*FTFW.split(), "{", "}", "\n", '"', "#", "/", "0"])


@given(st.one_of(st.text(), st.lists(WORDS).map(" ".join), st.lists(WORDS).map("\n".join)))
def test_any_text_is_a_configuration_or_is_refused(text):
    with contextlib.suppress(InvalidRequest):
        parse(text)

"""What `doctor` says of conntrackd.conf, and what conntrackd 1.4.7 itself does with it."""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import processes
from conntrack_common.analysis.sync_config import check_config
from conntrack_common.conntrackd.conf import parse_config
from conntrack_common.errors import InvalidRequest
from conntrack_common.host.network import read_host
from conntrack_common.proc.files import ProcRoot
from installation import TREE, Installation, command, python_path
from namespaces import Namespace, dropped
from pair import LINK, pair

pytestmark = [pytest.mark.kernel, pytest.mark.agent("conntrackd")]

PROC = TREE / "tests" / "data" / "proc"
FILES = "LockFile DIR/c.lock\nUNIX {\nPath DIR/c.ctl\n}\n"
UDP = f"""\
Sync {{
    Mode FTFW {{
        ResendQueueSize 1000
        CommitTimeout 180
        PurgeTimeout 5
        ACKWindowSize 30
        DisableExternalCache Off
        StartupResync no
    }}
    UDP {{
        IPv4_address 10.72.9.1
        IPv4_Destination_Address 10.72.9.2
        Port 3780
        Interface sync
        SndSocketBuffer 1249280
        RcvSocketBuffer 1249280
        Checksum on
    }}
    Options {{ TCPWindowTracking Off ExpectationSync {{
        ftp
        sip # comment
    }} }}
}}
General {{
    HashSize 8192
    HashLimit 131072
    NetlinkBufferSize 2097152 NetlinkBufferSizeMaxGrowth 8388608
    NetlinkOverrunResync Off
    Syslog local0
    EventIterationLimit 100
    PollSecs 5
    {FILES}
    Scheduler {{
        Type FIFO
        Priority 99
    }}
    Nice -20
    Filter From Userspace {{
        Protocol Accept {{
            TCP
            SCTP
        }}
        Address Ignore {{ IPv4_address 127.0.0.1 # loopback
            IPv4_address 10.0.0.0/8 IPv6_address ::1
        }}
        State Accept {{ ESTABLISHED CLOSED TIME_WAIT CLOSE_WAIT for TCP }}
    }}
    Systemd off
}}
"""
TCP = f"""\
Sync {{
    Mode NOTRACK {{ DisableInternalCache no }}
    TCP Default {{
        IPv6_address fd00:72::1
        IPv6_Destination_Address fd00:72::2
        Port 3781
        Interface sync
        ErrorQueueLength 64
    }}
}}
General {{
    LogFile DIR/c.log
    {FILES}
}}
"""
MULTICAST = f"""\
General {{
    {FILES}
}}
Sync {{
    Mode ALARM {{ RefreshTime 15 CacheTimeout 180 }}
    Multicast {{
        IPv4_address 225.0.0.50
        Group 3780
        IPv4_interface 10.72.9.1
        Interface sync
    }}
    Multicast Default {{
        IPv6_address ff05::50
        Group 3781
        Interface sync
    }}
}}
"""
STATS = f"General {{\n{FILES}HashLimit 5\n}}\nStats {{\nLogFile DIR/stats.log\nSyslog on\n}}\n"
HELPER = f"""\
General {{
{FILES}}}
Helper {{
    Type ftp inet tcp {{
        QueueNum 0
        QueueLen 10240
        Policy ftp {{
            ExpectMax 1
            ExpectTimeout 300
        }}
    }}
    Type tftp inet udp {{ QueueNum 5 Policy tftp {{ ExpectMax 1 ExpectTimeout 300 }} }}
    Setup yes
}}
"""
BASES = {"udp": UDP, "tcp": TCP, "multicast": MULTICAST, "stats": STATS, "helper": HELPER}

# Words that stand in for others: other kinds of values, misspellings, and what scanners stumble on.
STRAY = (
    *("Multicast", "TCP", "Group", "RefreshTime", "DisableInternalCache", "CacheTimeout"),
    *("dead", "abc", "fe80::", "::", "-5", "+5", "1.2.3", "1.2.3.4.5", "10.0.0.1/24", "12ab"),
    *("on", "YES", "|n", "alarm", "notrack", "nack", "for", "Hashsize", "general", "auto"),
    *('"', "'", ";", "=", "#", "# x\n", "/", "/a b", "{", "}", "{ }", "é", "\0", "\r\n", "\t"),
    *("\f", "\ufeff", "99999999999999999999", "0", "4294967296", "Stats { }", "Sync { }", "-"),
    *("a.b-c_d", "1:2", "12345:", "@", "10.0.0", "256.1.1.1/33", "ExpectationSync on", "lo"),
    *("State Accept { ESTABLISHED }", "SYN_SENT", "SYN_SENT for TCP", "fw2.example.net"),
)


def changed(text: str, rng: random.Random) -> str:
    """A configuration with one or two changes: a word more, less, elsewhere, another, or a cut."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        words = re.split(r"(\s+)", text)
        place, other = rng.randrange(len(words)), rng.randrange(len(words))
        change = rng.randrange(6)
        if change == 0:
            words[place] = rng.choice(STRAY)
        elif change == 1:
            words[place:place] = [" ", rng.choice(STRAY), " "]
        elif change == 2:
            del words[place]
        elif change == 3:
            words[place], words[other] = words[other], words[place]
        text = "".join(words)
        at = rng.randrange(len(text))
        if change == 4:
            text = text[:at] + rng.choice('{}#"/ .:-+x0\n\té') + text[at:]
        elif change == 5:
            text = text[:at]
    return text


def takes(text: str, folder: Path) -> tuple[bool, str]:
    """Whether conntrackd takes a configuration (there is no daemon to be asked), and its errors."""
    file = folder / "c.conf"
    file.write_bytes(text.encode())
    done = subprocess.run(
        ["conntrackd", "-C", str(file), "-s"],
        capture_output=True,
        env=processes.environment(),
        timeout=20,
        check=False,
    )
    errors = (done.stdout + done.stderr).decode("utf-8", "replace")
    return "can't connect" in errors, errors


def line_of(text: str) -> str:
    found = re.search(r"line[ (]+(\d+)", text)
    return found[1] if found else ""


@pytest.mark.parametrize("base", BASES)
def test_what_conntrackd_refuses_is_refused_and_nothing_else(base: str, folder: Path) -> None:
    rng = random.Random(base)
    refused = 0
    for _ in range(160):
        text = changed(BASES[base].replace("DIR", str(folder)), rng)
        taken, errors = takes(text, folder)
        try:
            parse_config(text.encode().decode("utf-8", "surrogateescape"), "c.conf")
            problem = ""
        except InvalidRequest as error:
            problem = str(error)
        assert taken == (problem == ""), (text, errors, problem)
        if "parsing config file" in errors:
            # The line is that of the word at which both stop, or of the block it is in.
            assert int(line_of(problem)) <= int(line_of(errors)), (text, errors, problem)
        refused += not taken
    assert 40 < refused < 150


@pytest.fixture(scope="module")
def place() -> Iterator[Namespace]:
    """A node: `sync` to nobody, with addresses; `other` with another one; `idle` is down."""
    with Namespace() as node, Namespace() as peer:
        veth = ["type", "veth", "peer", "name", "sync", "netns", peer.name]
        processes.must(["ip", "link", "add", "sync", "netns", node.name, *veth])
        processes.must(["ip", "-n", peer.name, "link", "set", "sync", "up"])
        commands = (
            "link add other type veth peer name far",
            "link add idle type veth peer name away",
            "addr add 10.72.9.1/24 dev sync",
            "addr add fd00:72::1/64 dev sync nodad",
            "addr add 10.99.0.1/24 dev other",
            "link set sync up",
            "link set other up",
            "link set far up",
        )
        for words in commands:
            processes.must(["ip", "-n", node.name, *words.split()])
        for name in ("sync", "other"):
            state = ["ip", "-n", node.name, "-o", "link", "show", name]
            processes.until(lambda state=state: "state UP" in processes.must(state), "it runs")
        yield node


# What starts, and is a problem all the same: nothing is replicated with it.
MUTE = "mute"
# Each is one change of a configuration with which conntrackd starts.
STARTS: tuple[tuple[str, str, str, str], ...] = (
    *((base, "", "", "") for base in BASES if base != "helper"),
    # Paths.
    ("udp", "Path DIR/c.ctl", "Path /nonexistent/c.ctl", ""),
    ("udp", "LockFile DIR/c.lock", "LockFile /nonexistent/c.lock", ""),
    ("udp", "LockFile DIR/c.lock", "LockFile DIR", ""),
    ("udp", "Path DIR/c.ctl", "Path DIR", ""),
    ("udp", "Path DIR/c.ctl", "Path DIR/c\t#x.ctl", ""),
    ("udp", "UNIX {\nPath DIR/c.ctl\n}", "", ""),
    ("udp", "Path DIR/c.ctl", "", ""),
    ("udp", "Path DIR/c.ctl", f"Path DIR/{'x' * 108}", ""),
    ("udp", "Path DIR/c.ctl", f"Path DIR/{'x' * 70}", ""),
    ("udp", "LockFile DIR/c.lock", f"LockFile DIR/{'y' * 250}", ""),
    ("tcp", "LogFile DIR/c.log", "LogFile /nonexistent/c.log", ""),
    ("tcp", "LogFile DIR/c.log", "LogFile DIR", ""),
    ("tcp", "LogFile DIR/c.log", "LogFile off", ""),
    ("stats", "LogFile DIR/stats.log", "LogFile /nonexistent/s.log", ""),
    ("stats", "LogFile DIR/stats.log", "LogFile DIR", ""),
    ("stats", "Syslog on", "Syslog nosuch", ""),
    ("stats", "Stats {\nLogFile DIR/stats.log\nSyslog on\n}\n", "", ""),
    # Links.
    ("udp", "IPv4_address 10.72.9.1\n", "", ""),
    ("udp", "IPv4_address 10.72.9.1\n", "IPv4_address 0.0.0.0\n", ""),
    ("udp", "IPv4_address 10.72.9.1", "IPv4_address 10.72.9.77", ""),
    ("udp", "IPv4_address 10.72.9.1", "IPv4_address 10.99.0.1", ""),
    ("udp", "IPv4_address 10.72.9.1", "IPv4_address 10.72.9.256", ""),
    ("udp", "IPv4_address 10.72.9.1", "IPv4_address 10.72.9.1/24", ""),
    ("udp", "IPv4_address 10.72.9.1", "IPv4_address 010.72.9.1", ""),
    ("udp", "IPv4_address 10.72.9.1", "IPv4_address fd00:72::1", ""),
    ("udp", "IPv4_address 10.72.9.1", "IPv6_address fd00:72::1", ""),
    ("udp", "IPv4_Destination_Address 10.72.9.2\n", "", MUTE),
    ("udp", "IPv4_Destination_Address 10.72.9.2", "IPv4_Destination_Address 192.0.2.256", MUTE),
    ("udp", "IPv4_Destination_Address 10.72.9.2", "IPv4_Destination_Address 10.72.9.1", MUTE),
    ("udp", "IPv4_Destination_Address 10.72.9.2", "IPv4_Destination_Address fw2.example.net", ""),
    ("udp", "IPv4_Destination_Address 10.72.9.2", "IPv6_Destination_Address fd00:72::2", ""),
    (
        *("udp", "IPv4_address 10.72.9.1\n        IPv4_Destination_Address 10.72.9.2\n"),
        *("IPv6_address fd00:72::1\n IPv6_Destination_Address fd00:72::2\n", ""),
    ),
    ("udp", "IPv4_address 10.72.9.1\n        IPv4_Destination_Address 10.72.9.2\n", "", ""),
    ("udp", "Port 3780", "", MUTE),
    ("udp", "Port 3780", "Port 0", MUTE),
    ("udp", "Port 3780", "Port 70000", ""),
    ("udp", "Port 3780", "Port 65536", MUTE),
    ("udp", "Port 3780", "Port 4294971076", ""),
    ("udp", "Interface sync", "", ""),
    ("udp", "Interface sync", "Interface nosuch0", ""),
    ("udp", "Interface sync", "Interface idle", MUTE),
    ("udp", "Interface sync", "Interface other", ""),
    ("udp", "Interface sync", "Interface dead", ""),
    ("udp", "Interface sync", "Interface nosuch0 Interface sync", ""),
    ("udp", "SndSocketBuffer 1249280", "SndSocketBuffer 4294967295", ""),
    ("udp", "    UDP {", "    UDP { Interface sync }\n UDP {", ""),
    (
        *("udp", "    UDP {"),
        *("    UDP { IPv4_Destination_Address 10.72.9.3 Port 3780 Interface other }\n UDP {", ""),
    ),
    ("tcp", "IPv6_address fd00:72::1\n", "", ""),
    ("tcp", "IPv6_address fd00:72::1", "IPv6_address fd00:72::99", ""),
    ("tcp", "IPv6_Destination_Address fd00:72::2\n", "", MUTE),
    ("tcp", "Port 3781", "", MUTE),
    (
        *("tcp", "    TCP Default {", "    TCP { IPv6_address fd00:72::1\n Interface sync "),
        "",
    ),
    (
        *("tcp", "    TCP Default {"),
        (
            "    TCP { IPv6_address fd00:72::1 IPv6_Destination_Address fd00:72::3 Port 3781 "
            "Interface sync }\n    TCP Default {"
        ),
        "",
    ),
    (
        *("tcp", "    TCP Default {"),
        "    TCP { IPv6_Destination_Address fd00:72::3 Port 3781 Interface sync }\n TCP Default {",
        "",
    ),
    (
        *("tcp", "    TCP Default {"),
        (
            "    TCP { IPv4_address 10.99.0.1 IPv4_Destination_Address 10.99.0.2 Port 3781 "
            "Interface other }\n    TCP Default {"
        ),
        "",
    ),
    ("tcp", "    TCP Default {", "    TCP { }\n    TCP Default {", ""),
    ("tcp", "ErrorQueueLength 64", "ErrorQueueLength 0", ""),
    ("multicast", "IPv4_interface 10.72.9.1\n", "IPv4_interface 10.72.9.77\n", ""),
    ("multicast", "IPv4_interface 10.72.9.1\n", "IPv4_interface 10.99.0.1\n", ""),
    ("multicast", "IPv4_interface 10.72.9.1\n", "IPv4_interface 10.72.9.300\n", ""),
    ("multicast", "IPv4_interface 10.72.9.1\n", "", ""),
    ("multicast", "IPv4_interface 10.72.9.1\n", "IPv4_interface 0.0.0.0\n", ""),
    ("multicast", "IPv4_address 225.0.0.50", "IPv4_address 10.72.9.2", ""),
    ("multicast", "IPv4_address 225.0.0.50", "IPv4_address 224.0.0.18", ""),
    ("multicast", "IPv4_address 225.0.0.50", "IPv4_address 225.0.0.500", ""),
    ("multicast", "IPv4_address 225.0.0.50\n", "", ""),
    ("multicast", "IPv6_address ff05::50", "IPv6_address fd00:72::2", ""),
    ("multicast", "IPv6_address ff05::50\n", "", ""),
    (
        *("multicast", "IPv6_address ff05::50\n        Group 3781\n        Interface sync"),
        *("Interface sync IPv6_address ff05::50 Group 3781", ""),
    ),
    ("multicast", "IPv6_address ff05::50", "IPv4_interface 10.72.9.1 IPv6_address ff05::50", ""),
    ("multicast", "Group 3780", "", MUTE),
    # Modes and sizes.
    ("udp", "Mode FTFW {", "Mode ALARM { RefreshTime 5 }\n Mode FTFW {", ""),
    ("stats", "HashLimit 5", "HashSize 4294967295", ""),
    ("stats", "HashLimit 5", "HashSize 0", ""),
    ("stats", "HashLimit 5", "HashLimit 4294967295", ""),
    ("udp", "ResendQueueSize 1000", "ResendQueueSize 4294967295", ""),
    ("udp", "DisableExternalCache Off", "DisableExternalCache on", ""),
    ("udp", "NetlinkBufferSize 2097152", "NetlinkBufferSize 4294967295", ""),
    ("udp", "Filter From Userspace", "Filter From Kernelspace", ""),
    ("udp", "IPv4_address 127.0.0.1", "IPv4_address 127.0.0.256", ""),
    ("udp", "IPv4_address 10.0.0.0/8", "IPv4_address 10.0.0.0/33", ""),
    ("udp", "\n            SCTP", "\n            nosuchprotocol", ""),
)


def starts(place: Namespace, file: Path, folder: Path) -> tuple[bool, str]:
    """Whether conntrackd starts with a configuration, and what it printed."""
    log = folder / "out"
    with processes.Daemon(place.argv(["conntrackd", "-C", file]), log) as daemon:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            ended = daemon.process.poll() is not None
            if "initialization completed" in daemon.said():
                return True, daemon.said()
            if ended:
                return False, daemon.said()
            time.sleep(0.01)
    raise AssertionError(log.read_text("utf-8"))


@pytest.mark.parametrize(("base", "old", "new", "mute"), STARTS)
def test_a_problem_is_what_keeps_conntrackd_from_starting(
    place: Namespace, folder: Path, base: str, old: str, new: str, mute: str
) -> None:
    assert old in BASES[base]
    text = BASES[base].replace(old, new, 1).replace("DIR", str(folder))
    file = folder / "c.conf"
    file.write_text(text, "utf-8")
    started, printed = starts(place, file, folder)
    for left in ("c.lock", "c.ctl"):
        (folder / left).unlink(missing_ok=True)
    try:
        config = parse_config(text, "c.conf")
        with place.entered():
            checks = check_config(config, read_host(config, ProcRoot()))
        problems = [check.message for check in checks if check.status == "problem"]
    except InvalidRequest as error:
        problems = [str(error)]
    assert bool(problems) == (not started or mute != ""), (problems, printed[-600:])
    assert started or not mute, printed


GROUP = "Multicast {{\n    IPv4_address 225.0.0.51\n    Group 3781\n    Interface sync\n}}"
# Links with which both nodes start, and whether the second gets what the first sends.
REPLICATES = {
    "as it is": (LINK, LINK, True),
    "no own address": (*[LINK.replace("IPv4_address {own}\n", "")] * 2, True),
    "any own address": (*[LINK.replace("IPv4_address {own}", "IPv4_address 0.0.0.0")] * 2, True),
    "a group alone": (GROUP, GROUP, True),
    "a large port and what it becomes": (
        LINK.replace("3780", "70000"),
        LINK.replace("3780", "4464"),
        True,
    ),
    "no port": (*[LINK.replace("Port 3780", "")] * 2, False),
    "no destination": (*[LINK.replace("IPv4_Destination_Address {other}\n", "")] * 2, False),
    "no such destination": (*[LINK.replace("{other}", "192.0.2.256")] * 2, False),
    "itself": (*[LINK.replace("{other}", "{own}")] * 2, False),
    "no group's port": (*[GROUP.replace("Group 3781", "")] * 2, False),
}


@pytest.mark.parametrize("name", REPLICATES)
def test_a_problem_is_what_keeps_nodes_from_replicating(name: str, folder: Path) -> None:
    *links, replicates = REPLICATES[name]
    with pair(folder, "notrack", links=(links[0], links[1])) as (first, second):
        first.fill(20)
        deadline = time.monotonic() + (20 if replicates else 1)
        got = False
        while not got and time.monotonic() < deadline:
            got = bool(re.search(r"external:\ncurrent active connections:\s+20\n", second.says()))
            time.sleep(0.02)
        with first.namespace.entered():
            config = parse_config(first.config.read_text("ascii"), "c.conf")
            checks = check_config(config, read_host(config, ProcRoot()))
    assert got == replicates
    assert replicates == ("problem" not in {check.status for check in checks}), checks


DOCTOR = {
    "missing": None,
    "a directory": None,
    "cut": "General {\nUNIX {\nPath /tmp/x.ctl\n",
    "no such mode": UDP.replace("Mode FTFW", "Mode FULL"),
    "no such statement": UDP.replace("NetlinkOverrunResync", "NetlinkOverunResync"),
    "both": STATS + UDP,
    "no sign": UDP.replace("Nice -20", "Nice 20"),
    "off in a block": UDP.replace("ftp\n", "Off\n"),
    "too long": UDP + "#" * (1 << 20) + "\n",
}


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("name", DOCTOR)
def test_doctor_names_what_keeps_conntrackd_from_starting(
    name: str, copy: bool, folder: Path
) -> None:
    file, text = folder / "c.conf", DOCTOR[name]
    if name == "a directory":
        file.mkdir()
    elif text is not None:
        file.write_text(text.replace("DIR", str(folder)), "utf-8")
    root = ["--proc-root", str(PROC / "ok")] if copy else []
    argv = [*command("conntrack-stat"), "doctor", "--json", "--config", str(file), *root]
    done = processes.run(argv, env=python_path())
    checks = [check for check in json.loads(done.stdout)["checks"] if check["id"] == "sync.config"]
    assert (done.returncode, [check["status"] for check in checks]) == (1, ["problem"]), done
    assert str(file) in checks[0]["message"]
    if name not in ("missing", "a directory", "too long"):
        assert re.search(r"c.conf, line \d+: ", checks[0]["message"])
        assert not takes(text.replace("DIR", str(folder)) if text else "", folder)[0]


def test_doctor_asks_nobody_where_no_socket_is_configured(folder: Path) -> None:
    text = STATS.replace("UNIX {\nPath DIR/c.ctl\n}\n", "").replace("DIR", str(folder))
    file = folder / "c.conf"
    file.write_text(text, "utf-8")
    argv = [*command("conntrack-stat"), "doctor", "--json", "--config", str(file)]
    done = processes.run(argv, env=python_path())
    found = {check["id"]: check for check in json.loads(done.stdout)["checks"]}
    assert "sync.daemon" not in found
    assert found["sync.config.socket"]["status"] == "warning"
    argv = [*command("check_conntrackd"), "--config", str(file)]
    done = processes.run(argv, env=python_path())
    assert (done.returncode, "configures no socket" in done.stdout) == (3, True), done


def test_doctor_holds_the_hosts_own_configuration_against_it(
    installation: Installation, folder: Path
) -> None:
    """Broken, it is a problem; where this user may not read it, nobody knows."""
    file = folder / "c.conf"
    file.write_text("General {\n", "utf-8")
    mounted = 'mount --bind "$1" /etc/conntrackd/conntrackd.conf; shift; exec "$@"'
    argv = ["unshare", "-m", "sh", "-c", mounted, "sh", str(file)]
    words = [installation.command("conntrack-stat"), "doctor", "--json"]
    done = processes.run([*argv, *words])
    found = {check["id"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    assert (done.returncode, found["sync.config"]) == (1, "problem"), done
    file.chmod(0)
    done = processes.run([*argv, *dropped(), *words])
    found = {check["id"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    assert found["sync.config"] == "unknown", done
    done = processes.run([*argv, *dropped(), *words, "--config", str(file)])
    found = {check["id"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    assert (done.returncode, found["sync.config"]) == (1, "problem"), done

"""-n, -g and -j on connections that the kernel translated: addresses, ports, both, and none."""

from __future__ import annotations

import contextlib
import re
import shlex
import socket
from collections.abc import Iterator

import pytest

import varied
from installation import command, python_path
from namespaces import Namespace

pytestmark = pytest.mark.kernel

# By the port that is asked: what is changed of the destination, of the source, of both.
RULES = """
table ip nat {
    chain out {
        type nat hook output priority -100
        udp dport 7001 dnat to 127.0.0.1:7101
        udp dport 7002 dnat to 127.0.0.2
        udp dport 7003 dnat to 127.0.0.3:7103
        udp dport 7006 dnat to 127.0.0.6:7106
    }
    chain post {
        type nat hook postrouting priority srcnat
        udp dport 7004 snat to 127.0.0.4
        udp dport 7005 snat to 127.0.0.1:7205
        udp dport 7106 snat to 127.0.0.7:7206
    }
}
"""
PORTS = range(7001, 7007)


@pytest.fixture(scope="module")
def translated() -> Iterator[Namespace]:
    with Namespace() as made:
        made.rules(RULES)
        with made.entered(), contextlib.ExitStack() as stack:
            for port in PORTS:
                client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                client.sendto(b"x", ("127.0.0.1", port))
        made.must("ping", "-c1", "127.0.0.1")  # looked at by NAT, and not changed
        yield made


def ports(text: str) -> list[int]:
    """The ports that were asked, of the entries in a list; 0 is the ping."""
    found = [re.search(r"(?:dport=(\d+)|type=8)", line) for line in text.splitlines()]
    return sorted(int(match[1] or 0) for match in found if match)


# Options, whose entries they mean, and those that conntrack 1.4.7 lists where that is wrong.
CASES: dict[str, tuple[list[int], list[int] | None]] = {
    "-g": ([7001, 7002, 7003, 7006], [0, 7001, 7002, 7003, 7006]),
    "-n": ([7004, 7005, 7006], [0, 7004, 7005, 7006]),
    "-n -g": ([7006], [0, 7006]),
    "-j": ([*PORTS], [0, *PORTS]),
    "-p udp -g": ([7001, 7002, 7003, 7006], None),
    "-p udp -n -g": ([7006], None),
    "-p udp -j": ([*PORTS], None),
    "-g 127.0.0.2": ([7002], None),
    "-g 127.0.0.3:7103": ([7003], None),
    "-g 127.0.0.3:7003": ([], None),
    "-n 127.0.0.4": ([7004], None),
    "-n 127.0.0.7:7206": ([7006], None),
    "-n 127.0.0.7:7106": ([], None),
    "-n 127.0.0.7 -g 127.0.0.6:7106": ([7006], None),
    "-n 127.0.0.7 -g 127.0.0.3": ([], None),
    "-j 127.0.0.4": ([7004], None),
    "-j 127.0.0.6:7106": ([7006], None),
    # Where the other half was not changed.
    "-g 127.0.0.1": ([7001], []),
    "-g 127.0.0.1:7101": ([7001], []),
    "-g 127.0.0.2:7002": ([7002], []),
    "-n 127.0.0.1": ([7005], []),
    "-j 127.0.0.1": ([7001, 7005], []),
}


@pytest.mark.parametrize("options", CASES)
def test_translations_are_those_of_conntrack(translated: Namespace, options: str) -> None:
    meant, wrong = CASES[options]
    words = shlex.split(options)
    done = translated.run(
        [*command("conntrack-stat"), "list", "-o", "conntrack", *words], env=python_path()
    )
    assert (done.returncode, ports(done.stdout)) == (0, meant)
    if wrong is None or varied.version() == varied.WRONG_VERSION:
        theirs = translated.must("conntrack", "-L", *words)
        assert ports(theirs) == (meant if wrong is None else wrong)


@pytest.mark.parametrize("options", ["-j -n", "-j -g", "-n 127.0.0.1:", "-n [127.0.0.1]", "-g ::1"])
def test_what_conntrack_refuses_or_can_not_find(translated: Namespace, options: str) -> None:
    words = shlex.split(options)
    theirs = translated.run(["conntrack", "-L", *words])
    done = translated.run([*command("conntrack-stat"), "list", *words], env=python_path())
    assert theirs.returncode == done.returncode
    assert (theirs.stdout == "") == (done.stdout.count("\n") <= 1)

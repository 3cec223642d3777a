"""Each counter moves by what its help says, and no other one does; conntrack -S is the judge."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

import fill
import oracle
import traffic
from conntrack_common.catalogue.lookup import BY_ID
from namespaces import Namespace, connect

pytestmark = pytest.mark.kernel

SLOW_HOOK = "type filter hook output priority 1;"
FTP = """
table ip helped {
    ct helper ftp { type "ftp" protocol tcp; }
    chain output {
        type filter hook output priority 0;
        tcp dport 21 ct helper set "ftp"
    }
}
"""


class Moved(dict[str, int]):
    """By how much each counter has grown, without those that stood still."""


@contextlib.contextmanager
def counted(namespace: Namespace) -> Iterator[Moved]:
    """Yield what the counters move by; it is known when the block has ended."""

    def totals() -> Counter[str]:
        said = namespace.must("conntrack", "-S") + namespace.must("conntrack", "-S", "expect")
        found: Counter[str] = Counter()
        for name, value in re.findall(r"(\w+)=(\d+)", re.sub(r"cpu=\d+", "", said)):
            found[name] += int(value)
        return found

    before, moved = totals(), Moved()
    yield moved
    moved.update(
        {name: value - before[name] for name, value in totals().items() if value != before[name]}
    )


@pytest.mark.parametrize(
    ("counter", "words"),
    [
        ("insert", "programs"),
        ("drop", "NAT's ports are used up"),
        ("insert_failed", "clashed"),
        ("found", "NAT"),
        ("error", "an unknown connection"),
        ("expect_new", "Connections"),
        ("expect_delete", "were met"),
    ],
)
def test_the_help_names_what_the_tests_below_do(counter: str, words: str) -> None:
    assert words in BY_ID[f"cpu.{counter}"].help


def test_entries_of_packets_move_no_counter(namespace: Namespace) -> None:
    with counted(namespace) as moved:
        assert all(traffic.sent(namespace, 2000 + number) for number in range(20))
    assert oracle.count(namespace) >= 20
    assert moved == {}


def test_entries_of_programs_are_insertions(namespace: Namespace) -> None:
    with counted(namespace) as moved, namespace.entered():
        fill.fill(17)
    assert (moved, oracle.count(namespace)) == ({"insert": 17}, 17)


def test_an_entry_that_a_program_can_not_put_in_is_not_counted(namespace: Namespace) -> None:
    one = [fill.assured(1)]
    with namespace.entered(), fill.Filler() as filler:
        assert not filler.insert(one)
        with counted(namespace) as moved:
            assert filler.insert(one)  # EEXIST
    assert moved == {}


def test_used_up_nat_ports_are_drops_of_an_empty_table(namespace: Namespace) -> None:
    namespace.rules(traffic.SNAT)
    with counted(namespace) as moved:
        lost = traffic.hidden(namespace, 30)
    assert lost == 30 - traffic.SNAT_PORTS
    assert {name: moved[name] for name in ("drop", "insert_failed")} == {
        "drop": lost,
        "insert_failed": lost,
    }
    assert moved["found"] >= lost
    assert set(moved) == {"drop", "insert_failed", "found"}
    assert oracle.count(namespace) < oracle.sysctl(namespace, "max") / 1000


def test_packets_cut_short_are_invalid_and_icmp_ones_errors(namespace: Namespace) -> None:
    with counted(namespace) as moved:
        traffic.invalid(namespace, 5)
    assert set(moved) == {"invalid"}
    assert moved["invalid"] >= 5
    with counted(namespace) as moved:
        traffic.error(namespace, 5)
    assert set(moved) == {"error"}
    assert moved["error"] >= 5


def test_an_error_of_an_unknown_connection_is_an_error(namespace: Namespace) -> None:
    # "port unreachable" for a datagram that nobody has sent
    about = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\1")
    body = about + struct.pack(">HHHH", 1111, 2222, 8, 0)
    head = struct.pack(">BBHI", 3, 3, traffic.checksum(struct.pack(">BBHI", 3, 3, 0, 0) + body), 0)
    with counted(namespace) as moved:
        sent_raw(namespace, socket.IPPROTO_ICMP, head + body)
    assert set(moved) == {"error"}
    assert oracle.count(namespace) == 0


def sent_raw(namespace: Namespace, protocol: int, packet: bytes) -> None:
    with namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as raw:
        raw.sendto(packet, ("127.0.0.1", 0))


def test_a_packet_out_of_its_tcp_state_is_invalid(namespace: Namespace) -> None:
    namespace.must("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0")
    ack = struct.pack(">HHIIBBHHH", 4000, 4001, 1, 1, 5 << 4, 0x10, 512, 0, 0)
    pseudo = b"\x7f\0\0\1\x7f\0\0\1\0\x06" + struct.pack(">H", len(ack))
    ack = ack[:16] + struct.pack(">H", traffic.checksum(pseudo + ack)) + ack[18:]
    with counted(namespace) as moved:
        sent_raw(namespace, socket.IPPROTO_TCP, ack)
    assert set(moved) == {"invalid"}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="packets race on two processors only")
def test_two_first_packets_at_once_are_a_clash_that_is_resolved(namespace: Namespace) -> None:
    # A long way through the rules, between being looked up and being confirmed.
    rules = "meta mark 1 counter;" * 3000
    namespace.rules(f"table inet way {{ chain output {{ {SLOW_HOOK} {rules} }}; }}")
    with counted(namespace) as moved, raced(namespace) as race:
        rounds = 0
        while not oracle.total(oracle.statistics(namespace), "clash_resolve") and rounds < 20_000:
            race(500)
            rounds += 500
    assert set(moved) == {"clash_resolve"}
    assert oracle.count(namespace) == rounds


@contextlib.contextmanager
def raced(namespace: Namespace) -> Iterator[Callable[[int], None]]:
    """Yield what sends two datagrams of as many new flows, each pair by two processors at once."""
    processors = sorted(os.sched_getaffinity(0))
    turn = mmap.mmap(-1, 8)  # the flow's number, which the other process waits for; -1 ends it
    with traffic.made(namespace, socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 4444))

        def send(number: int) -> None:
            sender.sendto(b"x", ("127.0.0.1", 10_000 + number))

        other = os.fork()
        if not other:
            try:
                os.sched_setaffinity(0, {processors[1]})
                last = 1
                while (number := struct.unpack("=q", turn[:8])[0]) >= 0:
                    if number > last:
                        send(last := number)
            finally:
                os._exit(0)
        numbers = itertools.count(2)

        def race(flows: int) -> None:
            for number in itertools.islice(numbers, flows):
                turn[:8] = struct.pack("=q", number)
                send(number)
                time.sleep(0.0005)

        try:
            os.sched_setaffinity(0, {processors[0]})
            yield race
        finally:
            turn[:8] = struct.pack("=q", -1)
            os.waitpid(other, 0)
            os.sched_setaffinity(0, processors)


def test_expectations_that_come_true_are_new_and_deleted() -> None:
    with contextlib.ExitStack() as stack:

        def tcp(where: Namespace) -> socket.socket:
            return stack.enter_context(traffic.made(where, socket.AF_INET, socket.SOCK_STREAM))

        def listening(where: Namespace, address: str, port: int) -> socket.socket:
            found = tcp(where)
            found.bind((address, port))
            found.listen(1)
            return found

        # Two namespaces, because a packet over loopback passes the helper twice.
        near, far = stack.enter_context(Namespace()), stack.enter_context(Namespace(tracking=False))
        connect(near, far)
        near.rules(FTP)
        control = listening(far, traffic.SERVER4, 21)
        data = listening(near, "10.91.0.1", 5 * 256 + 7)
        client = tcp(near)
        client.connect(control.getsockname())
        server = stack.enter_context(control.accept()[0])
        client.sendall(b"USER nobody\r\n")  # the helper looks after a line's end only
        assert server.recv(64)
        with counted(near) as moved:
            client.sendall(b"PORT 10,91,0,1,5,7\r\n")
            assert server.recv(64)
        assert moved == {"expect_create": 1}
        with counted(near) as moved:
            tcp(far).connect(data.getsockname())
        assert moved == {"expect_new": 1, "expect_delete": 1}

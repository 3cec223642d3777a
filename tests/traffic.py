"""Real packets: connections in every state that a quiet pair of namespaces can hold.

All sockets belong to the test's own process; each was made while its thread stood in the
namespace it belongs to, and stays there.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from namespaces import Namespace, connect

SERVER4, SERVER6 = "10.91.0.2", "fd91::2"
ECHO, SILENT, DROPPED = 5001, 5002, 5999
DROP_SYN = f"""
table inet lost {{
    chain input {{
        type filter hook input priority 0;
        tcp dport {DROPPED} drop
    }}
}}
"""
# What conntrack -L must say about `connections`, each line once.
EXPECTED = (
    r"^tcp .* ESTABLISHED src=10\.91\.0\.1 .*dport=5001 .*\[ASSURED\]",
    r"^tcp .* ESTABLISHED src=fd91::1 .*dport=5001 .*\[ASSURED\]",
    r"^tcp .* SYN_SENT .*dport=5999 \[UNREPLIED\]",
    r"^tcp .* TIME_WAIT .*dport=5001 .*\[ASSURED\]",
    r"^tcp .* CLOSE_WAIT .*dport=5001 .*\[ASSURED\]",
    r"^udp .*dport=5001 src=10\.91\.0\.2 ",
    r"^udp .*dport=5002 \[UNREPLIED\]",
    r"^icmp .*type=8 .*type=0 ",
    r"^icmpv6 .*type=128 .*type=129 ",
)


def made(namespace: Namespace, family: int, kind: int) -> socket.socket:
    """A socket inside the namespace."""
    with namespace.entered():
        found = socket.socket(family, kind)
    found.settimeout(5)
    return found


@contextlib.contextmanager
def connections() -> Iterator[Namespace]:
    """A tracking namespace with one entry for each line of EXPECTED; its peer does not track."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Namespace())
        server = stack.enter_context(Namespace(tracking=False))
        connect(client, server)
        server.rules(DROP_SYN)
        _tcp(stack, client, server)
        _udp(stack, client, server)
        for address in (SERVER4, SERVER6):
            client.must("ping", "-c1", "-W5", address)
        yield client


def _tcp(stack: contextlib.ExitStack, client: Namespace, server: Namespace) -> None:
    for family, address in ((socket.AF_INET, SERVER4), (socket.AF_INET6, SERVER6)):
        listener = stack.enter_context(made(server, family, socket.SOCK_STREAM))
        listener.bind((address, ECHO))
        listener.listen(8)
        _pair(stack, client, listener)  # ESTABLISHED
        if family == socket.AF_INET:
            ours, theirs = _pair(stack, client, listener)
            ours.close()
            theirs.close()  # TIME_WAIT
            ours, _theirs = _pair(stack, client, listener)
            ours.shutdown(socket.SHUT_WR)  # the peer keeps its half: CLOSE_WAIT
    lost = stack.enter_context(made(client, socket.AF_INET, socket.SOCK_STREAM))
    lost.setblocking(False)
    lost.connect_ex((SERVER4, DROPPED))  # SYN_SENT


def _pair(
    stack: contextlib.ExitStack, client: Namespace, listener: socket.socket
) -> tuple[socket.socket, socket.socket]:
    """A connection over which data went both ways."""
    ours = stack.enter_context(made(client, listener.family, socket.SOCK_STREAM))
    ours.connect(listener.getsockname())
    theirs = stack.enter_context(listener.accept()[0])
    ours.sendall(b"ping")
    theirs.sendall(theirs.recv(4))
    ours.recv(4)
    return ours, theirs


def _udp(stack: contextlib.ExitStack, client: Namespace, server: Namespace) -> None:
    echo = stack.enter_context(made(server, socket.AF_INET, socket.SOCK_DGRAM))
    silent = stack.enter_context(made(server, socket.AF_INET, socket.SOCK_DGRAM))
    echo.bind((SERVER4, ECHO))
    silent.bind((SERVER4, SILENT))
    asking = stack.enter_context(made(client, socket.AF_INET, socket.SOCK_DGRAM))
    asking.sendto(b"ping", (SERVER4, ECHO))
    echo.sendto(*echo.recvfrom(16))
    asking.recv(16)
    asking.sendto(b"ping", (SERVER4, SILENT))
    silent.recv(16)


SNAT = """
table ip hidden {
    chain post {
        type nat hook postrouting priority srcnat;
        udp dport 9 snat to 127.0.0.1:4000-4003
    }
}
"""
SNAT_PORTS = 4


def invalid(namespace: Namespace, packets: int) -> None:
    """Send TCP packets whose header is cut short: each hook counts each as `invalid`."""
    _raw(namespace, socket.IPPROTO_TCP, packets)


def error(namespace: Namespace, packets: int) -> None:
    """Send ICMP packets whose header is cut short: each hook counts each as `error`."""
    _raw(namespace, socket.IPPROTO_ICMP, packets)


def _raw(namespace: Namespace, protocol: int, packets: int) -> None:
    with (
        namespace.entered(),
        socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as sender,
    ):
        for _ in range(packets):
            sender.sendto(struct.pack(">HH", 2048, 0), ("127.0.0.1", 0))


def hidden(namespace: Namespace, flows: int) -> int:
    """Send flows through SNAT to four ports; return how many packets the kernel dropped.

    The namespace needs the rules SNAT. A search for a free port that meets a taken one is counted
    as `found`; when all are taken, the packet is dropped and counted as `insert_failed`.
    """
    return sum(not sent(namespace, 9) for _ in range(flows))


def sent(namespace: Namespace, port: int) -> bool:
    """Send a datagram from a new port over loopback; False if tracking dropped it."""
    with made(namespace, socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(b"ping", ("127.0.0.1", port))
        except PermissionError:
            return False
    return True


def checksum(data: bytes) -> int:
    """The checksum of IP, TCP and ICMP (RFC 1071) over an even number of bytes."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF

"""conntrack-stat demo: what the pack shows, on a table of its own with real connections.

Everything happens in a child process in a new network namespace, so that nothing is left behind
and nothing on this host is changed, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec

from conntrack_common.errors import NotAvailable
from conntrack_common.host.system import host
from conntrack_common.netns import entering
from conntrack_common.proc.files import ProcRoot
from conntrack_plugins import arguments, run
from conntrack_plugins.stat.status import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

CONNECTIONS = 12
NFPROTO_INET = 1
NFT_CT_STATE, NFT_REG32_00 = 0, 8


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    command = arguments.subcommand(
        commands,
        "demo",
        demo,
        "a demonstration on a table of its own, with real connections (root)",
        takes=[],
    )
    command.add_argument(
        "--if-inactive",
        action="store_true",
        default=False,
        help="do nothing where connections are tracked already, or without root",
    )


def demo(args: argparse.Namespace) -> Iterator[str]:
    """Show status and what agents get, in a namespace with connections over loopback.

    Raises NotPermitted without root.
    """
    if args.if_inactive:
        if os.geteuid() != 0:
            yield "\nAs root, 'conntrack-stat demo' shows this on a table with connections.\n"
            return
        tracking = host(ProcRoot()).tracking
        if tracking.active is not False:
            return
        yield f"\nNothing in this namespace uses connection tracking ({tracking.evidence}).\n"
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os._exit(run.run("conntrack-stat demo", lambda: _in_child(args)))
    _pid, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(run.FAILURE)


def _in_child(args: argparse.Namespace) -> Iterator[str]:
    entering.enter_new()
    _track()
    ends = _connections()
    yield (
        f"\nThis is a network namespace of its own, with {CONNECTIONS} TCP connections and\n"
        f"{CONNECTIONS} UDP requests, half of them answered, over IPv4 and again over IPv6:\n\n"
    )
    yield "$ conntrack-stat status\n"
    yield from status(args)
    for program, words, main in _agents():
        yield f"\n$ {' '.join([program, *words])}\n"
        main(words)
    for end in ends:
        end.close()


def _agents() -> Iterator[tuple[str, list[str], Callable[[list[str]], int]]]:
    """Yield what each agent runs: its name, its options, and what it calls."""
    from conntrack_plugins import prometheus, telegraf

    if find_spec("nagiosplugin"):  # which is not installed everywhere
        from conntrack_plugins.nagios import conntrack

        yield "check_conntrack", [], conntrack.main
    yield "conntrack-telegraf", [], telegraf.main
    yield (
        "conntrack-prometheus",
        ["--metrics", "table.entries,table.usage,tcp.state"],
        prometheus.main,
    )


def _track() -> None:
    """Bring loopback up and add a rule that needs connection tracking, which switches it on."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        _switch_on()
    except (OSError, NetlinkError) as error:
        raise NotAvailable(
            f"the demo's network namespace can't be set up ({error}): it needs nftables and "
            "netlink sockets, which this kernel does not have or a sandbox refuses"
        ) from error


def _switch_on() -> None:
    from pyroute2 import IPRoute
    from pyroute2.nftables.main import NFTables

    with IPRoute() as route:
        route.link("set", index=route.link_lookup(ifname="lo")[0], state="up")
    state = {
        "attrs": [
            ("NFTA_EXPR_NAME", "ct"),
            (
                "NFTA_EXPR_DATA",
                {"attrs": [("NFTA_CT_KEY", NFT_CT_STATE), ("NFTA_CT_DREG", NFT_REG32_00)]},
            ),
        ]
    }
    nft = NFTables(nfgen_family=NFPROTO_INET)
    try:
        nft.begin()
        nft.table("add", name="demo")
        nft.chain("add", table="demo", name="out", hook="output", type="filter", policy=1)
        nft.rule("add", table="demo", chain="out", expressions=[[state]])
        nft.commit()
    finally:
        nft.close()


def _connections() -> list[socket.socket]:
    """Open real connections over loopback and return their ends, which keep them open."""
    try:
        ends = _tcp(socket.AF_INET, "127.0.0.1") + _udp(socket.AF_INET, "127.0.0.1")
    except OSError as error:
        raise NotAvailable(
            f"the demo can't connect over loopback ({error}): no IPv4, or a sandbox forbids it"
        ) from error
    with contextlib.suppress(OSError):  # a host without IPv6
        ends += _tcp(socket.AF_INET6, "::1") + _udp(socket.AF_INET6, "::1")
    return ends


def _tcp(family: int, address: str) -> list[socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind((address, 0))
        server.listen(CONNECTIONS)
        ends = []
        for _ in range(CONNECTIONS):
            client = socket.create_connection(server.getsockname()[:2], timeout=5)
            ends += [client, server.accept()[0]]
    return ends


def _udp(family: int, address: str) -> list[socket.socket]:
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.bind((address, 0))
    server.settimeout(5)
    ends = [server]
    for number in range(CONNECTIONS):
        client = socket.socket(family, socket.SOCK_DGRAM)
        client.sendto(b"question", server.getsockname())
        _question, asker = server.recvfrom(100)
        if number % 2:
            server.sendto(b"answer", asker)
        ends.append(client)
    return ends

"""A real pair of conntrackd nodes: two namespaces, a link between them, and a daemon in each."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import fill
import processes
from namespaces import Namespace
from processes import Daemon

# conntrackd's own messages are no connections to replicate.
UNTRACKED = """
table inet sync {
    chain in {
        type filter hook prerouting priority -300;
        iifname "sync" notrack
    }
    chain out {
        type filter hook output priority -300;
        oifname "sync" notrack
    }
}
"""
CUT = """
table inet cut {
    chain in {
        type filter hook input priority 0;
        iifname "sync" drop
    }
}
"""
LINK = """\
UDP {{
    IPv4_address {own}
    IPv4_Destination_Address {other}
    Port 3780
    Interface sync
    SndSocketBuffer 1249280
    RcvSocketBuffer 1249280
    Checksum on
}}"""
PURGED = 2  # seconds after 'conntrackd -t'
MODES = {
    "ftfw": f"Mode FTFW {{\nPurgeTimeout {PURGED}\n}}",
    "ftfw-inject": "Mode FTFW {\nDisableExternalCache on\n}",
    "notrack": f"Mode NOTRACK {{\nPurgeTimeout {PURGED}\n}}",
    "notrack-inject": "Mode NOTRACK {\nDisableExternalCache on\n}",
    "notrack-bypass": "Mode NOTRACK {\nDisableInternalCache on\nDisableExternalCache on\n}",
    "notrack-uncached": "Mode NOTRACK {\nDisableInternalCache on\n}",
    "alarm": f"Mode ALARM {{\nRefreshTime 1\nCacheTimeout 60\nPurgeTimeout {PURGED}\n}}",
}
# Modes by what the nodes keep: a cache of the other's entries, and one of their own.
KEEP_EXTERNAL = ("ftfw", "notrack", "notrack-uncached", "alarm")
KEEP_INTERNAL = ("ftfw", "ftfw-inject", "notrack", "notrack-inject", "alarm")


class Node:
    """One node: its namespace and its daemon, which `start` starts."""

    def __init__(self, namespace: Namespace, folder: Path, name: str) -> None:
        self.namespace = namespace
        self.config, self.socket = folder / f"{name}.conf", folder / f"{name}.ctl"
        self.lock, self._log = folder / f"{name}.lock", folder / f"{name}.log"
        self.daemon: Daemon | None = None

    def configure(self, mode: str, link: str, hash_limit: int) -> None:
        # With 8192 buckets or fewer, 1.4.7 takes a commit for one that never ends.
        self.config.write_text(
            f"General {{\nHashSize 16384\nHashLimit {hash_limit}\nLockFile {self.lock}\n"
            f"UNIX {{\nPath {self.socket}\n}}\nNetlinkBufferSize 2097152\n"
            f"NetlinkBufferSizeMaxGrowth 8388608\n}}\nSync {{\n{MODES[mode]}\n{link}\n}}\n",
            "ascii",
        )

    def start(self) -> None:
        argv = self.namespace.argv(["conntrackd", "-C", str(self.config)])
        self.daemon = Daemon(argv, self._log)
        self.daemon.until(self.socket.exists, "its socket is there")

    def stop(self) -> None:
        if self.daemon:
            self.signal(signal.SIGCONT)
            self.daemon.stop()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the daemon (which `ip netns exec` has become)."""
        assert self.daemon
        with contextlib.suppress(ProcessLookupError):
            self.daemon.process.send_signal(number)

    def says(self, *request: str) -> str:
        """`conntrackd -s …`: the oracle."""
        return self.namespace.must("conntrackd", "-C", str(self.config), "-s", *request)

    def cut_off(self) -> None:
        """Drop what the other node sends, while the link stays up."""
        self.namespace.rules(CUT)

    def does(self, *orders: str) -> None:
        """Give the daemon orders, as "-c" or "-f external", one after the other."""
        for order in orders:
            self.namespace.must("conntrackd", "-C", str(self.config), *order.split())

    def fill(self, entries: int, seed: int = 1) -> None:
        with self.namespace.entered():
            fill.fill(entries, seed)


@contextlib.contextmanager
def pair(
    folder: Path,
    mode: str = "ftfw",
    hash_limit: int = 65535,
    links: tuple[str, str] = (LINK, LINK),
) -> Iterator[tuple[Node, Node]]:
    """Two nodes that replicate, the first to be given entries; each has its dedicated link."""
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(Namespace()) for _ in range(2))
        other = ["type", "veth", "peer", "name", "sync", "netns", second.name]
        processes.must(["ip", "link", "add", "sync", "netns", first.name, *other])
        nodes = Node(first, folder, "a"), Node(second, folder, "b")
        for node, link, own, peer in zip(nodes, links, (1, 2), (2, 1)):
            ip = ["ip", "-n", node.namespace.name]
            processes.must([*ip, "addr", "add", f"10.72.9.{own}/24", "dev", "sync"])
            processes.must([*ip, "link", "set", "sync", "up"])
            processes.must([*ip, "route", "add", "224.0.0.0/4", "dev", "sync"])
            node.namespace.rules(UNTRACKED)
            addresses = {"own": f"10.72.9.{own}", "other": f"10.72.9.{peer}"}
            node.configure(mode, link.format(**addresses), hash_limit)
            stack.callback(node.stop)
        for node in nodes:
            node.start()
        yield nodes

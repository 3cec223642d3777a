"""Network namespaces that tests make and remove: the only place where they touch the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import processes

PREFIX = f"ct{os.getpid()}x"
NUMBERS = itertools.count()
CLONE_NEWNET = 0x40000000
NOBODY = 65534

# Nothing is tracked in a namespace until a rule there asks for it.
TRACKING = """
table inet track {
    chain input {
        type filter hook input priority 0; policy accept;
        ct state new counter
    }
    chain output {
        type filter hook output priority 0; policy accept;
        ct state new counter
    }
}
"""


# Entries of datagrams live half a minute, and a test on a slow machine longer.
LIVES = [
    f"net.netfilter.nf_conntrack_{name}=600"
    for name in ("udp_timeout", "icmp_timeout", "icmpv6_timeout")
]


class Namespace:
    """A network namespace with its loopback up; `with` makes it and removes it."""

    def __init__(self, *, tracking: bool = True, name: str = "") -> None:
        self.name = name or f"{PREFIX}{next(NUMBERS)}"
        self._tracking = tracking

    def __enter__(self) -> Namespace:
        processes.must(["ip", "netns", "add", self.name])
        try:
            processes.must(["ip", "-n", self.name, "link", "set", "lo", "up"])
            if self._tracking:
                self.rules(TRACKING)
                self.must("sysctl", "-qw", *LIVES)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.remove()

    def remove(self) -> None:
        """End what still runs inside, and delete the namespace."""
        for pid in self._pids() & self._pids():  # an agent of this host may just have looked in
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        processes.must(["ip", "netns", "del", self.name])

    def _pids(self) -> set[int]:
        return set(map(int, processes.must(["ip", "netns", "pids", self.name]).split()))

    def argv(
        self,
        argv: Sequence[str | os.PathLike[str]],
        user: str | None = None,
        caps: Sequence[str] = (),
    ) -> list[str]:
        """Return the words that start a command inside, as root or with few rights."""
        words = ["ip", "netns", "exec", self.name]
        if user:
            words += dropped(str(NOBODY) if user == "nobody" else user, caps)
        return words + [os.fspath(word) for word in argv]

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        user: str | None = None,
        caps: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        return processes.run(self.argv(argv, user, caps), env=env, stdin=stdin)

    def must(self, *argv: str, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        """Run a tool of the tests' own that has to succeed, and return what it prints."""
        return processes.must(self.argv(argv), stdin=stdin, env=env)

    def rules(self, text: str) -> None:
        """Add nftables rules."""
        self.must("nft", "-f", "-", stdin=text)

    def untrack(self, port: int) -> None:
        """Keep a TCP port's own connections out of the table that is measured."""
        chains = "".join(
            f"chain {hook} {{\n type filter hook {hook} priority raw;\n"
            f" tcp dport {port} notrack\n tcp sport {port} notrack\n }}\n"
            for hook in ("prerouting", "output")
        )
        self.rules(f"table inet untracked {{\n{chains}}}\n")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread stand in the namespace; sockets made meanwhile stay there."""
        libc = ctypes.CDLL(None, use_errno=True)

        def stand(fd: int) -> None:
            if libc.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns: {self.name}")

        with (
            Path("/proc/thread-self/ns/net").open("rb") as home,
            Path("/run/netns", self.name).open("rb") as away,
        ):
            stand(away.fileno())
            try:
                yield
            finally:
                stand(home.fileno())


def dropped(uid: str = str(NOBODY), caps: Sequence[str] = ()) -> list[str]:
    """Return the words that start a command as a user with no rights but these."""
    gained = "".join(f",+{cap}" for cap in caps)
    words = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    words += [f"--inh-caps=-all{gained}"]
    return [*words, *([f"--ambient-caps={gained[1:]}"] if caps else [])]


class Filled(NamedTuple):
    """A namespace whose table holds 3000 entries, and the truth about them."""

    namespace: Namespace
    truth: dict[str, dict[str, int] | int]

    @property
    def entries(self) -> int:
        assert isinstance(self.truth["entries"], int)
        return self.truth["entries"]


def connect(left: Namespace, right: Namespace) -> None:
    """Lay a veth pair: left has 10.91.0.1 and fd91::1, right has 10.91.0.2 and fd91::2."""
    pair = ["type", "veth", "peer", "name", "eth0", "netns", right.name]
    processes.must(["ip", "link", "add", "eth0", "netns", left.name, *pair])
    for number, end in enumerate((left, right), start=1):
        for address in (f"10.91.0.{number}/24", f"fd91::{number}/64"):
            nodad = ["nodad"] if ":" in address else []
            processes.must(["ip", "-n", end.name, "addr", "add", address, "dev", "eth0", *nodad])
        processes.must(["ip", "-n", end.name, "link", "set", "eth0", "up"])


def left_over() -> list[str]:
    """The namespaces of this run that still exist."""
    return sorted(path.name for path in Path("/run/netns").glob(f"{PREFIX}*"))

"""Connection tracking as /proc shows it: the sysctls and the per-CPU counters.

Formats: the kernel's Documentation/networking/nf_conntrack-sysctl.rst and, for the counters,
net/netfilter/nf_conntrack_standalone.c (ct_cpu_seq_show) and nf_synproxy_core.c.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from conntrack_common.digits import UINT32, whole
from conntrack_common.errors import (
    NO_CONNTRACK,
    ConntrackError,
    MalformedData,
    NotAvailable,
    NotPermitted,
)
from conntrack_common.model import CpuCounters, Sysctls
from conntrack_common.proc.modules import CONNTRACK, is_there, require

USUAL = "/proc"
PROC_SUPER_MAGIC = 0x9FA0  # linux/magic.h
SO_NETNS_COOKIE = 71  # asm-generic/socket.h
# Where each setting is, newest name first: kernels before 2.6.20 called it ip_conntrack.
SYSCTLS = {
    "entries": ("netfilter/nf_conntrack_count", "ipv4/netfilter/ip_conntrack_count"),
    "limit": (
        "netfilter/nf_conntrack_max",
        "nf_conntrack_max",
        "ipv4/netfilter/ip_conntrack_max",
        "ipv4/ip_conntrack_max",
    ),
    "buckets": ("netfilter/nf_conntrack_buckets", "ipv4/netfilter/ip_conntrack_buckets"),
    "expect_max": ("netfilter/nf_conntrack_expect_max",),
    "acct": ("netfilter/nf_conntrack_acct",),
    "timestamp": ("netfilter/nf_conntrack_timestamp",),
    "events": ("netfilter/nf_conntrack_events",),
    "helper": ("netfilter/nf_conntrack_helper",),  # until Linux 6.0
}
# thread-self, because a thread may be in another network namespace than its process.
STAT_FILES = (
    "thread-self/net/stat/nf_conntrack",
    "net/stat/nf_conntrack",
    "net/stat/ip_conntrack",
)
SYNPROXY_FILES = ("thread-self/net/stat/synproxy", "net/stat/synproxy")
# The kernel reused two columns for new counters, and their heading shows which it is.
COLUMNS = {"clashres": "clash_resolve", "chainlength": "chaintoolong", "icmp_error": "error"}
# Counters that newer kernels print as a literal 0 (or as a sum that nothing adds to).
RETIRED = ("searched", "new", "ignore", "delete", "delete_list")


class ProcRoot:
    """The /proc of this host, or a copy of it elsewhere.

    `is_live` if it is the running kernel's own, wherever it is mounted: then all that it shows of
    the network is this thread's namespace.
    """

    def __init__(self, path: str = USUAL) -> None:
        self.path = path
        self.is_live = path == USUAL or _is_procfs(path)

    def read(self, name: str) -> str | None:
        """Return a file's text, or None where there is no such file.

        Raises NotPermitted or NotAvailable when the file is there but can't be read.
        """
        path = f"{self.path}/{name}"
        try:
            with open(path, "rb", buffering=0) as file:
                return file.readall().decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise NotPermitted(
                f"{path} may not be read by this user: run it as a user who may, or as root"
            ) from error
        except OSError as error:
            raise NotAvailable(f"{path} can't be read: {error.strerror}") from error

    def boot(self) -> str:
        """Return what identifies this boot; empty where that is hidden."""
        return self._seen("sys/kernel/random/boot_id").strip()

    def identity(self) -> str | None:
        """Return what identifies this boot and this network namespace.

        Counters of two readings can be compared only if both have the same identity, and never
        if it is None. A copy of /proc is that of one namespace.
        """
        boot = self.boot()
        if not self.is_live:
            return boot
        mark = _cookie() or self._route_socket()
        return f"{boot} {mark}" if boot and mark else None

    def _route_socket(self) -> str:
        """Return the inode of the kernel's own route socket in this namespace.

        It is made and ends with the namespace. Inodes of sockets are numbered one after the other,
        while a removed namespace's own inode is given to the next one.
        """
        for line in self._seen("thread-self/net/netlink").splitlines():
            _address, *numbers = line.split()
            if numbers[:2] == ["0", "0"]:  # NETLINK_ROUTE, and the kernel's port
                return f"socket:{numbers[-1]}"
        return ""

    def _seen(self, name: str) -> str:
        try:
            return self.read(name) or ""
        except ConntrackError:
            return ""

    def sysctls(self, fields: Iterable[str] = tuple(SYSCTLS)) -> Sysctls:
        """Return the table's size and settings, or some of them.

        Raises NotAvailable (the kernel has no connection tracking), NotPermitted, MalformedData.
        """
        settings = {field: self._sysctl(SYSCTLS[field]) for field in fields}
        if all(value is None for value in settings.values()):
            if self._tracks():
                raise NotPermitted(
                    f"connection tracking is there, but its settings under {self.path}/sys/net are "
                    "hidden, as in a container: run it outside the container, or with "
                    "CAP_NET_ADMIN, so that ctnetlink can be used"
                )
            raise NotAvailable(f"no conntrack settings under {self.path}/sys/net: {NO_CONNTRACK}")
        return Sysctls(**settings)

    def _tracks(self) -> bool:
        if self.is_live:
            return is_there(CONNTRACK)
        return any(self.read(name) is not None for name in STAT_FILES)

    def _sysctl(self, names: tuple[str, ...]) -> int | None:
        for name in names:
            text = self.read(f"sys/net/{name}")
            if text is not None:
                return parse_sysctl(text, f"{self.path}/sys/net/{name}")
        return None

    def cpu_counters(self) -> tuple[CpuCounters, ...]:
        """Return each CPU's counters, as `conntrack -S` shows them.

        Raises NotAvailable where this kernel has no such file (CONFIG_NF_CONNTRACK_PROCFS),
        NotPermitted, MalformedData.
        """
        for name in STAT_FILES:
            text = self.read(name)
            if text is not None:
                return parse_stat(text, f"{self.path}/{name}")
        if self.is_live:
            require(CONNTRACK)
        raise NotAvailable(
            f"{self.path}/net/stat/nf_conntrack does not exist: connection tracking is not loaded, "
            "or this kernel is built without CONFIG_NF_CONNTRACK_PROCFS (then ctnetlink, "
            "which needs CAP_NET_ADMIN, has the same counters)"
        )

    def synproxy_counters(self) -> tuple[CpuCounters, ...]:
        """Return SYNPROXY's counters of each CPU; none where it is not loaded.

        Raises NotPermitted, NotAvailable, MalformedData.
        """
        for name in SYNPROXY_FILES:
            text = self.read(name)
            if text is not None:
                return parse_stat(text, f"{self.path}/{name}", known="syn_received")
        return ()

    def timeouts(self) -> dict[str, int]:
        """Return the seconds that entries live after their last packet, as `tcp_established`.

        Raises NotAvailable (no connection tracking here), NotPermitted, MalformedData.
        """
        folder = f"{self.path}/sys/net/netfilter"
        try:
            names = sorted(os.listdir(folder))
        except PermissionError as error:
            raise NotPermitted(f"{folder} may not be read by this user") from error
        except OSError as error:
            raise NotAvailable(f"{folder} can't be read: {NO_CONNTRACK}") from error
        seconds = {}
        for name in names:
            label = timeout_label(name)
            text = self.read(f"sys/net/netfilter/{name}") if label else None
            if text is not None:
                seconds[label] = parse_sysctl(text, f"{folder}/{name}")
        return seconds


def hostname() -> str:
    """Return this host's name."""
    return os.uname().nodename


def timeout_label(name: str) -> str:
    """Return what a setting is the timeout of, as `tcp_established`; empty for other settings."""
    word, _, rest = name.partition("nf_conntrack_")[2].partition("_timeout")
    # Fragments of IPv6 packets, and events that were not delivered, are not entries.
    if word in {"", "frag6", "events_retry"}:
        return ""
    return f"{word}{rest}" if "_timeout" in name else ""


def parse_sysctl(text: str, source: str) -> int:
    """Return the number in a sysctl file; raises MalformedData."""
    digits = text.strip()
    number = whole(digits, UINT32)  # of all sysctls that are read here
    if number is None:
        raise MalformedData(source, "line 1", f"{digits[:40]!r} is not a number of 32 bits")
    return number


def parse_stat(text: str, source: str, known: str = "found") -> tuple[CpuCounters, ...]:
    """Return the counters of a file under net/stat: a heading, then hexadecimal rows, one a CPU.

    Columns are taken by their headings, whose number and meaning differ between kernels; a
    column that this module doesn't know keeps the kernel's name. Raises MalformedData.
    """
    lines = text.splitlines()
    names = lines[0].split() if lines else []
    if known not in names:
        raise MalformedData(source, "line 1", f"the heading names no column {known!r}")
    rows = [
        _parse_row(line, names, f"line {number}", source)
        for number, line in enumerate(lines[1:], start=2)
    ]
    if not rows:
        raise MalformedData(source, "line 2", "there is no row of counters")
    return kept_counters(dict(enumerate(rows)))


def kept_counters(rows: dict[int, dict[str, int]]) -> tuple[CpuCounters, ...]:
    """Return the rows without counters that this kernel has retired and shows as 0."""
    dead = {name for name in RETIRED if not any(row.get(name) for row in rows.values())}
    return tuple(
        CpuCounters(cpu, {name: value for name, value in row.items() if name not in dead})
        for cpu, row in sorted(rows.items())
    )


def _parse_row(line: str, names: list[str], where: str, source: str) -> dict[str, int]:
    fields = line.split()
    if len(fields) != len(names):
        raise MalformedData(source, where, f"{len(fields)} columns under {len(names)} headings")
    values = {}
    for name, field in zip(names, fields):
        value = whole(field, UINT32, 16)
        if value is None:
            raise MalformedData(source, where, f"{field[:40]!r} is not hexadecimal, of 32 bits")
        if name != "entries":  # the table's size, repeated for every CPU: no counter of this CPU
            values[COLUMNS.get(name, name)] = value
    return values


def _cookie() -> str:
    """Return the number that this network namespace alone has had since the boot.

    It is empty on kernels before 5.14.
    """
    import _socket  # socket itself takes a tenth of a check's time to import

    try:
        probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    except OSError:
        return ""
    try:
        return probe.getsockopt(_socket.SOL_SOCKET, SO_NETNS_COOKIE, 8).hex()
    except OSError:
        return ""
    finally:
        probe.close()


def _is_procfs(path: str) -> bool:
    import ctypes
    import sys

    statfs = ctypes.create_string_buffer(256)  # struct statfs begins with the type
    if ctypes.CDLL(None).statfs(os.fsencode(path), statfs):
        return False
    # It is 4 bytes long on s390x and a long elsewhere.
    types = (int.from_bytes(statfs.raw[:size], sys.byteorder) for size in (4, 8))
    return PROC_SUPER_MAGIC in types

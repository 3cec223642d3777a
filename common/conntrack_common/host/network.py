"""What this host says that a conntrackd.conf must fit: its interfaces, limits and directories.

Interfaces come from the kernel by ioctl (netdevice(7)), which answers for the network namespace
that this thread is in, as /sys does not; IPv6 addresses from /proc/net/if_inet6.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import fsdecode, fsencode
from os import stat as stat_file
from os.path import isdir
from struct import calcsize, pack, unpack_from

from conntrack_common.errors import ConntrackError
from conntrack_common.model.conntrackd import HostNetwork, Interface, SyncConfig, SyncLink
from conntrack_common.proc.files import ProcRoot, parse_sysctl

SIOCGIFCONF, SIOCGIFFLAGS = 0x8912, 0x8913  # linux/sockios.h
IFF_UP, IFF_RUNNING = 0x1, 0x40  # linux/if.h
IFREQ = calcsize("@16sLLHBBB3x")  # struct ifreq: a name, and a union whose largest part is ifmap
MOST_ADDRESSES = 4096
NO_ADDRESS = (None, "0.0.0.0")  # noqa: S104 - what conntrackd leaves to the kernel
IF_INET6 = ("thread-self/net/if_inet6", "net/if_inet6")


def read_host(config: SyncConfig, proc: ProcRoot) -> HostNetwork:
    """Return what the host says that concerns this configuration.

    Interfaces are the running kernel's: they are left out when `proc` is a copy. What can't be
    read is None. Raises nothing.
    """
    files = (config.socket, config.lock_file, config.log_file, config.stats_log_file)
    paths = [path for path in files if path]
    return HostNetwork(
        interfaces=_read_interfaces(proc) if proc.is_live else None,
        conntrack_limit=_conntrack_limit(proc),
        rmem_max=_sysctl(proc, "net/core/rmem_max"),
        wmem_max=_sysctl(proc, "net/core/wmem_max"),
        directories=_directories(paths) if proc.is_live else {},
        routes=_routes(config.links) if proc.is_live else {},
    )


def _directories(paths: Sequence[str]) -> dict[str, bool]:
    found = {name: _is_directory(name) for name in map(_directory, paths)}
    return {**found, **{path: True for path in paths if isdir(path)}}


def _routes(links: Iterable[SyncLink]) -> dict[str, str | None]:
    groups = [
        link.address
        for link in links
        if link.transport == "multicast" and link.interface_address in NO_ADDRESS
    ]
    return {group: _chosen_address(group) for group in groups if group and ":" not in group}


def _chosen_address(group: str) -> str | None:
    """Return the own address from which the kernel would send; nothing is sent."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        try:
            query.connect((group, 9))
            return str(query.getsockname()[0])
        except OSError:
            return None


def _conntrack_limit(proc: ProcRoot) -> int | None:
    try:
        return proc.sysctls().limit
    except ConntrackError:
        return None


def _sysctl(proc: ProcRoot, name: str) -> int | None:
    try:
        text = proc.read(f"sys/{name}")
        return None if text is None else parse_sysctl(text, name)
    except ConntrackError:
        return None


def _directory(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _is_directory(path: str) -> bool:
    try:
        stat_file(f"{path}/.")
    except PermissionError:
        return True  # it is there, but not for this user
    except (OSError, ValueError):
        return False
    return True


def _read_interfaces(proc: ProcRoot) -> dict[str, Interface] | None:
    import socket

    addresses: list[tuple[str, str]] = []
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
            addresses += _read_ipv4(query.fileno())
            names = [name for _, name in socket.if_nameindex()]
            flags = {name: _read_flags(query.fileno(), name) for name in names}
        addresses += _read_ipv6(proc)
    except (OSError, ConntrackError):
        return None
    return {
        name: Interface(
            name,
            up=bool(flag & IFF_UP),
            running=bool(flag & IFF_RUNNING),
            addresses=tuple(address for owner, address in addresses if owner == name),
        )
        for name, flag in flags.items()
        if flag is not None
    }


def _read_flags(descriptor: int, name: str) -> int | None:
    from fcntl import ioctl

    request = pack(f"@16s{IFREQ - 16}x", fsencode(name))
    try:
        return int(unpack_from("@H", ioctl(descriptor, SIOCGIFFLAGS, request), 16)[0])
    except OSError:
        return None  # it was removed meanwhile


def _read_ipv4(descriptor: int) -> list[tuple[str, str]]:
    from array import array
    from fcntl import ioctl

    buffer = array("B", bytes(IFREQ * MOST_ADDRESSES))
    address, length = buffer.buffer_info()
    answer = ioctl(descriptor, SIOCGIFCONF, pack("@iP", length, address))
    return parse_ifconf(buffer.tobytes()[: unpack_from("@i", answer)[0]])


def _read_ipv6(proc: ProcRoot) -> list[tuple[str, str]]:
    for name in IF_INET6:
        text = proc.read(name)
        if text is not None:
            return parse_if_inet6(text.splitlines())
    return []  # a kernel without IPv6


def parse_ifconf(data: bytes) -> list[tuple[str, str]]:
    """Return (interface, IPv4 address) pairs from SIOCGIFCONF's array of struct ifreq.

    Secondary addresses may have a label such as eth0:1, which is no interface.
    """
    found = []
    for start in range(0, len(data) - IFREQ + 1, IFREQ):
        name = data[start : start + 16].partition(b"\0")[0]
        address = ".".join(str(byte) for byte in data[start + 20 : start + 24])
        found.append((fsdecode(name).partition(":")[0], address))
    return found


def parse_if_inet6(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Return (interface, IPv6 address) pairs from /proc/net/if_inet6; other lines are skipped."""
    from socket import AF_INET6, inet_ntop

    found = []
    for line in lines:
        fields = line.split()
        if len(fields) == 6 and len(fields[0]) == 32:
            try:
                address = inet_ntop(AF_INET6, bytes.fromhex(fields[0]))
            except ValueError:
                continue
            found.append((fields[5], address))
    return found

"""What this host says that a conntrackd.conf must fit: its interfaces, limits and directories.

Interfaces come from the kernel by pyroute2 (rtnetlink(7)), which answers for the network namespace
that this thread is in, as /sys does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import fsdecode
from os import stat as stat_file
from os.path import isdir

from conntrack_common.errors import ConntrackError
from conntrack_common.model.conntrackd import HostNetwork, Interface, SyncConfig, SyncLink
from conntrack_common.proc.files import ProcRoot, parse_sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IFF_UP, IFF_RUNNING = 0x1, 0x40  # linux/if.h
NO_ADDRESS = (None, "0.0.0.0")  # noqa: S104 - what conntrackd leaves to the kernel


def read_host(config: SyncConfig, proc: ProcRoot) -> HostNetwork:
    """Return what the host says that concerns this configuration.

    Interfaces are the running kernel's: they are left out when `proc` is a copy. What can't be
    read is None. Raises nothing.
    """
    files = (config.socket, config.lock_file, config.log_file, config.stats_log_file)
    paths = [path for path in files if path]
    return HostNetwork(
        interfaces=_read_interfaces() if proc.is_live else None,
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


def _read_interfaces() -> dict[str, Interface] | None:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as kernel:
            links, addresses = list(kernel.get_links()), list(kernel.get_addr())
    except (OSError, NetlinkError):
        return None
    return {
        name: Interface(
            name,
            up=bool(link["flags"] & IFF_UP),
            running=bool(link["flags"] & IFF_RUNNING),
            addresses=tuple(_own(each) for each in addresses if each["index"] == link["index"]),
        )
        for link in links
        if (name := fsdecode(link.get_attr("IFLA_IFNAME")))
    }


def _own(address: Any) -> str:
    """Return this host's address of a link: IFA_ADDRESS is the other end's where there is one."""
    return str(address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS"))

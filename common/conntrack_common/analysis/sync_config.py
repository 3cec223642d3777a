"""Whether a conntrackd.conf fits the host: what the manual tells its reader to check by eye."""

from __future__ import annotations

from collections.abc import Iterator

from conntrack_common.model import Check
from conntrack_common.sync_model import HostNetwork, Interface, SyncConfig, SyncLink

OK, WARNING, PROBLEM = "ok", "warning", "problem"
LONGEST_SOCKET = 107
SPELLED = {"multicast": "Multicast", "udp": "UDP", "tcp": "TCP"}


def check_config(config: SyncConfig, host: HostNetwork) -> tuple[Check, ...]:
    """Return one finding for each thing that was looked at, in the order of the configuration.

    What the host did not tell is not looked at. A `problem` keeps the daemon from starting or
    from replicating; a `warning` makes it lose states under load or when something else fails.
    """
    findings = [*_statements(config), *_paths(config, host), *_sizes(config, host)]
    if config.mode not in ("stats", "helper"):
        findings += _links(config, host)
    return tuple(findings)


def _statements(config: SyncConfig) -> Iterator[Check]:
    for line in config.unknown:
        place = f" in {line.section}" if line.section else ""
        yield Check(
            "sync.config.statement",
            WARNING,
            f"{config.path}, {line.text}: conntrackd 1.4.9 has no such statement{place}",
            "correct its spelling (upper and lower case differ) and its block",
        )


def _paths(config: SyncConfig, host: HostNetwork) -> Iterator[Check]:
    named = (("socket", config.socket), ("lock", config.lock_file), ("log", config.log_file))
    for what, path in named:
        if path is None:
            if what == "socket":
                yield Check(
                    "sync.config.socket",
                    PROBLEM,
                    "no socket is configured, so conntrackd can't be asked",
                    "add 'UNIX { Path /var/run/conntrackd.ctl }' to General",
                )
        else:
            yield _path(f"sync.config.{what}", path, host)


def _path(check: str, path: str, host: HostNetwork) -> Check:
    directory = path.rpartition("/")[0] or "/"
    if not path.isprintable():
        return Check(
            check,
            PROBLEM,
            f"the path {path!r} holds a tab or another control character, which belongs to it",
            "end the path with a space or with the line",
        )
    if check == "sync.config.socket" and len(path.encode("utf-8", "replace")) > LONGEST_SOCKET:
        return Check(
            check,
            PROBLEM,
            f"the socket path {path} has more than {LONGEST_SOCKET} bytes",
            "name a shorter one",
        )
    if host.directories.get(directory) is False:
        return Check(
            check,
            PROBLEM,
            f"{path} can't be made: there is no directory {directory}",
            f"make it at each boot (systemd-tmpfiles), or name another than {path}",
        )
    return Check(check, OK, f"{path} can be made")


def _sizes(config: SyncConfig, host: HostNetwork) -> Iterator[Check]:
    if host.conntrack_limit:
        yield _hash_limit(config, host.conntrack_limit)
    if config.netlink_buffer:
        yield _netlink_buffer(config, config.netlink_buffer)
    largest = {"rmem_max": host.rmem_max, "wmem_max": host.wmem_max}
    wanted = {
        "rmem_max": [config.netlink_buffer_max, *(link.receive_buffer for link in config.links)],
        "wmem_max": [link.send_buffer for link in config.links],
    }
    for name, limit in largest.items():
        size = max((size for size in wanted[name] if size), default=0)
        if limit is not None and size:
            yield _socket_buffer(name, size, limit)


def _hash_limit(config: SyncConfig, conntrack_limit: int) -> Check:
    # Entries that ended stay in the cache until the other node has acknowledged it (man page).
    needed = conntrack_limit if config.mode == "stats" else 2 * conntrack_limit
    said = f"HashLimit {config.hash_limit}, nf_conntrack_max {conntrack_limit}"
    if config.hash_limit >= needed:
        return Check("sync.config.hash_limit", OK, said)
    return Check(
        "sync.config.hash_limit",
        WARNING,
        f"{said}: the cache is full before the kernel's table"
        + ("" if config.hash_limit < conntrack_limit else ", since it keeps ended entries, too"),
        f"set HashLimit to {needed} or more",
    )


def _netlink_buffer(config: SyncConfig, size: int) -> Check:
    check, most = "sync.config.netlink_buffer", config.netlink_buffer_max or 0
    if size <= most:
        return Check(check, OK, f"NetlinkBufferSize {size} may grow to {most}")
    return Check(
        check,
        WARNING,
        f"NetlinkBufferSize {size} is ignored: it is larger than NetlinkBufferSizeMaxGrowth "
        f"({most or 'not set'})",
        f"set NetlinkBufferSizeMaxGrowth to {4 * size}",
    )


def _socket_buffer(name: str, size: int, limit: int) -> Check:
    # The daemon sets its buffers by SO_RCVBUFFORCE and SO_SNDBUFFORCE, whatever the limit.
    said = f"the largest configured buffer is {size}, net.core.{name} {limit}"
    if size > limit:
        said += ": conntrackd exceeds it by force, which needs CAP_NET_ADMIN (root has it)"
    return Check(f"sync.config.{name}", OK, said)


def _links(config: SyncConfig, host: HostNetwork) -> Iterator[Check]:
    if not config.links:
        yield Check(
            "sync.link",
            PROBLEM,
            "Sync has no dedicated link, so nothing is replicated",
            "add a Multicast, UDP or TCP block to Sync",
        )
    for position, link in enumerate(config.links):
        name = f"{SPELLED[link.transport]} (line {link.line})"
        yield from _interface(name, link, host)
        yield _port(name, link, config.links[:position])
        yield from _peer(name, link)
        if link.interface in [other.interface for other in config.links[:position]]:
            yield Check(
                "sync.link.redundancy",
                WARNING,
                f"{name} uses {link.interface}, as another link does: both fail together",
                "give each link an interface of its own",
            )


def _interface(name: str, link: SyncLink, host: HostNetwork) -> Iterator[Check]:
    check = "sync.link.interface"
    if link.interface is None:
        remedy = "add 'Interface NAME' to the block"
        yield Check(check, PROBLEM, f"{name} names no interface", remedy)
    elif host.interfaces is not None:
        interface = host.interfaces.get(link.interface)
        if interface is None:
            known = ", ".join(sorted(host.interfaces)) or "none"
            yield Check(
                check,
                PROBLEM,
                f"{name}: there is no interface {link.interface}",
                f"name one of this host's: {known}",
            )
        else:
            yield _state(name, interface)
            yield _address(name, link, interface)


def _state(name: str, interface: Interface) -> Check:
    check = "sync.link.interface"
    if not interface.up:
        remedy = f"ip link set {interface.name} up"
        return Check(check, PROBLEM, f"{name}: {interface.name} is down", remedy)
    if not interface.running:
        remedy = "look at the cable, the switch, and whether the other node is up"
        return Check(check, PROBLEM, f"{name}: {interface.name} has no carrier", remedy)
    return Check(check, OK, f"{name}: {interface.name} is up")


def _address(name: str, link: SyncLink, interface: Interface) -> Check:
    multicast = link.transport == "multicast"
    word = "IPv4_interface" if multicast else "its own address"
    address = link.interface_address if multicast else link.address
    check = "sync.link.address"
    if address is None:
        # An IPv6 group needs none: the interface's index is enough.
        if multicast and ":" in (link.address or ""):
            return Check(check, OK, f"{name}: IPv6 multicast needs no address of {interface.name}")
        remedy = f"add {'IPv4_interface' if multicast else 'IPv4_address'} with an address of it"
        return Check(check, PROBLEM, f"{name} has no address of {interface.name}", remedy)
    if _same(address) in [_same(known) for known in interface.addresses]:
        return Check(check, OK, f"{name}: {address} is an address of {interface.name}")
    known = ", ".join(interface.addresses) or "none"
    return Check(
        check,
        PROBLEM,
        f"{name}: {word} {address} is no address of {interface.name}",
        f"use one of {interface.name}'s addresses ({known}), or add {address} to it",
    )


def _same(address: str) -> str:
    """Return an address in one spelling; what is no address stays as it is."""
    from ipaddress import ip_address

    try:
        return str(ip_address(address))
    except ValueError:
        return address


def _port(name: str, link: SyncLink, earlier: tuple[SyncLink, ...]) -> Check:
    word = "Group" if link.transport == "multicast" else "Port"
    check = "sync.link.port"
    if link.port is None:
        return Check(check, PROBLEM, f"{name} has no {word}", f"add '{word} 3780' to the block")
    if link.port > 65535:
        remedy = "use a port between 1 and 65535, the same on both nodes"
        return Check(check, PROBLEM, f"{name}: {word} {link.port} is no port", remedy)
    if link.port in [other.port for other in earlier]:
        return Check(
            check,
            WARNING,
            f"{name}: {word} {link.port} is another link's, too",
            f"give each link a {word} of its own, the same on both nodes",
        )
    return Check(check, OK, f"{name}: {word} {link.port}")


def _peer(name: str, link: SyncLink) -> Iterator[Check]:
    if link.transport == "multicast":
        yield _group(name, link.address)
    elif link.destination is None:
        remedy = "add IPv4_Destination_Address with the other node's address"
        yield Check("sync.link.destination", PROBLEM, f"{name} names no other node", remedy)
    elif link.address and _same(link.destination) == _same(link.address):
        yield Check(
            "sync.link.destination",
            PROBLEM,
            f"{name} sends to its own address {link.address}",
            "set the destination to the other node's address",
        )
    else:
        yield Check("sync.link.destination", OK, f"{name}: sends to {link.destination}")


def _group(name: str, address: str | None) -> Check:
    from ipaddress import ip_address, ip_network

    check, remedy = "sync.link.group", "use a group such as 225.0.0.50, the same on both nodes"
    if address is None:
        return Check(check, PROBLEM, f"{name} has no multicast address", remedy)
    try:
        group = ip_address(address)
    except ValueError:
        return Check(check, PROBLEM, f"{name}: {address} is no IP address", remedy)
    if not group.is_multicast:
        return Check(check, PROBLEM, f"{name}: {address} is no multicast address", remedy)
    if group.version == 4 and group in ip_network("224.0.0.0/24"):
        return Check(
            check,
            WARNING,
            f"{name}: {address} is reserved for routing protocols (224.0.0.0/24)",
            remedy,
        )
    return Check(check, OK, f"{name}: {address} is a multicast address")

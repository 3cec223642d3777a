"""Whether the dedicated links of a conntrackd.conf fit the host and each other.

What conntrackd does with them: conntrack-tools src/channel.c, mcast.c, udp.c, tcp.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from conntrack_common.model import Diagnosis
from conntrack_common.model.conntrackd import HostNetwork, Interface, SyncConfig, SyncLink

OK, WARNING, PROBLEM = "ok", "warning", "problem"
LARGEST_PORT = 65535
ANY = ("0.0.0.0", "::")  # noqa: S104 - what conntrackd listens on
SPELLED = {"multicast": "Multicast", "udp": "UDP", "tcp": "TCP"}


def check_links(config: SyncConfig, host: HostNetwork) -> Iterator[Diagnosis]:
    """Yield a finding for each thing that was looked at, link by link."""
    if not config.links:
        yield Diagnosis(
            "sync.link",
            PROBLEM,
            "Sync has no dedicated link, so conntrackd does not start",
            "add a Multicast, UDP or TCP block to Sync",
        )
    for position, link in enumerate(config.links):
        name = f"{SPELLED[link.transport]} (line {link.line})"
        yield from _interface(name, link, host)
        yield _port(name, link, config.links[:position])
        yield from _peer(name, link)
        if link.interface in [other.interface for other in config.links[:position]]:
            yield Diagnosis(
                "sync.link.redundancy",
                WARNING,
                f"{name} uses {link.interface}, as another link does: both fail together",
                "give each link an interface of its own",
            )


def _interface(name: str, link: SyncLink, host: HostNetwork) -> Iterator[Diagnosis]:
    subject = "sync.link.interface"
    if link.interface is None:
        remedy = "add 'Interface NAME' to the block"
        yield Diagnosis(subject, PROBLEM, f"{name} names no interface", remedy)
    elif host.interfaces is not None:
        interface = host.interfaces.get(link.interface)
        if interface is None:
            known = ", ".join(sorted(host.interfaces)) or "none"
            yield Diagnosis(
                subject,
                PROBLEM,
                f"{name}: there is no interface {link.interface}",
                f"name one of this host's: {known}",
            )
        else:
            yield _state(name, interface)
            yield _address(name, link, interface, host)


def _state(name: str, interface: Interface) -> Diagnosis:
    subject = "sync.link.interface"
    if not interface.up:
        remedy = f"ip link set {interface.name} up"
        return Diagnosis(subject, PROBLEM, f"{name}: {interface.name} is down", remedy)
    if not interface.running:
        remedy = "look at the cable, the switch, and whether the other node is up"
        return Diagnosis(subject, PROBLEM, f"{name}: {interface.name} has no carrier", remedy)
    return Diagnosis(subject, OK, f"{name}: {interface.name} is up")


def _address(name: str, link: SyncLink, interface: Interface, host: HostNetwork) -> Diagnosis:
    subject = "sync.link.address"
    multicast = link.transport == "multicast"
    address = link.interface_address if multicast else link.address
    if multicast and ":" in (link.address or ""):
        return _multicast_ipv6(name, link, interface)
    if address is None or _same(address) in ANY:
        return _any_address(name, link, interface, host.routes)
    owners = [
        other.name
        for other in (host.interfaces or {}).values()
        if _same(address) in [_same(known) for known in other.addresses]
    ]
    if interface.name in owners:
        return Diagnosis(subject, OK, f"{name}: {address} is an address of {interface.name}")
    known = ", ".join(interface.addresses) or "none"
    remedy = f"use one of {interface.name}'s addresses ({known}), or add {address} to it"
    if owners:
        what = f"{name}: {address} is an address of {owners[0]}, and not of {interface.name}"
        return Diagnosis(subject, WARNING, what, remedy)
    what = f"{name}: {address} is not an address of this host, so conntrackd does not start"
    return Diagnosis(subject, PROBLEM, what, remedy)


def _any_address(
    name: str, link: SyncLink, interface: Interface, routes: Mapping[str, str | None]
) -> Diagnosis:
    subject = "sync.link.address"
    if link.transport == "multicast":
        chosen = routes.get(link.address or "", "")
        what = f"{name} has no IPv4_interface"
        remedy = f"add IPv4_interface with an address of {interface.name}"
        if chosen is None:
            what += f", and there is no route to {link.address}, so conntrackd does not start"
            return Diagnosis(subject, PROBLEM, what, remedy)
        if chosen in interface.addresses:
            return Diagnosis(subject, OK, f"{what}, and the route leads to {interface.name}")
        what += ", so the kernel chooses an interface by its route to the group"
        return Diagnosis(
            subject, WARNING, what + (f" (now that of {chosen})" if chosen else ""), remedy
        )
    return Diagnosis(
        subject,
        WARNING,
        f"{name} names no address of {interface.name}, so it listens on all addresses of this host",
        f"add IPv4_address or IPv6_address with an address of {interface.name}",
    )


def _multicast_ipv6(name: str, link: SyncLink, interface: Interface) -> Diagnosis:
    subject = "sync.link.address"
    if link.interface_address:
        remedy = "remove IPv4_interface: the block's Interface is enough"
        return Diagnosis(subject, PROBLEM, f"{name} has an IPv6 group and IPv4_interface", remedy)
    if link.unbound:
        return Diagnosis(
            subject,
            WARNING,
            f"{name} has Interface before IPv6_address, so conntrackd leaves the choice of an "
            "interface to the kernel",
            "write Interface after IPv6_address",
        )
    return Diagnosis(subject, OK, f"{name}: IPv6 multicast needs no address of {interface.name}")


def _same(address: str) -> str:
    """Return an address in one spelling; what is not an address stays as it is."""
    from ipaddress import ip_address

    try:
        return str(ip_address(address))
    except ValueError:
        return address


def _port(name: str, link: SyncLink, earlier: tuple[SyncLink, ...]) -> Diagnosis:
    word = "Group" if link.transport == "multicast" else "Port"
    subject = "sync.link.port"
    remedy = "use a port between 1 and 65535, the same on both nodes"
    used = (link.port or 0) & LARGEST_PORT
    if not used:
        what = f"{name} has no {word}" if link.port is None else f"{name}: {word} {link.port} is 0"
        return Diagnosis(subject, PROBLEM, what, remedy)
    if link.port != used:
        what = f"{name}: {word} {link.port} is not a port; conntrackd uses {used}"
        return Diagnosis(subject, WARNING, what, remedy)
    same = [other for other in earlier if other.port == link.port]
    if not same:
        return Diagnosis(subject, OK, f"{name}: {word} {link.port}")
    remedy = f"give each link a {word} of its own, the same on both nodes"
    # Two may not listen for TCP on one address.
    taken = {other.address for other in same} & {link.address, None, *ANY}
    if link.transport == "tcp" and (taken or link.address in (None, *ANY)):
        what = f"{name}: {word} {link.port} is also another link's, so conntrackd does not start"
        return Diagnosis(subject, PROBLEM, what, remedy)
    return Diagnosis(subject, WARNING, f"{name}: {word} {link.port} is also another link's", remedy)


def _peer(name: str, link: SyncLink) -> Iterator[Diagnosis]:
    subject = "sync.link.destination"
    if link.transport == "multicast":
        yield _group(name, link.address)
    elif link.destination is None or _same(link.destination) in ANY:
        remedy = "add IPv4_Destination_Address with the other node's address"
        yield Diagnosis(subject, PROBLEM, f"{name} names no other node", remedy)
    elif link.address and _same(link.destination) == _same(link.address):
        yield Diagnosis(
            subject,
            PROBLEM,
            f"{name} sends to its own address {link.address}",
            "set the destination to the other node's address",
        )
    elif link.address and (":" in link.address) != (":" in link.destination):
        what = f"{name} has addresses of both families: {link.address}, {link.destination}"
        yield Diagnosis(subject, PROBLEM, what, "use two of IPv4, or two of IPv6")
    else:
        yield Diagnosis(subject, OK, f"{name}: sends to {link.destination}")


def _group(name: str, address: str | None) -> Diagnosis:
    from ipaddress import ip_address, ip_network

    subject, remedy = "sync.link.group", "use a group such as 225.0.0.50, the same on both nodes"
    if address is None:
        return Diagnosis(subject, PROBLEM, f"{name} has no multicast address", remedy)
    try:
        group = ip_address(address)
    except ValueError:
        return Diagnosis(subject, PROBLEM, f"{name}: {address} is not an IP address", remedy)
    if not group.is_multicast:
        return Diagnosis(subject, PROBLEM, f"{name}: {address} is not a multicast address", remedy)
    if group.version == 4 and group in ip_network("224.0.0.0/24"):
        return Diagnosis(
            subject,
            WARNING,
            f"{name}: {address} is reserved for routing protocols (224.0.0.0/24)",
            remedy,
        )
    return Diagnosis(subject, OK, f"{name}: {address} is a multicast address")

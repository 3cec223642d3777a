"""Whether a conntrackd.conf fits the host: what the manual asks its reader to compare by eye."""

from __future__ import annotations

from collections.abc import Iterator

from conntrack_common.analysis.sync_links import check_links
from conntrack_common.model import Diagnosis
from conntrack_common.model.conntrackd import HostNetwork, SyncConfig

OK, WARNING, PROBLEM = "ok", "warning", "problem"


def check_config(config: SyncConfig, host: HostNetwork) -> tuple[Diagnosis, ...]:
    """Return one finding for each thing that was looked at, in the order of the configuration.

    What the host does not show is not looked at. A `problem` keeps the daemon from starting or
    from replicating; a `warning` makes it lose states under load or when something else fails.
    """
    findings = [*_ignored(config), *_paths(config, host), *_sizes(config, host)]
    if config.mode not in ("stats", "helper"):
        findings += check_links(config, host)
    return tuple(findings)


def _ignored(config: SyncConfig) -> Iterator[Diagnosis]:
    for line in config.ignored:
        yield Diagnosis(
            "sync.config.ignored",
            WARNING,
            f"{config.path}, {line.text}; conntrackd starts without it",
            "correct it: conntrackd.conf(5) has the syntax",
        )


def _paths(config: SyncConfig, host: HostNetwork) -> Iterator[Diagnosis]:
    if config.socket is None:
        yield Diagnosis(
            "sync.config.socket",
            WARNING,
            "no socket is configured: conntrackd runs, but accepts no requests",
            "add 'UNIX { Path /var/run/conntrackd.ctl }' to General",
        )
    named = (
        ("socket", config.socket),
        ("lock", config.lock_file),
        ("log", config.log_file),
        ("stats_log", config.stats_log_file),
    )
    for what, path in named:
        if path is not None:
            yield _path(f"sync.config.{what}", path, host)


def _path(subject: str, path: str, host: HostNetwork) -> Diagnosis:
    directory = path.rpartition("/")[0] or "/"
    if host.directories.get(directory) is False:
        return Diagnosis(
            subject,
            PROBLEM,
            f"{path} can't be created: there is no directory {directory}",
            f"create it at each boot (systemd-tmpfiles), or name another than {path}",
        )
    if host.directories.get(path):
        return Diagnosis(subject, PROBLEM, f"{path} is a directory", "name a file in it")
    if not path.isprintable():
        return Diagnosis(
            subject,
            WARNING,
            f"the path {path!r} contains a tab or another control character, which is part of it",
            "end the path with a space or with the line",
        )
    return Diagnosis(subject, OK, f"{path} can be created")


def _sizes(config: SyncConfig, host: HostNetwork) -> Iterator[Diagnosis]:
    if config.hash_size < 0:
        yield Diagnosis(
            "sync.config.hash_size",
            PROBLEM,
            f"HashSize becomes {config.hash_size}, so conntrackd does not start",
            "set HashSize to a quarter of HashLimit",
        )
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


def _hash_limit(config: SyncConfig, conntrack_limit: int) -> Diagnosis:
    # Entries that ended stay in the cache until the other node has acknowledged it (man page).
    needed = conntrack_limit if config.mode == "stats" else 2 * conntrack_limit
    message = f"HashLimit {config.hash_limit}, nf_conntrack_max {conntrack_limit}"
    if config.hash_limit >= needed:
        return Diagnosis("sync.config.hash_limit", OK, message)
    return Diagnosis(
        "sync.config.hash_limit",
        WARNING,
        f"{message}: the cache is full before the kernel's table"
        + ("" if config.hash_limit < conntrack_limit else ", since it keeps ended entries, too"),
        f"set HashLimit to {needed} or more",
    )


def _netlink_buffer(config: SyncConfig, size: int) -> Diagnosis:
    subject, most = "sync.config.netlink_buffer", config.netlink_buffer_max or 0
    if size <= most:
        return Diagnosis(subject, OK, f"NetlinkBufferSize {size} may grow to {most}")
    return Diagnosis(
        subject,
        WARNING,
        f"NetlinkBufferSize {size} is ignored: it is larger than NetlinkBufferSizeMaxGrowth "
        f"({most or 'not set'})",
        f"set NetlinkBufferSizeMaxGrowth to {4 * size}",
    )


def _socket_buffer(name: str, size: int, limit: int) -> Diagnosis:
    # The daemon sets its buffers by SO_RCVBUFFORCE and SO_SNDBUFFORCE, whatever the limit.
    message = f"the largest configured buffer is {size}, net.core.{name} {limit}"
    if size > limit:
        message += ": conntrackd exceeds it by force, which needs CAP_NET_ADMIN (root has it)"
    return Diagnosis(f"sync.config.{name}", OK, message)

"""What was read of conntrackd, in its own terms: immutable records without behaviour.

All numbers are None where the daemon did not print them; all counters start at 0 with the daemon.
Names are those of the printed statistics (conntrack-tools src/cache.c, run.c, sync-mode.c).
"""

from __future__ import annotations

from collections.abc import Mapping

from conntrack_common.records import NamedTuple


class Cache(NamedTuple):
    """One cache: `name` is internal, external or stats; `kind` is ct or expect.

    `disabled` is true where the daemon keeps no such cache and only counts what passes it by
    ("internal bypass", "external inject"); then there is no number of entries.
    """

    name: str
    kind: str = "ct"
    disabled: bool = False
    active: int | None = None
    objects: int | None = None  # with the dead ones that are kept for retransmission
    total: int | None = None  # entries of the hash table
    created: int | None = None
    created_failed: int | None = None
    created_no_memory: int | None = None
    created_no_space: int | None = None  # HashLimit was reached
    updated: int | None = None
    updated_failed: int | None = None
    updated_not_found: int | None = None
    destroyed: int | None = None
    destroyed_failed: int | None = None
    destroyed_not_found: int | None = None


class Traffic(NamedTuple):
    """Bytes and packets of the flows that ended; 0 unless nf_conntrack_acct is on."""

    bytes: int | None = None
    packets: int | None = None


class Link(NamedTuple):
    """One dedicated link: `transport` is multicast, udp or tcp; `device` is "" before 0.9.9.

    `status` is RUNNING, NO-CARRIER or DOWN, `role` ACTIVE or BACKUP; `server` and `client` are
    connected or disconnected, of TCP only.
    """

    transport: str
    device: str
    status: str | None = None
    role: str | None = None
    server: str | None = None
    client: str | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None
    packets_sent: int | None = None
    packets_received: int | None = None
    errors_sent: int | None = None
    errors_received: int | None = None


class MessageTracking(NamedTuple):
    """What the `-s` statistics say of the messages from the other node."""

    malformed: int | None = None
    lost: int | None = None


class Network(NamedTuple):
    """Messages from and to the other node; `malformed` is the sum of the six kinds after it.

    `lost` says that messages are missing, not how many: each gap of n counts n + 2. `before` are
    duplicates and messages out of order.
    """

    malformed: int | None = None
    wrong_version: int | None = None
    malformed_header: int | None = None
    malformed_payload: int | None = None
    bad_type: int | None = None
    truncated: int | None = None
    bad_size: int | None = None
    send_malformed: int | None = None
    lost: int | None = None
    before: int | None = None


class Runtime(NamedTuple):
    """The daemon's own state; `uptime` is in seconds, but the daemon prints whole minutes."""

    uptime: int | None = None
    events_received: int | None = None
    events_filtered: int | None = None
    events_unknown_type: int | None = None
    catch_event_failed: int | None = None  # rises with each overrun, too
    dump_unknown_type: int | None = None
    netlink_overrun: int | None = None  # the kernel dropped events: the buffer was full
    flush_kernel_table: int | None = None
    resync_kernel_table: int | None = None
    buffer_size: int | None = None  # bytes; the daemon doubles it after an overrun
    child_failed: int | None = None
    child_segfault: int | None = None
    child_termsig: int | None = None
    select_failed: int | None = None
    wait_failed: int | None = None
    local_read_failed: int | None = None
    local_unknown_request: int | None = None


class Queue(NamedTuple):
    """One queue: txqueue, errorq or (FTFW) rsqueue; txqueue's maximum is INT_MAX: no limit."""

    name: str
    length: int | None = None
    maximum: int | None = None
    no_space: int | None = None


class ChildProcess(NamedTuple):
    """A child of the daemon; `type` is any, flush, commit or unknown."""

    pid: int
    type: str


class UnknownLine(NamedTuple):
    """A line that was not understood, and its section."""

    section: str
    text: str


class SyncStatistics(NamedTuple):
    """All that conntrackd said, in one or several answers.

    `processes` is None if nobody asked for them and () if there are none. `unsupported` are the
    requests that this mode answers with nothing. Of `unknown`, only the first thousand are kept.
    `report` names the saved report that was read instead of the daemon ("-" is standard input),
    `age` is in seconds, None where it is unknown when it was written.
    """

    caches: tuple[Cache, ...] = ()
    traffic: Traffic | None = None
    links: tuple[Link, ...] = ()
    tracking: MessageTracking | None = None
    network: Network | None = None
    runtime: Runtime | None = None
    queues: tuple[Queue, ...] = ()
    queue_nodes: int | None = None
    resend_length: int | None = None
    processes: tuple[ChildProcess, ...] | None = None
    unknown: tuple[UnknownLine, ...] = ()
    unsupported: frozenset[str] = frozenset()
    report: str | None = None
    age: float | None = None

    @property
    def known(self) -> int:
        """How many values were understood."""
        rows = (
            *(cache[3:] for cache in self.caches),
            *(link[2:] for link in self.links),
            *(queue[1:] for queue in self.queues),
            *(part or () for part in (self.traffic, self.tracking, self.network, self.runtime)),
            (self.queue_nodes, self.resend_length, *(self.processes or ())),
        )
        return sum(value is not None for row in rows for value in row)


class DaemonProcess(NamedTuple):
    """A running conntrackd: `state` is the kernel's letter (T: stopped), `config` its -C option."""

    pid: int
    state: str
    config: str | None = None


class DaemonFacts(NamedTuple):
    """What the host shows of the daemon without asking it; None is "may not be seen"."""

    lock_exists: bool | None = None
    socket_exists: bool | None = None
    processes: tuple[DaemonProcess, ...] = ()


class SyncLink(NamedTuple):
    """A dedicated link as configured; `transport` is multicast, udp or tcp.

    `address` is the multicast group's or the own one that is listened to, `port` is Group or Port,
    buffers are in bytes. `unbound` is IPv6 multicast whose Interface comes before its address, so
    that the kernel chooses another.
    """

    transport: str
    line: int
    default: bool = False
    interface: str | None = None
    address: str | None = None
    destination: str | None = None
    interface_address: str | None = None
    port: int | None = None
    send_buffer: int | None = None
    receive_buffer: int | None = None
    checksum: bool | None = None
    unbound: bool = False


class SyncConfig(NamedTuple):
    """conntrackd.conf; where a value is not None here, it is conntrackd's compiled default.

    `mode` is ftfw, notrack, alarm, stats or helper. Times are in seconds, sizes in bytes, hash
    sizes in buckets and entries. `ignored` is what conntrackd accepts and ignores.
    """

    path: str
    mode: str = "stats"
    socket: str | None = None
    lock_file: str = "/var/lock/conntrackd.lock"
    log_file: str | None = None
    stats_log_file: str | None = None
    systemd: bool | None = None
    hash_size: int = 65536
    hash_limit: int = 262144
    netlink_buffer: int | None = None
    netlink_buffer_max: int | None = None
    netlink_overrun_resync: int = 30  # -1 is off
    netlink_events_reliable: bool = False
    event_iteration_limit: int = 100
    poll_seconds: int | None = None
    resend_queue_size: int = 131072
    ack_window_size: int = 300
    refresh_time: int = 60
    cache_timeout: int = 180
    commit_timeout: int | None = None
    purge_timeout: int = 60
    error_queue_length: int = 128
    disable_internal_cache: bool = False
    disable_external_cache: bool = False
    startup_resync: bool = False
    tcp_window_tracking: bool = False
    expectation_sync: bool = False
    links: tuple[SyncLink, ...] = ()
    ignored: tuple[UnknownLine, ...] = ()


class Interface(NamedTuple):
    """A network interface: administratively `up`, `running` (it has a carrier), its addresses."""

    name: str
    up: bool
    running: bool
    addresses: tuple[str, ...] = ()


class HostNetwork(NamedTuple):
    """The facts of the host that a conntrackd.conf must fit; None is "could not be seen".

    `directories` has for each file that the configuration names, and for the one that it is in,
    whether it is a directory; `routes` for each IPv4 group whose interface is left to the kernel
    the own address that it chooses, None without a route.
    """

    interfaces: Mapping[str, Interface] | None = None
    conntrack_limit: int | None = None
    rmem_max: int | None = None
    wmem_max: int | None = None
    directories: Mapping[str, bool] = {}
    routes: Mapping[str, str | None] = {}

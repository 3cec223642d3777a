"""What is right and what is wrong with connection tracking on a host, and the remedies."""

from __future__ import annotations

from collections.abc import Iterator

from conntrack_common.analysis.sync_config import check_config
from conntrack_common.analysis.usage import usage
from conntrack_common.digits import whole
from conntrack_common.errors import ConntrackError, DaemonUnreachable, NotPermitted
from conntrack_common.model import BootSetting, Diagnosis, Host, Sysctls, Tracking
from conntrack_common.model.conntrackd import HostNetwork, SyncConfig, SyncStatistics

OK, WARNING, PROBLEM, UNKNOWN = "ok", "warning", "problem", "unknown"
# struct nf_conn with its usual extensions (NAT, accounting, timestamp), and a bucket's pointer.
ENTRY_BYTES, BUCKET_BYTES = 384, 8
DAY = 86400  # seconds
LOAD_EARLY = "echo nf_conntrack > /etc/modules-load.d/conntrack.conf"
WHY_EARLY = "sysctl.d is read before the firewall loads nf_conntrack"
AGENTS = ("nagios", "nrpe", "icinga2", "collectd", "telegraf", "node_exporter")
PACKAGES = {
    "debian": "apt install {debian}",
    "ubuntu": "apt install {debian}",
    "fedora": "dnf install conntrack-tools",
    "rhel": "dnf install conntrack-tools",
}


def diagnose(host: Host) -> Iterator[Diagnosis]:
    """Yield a diagnosis for each thing that matters, in the order in which to fix them."""
    yield _module(host)
    yield _tracking(host)
    yield _netlink(host)
    yield _counters(host)
    if isinstance(host.sysctls, Sysctls):
        yield _usage(host.sysctls)
        yield from _size(host.sysctls, host.memory)
        yield from _settings(host.sysctls)
        yield from _timeouts(host)
        yield from _boot(host)
    else:
        yield Diagnosis("table", PROBLEM, str(host.sysctls))
    yield from _programs(host)


def _module(host: Host) -> Diagnosis:
    if host.module in {"built-in", "loaded"}:
        how = "built into" if host.module == "built-in" else "loaded in"
        return Diagnosis("module", OK, f"nf_conntrack is {how} kernel {host.kernel}")
    if host.module == "loadable":
        return Diagnosis(
            "module",
            PROBLEM,
            f"nf_conntrack is not loaded (kernel {host.kernel} has it as a module)",
            f"modprobe {' '.join(_modules(host.kernel))}",
        )
    return Diagnosis(
        "module",
        PROBLEM,
        f"kernel {host.kernel} has no nf_conntrack, neither built in nor as a module",
        "install this kernel's modules (on Ubuntu linux-modules-extra), or run this outside "
        "the container",
    )


def _modules(kernel: str) -> list[str]:
    # Linux 4.19 merged the two protocols' modules into nf_conntrack.
    version = [whole(part) or 0 for part in kernel.partition("-")[0].split(".")[:2]]
    old = ["-a", "nf_conntrack", "nf_conntrack_ipv4", "nf_conntrack_ipv6"]
    return old if version < [4, 19] else ["nf_conntrack"]


def _tracking(host: Host) -> Diagnosis:
    evidence = host.tracking.evidence
    if host.tracking.active:
        return Diagnosis("tracking", OK, _tracked(host.tracking))
    if host.tracking.active is None:
        message = f"it is unknown whether connections are tracked here ({evidence})"
        return Diagnosis("tracking", UNKNOWN, message)
    return Diagnosis(
        "tracking",
        WARNING,
        f"nothing was found that uses connection tracking here, so no packet creates an entry "
        f"({evidence})",
        "a firewall or NAT rule switches it on, such as: nft add rule inet filter input ct state "
        "invalid drop; 'conntrack-stat demo' shows it on a table of its own",
    )


def _tracked(tracking: Tracking) -> str:
    exempt = ", but for packets that rules exempt by notrack" if tracking.exempt else ""
    where = f"in this namespace{exempt} ({tracking.evidence})"
    if len(tracking.families) != 1:
        return f"connections are tracked {where}"
    other = "IPv6" if tracking.families == ("IPv4",) else "IPv4"
    rest = f"{other} ones are not"
    if tracking.unread:
        rest = f"it is unknown whether {other} ones are, because {tracking.unread} can't be read"
    return f"{tracking.families[0]} connections are tracked {where}; {rest}"


def _netlink(host: Host) -> Diagnosis:
    if host.netlink is None:
        return Diagnosis("netlink", OK, "this user may read entries and events by ctnetlink")
    return Diagnosis("netlink", WARNING, f"entries and events can't be read: {host.netlink}")


def _counters(host: Host) -> Diagnosis:
    if isinstance(host.counters, ConntrackError):
        return Diagnosis("counters", WARNING, str(host.counters))
    return Diagnosis("counters", OK, f"the counters come from {host.counters}")


def _usage(table: Sysctls) -> Diagnosis:
    share = usage(table.entries, table.limit)
    if share is None:
        message = "nf_conntrack_max is 0 or unknown: the table has no limit but memory"
        return Diagnosis(
            "usage", WARNING, message, "sysctl -w net.netfilter.nf_conntrack_max=262144"
        )
    status = PROBLEM if share >= 0.9 else WARNING if share >= 0.8 else OK
    remedy = "raise net.netfilter.nf_conntrack_max, or find who fills it" if status != OK else ""
    message = f"{share:.1%} of the table is used ({table.entries} of {table.limit} entries)"
    return Diagnosis("usage", status, message, remedy)


def _size(table: Sysctls, memory: int | None) -> Iterator[Diagnosis]:
    if not table.limit or not table.buckets:
        return
    chain = 2 * table.limit / table.buckets  # each entry is in two chains
    status = WARNING if chain > 8 else OK
    yield Diagnosis(
        "buckets",
        status,
        f"a full table has about {chain:.0f} entries in each of {table.buckets} hash chains",
        f"sysctl -w net.netfilter.nf_conntrack_buckets={table.limit}" if status != OK else "",
    )
    full = table.limit * ENTRY_BYTES + table.buckets * BUCKET_BYTES
    message = f"a full table takes about {full / 2**20:.0f} MiB"
    if memory:
        message += f", {full / memory:.1%} of this host's memory"
    large = bool(memory) and full > memory / 4  # type: ignore[operator]
    yield Diagnosis(
        "memory",
        WARNING if large else OK,
        message,
        "lower net.netfilter.nf_conntrack_max, or add memory" if large else "",
    )


def _settings(table: Sysctls) -> Iterator[Diagnosis]:
    gains = {
        "acct": (table.acct, "packets and bytes of each connection"),
        "timestamp": (table.timestamp, "the age of each connection"),
        "events": (table.events, "events (conntrack -E), which conntrackd needs"),
    }
    for name, (value, gain) in gains.items():
        if value is None:
            yield Diagnosis(name, UNKNOWN, f"this kernel does not show nf_conntrack_{name}")
        elif value:
            yield Diagnosis(name, OK, f"nf_conntrack_{name} is on: {gain}")
        else:
            yield Diagnosis(
                name,
                OK,
                f"nf_conntrack_{name} is off; switched on, new entries would have {gain}",
                f"sysctl -w net.netfilter.nf_conntrack_{name}=1",
            )


def _timeouts(host: Host) -> Iterator[Diagnosis]:
    seconds = host.timeouts.get("tcp_established")
    if seconds is None:
        return
    name = "nf_conntrack_tcp_timeout_established"
    message = f"a silent TCP connection keeps its entry for {seconds} seconds ({name})"
    if seconds > DAY:
        message += f", {seconds / DAY:.3g} days: so do those whose ends have died"
    remedy = f"sysctl -w net.netfilter.{name}={DAY}, if none is silent for longer"
    yield Diagnosis("timeouts", OK, message, remedy if seconds > DAY else "")


def _boot(host: Host) -> Iterator[Diagnosis]:
    early = host.boot_module or host.module == "built-in"
    load = "" if early else LOAD_EARLY
    ineffective = [setting for setting in host.boot_settings if not _is_in_force(setting)]
    for setting in ineffective:
        yield Diagnosis(
            "boot",
            WARNING,
            f"{setting.path} sets {setting.name} to {setting.value}, but {setting.running} is in "
            "force",
            f"sysctl -w net.netfilter.{setting.name}={setting.value}"
            + (f", and {load}: {WHY_EARLY}" if load else ""),
        )
    if not host.boot_settings:
        remedy = "write it to /etc/sysctl.d/conntrack.conf, too" + (f", and {load}" if load else "")
        yield Diagnosis("boot", OK, "what 'sysctl -w' sets here is lost at a reboot", remedy)
    elif not ineffective:
        paths = ", ".join(sorted({setting.path for setting in host.boot_settings}))
        message = f"what {paths} sets is in force"
        if early:
            yield Diagnosis("boot", OK, message)
        else:
            yield Diagnosis(
                "boot", WARNING, f"{message}, but may not be after a boot: {WHY_EARLY}", load
            )


def _is_in_force(setting: BootSetting) -> bool:
    if setting.running is None:
        return True  # unknown here
    more = setting.running - setting.value
    # The kernel rounds the hash table's size up to whole pages of 4 to 64 KiB.
    return 0 <= more < 8192 if setting.name == "nf_conntrack_buckets" else more == 0


def _programs(host: Host) -> Iterator[Diagnosis]:
    agents = [name for name in AGENTS if name in host.programs]
    yield Diagnosis("agents", OK, f"agents installed here: {', '.join(agents) or 'none'}")
    for name in ("conntrack", "conntrackd"):
        if name in host.programs:
            yield Diagnosis(name, OK, f"{name} is installed ({host.programs[name]})")
        else:
            yield Diagnosis(
                name, WARNING, f"{name} is not installed (optional)", install(host, name)
            )


def diagnose_daemon(
    answer: SyncStatistics | ConntrackError | None, config: SyncConfig, network: HostNetwork
) -> Iterator[Diagnosis]:
    """Yield a diagnosis for conntrackd itself, for what it says, and for each of its settings.

    `answer` is None if it was not asked.
    """
    if answer is None:
        pass
    elif isinstance(answer, ConntrackError):
        # Debian's package configures a daemon that nobody may want to run.
        states = {DaemonUnreachable: WARNING, NotPermitted: UNKNOWN}
        status = states.get(type(answer), PROBLEM)
        yield Diagnosis("sync.daemon", status, f"conntrackd gives no statistics: {answer}")
    else:
        yield Diagnosis("sync.daemon", OK, f"conntrackd answers (mode {config.mode})")
        for line in answer.unknown:
            message = f"'{line.text}' in conntrackd's statistics is not understood ({line.section})"
            yield Diagnosis("sync.unknown", WARNING, message, "please report it, with its version")
    yield from check_config(config, network)


def install(host: Host, package: str) -> str:
    """Return the command that installs a netfilter program, or those of the usual distributions."""
    command = PACKAGES.get(host.distribution)
    if command:
        return command.format(debian=package)
    return f"Debian, Ubuntu: apt install {package}; Fedora, RHEL: dnf install conntrack-tools"

"""The host around connection tracking: kernel module, rights, memory, installed programs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from conntrack_common.digits import whole
from conntrack_common.errors import ConntrackError
from conntrack_common.host.boot import boot_module, boot_settings
from conntrack_common.host.hooks import tracking
from conntrack_common.model import Host, Sysctls
from conntrack_common.proc.files import ProcRoot

# What to look for, and where beside PATH: an administrator's PATH often lacks sbin.
PROGRAMS = {
    "conntrack": "/usr/sbin/conntrack",
    "conntrackd": "/usr/sbin/conntrackd",
    "nagios": "/usr/sbin/nagios4",
    "nrpe": "/usr/sbin/nrpe",
    "icinga2": "/usr/sbin/icinga2",
    "collectd": "/usr/sbin/collectd",
    "telegraf": "/usr/bin/telegraf",
    "node_exporter": "/usr/bin/prometheus-node-exporter",
}


def host(proc: ProcRoot) -> Host:
    """Return what doctor looks at; a part that can't be read holds the reason."""
    kernel = os.uname().release
    sysctls: Sysctls | ConntrackError
    try:
        sysctls = proc.sysctls()
    except ConntrackError as error:
        sysctls = error
    refused = _netlink(proc)
    return Host(
        kernel=kernel,
        module=module_state("nf_conntrack", kernel, loaded=isinstance(sysctls, Sysctls)),
        sysctls=sysctls,
        counters=_counters(proc, refused),
        netlink=refused,
        tracking=tracking(proc, sysctls),
        distribution=_distribution(),
        programs=_programs(PROGRAMS),
        memory=_memory(proc),
        timeouts=_timeouts(proc),
        boot_settings=boot_settings(proc) if proc.is_live else (),
        boot_module=boot_module(),
    )


def module_state(name: str, kernel: str, *, loaded: bool, root: str = "/lib/modules") -> str:
    """Return whether a kernel module is built-in, loaded, loadable or missing."""
    if f"/{name}.ko" in _text(f"{root}/{kernel}/modules.builtin"):
        return "built-in"
    if loaded:
        # Without a list of modules it can't be told which; it is there, and that matters.
        return "loaded" if os.path.isdir(f"{root}/{kernel}") else "built-in"
    return "loadable" if f"/{name}.ko" in _text(f"{root}/{kernel}/modules.dep") else "missing"


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _netlink(proc: ProcRoot) -> ConntrackError | None:
    from conntrack_common.ctnetlink import stats
    from conntrack_common.errors import NotAvailable

    if not proc.is_live:
        return NotAvailable("ctnetlink is not asked beside a copy of /proc")
    try:
        stats.table_size()
    except ConntrackError as error:
        return error
    return None


def _counters(proc: ProcRoot, refused: ConntrackError | None) -> str | ConntrackError:
    try:
        proc.cpu_counters()
    except ConntrackError as error:
        return "ctnetlink" if refused is None else error
    return "/proc/net/stat/nf_conntrack"


def _timeouts(proc: ProcRoot) -> dict[str, int]:
    try:
        return proc.timeouts()
    except ConntrackError:
        return {}


def _distribution() -> str:
    for line in _text("/etc/os-release").splitlines():
        if line.startswith("ID="):
            return line[3:].strip().strip('"')
    return ""


def _programs(wanted: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, usual in wanted.items():
        folders = os.environ.get("PATH", "").split(os.pathsep)
        path = _first_program([*(f"{folder}/{name}" for folder in folders), usual])
        if path:
            found[name] = path
    return found


def _first_program(paths: Iterable[str]) -> str | None:
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def _memory(proc: ProcRoot) -> int | None:
    for line in (proc.read("meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        size = whole(words[0]) if name == "MemTotal" and words else None
        if size is not None:
            return size * 1024
    return None

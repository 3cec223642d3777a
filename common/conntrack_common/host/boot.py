"""What is to be set at boot: sysctl.d, and the modules that are loaded before it is read.

Formats: sysctl.d(5), modules-load.d(5). A file hides those of the same name in later folders, and
of two settings of one name the one in the file that sorts last counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from conntrack_common.digits import whole
from conntrack_common.model import BootSetting
from conntrack_common.proc.files import ProcRoot

FOLDERS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
KEYS = ("net.netfilter.nf_conntrack_", "net.nf_conntrack_")
# These are the same in all network namespaces.
GLOBAL = {"nf_conntrack_max", "nf_conntrack_buckets", "nf_conntrack_expect_max"}
# Each of these brings nf_conntrack with it.
MODULES = ("nf_conntrack", "nf_nat", "nft_ct", "xt_conntrack", "xt_state")


def boot_settings(proc: ProcRoot, root: str = "/") -> tuple[BootSetting, ...]:
    """Return what files set of connection tracking at boot, beside what is in force.

    In another network namespace than the first process' only what is the same in all of them.
    """
    found = {}
    for path in (*_files(root, "sysctl.d"), os.path.join(root, "etc/sysctl.conf")):
        for name, value in _settings(path):
            found[name] = (value, path)
    everything = _is_first_namespace(proc)
    return tuple(
        BootSetting(name, value, path, _running(proc, name))
        for name, (value, path) in found.items()
        if everything or name in GLOBAL
    )


def boot_module(root: str = "/") -> str:
    """Return the file that has nf_conntrack loaded before sysctl.d is read; empty without one."""
    for path in _files(root, "modules-load.d"):
        for line in _lines(path):
            if line.replace("-", "_").startswith(MODULES):
                return path
    return ""


def _files(root: str, kind: str) -> list[str]:
    paths: dict[str, str] = {}
    for folder in FOLDERS:
        try:
            names = os.listdir(os.path.join(root, folder, kind))
        except OSError:
            continue
        for name in names:
            if name.endswith(".conf"):
                paths.setdefault(name, os.path.join(root, folder, kind, name))
    return [path for _name, path in sorted(paths.items())]


def _settings(path: str) -> Iterator[tuple[str, int]]:
    for line in _lines(path):
        key, _, text = line.partition("=")
        name = key.strip().lstrip("-").replace("/", ".")
        value = whole(text.strip())
        if name.startswith(KEYS) and value is not None:
            yield name.rpartition(".")[2], value


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file]
    except OSError:
        return []
    return [line for line in lines if line and line[0] not in "#;"]


def _running(proc: ProcRoot, name: str) -> int | None:
    return whole((proc.read(f"sys/net/netfilter/{name}") or "").strip())


def _is_first_namespace(proc: ProcRoot) -> bool:
    try:
        return os.readlink(f"{proc.path}/1/ns/net") == os.readlink(
            f"{proc.path}/thread-self/ns/net"
        )
    except OSError:
        return False

"""The kernel's modules, in a machine that belongs to the tests."""

from __future__ import annotations

from pathlib import Path

import processes

# tests/machine/run writes this word; there modules, limits and /etc may be set, and all takes ten
# times as long.
IN_MACHINE = "conntrack_plugins.machine" in Path("/proc/cmdline").read_text("utf-8").split()


def loaded() -> dict[str, list[str]]:
    """The modules that are loaded, each with those that use it (proc(5), /proc/modules)."""
    lines = Path("/proc/modules").read_text("ascii").splitlines()
    fields = [line.split() for line in lines]
    return {name: users.strip(",-").split(",") for name, _size, _count, users, *_ in fields}


def unloaded(name: str) -> bool:
    """Unload a module and all that use it; False while rules or namespaces hold one of them."""
    present = loaded()

    def unload(each: str) -> None:
        for user in present.pop(each, []):
            unload(user)
        processes.run(["rmmod", each])

    unload(name)
    return name not in loaded()

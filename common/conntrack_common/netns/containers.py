"""What a process belongs to, by its control group: a container, a pod or a service.

Unlike a process ID, its name is the same after a restart. Formats: cgroups(7), and the
names that systemd, Docker, Podman, containerd, CRI-O, the kubelet and LXC give.
"""

from __future__ import annotations

import re

# kubepods-burstable-pod1234_….slice, or kubepods/burstable/pod1234-… without systemd: one network
# namespace for all containers of the pod.
POD = re.compile(r"(?:.+-)?pod(?P<id>[0-9a-f_-]{32,36})(?:\.slice)?")
# docker-3f4a….scope, libpod-…, cri-containerd-…, crio-…; or docker/3f4a… without systemd.
CONTAINER = re.compile(r"(?:(?P<kind>.+)-)?(?P<id>[0-9a-f]{64})(?:\.scope)?")
UNIT = re.compile(r"(?P<name>lxc\.payload\..+|machine-.+\.scope|.+\.service)")
USER = re.compile(r"user@(?P<id>\d+)\.service")  # that user chooses all names below it
SHORT = 12  # digits of a container's id, as Docker shows them


def owner(groups: str) -> str:
    """Return what a process belongs to, by the text of its /proc/PID/cgroup, or nothing.

    It is the outermost: a container chooses all names inside of it.
    """
    paths = (line.split(":", 2)[-1] for line in groups.splitlines())
    return next((found for path in paths if (found := _outermost(path))), "")


def _outermost(path: str) -> str:
    before = user = ""
    for part in path.split("/"):
        if match := USER.fullmatch(part):
            user = f"@{match['id']}"
        elif match := POD.fullmatch(part):
            return f"pod-{match['id'].replace('_', '-')}{user}"
        elif match := CONTAINER.fullmatch(part):
            return f"{match['kind'] or before}-{match['id'][:SHORT]}{user}"
        elif match := UNIT.fullmatch(part):
            return f"{match['name']}{user}"
        before = part
    return ""

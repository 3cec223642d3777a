"""A host of one's own, nearly: no process and no named namespace but those that a script makes.

`--netns all` is then what the script made, and nobody else's namespaces are entered.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence

import processes
from installation import command, python_path

OWN = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"]


def private(
    script: str, *, keep: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a script of bash in the folder of namespaces, where only those to keep have names.

    Output is bytes, as locales may differ. All that it mounts and starts ends with it.
    """
    # An open file keeps a namespace while everything on /run is hidden.
    opened = "".join(f"exec {number}</run/netns/{name}\n" for number, name in enumerate(keep, 10))
    named = "".join(
        f"touch {name}; mount -c --bind /proc/self/fd/{number} {name}; exec {number}<&-\n"
        for number, name in enumerate(keep, 10)
    )
    prepared = (
        f"set -e\n{opened}mount -t tmpfs t /run\nmkdir -p /run/netns /run/docker/netns\n"
        f"cd /run/netns\n{named}"
    )
    return subprocess.run(
        [*OWN, "bash", "-c", f"{prepared}{script}\nexit"],  # bash stays, and ends all with it
        env={**processes.environment(python_path()), **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )


def line(*words: str) -> str:
    """A command under test as a line of bash."""
    return shlex.join([*command(words[0]), *words[1:]])

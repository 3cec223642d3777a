"""The tests' own /etc, /var/tmp and /run/netns: a host's are neither read nor written.

Mounts of this process and of those that it starts cover them: /etc is a copy without the files that
administrators make for these commands, the others are empty. They end with this process, and so do
namespaces that have their names there.
"""

from __future__ import annotations

import ctypes
import os
import tempfile

import processes

CLONE_NEWNS = 0x00020000
# conntrackd's /etc/conntrackd/conntrackd.conf is not among those.
COVER = """
set -e
mount --make-rprivate /
mount -t tmpfs tests "$1"
cp -a /etc "$1"
find "$1/etc" -type f -name 'conntrack[-.]*' -delete
mount --bind "$1/etc" /etc
umount -l "$1"
mount -t tmpfs -o mode=1777 tests /var/tmp
mkdir -p /run/netns
mount -t tmpfs tests /run/netns
"""


def enter() -> None:
    """Cover them for the rest of this process, which has one thread; nothing without root."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() or libc.unshare(CLONE_NEWNS):
        return  # in a container, root may lack the right to mount, and runs the unit tests alone
    with tempfile.TemporaryDirectory() as folder:
        processes.must(["sh", "-c", COVER, "sh", folder])

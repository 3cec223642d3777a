"""Run a command that may open no sockets of one family: seccomp.py FAMILY COMMAND [WORD …].

The kernel answers EPERM, as to a service with RestrictAddressFamilies=.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

SOCKET = {"x86_64": 41, "aarch64": 198}  # the number of socket(2)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ, BPF_RET
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM


def refuse(family: int) -> None:
    """Let this process and its children open no such sockets any more."""
    program = [
        (LOAD, 0, 0, 0),  # seccomp_data.nr
        (EQUAL, 0, 3, SOCKET[platform.machine()]),
        (LOAD, 0, 0, 16),  # the first argument, its lower half
        (EQUAL, 0, 1, family),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) or libc.prctl(
        PR_SET_SECCOMP, ctypes.c_ulong(FILTER), head, zero, zero
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    refuse(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - which is what it is for

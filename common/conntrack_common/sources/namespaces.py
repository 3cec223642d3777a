"""Network namespaces: making one that nobody else sees."""

from __future__ import annotations

import errno
import os

from conntrack_common.errors import ConntrackError, NotAvailable, NotPermitted

CLONE_NEWNET = 0x40000000


def enter_new() -> None:
    """Move this process into a new network namespace, which ends with the process.

    Raises NotPermitted without CAP_SYS_ADMIN, NotAvailable on a kernel without namespaces.
    """
    try:
        if hasattr(os, "unshare"):  # since Python 3.12
            os.unshare(CLONE_NEWNET)
        else:
            _libc_unshare()
    except OSError as error:
        raise _refusal(error) from error


def _libc_unshare() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _refusal(error: OSError) -> ConntrackError:
    if error.errno == errno.EPERM:
        return NotPermitted("a network namespace can be made by root only: run it with sudo")
    return NotAvailable(f"this kernel makes no network namespace: {error.strerror}")

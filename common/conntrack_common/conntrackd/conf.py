"""conntrackd.conf: where it is, its socket, and what it says.

Meaning: conntrack-tools src/read_config_yy.y, conntrackd.conf(5).
"""

from __future__ import annotations

from collections.abc import Iterable
from os import stat as stat_file

from conntrack_common.conntrackd.conf_grammar import FILE, PATH
from conntrack_common.conntrackd.conf_reader import meaning
from conntrack_common.conntrackd.conf_syntax import parse_statements, words
from conntrack_common.errors import ConntrackError, InvalidRequest, NotPermitted
from conntrack_common.model.conntrackd import SyncConfig

# Where it is: upstream and Debian; VyOS.
CONFIG_FILES = ("/etc/conntrackd/conntrackd.conf", "/run/conntrackd/conntrackd.conf")
# There is no compiled default: Debian's package has the first, upstream's examples the second.
SOCKETS = ("/var/run/conntrackd.sock", "/var/run/conntrackd.ctl")
LONGEST_CONFIG = 1 << 20


def find_socket(configs: Iterable[str] = CONFIG_FILES, sockets: Iterable[str] = SOCKETS) -> str:
    """Return the path of the daemon's socket: what a configuration says, or else what is there.

    A configuration that this user may not read says nothing; one that conntrackd would refuse now
    may be that with which it started. Raises nothing.
    """
    for config in configs:
        try:
            socket = socket_of(read_text(config))
        except ConntrackError:
            continue
        if socket:
            return socket
    usual = list(sockets)
    for socket in usual:
        try:
            stat_file(socket)
        except OSError:
            continue
        return socket
    return usual[0]


def socket_of(text: str) -> str | None:
    """Return the socket that a conntrackd.conf names, broken or not."""
    socket, before = None, ""
    for word in words(text):
        if word.kind == PATH and before == "Path":
            socket = word.text
        before = word.kind
    return socket


def read_text(path: str) -> str:
    """Return a configuration's text; raises InvalidRequest, NotPermitted."""
    try:
        with open(path, "rb") as file:
            content = file.read(LONGEST_CONFIG + 1)
    except PermissionError as error:
        raise NotPermitted(
            f"{path} may not be read by this user: make it readable, or name the socket instead"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        problem = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidRequest(
            f"{path} can't be read ({problem}): name conntrackd's configuration, or its socket"
        ) from error
    if len(content) > LONGEST_CONFIG:
        raise InvalidRequest(
            f"{path} is longer than {LONGEST_CONFIG} bytes, so it is not read: name conntrackd's "
            "configuration, or its socket"
        )
    return content.decode("utf-8", "surrogateescape")


def read_config(path: str) -> SyncConfig:
    """Return a configuration; raises InvalidRequest (no such file, a broken one), NotPermitted."""
    return parse_config(read_text(path), path)


def parse_config(text: str, path: str) -> SyncConfig:
    """Return what a conntrackd.conf says; raises InvalidRequest, which names file and line."""
    blocks, end = parse_statements(text, path, FILE)
    return meaning(blocks, path, end)

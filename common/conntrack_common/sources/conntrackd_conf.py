"""conntrackd.conf, as conntrackd itself understands it.

Statements: conntrack-tools src/read_config_yy.y, conntrackd.conf(5). A number 0 is the same as
none: the compiled default holds. Of a statement that is written twice, the later counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os import stat as stat_file

from conntrack_common.errors import ConntrackError, InvalidRequest, NotPermitted
from conntrack_common.sources.conntrackd_conf_syntax import Statement, parse_statements, refuse
from conntrack_common.sync_model import SyncConfig, SyncLink, UnknownLine

# Where it stands: upstream and Debian; VyOS.
CONFIG_FILES = ("/etc/conntrackd/conntrackd.conf", "/run/conntrackd/conntrackd.conf")
# There is no compiled default: Debian's package has the first, upstream's examples the second.
SOCKETS = ("/var/run/conntrackd.sock", "/var/run/conntrackd.ctl")
MOST_LINKS = 4
LONGEST_CONFIG = 1 << 20

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # A value from its word; raises ValueError with what is wanted.
    Take = Callable[[str], Any]
    Table = Mapping[str, tuple[str, Take]]


def _number(word: str) -> int | None:
    if not (word.isascii() and word.isdigit() and len(word) <= 10):
        raise ValueError("a number")
    return int(word) or None


def _switch(word: str) -> bool:
    if word.lower() not in ("on", "yes", "off", "no"):
        raise ValueError("on or off")
    return word.lower() in ("on", "yes")


def _path(word: str) -> str:
    if not word.startswith("/"):
        raise ValueError("a path that begins with '/'")
    return word


def _log_file(default: str) -> Take:
    def take(word: str) -> str | None:
        if word.startswith("/"):
            return word
        return default if _switch(word) else None

    return take


def _resync(word: str) -> int | None:
    if word.isdigit():
        return _number(word)
    return 30 if _switch(word) else -1


def _skip(_: str) -> None:
    """Accept a statement of which nothing is needed."""


GENERAL: Table = {
    "HashSize": ("hash_size", _number),
    "HashLimit": ("hash_limit", _number),
    "LogFile": ("log_file", _log_file("/var/log/conntrackd.log")),
    "LockFile": ("lock_file", _path),
    "Systemd": ("systemd", _switch),
    "NetlinkBufferSize": ("netlink_buffer", _number),
    "SocketBufferSize": ("netlink_buffer", _number),
    "NetlinkBufferSizeMaxGrowth": ("netlink_buffer_max", _number),
    "SocketBufferSizeMaxGrowth": ("netlink_buffer_max", _number),
    "SocketBufferSizeMaxGrown": ("netlink_buffer_max", _number),
    "NetlinkOverrunResync": ("netlink_overrun_resync", _resync),
    "NetlinkEventsReliable": ("netlink_events_reliable", _switch),
    "EventIterationLimit": ("event_iteration_limit", _number),
    "PollSecs": ("poll_seconds", _number),
    "Syslog": ("", _skip),
    "Nice": ("", _skip),
}
UNIX: Table = {"Path": ("socket", _path), "Backlog": ("", _skip)}
TIMES: Table = {
    "CommitTimeout": ("commit_timeout", _number),
    "PurgeTimeout": ("purge_timeout", _number),
}
REFRESH: Table = {
    **TIMES,
    "RefreshTime": ("refresh_time", _number),
    "CacheTimeout": ("cache_timeout", _number),
}
DIRECT: Table = {
    **TIMES,
    "DisableExternalCache": ("disable_external_cache", _switch),
    "StartupResync": ("startup_resync", _switch),
}
FTFW: Table = {
    **DIRECT,
    "ResendQueueSize": ("resend_queue_size", _number),
    "ACKWindowSize": ("ack_window_size", _number),
}
NOTRACK: Table = {**DIRECT, "DisableInternalCache": ("disable_internal_cache", _switch)}
# The modes, with their older names, and what each may be told.
MODES: Mapping[str, tuple[str, Table]] = {
    "ftfw": ("ftfw", FTFW),
    "nack": ("ftfw", FTFW),
    "notrack": ("notrack", NOTRACK),
    "alarm": ("alarm", REFRESH),
    "persistent": ("alarm", REFRESH),
}
OPTIONS: Table = {
    "TCPWindowTracking": ("tcp_window_tracking", _switch),
    "ExpectationSync": ("expectation_sync", _switch),
}
ANY_LINK: Table = {
    "IPv4_address": ("address", str),
    "IPv6_address": ("address", str),
    "Interface": ("interface", str),
    "SndSocketBuffer": ("send_buffer", _number),
    "RcvSocketBuffer": ("receive_buffer", _number),
    "Checksum": ("checksum", _switch),
}
UNICAST: Table = {
    **ANY_LINK,
    "IPv4_Destination_Address": ("destination", str),
    "IPv6_Destination_Address": ("destination", str),
    "Port": ("port", _number),
}
LINKS: Mapping[str, Table] = {
    "Multicast": {
        **ANY_LINK,
        "IPv4_interface": ("interface_address", str),
        "IPv6_interface": ("", _skip),
        "Group": ("port", _number),
    },
    "UDP": UNICAST,
    "TCP": {**UNICAST, "ErrorQueueLength": ("error_queue_length", _number)},
}
ONE_VALUE = frozenset(
    name
    for table in (GENERAL, UNIX, REFRESH, FTFW, NOTRACK, *LINKS.values(), {"TCPWindowTracking"})
    for name in table
)
# Blocks of which nothing is needed here.
SKIPPED = ("Filter", "Scheduler")


def find_socket(configs: Iterable[str] = CONFIG_FILES, sockets: Iterable[str] = SOCKETS) -> str:
    """Return the path of the daemon's socket: what a configuration says, or else what is there.

    A configuration that this user may not read, or that is broken, says nothing. Raises nothing.
    """
    for config in configs:
        try:
            socket = read_config(config).socket
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


def read_config(path: str) -> SyncConfig:
    """Return a configuration; raises InvalidRequest (no such file, a broken one), NotPermitted."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(LONGEST_CONFIG)
    except PermissionError as error:
        raise NotPermitted(
            f"{path} may not be read by this user: let it be readable, or name the socket instead"
        ) from error
    except OSError as error:
        raise InvalidRequest(
            f"{path} can't be read ({error.strerror}): name conntrackd's configuration, or its "
            "socket"
        ) from error
    return parse_config(text, path)


def parse_config(text: str, path: str) -> SyncConfig:
    """Return what a conntrackd.conf says; raises InvalidRequest, which names file and line."""
    reader = _Reader(path)
    for statement in parse_statements(text, path, ONE_VALUE):
        reader.read(statement)
    return reader.result()


class _Reader:
    """What the blocks so far said."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self.seen: set[str] = set()
        self.mode: str | None = None
        self.links: list[SyncLink] = []
        self.unknown: list[UnknownLine] = []

    def read(self, statement: Statement) -> None:
        """Take in one of the outermost blocks."""
        if statement.block is None or len(statement.words) != 1:
            self.keep("", statement)
            return
        self.seen.add(statement.name)
        if statement.name == "General":
            self.read_general(statement)
        elif statement.name == "Sync":
            self.read_sync(statement)
        elif statement.name not in ("Stats", "Helper"):
            self.keep("", statement)
        if {"Stats", "Sync"} <= self.seen:
            refuse(self.path, statement.line, "'Stats' and 'Sync' exclude each other")

    def read_general(self, general: Statement) -> None:
        for statement in general.block or ():
            if statement.name == "UNIX" and statement.block is not None:
                for inner in statement.block:
                    self.assign("UNIX", inner, UNIX, self.values)
            elif statement.name not in SKIPPED:
                self.assign("General", statement, GENERAL, self.values)

    def read_sync(self, sync: Statement) -> None:
        for statement in sync.block or ():
            if statement.name in LINKS and statement.block is not None:
                self.read_link(statement)
            elif statement.name == "Mode":
                self.read_mode(statement)
            elif statement.name == "Options" and statement.block is not None:
                for inner in statement.block:
                    self.read_option(inner)
            else:
                self.assign("Sync", statement, REFRESH, self.values)

    def read_mode(self, statement: Statement) -> None:
        name = statement.words[1].text.lower() if len(statement.words) == 2 else ""
        if name not in MODES or statement.block is None:
            refuse(self.path, statement.line, "Mode takes FTFW, NOTRACK or ALARM, and a block")
        self.mode, table = MODES[name]
        for inner in statement.block:
            self.assign(f"Mode {statement.words[1].text}", inner, table, self.values)

    def read_option(self, statement: Statement) -> None:
        if statement.name == "ExpectationSync" and statement.block is not None:
            self.values["expectation_sync"] = True  # the block names the helpers
        else:
            self.assign("Options", statement, OPTIONS, self.values)

    def read_link(self, statement: Statement) -> None:
        words = [word.text for word in statement.words]
        transport = words[0].lower()
        if words[1:] not in ([], ["Default"]):
            refuse(self.path, statement.line, f"{words[1]!r} after {words[0]} is not 'Default'")
        if len(self.links) == MOST_LINKS:
            refuse(self.path, statement.line, f"there are more than {MOST_LINKS} dedicated links")
        if self.links and self.links[0].transport != transport:
            refuse(
                self.path, statement.line, "dedicated links are all Multicast, all UDP or all TCP"
            )
        values: dict[str, Any] = {}
        for inner in statement.block or ():
            self.assign(words[0], inner, LINKS[words[0]], values)
        length = values.pop("error_queue_length", None)
        if length:
            self.values["error_queue_length"] = length
        self.links.append(SyncLink(transport, statement.line, len(words) == 2, **values))

    def assign(
        self, section: str, statement: Statement, table: Table, values: dict[str, Any]
    ) -> None:
        """Put a statement's value in its place, or keep it if the section has no such statement."""
        if statement.name not in table:
            self.keep(section, statement)
            return
        field, take = table[statement.name]
        words = [word.text for word in statement.words[1:]]
        if len(words) != 1 or statement.block is not None:
            refuse(self.path, statement.line, f"{statement.name} takes one value")
        try:
            value = take(words[0])
        except ValueError as error:
            refuse(self.path, statement.line, f"{statement.name} takes {error}, not {words[0]!r}")
        if value is not None:
            values[field] = value
        else:
            values.pop(field, None)

    def keep(self, section: str, statement: Statement) -> None:
        text = " ".join(word.text for word in statement.words)
        self.unknown.append(UnknownLine(section, f"line {statement.line}: {text[:100]}"))

    def result(self) -> SyncConfig:
        """Return the record of all that was read."""
        mode = "helper" if "Helper" in self.seen and "Stats" not in self.seen else "stats"
        if "Sync" in self.seen:
            mode = self.mode or "ftfw"
        return SyncConfig(
            self.path,
            mode,
            links=tuple(self.links),
            unknown=tuple(self.unknown),
            **self.values,
        )

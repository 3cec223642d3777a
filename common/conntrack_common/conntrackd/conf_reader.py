"""What the statements of a conntrackd.conf mean, as conntrackd itself takes them.

Source: conntrack-tools src/read_config_yy.y. A number 0 is the same as none: the compiled default
holds. Of a statement that is written twice, the later counts. Numbers are C's `int`: those above 31
bits wrap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from conntrack_common.conntrackd.conf_grammar import IP, LINKS, NUMBER, OFF, ON, PATH
from conntrack_common.conntrackd.conf_helpers import check_helper
from conntrack_common.conntrackd.conf_syntax import Statement, Word, refuse
from conntrack_common.digits import UINT8, UINT32, as_c
from conntrack_common.model.conntrackd import SyncConfig, SyncLink, UnknownLine

LOG_FILE, STATS_LOG_FILE = "/var/log/conntrackd.log", "/var/log/conntrackd-stats.log"
MOST_LINKS = 4
LARGEST, LONGEST_NUMBER = (1 << 63) - 1, 20
LONGEST_SOCKET, LONGEST_FILE = 107, 256  # bytes of a path
FACILITIES = ("daemon", *(f"local{number}" for number in range(8)))

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The fields that statements fill; what is in no table needs none.
FIELDS = {
    "HashSize": "hash_size",
    "HashLimit": "hash_limit",
    "LockFile": "lock_file",
    "Systemd": "systemd",
    "NetlinkBufferSize": "netlink_buffer",
    "SocketBufferSize": "netlink_buffer",
    "NetlinkBufferSizeMaxGrowth": "netlink_buffer_max",
    "SocketBufferSizeMaxGrowth": "netlink_buffer_max",
    "SocketBufferSizeMaxGrown": "netlink_buffer_max",
    "NetlinkOverrunResync": "netlink_overrun_resync",
    "NetlinkEventsReliable": "netlink_events_reliable",
    "EventIterationLimit": "event_iteration_limit",
    "PollSecs": "poll_seconds",
    "CommitTimeout": "commit_timeout",
    "PurgeTimeout": "purge_timeout",
    "RefreshTime": "refresh_time",
    "CacheTimeout": "cache_timeout",
    "DisableExternalCache": "disable_external_cache",
    "DisableInternalCache": "disable_internal_cache",
    "StartupResync": "startup_resync",
    "ResendQueueSize": "resend_queue_size",
    "ACKWindowSize": "ack_window_size",
    "TCPWindowTracking": "tcp_window_tracking",
    "ExpectationSync": "expectation_sync",
    "ErrorQueueLength": "error_queue_length",
}
UNSIGNED = (
    *("hash_limit", "purge_timeout", "netlink_buffer", "netlink_buffer_max"),
    *("resend_queue_size", "ack_window_size"),
)
LINK_FIELDS = {
    "IPv4_address": "address",
    "IPv6_address": "address",
    "IPv4_Destination_Address": "destination",
    "IPv6_Destination_Address": "destination",
    "IPv4_interface": "interface_address",
    "Interface": "interface",
    "Group": "port",
    "Port": "port",
    "SndSocketBuffer": "send_buffer",
    "RcvSocketBuffer": "receive_buffer",
    "Checksum": "checksum",
}


def number(text: str) -> int | None:
    """Return a number as C's atoi makes an int of it, or None for 0."""
    # Beyond 64 bits it is the largest of these; the lower half is taken.
    value = min(int(text), LARGEST) if len(text) <= LONGEST_NUMBER else LARGEST
    value &= UINT32
    return (value - (1 << 32) if value >> 31 else value) or None


def _value(word: Word) -> Any:
    if word.kind in (ON, OFF):
        return word.kind == ON
    return number(word.text) if word.kind == NUMBER else word.text


def meaning(blocks: Iterable[Statement], path: str, end: Word) -> SyncConfig:
    """Return what a file's blocks say; `end` is where conntrackd stops reading.

    Raises InvalidRequest for what conntrackd refuses, which names file and line.
    """
    reader = _Reader(path)
    for block in blocks:
        reader.read(block)
    if end.text:
        reader.ignore(end.line, f"nothing is read from {end.text!r} on, as if the file ended there")
    return reader.result()


class _Reader:
    """What the blocks so far contain."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self.blocks: set[str] = set()
        self.modes: set[str] = set()
        self.links: list[SyncLink] = []
        self.ignored: list[UnknownLine] = []

    def read(self, block: Statement) -> None:
        """Take in one of the outermost blocks."""
        readers: Mapping[str, Callable[[Statement], None]] = {
            "General": self.read_general,
            "Sync": self.read_sync,
            "Stats": self.read_stats,
            "Helper": lambda helper: check_helper(self.path, helper),
        }
        self.blocks.add(block.name)
        readers[block.name](block)
        if {"Stats", "Sync"} <= self.blocks:
            refuse(self.path, block.line, "'Stats' and 'Sync' exclude each other")

    def read_general(self, general: Statement) -> None:
        for statement in general.block:
            if statement.name in ("LogFile", "Syslog"):
                self.read_log("log_file", LOG_FILE, statement)
            elif statement.name == "UNIX":
                self.read_unix(statement)
            elif statement.name == "Filter":
                self.read_filter(statement)
            elif statement.name == "Scheduler":
                self.read_scheduler(statement)
            else:
                self.assign(statement)
            if statement.name == "LockFile":
                self.limit(statement, LONGEST_FILE)
            if statement.name == "PollSecs" and self.values.get("poll_seconds") is None:
                refuse(self.path, statement.line, "PollSecs takes a number above 0")

    def read_log(self, field: str, default: str, statement: Statement) -> None:
        word = statement.words[1]
        if statement.name == "Syslog":
            if word.kind not in (ON, OFF) and word.text not in FACILITIES:
                known = ", ".join(FACILITIES)
                self.ignore(word.line, f"Syslog {word.text} is not a facility (known are {known})")
        elif word.kind == PATH:
            self.limit(statement, LONGEST_FILE)
            self.values[field] = word.text
        elif word.kind == ON:
            self.values[field] = default
        # Off leaves what an earlier statement set.

    def read_unix(self, unix: Statement) -> None:
        for statement in unix.block:
            if statement.name == "Path":
                self.limit(statement, LONGEST_SOCKET)
                self.values["socket"] = statement.value

    def read_scheduler(self, scheduler: Statement) -> None:
        for statement in scheduler.block:
            if statement.name == "Type" and statement.value.lower() not in ("rr", "fifo"):
                refuse(self.path, statement.line, f"Type {statement.value} is neither RR nor FIFO")
            if statement.name == "Priority" and not 0 <= (number(statement.value) or 0) <= 99:
                refuse(self.path, statement.line, "Priority takes a number from 0 to 99")

    def read_filter(self, filter_: Statement) -> None:
        for listed in filter_.block:
            names = [statement.name for statement in listed.block]
            if listed.name == "State" and names and names[-1] != "for":
                refuse(self.path, listed.block[-1].line, "the states need 'for TCP' after them")
            if listed.name == "Address":
                for statement in listed.block:
                    self.network(statement)

    def network(self, statement: Statement) -> None:
        """Note an address of a filter that conntrackd ignores."""
        address, _, length = statement.value.partition("/")
        longest = 32 if statement.name == "IPv4_address" else 128
        if not is_address(statement.name, address) or (number(length or "0") or 0) > longest:
            self.ignore(statement.line, f"{statement.value} is not a network for {statement.name}")

    def read_stats(self, stats: Statement) -> None:
        for statement in stats.block:
            self.read_log("stats_log_file", STATS_LOG_FILE, statement)

    def read_sync(self, sync: Statement) -> None:
        for statement in sync.block:
            if statement.name in LINKS:
                self.read_link(statement)
            elif statement.name == "Mode":
                self.modes.add(statement.words[1].kind)
                for inner in statement.block:
                    self.assign(inner)
            elif statement.name == "Options":
                for inner in statement.block:
                    self.read_option(inner)
            else:
                self.assign(statement)

    def read_option(self, option: Statement) -> None:
        word = option.words[-1]
        if option.name == "ExpectationSync" and word.kind != OFF:
            self.values["expectation_sync"] = True  # a block names the helpers
        elif option.name != "ExpectationSync":
            self.assign(option)

    def read_link(self, link: Statement) -> None:
        transport = link.name.lower()
        if len(self.links) == MOST_LINKS:
            refuse(self.path, link.line, f"there are more than {MOST_LINKS} dedicated links")
        if self.links and self.links[0].transport != transport:
            refuse(self.path, link.line, "dedicated links are all Multicast, all UDP or all TCP")
        values: dict[str, Any] = {}
        for statement in link.block:
            if statement.words[1].kind == IP and statement.name in LINK_FIELDS:
                self.read_address(statement, values)
            elif statement.name in LINK_FIELDS:
                values[LINK_FIELDS[statement.name]] = _value(statement.words[1])
            else:
                self.assign(statement)
            if statement.name == "Interface":
                values["unbound"] = "address" not in values
        made = SyncLink(transport, link.line, len(link.words) == 2, **values)
        bound = transport != "multicast" or ":" not in (made.address or "")
        self.links.append(made._replace(unbound=made.unbound and not bound))

    def read_address(self, statement: Statement, values: dict[str, Any]) -> None:
        if not is_address(statement.name, statement.value):
            what = f"{statement.value} is not an address for {statement.name}"
            self.ignore(statement.line, what)
            return
        values[LINK_FIELDS[statement.name]] = statement.value

    def assign(self, statement: Statement) -> None:
        """Put a statement's value in its place, if anything needs it."""
        field = FIELDS.get(statement.name)
        if field is None:
            return
        value = _value(statement.words[1])
        if field == "netlink_overrun_resync" and isinstance(value, bool):
            value = 30 if value else -1
        if value is None:
            self.values.pop(field, None)
        elif field in UNSIGNED and not isinstance(value, bool):
            self.values[field] = value & UINT32
        else:
            self.values[field] = value

    def limit(self, statement: Statement, longest: int) -> None:
        if len(statement.value.encode("utf-8", "surrogateescape")) > longest:
            what = f"the path of {statement.name} is longer than {longest} bytes"
            refuse(self.path, statement.line, what)

    def ignore(self, line: int, problem: str) -> None:
        """Keep what conntrackd accepts and ignores."""
        self.ignored.append(UnknownLine("", f"line {line}: {problem}"))

    def result(self) -> SyncConfig:
        """Return the record of all that was read."""
        mode = "helper" if "Helper" in self.blocks and "Stats" not in self.blocks else "stats"
        if "Sync" in self.blocks:
            # Of several modes, conntrackd takes the first of these; without one, FTFW.
            order = [mode for mode in ("FTFW", "ALARM", "NOTRACK") if mode in self.modes]
            mode = (order or ["FTFW"])[0].lower()
        return SyncConfig(
            self.path,
            mode,
            links=tuple(self.links),
            ignored=tuple(self.ignored),
            **self.values,
        )


def is_address(statement: str, text: str) -> bool:
    """Return whether conntrackd reads a text as an address of this statement's family.

    The C library reads IPv4 here: numbers that begin with 0 are octal.
    """
    from ipaddress import AddressValueError, IPv6Address

    if statement.startswith("IPv4"):
        octets = [as_c(part, UINT8) for part in text.split(".")]
        return len(octets) == 4 and None not in octets
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return "%" not in text

"""The text of `conntrackd -s`, in every mode and of every request.

Format: conntrack-tools src/cache.c, internal_bypass.c, external_inject.c, traffic_stats.c, mcast.c,
udp.c, tcp.c, sync-mode.c, run.c, queue.c, process.c, sync-ftfw.c: the same text from 1.0.0 to
1.4.9; older spellings from 0.9.7 on. The same labels occur in several sections.
"""

from __future__ import annotations

import re

from conntrack_common.conntrackd.labels import (
    BYPASSED,
    CACHE,
    DIRECTIONS,
    HEADINGS,
    LINK,
    NO_LABELS,
    NO_UNITS,
    NODES,
    QUEUE,
    WITH_NOT_FOUND,
    Fields,
)
from conntrack_common.digits import whole
from conntrack_common.model.conntrackd import (
    Cache,
    ChildProcess,
    Link,
    MessageTracking,
    Network,
    Queue,
    Runtime,
    SyncStatistics,
    Traffic,
    UnknownLine,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_UNKNOWN, LONGEST_UNKNOWN = 1000, 200
LONGEST_LINE = 500  # conntrackd's are shorter than 150; this bounds what the patterns below cost

NAME = re.compile(r"[\w-]+", re.ASCII)
SEPARATORS = re.compile(r"failed:|/")
ROW = re.compile(r"(?:\d+\s+[A-Z][A-Za-z]*(?: [a-z]+)?\s*)+", re.ASCII)
UNIT = re.compile(r"(\d+)\s+([A-Z][A-Za-z]*(?: [a-z]+)?)", re.ASCII)
LINK_HEADING = re.compile(
    r"(?P<transport>multicast|UDP|TCP) traffic"
    r"(?: \(active device=(?P<active>\S*)\)"
    r"(?: server=(?P<server>\w+) client=(?P<client>\w+))?"
    r"| device=(?P<device>\S*) status=(?P<status>\S+) role=(?P<role>\S+))?"
)
UPTIME = re.compile(r"(?:(\d{1,9}) days? )?(?:(\d{1,9}) h )?(\d{1,9}) min", re.ASCII)
RESEND_HEADING = re.compile(r"resent queue \(len=(\d{1,10})\)", re.ASCII)
RESEND_LINE = re.compile(r"(?:control|object) -> seq:\d")
CHILD = re.compile(r"PID=(\d{1,10}) type=(\w+)", re.ASCII)
# A saved report may show the command before its answer; nothing else marks those of `-s expect`.
COMMAND = re.compile(r"(?:.*[\s/])?conntrackd\s(?:.*\s)?-s(?:\s+(\w+))?")
# VyOS' 'show conntrack-sync statistics' prints two answers under headings of its own.
REPORTS = {"Main Table Statistics": "ct", "Expect Table Statistics": "expect"}
# A shell's prompt, with the command that it was given: root@fw:~#, vyos@vyos:~$, [root@fw ~]#
PROMPT = re.compile(r"\[?[\w.-]+@[\w.-]+(?:[: ][\w~/.-]*)?\]?[#$>%](?: .*)?")


def parse_statistics(text: str, request: str = "ct") -> SyncStatistics:
    """Return what one or several answers say; the text may hold any number of them.

    `request` is what the first of them answers: nothing else distinguishes caches of expectations
    from those of connections. Of a number that occurs twice, the later counts. A line that is not
    understood, or whose number can't be read, is kept in `unknown`. Raises nothing.
    """
    reader = _Reader("expect" if request == "expect" else "ct")
    for line in text.splitlines():
        stripped = line.strip()
        if stripped:
            reader.read(stripped)
    return reader.result()


def merge(first: SyncStatistics, second: SyncStatistics) -> SyncStatistics:
    """Return one record of both; of what both have, the second's counts."""
    answered = (first, second)
    processes = second.processes if second.processes is not None else first.processes
    return SyncStatistics(
        caches=_merge_rows(first.caches, second.caches, 2),
        traffic=_merge_part(first.traffic, second.traffic),
        links=_merge_rows(first.links, second.links, 2),
        tracking=_merge_part(first.tracking, second.tracking),
        network=_merge_part(first.network, second.network),
        runtime=_merge_part(first.runtime, second.runtime),
        queues=_merge_rows(first.queues, second.queues, 1),
        queue_nodes=_latest(first.queue_nodes, second.queue_nodes),
        resend_length=_latest(first.resend_length, second.resend_length),
        processes=processes,
        unknown=tuple(line for part in answered for line in part.unknown)[:MOST_UNKNOWN],
        unsupported=first.unsupported | second.unsupported,
    )


def _latest(first: int | None, second: int | None) -> int | None:
    return first if second is None else second


def _merge_part(first: Any, second: Any) -> Any:
    if first is None or second is None:
        return first if second is None else second
    return type(first)(*(old if new is None else new for old, new in zip(first, second)))


def _merge_rows(first: tuple[Any, ...], second: tuple[Any, ...], width: int) -> tuple[Any, ...]:
    rows = {row[:width]: row for row in first}
    for row in second:
        rows[row[:width]] = _merge_part(rows.get(row[:width]), row)
    return tuple(rows.values())


class _Reader:
    """What the lines so far contain, and the section that the next one is in."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        # By kind of part and its name: ("cache", "internal", "ct"), ("queue", "txqueue"), ...
        self.parts: dict[tuple[str, ...], dict[str, Any]] = {}
        self.resend_length: int | None = None
        self.processes: list[ChildProcess] = []
        self.unknown: list[UnknownLine] = []
        self.leave("")

    def leave(self, section: str) -> None:
        """Be in an unknown section, so that its labels are not taken for those of another."""
        self.section = section
        self.labels, self.units = NO_LABELS, NO_UNITS
        self.values: dict[str, Any] = {}

    def enter(
        self, section: str, part: tuple[str, ...], labels: dict[str, Fields], units: dict[str, str]
    ) -> None:
        """Be in a section whose numbers belong to that part of the record."""
        self.section, self.labels, self.units = section, labels, units
        self.values = self.parts.setdefault(part, {})

    def read(self, line: str) -> None:
        """Take in one line, without blanks around it."""
        label, colon, rest = line.partition(":")
        if len(line) > LONGEST_LINE:
            understood = False
        elif not colon:
            understood = self.read_row(line) or self.read_other(line)
        elif label in self.labels:
            understood = self.read_numbers(label, rest)
        elif self.enter_heading(label):
            # Some who quote a text join the heading and its first line.
            understood = not rest.strip() or self.read_joined(rest.strip())
        elif label in REPORTS:
            self.kind = REPORTS[label]
            self.leave("")
            understood = not rest
        else:
            understood = self.read_one_liner(label, rest) or self.read_other(line)
        if not understood:
            if len(self.unknown) < MOST_UNKNOWN:
                self.unknown.append(UnknownLine(self.section, line[:LONGEST_UNKNOWN]))
            if line.endswith(":"):
                self.leave(line[:LONGEST_UNKNOWN])

    def enter_heading(self, label: str) -> bool:
        """Enter the section that this heading opens; false if it is not a heading."""
        word, _, name = label.partition(" ")
        if label in HEADINGS:
            self.enter(label, *HEADINGS[label])
        elif (self.section, label) in DIRECTIONS:
            self.labels = DIRECTIONS[self.section, label]
        elif label in BYPASSED:
            cache, labels = BYPASSED[label]
            self.enter(label, ("cache", cache, self.kind), labels, NO_UNITS)
            self.values["disabled"] = True
        elif word == "cache" and NAME.fullmatch(name):
            self.enter(label, ("cache", name, self.kind), CACHE, NO_UNITS)
        elif word == "queue" and NAME.fullmatch(name):
            self.enter(label, ("queue", name), QUEUE, NO_UNITS)
        else:
            return self.enter_link(label)
        return True

    def enter_link(self, label: str) -> bool:
        heading = LINK_HEADING.fullmatch(label)
        if heading is None:
            return False
        words = heading.groupdict()
        active, device = words.pop("active"), words.pop("device")
        part = ("link", words.pop("transport").lower(), device or active or "")
        self.enter(label, part, NO_LABELS, LINK)
        if active:
            words["role"] = "ACTIVE"  # the short form shows the active link only
        self.values.update((name, value) for name, value in words.items() if value is not None)
        return True

    def read_joined(self, text: str) -> bool:
        """Take a line that follows its heading on the same line."""
        label, _, rest = text.partition(":")
        if label in self.labels:
            return self.read_numbers(label, rest)
        return self.read_row(text)

    def read_numbers(self, label: str, rest: str) -> bool:
        """Take the numbers of a labelled line; false, and none, if one can't be read."""
        fields = self.labels[label]
        if label in WITH_NOT_FOUND:
            self.labels = WITH_NOT_FOUND[label]
        numbers = [whole(word) for word in SEPARATORS.sub(" ", rest).split()]
        if len(numbers) != len(fields) or None in numbers:
            return False
        self.values.update(zip(fields, numbers))
        return True

    def read_row(self, text: str) -> bool:
        """Take numbers that are followed by their units; false, and none, if one is unknown."""
        if not self.units or not ROW.fullmatch(text):
            return False
        found: dict[str, int] = {}
        for digits, unit in UNIT.findall(text):
            number = whole(digits)
            if number is None or unit not in self.units:
                return False
            found[self.units[unit]] = number
        self.values.update(found)
        return True

    def read_one_liner(self, label: str, rest: str) -> bool:
        """Take a line that holds its heading and a value."""
        if label == "allocated queue nodes":
            self.enter(label, ("nodes",), NODES, NO_UNITS)
            return self.read_numbers(label, rest)
        if label == "daemon uptime":
            self.enter(label, ("runtime",), NO_LABELS, NO_UNITS)
            return self.read_uptime(rest.strip())
        name, _, objects = rest.partition("\t" if "\t" in rest else " ")
        if label != "cache" or not NAME.fullmatch(name):
            return False
        self.enter(f"cache {name}", ("cache", name, self.kind), CACHE, NO_UNITS)
        label, _, rest = objects.partition(":")
        return label.strip() == "active objects" and self.read_numbers("active objects", rest)

    def read_uptime(self, text: str) -> bool:
        uptime = UPTIME.fullmatch(text)
        if uptime is None:
            return False
        days, hours, minutes = (int(number or 0) for number in uptime.groups())
        self.values["uptime"] = days * 86400 + hours * 3600 + minutes * 60
        return True

    def read_other(self, line: str) -> bool:
        """Take a line that fits no section: the resend queue's, a child's, a shell's."""
        if RESEND_LINE.match(line):
            return True  # its length is above
        child, resend = CHILD.fullmatch(line), RESEND_HEADING.fullmatch(line)
        command = COMMAND.fullmatch(line)
        if child:
            self.processes.append(ChildProcess(int(child[1]), child[2]))
        elif resend:
            self.resend_length = whole(resend[1])
        elif command:
            # conntrackd takes its words shortened; no other begins with the same letter.
            self.kind = "expect" if "expect".startswith(command[1] or "ct") else "ct"
        elif PROMPT.fullmatch(line):
            self.kind = "ct"
        else:
            return False
        self.leave("")
        return True

    def result(self) -> SyncStatistics:
        """Return the record of all that was read."""
        rows: dict[str, list[tuple[str, ...]]] = {"cache": [], "link": [], "queue": []}
        one: dict[str, dict[str, Any]] = {}
        for part, values in self.parts.items():
            if len(part) > 1:
                rows[part[0]].append(part)
            else:
                one[part[0]] = values
        return SyncStatistics(
            caches=tuple(Cache(part[1], part[2], **self.parts[part]) for part in rows["cache"]),
            traffic=Traffic(**one["traffic"]) if "traffic" in one else None,
            links=tuple(Link(part[1], part[2], **self.parts[part]) for part in rows["link"]),
            tracking=MessageTracking(**one["tracking"]) if "tracking" in one else None,
            network=Network(**one["network"]) if "network" in one else None,
            runtime=Runtime(**one["runtime"]) if "runtime" in one else None,
            queues=tuple(Queue(part[1], **self.parts[part]) for part in rows["queue"]),
            queue_nodes=one.get("nodes", {}).get("nodes"),
            resend_length=self.resend_length,
            processes=tuple(self.processes) or None,
            unknown=tuple(self.unknown),
        )

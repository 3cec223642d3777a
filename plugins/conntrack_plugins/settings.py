"""/etc/conntrack-plugins.conf: what `conntrack-stat render` writes into agents' configuration.

Format: configparser's INI with '=' and '#'. [all] holds for every agent; a section with an agent's
name for that one alone. The commands themselves read no settings: what they do, their options say.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from conntrack_common.errors import InvalidRequest
from conntrack_common.metrics import CHEAP, select
from conntrack_common.record import NamedTuple

FILE = "/etc/conntrack-plugins.conf"
ALL = "all"
Values = Mapping[str, Any]


def percent(text: str) -> float:
    """Return a percentage: a number from 0 to 100."""
    if not re.fullmatch(r"\d+(\.\d+)?%?", text, re.ASCII) or float(text.rstrip("%")) > 100:
        raise InvalidRequest(f"{text!r} is no percentage: write a number from 0 to 100")
    value = float(text.rstrip("%"))
    return int(value) if value == int(value) else value


def seconds(text: str) -> int:
    """Return a time: a whole number of seconds from 1 to a day."""
    if not re.fullmatch(r"\d{1,5}", text, re.ASCII) or not 1 <= int(text) <= 86400:
        raise InvalidRequest(f"{text!r} is no interval: write whole seconds, from 1 to 86400")
    return int(text)


def switch(text: str) -> bool:
    """Return what yes and no mean."""
    try:
        return {"yes": True, "no": False}[text.lower()]
    except KeyError:
        raise InvalidRequest(f"{text!r} is neither: write yes or no") from None


def name(text: str) -> str:
    """Return a name of a user or host, which no format has to quote."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text, re.ASCII):
        raise InvalidRequest(f"{text!r} is no name: letters, digits, '_', '.' and '-' make one")
    return text


def path(text: str) -> str:
    """Return an absolute path of printable characters."""
    if not text.startswith("/") or not text.isprintable():
        raise InvalidRequest(f"{text!r} is no absolute path of printable characters")
    return text


def netns(text: str) -> str:
    """Return what --netns takes: a namespace's name, a process's number, `all`, or nothing."""
    if not text.isprintable() or "/" in text:
        raise InvalidRequest(f"{text!r} is no network namespace: 'ip netns' lists their names")
    return text


def words(text: str) -> tuple[str, ...]:
    """Return a command line's words."""
    try:
        found = tuple(shlex.split(text))
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no command line: {error}") from None
    if not text.isprintable() or any("\n" in word for word in found):
        raise InvalidRequest(f"{text!r} is no command line of printable characters")
    return found


def state(text: str) -> str:
    """Return a Nagios state's name."""
    known = ("ok", "warning", "critical", "unknown")
    if text not in known:
        raise InvalidRequest(f"{text!r} is no state: write {', '.join(known)}")
    return text


def patterns(text: str) -> str:
    """Return patterns of metrics as --metrics takes them; empty is what anybody may read."""
    found = [word for word in re.split(r"[\s,]+", text) if word]
    select(found)
    return ",".join(found)


def checks(text: str) -> tuple[str, ...]:
    """Return what --check takes, one a line."""
    from conntrack_plugins.verdict import parse_rule

    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    for line in found:
        parse_rule(line)
        if not line.isprintable():
            raise InvalidRequest(f"{line!r} holds a character that can't be printed")
    return found


def choice(*known: str) -> Callable[[str], str]:
    """Return what takes one of these words."""

    def parse(text: str) -> str:
        if text not in known:
            raise InvalidRequest(f"{text!r} is none of {', '.join(known)}")
        return text

    return parse


class Setting(NamedTuple):
    """One key: its default as it would be written, how it is read, and what it means."""

    key: str
    default: str
    parse: Callable[[str], Any]
    meaning: str


SETTINGS = (
    Setting("warning", "80", percent, "Percent of the table in use at which to warn."),
    Setting("critical", "90", percent, "The same for critical."),
    Setting(
        "checks",
        "cpu.early_drop/s,0,10\ncpu.drop/s,0,10",
        checks,
        "Further thresholds of the checks, one a line: METRIC,WARN,CRIT as --check takes them.",
    ),
    Setting(
        "no_conntrack",
        "unknown",
        state,
        "State of the checks where the kernel has no connection tracking: ok, warning, critical "
        "or unknown.",
    ),
    Setting(
        "metrics",
        "",
        patterns,
        "Metrics that are sent, as table.*,tcp.state; * is all. Empty: what anybody may read at "
        "once.",
    ),
    Setting("interval", "60", seconds, "Seconds between two collections or checks."),
    Setting("netns", "", netns, "Another network namespace (name, process or all). Needs root."),
    Setting("conntrackd", "no", switch, "Whether conntrackd is watched, too: yes or no."),
    Setting(
        "conntrackd_command",
        "sudo -n /usr/sbin/conntrackd",
        words,
        "How agents that are not root ask conntrackd. Empty: by its socket.",
    ),
    Setting(
        "sudo",
        "needed",
        choice("needed", "always", "never"),
        "Whether commands are run by sudo: needed (where they read the whole table or another "
        "namespace), always (also for hosts whose kernel lacks /proc/net/stat/nf_conntrack) or "
        "never (where a drop-in of systemd gives the capability).",
    ),
    Setting("host", "localhost", name, "The host's name in Nagios and Icinga 2."),
    Setting("nagios_user", "nagios", name, "The user that runs the checks."),
    Setting("telegraf_user", "telegraf", name, "The user that Telegraf runs as."),
    Setting("plugin_dir", "/usr/lib/nagios/plugins", path, "Where the checks are installed."),
    Setting("bin_dir", "/usr/bin", path, "Where the other commands are installed."),
    Setting(
        "textfile",
        "/var/lib/prometheus/node-exporter/conntrack.prom",
        path,
        "The file that node_exporter's textfile collector reads.",
    ),
)
BY_KEY = {setting.key: setting for setting in SETTINGS}


def defaults() -> Values:
    """Return every setting's default value."""
    return {setting.key: setting.parse(setting.default) for setting in SETTINGS}


def load(agent: str, agents: Iterable[str], file: str = "", said: Iterable[str] = ()) -> Values:
    """Return an agent's settings: from the file, and over it `said`, which holds `key=value`.

    Without `file`, FILE is read if it is there. Raises InvalidRequest that names place and key.
    """
    values = dict(defaults())
    if file or os.path.exists(FILE):
        values.update(_from_file(file or FILE, agent, {ALL, *agents}))
    for text in said:
        key, equals, value = text.partition("=")
        if not equals:
            raise InvalidRequest(f"--set {text}: write KEY=VALUE, as warning=70")
        values[key] = _parsed(key, value, f"--set {key}")
    if values["critical"] < values["warning"]:
        raise InvalidRequest(
            f"warning ({values['warning']}) is above critical ({values['critical']}), "
            "so nothing would ever warn"
        )
    return values


def assignment(setting: Setting, value: Any) -> str:
    """Return the lines that say this in the file, as comments where it is the default."""
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, tuple):
        text = "\n".join(value) if setting.key == "checks" else shlex.join(value)
    else:
        text = str(value)
    lines = [f"{setting.key} = {text}".rstrip()]
    if "\n" in text:
        lines = [f"{setting.key} =", *(f"    {line}" for line in text.splitlines())]
    mark = "#" if value == setting.parse(setting.default) else ""
    return "\n".join(f"{mark}{line}" for line in lines)


def needs_root(values: Values) -> bool:
    """Tell whether the metrics that these settings send are not for anybody to read."""
    chosen = select(values["metrics"].split(",")) if values["metrics"] else CHEAP
    return bool(values["netns"]) or not set(chosen) <= set(CHEAP)


def _parsed(key: str, text: str, where: str) -> Any:
    setting = BY_KEY.get(key)
    if setting is None:
        from difflib import get_close_matches

        near = get_close_matches(key, BY_KEY, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(BY_KEY)}"
        raise InvalidRequest(f"{where}: there is no setting {key!r}; {hint}")
    try:
        return setting.parse(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"{where}: {error}") from None


def _from_file(file: str, agent: str, known: set[str]) -> Iterator[tuple[str, Any]]:
    try:
        with open(file, encoding="utf-8") as opened:
            text = opened.read()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise InvalidRequest(f"the settings {file} can't be read: {why}") from error
    sections = _sections(file, text)
    lines = _lines(text)
    for section in sections:
        if section not in known:
            raise InvalidRequest(
                f"{file}, line {lines[section, '']}: there is no agent {section!r}; "
                f"write [{ALL}] or one of {', '.join(sorted(known - {ALL}))}"
            )
    # What is broken for another agent is told, too: it would fail there one day.
    parsed = {
        (section, key): _parsed(key, value, f"{file}, line {lines[section, key]}, key {key}")
        for section in sections
        for key, value in sections[section].items()
    }
    for wanted in (ALL, agent):
        yield from ((key, value) for (section, key), value in parsed.items() if section == wanted)


def _sections(file: str, text: str) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.RawConfigParser(
        delimiters=("=",), comment_prefixes=("#",), default_section="", empty_lines_in_values=False
    )
    try:
        parser.read_string(text, file)
    except configparser.MissingSectionHeaderError as error:
        problem, line = f"write [{ALL}] above the first key", error.lineno
    except configparser.ParsingError as error:
        problem, line = "this is neither KEY = VALUE nor [SECTION]", error.errors[0][0]
    except configparser.DuplicateOptionError as error:
        problem, line = f"key {error.option} stands here a second time", error.lineno or 0
    except configparser.DuplicateSectionError as error:
        problem, line = f"section [{error.section}] stands here a second time", error.lineno or 0
    else:
        return {section: dict(parser[section]) for section in parser.sections()}
    raise InvalidRequest(f"{file}, line {line}: {problem}")


def _lines(text: str) -> Mapping[tuple[str, str], int]:
    """Return the line of each key and (with an empty key) of each section."""
    found: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        heading = re.match(r"\s*\[(.+)\]", line)
        key = re.match(r"\s*([^\s#=][^=]*)=", line)
        if heading:
            section = heading[1]
            found[section, ""] = number
        elif key:
            found[section, key[1].strip().lower()] = number
    return found

"""/etc/conntrack-plugins.conf: what `conntrack-stat render` writes into agents' configuration.

Format: configparser's INI with '=' and '#'. [all] holds for every agent; a section with an agent's
name for that one alone. The commands themselves read no settings: what they do, their options say.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from conntrack_common.errors import InvalidRequest
from conntrack_common.records import NamedTuple
from conntrack_plugins.render.setting_types import (
    checks,
    choice,
    name,
    netns,
    optional_path,
    path,
    patterns,
    percent,
    seconds,
    state,
    switch,
    words,
)

FILE = "/etc/conntrack-plugins.conf"
ALL = "all"
Values = Mapping[str, Any]
Settings = Mapping[str, Values]  # by agent


class Setting(NamedTuple):
    """One key: its default as it would be written, how it is read, what it means, how it is shown.

    What `shown` makes of a value, `parse` reads back.
    """

    key: str
    default: str
    parse: Callable[[str], Any]
    meaning: str
    shown: Callable[[Any], str] = str


SETTINGS = (
    Setting("warning", "80", percent, "Percent of the table in use at which to warn."),
    Setting("critical", "90", percent, "The same for critical."),
    Setting(
        "checks",
        "cpu.early_drop/s,0,10\ncpu.drop/s,0,10",
        checks,
        "Further thresholds of the checks, one a line: METRIC,WARN,CRIT as --check takes them.",
        "\n".join,
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
    Setting(
        "netns", "", netns, "Another network namespace (name, path, process or all). Needs root."
    ),
    Setting(
        "conntrackd",
        "no",
        switch,
        "Whether conntrackd is watched, too: yes or no.",
        {True: "yes", False: "no"}.__getitem__,
    ),
    Setting(
        "conntrackd_command",
        "sudo -n /usr/bin/timeout 5 /usr/sbin/conntrackd",
        words,
        "How agents that are not root ask conntrackd. Empty: by its socket.",
        shlex.join,
    ),
    Setting(
        "sudo",
        "needed",
        choice("needed", "always", "never"),
        "Whether commands are run by sudo: needed (where they read the whole table or another "
        "namespace), always (also for hosts whose kernel has no /proc/net/stat/nf_conntrack) or "
        "never (then 'render systemd' makes drop-ins that give agents' services CAP_NET_ADMIN).",
    ),
    Setting("host", "localhost", name, "The host's name in Nagios and Icinga 2."),
    Setting("nagios_user", "nagios", name, "The user that runs the checks."),
    Setting("telegraf_user", "telegraf", name, "The user that Telegraf runs as."),
    Setting("plugin_dir", "/usr/lib/nagios/plugins", path, "Where the checks are installed."),
    Setting("bin_dir", "/usr/bin", path, "Where the other commands are installed."),
    Setting(
        "module_path",
        "",
        optional_path,
        "Where collectd finds the Python modules. Empty: where Debian's python3 does; after a pip "
        "installation its site-packages.",
    ),
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


def load(agents: Iterable[str], file: str = "", overrides: Iterable[str] = ()) -> Settings:
    """Return each agent's settings: the file's, and `overrides` (as `key=value`) over them.

    Without `file`, FILE is read if it is there. Raises InvalidRequest that names place and key.
    """
    known = tuple(agents)
    written = _from_file(file or FILE, {ALL, *known}) if file or os.path.exists(FILE) else {}
    given = dict(_override(text) for text in overrides)
    found = {
        agent: {**defaults(), **written.get(ALL, {}), **written.get(agent, {}), **given}
        for agent in known
    }
    for agent, values in found.items():
        if values["critical"] < values["warning"]:
            raise InvalidRequest(
                f"for {agent}, warning ({values['warning']}) is above critical "
                f"({values['critical']}), so nothing would ever warn"
            )
    return found


def _override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequest(f"--set {text}: write KEY=VALUE, as warning=70")
    return key, _parsed(key, value, f"--set {key}")


def assignment(setting: Setting, value: Any) -> str:
    """Return the lines that say this in the file."""
    text = setting.shown(value)
    if "\n" in text:
        return "\n".join([f"{setting.key} =", *(f"    {line}" for line in text.splitlines())])
    return f"{setting.key} = {text}".rstrip()


def sections(settings: Settings, over: str) -> dict[str, list[str]]:
    """Return the lines of each section that a file needs beside [all], which holds `over`'s."""
    return {
        agent: [
            assignment(BY_KEY[key], value)
            for key, value in values.items()
            if value != settings[over][key]
        ]
        for agent, values in settings.items()
        if values != settings[over]
    }


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


def _from_file(file: str, known: set[str]) -> Settings:
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
    return {
        section: {
            key: _parsed(key, value, f"{file}, line {lines[section, key]}, key {key}")
            for key, value in found.items()
        }
        for section, found in sections.items()
    }


def _sections(file: str, text: str) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.RawConfigParser(
        delimiters=("=",), comment_prefixes=("#",), default_section=""
    )
    try:
        parser.read_string(text, file)
    except configparser.MissingSectionHeaderError as error:
        problem, line = f"write [{ALL}] above the first key", error.lineno
    except configparser.ParsingError as error:
        problem, line = "this is neither KEY = VALUE nor [SECTION]", error.errors[0][0]
    except configparser.DuplicateOptionError as error:
        problem, line = f"key {error.option} is here a second time", error.lineno or 0
    except configparser.DuplicateSectionError as error:
        problem, line = f"section [{error.section}] is here a second time", error.lineno or 0
    else:
        return {section: dict(parser[section]) for section in parser.sections()}
    raise InvalidRequest(f"{file}, line {line}: {problem}")


def _lines(text: str) -> Mapping[tuple[str, str], int]:
    """Return the line of each key and (with an empty key) of each section."""
    found: dict[tuple[str, str], int] = {}
    section = ""
    # Only a newline ends a line for configparser, unlike for str.splitlines.
    for number, line in enumerate(text.split("\n"), start=1):
        heading = re.match(r"\s*\[(.+)\]", line)
        key = re.match(r"\s*([^\s#=][^=]*)=", line)
        if heading:
            section = heading[1]
            found[section, ""] = number
        elif key:
            found.setdefault((section, key[1].strip().lower()), number)
    return found

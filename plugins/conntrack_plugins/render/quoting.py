"""How a text is written in each agent's configuration without breaking out of its place.

Each function takes a text without control characters (the settings refuse those) and returns how it
is written there. Formats: the agents' own manuals, named at each.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable

from conntrack_common.errors import InvalidRequest


class Verbatim(str):
    """A text that goes into a configuration as it is, because it is quoted already."""

    __slots__ = ()


def shell(words: Iterable[str]) -> str:
    """Return a command line that a shell takes for these words."""
    return " ".join(map(shlex.quote, words))


def nagios(text: str) -> str:
    """Return a text for Nagios' object files, where ';' begins a comment and '$' a macro."""
    return text.replace("$", "$$").replace(";", r"\;")


def nagios_command(words: Iterable[str]) -> str:
    """Return a command line for Nagios, before `nagios`; raises InvalidRequest."""
    program, *further = words
    # Nagios takes it for VARIABLE=VALUE, though it is quoted, and would run the next word.
    if "=" in program:
        raise InvalidRequest(f"Nagios can't run {program}: its path holds a '='")
    return shell([program, *further])


def nrpe(text: str) -> str:
    """Return a text for nrpe.cfg, where '$' begins a macro."""
    return text.replace("$", "$$")


def icinga(text: str) -> str:
    """Return a text for between double quotes of Icinga 2's language, '$' being a macro's."""
    return _escaped(text).replace("$", "$$")


def icinga_text(text: str) -> Verbatim:
    """Return a text for between double quotes where Icinga 2 looks for no macros."""
    return Verbatim(_escaped(text).replace("\n", r"\n"))


def collectd(text: str) -> str:
    """Return a text for between double quotes of collectd.conf(5)."""
    return _escaped(text)


def toml(text: str) -> str:
    """Return a text for between double quotes of TOML.

    Telegraf replaces $VARIABLES before it parses the file; TOML's own escape hides them.
    """
    return yaml(text).replace("$", r"\u0024")


def yaml(text: str) -> str:
    """Return a text for between double quotes of YAML, whose escapes are JSON's."""
    return promql(text)[1:-1]


def promql(text: str) -> str:
    """Return a string of PromQL, with its quotes; its escapes are Go's, as JSON's."""
    return json.dumps(text, ensure_ascii=False)


def systemd(text: str) -> str:
    """Return a text for between double quotes of systemd.syntax(7), with '%' doubled."""
    return _escaped(text).replace("%", "%%")


def systemd_words(words: Iterable[str]) -> Verbatim:
    """Return a command line for ExecStart= of systemd.service(5).

    Raises InvalidRequest for a command whose name systemd refuses.
    """
    program, *further = words
    if set(program) & set("\"'\\"):
        raise InvalidRequest(f"systemd can't run {program}: its path holds a quote or a backslash")
    # '$' begins a variable, but not in the command's name.
    quoted = [systemd(program), *(systemd(word).replace("$", "$$") for word in further)]
    return Verbatim(" ".join(f'"{word}"' for word in quoted))


def sudoers(words: Iterable[str]) -> Verbatim:
    r"""Return a command that means these words and no others, for a file of sudo.

    sudoers(5) knows other escapes in the command than behind it, and fnmatch(3) has its own. A
    command without words would be allowed with any words; "" says that there are none. Raises
    InvalidRequest for a command whose name it has no way to write.
    """
    program, *further = words
    if not program.startswith("/"):
        raise InvalidRequest(f"sudoers wants a command's whole path, and {program!r} is none")
    if "\\" in program:
        raise InvalidRequest(f"sudoers can't name {program}: its path holds a backslash")
    wild = re.sub(r"[*?[]", r"[\g<0>]", program)
    escaped = [re.sub(r"[,:=\\ #*?\[\]!]", r"\\\g<0>", word) for word in further]
    return Verbatim(" ".join([re.sub(r"[,:= #]", r"\\\g<0>", wild), *(escaped or ['""'])]))


def _escaped(text: str) -> str:
    """Return what most formats want between double quotes: backslash and quote behind another."""
    return text.replace("\\", "\\\\").replace('"', r"\"")

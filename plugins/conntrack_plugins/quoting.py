"""How a text stands in each agent's configuration without breaking out of its place.

Each function takes a text without control characters (the settings refuse those) and returns what
stands for it there. Formats: the agents' own manuals, named at each.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable


class Verbatim(str):
    """A text that stands in a configuration as it is, because it is quoted already."""

    __slots__ = ()


def shell(words: Iterable[str]) -> str:
    """Return a command line that a shell takes for these words."""
    return " ".join(map(shlex.quote, words))


def nagios(text: str) -> str:
    """Return a text for Nagios' object files, where ';' begins a comment and '$' a macro."""
    return text.replace("$", "$$").replace(";", r"\;")


def nrpe(text: str) -> str:
    """Return a text for nrpe.cfg, where '$' begins a macro."""
    return text.replace("$", "$$")


def icinga(text: str) -> str:
    """Return a text for between double quotes of Icinga 2's language, '$' being a macro's."""
    return text.replace("\\", "\\\\").replace('"', r"\"").replace("$", "$$")


def icinga_text(text: str) -> str:
    """Return a text for between double quotes where Icinga 2 looks for no macros."""
    return text.replace("\\", "\\\\").replace('"', r"\"").replace("\n", r"\n")


def collectd(text: str) -> str:
    """Return a text for between double quotes of collectd.conf(5)."""
    return text.replace("\\", "\\\\").replace('"', r"\"")


def toml(text: str) -> str:
    """Return a text for between double quotes of TOML.

    Telegraf replaces $VARIABLES before it parses the file; TOML's own escape hides them.
    """
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("$", r"\u0024")


def yaml(text: str) -> str:
    """Return a text for between double quotes of YAML, whose escapes are JSON's."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def systemd(text: str) -> str:
    """Return a text for between double quotes of systemd.service(5), with '%' and '$' doubled."""
    escaped = text.replace("\\", "\\\\").replace('"', r"\"")
    return escaped.replace("%", "%%").replace("$", "$$")


def systemd_words(words: Iterable[str]) -> Verbatim:
    """Return a command line for ExecStart=."""
    return Verbatim(" ".join(f'"{systemd(word)}"' for word in words))


def sudoers(words: Iterable[str]) -> Verbatim:
    r"""Return a command that means these words and no others, for a file of sudo.

    sudoers(5)'s own characters and those of fnmatch(3) lose their meaning by a backslash.
    """
    special = ',:=\\ #*?[]!"()'
    return Verbatim(
        " ".join("".join(f"\\{c}" if c in special else c for c in word) for word in words)
    )


def ini(text: str) -> str:
    """Return a value for an INI file: further lines are indented."""
    return text.replace("\n", "\n    ")

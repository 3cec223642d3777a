"""The manual pages: each command's interface, and the settings.

python3 -m conntrack_plugins.manual.pages DIRECTORY
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from conntrack_common import __version__
from conntrack_plugins.interface import Group, Interface, Option
from conntrack_plugins.manual.commands import commands
from conntrack_plugins.manual.prose import (
    ABOUT,
    CHECK_STATUS,
    OTHER_PAGES,
    SETTINGS_ERRORS,
    SETTINGS_EXAMPLE,
    SETTINGS_FORMAT,
    SETTINGS_USE,
    STATUS,
    About,
)
from conntrack_plugins.manual.roff import (
    bold,
    example,
    head,
    heading,
    italic,
    line,
    paragraphs,
    terms,
    text,
)
from conntrack_plugins.render.settings import FILE, SETTINGS, Setting

SETTINGS_NAME = "conntrack-plugins.conf"
SOURCE = f"conntrack-plugins {__version__}"
# A command's own options need no heading; argparse calls their group by one of these names.
UNTITLED = ("options", "optional arguments", "positional arguments")
# In an epilog: an example is indented, and blank lines between indented ones belong to it.
BLOCK = re.compile(r"(?:^ .*\n(?:\n+(?= ))?)+|(?:^\S.*\n)+", re.MULTILINE)


def pages() -> Mapping[str, str]:
    """Return every page by its file's name, as `conntrack-stat.1`."""
    made = {f"{name}.1": page(interface) for name, interface in commands().items()}
    return {**made, f"{SETTINGS_NAME}.5": settings_page(SETTINGS)}


def page(interface: Interface) -> str:
    """Return a command's page."""
    name = interface.name
    about = ABOUT.get(name, About())
    examples, notes = _examples(interface)
    return _joined(
        head(name, 1, SOURCE),
        _name(name, interface.summary),
        [".SH SYNOPSIS", f".B {text(name)}", *_synopsis(interface)],
        [".SH DESCRIPTION", *paragraphs([interface.summary, *notes, *about.text])],
        [".SH OPTIONS", *_groups(interface)],
        [".SH COMMANDS", *_commands(interface)] if interface.subcommands else [],
        [".SH EXIT STATUS", *terms(CHECK_STATUS if name.startswith("check_") else STATUS)],
        [".SH FILES", *terms(about.files)] if about.files else [],
        [".SH EXAMPLES", *examples] if examples else [],
        _see_also(f"{name}(1)"),
    )


def settings_page(settings: Iterable[Setting]) -> str:
    """Return the page of the settings' file."""
    from conntrack_plugins.render import AGENTS

    agents = ", ".join(agent for agent in AGENTS if agent != "settings")
    meanings = [(f"{each.key} = VALUE", f"{each.meaning} {_default(each)}") for each in settings]
    how = [SETTINGS_FORMAT.replace("{agents}", agents), SETTINGS_ERRORS]
    return _joined(
        head(SETTINGS_NAME, 5, SOURCE),
        _name(SETTINGS_NAME, "Settings of conntrack-stat render."),
        [".SH SYNOPSIS", f".I {text(FILE)}"],
        [".SH DESCRIPTION", line(SETTINGS_USE)],
        [".SH FILE FORMAT", *paragraphs(how)],
        [".SH SETTINGS", *terms(meanings)],
        [".SH FILES", *terms([(FILE, "read if it is there and no other file is named")])],
        [".SH EXAMPLES", *example(SETTINGS_EXAMPLE)],
        _see_also(f"{SETTINGS_NAME}(5)"),
    )


def _joined(*sections: Iterable[str]) -> str:
    return "".join(f"{each}\n" for section in sections for each in section)


def _default(setting: Setting) -> str:
    words = setting.default.splitlines()
    if len(words) > 1:
        return f"Default: {' and '.join(words)}, one a line."
    return f"Default: {words[0]}" if words else "Default: empty."


def _name(name: str, summary: str) -> list[str]:
    words = line(summary[:1].lower() + summary[1:].rstrip("."))
    return [".SH NAME", rf"{text(name)} \- {words}"]


def _synopsis(interface: Interface) -> Iterator[str]:
    options = rf"[{italic('OPTION')} ...]\&"
    if any(option.flags for option in interface.options):
        yield options
    yield from (_value(option) for option in interface.options if not option.flags)
    if interface.subcommands:
        yield rf"[{italic('COMMAND')} {options}]\&"


def _groups(interface: Interface) -> Iterator[str]:
    for group in interface.groups:
        if group.title not in UNTITLED:
            yield heading(group.title)
        yield from _options(group)
    for group, names in _shared(interface):
        yield heading(group.title)
        yield line(f"The commands {', '.join(names)} take these.")
        yield from _options(group)


def _options(group: Group) -> Iterator[str]:
    for option in group.options:
        flags = ", ".join(map(bold, option.flags))
        name = f"{flags} {_value(option)}".strip() if flags else italic(option.value)
        yield from (".TP", name, line(option.help))


def _value(option: Option) -> str:
    value = "|".join(option.choices) or option.value
    shown = italic(value) if value else ""
    return f"[{shown}]" if value and option.value_is_optional else shown


def _commands(interface: Interface) -> Iterator[str]:
    usual = _usual(interface)
    shared = [group for group, _names in _shared(interface)]
    for lacking in dict.fromkeys(usual.values()):
        flags = [option.flags[-1] for option, found in usual.items() if found == lacking]
        each = " ".join(["Each", *(f"but {name}" for name in lacking)])
        yield line(f"{each} takes {', '.join(flags)}, too.")
    for command in interface.subcommands:
        own = [
            Group(group.title, tuple(each for each in group.options if each not in usual))
            for group in command.groups
            if group not in shared
        ]
        synopsis = _synopsis(command._replace(groups=tuple(own)))
        examples, notes = _examples(command)
        yield f'.SS "{" ".join([text(f"{interface.name} {command.name}"), *synopsis])}"'
        yield from paragraphs([command.summary, *notes])
        for group in command.groups:
            if group in shared:
                yield from (".PP", line(f"It takes the {group.title}."))
        for group in own:
            if group.title not in UNTITLED:
                yield from (".PP", line(f"{group.title}:"))
            yield from _options(group)
        yield from ((".PP", *examples) if examples else ())


def _usual(interface: Interface) -> dict[Option, tuple[str, ...]]:
    """Return the command's own options that most subcommands take, with the names of the others."""
    found = {}
    for option in interface.options:
        lacking = [each.name for each in interface.subcommands if option not in each.options]
        if len(lacking) < len(interface.subcommands) / 2:
            found[option] = tuple(lacking)
    return found


def _shared(interface: Interface) -> list[tuple[Group, list[str]]]:
    """Return the titled groups that several subcommands have alike: they are described once."""
    found: dict[Group, list[str]] = {}
    for command in interface.subcommands:
        for group in command.groups:
            if group.title not in UNTITLED:
                found.setdefault(group, []).append(command.name)
    return [(group, names) for group, names in found.items() if len(names) > 1]


def _examples(interface: Interface) -> tuple[list[str], list[str]]:
    """Return the examples as roff, and the paragraphs of text between and behind them.

    Indented lines are an example; a line that ends with a colon leads to the next one.
    """
    examples: list[str] = []
    notes = []
    for block in BLOCK.findall(f"{interface.examples}\n"):
        if block.startswith(" "):
            examples += example(textwrap.dedent(block))
        elif block.endswith(":\n"):
            examples += [".PP", line(block)]
        else:
            notes.append(block)
    return examples, notes


def _see_also(this: str) -> Iterator[str]:
    known = [*(f"{name}(1)" for name in commands()), f"{SETTINGS_NAME}(5)"]
    found = [*OTHER_PAGES, *(name for name in known if name != this)]
    yield ".SH SEE ALSO"
    for number, name in enumerate(found, start=1):
        word, _, section = name.partition("(")
        yield f".BR {text(word)} ({section}{',' * (number < len(found))}"


def main(argv: Sequence[str]) -> None:
    """Write the pages into a directory."""
    (directory,) = argv
    Path(directory).mkdir(parents=True, exist_ok=True)
    for name, written in pages().items():
        Path(directory, name).write_text(written, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

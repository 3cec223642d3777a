"""What a command accepts, taken from its own parser: for manual pages, completion, Icinga 2."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from conntrack_common.records import NamedTuple

EXAMPLES = "examples:\n"


class Option(NamedTuple):
    """One option, or a positional argument if it has no flags."""

    flags: tuple[str, ...]
    value: str = ""
    help: str = ""
    choices: tuple[str, ...] = ()
    repeated: bool = False
    value_is_optional: bool = False

    @property
    def long(self) -> str:
        """The option's first long spelling, as `--check`."""
        return next((flag for flag in self.flags if flag.startswith("--")), "")


class Group(NamedTuple):
    """Options that belong together, under a title."""

    title: str
    options: tuple[Option, ...]


class Interface(NamedTuple):
    """A command: its name, a sentence, its options, its examples, its subcommands."""

    name: str
    summary: str
    groups: tuple[Group, ...]
    examples: str
    subcommands: tuple[Interface, ...] = ()

    @property
    def options(self) -> tuple[Option, ...]:
        """All options, of all groups."""
        return tuple(option for group in self.groups for option in group.options)


def interface(name: str, parser: argparse.ArgumentParser) -> Interface:
    """Return what a parser accepts, its subcommands among it."""
    groups = [
        Group(group.title or "", tuple(map(_option, found)))
        # argparse shows its groups and actions only to its own formatter.
        for group in parser._action_groups  # noqa: SLF001
        if (found := [action for action in group._group_actions if _is_option(action)])  # noqa: SLF001
    ]
    return Interface(
        name,
        parser.description or "",
        tuple(groups),
        (parser.epilog or "").partition(EXAMPLES)[2],
        tuple(interface(*found) for found in _subparsers(parser)),
    )


def _is_option(action: argparse.Action) -> bool:
    return action.help != argparse.SUPPRESS and not isinstance(action, argparse._SubParsersAction)  # noqa: SLF001


def _subparsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            yield from action.choices.items()


def _option(action: argparse.Action) -> Option:
    takes_value = action.nargs != 0
    value = action.metavar or action.dest.upper() if takes_value else ""
    return Option(
        tuple(action.option_strings),
        value if isinstance(value, str) else " ".join(value),
        (action.help or "").replace("%(prog)s", "the command").replace("%%", "%"),
        tuple(map(str, action.choices or ())),
        isinstance(action, (argparse._AppendAction, argparse._CountAction)),  # noqa: SLF001
        action.nargs == argparse.OPTIONAL,
    )

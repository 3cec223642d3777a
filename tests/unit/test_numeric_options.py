"""Every option that takes a number, of every command: what is none, or too large, is refused."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from conntrack_common.errors import InvalidRequest
from conntrack_plugins import prometheus, stat, telegraf
from conntrack_plugins.nagios import conntrack, conntrackd

PARSERS = (stat.parser, conntrack.parser, conntrackd.parser, prometheus.parser, telegraf.parser)
METAVARS = {"N", "SECONDS", "BYTES"}
NO_NUMBER = [
    *("", " 1", "1 ", "-1", "+1", "1_0", "0x10", "1e3", "nan", "inf", "-inf", "1,5", "\u0661"),
    *("9" * 20, "9" * 400, "9" * 5000),
]
NO_WHOLE_NUMBER = ["1.5", "1.", ".5"]


def options(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[argparse.ArgumentParser, tuple[str, ...], argparse.Action]]:
    """Each option: its command's parser, the subcommands before it, and itself."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, found in action.choices.items():
                for _parser, inner, option in options(found, (*words, name)):
                    yield parser, inner, option
        else:
            yield parser, words, action


NUMERIC = [
    found
    for make in PARSERS
    for found in options(make())
    if found[2].type is not None or found[2].metavar in METAVARS
]


def name(found: tuple[argparse.ArgumentParser, tuple[str, ...], argparse.Action]) -> str:
    return " ".join([found[0].prog, *found[1], found[2].option_strings[-1]])


def test_they_are_found() -> None:
    assert {"conntrack-stat list --limit", "check_conntrack --timeout"} <= set(map(name, NUMERIC))


@pytest.mark.parametrize("found", NUMERIC, ids=name)
def test_what_is_no_number_is_refused(
    found: tuple[argparse.ArgumentParser, tuple[str, ...], argparse.Action],
) -> None:
    parser, words, action = found
    flag = action.option_strings[-1]
    assert action.type is not None, "it is not read as a number"
    taken = vars(parser.parse_args([*words, f"{flag}=7"]))[action.dest]
    assert taken == 7
    more = NO_WHOLE_NUMBER if isinstance(taken, int) else []
    for text in [*NO_NUMBER, *more]:
        with pytest.raises(InvalidRequest) as raised:
            parser.parse_args([*words, f"{flag}={text}"])
        assert flag in str(raised.value)
        assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (("list",), "--limit"),
        (("count",), "--top"),
        (("events",), "--count"),
        (("events",), "--duration"),
        (("events",), "--buffer-size"),
        (("top",), "--interval"),
        (("sync",), "--watch"),
        ((), "--timeout"),
    ],
)
def test_nothing_is_too_little(words: tuple[str, ...], flag: str) -> None:
    parser = stat.parser() if words else conntrack.parser()
    with pytest.raises(InvalidRequest):
        parser.parse_args([*words, f"{flag}=0"])

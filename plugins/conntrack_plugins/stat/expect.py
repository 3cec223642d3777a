"""conntrack-stat expect: connections that the kernel expects, because a helper announced them."""

from __future__ import annotations

from collections.abc import Iterator

from conntrack_common.ctnetlink.expectations import Expectation, expectations
from conntrack_common.terms import protocol_name
from conntrack_plugins import arguments
from conntrack_plugins.stat.entries import in_namespaces
from conntrack_plugins.stat.screen import as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
  conntrack-stat expect             as conntrack -L expect
  conntrack-stat expect --count
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    command = arguments.subcommand(
        commands,
        "expect",
        expect,
        "the connections that helpers expect",
        EXAMPLES,
        takes=["json", "netns"],
    )
    command.add_argument(
        "--count", action="store_true", default=False, help="print their number only"
    )


def expect(args: argparse.Namespace) -> Iterator[str]:
    """Yield a line for each expectation, or their number."""

    def expect_here(netns: str | None) -> Iterator[str]:
        where = {} if netns is None else {"netns": netns}
        table = list(expectations())
        if args.count:
            document = {"schema": 1, **where, "expectations": len(table)}
            yield as_json(document) if args.json else f"{len(table)}\n"
            return
        for expectation in table:
            yield as_json({**where, **_described(expectation)}) if args.json else _line(expectation)

    yield from in_namespaces(args, expect_here)


def _described(expectation: Expectation) -> dict[str, object]:
    fields = {**expectation._asdict(), "protocol": protocol_name(expectation.protocol)}
    return {name: value for name, value in fields.items() if value is not None}


def _line(expectation: Expectation) -> str:
    words = [f"{expectation.timeout} s" if expectation.timeout is not None else ""]
    for name, value in _described(expectation).items():
        if name != "timeout":
            words.append(f"{name}={value}")
    return " ".join(words).strip() + "\n"

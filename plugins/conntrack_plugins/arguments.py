"""What the commands accept: their options, and what these mean."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence

from conntrack_common import __version__
from conntrack_common.catalogue.lookup import CHEAP, sendable
from conntrack_common.catalogue.metric import Metric
from conntrack_common.digits import decimal, whole
from conntrack_common.errors import InvalidRequest
from conntrack_common.proc.files import ProcRoot
from conntrack_plugins.run import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any, NoReturn, TypeVar

    from conntrack_common.filters.filter import Filter

    Options = TypeVar("Options", bound="tuple[object, ...]")

DAY = 86400  # seconds
MANY = 10**9  # entries, events, groups: more than any table has
# What may be given before a subcommand, too, as in `conntrack-stat --netns NAME status`.
SHARED_DEFAULTS = {"json": False, "netns": "", "proc_root": "/proc"}
SHARED = tuple(SHARED_DEFAULTS)


def parser(prog: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Return a command's parser, with the options that all commands share.

    Its options have no defaults: those are in the command's Options.
    """
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise InvalidRequest(f"{message}; '{self.prog} --help' shows the options")

        def _print_message(self, message: str, file: object = None) -> None:  # noqa: ARG002
            say(message)  # argparse's own passes over what can't be written

    made = Parser(
        prog=prog,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    made.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    add_proc_root(made)
    return made


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return an option's type: a whole number in this range."""
    import argparse

    def parse(text: str) -> int:
        number = whole(text, most)
        if number is None or number < least:
            raise argparse.ArgumentTypeError(
                f"{text[:40]!r} is no whole number from {least} to {most}"
            )
        return number

    return parse


def seconds(least: float, most: float) -> Callable[[str], float]:
    """Return an option's type: a time, of whole seconds or parts of them, in this range."""
    import argparse

    def parse(text: str) -> float:
        number = decimal(text, most)
        if number is None or number < least:
            raise argparse.ArgumentTypeError(
                f"{text[:40]!r} is no number of seconds from {least:g} to {most:g}"
            )
        return number

    return parse


def add_proc_root(to: argparse.ArgumentParser) -> None:
    """Add the option that reads a copy of /proc in a directory, and no ctnetlink; it is hidden."""
    import argparse

    to.add_argument("--proc-root", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def add_json(to: argparse.ArgumentParser) -> None:
    """Add the option that makes programs readers."""
    import argparse

    to.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON instead"
    )


def subcommand(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    work: Callable[[argparse.Namespace], Iterable[str]],
    text: str,
    examples: str = "",
    *,
    takes: Sequence[str] = SHARED,
) -> argparse.ArgumentParser:
    """Add a subcommand whose output `work` makes, and return its parser.

    `takes` are those of the SHARED options that it heeds; `check_shared` refuses the others.
    """
    import argparse

    made = commands.add_parser(
        name,
        help=text,
        description=f"Show {text}.",
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.set_defaults(work=work, takes=tuple(takes), name=name)
    for option, add in (("json", add_json), ("netns", add_netns), ("proc_root", add_proc_root)):
        if option in takes:
            add(made)
    return made


def check_shared(args: argparse.Namespace) -> None:
    """Raise InvalidRequest for an option before the subcommand that the subcommand has no use for.

    An option that is taken and not heeded would let one kernel's numbers pass for another's.
    """
    for option, default in SHARED_DEFAULTS.items():
        if getattr(args, option) != default and option not in args.takes:
            flag = f"--{option.replace('_', '-')}"
            raise InvalidRequest(f"'conntrack-stat {args.name}' has no {flag}: leave it out")


def add_filters(to: argparse.ArgumentParser, without: Sequence[str] = ()) -> None:
    """Add conntrack(8)'s filter options, less the spellings that the command needs itself."""
    from conntrack_common.filters.options import OPTIONS

    group = to.add_argument_group("filters, spelled as in conntrack(8)")
    for option in OPTIONS:
        made = group.add_argument(
            *(flag for flag in option.flags if flag not in without),
            dest=option.name,
            metavar=option.metavar,
            help=option.help,
            action="append" if option.is_list else "store",
        )
        if option.value_is_optional:
            made.nargs, made.const = "?", ""


def filter_of(args: argparse.Namespace) -> Filter:
    """Return the filter that the command line's options mean; raises InvalidRequest."""
    from conntrack_common.filters.filter import Filter

    return _take_filter(dict(vars(args))) or Filter()


def _take_filter(said: dict[str, Any]) -> Filter | None:
    """Take the filter's options out of what was said; return what they mean, if there are any."""
    from conntrack_common.filters.options import OPTIONS, build

    words = {}
    for option in OPTIONS:
        value = said.pop(option.name, None)
        if value is not None:
            words[option.name] = ",".join(value) if option.is_list else value
    return build(words) if words else None


def add_metrics(to: argparse.ArgumentParser) -> None:
    """Add the option that chooses metrics."""
    to.add_argument(
        "--metrics",
        metavar="PATTERN,…",
        help="send the metrics whose ids match, as 'table.*,cpu.drop'; '*' is all (default: "
        "table size and counters, which anybody may read; the counts by protocol, state, family, "
        "zone and status read the whole table and need CAP_NET_ADMIN)",
    )


def add_netns(to: argparse.ArgumentParser) -> None:
    """Add the option that chooses network namespaces."""
    import argparse

    to.add_argument(
        "--netns",
        metavar="NAME|PATH|PID|all",
        default=argparse.SUPPRESS,
        help="another network namespace: its name, a file or process that has it, or all "
        "that exist, each once, named by the label netns",
    )


def add_check(to: argparse.ArgumentParser) -> None:
    """Add the options that all Nagios checks share."""
    to.add_argument(
        "--check",
        metavar="METRIC,WARN,CRIT",
        action="append",
        help="put ranges on a metric, or on its growth per second as METRIC/s (repeatable)",
    )
    to.add_argument("--state-file", metavar="FILE", help="remember counters for METRIC/s here")
    to.add_argument(
        "-t",
        "--timeout",
        metavar="SECONDS",
        type=whole_number(1, DAY),
        help="give up (UNKNOWN) after this (10)",
    )
    to.add_argument("-v", "--verbose", action="count", help="a line for each value, too")


def options(
    kind: type[Options],
    make_parser: Callable[[], argparse.ArgumentParser],
    argv: Sequence[str] | None,
) -> Options:
    """Return a command line's options; `kind` is a record that holds the defaults.

    Raises InvalidRequest for a command line that is not understood.
    """
    words = sys.argv[1:] if argv is None else argv
    if not words:
        return kind()  # importing argparse would take as long as all the rest
    said = vars(make_parser().parse_args(words))
    if "filter_" in getattr(kind, "_fields", ()):
        said["filter_"] = _take_filter(said)
    return kind(**said)


def chosen(patterns: str) -> tuple[Metric, ...]:
    """Return the metrics that `--metrics` chooses, and source.up: raises InvalidRequest.

    Whoever reads a part wants to know when it can't be read.
    """
    if not patterns:
        return CHEAP
    return sendable([*(pattern.strip() for pattern in patterns.split(",")), "source.up"])


def proc_root(path: str) -> ProcRoot:
    """Return the /proc that `--proc-root` names; raises InvalidRequest."""
    if path != "/proc" and not os.path.isdir(path):
        raise InvalidRequest(f"--proc-root {path}: there is no such directory")
    return ProcRoot(path)

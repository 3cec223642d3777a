"""Nagios, NRPE and Icinga: check_conntrack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conntrack_common.catalogue.expression import Expression
from conntrack_common.catalogue.lookup import BY_ID
from conntrack_common.collect import collect_in
from conntrack_common.errors import ConntrackError, NotAvailable
from conntrack_common.records import NamedTuple
from conntrack_plugins import arguments
from conntrack_plugins.nagios import check
from conntrack_plugins.nagios.measured import Absent, Measured, measure, remember
from conntrack_plugins.rules import STATES, Range, Rule, parse_range, parse_rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from conntrack_common.filters.filter import Filter

EXAMPLES = """\
  check_conntrack                           usage of the table, 80 and 90 percent
  check_conntrack -w 70 -c 85
  check_conntrack --check cpu.early_drop/s,0,10 --check cpu.drop/s,0,1
  check_conntrack -w 80 -c 90 --check table.entries,1:,
  check_conntrack -u ASSURED                what the kernel can't evict, in percent of the limit
  check_conntrack -p tcp --check 'tcp.state[state=SYN_RECV],1000,10000'
  check_conntrack --netns all               every network namespace (root)

A range is [@][start:]end: alert outside of it (with @: inside). 'conntrack-stat metrics' lists
what --check accepts. Counters are added up over the CPUs; METRIC[cpu=0] is one of them. With a
filter, table.entries and table.usage count only what it means. With --check and without -w and -c,
the usage is shown and not judged.
"""


class Options(NamedTuple):
    """The command line's options, with their defaults."""

    warning: str = ""
    critical: str = ""
    check: Sequence[str] = ()
    no_conntrack: str = "unknown"
    state_file: str = ""
    timeout: int = 10
    verbose: int = 0
    netns: str = ""
    filter_: Filter | None = None
    proc_root: str = "/proc"


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = arguments.parser("check_conntrack", "Check Linux connection tracking.", EXAMPLES)
    made.add_argument(
        "-w", "--warning", metavar="RANGE", help="percent of the table that may be used (80)"
    )
    made.add_argument("-c", "--critical", metavar="RANGE", help="the same for CRITICAL (90)")
    arguments.add_check(made)
    made.add_argument(
        "--no-conntrack",
        metavar="STATE",
        choices=list(STATES),
        help="state where the kernel has no connection tracking: ok, warning, critical, unknown",
    )
    arguments.add_netns(made)
    arguments.add_filters(made, without=["-w", "-c"])
    return made


def rules(options: Options) -> list[Rule]:
    """Return what the command line asks for; raises InvalidRequest."""
    warning, critical = options.warning, options.critical
    if not (warning or critical or options.check):
        warning, critical = "80", "90"
    of_options = [parse_rule(text) for text in options.check]
    usual = [
        Rule(Expression(BY_ID["table.usage"]), parse_range(warning), parse_range(critical)),
        Rule(Expression(BY_ID["table.entries"]), Range(), Range(), quiet=True),
    ]
    # Agents keep one value for each label, so what has its own --check is not shown again.
    own = {rule.expression for rule in of_options}
    return [
        *(rule for rule in usual if _judges(rule) or rule.expression not in own),
        *of_options,
    ]


def _judges(rule: Rule) -> bool:
    return bool(str(rule.warning) or str(rule.critical))


def outcomes(options: Options) -> Iterator[Measured | Absent]:
    """Read what the rules need, once, and yield what each of them has; raises InvalidRequest."""
    judged, root = rules(options), arguments.proc_root(options.proc_root)
    metrics = [rule.expression.metric for rule in judged]
    readings = collect_in(options.netns, metrics, root, options.filter_)
    exchange = remember(
        "check_conntrack", options.state_file, root, str(options), timeout=options.timeout
    )

    def state_of(failure: ConntrackError) -> str:
        return options.no_conntrack if isinstance(failure, NotAvailable) else "unknown"

    yield from measure(judged, readings, exchange, state_of)


def main(argv: Sequence[str] | None = None) -> int:
    """Run check_conntrack; it ends with a Nagios state, whatever happens."""
    return check("conntrack", lambda: arguments.options(Options, parser, argv), outcomes)

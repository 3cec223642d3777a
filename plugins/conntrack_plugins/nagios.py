"""Nagios, NRPE and Icinga: check_conntrack."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import nagiosplugin

from conntrack_common import expression as expressions
from conntrack_common.collect import collect_in
from conntrack_common.errors import ConntrackError, InvalidRequest, NotAvailable
from conntrack_common.expression import Expression, Series
from conntrack_common.metrics import BY_ID, absences, shown
from conntrack_common.model import Reading
from conntrack_common.record import NamedTuple
from conntrack_common.sources.procfs import ProcRoot
from conntrack_plugins import command
from conntrack_plugins.verdict import STATES, Check, Finding, Rule, parse_range, parse_rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from conntrack_common.filters import Filter
    from conntrack_plugins.memory import Earlier

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
FIRST_RUN = "no earlier run to compare with; the rate is known from the next run on"


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
    made = command.parser("check_conntrack", "Check Linux connection tracking.", EXAMPLES)
    made.add_argument(
        "-w", "--warning", metavar="RANGE", help="percent of the table that may be used (80)"
    )
    made.add_argument("-c", "--critical", metavar="RANGE", help="the same for CRITICAL (90)")
    made.add_argument(
        "--check",
        metavar="METRIC,WARN,CRIT",
        action="append",
        help="put ranges on a metric, or on its growth per second as METRIC/s (repeatable)",
    )
    made.add_argument(
        "--no-conntrack",
        metavar="STATE",
        choices=list(STATES),
        help="state where the kernel has no connection tracking: ok, warning, critical, unknown",
    )
    made.add_argument(
        "--state-file", metavar="FILE", help="where to remember counters for METRIC/s"
    )
    made.add_argument(
        "-t",
        "--timeout",
        metavar="SECONDS",
        type=int,
        help="give up (UNKNOWN) after this time (10)",
    )
    made.add_argument(
        "-v", "--verbose", action="count", help="a line for each value below the first"
    )
    command.add_netns(made)
    command.add_filters(made, without=["-w"])
    return made


def rules(options: Options) -> list[Rule]:
    """Return what the command line wants to be measured; raises InvalidRequest."""
    judged = options.warning or options.critical
    warning, critical = options.warning, options.critical
    if not judged and not options.check:
        warning, critical = "80", "90"
    unlimited = nagiosplugin.Range()
    return [
        Rule(Expression(BY_ID["table.usage"]), parse_range(warning), parse_range(critical)),
        Rule(Expression(BY_ID["table.entries"]), unlimited, unlimited),
        *(parse_rule(text) for text in options.check),
    ]


def findings(options: Options, wanted: Sequence[Rule], root: ProcRoot) -> Iterator[Finding]:
    """Read what the rules need, once, and yield what was found for each of them."""
    metrics = [rule.expression.metric for rule in wanted]
    readings = collect_in(options.netns, metrics, root, options.filter_)
    earlier: Earlier | None = None
    trouble = ""
    if any(rule.expression.per_second for rule in wanted):
        try:
            earlier = _earlier(options, wanted, readings, root)
        except InvalidRequest as error:
            trouble = str(error)
    for reading, rule in itertools.product(readings, wanted):
        found = expressions.series(rule.expression, reading)
        if not found:
            yield _absence(rule, reading, options)
        for series in found:
            if not rule.expression.per_second:
                yield _value(rule, series, reading)
            elif trouble:
                yield Finding(rule, series.labels, detail=trouble)
            else:
                yield _rate(rule, series, earlier)


def _earlier(
    options: Options, wanted: Sequence[Rule], readings: Sequence[Reading], root: ProcRoot
) -> Earlier | None:
    from conntrack_plugins import memory

    identity = root.identity()
    path = options.state_file or memory.default_path("check_conntrack", f"{identity} {options}")
    return memory.exchange(path, identity, _counters(wanted, readings))


def _counters(wanted: Sequence[Rule], readings: Sequence[Reading]) -> Mapping[str, int]:
    return {
        name: int(value)
        for reading, rule in itertools.product(readings, wanted)
        if rule.expression.per_second
        for series in expressions.series(rule.expression, reading)
        for name, value in series.members.items()
    }


def _value(rule: Rule, series: Series, reading: Reading) -> Finding:
    metric = rule.expression.metric
    value = shown(metric, series.total)
    table = reading.sysctls
    if metric.id == "table.usage" and table:
        detail = f"{table.entries} of {table.limit} entries"
        return Finding(rule, series.labels, value, maximum=100, detail=detail)
    if metric.id == "table.entries" and table:
        return Finding(rule, series.labels, value, maximum=table.limit or None, quiet=True)
    return Finding(rule, series.labels, value)


def _rate(rule: Rule, series: Series, earlier: Earlier | None) -> Finding:
    if earlier is None:
        return Finding(rule, series.labels, detail=FIRST_RUN, state="ok")
    rate = expressions.rate(rule.expression.metric, series, earlier.counters, earlier.seconds)
    if rate is None:
        detail = "the counter was reset since the last run; the rate is known from the next run on"
        return Finding(rule, series.labels, detail=detail, state="ok")
    return Finding(rule, series.labels, rate, detail=f"over {earlier.seconds:.0f} s")


def _absence(rule: Rule, reading: Reading, options: Options) -> Finding:
    metric = rule.expression.metric
    failure: ConntrackError | None = reading.failures.get(metric.source)
    state = options.no_conntrack if isinstance(failure, NotAvailable) else "unknown"
    reasons = [absent.reason for absent in absences(reading, [metric])]
    detail = reasons[0] if reasons else "no sample has these labels now"
    return Finding(rule, detail=detail, state=state, quiet=metric.id == "table.entries")


@nagiosplugin.guarded(verbose=0)  # type: ignore[untyped-decorator]
def main(argv: Sequence[str] | None = None) -> int:
    """Run check_conntrack; it ends with a Nagios state, whatever happens."""
    return command.check("CONNTRACK", lambda: command.options(Options, parser, argv), _judge)


def _judge(options: Options) -> None:
    found = findings(options, rules(options), command.proc_root(options.proc_root))
    Check("conntrack", found, options.verbose).main(verbose=0, timeout=options.timeout)

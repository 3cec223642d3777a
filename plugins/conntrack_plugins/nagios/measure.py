"""From rules and readings to findings: values, rates since the last run, and what is absent."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from conntrack_common.catalogue import expression as expressions
from conntrack_common.catalogue.expression import Series
from conntrack_common.catalogue.lookup import absences, shown
from conntrack_common.errors import ConntrackError, InvalidRequest
from conntrack_common.model import Reading
from conntrack_common.proc.files import ProcRoot
from conntrack_plugins.nagios.plugin import Finding, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from conntrack_plugins.nagios.state_file import Earlier

    class Remember(Protocol):
        """What exchanges the counters of a source for those of an earlier run."""

        def __call__(self, source: str, counters: Mapping[str, int]) -> Earlier | None:
            """Raise InvalidRequest if they can't be remembered."""


FIRST_RUN = "no earlier run to compare with; the rate is known from the next run on"
UNMARKED = (
    "the rate is unknown: this kernel does not show whether the network namespace is still the "
    "one of the last run"
)
UNSEEN = "no sample has these labels now (of the zones, the 20 largest have one)"
RESET = "the counter was reset since the last run; the rate is known from the next run on"


def findings(
    wanted: Sequence[Rule],
    readings: Sequence[Reading],
    remember: Remember,
    absent_state: Callable[[ConntrackError], str],
) -> Iterator[Finding]:
    """Yield what was found for each rule in each reading.

    `remember` takes the counters whose growth is asked for, by source, and returns those of an
    earlier run; `absent_state` tells the state of a failure to read.
    """
    earlier: dict[str, Earlier | None] = {}
    trouble = ""
    rates = [rule for rule in wanted if rule.expression.per_second]
    try:
        for source in sorted({rule.expression.metric.source for rule in rates}):
            ours = [rule for rule in rates if rule.expression.metric.source == source]
            earlier[source] = remember(source, _counters(ours, readings))
    except InvalidRequest as error:
        trouble = str(error)
    for reading, rule in _pairs(readings, wanted):
        found = expressions.series(rule.expression, reading)
        if not found:
            yield _absence(rule, reading, absent_state)
        for series in found:
            if not rule.expression.per_second:
                yield _value(rule, series, reading)
            elif trouble:
                yield Finding(rule, series.labels, detail=trouble)
            else:
                yield _rate(rule, series, reading, earlier[rule.expression.metric.source])


def _pairs(readings: Sequence[Reading], wanted: Sequence[Rule]) -> Iterator[tuple[Reading, Rule]]:
    """Yield each reading with the rules that it was made for.

    What no reading was made for is said to be absent of all.
    """
    asked = frozenset[str]().union(*(reading.asked for reading in readings))
    for reading, rule in itertools.product(readings, wanted):
        source = rule.expression.metric.source
        if source in reading.asked or source not in asked:
            yield reading, rule


def _counters(rates: Sequence[Rule], readings: Sequence[Reading]) -> Mapping[str, int]:
    return {
        _remembered(reading, name): int(value)
        for reading, rule in _pairs(readings, rates)
        if reading.identity is not None
        for series in expressions.series(rule.expression, reading)
        for name, value in series.members.items()
    }


def _remembered(reading: Reading, name: str) -> str:
    """Return what a counter is remembered by: a namespace made anew has others of the same name."""
    return f"{reading.identity} {name}"


def _value(rule: Rule, series: Series, reading: Reading) -> Finding:
    metric = rule.expression.metric
    value = shown(metric, series.total)
    table = reading.sysctls
    if metric.id == "table.usage" and table:
        detail = f"{table.entries} of {table.limit} entries"
        return Finding(rule, series.labels, value, maximum=100, detail=detail)
    if metric.id == "table.entries" and table:
        maximum = table.limit or None
        return Finding(rule, series.labels, value, maximum=maximum, quiet=rule.quiet)
    return Finding(rule, series.labels, value, quiet=rule.quiet)


def _rate(rule: Rule, series: Series, reading: Reading, earlier: Earlier | None) -> Finding:
    if reading.identity is None:
        return Finding(rule, series.labels, detail=UNMARKED)
    names = {_remembered(reading, name): name for name in series.members}
    before = {
        names[key]: value
        for key, value in (earlier.counters if earlier else {}).items()
        if key in names
    }
    if earlier is None or not before:
        return Finding(rule, series.labels, detail=FIRST_RUN, state="ok", quiet=rule.quiet)
    rate = expressions.rate(rule.expression.metric, series, before, earlier.seconds)
    if rate is None:
        return Finding(rule, series.labels, detail=RESET, state="ok", quiet=rule.quiet)
    detail = f"over {earlier.seconds:.0f} s"
    return Finding(rule, series.labels, rate, detail=detail, quiet=rule.quiet)


def _absence(
    rule: Rule, reading: Reading, absent_state: Callable[[ConntrackError], str]
) -> Finding:
    metric = rule.expression.metric
    failure: ConntrackError | None = reading.failures.get(metric.source)
    state = rule.absent if failure is None else absent_state(failure)
    reasons = [absent.reason for absent in absences(reading, [metric])]
    detail = reasons[0] if reasons else UNSEEN
    return Finding(rule, detail=detail, state=state, quiet=rule.quiet)


def remember(
    check: str,
    state_file: str,
    root: ProcRoot,
    subject: str,
    ages: Mapping[str, float] | None = None,
    timeout: float = 10,
) -> Remember:
    """Return what exchanges the counters of this run for those of the last one.

    `subject` (the options) tells services apart that run at other times; so does the namespace
    that they run in. `ages` says of which sources the counters are not of now, but so many seconds
    old. A tenth of the `timeout` is left to wait for another process that has the file.
    """
    until = time.monotonic() + timeout / 10

    def exchange(source: str, counters: Mapping[str, int]) -> Earlier | None:
        from conntrack_plugins.nagios import state_file as memory

        path = state_file or memory.default_path(check, subject)
        run = f"{root.identity()} {subject} {source}"
        patience = max(0.0, until - time.monotonic())
        return memory.exchange(path, run, counters, (ages or {}).get(source, 0.0), patience)

    return exchange

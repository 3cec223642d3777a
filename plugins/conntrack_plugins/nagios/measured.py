"""What a check measured: the values of its rules, rates since the last run, and what is absent.

Nothing here needs nagiosplugin, so that the checks' options can be read where it is not installed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from conntrack_common.catalogue import expression as expressions
from conntrack_common.catalogue.expression import Series
from conntrack_common.catalogue.lookup import absences, shown
from conntrack_common.catalogue.metric import COUNTER
from conntrack_common.errors import ConntrackError, InvalidRequest
from conntrack_common.model import Reading
from conntrack_common.proc.files import ProcRoot
from conntrack_common.records import NamedTuple
from conntrack_plugins.labels import without
from conntrack_plugins.rules import Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, Union

    from conntrack_plugins.nagios.rates import Earlier

    Labels = tuple[tuple[str, str], ...]
    Outcome = Union["Measured", "Absent", "Remark"]

    class Exchange(Protocol):
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


class Measured(NamedTuple):
    """A rule's value in the unit that people read, and what to say beside it."""

    rule: Rule
    labels: Labels
    value: float
    note: str = ""
    maximum: float | None = None

    @property
    def name(self) -> str:
        """What the user calls it, as `cpu.early_drop/s`."""
        return expressions.text(self.rule.expression, self.labels)

    @property
    def unit(self) -> str:
        """The unit of measurement by the guidelines."""
        metric = self.rule.expression.metric
        if metric.unit == "ratio":
            return "%"
        return "c" if metric.kind == COUNTER and not self.rule.expression.per_second else ""

    @property
    def label(self) -> str:
        """The label in the performance data, where '=', quotes and '|' are not allowed."""
        expression = self.rule.expression
        values = [without("='|", value) for _name, value in (*expression.labels, *self.labels)]
        return ".".join([expression.metric.id, *values, *["rate"] * expression.per_second])


class Absent(NamedTuple):
    """Why a rule has no value, and the state that follows; a `quiet` one is a detail."""

    rule: Rule
    reason: str
    labels: Labels = ()
    state: str = "unknown"
    quiet: bool = False

    @property
    def name(self) -> str:
        """What the user calls it, as `cpu.early_drop/s`."""
        return expressions.text(self.rule.expression, self.labels)


class Remark(NamedTuple):
    """What is said of something else than a rule's metric, and the state that follows."""

    name: str
    reason: str
    state: str = "unknown"


def measure(
    rules: Sequence[Rule],
    readings: Sequence[Reading],
    exchange: Exchange,
    state_of: Callable[[ConntrackError], str],
) -> Iterator[Measured | Absent]:
    """Yield what each rule has in each reading.

    `exchange` takes the counters whose growth is asked for, by source, and returns those of an
    earlier run; `state_of` gives the state of a failure to read.
    """
    earlier: dict[str, Earlier | None] = {}
    trouble = ""
    rates = [rule for rule in rules if rule.expression.per_second]
    try:
        for source in sorted({rule.expression.metric.source for rule in rates}):
            ours = [rule for rule in rates if rule.expression.metric.source == source]
            earlier[source] = exchange(source, _counters(ours, readings))
    except InvalidRequest as error:
        trouble = str(error)
    for reading, rule in _pairs(readings, rules):
        all_series = expressions.series(rule.expression, reading)
        if not all_series:
            yield _absence(rule, reading, state_of)
        for series in all_series:
            if not rule.expression.per_second:
                yield _value(rule, series, reading)
            elif trouble:
                yield Absent(rule, trouble, series.labels)
            else:
                yield _rate(rule, series, reading, earlier[rule.expression.metric.source])


def _pairs(readings: Sequence[Reading], rules: Sequence[Rule]) -> Iterator[tuple[Reading, Rule]]:
    """Yield each reading with the rules that it was made for.

    What no reading was made for is absent of all.
    """
    asked = frozenset[str]().union(*(reading.asked for reading in readings))
    for reading, rule in itertools.product(readings, rules):
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


def _value(rule: Rule, series: Series, reading: Reading) -> Measured:
    metric, table = rule.expression.metric, reading.sysctls
    measured = Measured(rule, series.labels, shown(metric, series.total))
    if metric.id == "table.usage" and table:
        note = f"{table.entries} of {table.limit} entries"
        return measured._replace(note=note, maximum=100)
    if metric.id == "table.entries" and table:
        return measured._replace(maximum=table.limit or None)
    return measured


def _rate(
    rule: Rule, series: Series, reading: Reading, earlier: Earlier | None
) -> Measured | Absent:
    if reading.identity is None:
        return Absent(rule, UNMARKED, series.labels)
    names = {_remembered(reading, name): name for name in series.members}
    before = {
        names[key]: value
        for key, value in (earlier.counters if earlier else {}).items()
        if key in names
    }
    if earlier is None or not before:
        return Absent(rule, FIRST_RUN, series.labels, "ok", rule.quiet)
    rate = expressions.rate(rule.expression.metric, series, before, earlier.seconds)
    if rate is None:
        return Absent(rule, RESET, series.labels, "ok", rule.quiet)
    return Measured(rule, series.labels, rate, f"over {earlier.seconds:.0f} s")


def _absence(rule: Rule, reading: Reading, state_of: Callable[[ConntrackError], str]) -> Absent:
    metric = rule.expression.metric
    failure: ConntrackError | None = reading.failures.get(metric.source)
    state = rule.absent if failure is None else state_of(failure)
    reasons = [absent.reason for absent in absences(reading, [metric])]
    return Absent(rule, reasons[0] if reasons else UNSEEN, (), state, rule.quiet)


def remember(
    check: str,
    state_file: str,
    root: ProcRoot,
    subject: str,
    ages: Mapping[str, float] | None = None,
    timeout: float = 10,
) -> Exchange:
    """Return what exchanges the counters of this run for those of the last one.

    `subject` (the options) keeps services apart that run at other times; so does the namespace
    that they run in. `ages` are how many seconds ago the counters of some sources were read. A
    tenth of the `timeout` is left to wait for another process that has the file.
    """
    until = time.monotonic() + timeout / 10

    def exchange(source: str, counters: Mapping[str, int]) -> Earlier | None:
        from conntrack_plugins.nagios import rates

        path = state_file or rates.default_path(check, subject)
        run = f"{root.identity()} {subject} {source}"
        patience = max(0.0, until - time.monotonic())
        return rates.exchange(path, run, counters, (ages or {}).get(source, 0.0), patience)

    return exchange

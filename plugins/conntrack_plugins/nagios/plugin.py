"""How Nagios judges and shows what was measured: nagiosplugin's resource, contexts and summary.

Format: the Monitoring Plugins' guidelines. All performance data are on the first line, because
Icinga 2 misreads those behind a second '|'.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import nagiosplugin
from nagiosplugin.runtime import Runtime

from conntrack_common.errors import Interrupted
from conntrack_common.printable import printable
from conntrack_plugins.nagios.measured import Absent, Measured
from conntrack_plugins.rules import STATES, Rule
from conntrack_plugins.run import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from nagiosplugin.context import Contexts

    from conntrack_plugins.nagios.measured import Outcome, Remark

BY_NAME = dict(
    zip(
        STATES,
        (nagiosplugin.Ok, nagiosplugin.Warn, nagiosplugin.Critical, nagiosplugin.Unknown),
    )
)


class Ranges(nagiosplugin.ScalarContext):
    """Judges a value by its rule's ranges, and shows it as people read it."""

    def __init__(self, name: str, measured: Measured) -> None:
        rule = measured.rule
        percent = "%" * (measured.unit == "%")
        super().__init__(
            name,
            nagiosplugin.Range(rule.warning.text),
            nagiosplugin.Range(rule.critical.text),
            lambda metric, _context: f"{measured.name} {_number(metric.value)}{percent}",
        )
        self.quiet, self.limits = rule.quiet, _limits(rule)
        self._note = measured.note

    def evaluate(
        self, metric: nagiosplugin.Metric, resource: nagiosplugin.Resource
    ) -> nagiosplugin.Result:
        """Return the state, with what there is to say beside the value before the range it left."""
        result = super().evaluate(metric, resource)
        return result._replace(hint=", ".join(filter(None, (self._note, result.hint))))

    def performance(
        self, metric: nagiosplugin.Metric, resource: nagiosplugin.Resource
    ) -> nagiosplugin.Performance | None:
        """Return the performance data, with as many digits as people read."""
        performance = super().performance(metric, resource)
        return performance and performance._replace(value=_number(metric.value))


class State(nagiosplugin.Context):
    """Has a state of its own, where there is no value to judge, and says why."""

    def __init__(self, name: str, outcome: Absent | Remark) -> None:
        super().__init__(name, lambda _metric, _context: f"{outcome.name}: {outcome.reason}")
        self.quiet = isinstance(outcome, Absent) and outcome.quiet
        self.limits = _limits(outcome.rule) if isinstance(outcome, Absent) else ""
        self._state = BY_NAME[outcome.state]

    def evaluate(
        self,
        metric: nagiosplugin.Metric,
        resource: nagiosplugin.Resource,  # noqa: ARG002
    ) -> nagiosplugin.Result:
        """Return the state."""
        return self.result_cls(self._state, None, metric)


def _number(value: float) -> str:
    """Return a value as text: whole where it is a number of things, else with two decimals."""
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _limits(rule: Rule) -> str:
    return f"; warning {str(rule.warning) or 'none'}, critical {str(rule.critical) or 'none'}"


class Tracking(nagiosplugin.Resource):
    """Connection tracking, or conntrackd: what was measured of it becomes metrics.

    Measuring is left to `probe`, so that it happens in the time that the check has.
    """

    def __init__(self, outcomes: Iterable[Outcome], contexts: Contexts) -> None:
        self._outcomes, self._contexts = outcomes, contexts

    def probe(self) -> Generator[nagiosplugin.Metric, None, None]:
        """Measure, and yield a metric with a context of its own for each outcome."""
        for number, outcome in enumerate(self._outcomes):
            context = str(number)
            if isinstance(outcome, Measured):
                self._contexts.add(Ranges(context, outcome))
                yield nagiosplugin.Metric(
                    outcome.label, outcome.value, outcome.unit, 0, outcome.maximum, context
                )
            else:
                self._contexts.add(State(context, outcome))
                yield nagiosplugin.Metric(outcome.name, None, context=context)


class Summary(nagiosplugin.Summary):
    """Says what is wrong first, then the rest."""

    def ok(self, results: nagiosplugin.Results) -> str:
        """Return the first line when all is well."""
        return "; ".join(_sentences(results))

    def problem(self, results: nagiosplugin.Results) -> str:
        """Return the first line when something is wrong."""
        return self.ok(results)  # of which the worst come first

    def verbose(self, results: nagiosplugin.Results) -> list[str]:
        """Return a line for each outcome."""
        return [
            f"{result.state}: {_sentence(result)}{_context(result).limits}" for result in results
        ]


def _sentences(results: Iterable[nagiosplugin.Result]) -> Iterator[str]:
    for result in results:
        context = _context(result)
        is_bad = isinstance(context, Ranges) and result.state != nagiosplugin.Ok
        if is_bad or not context.quiet:
            yield _sentence(result)


def _sentence(result: nagiosplugin.Result) -> str:
    """Return what a result says, in one line, without what would begin performance data."""
    return printable(str(result)).replace("|", "/")


def _context(result: nagiosplugin.Result) -> Any:
    return result.context  # for type checkers any context, and none; here a Ranges or a State


def judge(name: str, outcomes: Iterable[Outcome], verbose: int, timeout: int) -> int:
    """Run a check, print its verdict and return its state.

    With `verbose`, the details are below the first line, and no performance data there. Raises
    Interrupted if the time is over before, OutputLost.
    """
    check = nagiosplugin.Check(Summary())
    check.add(Tracking(outcomes, check.contexts))
    check.name = name
    verdict = Runtime().stdout = io.StringIO()
    try:
        check.main(verbose=0, timeout=timeout)
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
    except nagiosplugin.Timeout as error:
        raise Interrupted(
            f"no verdict within {timeout} s: give it more by -t, or see by hand what is slow"
        ) from error
    details = check.summary.verbose(check.results) if verbose else []
    say("\n".join([verdict.getvalue().rstrip("\n"), *details, ""]))
    return check.exitcode

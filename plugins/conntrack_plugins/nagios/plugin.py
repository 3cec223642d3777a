"""How Nagios judges and shows what was measured: rules, findings and nagiosplugin's objects.

Format: the monitoring plugins' guidelines. All performance data stand on the first line, because
Icinga 2 misreads those behind a second '|'.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator

import nagiosplugin
from nagiosplugin.runtime import Runtime

from conntrack_common.catalogue import expression as expressions
from conntrack_common.catalogue.expression import Expression
from conntrack_common.catalogue.metric import COUNTER
from conntrack_common.errors import Interrupted, InvalidRequest
from conntrack_common.printable import printable
from conntrack_common.records import NamedTuple
from conntrack_plugins.labels import without
from conntrack_plugins.run import say

STATES = {
    "ok": nagiosplugin.Ok,
    "warning": nagiosplugin.Warn,
    "critical": nagiosplugin.Critical,
    "unknown": nagiosplugin.Unknown,
}


_NUMBER = r"-?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})"
RANGE = re.compile(rf"@?(?:(?:~|{_NUMBER})?:)?(?:{_NUMBER})?", re.ASCII)


class Rule(NamedTuple):
    """What is measured, and the Nagios ranges in which it is good.

    `absent` is the state where its source could be read but has no such value; a `quiet` rule is
    told in the first line only if it is broken.
    """

    expression: Expression
    warning: nagiosplugin.Range
    critical: nagiosplugin.Range
    absent: str = "unknown"
    quiet: bool = False


class Finding(NamedTuple):
    """One measured value in the unit that people read, or the reason why there is none.

    `detail` is that reason, or what to say beside the value; a `quiet` finding is told in the
    first line only if it is bad. `state` is the verdict where there is no value; `subject` says
    what it is about where that is no metric.
    """

    rule: Rule
    labels: tuple[tuple[str, str], ...] = ()
    value: float | None = None
    maximum: float | None = None
    detail: str = ""
    quiet: bool = False
    state: str = "unknown"
    subject: str = ""

    @property
    def name(self) -> str:
        """What the user calls it, as `cpu.early_drop/s`."""
        return self.subject or expressions.text(self.rule.expression, self.labels)

    @property
    def number(self) -> str:
        """The value as text: whole where it is a number of things, else with two decimals."""
        return str(self.value) if isinstance(self.value, int) else f"{self.value:.2f}"

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
        labels = (*expression.labels, *self.labels)
        values = [without("='|", value) for _name, value in labels]
        rate = ["rate"] if expression.per_second else []
        return ".".join([expression.metric.id, *values, *rate])


def parse_range(text: str) -> nagiosplugin.Range:
    """Return a Nagios range; a percent sign behind a number is passed over.

    Raises InvalidRequest.
    """
    words = text.replace("%", "").strip()
    try:
        if not RANGE.fullmatch(words):  # nagiosplugin reads numbers by Python's own rules
            raise ValueError("there are other characters than numbers have, or too many")
        return nagiosplugin.Range(words)
    except ValueError as error:
        raise InvalidRequest(
            f"{text[:80]!r} is no Nagios range ({error}): write [@][start:]end, as 80, 10: or @0:5"
        ) from error


def parse_rule(text: str) -> Rule:
    """Return what `--check METRIC,WARN,CRIT` says; raises InvalidRequest."""
    expression, comma, ranges = text.partition(",")
    if "[" in expression and "]" not in expression:  # a comma between two labels
        head, bracket, ranges = text.partition("]")
        rate, comma, ranges = ranges.partition(",")
        expression = head + bracket + rate
    warning, _, critical = ranges.partition(",")
    if not comma or "," in critical:
        raise InvalidRequest(
            f"--check {text!r}: write METRIC,WARN,CRIT, as cpu.drop/s,0,10 (a range may be empty)"
        )
    return Rule(expressions.parse(expression), parse_range(warning), parse_range(critical))


class FindingContext(nagiosplugin.Context):  # type: ignore[misc]
    """Judges each finding by its own rule."""

    def evaluate(
        self,
        metric: nagiosplugin.Metric,
        resource: nagiosplugin.Resource,  # noqa: ARG002
    ) -> nagiosplugin.Result:
        """Return a finding's state."""
        finding: Finding = metric.value
        if finding.value is None:
            return self.result_cls(STATES[finding.state], finding.detail, metric)
        for state, limit in (
            (nagiosplugin.Critical, finding.rule.critical),
            (nagiosplugin.Warn, finding.rule.warning),
        ):
            if str(limit) and not limit.match(finding.value):
                return self.result_cls(state, limit.violation, metric)
        return self.result_cls(nagiosplugin.Ok, None, metric)

    def performance(
        self,
        metric: nagiosplugin.Metric,
        resource: nagiosplugin.Resource,  # noqa: ARG002
    ) -> nagiosplugin.Performance | None:
        """Return a finding's performance data, or none where it has no value."""
        finding: Finding = metric.value
        if finding.value is None:
            return None
        return nagiosplugin.Performance(
            finding.label,
            finding.number,
            finding.unit,
            finding.rule.warning,
            finding.rule.critical,
            min=0,
            max=finding.maximum,
        )


class FindingSummary(nagiosplugin.Summary):  # type: ignore[misc]
    """Says what is wrong first, then the rest."""

    def ok(self, results: nagiosplugin.Results) -> str:
        """Return the first line when all is well."""
        return "; ".join(_sentences(results))

    def problem(self, results: nagiosplugin.Results) -> str:
        """Return the first line when something is wrong."""
        worst = sorted(results, key=lambda result: -result.state.code)
        return "; ".join(_sentences(worst))

    def verbose(self, results: nagiosplugin.Results) -> list[str]:
        """Return a line for each finding."""
        lines = []
        for result in results:
            finding: Finding = result.metric.value
            limits = (
                f"; warning {str(finding.rule.warning) or 'none'}"
                f", critical {str(finding.rule.critical) or 'none'}"
            )
            lines.append(f"{result.state}: {_said(result)}{'' if finding.subject else limits}")
        return lines


def _sentences(results: Iterable[nagiosplugin.Result]) -> Iterator[str]:
    for result in results:
        finding: Finding = result.metric.value
        bad = result.state != nagiosplugin.Ok and finding.value is not None
        if bad or not finding.quiet:
            yield _said(result)


def _said(result: nagiosplugin.Result) -> str:
    finding: Finding = result.metric.value
    if finding.value is None:
        return _sentence(f"{finding.name}: {finding.detail}")
    notes = ", ".join(note for note in (finding.detail, result.hint) if note)
    percent = "%" if finding.unit == "%" else ""
    value = f"{finding.name} {finding.number}{percent}"
    return _sentence(f"{value} ({notes})" if notes else value)


def _sentence(text: str) -> str:
    """Return a text in one line, without what would begin performance data."""
    return printable(text).replace("|", "/")


class Findings(nagiosplugin.Resource):  # type: ignore[misc]
    """Hands findings to nagiosplugin; measuring them is left to the time in which it is asked."""

    def __init__(self, name: str, find: Iterable[Finding]) -> None:
        self._name, self._find = name, find

    @property
    def name(self) -> str:
        """The check's name, which begins the first line."""
        return self._name

    def probe(self) -> Iterator[nagiosplugin.Metric]:
        """Measure."""
        for finding in self._find:
            yield nagiosplugin.Metric(finding.label, finding, context="finding")


class Check(nagiosplugin.Check):  # type: ignore[misc]
    """A check whose details stand below its first line, and no performance data there."""

    def __init__(self, name: str, findings: Iterable[Finding], verbose: int) -> None:
        super().__init__(Findings(name, findings), FindingContext("finding"), FindingSummary())
        self._detailed = verbose > 0

    def judge(self, timeout: int) -> int:
        """Run the check, print its verdict and return its state.

        Raises Interrupted if the time is over before, OutputLost.
        """
        verdict = Runtime().stdout = io.StringIO()
        try:
            self.main(verbose=0, timeout=timeout)
        except SystemExit as end:
            if not isinstance(end.code, int):
                raise
            say(verdict.getvalue())
        except nagiosplugin.Timeout as error:
            raise Interrupted(
                f"no verdict within {timeout} s: give it more by -t, or see by hand what is slow"
            ) from error
        return int(self.exitcode)

    def __call__(self) -> None:
        """Run the check."""
        super().__call__()
        if self._detailed:
            Runtime().output.add_longoutput(self.verbose_str)

"""What a threshold is set for: `METRIC`, `METRIC[label=value]` and, for counters, `METRIC/s`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from conntrack_common.analysis.rates import sum_of_rates
from conntrack_common.catalogue.lookup import find, samples
from conntrack_common.catalogue.metric import COUNTER, Metric
from conntrack_common.errors import InvalidRequest
from conntrack_common.model import REST, Reading, Sample, Value
from conntrack_common.records import NamedTuple

SYNTAX = re.compile(r"(?P<id>[^\[\]/,]+)(?:\[(?P<labels>[^\[\]]*)\])?(?P<rate>/s)?")
# Labels over which a metric is added up unless one of their values is named.
SUMMED = ("cpu",)


class Expression(NamedTuple):
    """One metric, narrowed to some label values, as it is or as growth per second."""

    metric: Metric
    labels: tuple[tuple[str, str], ...] = ()
    per_second: bool = False


class Series(NamedTuple):
    """The values that belong to one result: `members` are the samples it is the sum of."""

    labels: tuple[tuple[str, str], ...]
    members: Mapping[str, Value]

    @property
    def total(self) -> Value:
        """The sum of the members."""
        return sum(self.members.values())


def parse(text: str) -> Expression:
    """Return the expression that a user wrote; raises InvalidRequest."""
    match = SYNTAX.fullmatch(text.strip())
    if not match:
        raise InvalidRequest(
            f"{text!r} is not a metric: write METRIC, METRIC[label=value] or METRIC/s, "
            "as cpu.early_drop/s"
        )
    metric = find(match["id"])
    if match["rate"] and metric.kind != COUNTER:
        raise InvalidRequest(f"{metric.id} is a {metric.kind} and not a counter: leave out '/s'")
    return Expression(metric, _labels(metric, match["labels"]), bool(match["rate"]))


def _labels(metric: Metric, text: str | None) -> tuple[tuple[str, str], ...]:
    labels = []
    for pair in text.split(",") if text else ():
        name, equals, value = pair.partition("=")
        if not (equals and value and name in metric.labels):
            known = ", ".join(metric.labels) or "none"
            raise InvalidRequest(
                f"[{pair}] is not a label of {metric.id}: write [name=value] (its labels: {known})"
            )
        labels.append((name, value if metric.named is None else metric.named(value)))
    return tuple(labels)


def series(expression: Expression, reading: Reading) -> list[Series]:
    """Return the metric's values in a reading, one series for each combination of labels left.

    A label in SUMMED that the expression does not name is added up. A named value that a whole
    read did not meet is 0; otherwise the list is empty where the reading has no such metric.
    """
    groups: dict[tuple[tuple[str, str], ...], dict[str, Value]] = {}
    for sample in samples(reading, [expression.metric]):
        if set(expression.labels) <= set(sample.labels):
            named = [name for name, _value in expression.labels]
            rest = tuple(pair for pair in sample.labels if pair[0] not in (*named, *SUMMED))
            groups.setdefault(rest, {})[key(sample)] = sample.value
    if not groups and expression.labels and _is_whole(expression.metric, reading):
        where = () if reading.netns is None else (("netns", reading.netns),)
        return [Series(where, {text(expression, where): 0})]
    return [Series(labels, members) for labels, members in groups.items()]


def _is_whole(metric: Metric, reading: Reading) -> bool:
    """Return whether what a reading does not show of a metric with known labels is 0."""
    shown = {value for sample in samples(reading, [metric]) for _name, value in sample.labels}
    return metric.named is not None and bool(getattr(reading, metric.source)) and REST not in shown


def text(expression: Expression, labels: tuple[tuple[str, str], ...] = ()) -> str:
    """Return an expression as a user would write it, narrowed further by labels."""
    pairs = ",".join(f"{name}={value}" for name, value in (*expression.labels, *labels))
    return f"{expression.metric.id}{f'[{pairs}]' if pairs else ''}{'/s' * expression.per_second}"


def key(sample: Sample) -> str:
    """Return a sample's name as an expression would write it: what identifies it between runs."""
    return text(Expression(find(sample.id)), sample.labels)


def rate(metric: Metric, now: Series, before: Mapping[str, int], seconds: float) -> float | None:
    """Return a series' growth per second since an earlier reading, or None if it is unknown."""
    members = {name: int(value) for name, value in now.members.items()}
    known = {name: value for name, value in before.items() if name in members}
    return sum_of_rates(known, members, metric.bits, seconds)

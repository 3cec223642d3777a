"""The settings' thresholds as collectd's plugin threshold can say them (collectd-threshold(5)).

collectd judges one series by itself, knows counters by their growth, and has only what is sent to
it; a rule that means something else is named with the reason, and not left out without a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from conntrack_common.catalogue.metric import COUNTER, Metric
from conntrack_common.model import Sample
from conntrack_common.records import NamedTuple
from conntrack_plugins import collectd
from conntrack_plugins.arguments import chosen
from conntrack_plugins.render.settings import Values
from conntrack_plugins.rules import Range, Rule, parse_rule

# These labels stand in the plugin's instance, which a threshold need not name.
ELSEWHERE = {"cpu", "netns"}


class Threshold(NamedTuple):
    """A rule: its text, the place of its values, its bounds, or why collectd can't judge it."""

    text: str
    place: collectd.Identifier
    bounds: tuple[tuple[str, str], ...]
    why_not: str = ""


def thresholds(values: Values) -> Iterator[Threshold]:
    """Yield the settings' rules, usage first."""
    sent = chosen(values["metrics"])
    for text in (f"table.usage,{values['warning']},{values['critical']}", *values["checks"]):
        rule = parse_rule(text)
        metric = rule.expression.metric
        place = collectd.identifier(Sample(metric.id, rule.expression.labels, 0))
        bounds = (*_bounds("Warning", rule.warning), *_bounds("Failure", rule.critical))
        why_not = _why_not(rule) or _unsent(metric, sent) or ("" if bounds else "no value is bad")
        yield Threshold(text, place, () if why_not else bounds, why_not)


def _why_not(rule: Rule) -> str:
    expression = rule.expression
    lacking = set(expression.metric.labels) - ELSEWHERE - {name for name, _ in expression.labels}
    if lacking:
        return f"it judges each series by itself: name the {' and the '.join(sorted(lacking))}"
    if (expression.metric.kind == COUNTER) != expression.per_second:
        return "it knows counters by their growth, and nothing else's"
    if any(range_.invert for range_ in (rule.warning, rule.critical)):
        return "it has no inverted ranges"
    return ""


def _unsent(metric: Metric, sent: Iterable[Metric]) -> str:
    return "" if metric in sent else f"{metric.id} is not sent; add it to the setting metrics"


def _bounds(word: str, range_: Range) -> Iterator[tuple[str, str]]:
    # Nothing in the catalogue is negative, so 0 as the lower end says nothing.
    if range_.start > 0:
        yield f"{word}Min", f"{range_.start:.15g}"
    if math.isfinite(range_.end):
        yield f"{word}Max", f"{range_.end:.15g}"

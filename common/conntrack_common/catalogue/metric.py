"""What a metric is; the other modules of the catalogue hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from conntrack_common.model import Reading, Value
from conntrack_common.records import NamedTuple

GAUGE, COUNTER, STATE = "gauge", "counter", "state"
# The value of each combination of label values; none at all means that the metric is absent.
Values = Mapping[tuple[str, ...], Value]


class Metric(NamedTuple):
    """One quantity: what it is called, what it means and how it is taken from a reading.

    `source` names the part of a Reading that it needs; `bits` is the width at which a counter
    wraps; `absent_when` says why a kernel that was read may not have it, and `why` which reason
    applies to a reading ("" is that one). `named`, where the values of the label are known, returns
    such a value as it is spelled here; it raises InvalidRequest.
    """

    id: str
    kind: str
    unit: str
    help: str
    source: str
    take: Callable[[Reading], Values]
    labels: tuple[str, ...] = ()
    bits: int = 0
    absent_when: str = "this kernel does not show it"
    why: Callable[[Reading], str] = lambda _reading: ""
    named: Callable[[str], str] | None = None


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the part of a sentence that suggests known words for a misspelt one."""
    from difflib import get_close_matches

    names = list(known)
    close = get_close_matches(word, names, n=3, cutoff=0.5) or names[:3]
    return f"; did you mean {' or '.join(close)}?"

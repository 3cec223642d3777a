"""Projections of a census onto dimensions: pure work on cells, without a kernel."""

from __future__ import annotations

import pytest

from captures import DUMP, LISTING, with_zone_and_status
from conntrack_common import breakdown, listing
from conntrack_common.ctnetlink.census import Census
from conntrack_common.ctnetlink.entries import Reader
from conntrack_common.errors import InvalidRequest
from conntrack_common.filters.filter import Filter
from conntrack_plugins.stat import conntrack_line
from conntrack_plugins.stat.conntrack_line import LineFormat


def test_unknown_dimensions_are_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match=r"'colour'.*protocol"):
        breakdown.check_dimensions(["protocol", "colour"])


@pytest.mark.parametrize("name", sorted(breakdown.DIMENSIONS))
def test_every_dimension_counts_a_real_dump(name: str) -> None:
    census = Census(breakdown._query([name], Filter()))
    census.count(DUMP)
    merged = breakdown._merged(census, [name])
    assert census.total == len(LISTING)
    told = sum(cell.entries for cell in merged.values())
    if name == "status":  # flags overlap
        assert told > len(LISTING)
    elif name == "tcp_state":
        assert told == sum(line.startswith("tcp ") for line in LISTING)
    else:
        assert told == len(LISTING)


def test_many_zones_become_other() -> None:
    zones = {str(number): 100 - number for number in range(50)}
    told = breakdown._largest(zones, 20)
    assert len(told) == 21
    assert told["0"] == 100
    assert told["other"] == sum(100 - number for number in range(20, 50))
    assert breakdown._largest({"0": 1}, 20) == {"0": 1}


@pytest.mark.parametrize("wanted", [Filter(), Filter(mark=(0, 0))])
@pytest.mark.parametrize("limit", [1, 7, 100, 100_000])
def test_each_dimension_is_exact_whatever_the_combinations(wanted: Filter, limit: int) -> None:
    """Many zones with several statuses: more combinations than there is room for at once."""
    pairs = [(zone, status) for zone in range(150) for status in (8, 10, 14)] * 2
    margins = breakdown._Margins(wanted, limit)
    for pair in pairs:
        margins.count(with_zone_and_status(*pair))
    found = margins.counts()
    assert (margins.total, margins.error) == (900, 0)
    assert {name: found["protocol"][name] for name in ("tcp", "udp")} == {"tcp": 0, "udp": 900}
    assert found["status"]["SEEN_REPLY"] == 600
    assert found["status"]["UNREPLIED"] == 300
    assert found["zone"]["other"] == 130 * 6
    assert sum(found["zone"].values()) == sum(found["family"].values()) == 900


@pytest.mark.parametrize("limit", [1, 30])
def test_what_readers_of_events_remember_is_bounded(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """They may run for months, and others choose the zones and flags that they see."""
    monkeypatch.setattr(listing, "LIMIT", limit)
    monkeypatch.setattr(conntrack_line, "LIMIT", limit)
    reader, is_meant, lines = Reader(), listing.Matcher(Filter(status=(2, 0))), LineFormat()
    for status in (*range(100), *range(100)):
        ((form, values),) = reader.read(with_zone_and_status(status, status))
        assert is_meant(form, values) == bool(status & 2)
        assert ("[UNREPLIED]" in lines.line(form, values)) == (not status & 2)
        assert len(is_meant._accepted) <= limit
        assert len(lines._fills) <= limit

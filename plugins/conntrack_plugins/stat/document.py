"""The one JSON shape of readings: what every subcommand with samples prints with --json."""

from __future__ import annotations

from collections.abc import Iterable

from conntrack_common.catalogue.lookup import BY_ID, absences, samples
from conntrack_common.catalogue.metric import Metric
from conntrack_common.model import Reading

SCHEMA = 1


def document(reading: Reading, metrics: Iterable[Metric]) -> dict[str, object]:
    """Return a reading as a document; ratios are between 0 and 1."""
    wanted = list(metrics)
    return {
        "schema": SCHEMA,
        "time": reading.time,
        "host": reading.host,
        "netns": reading.netns,
        "samples": [
            {
                "id": sample.id,
                "labels": dict(sample.labels),
                "value": sample.value,
                "kind": BY_ID[sample.id].kind,
                "unit": BY_ID[sample.id].unit,
            }
            for sample in samples(reading, wanted)
        ],
        "absent": [absent._asdict() for absent in absences(reading, wanted)],
    }

"""docs/metrics.md: the catalogue as a table, with each metric's name in every agent.

python3 -m conntrack_plugins.manual.reference > docs/metrics.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from conntrack_common.catalogue.lookup import CATALOGUE, sendable
from conntrack_plugins.names import names

HEAD = """\
# Metrics

Generated from the catalogue (`common/conntrack_common/catalogue/`) by `make docs`; don't edit.

A metric that could not be read is absent, with the reason, and never 0. Counters are 32 bits wide
per CPU and start anew with the kernel or the namespace: take differences per CPU, then add up.
`conntrack-stat metrics` prints the same list for the version that is installed.

| id | kind | unit | labels | what it is | absent when |
|---|---|---|---|---|---|
"""
NAMES = """
## Names in each agent

In Nagios a metric is called by its id, as `--check cpu.drop/s,0,1`. <label> is a label's
value.

| id | Prometheus | InfluxDB (Telegraf): measurement, tags, field | collectd: conntrack-… |
|---|---|---|---|
"""


def reference() -> Iterator[str]:
    """Yield the document's lines."""
    yield HEAD
    for metric in CATALOGUE:
        labels = ", ".join(metric.labels) or "none"
        kind = f"{metric.kind}, {metric.bits} bits" if metric.bits else metric.kind
        yield (
            f"| `{metric.id}` | {kind} | {metric.unit} | {labels} | {metric.help} "
            f"| {metric.absent_when} |\n"
        )
    yield NAMES
    for metric in sendable(["*"]):
        yield f"| `{metric.id}` | {' | '.join(f'`{name}`' for name in names(metric))} |\n"


if __name__ == "__main__":
    sys.stdout.writelines(reference())

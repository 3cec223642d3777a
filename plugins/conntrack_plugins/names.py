"""What each agent calls a metric."""

from __future__ import annotations

from conntrack_common.catalogue.metric import Metric
from conntrack_common.model import Sample
from conntrack_plugins import collectd, prometheus, telegraf


def names(metric: Metric) -> tuple[str, str, str]:
    """Return what Prometheus, InfluxDB and collectd call a metric that they can get."""
    measurement, field = telegraf.name(metric)
    sample = Sample(metric.id, tuple((label, f"<{label}>") for label in metric.labels), 0)
    place = collectd.identifier(sample)
    return (
        prometheus.name(metric),
        " ".join([measurement, *metric.labels, field]),
        f"{place.plugin_instance}/{place.type}-{place.type_instance}",
    )

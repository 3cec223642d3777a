"""Prometheus: the text exposition format, for node_exporter's textfile collector.

Format: prometheus.io/docs/instrumenting/exposition_formats, names by its best practices.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from conntrack_common.catalogue.lookup import BY_ID, samples
from conntrack_common.catalogue.metric import COUNTER, Metric
from conntrack_common.collect import collect_in, complaints, require
from conntrack_common.errors import InvalidRequest
from conntrack_common.model import Sample
from conntrack_common.records import NamedTuple
from conntrack_plugins import arguments, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from conntrack_common.filters.filter import Filter

EXAMPLES = """\
  conntrack-prometheus
  conntrack-prometheus --output /var/lib/prometheus/node-exporter/conntrack.prom
"""
UNITS = {"ratio": "ratio", "entries": "entries", "bytes": "bytes", "seconds": "seconds"}
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def name(metric: Metric) -> str:
    """Return a metric's name: `conntrack_`, its id, and its unit, or `_total` for a counter."""
    stem = f"conntrack_{metric.id.replace('.', '_')}"
    suffix = "total" if metric.kind == COUNTER else UNITS.get(metric.unit, "")
    return f"{stem}_{suffix}" if suffix and not stem.endswith(f"_{suffix}") else stem


def exposition(values: Iterable[Sample]) -> str:
    """Return the samples as families, each with its HELP and TYPE."""
    families: dict[str, list[str]] = {}
    for sample in values:
        metric = BY_ID[sample.id]
        labels = ",".join(f'{key}="{value.translate(ESCAPES)}"' for key, value in sample.labels)
        family = families.setdefault(sample.id, _head(metric))
        braced = f"{{{labels}}}" if labels else ""
        family.append(f"{name(metric)}{braced} {sample.value}")
    return "".join(f"{line}\n" for family in families.values() for line in family)


def _head(metric: Metric) -> list[str]:
    kind = "counter" if metric.kind == COUNTER else "gauge"
    text = metric.help.replace("\\", r"\\").replace("\n", r"\n")
    return [f"# HELP {name(metric)} {text}", f"# TYPE {name(metric)} {kind}"]


def write(text: str, path: str) -> None:
    """Replace a file in one step, so that no collector ever reads half of it.

    Raises InvalidRequest when it can't be written.
    """
    # The collector reads *.prom, so the temporary name must not end so.
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        from contextlib import suppress

        with suppress(OSError):  # it was not created, or nothing can be changed there
            os.unlink(temporary)
        raise InvalidRequest(
            f"{path} can't be written ({error.strerror}): "
            "give --output a file in a directory that this user may write to"
        ) from error


class Options(NamedTuple):
    """The command line's options, with their defaults."""

    metrics: str = ""
    netns: str = ""
    filter_: Filter | None = None
    output: str = ""
    proc_root: str = "/proc"


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    command = arguments.parser(
        "conntrack-prometheus",
        "Print connection tracking metrics in Prometheus' text format.",
        EXAMPLES,
    )
    arguments.add_metrics(command)
    arguments.add_netns(command)
    arguments.add_filters(command)
    command.add_argument(
        "--output", metavar="FILE.prom", help="write to this file, which is replaced in one step"
    )
    return command


def report(options: Options) -> Iterator[str]:
    """Yield the exposition, or write it to the output file; raises if nothing could be read.

    After such a failure the output shows only which sources are down: the numbers of an earlier
    run would look current. The reason for a missing part is a line on standard error.
    """
    metrics = arguments.chosen(options.metrics)
    root = arguments.proc_root(options.proc_root)
    readings = collect_in(options.netns, metrics, root, options.filter_)
    text = exposition(sample for reading in readings for sample in samples(reading, metrics))
    if options.output:
        write(text, options.output)
    else:
        yield text
    for reason in complaints(require(readings, metrics)):
        run.complain(f"conntrack-prometheus: {reason}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run conntrack-prometheus."""
    return run.run(
        "conntrack-prometheus", lambda: report(arguments.options(Options, parser, argv)), "utf-8"
    )

"""Telegraf: InfluxDB line protocol on standard output, for inputs.exec and inputs.execd.

Format: the InfluxDB line protocol reference. Lines carry no timestamp (Telegraf sets one for the
whole gather) and no host tag (Telegraf adds it).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from conntrack_common.catalogue.lookup import BY_ID, samples, select, shown
from conntrack_common.catalogue.metric import Metric
from conntrack_common.collect import collect_in, complaints, require, with_events
from conntrack_common.errors import ConntrackError, InvalidRequest, NotAvailable
from conntrack_common.model import Sample, Value
from conntrack_common.records import NamedTuple
from conntrack_plugins import arguments, run
from conntrack_plugins.labels import without

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from conntrack_common.ctnetlink.events import EventCounter
    from conntrack_common.filters.filter import Filter

EXAMPLES = """\
  conntrack-telegraf                          size and settings of the table, and the counters
  conntrack-telegraf --metrics '*'            every metric (root)

telegraf.conf:
  [[inputs.exec]]
    commands = ["conntrack-telegraf"]
    data_format = "influx"

  [[inputs.execd]]
    command = ["conntrack-telegraf", "--execd"]
    signal = "STDIN"
    data_format = "influx"
"""
PIECE = 65536  # bytes of standard input that are read at once
ESCAPES = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ ", "\n": r"\n", "\t": r"\t"})


def name(metric: Metric) -> tuple[str, str]:
    """Return a metric's measurement and field.

    By rule: the measurement is `conntrack`, followed by the id's group unless that is `table`
    (`sync` is conntrackd, followed by the section); the field is the rest. A name that is also
    a label (tcp.state) goes into the measurement, because queries can't distinguish a tag from a
    field of the same name.
    """
    group, _, field = metric.id.partition(".")
    parts = ["conntrack"] + ([] if group == "table" else [group])
    if group == "sync":
        section, _, field = field.partition(".")
        parts = ["conntrackd", section]
    if field in metric.labels:
        parts.append(field)
        field = metric.unit
    elif metric.unit == "ratio":
        field += "_percent"
    return "_".join(parts), field.replace(".", "_")


def line_protocol(values: Iterable[Sample]) -> str:
    """Return the samples as lines: those of one measurement and tag set together in one line."""
    lines: dict[str, list[str]] = {}
    for sample in values:
        metric = BY_ID[sample.id]
        measurement, field = name(metric)
        tags = "".join(f",{key}={_escape(value)}" for key, value in sorted(sample.labels) if value)
        lines.setdefault(measurement + tags, []).append(f"{field}={_number(metric, sample.value)}")
    return "".join(f"{series} {','.join(fields)}\n" for series, fields in lines.items())


def _escape(tag: str) -> str:
    # A backslash at the end would escape the blank after the tag set.
    return (without("\\", tag) if "\\" in tag else tag).translate(ESCAPES)


def _number(metric: Metric, value: Value) -> str:
    # A field always keeps the type of its first value, so the metric decides and not the value.
    return f"{shown(metric, value):.4f}" if metric.unit == "ratio" else f"{int(value)}i"


class Options(NamedTuple):
    """The command line's options, with their defaults."""

    metrics: str = ""
    netns: str = ""
    execd: bool = False
    filter_: Filter | None = None
    proc_root: str = "/proc"


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    command = arguments.parser(
        "conntrack-telegraf",
        "Print connection tracking metrics in InfluxDB line protocol, for Telegraf.",
        EXAMPLES,
    )
    arguments.add_metrics(command)
    arguments.add_netns(command)
    command.add_argument(
        "--execd",
        action="store_true",
        help="keep running, print the metrics for each line on standard input, and count events",
    )
    arguments.add_filters(command)
    return command


def report(options: Options) -> Iterator[str]:
    """Yield one gather as line protocol; raises the reason if nothing could be read.

    Why a part is missing is a line on standard error, at the level that Telegraf reads from its
    prefix.
    """
    metrics = arguments.chosen(options.metrics)
    root = arguments.proc_root(options.proc_root)
    readings = require(collect_in(options.netns, metrics, root, options.filter_), metrics)
    for reason in complaints(readings):
        run.complain(f"W! {reason}")
    yield line_protocol(sample for reading in readings for sample in samples(reading, metrics))


def serve(options: Options) -> Iterator[str]:
    """Yield a gather for each line on standard input, with the events since the start.

    A failure is one line on standard error, as in `report`; a part that stays missing is reported
    once.
    """
    metrics = arguments.chosen(options.metrics)
    root = arguments.proc_root(options.proc_root)
    is_here = root.is_live and not options.netns
    if not options.metrics and is_here:
        metrics += select(["events.*"])
    has_events = any(metric.source == "events" for metric in metrics)
    if has_events and not is_here:
        raise InvalidRequest(
            "events are those of this process' own network namespace, on the running kernel: "
            "leave out --netns and --proc-root, or choose other --metrics"
        )
    reported: set[str] = set()
    counter = _counter(options.filter_) if has_events else None
    for _line in _lines():
        try:
            readings = collect_in(options.netns, metrics, root, options.filter_)
            if counter:
                readings = [with_events(readings[0], counter)]
            readings = list(require(readings, metrics))
        except ConntrackError as error:
            run.complain(f"E! {error}")
            continue
        reasons = set(complaints(readings))
        for reason in sorted(reasons - reported):
            run.complain(f"W! {reason}")
        reported = reasons
        yield line_protocol(sample for reading in readings for sample in samples(reading, metrics))


def _lines() -> Iterator[None]:
    """Yield at each line's end on standard input, whatever its text and length."""
    last = b"\n"
    while piece := _piece():
        last = piece[-1:]
        for _ in range(piece.count(b"\n")):
            yield
    if last != b"\n":  # the input ends with half a line
        yield


def _piece() -> bytes:
    try:
        return os.read(0, PIECE)
    except OSError as error:
        raise NotAvailable(
            f"standard input can't be read ({error.strerror}): Telegraf writes to it, with "
            'signal = "STDIN"'
        ) from error


def _counter(wanted: Filter | None) -> EventCounter | None:
    from conntrack_common.ctnetlink.events import EventCounter
    from conntrack_common.listing import event_query

    try:
        return EventCounter(None if wanted is None else event_query(wanted))
    except ConntrackError as error:
        run.complain(f"W! events are not counted: {error}")
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run conntrack-telegraf."""
    return run.run("conntrack-telegraf", lambda: _work(argv), "utf-8")


def _work(argv: Sequence[str] | None) -> Iterator[str]:
    options = arguments.options(Options, parser, argv)
    return serve(options) if options.execd else report(options)

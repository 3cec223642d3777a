"""collectd: the Python module, loaded by `Import "conntrack_plugins.collectd"`.

Format: collectd-python(5); types from collectd's own types.db, so that no receiver needs another.
Each <Module> block is a reader of its own with its own settings, so that collectd's threads share
nothing here.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from conntrack_common.catalogue.lookup import BY_ID, CHEAP, samples, select, sendable, shown
from conntrack_common.catalogue.metric import COUNTER, Metric
from conntrack_common.collect import collect_in, require
from conntrack_common.ctnetlink.events import EventCounter
from conntrack_common.errors import ConntrackError, InvalidRequest, Stranded
from conntrack_common.model import Sample
from conntrack_common.proc.files import ProcRoot
from conntrack_plugins import run
from conntrack_plugins.labels import shortened, without

try:
    import collectd
except ImportError:  # outside of the daemon: names and values can still be computed
    collectd = None

PLUGIN = "conntrack"
TYPES = {"ratio": "percent", "entries": "conntrack"}
LONGEST = 127  # bytes of an identifier's part: DATA_MAX_NAME_LEN, since collectd 5.7


class Settings(NamedTuple):
    """The settings of a <Module> block; `interval` 0 is the daemon's own."""

    metrics: tuple[Metric, ...] = CHEAP
    interval: float = 0.0
    instance: str = ""
    netns: str = ""
    events: bool = False
    proc_root: str = "/proc"


class Identifier(NamedTuple):
    """Where collectd stores a value: host/conntrack-plugin_instance/type-type_instance."""

    plugin_instance: str
    type: str
    type_instance: str


def identifier(sample: Sample, instance: str = "") -> Identifier:
    """Return a sample's identifier.

    By rule: the plugin instance is the id's group, followed by a cpu's number; the type
    instance is the rest of the id and the other labels; a counter is a derive.
    """
    metric = BY_ID[sample.id]
    group, _, name = sample.id.partition(".")
    cpu = "".join(value for label, value in sample.labels if label == "cpu")
    netns = "".join(value for label, value in sample.labels if label == "netns")
    others = [value for label, value in sample.labels if label not in {"cpu", "netns"}]
    kind = "derive" if metric.kind == COUNTER else TYPES.get(metric.unit, "gauge")
    return Identifier(
        _part([instance, netns, f"{group}{cpu}"]), kind, _part([name.replace(".", "_"), *others])
    )


def _part(words: Iterable[str]) -> str:
    return shortened("-".join(without("/", word) for word in words if word), LONGEST)


def parse(children: Iterable[tuple[str, tuple[Any, ...]]]) -> Settings:
    """Return the settings in the lines of a <Module> block; raises InvalidRequest."""
    settings = Settings()
    for key, values in children:
        option = OPTIONS.get(key.lower())
        if option is None:
            known = ", ".join(("Metrics", "Interval", "Instance", "Netns", "Events", "ProcRoot"))
            raise InvalidRequest(f"unknown option {key!r}: known are {known}")
        try:
            settings = option(settings, values)
        except (IndexError, TypeError, ValueError):
            raise InvalidRequest(f"option {key}: {list(values)} is not understood") from None
    if settings.events and (settings.netns or not ProcRoot(settings.proc_root).is_live):
        raise InvalidRequest(
            "Events can be counted only in collectd's own namespace, on the running kernel: leave "
            "out Netns and ProcRoot"
        )
    return settings


def _events(settings: Settings, values: tuple[Any, ...]) -> Settings:
    if not isinstance(values[0], bool):
        raise TypeError(values[0])
    return settings._replace(events=values[0])


def _text(value: object) -> str:
    # What is not UTF-8 comes as bytes, and a process ID as a float.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _interval(settings: Settings, values: tuple[Any, ...]) -> Settings:
    seconds = float(values[0])
    if isinstance(values[0], bool) or not 0 < seconds < float("inf"):
        raise ValueError(seconds)
    return settings._replace(interval=seconds)


OPTIONS: dict[str, Callable[[Settings, tuple[Any, ...]], Settings]] = {
    "metrics": lambda settings, values: settings._replace(metrics=sendable(map(_text, values))),
    "interval": _interval,
    "events": _events,
    "instance": lambda settings, values: settings._replace(instance=_text(values[0])),
    "netns": lambda settings, values: settings._replace(netns=_text(values[0])),
    "procroot": lambda settings, values: settings._replace(proc_root=_text(values[0])),
}


class Reader:
    """Reads for one <Module> block and dispatches what it read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failures = ""
        self._counter: EventCounter | None = None
        if settings.events:
            self._settings = settings._replace(metrics=(*settings.metrics, *select(["events.*"])))

    def read(self, _data: object = None) -> None:
        """Dispatch one reading; a failure is logged once, until it changes or ends."""
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - of which collectd would log a traceback, each time
            self._log({run.outcome(error)[1]})

    def _read(self) -> None:
        settings = self._settings
        try:
            readings = collect_in(settings.netns, settings.metrics, ProcRoot(settings.proc_root))
        except ConntrackError as error:
            self._log({str(error)})
            return
        except Stranded as error:
            # Other plugins that run in this thread would read a foreign namespace, too.
            collectd.error(f"conntrack_plugins: {error}: collectd is stopped")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        reasons = {str(why) for reading in readings for why in reading.failures.values()}
        if settings.events:
            try:
                self._counter = self._counter or EventCounter()
                events = self._counter.counts()
                readings = [reading._replace(events=events) for reading in readings[:1]]
            except ConntrackError as error:
                reasons.add(str(error))
        self._log(reasons)
        with contextlib.suppress(ConntrackError):  # which is logged by now
            for reading in require(readings, settings.metrics):
                for sample in samples(reading, settings.metrics):
                    self._dispatch(sample)

    def _log(self, reasons: set[str]) -> None:
        failures = "; ".join(sorted(reasons))
        if failures and failures != self._failures:
            collectd.warning(f"conntrack_plugins: {failures}")
        elif self._failures and not failures:
            collectd.info("conntrack_plugins: all sources can be read again")
        self._failures = failures

    def _dispatch(self, sample: Sample) -> None:
        place = identifier(sample, self._settings.instance)
        values = collectd.Values(
            plugin=PLUGIN,
            plugin_instance=place.plugin_instance,
            type=place.type,
            type_instance=place.type_instance,
        )
        if self._settings.interval:
            values.interval = self._settings.interval
        values.dispatch(values=[shown(BY_ID[sample.id], sample.value)])


class Module:
    """What the daemon calls: a reader for each block, or one with the defaults."""

    def __init__(self) -> None:
        self._blocks: list[Settings] = []
        self._broken = False

    def configure(self, block: Any) -> None:
        """Take a <Module> block; a broken one is logged and starts no reader."""
        try:
            self._blocks.append(parse((node.key, node.values) for node in block.children))
        except InvalidRequest as error:
            self._broken = True
            collectd.error(f"conntrack_plugins: {error}; this <Module> block is not used")

    def start(self) -> None:
        """Register the readers."""
        blocks = self._blocks or ([] if self._broken else [Settings()])
        for number, settings in enumerate(blocks):
            reader = Reader(settings)
            more = {"interval": settings.interval} if settings.interval else {}
            collectd.register_read(reader.read, name=f"{PLUGIN}-{number}", **more)


if collectd is not None and hasattr(collectd, "register_read"):
    _module = Module()
    collectd.register_config(_module.configure)
    collectd.register_init(_module.start)

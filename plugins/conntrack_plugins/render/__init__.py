"""Agents' configuration from templates/: what `conntrack-stat render` writes.

Every value is escaped for the format of the file that it goes into, by the environment and not by
the templates, so that none can be forgotten.
"""

from __future__ import annotations

import contextlib
import os
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from conntrack_common.catalogue.lookup import BY_ID
from conntrack_common.errors import InvalidRequest
from conntrack_common.records import NamedTuple
from conntrack_plugins import prometheus
from conntrack_plugins.arguments import chosen
from conntrack_plugins.interface import Interface, interface
from conntrack_plugins.render import invocations, quoting
from conntrack_plugins.render.quoting import Verbatim
from conntrack_plugins.render.settings import SETTINGS, Settings, assignment, sections
from conntrack_plugins.render.thresholds import thresholds

TYPE_CHECKING = False
if TYPE_CHECKING:
    import jinja2

TEMPLATES = os.path.join(os.path.dirname(os.path.dirname(__file__)), "templates")
SUFFIX = ".j2"


class Agent(NamedTuple):
    """How values are written in an agent's files, where those belong, and their permissions."""

    escape: Callable[[str], str]
    place: str
    text: str
    mode: int = 0o644


AGENTS = {
    "nagios": Agent(quoting.nagios, "/etc/nagios4/conf.d", "Nagios: commands and services"),
    "nrpe": Agent(quoting.nrpe, "/etc/nagios/nrpe.d", "NRPE: commands"),
    "icinga2": Agent(quoting.icinga, "/etc/icinga2/conf.d", "Icinga 2: commands and apply rules"),
    "collectd": Agent(
        quoting.collectd, "/etc/collectd/collectd.conf.d", "collectd: the module and thresholds"
    ),
    "telegraf": Agent(quoting.toml, "/etc/telegraf/telegraf.d", "Telegraf: inputs.exec"),
    "prometheus": Agent(quoting.yaml, "/etc/prometheus", "Prometheus: alert rules, their tests"),
    "systemd": Agent(
        quoting.systemd, "/etc/systemd/system", "systemd: textfile timer, capability drop-ins"
    ),
    "sudoers": Agent(str, "/etc/sudoers.d", "sudo: exactly the commands that need root", 0o440),
    "settings": Agent(str, "/etc", "the settings themselves, each with its meaning"),
}


class File(NamedTuple):
    """A rendered file: its name below the agent's folder, and its text."""

    name: str
    text: str


def render(agent: str, settings: Settings) -> list[File]:
    """Return an agent's files; raises InvalidRequest if there is no such agent."""
    if agent not in AGENTS:
        raise InvalidRequest(f"there is no agent {agent!r}: known are {', '.join(AGENTS)}")
    # A template that makes nothing of these settings makes no file.
    return [file for file in expand(agent, agent, settings) if file.text.strip()]


def expand(templates: str, agent: str, settings: Settings, **more: object) -> list[File]:
    """Return what a folder of templates makes, with an agent's way of escaping."""
    environment = _environment(AGENTS[agent])
    context = {**_context(agent, settings), **more}
    return [
        File(name, environment.get_template(os.path.join(templates, name + SUFFIX)).render(context))
        for name in _names(os.path.join(TEMPLATES, templates))
    ]


def write(files: Iterable[File], folder: str, mode: int, *, force: bool) -> None:
    """Write all of the files into a folder, or none of them.

    Raises InvalidRequest if one is there already (unless forced) or can't be written.
    """
    targets = [(os.path.join(folder, file.name), file.text) for file in files]
    there = [path for path, _text in targets if os.path.lexists(path)]
    if there and not force:
        raise InvalidRequest(f"{there[0]} is there already: --force replaces it")
    for path in filter(os.path.isdir, there):
        raise InvalidRequest(f"{path} is a directory: a file has to be written there")
    suffix = f".{os.getpid()}.tmp"
    with contextlib.ExitStack() as undo:
        try:
            for path, text in targets:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                undo.callback(_remove, path + suffix)
                _create(path + suffix, text, mode)
            for path, _text in targets:
                os.replace(path + suffix, path)
        except OSError as error:
            raise InvalidRequest(
                f"{path} can't be written ({error.strerror}): "
                "give --output a directory that this user may write to"
            ) from error


def _create(path: str, text: str, mode: int) -> None:
    # For its owner alone until it has its mode: sudoers may not be read by others meanwhile.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text.encode())
        os.fchmod(file.fileno(), mode)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):  # it was never made, or nothing can be changed there
        os.unlink(path)


def _names(folder: str) -> Iterator[str]:
    for where, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            yield os.path.relpath(os.path.join(where, file), folder)[: -len(SUFFIX)]


def _environment(agent: Agent) -> jinja2.Environment:
    import jinja2

    def finalize(value: object) -> str:
        if isinstance(value, Verbatim):
            return str(value)
        if isinstance(value, str):
            return agent.escape(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        raise TypeError(f"a template shows {value!r}, which is neither text nor number")

    environment = jinja2.Environment(  # noqa: S701 - `finalize` escapes, and this is no HTML
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        shell=quoting.shell,
        nagios_command=quoting.nagios_command,
        promql=quoting.promql,
        sudoers=quoting.sudoers,
        systemd_words=quoting.systemd_words,
        icinga_text=quoting.icinga_text,
        verbatim=Verbatim,
        wrapped=lambda text: textwrap.wrap(text, 97),
    )
    return environment


def _context(agent: str, settings: Settings) -> dict[str, Any]:
    values = settings[agent]
    return {
        **values,
        "head": f"Made by 'conntrack-stat render {agent}'.",
        "place": AGENTS[agent].place,
        "settings": SETTINGS,
        "assignment": lambda setting: assignment(setting, values[setting.key]),
        "is_default": lambda setting: values[setting.key] == setting.parse(setting.default),
        "sections": sections(settings, agent),
        "textfile_folder": os.path.dirname(values["textfile"]),
        "checks_run": invocations.checks(values),
        "telegraf_run": invocations.telegraf(values),
        "prometheus_run": invocations.prometheus(values),
        "timer": settings["systemd"],  # what renews the file that the rules judge
        "by_sudo": invocations.by_sudo(settings),
        "by_capability": [name for name, found in settings.items() if found["sudo"] == "never"],
        "chosen": [metric.id for metric in chosen(values["metrics"]) if values["metrics"]],
        "thresholds": list(thresholds(values)),
        "interfaces": _interfaces,
        "prometheus_name": lambda metric_id: prometheus.name(BY_ID[metric_id]),
    }


def _interfaces() -> Mapping[str, Interface]:
    from conntrack_plugins.nagios import conntrack, conntrackd

    parsers = {"check_conntrack": conntrack.parser(), "check_conntrackd": conntrackd.parser()}
    return {name: interface(name, parser) for name, parser in parsers.items()}

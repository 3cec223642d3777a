"""The command lines with which agents are configured, as the settings want them.

Options are in the order of their names: Icinga 2 sorts them so, and sudoers compares word by
word, so one line of it serves every agent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from conntrack_common.catalogue.lookup import CHEAP
from conntrack_common.catalogue.metric import Metric
from conntrack_common.conntrackd.requests import REQUESTS
from conntrack_common.errors import InvalidRequest
from conntrack_common.records import NamedTuple
from conntrack_plugins.arguments import chosen
from conntrack_plugins.render.quoting import shell
from conntrack_plugins.render.settings import Settings, Values
from conntrack_plugins.rules import parse_rule

SUDO = ("sudo", "-n")
EXECD = "--execd"


class CommandLine(NamedTuple):
    """What an agent runs: a name for it, the program, its options, and whether by sudo."""

    name: str
    program: str
    options: tuple[tuple[str, str], ...]
    sudo: bool

    @property
    def check(self) -> str:
        """The name of the check that is run, as `conntrack` of check_conntrack."""
        return self.program.rpartition("/")[2].replace("check_", "")

    @property
    def plain(self) -> tuple[str, ...]:
        """The words that are run, by root or not."""
        return (self.program, *(word for option in self.options for word in option))

    @property
    def words(self) -> tuple[str, ...]:
        """The words that the agent runs."""
        return (*SUDO, *self.plain) if self.sudo else self.plain

    @property
    def variables(self) -> Mapping[str, object]:
        """The options as Icinga's custom variables: lists where an option is repeated."""
        found: dict[str, object] = {}
        for option, value in self.options:
            key = option.lstrip("-").replace("-", "_")
            found[key] = [*_list(found.get(key)), value] if option == "--check" else value
        return found


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def checks(values: Values) -> list[CommandLine]:
    """Return the checks that Nagios, NRPE and Icinga 2 run."""
    usage = {"--warning": str(values["warning"]), "--critical": str(values["critical"])}
    made = [_check(values, "conntrack-usage", list(usage.items()), ())]
    if values["checks"]:
        ranges = [("--check", text) for text in values["checks"]]
        metrics = [parse_rule(text).expression.metric for text in values["checks"]]
        made.append(_check(values, "conntrack-thresholds", ranges, metrics))
    if values["conntrackd"]:
        command = shell(values["conntrackd_command"])
        ways = (("--command", command),) if command else ()
        program = f"{values['plugin_dir']}/check_conntrackd"
        sudo = _sudo(values, root=not command)
        made.append(CommandLine("conntrackd-health", program, ways, sudo))
    return made


def telegraf(values: Values) -> CommandLine:
    """Return what Telegraf runs."""
    return _adapter(values, "conntrack-telegraf")


def prometheus(values: Values) -> CommandLine:
    """Return what writes the file for node_exporter; systemd starts it, and no sudo."""
    made = _adapter(values, "conntrack-prometheus")
    options = sorted((*made.options, ("--output", values["textfile"])))
    return made._replace(options=tuple(options), sudo=False)


def by_sudo(settings: Settings) -> list[tuple[str, tuple[str, ...]]]:
    """Return who runs what by sudo, by each agent's own settings: the user and the words."""
    found = []
    for agent in ("nagios", "nrpe", "icinga2"):
        user = settings[agent]["nagios_user"]
        found += [(user, run.plain) for run in checks(settings[agent]) if run.sudo]
        found += [(user, words) for words in _statistics(settings[agent])]
    values = settings["telegraf"]
    run = telegraf(values)
    if run.sudo:
        # The second is for [[inputs.execd]].
        found += [(values["telegraf_user"], words) for words in (run.plain, (*run.plain, EXECD))]
    return list(dict.fromkeys(found))


def _statistics(values: Values) -> list[tuple[str, ...]]:
    """Return the commands that read conntrackd's statistics by sudo, none if they are not used."""
    command = tuple(values["conntrackd_command"])
    if not values["conntrackd"] or command[: len(SUDO)] != SUDO:
        return []
    program = command[len(SUDO) :]
    if not program:
        raise InvalidRequest("conntrackd_command names no program behind 'sudo -n'")
    # conntrackd before 1.2.0 knows `-s ct` as `-s` alone, so that is what is run.
    return [(*program, "-s", *([name] if name != "ct" else [])) for name in REQUESTS]


def _check(
    values: Values, name: str, options: list[tuple[str, str]], metrics: Iterable[Metric]
) -> CommandLine:
    if values["no_conntrack"] != "unknown":
        options.append(("--no-conntrack", values["no_conntrack"]))
    if values["netns"]:
        options.append(("--netns", values["netns"]))
    program = f"{values['plugin_dir']}/check_conntrack"
    # The order of several --check is the user's; sorting is stable.
    options.sort(key=lambda option: option[0])
    sudo = _sudo(values, root=_needs_root(values, metrics))
    return CommandLine(name, program, tuple(options), sudo)


def _adapter(values: Values, command: str) -> CommandLine:
    chosen_options = {"--metrics": values["metrics"], "--netns": values["netns"]}
    options = tuple((option, value) for option, value in sorted(chosen_options.items()) if value)
    sudo = _sudo(values, root=_needs_root(values, chosen(values["metrics"])))
    return CommandLine(command, f"{values['bin_dir']}/{command}", options, sudo)


def _needs_root(values: Values, metrics: Iterable[Metric]) -> bool:
    """Return whether these metrics, in the settings' namespace, are not for anybody to read."""
    return bool(values["netns"]) or not set(metrics) <= set(CHEAP)


def _sudo(values: Values, *, root: bool) -> bool:
    return bool(values["sudo"] == "always" or (values["sudo"] == "needed" and root))

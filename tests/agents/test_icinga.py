"""check_conntrack in a real Icinga 2, whose PerfdataWriter writes what it understood."""

from __future__ import annotations

from pathlib import Path

import pytest

import formats
import oracle
import rendered
from installation import Installation
from namespaces import Namespace
from processes import Daemon, must

pytestmark = [pytest.mark.kernel, pytest.mark.agent("icinga2", "sudo")]

FRAME = """\
include <itl>
object CheckerComponent "checker" {{ }}
object PerfdataWriter "perfdata" {{
  service_perfdata_path = "{0}/spool/service"
  service_temp_path = "{0}/temporary/service"
  host_perfdata_path = "{0}/spool/host"
  host_temp_path = "{0}/temporary/host"
  rotation_interval = 2s
}}
object Host "gate" {{ check_command = "dummy", check_interval = 1h }}
"""
CONFIGURATION = """\
object CheckCommand "conntrack" {{
  command = [ "{0}" ]
  arguments = {{
    "--warning" = "$conntrack_warning$"
    "--critical" = "$conntrack_critical$"
    "--check" = {{ value = "$conntrack_check$", repeat_key = true }}
    "-v" = {{ }}
  }}
}}
template Service "every second" {{
  host_name = "gate"
  check_command = "conntrack"
  check_interval = 1s
  retry_interval = 1s
  max_check_attempts = 1
}}
"""
SERVICE = 'object Service "{}" {{\n  import "every second"\n{}}}\n'


def test_states_and_numbers_arrive(
    filled_namespace: Namespace, installation: Installation, folder: Path
) -> None:
    count = oracle.count(filled_namespace)
    services = {
        "ok": f"table.entries,{count},{count}",
        "warning": f"table.entries,{count - 1},{count}",
        "critical": f"table.entries,1,{count - 1}",
    }
    blocks = [
        SERVICE.format(name, f'  vars.conntrack_check = [ "{check}", "cpu.insert,," ]\n')
        for name, check in services.items()
    ]
    state = state_folder(folder)
    file = folder / "icinga2.conf"
    check = installation.command("check_conntrack")
    text = FRAME.format(state) + CONFIGURATION.format(check)
    file.write_text(text + "".join(blocks), "utf-8")
    options = ["-c", str(file), *places(state)]
    must(["icinga2", "daemon", "-C", *options])
    argv = filled_namespace.argv(["icinga2", "daemon", *options])
    with Daemon(argv, folder / "log") as icinga:

        def written() -> dict[str, dict[str, str]] | None:
            found = perfdata(state)
            return found if found.keys() == services.keys() else None

        found = icinga.until(written, "each service's performance data was written", seconds=40)
    states = {name: values["SERVICESTATE"] for name, values in found.items()}
    assert states == {"ok": "OK", "warning": "WARNING", "critical": "CRITICAL"}
    inserted = oracle.total(oracle.statistics(filled_namespace), "insert")
    for name, values in found.items():
        data = formats.perfdata(values["SERVICEPERFDATA"])
        assert data.keys() == {"table.usage", "table.entries", "cpu.insert"}, name
        assert int(data["table.entries"].value) == count, name
        assert (int(data["cpu.insert"].value), data["cpu.insert"].unit) == (inserted, "c"), name


def test_rendered_configuration_from_a_hostile_path(
    filled_namespace: Namespace, hostile: Installation, folder: Path
) -> None:
    """sudoers names the words in an order, so Icinga has to keep to it."""
    count = oracle.count(filled_namespace)
    said = ("host=gate", "interval=1", f"checks=tcp.state,0:,{count}\ntable.entries,1,{count}")
    objects = rendered.render("icinga2", folder, hostile, *said, "no_conntrack=critical")
    sudoers = rendered.render("sudoers", folder, hostile, *said, "no_conntrack=critical")
    state = state_folder(folder)
    file = folder / "icinga2.conf"
    constant = 'const PluginDir = "/nosuch"\n'
    include = f'include "{objects}/*.conf"\n'
    file.write_text(FRAME.format(state) + constant + include, "utf-8")
    words = ["icinga2", "daemon", "-c", file, *places(state)]
    argv = filled_namespace.argv(rendered.with_sudoers(sudoers, words))
    with Daemon(argv, folder / "log") as icinga:
        found = icinga.until(
            lambda: len(perfdata(state)) == 2 and perfdata(state), "both services", seconds=40
        )
    assert found["conntrack-usage"]["SERVICESTATE"] == "OK", found
    rules = found["conntrack-thresholds"]
    assert rules["SERVICESTATE"] == "WARNING", rules
    data = formats.perfdata(rules["SERVICEPERFDATA"])
    assert int(data["table.entries"].value) == count
    assert "tcp.state.ESTABLISHED" in data


def state_folder(folder: Path) -> Path:
    """Make the daemon's directories, which belong to the user that it becomes."""
    state = folder / "icinga"
    for name in ("lib", "log", "cache", "spool", "temporary", "run"):
        (state / name).mkdir(parents=True)
    rendered.own(state, "nagios")
    return state


def places(state: Path) -> list[str]:
    """Options that keep the daemon out of the host's directories."""
    constants = {
        "DataDir": "lib",
        "LogDir": "log",
        "CacheDir": "cache",
        "SpoolDir": "spool",
        "InitRunDir": "run",
        "PidPath": "run/icinga2.pid",
        "StatePath": "lib/icinga2.state",
        "ObjectsPath": "cache/icinga2.debug",
        "ModAttrPath": "lib/modified-attributes.conf",
        "VarsPath": "cache/icinga2.vars",
    }
    pairs = [f"{name}={state / place}" for name, place in constants.items()]
    return [word for pair in (*pairs, "NodeName=gate") for word in ("-D", pair)]


def perfdata(state: Path) -> dict[str, dict[str, str]]:
    """Return the fields of each service's last line."""
    found = {}
    for file in sorted((state / "spool").glob("service*")):
        for line in file.read_text("utf-8").splitlines():
            fields = dict(part.partition("::")[::2] for part in line.split("\t"))
            found[fields["SERVICEDESC"]] = fields
    return found

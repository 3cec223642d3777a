"""check_conntrack in a real Icinga 2, whose PerfdataWriter writes what it understood."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import formats
import oracle
from installation import Installation
from namespaces import Namespace
from processes import Daemon, must

pytestmark = [pytest.mark.kernel, pytest.mark.agent("icinga2")]

CONFIGURATION = """\
include <itl>
object CheckerComponent "checker" {{ }}
object PerfdataWriter "perfdata" {{
  service_perfdata_path = "{0}/spool/service"
  service_temp_path = "{0}/temporary/service"
  host_perfdata_path = "{0}/spool/host"
  host_temp_path = "{0}/temporary/host"
  rotation_interval = 2s
}}
object CheckCommand "conntrack" {{
  command = [ "{1}" ]
  arguments = {{
    "--warning" = "$conntrack_warning$"
    "--critical" = "$conntrack_critical$"
    "--check" = {{ value = "$conntrack_check$", repeat_key = true }}
    "-v" = {{ }}
  }}
}}
object Host "gate" {{ check_command = "dummy", check_interval = 1h }}
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
    state = folder / "icinga"
    for name in ("lib", "log", "cache", "spool", "temporary", "run"):
        (state / name).mkdir(parents=True)
    file = folder / "icinga2.conf"
    check = installation.command("check_conntrack")
    file.write_text(CONFIGURATION.format(state, check) + "".join(blocks), "utf-8")
    for path in (state, *state.iterdir()):
        shutil.chown(path, "nagios", "nagios")
    options = ["-c", str(file), *_places(state)]
    must(["icinga2", "daemon", "-C", *options])
    argv = filled_namespace.argv(["icinga2", "daemon", *options])
    with Daemon(argv, folder / "log") as icinga:

        def written() -> dict[str, dict[str, str]] | None:
            found = _perfdata(state)
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


def _places(state: Path) -> list[str]:
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


def _perfdata(state: Path) -> dict[str, dict[str, str]]:
    """Return the fields of each service's last line."""
    found = {}
    for file in sorted((state / "spool").glob("service*")):
        for line in file.read_text("utf-8").splitlines():
            fields = dict(part.partition("::")[::2] for part in line.split("\t"))
            found[fields["SERVICEDESC"]] = fields
    return found

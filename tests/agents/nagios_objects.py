"""The configuration of a Nagios daemon that checks a host every second, and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MAIN = """\
log_file={0}/nagios.log
cfg_file={0}/objects.cfg
object_cache_file={0}/objects.cache
precached_object_file={0}/objects.precache
resource_file={0}/resource.cfg
status_file={0}/status.dat
status_update_interval=1
nagios_user=nagios
nagios_group=nagios
check_external_commands=0
command_file={0}/nagios.cmd
query_socket={0}/nagios.qh
lock_file={0}/nagios.pid
temp_file={0}/nagios.tmp
temp_path={0}
log_archive_path={0}
use_syslog=0
check_result_path={0}/results
state_retention_file={0}/retention.dat
interval_length=1
service_check_timeout=8
check_for_updates=0
illegal_macro_output_chars=`~$&|'"<>
"""
FRAME = {
    "timeperiod": [
        {
            "timeperiod_name": "always",
            "alias": "always",
            **dict.fromkeys(
                ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"),
                "00:00-24:00",
            ),
        }
    ],
    "command": [{"command_name": "nothing", "command_line": "/bin/true"}],
    "contact": [
        {
            "contact_name": "root",
            **{f"{kind}_notifications_enabled": "0" for kind in ("host", "service")},
            **{f"{kind}_notification_period": "always" for kind in ("host", "service")},
            **{f"{kind}_notification_commands": "nothing" for kind in ("host", "service")},
        }
    ],
    "host": [
        {
            "host_name": "gate",
            "address": "127.0.0.1",
            "max_check_attempts": "1",
            "check_period": "always",
            "contacts": "root",
        }
    ],
}
SERVICE = {
    "host_name": "gate",
    "max_check_attempts": "1",
    "check_interval": "1",
    "retry_interval": "1",
    "check_period": "always",
    "notification_period": "always",
    "contacts": "root",
}


SERVICE_TEMPLATE = {"name": "generic-service", "register": "0", **SERVICE}


def configure_rendered(folder: Path, rendered: Path) -> Path:
    """Write a configuration that reads a directory of rendered files; return the main file."""
    main = configure(folder, {})
    with main.open("a", encoding="utf-8") as file:
        file.write(f"cfg_dir={rendered}\n")
    with (folder / "objects.cfg").open("a", encoding="utf-8") as file:
        file.write(_block("service", SERVICE_TEMPLATE))
    return main


def add_service(folder: Path, name: str, command: str) -> None:
    """Add a service with one of the commands, and its arguments behind '!'."""
    with (folder / "objects.cfg").open("a", encoding="utf-8") as file:
        named = {"service_description": name, "check_command": command}
        file.write(_block("service", {**named, **SERVICE}))


def configure(folder: Path, commands: Mapping[str, str]) -> Path:
    """Write a configuration with one service for each command line; return the main file."""
    (folder / "results").mkdir()
    (folder / "resource.cfg").touch()
    blocks = [(kind, block) for kind, found in FRAME.items() for block in found]
    for name, line in commands.items():
        blocks.append(("command", {"command_name": name, "command_line": line}))
        blocks.append(("service", {"service_description": name, "check_command": name, **SERVICE}))
    (folder / "objects.cfg").write_text("".join(_block(*block) for block in blocks), "utf-8")
    main = folder / "nagios.cfg"
    main.write_text(MAIN.format(folder), "utf-8")
    return main


def _block(kind: str, values: Mapping[str, str]) -> str:
    lines = "".join(f"  {name} {value}\n" for name, value in values.items())
    return f"define {kind} {{\n{lines}}}\n"


def services(folder: Path) -> dict[str, dict[str, str]]:
    """Return what status.dat says about each service that has been checked."""
    status = folder / "status.dat"
    if not status.exists():
        return {}
    found = {}
    for block in status.read_text("utf-8").split("servicestatus {")[1:]:
        lines = block.partition("\n\t}")[0].strip().splitlines()
        values = dict(line.strip().partition("=")[::2] for line in lines)
        if values["has_been_checked"] == "1":
            found[values["service_description"]] = values
    return found

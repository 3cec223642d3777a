"""check_conntrack in a real Nagios daemon, which runs it as the user nagios."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import formats
import oracle
import rendered
import traffic
from agents import nagios_objects
from installation import Installation
from namespaces import Namespace
from processes import Daemon

pytestmark = [pytest.mark.kernel, pytest.mark.agent("nagios4", "sudo")]


@pytest.fixture
def state(folder: Path) -> Path:
    """A folder that belongs to the user nagios."""
    made = folder / "nagios"
    made.mkdir(mode=0o755)
    shutil.chown(made, "nagios", "nagios")
    return made


def test_services_have_the_kernels_numbers_and_the_right_states(
    filled_namespace: Namespace, installation: Installation, folder: Path, state: Path
) -> None:
    check = installation.command("check_conntrack")
    count = oracle.count(filled_namespace)
    stuck = folder / "proc"
    (stuck / "sys/net/netfilter").mkdir(parents=True)
    os.mkfifo(stuck / "sys/net/netfilter/nf_conntrack_count", 0o644)
    commands = {
        "ok": f"{check} --check table.entries,{count},{count}",
        "warning": f"{check} --check table.entries,{count - 1},{count}",
        "critical": f"{check} --check table.entries,1,{count - 1}",
        "detailed": f"{check} -v -w 80 -c 90",
        "counters": f"{check} --check cpu.insert,,",
        "rates": f"{check} --state-file {state}/rates --check cpu.drop/s,0,1",
        "stuck": f"{check} --proc-root {stuck} -t 2",
        "wrong": f"{check} --check cpu.dorp,0,1",
        "absent": f"{check} --proc-root /dev --no-conntrack critical",
    }
    main = nagios_objects.configure(state, commands)
    rendered.own(state, "nagios")
    argv = filled_namespace.argv(["nagios4", main])
    with Daemon(argv, folder / "log") as nagios:

        def checked() -> dict[str, dict[str, str]] | None:
            found = nagios_objects.services(state)
            ready = found.keys() == commands.keys() and "rate" in found["rates"]["performance_data"]
            return found if ready else None

        found = nagios.until(checked, "each service was checked, and the rate twice")
    states = {name: int(values["current_state"]) for name, values in found.items()}
    assert states == {
        "ok": 0,
        "warning": 1,
        "critical": 2,
        "detailed": 0,
        "counters": 0,
        "rates": 0,
        "stuck": 3,
        "wrong": 3,
        "absent": 2,
    }
    for name in ("ok", "warning", "critical", "detailed", "counters", "rates"):
        data = formats.perfdata(found[name]["performance_data"])
        assert int(data["table.entries"].value) == count, name
    assert int(formats.perfdata(found["counters"]["performance_data"])["cpu.insert"].value) == (
        oracle.total(oracle.statistics(filled_namespace), "insert")
    )
    assert float(formats.perfdata(found["rates"]["performance_data"])["cpu.drop.rate"].value) == 0
    assert found["detailed"]["long_plugin_output"].count("table.") == 2
    assert "UNKNOWN - no verdict within" in found["stuck"]["plugin_output"]
    assert "did you mean cpu.drop" in found["wrong"]["plugin_output"]
    assert found["stuck"]["performance_data"] == found["wrong"]["performance_data"] == ""


def test_count_follows_the_traffic(
    namespace: Namespace, installation: Installation, folder: Path, state: Path
) -> None:
    check = f"{installation.command('check_conntrack')} --check table.entries,2,4"
    main = nagios_objects.configure(state, {"usage": check})
    rendered.own(state, "nagios")

    def seen() -> tuple[int, int] | None:
        values = nagios_objects.services(state).get("usage")
        if not values:
            return None
        entries = formats.perfdata(values["performance_data"])["table.entries"]
        return int(entries.value), int(values["current_state"])

    with Daemon(namespace.argv(["nagios4", main]), folder / "log") as nagios:
        nagios.until(lambda: seen() == (0, 0), "it sees an empty table")
        for _ in range(3):
            assert traffic.sent(namespace, 9)
        assert oracle.count(namespace) == 3
        nagios.until(lambda: seen() == (3, 1), "it sees 3 entries, and warns")
        namespace.must("conntrack", "-F")
        nagios.until(lambda: seen() == (0, 0), "it sees an empty table again")


def test_rendered_configuration_from_a_hostile_path(
    filled_namespace: Namespace, hostile: Installation, folder: Path, state: Path
) -> None:
    """The thresholds read the whole table, so they run by sudo, by the rendered sudoers."""
    count = oracle.count(filled_namespace)
    said = ("host=gate", "interval=60", f"checks=tcp.state,0:,{count}\ntable.entries,1,{count}")
    objects = rendered.render("nagios", folder, hostile, *said)
    sudoers = rendered.render("sudoers", folder, hostile, *said)
    main = nagios_objects.configure_rendered(state, objects)
    rendered.own(state, "nagios")
    argv = filled_namespace.argv(rendered.with_sudoers(sudoers, ["nagios4", main]))
    with Daemon(argv, folder / "log") as nagios:

        def checked() -> dict[str, dict[str, str]] | None:
            found = nagios_objects.services(state)
            return found if len(found) == 2 else None

        found = nagios.until(checked, "both services were checked")
    usage = formats.perfdata(found["conntrack-usage"]["performance_data"])
    assert (usage["table.usage"].warning, usage["table.usage"].critical) == ("80", "90")
    rules = found["conntrack-thresholds"]
    assert rules["current_state"] == "1", rules
    data = formats.perfdata(rules["performance_data"])
    assert int(data["table.entries"].value) == count
    states = [int(found.value) for name, found in data.items() if name.startswith("tcp.state")]
    lines = oracle.listing(filled_namespace)
    assert sum(states) == sum(line.startswith("tcp ") for line in lines)

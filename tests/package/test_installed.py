"""What the Debian packages put where agents look, as it is installed, in the real agents."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import formats
import oracle
import processes
import rendered
from agents import nagios_objects, test_collectd, test_icinga, test_nrpe
from installation import DEBIAN, entry_points, is_debian
from namespaces import Namespace
from processes import Daemon, must

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not is_debian(), reason="Debian's package is not what is tested here"),
]
COMMANDS = sorted(entry_points())


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_run_by_debians_python_for_anybody(filled_namespace: Namespace, name: str) -> None:
    program = DEBIAN.command(name)
    assert Path(program).read_text("utf-8").splitlines()[0] == "#! /usr/bin/python3 -I"
    words = ["--file", "/nosuch"] if name == "check_conntrackd" else []
    done = filled_namespace.run([program, *words], user="nobody")
    assert done.returncode == (3 if words else 0), done
    assert done.stderr == ""
    assert words or str(oracle.count(filled_namespace)) in done.stdout.replace(",", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_an_agents_python_settings_mean_nothing(
    filled_namespace: Namespace, folder: Path, name: str
) -> None:
    for module in ("re", "json", "conntrack_common", "nagiosplugin", "rich"):
        (folder / f"{module}.py").write_text("raise RuntimeError('polluted')\n", "ascii")
    for env in ({"PYTHONPATH": str(folder)}, {"PYTHONHOME": "/nosuch"}, {"PYTHONINSPECT": "1"}):
        done = filled_namespace.run([DEBIAN.command(name), "--help"], env=env, stdin="1/0\n")
        assert (done.returncode, done.stderr) == (3 if name.startswith("check_") else 0, ""), env
        assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize("page", [*COMMANDS, "conntrack-plugins.conf"])
def test_every_command_has_its_manual_page(page: str) -> None:
    assert must(["man", "-w", page]).startswith("/usr/share/man/man")


@pytest.mark.parametrize("name", COMMANDS)
def test_bash_finds_the_completion(name: str) -> None:
    script = (
        ". /usr/share/bash-completion/bash_completion\n"
        f"__load_completion {name}\ncomplete -p {name}"
    )
    assert "_conntrack_plugins" in must(["bash", "-c", script])


def test_the_settings_are_read() -> None:
    done = processes.run([DEBIAN.command("conntrack-stat"), "render", "nrpe"])
    assert done.stdout == Path("/etc/nagios/nrpe.d/conntrack.cfg").read_text("utf-8")


@pytest.mark.agent("nagios4")
def test_nagios_commands(filled_namespace: Namespace, folder: Path) -> None:
    state = folder / "nagios"
    state.mkdir()
    main = nagios_objects.configure_rendered(state, Path("/etc/nagios-plugins/config"))
    count = oracle.count(filled_namespace)
    check = f"check_conntrack!--check table.entries,1,{count}"
    nagios_objects.add_service(state, "usage", check)
    rendered.own(state, "nagios")
    with Daemon(filled_namespace.argv(["nagios4", main]), folder / "log") as nagios:
        found = nagios.until(lambda: nagios_objects.services(state), "it was checked")
    assert found["usage"]["current_state"] == "1", found
    data = formats.perfdata(found["usage"]["performance_data"])
    assert int(data["table.entries"].value) == count


@pytest.mark.agent("nrpe", test_nrpe.CHECK_NRPE)
def test_nrpe_commands(namespace: Namespace, folder: Path) -> None:
    namespace.untrack(test_nrpe.PORT)
    file = folder / "nrpe.cfg"
    include = "include_dir=/etc/nagios/nrpe.d\n"
    text = test_nrpe.CONFIGURATION.format(folder=folder, port=test_nrpe.PORT)
    file.write_text(text + include, "utf-8")
    with Daemon(namespace.argv(["nrpe", "-c", file, "-f"]), folder / "log") as nrpe:
        listening = f":{test_nrpe.PORT} "
        nrpe.until(lambda: listening in namespace.must("ss", "-ltn"), "it listens")
        answer = test_nrpe.ask(namespace, "check_conntrack-usage")
    assert answer.returncode == 0, answer
    assert int(formats.plugin(answer.stdout)[1]["table.entries"].value) == 0


@pytest.mark.agent("icinga2")
def test_icinga_finds_the_commands(filled_namespace: Namespace, folder: Path) -> None:
    state = test_icinga.state_folder(folder)
    file = folder / "icinga2.conf"
    constants = f'const PluginDir = "{DEBIAN.plugins}"\nconst PluginContribDir = PluginDir\n'
    service = (
        'object Service "usage" { host_name = "gate", check_command = "conntrack", '
        "check_interval = 1s, vars.conntrack_warning = 0, vars.conntrack_critical = 100 }\n"
    )
    text = (
        test_icinga.FRAME.format(state)
        + constants
        + "include <plugins>\ninclude <plugins-contrib>\n"
        + service
    )
    file.write_text(text, "utf-8")
    words = ["icinga2", "daemon", "-c", file, *test_icinga.places(state)]
    with Daemon(filled_namespace.argv(words), folder / "log") as icinga:
        found = icinga.until(lambda: test_icinga.perfdata(state), "performance data", seconds=40)
    assert found["usage"]["SERVICESTATE"] == "WARNING", found
    data = formats.perfdata(found["usage"]["SERVICEPERFDATA"])
    assert int(data["table.entries"].value) == oracle.count(filled_namespace)


@pytest.mark.agent("collectd")
def test_collectd_configuration(filled_namespace: Namespace, folder: Path) -> None:
    state, file = folder / "state", folder / "collectd.conf"
    state.mkdir()
    include = 'Include "/etc/collectd/collectd.conf.d/conntrack.conf"\n'
    file.write_text(test_collectd.FRAME.format(state, 5) + include, "utf-8")
    with Daemon(filled_namespace.argv(["collectd", "-f", "-C", file]), folder / "out") as daemon:
        collectd = test_collectd.Collectd(daemon, state)
        test_collectd.check_values(collectd, filled_namespace)
        collectd.stop()
    assert collectd.log == []


def test_telegraf_command(filled_namespace: Namespace) -> None:
    import tomllib

    text = Path("/etc/telegraf/telegraf.d/conntrack.conf").read_text("utf-8")
    (plugin,) = tomllib.loads(text)["inputs"]["exec"]
    (line,) = plugin["commands"]
    done = filled_namespace.run(shlex.split(line), user="nobody")
    assert (done.returncode, done.stderr) == (0, "")
    fields = formats.line_protocol(done.stdout)["conntrack", ()]
    assert fields["entries"] == f"{oracle.count(filled_namespace)}i"


@pytest.mark.agent("promtool", "systemd-analyze")
def test_prometheus_rules_and_units(namespace: Namespace) -> None:
    tests = "/usr/share/conntrack-plugins/prometheus/conntrack.rules.test.yml"
    assert "SUCCESS" in must(["promtool", "test", "rules", tests])
    units = [f"/lib/systemd/system/conntrack-prometheus.{kind}" for kind in ("service", "timer")]
    done = processes.run(["systemd-analyze", "verify", *units])
    assert (done.returncode, done.stdout + done.stderr) == (0, "")

"""check_conntrack behind a real NRPE daemon, asked by check_nrpe."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import formats
import oracle
import rendered
from installation import Installation
from namespaces import Namespace
from processes import Daemon

CHECK_NRPE = "/usr/lib/nagios/plugins/check_nrpe"
PORT = 5666
pytestmark = [pytest.mark.kernel, pytest.mark.agent("nrpe", CHECK_NRPE)]

CONFIGURATION = """\
pid_file={folder}/nrpe.pid
server_address=127.0.0.1
server_port={port}
nrpe_user=nagios
nrpe_group=nagios
allowed_hosts=127.0.0.1
command_timeout=8
log_file={folder}/nrpe.log
"""


@pytest.fixture
def quiet(filled_namespace: Namespace) -> Iterator[Namespace]:
    """The filled namespace, with NRPE's own connections kept out of its table."""
    filled_namespace.untrack(PORT)
    yield filled_namespace
    filled_namespace.rules("delete table inet untracked\n")


def ask(namespace: Namespace, command: str) -> subprocess.CompletedProcess[str]:
    port = str(PORT)
    return namespace.run([CHECK_NRPE, "-H", "127.0.0.1", "-p", port, "-t", "10", "-c", command])


def test_states_and_numbers_arrive(
    quiet: Namespace, installation: Installation, folder: Path
) -> None:
    check = installation.command("check_conntrack")
    count = oracle.count(quiet)
    commands = {
        "ok": "-w 80 -c 90 --check table.entries,,",
        "warning": f"--check table.entries,{count - 1},{count}",
        "critical": f"--check table.entries,1,{count - 1}",
        "detailed": "-v --check cpu.insert,,",
        "wrong": "--check table.entries,b,c",
    }
    lines = [f"command[{name}]={check} {options}\n" for name, options in commands.items()]
    file = folder / "nrpe.cfg"
    file.write_text(CONFIGURATION.format(folder=folder, port=PORT) + "".join(lines), "utf-8")
    with Daemon(quiet.argv(["nrpe", "-c", file, "-f"]), folder / "log") as nrpe:
        nrpe.until(lambda: f":{PORT} " in quiet.must("ss", "-ltn"), "it listens")
        answers = {name: ask(quiet, name) for name in commands}
    states = {name: done.returncode for name, done in answers.items()}
    assert states == {"ok": 0, "warning": 1, "critical": 2, "detailed": 0, "wrong": 3}, answers
    for name in ("ok", "warning", "critical", "detailed"):
        data = formats.plugin(answers[name].stdout)[1]
        assert int(data["table.entries"].value) == count == oracle.count(quiet), name
    insert = formats.plugin(answers["detailed"].stdout)[1]["cpu.insert"]
    assert int(insert.value) == oracle.total(oracle.statistics(quiet), "insert")
    assert answers["detailed"].stdout.count("\n") > 1, "the details arrive, too"
    assert "no Nagios range" in answers["wrong"].stdout


def test_rendered_configuration_from_a_hostile_path(
    quiet: Namespace, hostile: Installation, folder: Path
) -> None:
    count = oracle.count(quiet)
    said = f"checks=tcp.state,0:,{count}\ntable.entries,1,{count}"
    commands = rendered.render("nrpe", folder, hostile, said, check=False)
    sudoers = rendered.render("sudoers", folder, hostile, said)
    file = folder / "nrpe.cfg"
    include = f"include_dir={commands}\n"
    file.write_text(CONFIGURATION.format(folder=folder, port=PORT) + include, "utf-8")
    argv = quiet.argv(rendered.with_sudoers(sudoers, ["nrpe", "-c", file, "-f"]))
    with Daemon(argv, folder / "log") as nrpe:
        nrpe.until(lambda: f":{PORT} " in quiet.must("ss", "-ltn"), "it listens")
        usage = ask(quiet, "check_conntrack-usage")
        rules = ask(quiet, "check_conntrack-thresholds")
    assert usage.returncode == 0, usage
    assert rules.returncode == 1, rules
    data = formats.plugin(rules.stdout)[1]
    assert int(data["table.entries"].value) == count == oracle.count(quiet)

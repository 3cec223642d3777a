"""The rendered units before systemd's own verification, which finds commands and reads drop-ins."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import formats
import oracle
import processes
import rendered
from installation import Installation, command, copied, python_path
from namespaces import Namespace

pytestmark = pytest.mark.agent("systemd-analyze")


def started(unit: Path) -> list[str]:
    """The words of ExecStart=, whose quotes are a shell's but for doubled '%' and '$'."""
    (line,) = [each for each in unit.read_text("utf-8").splitlines() if each.startswith("ExecS")]
    words = shlex.split(line.partition("=")[2])
    return [word.replace("%%", "%").replace("$$", "$") for word in words]


@pytest.mark.kernel
def test_the_service_writes_the_file(filled_namespace: Namespace, folder: Path) -> None:
    """systemd-analyze, which render asks, finds the command under its hostile path.

    A path with quotes is refused: systemd takes none in a command's name.
    """
    hostile = copied(folder / rendered.HOSTILE.replace('"', "").replace("'", ""))
    (folder / "te x%t").mkdir()
    output = folder / "te x%t/conntrack.prom"
    units = rendered.render(
        "systemd", folder, hostile, f"textfile={output}", "interval=15", "metrics=*"
    )
    words = started(units / "conntrack-prometheus.service")
    assert words[0] == hostile.command("conntrack-prometheus")
    # The unit leaves root this right alone, which has to be enough.
    text = (units / "conntrack-prometheus.service").read_text("utf-8")
    assert "\nCapabilityBoundingSet=CAP_NET_ADMIN\n" in text
    few = ["setpriv", "--bounding-set=-all,+net_admin", "--no-new-privs"]
    done = filled_namespace.run([*few, *words])
    assert (done.returncode, done.stdout) == (0, "")
    # Where conntrackd's package is installed, its daemon is down here, and that is told.
    assert all("conntrackd is not running" in row for row in done.stderr.splitlines()), done
    found = formats.exposition(output.read_text("utf-8"))
    assert found["conntrack_table_entries", ()] == oracle.count(filled_namespace)
    assert "OnUnitActiveSec=15s" in (units / "conntrack-prometheus.timer").read_text("utf-8")


def test_a_command_that_is_not_there_is_found(installation: Installation, folder: Path) -> None:
    words = ["render", "systemd", "--check", "--output", str(folder / "x")]
    said = ["--set", f"bin_dir={folder}/nosuch"]
    done = processes.run([*command("conntrack-stat"), *words, *said], env=python_path())
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Command {folder}/nosuch/conntrack-prometheus is not executable" in done.stderr
    assert not (folder / "x").exists()


def test_drop_ins_are_read_and_judged(installation: Installation, folder: Path) -> None:
    units = rendered.render("systemd", folder, installation, "sudo=never")
    drop_ins = sorted(path.relative_to(units) for path in units.glob("*.d/*"))
    assert [str(path.parent) for path in drop_ins] == [
        "nagios-nrpe-server.service.d",
        "telegraf.service.d",
    ]
    for path in drop_ins:
        unit = units / path.parent.stem
        unit.write_text("[Service]\nExecStart=/bin/true\n", "utf-8")
        words = ["systemd-analyze", "verify", "--man=no", str(unit)]
        assert processes.run(words).stderr == ""
        text = (units / path).read_text("utf-8")
        assert "AmbientCapabilities=CAP_NET_ADMIN\n" in text
        (units / path).write_text(text.replace("Ambient", "Anbient"), "utf-8")
        assert "AnbientCapabilities" in processes.run(words).stderr, "systemd reads the drop-in"
        (units / path).write_text(text, "utf-8")

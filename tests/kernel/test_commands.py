"""The commands as users start them, against the kernel's own numbers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import formats
import oracle
from installation import Installation, command, python_path
from namespaces import Filled, Namespace

pytestmark = pytest.mark.kernel

NAMES = ("entries", "limit", "buckets", "expect_limit")
# /proc is covered as some containers do; what is left is ctnetlink.
HIDDEN_PROC = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]


def run(
    namespace: Namespace, name: str, *options: str, before: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    return namespace.run([*(before or []), *command(name), *options], env=python_path())


def limits(namespace: Namespace, count: int) -> tuple[float, int]:
    """The usage in percent and the limit, by sysctl(8)."""
    limit = oracle.sysctl(namespace, "max")
    return 100 * count / limit, limit


def test_check_prints_the_true_count(filled: Filled) -> None:
    (percent, limit), done = oracle.agreed(
        lambda: limits(filled.namespace, filled.entries),
        lambda: run(filled.namespace, "check_conntrack", "-w", "80", "-c", "90"),
    )
    count = oracle.count(filled.namespace)
    assert count == filled.entries
    said, data = formats.plugin(done.stdout)
    assert done.returncode == 0, done
    assert said == (
        f"CONNTRACK OK - table.usage {percent:.2f}% ({filled.entries} of {limit} entries)"
    )
    assert data["table.entries"] == (str(count), "", "", "", "0", str(limit))
    assert data["table.usage"] == (f"{percent:.2f}", "%", "80", "90", "0", "100")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("warning", "critical", "status", "word"),
    [(2, 3, 0, "OK"), (0.5, 3, 1, "WARNING"), (0.25, 0.5, 2, "CRITICAL")],
)
def test_thresholds_below_and_above_the_usage(
    filled: Filled, warning: float, critical: float, status: int, word: str
) -> None:
    """Thresholds are these multiples of the true usage."""

    def ours() -> subprocess.CompletedProcess[str]:
        percent, _limit = limits(filled.namespace, filled.entries)
        ranges = ["-w", f"{percent * warning:.6f}", "-c", f"{percent * critical:.6f}"]
        return run(filled.namespace, "check_conntrack", *ranges)

    _theirs, done = oracle.agreed(lambda: limits(filled.namespace, filled.entries), ours)
    assert (done.returncode, done.stdout.split(" - ")[0]) == (status, f"CONNTRACK {word}"), done


@pytest.mark.parametrize(
    ("span", "status"), [("{}:{}", 0), ("@{}:{}", 2), ("{}:", 0), (":{}", 0), ("~:0", 2)]
)
def test_ranges_on_the_count(filled: Filled, span: str, status: int) -> None:
    check = f"table.entries,,{span.replace('{}', str(filled.entries))}"
    done = run(filled.namespace, "check_conntrack", "--check", check)
    assert done.returncode == status, done


@pytest.mark.parametrize("name", ["insert", "invalid"])
def test_counters_are_added_up_over_the_cpus(filled: Filled, name: str) -> None:
    done = run(filled.namespace, "check_conntrack", "--check", f"cpu.{name},,")
    data = formats.plugin(done.stdout)[1]
    found = data[f"cpu.{name}"]
    theirs = oracle.total(oracle.statistics(filled.namespace), name)
    assert (int(found.value), found.unit) == (theirs, "c")


def test_counter_of_one_cpu(filled: Filled) -> None:
    for cpu, row in oracle.statistics(filled.namespace).items():
        done = run(filled.namespace, "check_conntrack", "--check", f"cpu.insert[cpu={cpu}],,")
        assert int(formats.plugin(done.stdout)[1][f"cpu.insert.{cpu}"].value) == row["insert"]


def test_nobody_gets_the_same_verdict(filled: Filled, installation: Installation) -> None:
    words = [installation.command("check_conntrack"), "-w", "80", "-c", "90"]
    (_percent, limit), done = oracle.agreed(
        lambda: limits(filled.namespace, filled.entries),
        lambda: filled.namespace.run(words, user="nobody"),
    )
    assert done.returncode == 0, done
    assert f"({filled.entries} of {limit} entries)" in done.stdout


def test_telegraf_sends_the_kernels_numbers(filled: Filled) -> None:
    namespace = filled.namespace
    theirs, done = oracle.agreed(
        lambda: [
            oracle.count(namespace),
            *(oracle.sysctl(namespace, name) for name in ("max", "buckets", "expect_max")),
        ],
        lambda: run(namespace, "conntrack-telegraf"),
    )
    lines = formats.line_protocol(done.stdout)
    table = lines["conntrack", ()]
    assert (done.returncode, done.stderr) == (0, "")
    assert [table[name] for name in NAMES] == [f"{value}i" for value in theirs]
    for cpu, row in oracle.statistics(namespace).items():
        fields = lines["conntrack_cpu", (("cpu", str(cpu)),)]
        assert {name: fields[name] for name in row} == {k: f"{v}i" for k, v in row.items()}


def check_exposition(text: str, namespace: Namespace) -> None:
    found = formats.exposition(text)
    assert found["conntrack_table_entries", ()] == oracle.count(namespace)
    rows = oracle.statistics(namespace)
    ours = {
        cpu: {name: found[f"conntrack_cpu_{name}_total", (("cpu", str(cpu)),)] for name in row}
        for cpu, row in rows.items()
    }
    assert ours == rows


def test_prometheus_sends_the_kernels_numbers(filled: Filled) -> None:
    done = run(filled.namespace, "conntrack-prometheus")
    assert (done.returncode, done.stderr) == (0, "")
    check_exposition(done.stdout, filled.namespace)


def test_prometheus_output_is_for_everybody_whatever_the_umask(
    filled: Filled, folder: Path
) -> None:
    output = folder / "conntrack.prom"
    umask = ["sh", "-c", 'umask 077; exec "$@"', "sh"]
    done = run(filled.namespace, "conntrack-prometheus", "--output", str(output), before=umask)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert output.stat().st_mode & 0o7777 == 0o644
    assert [path.name for path in folder.iterdir()] == [output.name], "no temporary file is left"
    check_exposition(output.read_text("utf-8"), filled.namespace)


def test_prometheus_output_is_never_half_written(filled: Filled, folder: Path) -> None:
    output = folder / "conntrack.prom"
    words = [*command("conntrack-prometheus"), "--output", str(output)]
    assert filled.namespace.run(words, env=python_path()).returncode == 0
    names = set(formats.exposition(output.read_text("utf-8")))
    versions, reads = {output.stat().st_ino}, 0
    loop = ["sh", "-c", 'for i in 1 2 3 4 5 6 7 8; do "$@" || exit 1; done', "sh", *words]
    env = {**python_path(), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    with subprocess.Popen(filled.namespace.argv(loop), env=env) as writer:
        while writer.poll() is None:
            with output.open(encoding="utf-8") as file:
                assert set(formats.exposition(file.read())) == names
                versions.add(Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino)
            reads += 1
    assert writer.returncode == 0
    assert len(versions) > 1, "each run must make a new file, not write into the old one"
    assert reads > 8


def test_prometheus_output_that_cannot_be_written(filled: Filled, folder: Path) -> None:
    output = folder / "absent" / "conntrack.prom"
    done = run(filled.namespace, "conntrack-prometheus", "--output", str(output))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"conntrack-prometheus: {output} can't be written (No such file or directory): "
        "give --output a file in a directory that this user may write to\n"
    )


def test_hidden_proc_as_root_is_read_by_ctnetlink(filled: Filled) -> None:
    done = run(filled.namespace, "conntrack-prometheus", before=HIDDEN_PROC)
    assert (done.returncode, done.stderr) == (0, "")
    check_exposition(done.stdout, filled.namespace)


def test_telegraf_with_nothing_to_read(filled: Filled, installation: Installation) -> None:
    """A hidden /proc, and no right to use ctnetlink."""
    drop = filled.namespace.argv([installation.command("conntrack-telegraf")], user="nobody")[4:]
    done = filled.namespace.run([*HIDDEN_PROC, *drop])
    assert (done.returncode, done.stdout) == (1, "")
    _check_sentence(done.stderr)
    assert "hidden" in done.stderr


def test_check_with_nothing_to_read(filled: Filled, installation: Installation) -> None:
    words = [installation.command("check_conntrack"), "--check", "cpu.drop,,"]
    drop = filled.namespace.argv(words, user="nobody")[4:]
    done = filled.namespace.run([*HIDDEN_PROC, *drop])
    assert done.returncode == 3, done
    assert done.stdout.startswith("CONNTRACK UNKNOWN - table.usage: "), done
    assert "=" not in done.stdout.partition("|")[2], "no value may be invented"
    assert "Traceback" not in done.stdout + done.stderr


def _check_sentence(text: str) -> None:
    assert text.count("\n") == 1, text
    assert "Traceback" not in text

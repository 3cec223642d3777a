"""conntrack-prometheus before promtool, and in node_exporter's textfile collector."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import formats
import oracle
import processes
import traffic
from installation import command, python_path
from namespaces import Namespace
from processes import Daemon, accepts, free_port

EXPORTER = "prometheus-node-exporter"
pytestmark = pytest.mark.kernel

Scrape = Callable[[], str]


def write(namespace: Namespace, output: Path) -> None:
    words = [*command("conntrack-prometheus"), "--output", str(output)]
    done = namespace.run(words, env=python_path())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.agent("promtool")
def test_promtool_finds_nothing_to_criticize(filled_namespace: Namespace) -> None:
    done = filled_namespace.run(command("conntrack-prometheus"), env=python_path())
    checked = processes.run(["promtool", "check", "metrics"], stdin=done.stdout)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    found = formats.exposition(done.stdout)
    assert len(found) == sum(not line.startswith("#") for line in done.stdout.splitlines()), (
        "a sample that stands twice is something that promtool does not see"
    )
    spoilt = done.stdout.replace("_total", "")
    assert processes.run(["promtool", "check", "metrics"], stdin=spoilt).returncode == 3


@pytest.fixture
def scrape(folder: Path) -> Iterator[Scrape]:
    """A node_exporter that reads folder/textfile."""
    port = free_port()
    (folder / "textfile").mkdir()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answer() -> str:
        with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as found:
            return str(found.read().decode())

    options = [
        "--collector.disable-defaults",
        "--web.disable-exporter-metrics",
        "--collector.textfile",
        f"--collector.textfile.directory={folder}/textfile",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with Daemon([EXPORTER, *options], folder / "log") as daemon:
        daemon.until(lambda: accepts(port), "it listens")
        yield answer


def served(scrape: Scrape) -> dict[tuple[str, formats.Labels], float]:
    """Our samples among those that node_exporter serves."""
    found = formats.exposition(scrape())
    assert found["node_textfile_scrape_error", ()] == 0
    return {key: value for key, value in found.items() if key[0].startswith("conntrack_")}


@pytest.mark.agent(EXPORTER)
def test_node_exporter_serves_the_kernels_numbers(
    namespace: Namespace, folder: Path, scrape: Scrape
) -> None:
    output = folder / "textfile" / "conntrack.prom"
    for entries in (0, 3):
        for _ in range(entries):
            assert traffic.sent(namespace, 9)
        traffic.invalid(namespace, entries)
        write(namespace, output)
        found = served(scrape)
        assert found == formats.exposition(output.read_text("utf-8"))
        assert found["conntrack_table_entries", ()] == oracle.count(namespace) == entries
        rows = oracle.statistics(namespace)
        assert rows == {
            cpu: {name: found[f"conntrack_cpu_{name}_total", (("cpu", str(cpu)),)] for name in row}
            for cpu, row in rows.items()
        }


@pytest.mark.agent(EXPORTER)
def test_node_exporter_keeps_help_and_types(
    filled_namespace: Namespace, folder: Path, scrape: Scrape
) -> None:
    output = folder / "textfile" / "conntrack.prom"
    write(filled_namespace, output)
    heads = [line for line in output.read_text("utf-8").splitlines() if line.startswith("# ")]
    answered = scrape().splitlines()
    assert heads
    assert [line for line in heads if line not in answered] == []

"""conntrack-prometheus before promtool, and in node_exporter's textfile collector."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import formats
import oracle
import processes
import rendered
import traffic
from installation import Installation, command, python_path
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
def exporter(folder: Path) -> Iterator[int]:
    """The port of a node_exporter that reads folder/textfile."""
    port = free_port()
    (folder / "textfile").mkdir()
    options = [
        "--collector.disable-defaults",
        "--web.disable-exporter-metrics",
        "--collector.textfile",
        f"--collector.textfile.directory={folder}/textfile",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with Daemon([EXPORTER, *options], folder / "log") as daemon:
        daemon.until(lambda: accepts(port), "it listens")
        yield port


@pytest.fixture
def scrape(exporter: int) -> Scrape:
    """What asks it."""
    return lambda: get(exporter, "/metrics")


def ready(port: int) -> bool:
    """Whether a Prometheus answers questions; it listens before it does."""
    try:
        return accepts(port) and bool(get(port, "/-/ready"))
    except urllib.error.URLError:
        return False


def get(port: int, path: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


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


PROMETHEUS = """\
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files: ["{rules}"]
scrape_configs:
  - job_name: gate
    static_configs:
      - targets: ["127.0.0.1:{port}"]
"""


@pytest.mark.agent("promtool")
def test_a_wrong_rule_fails_the_rendered_tests(installation: Installation, folder: Path) -> None:
    files = rendered.render("prometheus", folder, installation, "conntrackd=yes")
    tests = files / "conntrack.rules.test.yml"
    words = ["promtool", "test", "rules", str(tests)]
    assert processes.run(words).returncode == 0
    rules = files / "conntrack.rules.yml"
    rules.write_text(rules.read_text("utf-8").replace(">= 80", ">= 101"), "utf-8")
    failed = processes.run(words)
    assert failed.returncode == 1
    assert "ConntrackTableFilling" in failed.stdout + failed.stderr


@pytest.mark.agent("promtool")
def test_a_hostile_file_name_stays_in_its_rule(installation: Installation, folder: Path) -> None:
    """promtool's tests of the rules, which render asks, hold the name, too."""
    name = f"/a: #b {rendered.HOSTILE}\\n\\/x.prom"
    files = rendered.render("prometheus", folder, installation, f"textfile={name}")
    assert "ConntrackFileStale" in (files / "conntrack.rules.yml").read_text("utf-8")


@pytest.mark.agent(EXPORTER, "prometheus", "promtool")
def test_rendered_rules_see_the_numbers_in_a_real_prometheus(
    filled_namespace: Namespace, installation: Installation, folder: Path, exporter: int
) -> None:
    output = folder / "textfile" / "conntrack.prom"
    said = ("warning=0.5", "critical=100", f"textfile={output}")
    files = rendered.render("prometheus", folder, installation, *said)
    write(filled_namespace, output)
    port = free_port()
    file = folder / "prometheus.yml"
    rules = files / "conntrack.rules.yml"
    file.write_text(PROMETHEUS.format(rules=rules, port=exporter), "utf-8")
    words = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder}/data"]
    words += [f"--web.listen-address=127.0.0.1:{port}"]

    def alerts() -> list[dict[str, str]]:
        found = json.loads(get(port, "/api/v1/alerts"))["data"]["alerts"]
        return [{**alert["labels"], **alert["annotations"]} for alert in found]

    with Daemon(words, folder / "prometheus.log") as daemon:
        daemon.until(lambda: ready(port), "it is ready")
        found = daemon.until(alerts, "an alert is pending", seconds=30)
    assert {alert["alertname"] for alert in found} == {"ConntrackTableFilling"}
    samples = formats.exposition(output.read_text("utf-8"))
    usage = samples["conntrack_table_usage_ratio", ()] * 100
    assert f" is {usage:.4g}" in found[0]["summary"], found

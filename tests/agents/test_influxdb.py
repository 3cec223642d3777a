"""What conntrack-telegraf prints, written to a real InfluxDB as Telegraf would, and queried back.

Telegraf itself is in no Debian release; its exec input hands these lines on as they are.
"""

from __future__ import annotations

import json
import shlex
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import oracle
import rendered
import traffic
from installation import Installation, command, python_path
from namespaces import Namespace
from processes import Daemon, accepts, free_port

pytestmark = [pytest.mark.kernel, pytest.mark.agent("influxd")]

CONFIGURATION = """\
reporting-disabled = true
bind-address = "127.0.0.1:{backup}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
"""


class Influx:
    """The HTTP interface of one database."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def post(self, path: str, data: str, **options: str) -> tuple[int, str]:
        query = urllib.parse.urlencode({"db": "conntrack", **options})
        request = urllib.request.Request(f"{self._url}{path}?{query}", data.encode())  # noqa: S310
        try:
            with self._opener.open(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def write(self, lines: str) -> None:
        assert self.post("/write", lines, precision="s") == (204, "")

    def query(self, text: str) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        status, answer = self.post("/query", "", q=text, epoch="s")
        assert status == 200, answer
        (result,) = json.loads(answer)["results"]
        assert "error" not in result, result
        return [
            {**series.get("tags", {}), **dict(zip(series["columns"], row))}
            for series in result.get("series", ())
            for row in series["values"]
        ]


@pytest.fixture
def influx(folder: Path) -> Iterator[Influx]:
    port = free_port()
    file = folder / "influxdb.conf"
    file.write_text(CONFIGURATION.format(folder=folder, port=port, backup=free_port()), "utf-8")
    with Daemon(["influxd", "run", "-config", file], folder / "log") as daemon:
        daemon.until(lambda: accepts(port), "it listens")
        made = Influx(port)
        made.query("CREATE DATABASE conntrack")
        yield made


def stamped(namespace: Namespace, seconds: int, *options: str) -> str:
    """One gather with the time that Telegraf would add."""
    done = namespace.run([*command("conntrack-telegraf"), *options], env=python_path())
    assert (done.returncode, done.stderr) == (0, "")
    return "".join(f"{line} {seconds}\n" for line in done.stdout.splitlines())


def test_stored_values_are_the_kernels(filled_namespace: Namespace, influx: Influx) -> None:
    def ours() -> dict[str, Any]:
        influx.write(stamped(filled_namespace, 1_700_000_000))
        (row,) = influx.query("SELECT * FROM conntrack")
        return row

    names = ("max", "buckets", "expect_max", "acct", "timestamp", "events")
    theirs, row = oracle.agreed(
        lambda: [oracle.sysctl(filled_namespace, name) for name in names], ours
    )
    fields = ("limit", "buckets", "expect_limit", "acct", "timestamp", "events")
    assert [row[name] for name in fields] == theirs
    assert row["entries"] == oracle.count(filled_namespace)
    assert row["usage_percent"] == pytest.approx(100 * row["entries"] / row["limit"], abs=5e-5)
    cpus = {int(found["cpu"]): found for found in influx.query("SELECT * FROM conntrack_cpu")}
    rows = oracle.statistics(filled_namespace)
    assert {cpu: {name: cpus[cpu][name] for name in row} for cpu, row in rows.items()} == rows
    up = influx.query("SELECT * FROM conntrack_source")
    assert {row["source"]: row["up"] for row in up} == {"sysctls": 1, "counters": 1}


def test_fields_are_integers_except_for_percent(
    filled_namespace: Namespace, influx: Influx
) -> None:
    """InfluxDB refuses a field whose type changes, so it must not depend on the value."""
    influx.write(stamped(filled_namespace, 1_700_000_000))
    with Namespace() as empty:
        influx.write(stamped(empty, 1_700_000_010))
    keys = influx.query("SHOW FIELD KEYS")
    types = {row["fieldKey"]: row["fieldType"] for row in keys}
    assert types.pop("usage_percent") == "float"
    assert set(types.values()) == {"integer"}
    assert len(types) > 15
    assert [row["entries"] for row in influx.query("SELECT entries FROM conntrack")] == [
        oracle.count(filled_namespace),
        0,
    ]
    assert {row["tagKey"] for row in influx.query("SHOW TAG KEYS")} == {"cpu", "source"}


def test_growth_in_the_database_is_the_kernels(namespace: Namespace, influx: Influx) -> None:
    before = oracle.total(oracle.statistics(namespace), "invalid")
    influx.write(stamped(namespace, 1_700_000_000, "--metrics", "cpu.*"))
    traffic.invalid(namespace, 25)
    influx.write(stamped(namespace, 1_700_000_010, "--metrics", "cpu.*"))
    rows = influx.query(
        "SELECT sum(grown) AS grown FROM (SELECT spread(invalid) AS grown "
        "FROM conntrack_cpu GROUP BY cpu)"
    )
    grown = oracle.total(oracle.statistics(namespace), "invalid") - before
    assert grown >= 25
    assert rows[0]["grown"] == grown
    assert not influx.query("SELECT * FROM conntrack"), "--metrics keeps the table out"


def test_rendered_command_from_a_hostile_path(
    filled_namespace: Namespace, hostile: Installation, folder: Path, influx: Influx
) -> None:
    """What Telegraf would run, split as a shell does, as its exec input does."""
    import tomllib

    said = ("metrics=table.*, tcp.state", "sudo=never", "interval=10")
    files = rendered.render("telegraf", folder, hostile, *said, check=False)
    text = (files / "conntrack.conf").read_text("utf-8")
    (plugin,) = tomllib.loads(text)["inputs"]["exec"]
    assert (plugin["interval"], plugin["data_format"]) == ("10s", "influx")
    (line,) = plugin["commands"]
    done = filled_namespace.run(shlex.split(line))
    assert (done.returncode, done.stderr) == (0, "")
    influx.write(done.stdout)
    (row,) = influx.query("SELECT entries FROM conntrack")
    assert row["entries"] == oracle.count(filled_namespace)
    (row,) = influx.query("SELECT sum(entries) AS entries FROM conntrack_protocol")
    assert row["entries"] == oracle.count(filled_namespace)
    # The example that is commented out is right, too.
    example = text.partition("# [[inputs.execd]]")[2].replace("\n# ", "\n")
    words = tomllib.loads(example)["command"]
    assert words == [*shlex.split(line), "--execd"]

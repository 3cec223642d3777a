"""The wheel and the source distribution: what they hold, and what a pip installation gives."""

from __future__ import annotations

import configparser
import email
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import conntrack_common
import processes
from checkout import check_out, tracked
from installation import TREE, entry_points, is_debian
from processes import must

VERSION = conntrack_common.__version__
pytestmark = pytest.mark.skipif(is_debian(), reason="pip's installation is not what is tested")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Both, built from a copy of the project's files: the wheel from the source distribution."""
    room = tmp_path_factory.mktemp("wheel")
    tree = check_out(room / "tree")
    words = [sys.executable, "-m", "build", "--outdir", str(room / "dist"), str(tree)]
    must(words, env={"HOME": str(room)}, timeout=300)
    found = {path.suffix: path for path in (room / "dist").iterdir()}
    assert set(found) == {".gz", ".whl"}
    return found


def test_the_wheel_holds_the_packages_and_nothing_else(built: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(built[".whl"]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        # The tree's link to the templates is no file of its own.
        sources = {*tracked("common"), *tracked("plugins")} - {
            "plugins/conntrack_plugins/templates"
        }
        expected = {name.partition("/")[2] for name in sources}
        expected |= {f"conntrack_plugins/{name}" for name in tracked("templates")}
        assert names == expected
        metadata = email.message_from_bytes(
            wheel.read(f"conntrack_plugins-{VERSION}.dist-info/METADATA")
        )
    assert metadata["Version"] == VERSION
    assert {"nagios", "cli", "render", "all"} <= set(metadata.get_all("Provides-Extra", []))
    needed = metadata.get_all("Requires-Dist", [])
    assert [each for each in needed if "extra ==" not in each] == [], "plain pip install is bare"


def test_extras_are_what_commands_need() -> None:
    setup = configparser.ConfigParser()
    setup.read(TREE / "setup.cfg", "utf-8")
    extras = {
        name: set(text.split("\n")) - {""} for name, text in setup["options.extras_require"].items()
    }
    assert extras["all"] == extras["nagios"] | extras["cli"] | extras["render"]


def test_the_source_distribution_holds_the_project(built: Mapping[str, Path]) -> None:
    with tarfile.open(built[".gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    left_out = {"plugins/conntrack_plugins/templates", ".gitignore", ".ci/run"}
    assert tracked() - left_out <= names


def test_twine_finds_nothing(built: Mapping[str, Path]) -> None:
    said = must([sys.executable, "-m", "twine", "check", "--strict", *built.values()])
    assert said.count("PASSED") == 2


def test_a_bare_installation_gives_the_agents_commands(
    built: Mapping[str, Path], tmp_path: Path
) -> None:
    """Without any extra; what needs one says so in a sentence."""
    must([sys.executable, "-m", "venv", tmp_path / "venv"])
    bin_ = tmp_path / "venv/bin"
    must([bin_ / "pip", "install", "-q", "--no-index", "--no-deps", built[".whl"]])
    for name in ("conntrack-telegraf", "conntrack-prometheus"):
        assert "entries" in must([bin_ / name, "--proc-root", TREE / "tests/data/proc/ok"])
    for name in entry_points():
        assert (bin_ / name).exists()
    lacking = {
        ("conntrack-stat",): "rich",
        ("conntrack-stat", "render", "nrpe"): "jinja2",
        ("check_conntrack",): "nagiosplugin",
        ("check_conntrackd", "--file", "x"): "nagiosplugin",
    }
    for (name, *words), library in lacking.items():
        done = processes.run([bin_ / name, *words])
        is_check = name.startswith("check")
        assert done.returncode == (3 if is_check else 1), done
        said = done.stdout if is_check else done.stderr
        assert said.count("\n") == 1, done
        assert f"apt install python3-{library}, or pip install {library}" in said

"""The house's own rules: where modules stand, what they import, and what starting costs."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import conntrack_common
from conntrack_plugins import reference
from installation import entry_points, python_path

TREE = Path(__file__).resolve().parent.parent.parent
COMMON, PLUGINS = TREE / "common" / "conntrack_common", TREE / "plugins" / "conntrack_plugins"
MODULES = sorted([*COMMON.rglob("*.py"), *PLUGINS.rglob("*.py")])
FOREIGN = {"conntrack_plugins", "nagiosplugin", "jinja2", "rich", "collectd", "pyroute2"}


def imports(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere in a file, but for type checkers' own."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_the_packages_are_the_folders() -> None:
    setup = configparser.ConfigParser()
    setup.read(TREE / "setup.cfg", "utf-8")
    listed = set(setup["options"]["packages"].split())
    folders = {
        ".".join(path.parent.relative_to(root.parent).parts)
        for root in (COMMON, PLUGINS)
        for path in root.rglob("__init__.py")
    }
    assert listed == folders


@pytest.mark.parametrize("path", sorted(COMMON.rglob("*.py")), ids=lambda path: path.stem)
def test_the_core_knows_no_agent(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imports(path)} & FOREIGN


@pytest.mark.parametrize("path", sorted((COMMON / "analysis").glob("*.py")), ids=lambda p: p.stem)
def test_analysis_reads_nothing(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imports(path)} & {"os", "socket", "subprocess"}
    assert "conntrack_common.sources" not in " ".join(imports(path))
    assert "open(" not in path.read_text("utf-8")


@pytest.mark.parametrize("path", sorted((COMMON / "sources").glob("*.py")), ids=lambda p: p.stem)
def test_sources_know_nothing_above_them(path: Path) -> None:
    above = ("metrics", "collect", "expression", "filters", "breakdown", "listing", "analysis")
    found = [name for name in imports(path) if name.startswith("conntrack_common.")]
    assert not [name for name in found if name.split(".")[1] in above]


@pytest.mark.parametrize("path", sorted(PLUGINS.glob("*.py")), ids=lambda path: path.stem)
def test_adapters_read_nothing_themselves(path: Path) -> None:
    found = [name for name in imports(path) if name.startswith("conntrack_common.sources.")]
    allowed = ("procfs", "events", "conntrackd")
    assert not [name for name in found if not name.split(".")[2].startswith(allowed)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_is_of_a_size_to_read(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 350


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_what_is_public_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_digits_from_outside_are_read_by_one_function(path: Path) -> None:
    """`int` takes what no format has, and raises ValueError for what is long."""
    if path.name == "digits.py":
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"isdigit", "isdecimal", "isnumeric"}, node.lineno
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "int":
            assert len(node.args) < 2, f"line {node.lineno}: int(text, base)"
        if isinstance(node, ast.keyword) and node.arg == "type":
            name = getattr(node.value, "id", "")
            assert name not in {"int", "float"}, f"line {node.value.lineno}: an option's type"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_what_is_printed_goes_through_one_place(path: Path) -> None:
    """Where an output that is closed, full, or without a reader, is no traceback."""
    if path.name in {"run.py", "manual.py", "reference.py", "completion.py"}:  # tools of the build
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") not in {"print", "input"}, node.lineno
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "sys":
            assert node.attr not in {"stdin", "__stdin__", "__stdout__", "__stderr__"}, node.lineno
        if isinstance(node, ast.Attribute) and node.attr in {"write", "writelines"}:
            assert "sys.std" not in ast.unparse(node.value), node.lineno


def loaded(program: str) -> set[str]:
    """The modules that a command has loaded when it has done its usual work."""
    module, function = entry_points()[program]
    code = (
        f"import sys; sys.argv = ['x']; from {module} import {function}\n"
        f"try: {function}()\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env=python_path(),
    )
    return set(done.stderr.splitlines()[-1].split())


def test_starting_costs_no_more_than_it_must() -> None:
    heavy = {"pyroute2", "jinja2", "rich", "dataclasses", "socket", "ctypes"}
    assert not loaded("check_conntrack") & heavy
    more = {"argparse", "typing", "json", "re", "threading"}
    assert not loaded("conntrack-telegraf") & (heavy | more)
    assert not loaded("conntrack-prometheus") & (heavy | more)


def test_the_metrics_reference_is_not_stale() -> None:
    written = (TREE / "docs" / "metrics.md").read_text("utf-8")
    assert "".join(reference.reference()) == written, "run 'make docs'"


def test_the_version_stands_in_the_changelog() -> None:
    changelog = (TREE / "CHANGELOG.md").read_text("utf-8")
    assert changelog.split("## ")[1].split()[0] == conntrack_common.__version__


def test_the_debian_package_has_the_same_version() -> None:
    first = (TREE / "debian" / "changelog").read_text("utf-8").splitlines()[0]
    assert first.startswith(f"conntrack-plugins ({conntrack_common.__version__}) ")


def test_the_tree_stands_alone() -> None:
    places = ("../" + "shared", "/" + "work/", "farm" + "-")
    for path in [
        *MODULES,
        *TREE.glob("*.md"),
        *TREE.glob("docs/*.md"),
        *TREE.glob("tests/**/*.py"),
    ]:
        text = path.read_text("utf-8")
        assert not [place for place in places if place in text], path

"""The house's own rules: where modules stand, what they import, and what starting costs."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import conntrack_common
from conntrack_plugins import stat
from conntrack_plugins.manual import reference
from installation import entry_points, python_path

TREE = Path(__file__).resolve().parent.parent.parent
COMMON, PLUGINS = TREE / "common" / "conntrack_common", TREE / "plugins" / "conntrack_plugins"
MODULES = sorted([*COMMON.rglob("*.py"), *PLUGINS.rglob("*.py")])
FOREIGN = {"conntrack_plugins", "nagiosplugin", "jinja2", "rich", "collectd"}

# The rooms, each with those that it may import: all stand above it, so there is no circle.
WORDS = "records errors terms digits printable duration"
ROOMS = {
    "printable": "",
    "records": "",
    "duration": "",
    "errors": "printable",
    "digits": "errors",
    "terms": "digits errors",
    "model": WORDS,
    "proc": f"{WORDS} model",
    "ctnetlink": f"{WORDS} model proc",
    "conntrackd": f"{WORDS} model proc",
    "netns": WORDS,
    "host": f"{WORDS} model proc ctnetlink conntrackd",
    "analysis": f"{WORDS} model",
    "filters": f"{WORDS} ctnetlink host",
    "breakdown": f"{WORDS} model ctnetlink filters analysis",
    "listing": f"{WORDS} model ctnetlink filters",
    "catalogue": f"{WORDS} model analysis",
    "collect": f"{WORDS} model proc ctnetlink conntrackd netns filters breakdown catalogue",
}
CORE = " ".join(ROOMS)
ADAPTERS = "collectd prometheus telegraf nagios"
# Agents' libraries, each with the one module that imports it.
LIBRARIES = {"nagiosplugin": "nagios.plugin", "collectd": "collectd"}
NAMES_AND_TEXT = "run labels arguments conntrackd_arguments"
UPSTAIRS = {
    "run": "",
    "labels": "",
    "rules": "",
    "arguments": "run",
    "conntrackd_arguments": "arguments",
    "interface": "",
    **dict.fromkeys(ADAPTERS.split(), NAMES_AND_TEXT),
    "nagios": f"{NAMES_AND_TEXT} rules",
    "names": ADAPTERS,
    "render": f"{NAMES_AND_TEXT} {ADAPTERS} rules interface",
    "stat": f"{NAMES_AND_TEXT} {ADAPTERS} interface names render",
    "manual": f"{NAMES_AND_TEXT} {ADAPTERS} interface names render stat",
    "commands": f"run {ADAPTERS} stat",
}


def room(module: str) -> str:
    """The first part of a module's name in its package."""
    return [*module.split("."), ""][1]


def named(path: Path) -> str:
    """A module's name."""
    root = COMMON if path.is_relative_to(COMMON) else PLUGINS
    return ".".join(path.relative_to(root.parent).with_suffix("").parts)


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


@pytest.mark.parametrize("rooms", [ROOMS, UPSTAIRS], ids=["common", "plugins"])
def test_the_table_of_rooms_has_no_circle(rooms: dict[str, str]) -> None:
    """Each room comes after those that it may import."""
    order = list(rooms)
    for name, allowed in rooms.items():
        later = [other for other in allowed.split() if order.index(other) >= order.index(name)]
        assert not later, (name, later)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_go_down_the_rooms(path: Path) -> None:
    module = named(path)
    core = path.is_relative_to(COMMON)
    rooms, package = (ROOMS, "conntrack_common") if core else (UPSTAIRS, "conntrack_plugins")
    inside = {room(name) for name in imports(path) if name.startswith(f"{package}.")}
    inside &= rooms.keys()  # the rest are names of the package itself
    if room(module) == "__init__":
        assert not inside
    else:
        assert inside <= {room(module), *rooms[room(module)].split()}


@pytest.mark.parametrize("path", sorted(COMMON.rglob("*.py")), ids=named)
def test_the_core_knows_no_agent(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imports(path)} & FOREIGN


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_agents_library_is_imported_by_one_module(library: str) -> None:
    importers = [named(path) for path in MODULES if library in imports(path)]
    assert importers == [f"conntrack_plugins.{LIBRARIES[library]}"]


READERS = {"proc", "ctnetlink", "conntrackd", "host", "netns"}


@pytest.mark.parametrize("path", sorted(COMMON.rglob("*.py")), ids=named)
def test_only_these_rooms_read_the_system(path: Path) -> None:
    if room(named(path)) in READERS:
        return
    found = {name.partition(".")[0] for name in imports(path)}
    assert not found & {"os", "subprocess", "fcntl", "ctypes"}
    assert "open(" not in path.read_text("utf-8")


@pytest.mark.parametrize("path", sorted(PLUGINS.rglob("*.py")), ids=named)
def test_adapters_read_nothing_themselves(path: Path) -> None:
    if room(named(path)) not in ADAPTERS.split():
        return
    found = [name for name in imports(path) if room(name) in READERS | {"conntrack_common"}]
    found = [name for name in found if name.startswith("conntrack_common.")]
    allowed = ("proc.files", "ctnetlink.events", "conntrackd.")
    assert not [name for name in found if not name.partition(".")[2].startswith(allowed)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_is_of_a_size_to_read(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 300


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
    if path.name == "run.py" or path.parent.name == "manual":  # a tool of the build
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") not in {"print", "input"}, node.lineno
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "sys":
            assert node.attr not in {"stdin", "__stdin__", "__stdout__", "__stderr__"}, node.lineno
        if isinstance(node, ast.Attribute) and node.attr in {"write", "writelines"}:
            assert "sys.std" not in ast.unparse(node.value), node.lineno


def loaded(program: str, *words: str) -> set[str]:
    """The modules that a command has loaded when it has done its usual work."""
    module, function = entry_points()[program]
    code = (
        f"import sys; sys.argv = {['x', *words]}; from {module} import {function}\n"
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


BESIDE = {"demo": "status", "events": "listing"}  # whose output is the same


@pytest.mark.parametrize("name", sorted(stat.MODULES))
def test_only_the_subcommand_that_runs_is_imported(name: str) -> None:
    package = stat.__name__
    modules = {f"{package}.{each}" for each in stat.MODULES.values()}
    modules -= {f"{package}.{BESIDE.get(name)}"}
    for words in ((name, "--help"), ("--netns", "count", "--json", name, "--nosuch")):
        assert loaded("conntrack-stat", *words) & modules == {f"{package}.{stat.MODULES[name]}"}


def test_the_metrics_reference_is_not_stale() -> None:
    written = (TREE / "docs" / "metrics.md").read_text("utf-8")
    assert "".join(reference.reference()) == written, "run 'make docs'"


# Words at which an administrator stops, or that are not those of netfilter's own manuals.
STUMBLING = re.compile(
    r"(can't|cannot) be meant|\bin silence\b|\bof which\b|\bthere is none of\b|\bone page an?\b"
    r"|\b(tells?|told|lacks?|lacking|mend(s|ed|ing)?|stands?|stood)\b"
    r"|(?<!there )\bis no (address|label|mark|metric|port|protocol|state|zone)\b",
    re.IGNORECASE,
)


def sentences(path: Path) -> Iterator[str]:
    """Every string and docstring of a module; the whole text of another file."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        yield text
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


READ = [
    *MODULES,
    *(TREE / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(TREE / "docs").glob("*.md"),
    *(TREE / "templates").rglob("*.j2"),
]


@pytest.mark.parametrize("path", READ, ids=lambda path: path.name)
def test_nobody_stumbles_over_a_word(path: Path) -> None:
    assert not [found[0] for text in sentences(path) for found in STUMBLING.finditer(text)]


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

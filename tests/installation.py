"""The commands under test: as installed beside this Python, or from the tree.

Agents give up root and may not read this Python or this tree, so `copied` puts the packages that
this Python imports into a folder for everybody, with launchers for Debian's Python.
"""

from __future__ import annotations

import configparser
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import conntrack_common
import conntrack_plugins

TREE = Path(__file__).resolve().parent.parent
DEBIAN_PYTHON = "/usr/bin/python3"
PACKAGES = [Path(module.__file__ or "").parent for module in (conntrack_common, conntrack_plugins)]


def entry_points(tree: Path = TREE) -> dict[str, tuple[str, str]]:
    """Each command's module and function, from the project's metadata."""
    setup = configparser.ConfigParser()
    setup.read(tree / "setup.cfg", "utf-8")
    lines = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    found = {}
    for line in lines:
        name, _, target = line.partition("=")
        module, _, function = target.strip().partition(":")
        found[name.strip()] = (module, function)
    return found


def command(name: str) -> list[str]:
    """The words that start a command: the installed script, or else the tree's entry point."""
    if is_debian():
        return [DEBIAN.command(name)]
    script = Path(sysconfig.get_path("scripts"), name)
    if script.exists():
        return [str(script)]
    return from_tree(name)


def from_tree(name: str, tree: Path = TREE) -> list[str]:
    """The words that start a command of a checkout, whose packages are on Python's path."""
    return [sys.executable, "-c", _launch(name, tree)]


def python_path() -> Mapping[str, str]:
    """The environment that `command` needs: none beyond the usual one for an installed script."""
    return {"PYTHONPATH": os.pathsep.join(str(package.parent) for package in PACKAGES)}


def _launch(name: str, tree: Path = TREE) -> str:
    module, function = entry_points(tree)[name]
    return f"import sys; from {module} import {function}; sys.exit({function}())"


class Installation(NamedTuple):
    """Packages in `modules`, checks in `plugins`, other commands in `bin`: open to all users."""

    modules: Path
    plugins: Path
    bin: Path

    def command(self, name: str) -> str:
        return str((self.plugins if name.startswith("check_") else self.bin) / name)

    def python(self, code: str) -> list[str]:
        """The words that run a few lines of Python which import the packages."""
        inserted = f"import sys; sys.path.insert(0, {str(self.modules)!r})\n{code}"
        return [DEBIAN_PYTHON, "-B", "-c", inserted]


# Where Debian's packages put them; used if that is what this Python imports.
DEBIAN = Installation(
    Path("/usr/lib/python3/dist-packages"), Path("/usr/lib/nagios/plugins"), Path("/usr/bin")
)


def is_debian() -> bool:
    """Whether Debian's package is under test."""
    return PACKAGES[0].parent == DEBIAN.modules


def copied(folder: Path) -> Installation:
    """Copy the packages into a new folder, and make launchers beside them."""
    made = Installation(folder / "modules", folder / "bin", folder / "bin")
    made.bin.mkdir(parents=True)
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, made.modules / package.name, ignore=ignored)
    for name in entry_points():
        path = f"import sys; sys.path[0] = {str(made.modules)!r}"
        Path(made.command(name)).write_text(
            f"#!{DEBIAN_PYTHON} -B\n{path}\n{_launch(name)}\n", "utf-8"
        )
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.parent == made.bin else 0o644)
    return made

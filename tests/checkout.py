"""The project's files as git knows them, and copies of them to build from."""

from __future__ import annotations

from pathlib import Path

from installation import TREE
from processes import must


def tracked(folder: str = ".") -> set[str]:
    """The files of a folder that belong to the project."""
    return set(filter(None, must(["git", "-C", TREE, "ls-files", "-z", folder]).split("\0")))


def check_out(folder: Path) -> Path:
    """Copy them into a new folder, as they are committed or staged; return it."""
    must(["git", "-C", TREE, "checkout-index", "--all", f"--prefix={folder}/"])
    return folder

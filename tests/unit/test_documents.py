"""The documents' own claims: messages are those of the source, and command lines are found."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import documents
from documents import Command, same
from installation import TREE

MESSAGES = re.findall(
    r"^### `(.*)`$", (TREE / "docs/troubleshooting.md").read_text("utf-8"), re.MULTILINE
)


def texts() -> str:
    """Every string of the source, one a line, with a placeholder for what is put into it."""
    found = []
    for room in ("common", "plugins"):
        for path in (TREE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (getattr(part, "value", "") for part in node.values)
                    found.append("".join(p if isinstance(p, str) else "…" for p in parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


SOURCE = texts()


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_is_one_of_the_source(message: str) -> None:
    parts = [re.escape(part) for part in message.split("…")]
    assert re.search(".*".join(parts), SOURCE), "nobody says this any more"


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 20


def test_command_lines_are_found_with_their_outputs(tmp_path: Path) -> None:
    document = tmp_path / "x.md"
    document.write_text(
        "a\n```console\n$ one \\\n  two\nout\n# a comment of the output\n# conntrack-stat\n```\n"
        "```sh\n# a comment\nthree\n\n```\n```\n$ not\n```\n",
        "utf-8",
    )
    assert documents.commands(document) == [
        Command(3, "one two", root=False, output=("out", "# a comment of the output")),
        Command(7, "conntrack-stat", root=True, output=()),
        Command(11, "three", root=True, output=None),
    ]


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (["1 of 22"], ["333 of 4"]),
        (["a   1.5%  █░░"], ["a 22.5% ███░░░░"]),
        (["a", "…", "z"], ["a", "b", "c", "z"]),
        (["a", "…", "z"], ["a", "z"]),
        (["a … z"], ["a b c z"]),
        (["1,234 (x)"], ["9 (x)"]),
    ],
)
def test_same_shape(expected: list[str], got: list[str]) -> None:
    assert same(expected, got)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (["a"], ["b"]),
        (["a"], ["a", "b"]),
        (["a", "b"], ["a"]),
        (["a 1"], ["a"]),
        (["a", "…", "z"], ["a", "b"]),
        (["x.y"], ["xzy"]),
    ],
)
def test_other_shape(expected: list[str], got: list[str]) -> None:
    assert not same(expected, got)


def test_each_excuse_is_needed() -> None:
    found = [line.excuse for path in documents.DOCUMENTS for line in documents.commands(path)]
    unused = {why for why in documents.EXCUSED.values() if why not in found and why != "the same"}
    assert not unused

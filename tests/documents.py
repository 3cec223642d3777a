"""The commands that README.md and docs/ tell to type, and the outputs that they promise.

A ```console block holds command lines after '$' for anybody and after '#' for root (if a command of
the pack, conntrackd or cat follows; else it is a comment in an output), each followed by its
output; a ```sh block holds command lines for root alone. In an output, a line of dots stands
for any lines and dots in a line for any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from installation import TREE

DOCUMENTS = sorted([*TREE.glob("*.md"), *TREE.glob("docs/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
# What stands for a reader's own value, in a command that is spelled in a sentence or a table.
PLACEHOLDER = re.compile(r"…|\b(AGENT|DIR|FILE|KEY|VALUE|METRIC|NAME|PATTERN|RANGE|COMMAND)\b")
PROMPT = re.compile(r"\$ |# (?=(conntrack-\w+|check_\w+|conntrackd|cat)( |$))")
OURS = ("check_conntrack", "conntrack-")

# Command lines that a test can't run, each with the reason.
EXCUSED = {
    r"apt install .*": "Debian's packages are installed by the tests of the packages",
    r"make( \w+)?( +#.*)?": "the tests would run themselves; CI runs them",
    r"pip install .*": "the tests of the wheel install it",
    r"python3 -m venv .*": "the same",
    r"\. \S+/bin/activate": "the same",
    r"systemctl .*": "a test machine's systemd is left alone, if it has one",
    r"modprobe .*": "the test machine's kernel has it built in",
    r"check_nrpe .*": "the tests of NRPE ask a real one, with its port",
}


class Command(NamedTuple):
    """One command line: where it stands, who runs it, and what it prints (None: anything)."""

    line: int
    text: str
    root: bool
    output: tuple[str, ...] | None

    @property
    def excuse(self) -> str:
        """Why it isn't run; empty if it is."""
        found = (why for pattern, why in EXCUSED.items() if re.fullmatch(pattern, self.text))
        return next(found, "")


def commands(path: Path) -> list[Command]:
    """Return the command lines of a document's blocks."""
    text = path.read_text("utf-8")
    found: list[Command] = []
    for fence in FENCE.finditer(text):
        line = text.count("\n", 0, fence.start()) + 2
        if fence[1] == "console":
            found += _console(line, fence[2].splitlines())
        elif fence[1] == "sh":
            found += _shell(line, fence[2].splitlines())
    return found


def configurations(path: Path) -> dict[str, str]:
    """Return the ```conf blocks whose first line is a comment that names the file they make."""
    found = {}
    for fence in FENCE.finditer(path.read_text("utf-8")):
        head, _, body = fence[2].partition("\n")
        if fence[1] == "conf" and head.startswith("# /etc/"):
            found[head[2:]] = body
    return found


def spelled(path: Path) -> list[str]:
    """Return our commands that stand in a sentence or a table, with words of their own."""
    text = FENCE.sub("", path.read_text("utf-8"))
    found = [span.replace("\\|", "|") for span in SPAN.findall(text)]
    ours = [span for span in found if span.startswith(OURS) and " " in span]
    return [span for span in dict.fromkeys(ours) if not PLACEHOLDER.search(span)]


def _console(start: int, lines: Sequence[str]) -> Iterator[Command]:
    at = [number for number, line in enumerate(lines) if PROMPT.match(line)]
    for number, following in zip(at, [*at[1:], len(lines)]):
        end = number + 1
        text = lines[number][2:]
        while text.endswith("\\"):
            text = text[:-1] + lines[end].lstrip()
            end += 1
        output = tuple(lines[end:following])
        yield Command(start + number, text, lines[number][0] == "#", output)


def _shell(start: int, lines: Sequence[str]) -> Iterator[Command]:
    text = ""
    for number, line in enumerate(lines):
        text += line.removesuffix("\\")
        if not line.endswith("\\"):
            if text.strip() and not text.startswith("#"):
                yield Command(start + number, text.strip(), True, None)
            text = ""


def shape(line: str) -> str:
    """Return a line in which numbers are one sign, and bars and blanks have no length."""
    line = re.sub(r"\d+([.,:]\d+)*", "0", line.strip())
    line = re.sub(r"[█░▏▎▍▌▋▊▉]+", "█", line)
    return re.sub(r"\s+", " ", line)


def same(expected: Sequence[str], got: Sequence[str]) -> bool:
    """Tell whether an output has the promised shape."""
    pattern = ""
    for line in expected:
        if line.strip() in {"…", "..."}:
            pattern += r"(?:.*\n)*?"
        else:
            pieces = re.split(r"…|\.\.\.", shape(line))
            pattern += ".*".join(map(re.escape, pieces)) + r"\n"
    return bool(re.fullmatch(pattern, "".join(f"{shape(line)}\n" for line in got)))

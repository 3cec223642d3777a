"""What a terminal shows: rich's renderables as text, with colours only where there are any."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from conntrack_common.analysis.change import is_approximate
from conntrack_common.model import Change
from conntrack_common.printable import printable
from conntrack_plugins.run import complain

FIRST, FURTHER, GAP = (
    "  ",
    "      ",
    "    ",
)  # before a row, before its further lines, between columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from rich.console import RenderableType
    from rich.text import Text

    Thing = TypeVar("Thing")


def render(part: RenderableType) -> str:
    """Return a renderable as text for standard output."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    with console.capture() as capture:
        # Sentences are not wrapped: a terminal does that itself, and grep wants whole lines.
        console.print(part, soft_wrap=isinstance(part, Text))
    return capture.get()


def columns(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Text:
    """Return rows in columns; those whose heading begins with '>' are aligned to the right.

    No value is ever cut: each row is as long as it needs to be, and on a terminal it has as many
    lines as its columns need there.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.text import Text

    console = Console()
    table = [[heading.lstrip(">") for heading in headings]]
    table += [[printable(value) for value in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*table)]
    lines = _fold(widths, console.width if console.is_terminal else None)
    shown = Text()
    for number, row in enumerate(table):
        for line in lines:
            cells = []
            for column in line:
                blanks = " " * (widths[column] - cell_len(row[column]))
                right = headings[column].startswith(">")
                cells.append(blanks + row[column] if right else row[column] + blanks)
            text = (FIRST if line is lines[0] else FURTHER) + GAP.join(cells)
            shown.append(f"{text.rstrip()}\n", style="" if number else "bold")
    shown.right_crop(1)
    return shown


def _fold(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """Return which columns each line of a row has; one alone may be wider than the screen."""
    lines: list[list[int]] = [[]]
    used = len(FIRST)
    for column, needed in enumerate(widths):
        if lines[-1] and width is not None and used + needed > width:
            lines.append([])
            used = len(FURTHER)
        lines[-1].append(column)
        used += needed + len(GAP)
    return lines


def caution(change: Change | None) -> str:
    """Return a line that marks a reading of the table as approximate, or nothing."""
    if change is None or not is_approximate(change):
        return ""
    what = "its hash table was resized" if change.resized else f"by {change.entries:,} entries"
    return f"approximate: the table changed while it was read ({what})\n"


def as_json(document: object) -> str:
    """Return a document as a line of JSON, in ASCII if it has characters that are not printed."""
    text = json.dumps(document, ensure_ascii=False)
    return f"{text if text.isprintable() else json.dumps(document)}\n"


def is_terminal() -> bool:
    """Return whether standard output is a terminal that shows colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


class Progress:
    """A line on standard error that shows the progress of long work, where that is a terminal."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._shown:
            complain("\r\x1b[K", end="")

    def watch(self, things: Iterable[Thing]) -> Iterator[Thing]:
        """Yield the things, and show how many there were now and then."""
        for number, thing in enumerate(things, start=1):
            if number % 20_000 == 0:
                self.show(number)
            yield thing

    def show(self, number: int) -> None:
        """Show how many there are by now."""
        if sys.stderr.isatty():
            self._shown = True
            complain(f"\r{number:,} {self._what}", end="")

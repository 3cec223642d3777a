"""What a terminal shows: rich's renderables as text, with colours only where there are any."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from rich.console import RenderableType
    from rich.table import Table

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


def columns(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return rows in columns; those whose heading begins with '>' stand to the right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2))
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(heading.lstrip(">"), justify="right" if right else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def as_json(document: object) -> str:
    """Return a document as a line of JSON."""
    return json.dumps(document, ensure_ascii=False) + "\n"


def is_terminal() -> bool:
    """Tell whether standard output is a terminal that shows colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


class Progress:
    """A line on standard error that tells how far long work is, where that is a terminal."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def watch(self, things: Iterable[Thing]) -> Iterator[Thing]:
        """Yield the things, and tell how many there were now and then."""
        for number, thing in enumerate(things, start=1):
            if number % 20_000 == 0:
                self.show(number)
            yield thing

    def show(self, number: int) -> None:
        """Tell how many there are by now."""
        if sys.stderr.isatty():
            self._shown = True
            print(f"\r{number:,} {self._what}", end="", file=sys.stderr, flush=True)

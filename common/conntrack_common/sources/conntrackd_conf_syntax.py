"""The syntax of conntrackd.conf: words and brace blocks, without their meaning.

Source: conntrack-tools src/read_config_lex.l. Line breaks are blanks; statements are
case-sensitive; there are no quotes; a path goes on to the next space or line, `#`, `}` and tabs
included.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

from conntrack_common.errors import InvalidRequest
from conntrack_common.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

TOKEN = re.compile(r"[ \t\r\n]+|#[^\n]*|(?P<word>/[^\"\n ]*|[^\s{}#\"]+|[{}])")
DEEPEST = 10  # conntrackd's own blocks are four deep


class Word(NamedTuple):
    """One word of the file, or a brace, and its line."""

    text: str
    line: int


class Statement(NamedTuple):
    """Words, and the block in braces that may follow them."""

    words: tuple[Word, ...]
    block: tuple[Statement, ...] | None

    @property
    def name(self) -> str:
        """The word that says what it is."""
        return self.words[0].text

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.words[0].line


def parse_statements(text: str, path: str, one_value: Container[str]) -> tuple[Statement, ...]:
    """Return the statements of a file; raises InvalidRequest, which names file and line.

    Those named in `one_value` take one value, in whatever line, so that another statement may
    follow in the same line; others end with their line or block.
    """
    return _Parser(text, path, one_value).block([])


def refuse(path: str, line: int, problem: str) -> NoReturn:
    """Raise InvalidRequest for what conntrackd would refuse, too."""
    raise InvalidRequest(
        f"{path}, line {line}: {problem}; correct it (conntrackd.conf(5) has the syntax), "
        "because conntrackd does not start with it"
    )


class _Parser:
    def __init__(self, text: str, path: str, one_value: Container[str]) -> None:
        self.path = path
        self.one_value = one_value
        self.words = self.split(text)

    def split(self, text: str) -> Iterator[Word]:
        place, line = 0, 1
        while place < len(text):
            token = TOKEN.match(text, place)
            if token is None:
                problem = f"{text[place]!r} has no meaning here (values have no quotes)"
                refuse(self.path, line, problem)
            if token["word"]:
                yield Word(token["word"], line)
            line += token[0].count("\n")
            place = token.end()

    def block(self, opened: list[int]) -> tuple[Statement, ...]:
        """Return the statements up to the end of the block; `opened` are lines of open braces."""
        statements: list[Statement] = []
        pending: list[Word] = []
        for word in self.words:
            if word.text == "{":
                if not pending or len(opened) == DEEPEST:
                    refuse(self.path, word.line, "this '{' belongs to no statement")
                block = self.block([*opened, word.line])
                statements.append(Statement(tuple(pending), block))
                pending = []
            elif word.text == "}":
                if not opened:
                    refuse(self.path, word.line, "this '}' closes no block")
                break
            else:
                if pending and self.is_complete(pending, word):
                    statements.append(Statement(tuple(pending), None))
                    pending = []
                pending.append(word)
        else:
            if opened:
                refuse(self.path, opened[-1], "the block that begins here is never closed")
        if pending:
            statements.append(Statement(tuple(pending), None))
        return tuple(statements)

    def is_complete(self, words: list[Word], following: Word) -> bool:
        if words[0].text in self.one_value:
            return len(words) == 2
        return words[-1].line != following.line

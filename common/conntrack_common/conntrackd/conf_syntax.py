"""The syntax of conntrackd.conf: its words by their kinds, and statements by a grammar.

Source: conntrack-tools src/read_config_lex.l and read_config_yy.y. Statements are case-sensitive,
there are no quotes, and line breaks are blanks. Of the kinds of words that fit, the longest one
counts, so that `dead` is an IPv6 address and not a name; a path ends at the next space or line, and
`#`, `}` and tabs belong to it. A comment at the end of a file needs a line break after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from conntrack_common.conntrackd.conf_grammar import (
    FTFW,
    IP,
    KEYWORDS,
    NOTRACK,
    NUMBER,
    OFF,
    ON,
    PATH,
    SIGNED,
    STRING,
    WORDS,
    Form,
)
from conntrack_common.errors import InvalidRequest
from conntrack_common.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from conntrack_common.conntrackd.conf_grammar import Grammar

HEX = "[0-9a-fA-F]{1,4}"
END = "(end)"
LONGEST = 60  # characters that are quoted
DEEPEST = 50  # conntrackd's own blocks are four deep, but a helper's type may hold another
# Of those that match as much, the first counts.
KINDS = tuple(
    (kind, re.compile(pattern, re.ASCII))
    for kind, pattern in (
        (ON, "(?i:on|yes)"),
        (OFF, "(?i:off|no)"),
        (NUMBER, "[0-9]+"),
        (SIGNED, "[-+][0-9]+"),
        (IP, r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(?:/[0-9]+)?"),
        (IP, f"(?:{HEX}:?){{0,7}}::(?:{HEX}:?){{0,7}}(?:/[0-9]+)?"),
        (IP, f"(?:{HEX}:){{0,7}}{HEX}(?:/[0-9]+)?"),
        (PATH, r'/[^" \n]*'),
        ("ALARM", "(?i:alarm|persistent)"),
        (FTFW, "(?i:ftfw|nack)"),
        (NOTRACK, "(?i:notrack)"),
        (STRING, r"[a-zA-Z][a-zA-Z0-9._-]*"),
    )
)
BLANKS = re.compile(r"(?:[ \t\r\n]+|#[^\n]*(?=\n))*")


class Word(NamedTuple):
    """One word and its kind: a keyword's or a sign's is itself, that of the file's end is END."""

    kind: str
    text: str
    line: int


class Statement(NamedTuple):
    """A statement: its words, and the statements of the block that may follow them."""

    words: tuple[Word, ...]
    block: tuple[Statement, ...] = ()

    @property
    def name(self) -> str:
        """What it begins with."""
        return self.words[0].text

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.words[0].line

    @property
    def value(self) -> str:
        """Its one value."""
        return self.words[1].text


def words(text: str) -> Iterator[Word]:
    """Yield the words of a file, and the END where conntrackd stops reading.

    That is before a NUL or a byte beyond ASCII outside of comments and paths: the scanner returns
    it as a number that means the end.
    """
    place, line = 0, 1
    while True:
        start, place = place, _end(BLANKS, text, place)
        line += text.count("\n", start, place)
        character = text[place : place + 1]
        if not "\0" < character < "\x80":
            yield Word(END, character, line)
            return
        kind, end = character, place + 1
        for name, pattern in KINDS:
            longer = _end(pattern, text, place)
            if longer > end or (longer == end and kind == character):
                kind, end = name, longer
        word = text[place:end]
        yield Word(word if kind == STRING and word in KEYWORDS else kind, word, line)
        place = end


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    return match.end() if match else place


def parse_statements(text: str, path: str, grammar: Grammar) -> tuple[tuple[Statement, ...], Word]:
    """Return the statements of a file, and its END; raises InvalidRequest with file and line."""
    parser = _Parser(text, path)
    found = parser.statements(grammar)
    if parser.word.kind != END:
        parser.refuse("", grammar)
    return found, parser.word


def refuse(path: str, line: int, problem: str) -> NoReturn:
    """Raise InvalidRequest for what conntrackd would refuse, too."""
    raise InvalidRequest(
        f"{path}, line {line}: {problem}; correct it (conntrackd.conf(5) has the syntax), "
        "because conntrackd does not start with it"
    )


class _Parser:
    """Reads word by word, as conntrackd does; `word` is the next one."""

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        self.rest = words(text)
        self.word = next(self.rest)
        self.depth = 0

    def take(self) -> Word:
        taken = self.word
        self.word = next(self.rest, taken)
        return taken

    def statements(self, grammar: Grammar) -> tuple[Statement, ...]:
        """Return the statements up to what begins none."""
        found = []
        while self.word.kind in grammar:
            found.append(self.statement(grammar[self.word.kind]))
        return tuple(found)

    def statement(self, forms: tuple[Form, ...]) -> Statement:
        first = self.take()
        if all(form.follows for form in forms):
            self.expect(tuple(kind for form in forms for kind in form.follows), first.text)
        # The next word decides which of the forms it is.
        fitting = (form for form in forms if not form.follows or self.word.kind in form.follows)
        return self.form(first, next(fitting))

    def form(self, first: Word, form: Form) -> Statement:
        taken = [first]
        for kinds in form.words:
            self.expect(kinds, taken[-1].text)
            taken.append(self.take())
        if form.block is None:
            return Statement(tuple(taken))
        block: Grammar = form.block
        self.expect(("{",), taken[-1].text)
        opened = self.take()
        self.depth += 1
        if self.depth > DEEPEST:
            refuse(self.path, opened.line, "blocks are nested without an end")
        inner = self.statements(block)
        if self.word.kind == END:
            refuse(self.path, opened.line, "the block that begins here is never closed")
        if self.word.kind != "}":
            self.refuse(first.text, block)
        self.take()
        self.depth -= 1
        return Statement(tuple(taken), inner)

    def expect(self, kinds: tuple[str, ...], before: str) -> None:
        """Refuse the next word unless it is of one of these kinds."""
        if self.word.kind in kinds:
            return
        names = " or ".join(dict.fromkeys(WORDS.get(kind, f"'{kind}'") for kind in kinds))
        got = "the end of the file" if self.word.kind == END else repr(self.word.text[:LONGEST])
        hint = " (values have no quotes)" if self.word.text in ('"', "'") else ""
        refuse(self.path, self.word.line, f"{before} takes {names}, not {got}{hint}")

    def refuse(self, section: str, known: Mapping[str, object]) -> NoReturn:
        """Refuse the next word, which begins no statement here."""
        from difflib import get_close_matches

        text = self.word.text[:LONGEST]
        where = f"in {section}" if section else "outside of all blocks"
        near = get_close_matches(text, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        refuse(self.path, self.word.line, f"{text!r} is not a statement {where}{hint}")

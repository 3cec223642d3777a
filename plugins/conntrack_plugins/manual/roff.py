r"""Texts as man(7) pages: whatever a text holds is shown, and never taken for a request.

Every '-' is written as \-, since what is in a page is there to be typed. Pages hold ASCII
alone, so no locale changes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

ESCAPES = {
    "\\": r"\(rs",
    "-": r"\-",
    "'": r"\(aq",
    '"': r"\(dq",
    "`": r"\(ga",
    "^": r"\(ha",
    "~": r"\(ti",
}


def text(words: str) -> str:
    """Return a text as it is written in a line or in a macro's argument."""
    plain = "".join(ESCAPES.get(c, c if c.isascii() else f"\\[u{ord(c):04X}]") for c in words)
    # A dot would begin a request, as would an apostrophe, which is \(aq by now.
    return rf"\&{plain}" if plain.startswith(".") else plain


def line(words: str) -> str:
    """Return a paragraph as one line: for roff, a line that ends with a dot ends a sentence."""
    return text(" ".join(words.split())) or r"\&"


def head(name: str, section: int, source: str) -> Iterator[str]:
    """Yield a page's first lines; it has no date, so that two builds are the same."""
    yield f'.TH {text(name)} {section} "" "{text(source)}"'
    # Left-aligned and not hyphenated, so that what is to be typed stays in one piece. The
    # register is groff's: its macros would hyphenate again behind the next heading.
    yield from (".nr HY 0", ".nh", ".ad l")
    yield r".if \n(.g .fchar \[u2026] ..."  # for terminals that lack it


def heading(words: str) -> str:
    """Return a heading inside a section."""
    return f'.SS "{line(words[:1].upper() + words[1:])}"'


def paragraphs(found: Iterable[str]) -> Iterator[str]:
    """Yield paragraphs; the first one follows a heading."""
    for number, paragraph in enumerate(found):
        yield from ((".PP", line(paragraph)) if number else (line(paragraph),))


def terms(items: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield terms, each with its meaning."""
    for term, meaning in items:
        yield from (".TP", bold(term), line(meaning))


def example(lines: str) -> Iterator[str]:
    """Yield lines that are shown as they are."""
    yield ".EX"
    yield from map(text, lines.expandtabs().rstrip("\n").split("\n"))
    yield ".EE"


def bold(words: str) -> str:
    """Return what is typed as it is."""
    return rf"\fB{text(words)}\fP"


def italic(words: str) -> str:
    """Return what is a placeholder."""
    return rf"\fI{text(words)}\fP"

"""Text from outside as it may be shown on a terminal, in a status line or in a log."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text of the same length with '?' for each character that is not printed.

    Those are control characters (a terminal obeys them, a line break ends a status line), what
    changes the direction of the text after it, and halves of characters, as Python makes them of
    bytes that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)

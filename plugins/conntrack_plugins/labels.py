"""Labels for an agent: without some characters, not too long, and no two become the same."""

from __future__ import annotations

import zlib


def without(characters: str, text: str) -> str:
    """Return the text with `_` for each of these characters and what can't be printed.

    A text that this changes has a checksum at its end.
    """
    replaced = "".join(
        "_" if character in characters or not character.isprintable() else character
        for character in text
    )
    return text if replaced == text else f"{replaced}~{_checksum(text)}"


def shortened(text: str, longest: int) -> str:
    """Return the text in at most so many bytes of UTF-8: a checksum replaces its middle.

    An agent would cut off the end, where CPUs and groups differ.
    """
    whole = text.encode("utf-8", "replace")
    if len(whole) <= longest:
        return text
    mark = f"~{_checksum(text)}~"
    head = (longest - len(mark)) // 2
    tail = longest - len(mark) - head
    return _decoded(whole[:head]) + mark + _decoded(whole[-tail:])


def _decoded(part: bytes) -> str:
    return part.decode("utf-8", "ignore")


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"

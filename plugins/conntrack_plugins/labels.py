"""Labels that an agent takes: without some characters, not too long, and no two become one."""

from __future__ import annotations

import zlib


def without(characters: str, text: str) -> str:
    """Return the text with `_` for each of these characters, and then with a checksum behind it.

    So is what can't be printed.
    """
    made = "".join(
        "_" if character in characters or not character.isprintable() else character
        for character in text
    )
    return text if made == text else f"{made}~{_checksum(text)}"


def shortened(text: str, longest: int) -> str:
    """Return the text in at most so many bytes of UTF-8: a checksum stands for its middle.

    What an agent cuts off at the end is what tells CPUs and groups apart.
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

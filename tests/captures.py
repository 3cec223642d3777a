"""A real dump of the table, and what conntrack(8) printed of it (tests/data/dump/ORIGIN)."""

from __future__ import annotations

import struct
from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "dump"
DUMP = (FOLDER / "mixed.bin").read_bytes()
LISTING = (FOLDER / "mixed.txt").read_text("ascii").splitlines()


def messages() -> list[bytes]:
    """The dump's messages, each by itself."""
    found, offset = [], 0
    while offset < len(DUMP):
        (length,) = struct.unpack_from("=I", DUMP, offset)
        found.append(DUMP[offset : offset + length])
        offset += (length + 3) & ~3
    return found


ENTRIES, DONE = messages()[:-1], messages()[-1]

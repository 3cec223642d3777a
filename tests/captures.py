"""A real dump of the table, and what conntrack(8) printed of it (tests/data/dump/ORIGIN)."""

from __future__ import annotations

import itertools
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
STATUS = struct.pack("=HH", 8, 3)  # CTA_STATUS
# A UDP entry without a zone.
UDP = next(
    message
    for message in ENTRIES
    if b"\x05\x00\x01\x00\x11" in message and b"\x06\x00\x12\x00" not in message
)
SEQUENCES = itertools.count(1)


def with_zone_and_status(zone: int, status: int) -> bytes:
    """That entry in a zone and with these flags; its sequence and port are like no other's."""
    at = UDP.index(STATUS) + 4
    body = UDP[16:at] + struct.pack(">I", status) + UDP[at + 4 :]
    body += struct.pack("=HH", 6, 18) + struct.pack(">HH", zone, 0)  # CTA_ZONE
    head = (16 + len(body), 1 << 8, 2, next(SEQUENCES), next(SEQUENCES))
    return struct.pack("=IHHII", *head) + body

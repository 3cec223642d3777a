"""Connection labels: bits of an entry, and the names that connlabel.conf gives them.

Format: `NUMBER NAME` a line, as libnetfilter_conntrack reads it (src/conntrack/labels.c). The file
is xtables'; hosts without it have labels, too, by their numbers.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from conntrack_common.digits import as_c

FILE = "/etc/xtables/connlabel.conf"
LARGEST = 127  # NF_CT_LABELS_MAX_SIZE of the kernel is 16 bytes
LARGEST_NAMED = 1023
LINE = re.compile(r"\s*(0[xX][0-9a-fA-F]+|[0-9]+)[ \f\r\t\v]*([A-Za-z0-9 -]*?)[ \f\r\t\v]*")


def label_bits(payload: bytes | None) -> int:
    """Return the labels that CTA_LABELS holds (words of 32 bits) as one number; 0 without any."""
    if payload is None:
        return 0
    words = struct.unpack(f"={len(payload) // 4}I", payload[: len(payload) & ~3])
    return sum(word << 32 * number for number, word in enumerate(words))


def numbers(bits: int) -> tuple[int, ...]:
    """Return the numbers of the labels that are set, the smallest first."""
    return tuple(number for number in range(bits.bit_length()) if bits >> number & 1)


def parse_names(text: str) -> Mapping[int, str]:
    """Return the names in a text of connlabel.conf by their numbers; what is no name is left out.

    The first name of a number counts, and so does the first number of a name.
    """
    names: dict[int, str] = {}
    for line in text.splitlines():
        found = None if line.startswith("#") else LINE.fullmatch(line)
        number, name = (as_c(found[1], LARGEST_NAMED), found[2]) if found else (None, "")
        if number is not None and name and number not in names and name not in names.values():
            names[number] = name
    return names


def read_names(path: str = FILE) -> Mapping[int, str] | None:
    """Return the names of labels on this host, or None where it has no file of them to read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return parse_names(file.read())
    except OSError:
        return None

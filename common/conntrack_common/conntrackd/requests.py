"""What may be asked of conntrackd, and what all ways of asking share.

Numbers: conntrack-tools include/conntrackd.h, the same from 0.9.15 to 1.4.9. Their neighbours flush
tables and end the daemon; hence this list of names, which is all that can be sent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType

from conntrack_common.errors import InvalidRequest, MalformedData

# conntrackd's words for its statistics, and their numbers. `rsqueue` (32) is left out on purpose:
# its answer may have 131,072 lines, and `queue` shows its length.
REQUESTS: Mapping[str, int] = MappingProxyType(
    {
        "ct": 21,
        "network": 28,
        "cache": 29,
        "runtime": 30,
        "link": 31,
        "process": 35,
        "queue": 36,
        "expect": 37,
    }
)
LONGEST_ANSWER = 1 << 20  # bytes; real ones have about 1,000
WAYS_TO_BE_PERMITTED = (
    "run it as root, or use --command and allow in sudoers, word for word (a '*' would allow -k, "
    "too), '/usr/bin/timeout 5 /usr/sbin/conntrackd -s' and each '-s NAME' that is read, or give "
    "the socket a group after each start of the daemon (chgrp and chmod 660)"
)


def request_number(name: str) -> int:
    """Return the number of these statistics; raises InvalidRequest for any other word."""
    number = REQUESTS.get(name)
    if number is None:
        raise InvalidRequest(
            f"{name!r} is not a kind of conntrackd's statistics: use one of {', '.join(REQUESTS)}"
        )
    return number


def seconds_left(deadline: float) -> float:
    """Return the time until this time.monotonic(); raises TimeoutError if there is none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def too_long(source: str, limit: int) -> MalformedData:
    """Return the error for a text that does not end where conntrackd's would have long ended."""
    return MalformedData(
        source, f"after {limit} bytes", "there is still no end", author="conntrackd"
    )

"""Spans of time as people read them."""

from __future__ import annotations

UNITS = (("day", 86400), ("h", 3600), ("min", 60), ("s", 1))


def spelled(seconds: float) -> str:
    """Return a span of time in its two largest units: 42 s, 3 min 20 s, 5 h 7 min, 2 days 1 h."""
    left = max(0, int(seconds))
    parts = []
    for name, length in UNITS:
        number, left = divmod(left, length)
        parts.append((number, f"{number} {name}{'s' * (name == 'day' and number != 1)}"))
    first = next((at for at, (number, _text) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(text for number, text in parts[first : first + 2] if number or first == 3)

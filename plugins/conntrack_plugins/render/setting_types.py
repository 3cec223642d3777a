"""What a setting's text may say: each function returns its value, or raises InvalidRequest."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from conntrack_common.catalogue.lookup import select
from conntrack_common.digits import decimal, whole
from conntrack_common.errors import InvalidRequest
from conntrack_plugins.rules import STATES, parse_rule


def percent(text: str) -> float:
    """Return a percentage: a number above 0 and up to 100."""
    value = decimal(text.removesuffix("%"), 100)
    if not value:
        raise InvalidRequest(f"{text!r} is no percentage: write a number above 0, up to 100")
    return int(value) if value == int(value) else value


def seconds(text: str) -> int:
    """Return a time: a whole number of seconds from 1 to a day."""
    number = whole(text, 86400)
    if not number:
        raise InvalidRequest(f"{text!r} is no interval: write whole seconds, from 1 to 86400")
    return number


def switch(text: str) -> bool:
    """Return what yes and no mean."""
    try:
        return {"yes": True, "no": False}[text.lower()]
    except KeyError:
        raise InvalidRequest(f"{text!r} is neither: write yes or no") from None


def name(text: str) -> str:
    """Return a name of a user or host, which no format has to quote."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text, re.ASCII):
        raise InvalidRequest(f"{text!r} is no name: letters, digits, '_', '.' and '-' make one")
    return text


def path(text: str) -> str:
    """Return an absolute path of printable characters."""
    if not text.startswith("/") or not text.isprintable():
        raise InvalidRequest(f"{text!r} is no absolute path of printable characters")
    return text


def optional_path(text: str) -> str:
    """Return an absolute path, or nothing."""
    return path(text) if text else ""


def netns(text: str) -> str:
    """Return what --netns takes: a namespace's name or path, a process, `all`, or nothing."""
    if not text.isprintable() or ("/" in text and not text.startswith("/")):
        raise InvalidRequest(f"{text!r} is no network namespace: 'ip netns' lists their names")
    return text


def words(text: str) -> tuple[str, ...]:
    """Return a command line's words."""
    try:
        found = tuple(shlex.split(text))
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no command line: {error}") from None
    if not text.isprintable() or any("\n" in word for word in found):
        raise InvalidRequest(f"{text!r} is no command line of printable characters")
    return found


def state(text: str) -> str:
    """Return a Nagios state's name."""
    if text not in STATES:
        raise InvalidRequest(f"{text!r} is not a state: write {', '.join(STATES)}")
    return text


def patterns(text: str) -> str:
    """Return patterns of metrics as --metrics takes them; empty is what anybody may read."""
    found = [word for word in re.split(r"[\s,]+", text) if word]
    select(found)
    return ",".join(found)


def checks(text: str) -> tuple[str, ...]:
    """Return what --check takes, one a line."""
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    for line in found:
        parse_rule(line)
        if not line.isprintable():
            raise InvalidRequest(f"{line!r} holds a character that can't be printed")
    return found


def choice(*known: str) -> Callable[[str], str]:
    """Return what takes one of these words."""

    def parse(text: str) -> str:
        if text not in known:
            raise InvalidRequest(f"{text!r} is none of {', '.join(known)}")
        return text

    return parse

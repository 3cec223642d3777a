"""The grammar of conntrackd.conf: what each of its blocks may contain.

Source: conntrack-tools src/read_config_yy.y, the same from 1.4.7 to 1.4.9.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from conntrack_common.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Grammar = Mapping[str, "tuple[Form, ...]"]
    Kinds = Union[str, "tuple[str, ...]"]

# The kinds of words that are no keywords.
ON, OFF, NUMBER, SIGNED = "(on)", "(off)", "(number)", "(signed)"
IP, PATH, STRING = "(address)", "(path)", "(string)"
ALARM, FTFW, NOTRACK = "ALARM", "FTFW", "NOTRACK"
# What a sentence calls them.
WORDS = {
    ON: "on",
    OFF: "off",
    NUMBER: "a number",
    SIGNED: "a number with a sign",
    IP: "an IP address",
    PATH: "a path that begins with '/'",
    STRING: "a name",
    "{": "a block in braces",
}


class Form(NamedTuple):
    """What follows a statement's first word: words of these kinds, and then perhaps a block."""

    words: tuple[tuple[str, ...], ...] = ()
    block: Grammar | None = None

    @property
    def follows(self) -> tuple[str, ...]:
        """The kinds of the next word; none if nothing follows."""
        if self.words:
            return self.words[0]
        return () if self.block is None else ("{",)


def _value(*kinds: str) -> tuple[Form, ...]:
    return (Form((kinds,)),)


def _block(grammar: Grammar, *before: str) -> tuple[Form, ...]:
    return (Form(tuple((word,) for word in before), grammar),)


SWITCH, NUMBERS = _value(ON, OFF), _value(NUMBER)
TIMES: Grammar = {"CommitTimeout": NUMBERS, "PurgeTimeout": NUMBERS}
REFRESH: Grammar = {**TIMES, "RefreshTime": NUMBERS, "CacheTimeout": NUMBERS}
DIRECT: Grammar = {**TIMES, "DisableExternalCache": SWITCH, "StartupResync": SWITCH}
MODES: Mapping[str, Grammar] = {
    ALARM: REFRESH,
    FTFW: {**DIRECT, "ResendQueueSize": NUMBERS, "ACKWindowSize": NUMBERS},
    NOTRACK: {**DIRECT, "DisableInternalCache": SWITCH},
}
ANY_LINK: Grammar = {
    "IPv4_address": _value(IP),
    "IPv6_address": _value(IP),
    "Interface": _value(STRING),
    "SndSocketBuffer": NUMBERS,
    "RcvSocketBuffer": NUMBERS,
    "Checksum": SWITCH,
}
UNICAST: Grammar = {
    **ANY_LINK,
    "IPv4_Destination_Address": _value(IP),
    "IPv6_Destination_Address": _value(IP),
    "Port": NUMBERS,
}
LINKS: Mapping[str, Grammar] = {
    "Multicast": {
        **ANY_LINK,
        "IPv4_interface": _value(IP),
        "IPv6_interface": _value(IP),
        "Group": NUMBERS,
    },
    "UDP": UNICAST,
    "TCP": {**UNICAST, "ErrorQueueLength": NUMBERS},
}
OPTIONS: Grammar = {
    "TCPWindowTracking": SWITCH,
    "ExpectationSync": (*SWITCH, *_block({STRING: (Form(),)})),
}
SYNC: Grammar = {
    **REFRESH,
    **{link: (*_block(grammar), *_block(grammar, "Default")) for link, grammar in LINKS.items()},
    "Mode": tuple(Form(((mode,),), grammar) for mode, grammar in MODES.items()),
    "Options": _block(OPTIONS),
}

STATES = (
    *("SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT"),
    *("CLOSE", "CLOSED", "LISTEN"),
)
# The states of a list come before `for TCP`, which ends it.
TCP_STATES: Grammar = {**dict.fromkeys(STATES, (Form(),)), "for": _value("TCP")}
PROTOCOLS: Grammar = dict.fromkeys(("TCP", "UDP", STRING), (Form(),))
ADDRESSES: Grammar = {"IPv4_address": _value(IP), "IPv6_address": _value(IP)}


def _listed(grammar: Grammar) -> tuple[Form, ...]:
    return (*_block(grammar, "Accept"), *_block(grammar, "Ignore"))


FILTER: Grammar = {
    "Protocol": _listed(PROTOCOLS),
    "Address": _listed(ADDRESSES),
    "State": _listed(TCP_STATES),
}
LOG: Grammar = {"LogFile": _value(ON, OFF, PATH), "Syslog": _value(ON, OFF, STRING)}
GENERAL: Grammar = {
    **LOG,
    "HashSize": NUMBERS,
    "HashLimit": NUMBERS,
    "LockFile": _value(PATH),
    "UNIX": _block({"Path": _value(PATH), "Backlog": NUMBERS}),
    "NetlinkBufferSize": NUMBERS,
    "SocketBufferSize": NUMBERS,
    "NetlinkBufferSizeMaxGrowth": NUMBERS,
    "SocketBufferSizeMaxGrowth": NUMBERS,
    "SocketBufferSizeMaxGrown": NUMBERS,
    "EventIterationLimit": NUMBERS,
    "PollSecs": NUMBERS,
    "Filter": (*_block(FILTER), Form((("From",), ("Userspace", "Kernelspace")), FILTER)),
    "NetlinkOverrunResync": _value(ON, OFF, NUMBER),
    "NetlinkEventsReliable": SWITCH,
    "Nice": _value(SIGNED),
    "Scheduler": _block({"Type": _value(STRING), "Priority": NUMBERS}),
    "Systemd": SWITCH,
}

POLICY: Grammar = {"ExpectMax": NUMBERS, "ExpectTimeout": NUMBERS}
HELPER_TYPE: dict[str, tuple[Form, ...]] = {
    "QueueNum": NUMBERS,
    "QueueLen": NUMBERS,
    "Policy": (Form(((STRING,),), POLICY),),
}
# A type may be within a type, though nobody needs it.
HELPER_TYPE["Type"] = (Form(((STRING,), (STRING,), (STRING,)), HELPER_TYPE),)
HELPER: Grammar = {**HELPER_TYPE, "Setup": SWITCH}

FILE: Grammar = {
    "General": _block(GENERAL),
    "Sync": _block(SYNC),
    "Stats": _block(LOG),
    "Helper": _block(HELPER),
}


def _keywords(grammar: Grammar, seen: list[Grammar]) -> Iterator[str]:
    if any(grammar is known for known in seen):
        return
    seen.append(grammar)
    for first, forms in grammar.items():
        yield first
        for form in forms:
            yield from (kind for kinds in form.words for kind in kinds)
            if form.block is not None:
                yield from _keywords(form.block, seen)


KEYWORDS = frozenset(_keywords(FILE, [])) - {
    *(ON, OFF, NUMBER, SIGNED, IP, PATH, STRING, ALARM, FTFW, NOTRACK)
}

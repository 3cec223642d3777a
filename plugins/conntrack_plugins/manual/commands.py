"""All commands, and what each accepts."""

from __future__ import annotations

from collections.abc import Mapping

from conntrack_plugins import prometheus, stat, telegraf
from conntrack_plugins.interface import Interface, interface
from conntrack_plugins.nagios import conntrack, conntrackd

PARSERS = {
    "check_conntrack": conntrack.parser,
    "check_conntrackd": conntrackd.parser,
    "conntrack-prometheus": prometheus.parser,
    "conntrack-stat": stat.parser,
    "conntrack-telegraf": telegraf.parser,
}


def commands() -> Mapping[str, Interface]:
    """Return the interface of every command, by its name."""
    return {name: interface(name, make()) for name, make in PARSERS.items()}

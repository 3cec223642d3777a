"""Where Nagios' checks start: a check without its library is UNKNOWN, and says what to install."""

from __future__ import annotations

from collections.abc import Callable

from conntrack_plugins import command


def check_conntrack() -> int:
    """Run check_conntrack."""

    def start() -> int:
        from conntrack_plugins import nagios

        return int(nagios.main())

    return _started("CONNTRACK", start)


def check_conntrackd() -> int:
    """Run check_conntrackd."""

    def start() -> int:
        from conntrack_plugins import nagios_sync

        return int(nagios_sync.main())

    return _started("CONNTRACKD", start)


def _started(name: str, start: Callable[[], int]) -> int:
    try:
        return start()
    except ModuleNotFoundError as error:
        print(f"{name} UNKNOWN - {command.missing_library(error)}")
        return command.UNKNOWN

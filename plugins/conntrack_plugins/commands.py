"""The commands, as setup.cfg names them: each loads its module where a failure is one sentence."""

from __future__ import annotations

from conntrack_plugins.run import reported_by_check, reported_by_command, start


def check_conntrack() -> int:
    """Start check_conntrack."""

    def work() -> int:
        from conntrack_plugins.nagios.conntrack import main

        return main()

    return start(work, reported_by_check("CONNTRACK"))


def check_conntrackd() -> int:
    """Start check_conntrackd."""

    def work() -> int:
        from conntrack_plugins.nagios.conntrackd import main

        return main()

    return start(work, reported_by_check("CONNTRACKD"))


def telegraf() -> int:
    """Start conntrack-telegraf."""

    def work() -> int:
        from conntrack_plugins.telegraf import main

        return main()

    return start(work, reported_by_command("conntrack-telegraf"))


def prometheus() -> int:
    """Start conntrack-prometheus."""

    def work() -> int:
        from conntrack_plugins.prometheus import main

        return main()

    return start(work, reported_by_command("conntrack-prometheus"))


def stat() -> int:
    """Start conntrack-stat."""

    def work() -> int:
        from conntrack_plugins.stat import main

        return main()

    return start(work, reported_by_command("conntrack-stat"))

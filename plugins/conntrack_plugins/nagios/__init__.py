"""Nagios, NRPE and Icinga 2: the checks, what they remember, and how they judge."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from conntrack_plugins import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TypeVar

    from conntrack_plugins.nagios.measured import Outcome

    class Shared(Protocol):
        """The options of every check."""

        @property
        def verbose(self) -> int:
            """How many -v there are."""

        @property
        def timeout(self) -> int:
            """The seconds that the check has."""

    Options = TypeVar("Options", bound=Shared)


def check(
    name: str, parse: Callable[[], Options], outcomes: Callable[[Options], Iterable[Outcome]]
) -> int:
    """Run a check of this name; it ends with a Nagios state, whatever happens."""

    def judge(options: Options) -> int:
        from conntrack_plugins.nagios import plugin

        return plugin.judge(name, outcomes(options), options.verbose, options.timeout)

    return run.check(name.upper(), parse, judge)

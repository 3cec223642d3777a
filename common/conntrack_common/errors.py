"""The error taxonomy: each error is one sentence that says what happened and what to do.

An adapter turns them into its agent's idea of failure, never into a number.
"""

from __future__ import annotations

from conntrack_common.printable import printable


class ConntrackError(Exception):
    """Something that was asked for is not available.

    Its sentence may quote a file, a daemon or a user, so it is shown printable.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class NotAvailable(ConntrackError):
    """This kernel, namespace or host does not have what was asked for."""


class NotPermitted(ConntrackError):
    """The thing is there, but this user may not read it."""


class MalformedData(ConntrackError):
    """A source does not keep to its format; `author` is whose format it is."""

    def __init__(self, source: str, where: str, problem: str, author: str = "the kernel") -> None:
        super().__init__(
            f"{source}, {where}: {problem}; this is not the format that {author} documents, "
            f"so no number is taken from it (please report it with {author}'s version)"
        )


class Interrupted(ConntrackError):
    """The kernel could not answer in full: the dump was disturbed, or memory was short."""


class InvalidRequest(ConntrackError):
    """What the user asked for is not understood: an unknown metric, a wrong expression."""


class OutputLost(ConntrackError):
    """What was to be printed can't be written: standard output is closed, or its device is full."""


class Stranded(BaseException):
    """A thread could not return to its own network namespace, and so may not continue.

    All that it read from then on would belong to another namespace; nobody who catches Exception,
    in order to continue, catches this.
    """


class DaemonUnreachable(ConntrackError):
    """Nothing listens where conntrackd should."""


class DaemonUnused(DaemonUnreachable):
    """There is no sign of conntrackd on this host: nobody runs it, so nothing is down."""


class DaemonNotAnswering(ConntrackError):
    """conntrackd is there, but gave no whole answer in time."""


class NoStatistics(ConntrackError):
    """What was read instead of conntrackd's statistics has none, or none to compare with."""


class DaemonUnsupported(ConntrackError):
    """conntrackd answered with nothing: it has no such statistics in the mode it runs in."""


NETLINK_REMEDY = (
    "reading ctnetlink needs CAP_NET_ADMIN: run it as root, by an exact sudoers line, "
    "or with AmbientCapabilities=CAP_NET_ADMIN in the service's systemd unit"
)
NO_CONNTRACK = (
    "this kernel has no connection tracking now: load it with 'modprobe nf_conntrack', "
    "or start the firewall that uses it"
)

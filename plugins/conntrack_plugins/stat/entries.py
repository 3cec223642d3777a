"""Where the commands that show entries read them: in each namespace that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from conntrack_common.ctnetlink.socket import load_ctnetlink
from conntrack_common.netns import entering
from conntrack_common.proc import modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def in_namespaces(
    args: argparse.Namespace, work: Callable[[str | None], Iterator[str]]
) -> Iterator[str]:
    """Yield what `work` yields in each of the namespaces asked for.

    A person who asks for entries wants ctnetlink, so the kernel may load it, as for conntrack(8).
    Raises NotAvailable, NotPermitted, InvalidRequest.
    """
    if not modules.is_there(modules.CTNETLINK):
        load_ctnetlink()
    yield from entering.each(args.netns, work)

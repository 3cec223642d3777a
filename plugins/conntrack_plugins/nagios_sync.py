"""Nagios, NRPE and Icinga: check_conntrackd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import nagiosplugin

from conntrack_common.analysis.replication import stands_still
from conntrack_common.collect import collect_sync
from conntrack_common.errors import (
    ConntrackError,
    DaemonNotAnswering,
    DaemonUnreachable,
)
from conntrack_common.expression import parse
from conntrack_common.record import NamedTuple
from conntrack_common.sources.procfs import ProcRoot
from conntrack_plugins import command, daemon
from conntrack_plugins.measure import findings as measured
from conntrack_plugins.measure import remember
from conntrack_plugins.verdict import Check, Finding, Rule, parse_range, parse_rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

EXAMPLES = """\
  check_conntrackd
  check_conntrackd --socket /var/run/conntrackd.ctl --check 'sync.cache.active,0:100000,'
  check_conntrackd --command 'sudo -n /usr/sbin/conntrackd'
  check_conntrackd --peer-file /var/lib/monitoring/other-node.txt
  ssh firewall2 sudo conntrackd -s | check_conntrackd --file -

Without options: CRITICAL if the daemon does not run or answer, if no dedicated link runs, if the
cache is full (HashLimit), if messages or queue elements are lost at a rate, or if the other node
lacks half of the entries or takes none over; WARNING for
one link that is down, overruns, failed insertions, or a restart within five minutes. An empty
internal cache is fine: a backup has one. --check replaces the rule of the same metric.
"""
# What is judged without options: expression, warning, critical, told also if it is good.
RULES = (
    ("sync.cache.active", "", "", True),
    ("sync.runtime.uptime", "300:", "", True),
    ("sync.link.up", "1:1", "", False),
    ("sync.link.running", "", "1:", False),
    ("sync.messages.lost/s", "0", "10", False),
    ("sync.messages.malformed/s", "0", "10", False),
    ("sync.runtime.netlink_overrun/s", "0", "", False),
    ("sync.runtime.child_failed/s", "0", "", False),
    ("sync.queue.usage", "80", "90", False),
    ("sync.queue.no_space/s", "0", "10", False),
    ("sync.cache.created_no_space/s", "", "0", False),
    ("sync.cache.created_failed/s", "0", "", False),
    ("sync.link.errors_sent/s", "0", "", False),
)
PEER_RULES = (
    ("sync.peer.missing", "10", "50", True),
    ("sync.cache.created[cache=internal]/s", "", "", False),
    ("sync.peer.created/s", "", "", False),
)
OWN_GROWTH, PEER_GROWTH = PEER_RULES[1][0], PEER_RULES[2][0]


class Options(NamedTuple):
    """The command line's options, with their defaults."""

    socket: str = ""
    config: str = ""
    command: str = ""
    file: str = ""
    peer_file: str = ""
    peer_socket: str = ""
    peer_command: str = ""
    check: Sequence[str] = ()
    state_file: str = ""
    timeout: int = 10
    verbose: int = 0
    proc_root: str = "/proc"


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = command.parser("check_conntrackd", "Check conntrackd and its replication.", EXAMPLES)
    daemon.add_ways(made)
    command.add_check(made)
    return made


def rules(options: Options) -> list[Rule]:
    """Return what is judged; raises InvalidRequest."""
    own = [parse_rule(text) for text in options.check]
    replaced = {(rule.expression.metric.id, rule.expression.per_second) for rule in own}
    peer = options.peer_file or options.peer_socket or options.peer_command
    usual = [
        Rule(parse(text), parse_range(warning), parse_range(critical), "ok", not told)
        for text, warning, critical, told in (*RULES, *(PEER_RULES if peer else ()))
    ]
    kept = [
        rule
        for rule in usual
        if (rule.expression.metric.id, rule.expression.per_second) not in replaced
    ]
    return kept + own


def findings(options: Options, wanted: Sequence[Rule], root: ProcRoot) -> Iterator[Finding]:
    """Ask the daemon, once, and yield what was found for each rule."""
    asked = daemon.way(options.file, options.command, options.socket, options.config)
    peer = daemon.peer_way(options.peer_file, options.peer_command, options.peer_socket)
    # Before nagiosplugin's own time is over: its sentence would not say what conntrackd does.
    reading = collect_sync(asked, peer, max(1.0, (options.timeout or 10) * 0.4))
    failure = reading.failures.get("sync")
    if failure is not None:
        detail = daemon.explain(failure, asked, options.config, root)
        yield Finding(wanted[0], detail=detail, state=_state(failure))
        return
    subject = f"{options} {getattr(asked, 'path', '')}"
    earlier = remember("check_conntrackd", options.state_file, root, subject)
    yield from _compared(measured(wanted, [reading], earlier, _state))


def _compared(found: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings, and make the other node's critical where it stands still."""
    growth: dict[str, float | None] = {}
    for finding in found:
        growth[finding.name] = finding.value
        created, taken_over = growth.get(OWN_GROWTH), growth.get(PEER_GROWTH)
        if finding.name == PEER_GROWTH and stands_still(created, taken_over):
            detail = f"stands still, although this node's internal cache grows by {created:.1f}/s"
            yield finding._replace(value=None, detail=detail, state="critical", quiet=False)
        else:
            yield finding


def _state(failure: ConntrackError) -> str:
    down = isinstance(failure, (DaemonUnreachable, DaemonNotAnswering))
    return "critical" if down else "unknown"


@nagiosplugin.guarded(verbose=0)  # type: ignore[untyped-decorator]
def main(argv: Sequence[str] | None = None) -> int:
    """Run check_conntrackd; it ends with a Nagios state, whatever happens."""
    return command.check("CONNTRACKD", lambda: command.options(Options, parser, argv), _judge)


def _judge(options: Options) -> None:
    found = findings(options, rules(options), command.proc_root(options.proc_root))
    Check("conntrackd", found, options.verbose).main(verbose=0, timeout=options.timeout)

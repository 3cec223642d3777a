"""Nagios, NRPE and Icinga: check_conntrackd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conntrack_common.analysis.replication import (
    missing_share,
    not_external_share,
    offered_in_vain,
    takeover,
)
from conntrack_common.catalogue.expression import parse
from conntrack_common.collect import collect_sync
from conntrack_common.duration import spelled
from conntrack_common.errors import (
    ConntrackError,
    DaemonNotAnswering,
    DaemonUnreachable,
    InvalidRequest,
    NoStatistics,
)
from conntrack_common.model import Reading
from conntrack_common.records import NamedTuple
from conntrack_plugins import arguments, conntrackd_arguments
from conntrack_plugins.nagios import check
from conntrack_plugins.nagios.measured import Absent, Remark, measure, remember
from conntrack_plugins.rules import Rule, parse_range, parse_rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from conntrack_common.model.conntrackd import SyncStatistics
    from conntrack_plugins.nagios.measured import Exchange, Labels, Outcome

EXAMPLES = """\
  check_conntrackd
  check_conntrackd --socket /var/run/conntrackd.ctl --check 'sync.cache.active,0:100000,'
  check_conntrackd --command 'sudo -n /usr/bin/timeout 5 /usr/sbin/conntrackd'
  check_conntrackd --peer-file /var/lib/monitoring/other-node.txt
  ssh firewall2 sudo conntrackd -s | check_conntrackd --file -

Without options: CRITICAL if the daemon does not run or answer, if no dedicated link runs, if the
cache is full (HashLimit), if messages or queue elements are lost at a rate, or if half of the
entries are missing on the other node or it takes none over; WARNING for one link that is down,
overruns, failed insertions, a restart within five minutes, a fail-over, or an old report; UNKNOWN
if nothing is understood. An empty internal cache is fine: a backup has one. --check replaces the
rule of the same metric, and with labels that of the same labels.
"""
MISSING, STANDSTILL = "sync.peer.missing", "sync.peer.created/s"
REPLICATION, RUNS = "replication", "replication by runs"  # what is remembered
# What is judged without options: expression, warning, critical, shown also if it is good.
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


class Options(NamedTuple):
    """The command line's options, with their defaults."""

    socket: str = ""
    config: str = ""
    command: str = ""
    file: str = ""
    peer_file: str = ""
    peer_socket: str = ""
    peer_command: str = ""
    max_age: int = 900
    check: Sequence[str] = ()
    state_file: str = ""
    timeout: int = 10
    verbose: int = 0
    proc_root: str = "/proc"


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = arguments.parser("check_conntrackd", "Check conntrackd and its replication.", EXAMPLES)
    conntrackd_arguments.add_ways(made)
    conntrackd_arguments.add_max_age(made)
    arguments.add_check(made)
    return made


def rules(options: Options) -> list[Rule]:
    """Return what is judged; raises InvalidRequest.

    A rule of the user's takes the place of the usual one of the same metric; one with labels does
    so for what has these labels (see `findings`).
    """
    own = [parse_rule(text) for text in options.check]
    peer = options.peer_file or options.peer_socket or options.peer_command
    usual = [
        Rule(parse(text), parse_range(warning), parse_range(critical), "ok", not shown)
        for text, warning, critical, shown in (*RULES, *(PEER_RULES if peer else ()))
    ]
    return [rule for rule in usual if not _is_replaced(rule, own)] + own


def _is_replaced(rule: Rule, own: Sequence[Rule], labels: Labels = ()) -> bool:
    """Return whether a rule of the user's is for the same metric, with no labels but these."""
    metric, known, per_second = rule.expression
    return any(
        (other.expression.metric.id, other.expression.per_second) == (metric.id, per_second)
        and set(other.expression.labels) <= {*known, *labels}
        for other in own
    )


def outcomes(options: Options) -> Iterator[Outcome]:
    """Ask the daemon, once, and yield what each rule has; raises InvalidRequest."""
    judged, root = rules(options), arguments.proc_root(options.proc_root)
    asked = conntrackd_arguments.way(options.file, options.command, options.socket, options.config)
    peer = conntrackd_arguments.peer_way(
        options.peer_file, options.peer_command, options.peer_socket
    )
    # Before nagiosplugin's own time is over: its sentence would not say what conntrackd does.
    reading = collect_sync(asked, peer, options.timeout * 0.4)
    failure = reading.failures.get("sync")
    if failure is not None:
        reason = conntrackd_arguments.explain(failure, asked, options.config, root)
        yield Absent(judged[0], reason, state=_state(failure))
        return
    yield from _reports(reading, options.max_age)
    reading = _comparable(reading, options.max_age)
    subject = f"{options} {getattr(asked, 'path', '')}"
    ages = {"sync": _age(reading.sync), "peer": _age(reading.peer)}
    ages[REPLICATION] = ages["peer"]
    exchange = remember(
        "check_conntrackd", options.state_file, root, subject, ages, options.timeout
    )
    own = judged[len(judged) - len(options.check) :]
    for outcome in measure(judged, [reading], exchange, _state):
        is_usual = all(outcome.rule is not rule for rule in own)
        if not (is_usual and _is_replaced(outcome.rule, own, outcome.labels)):
            yield outcome
    if reading.sync and reading.peer:
        yield from _fail_over(judged, reading.sync, reading.peer)
        yield from _standstill(reading.sync, reading.peer, exchange)


def _age(statistics: SyncStatistics | None) -> float:
    return (statistics.age if statistics else None) or 0.0


def _comparable(reading: Reading, limit: int) -> Reading:
    """Return a reading without the other node's part where that is of quite another time."""
    own, peer = _age(reading.sync), _age(reading.peer)
    if not limit or abs(own - peer) <= limit:
        return reading
    what = (
        f"both nodes' statistics are of times that are {spelled(abs(own - peer))} apart, too far "
        "to compare them: read both anew, or raise --max-age"
    )
    failures = {**reading.failures, "peer": NoStatistics(what)}
    return reading._replace(peer=None, failures=failures)


def _reports(reading: Reading, limit: int) -> Iterator[Remark]:
    """Yield how old saved reports are, and which hold more that is not understood than is."""
    for name, statistics in (("report", reading.sync), ("other node's report", reading.peer)):
        if statistics is None:
            continue
        if statistics.age is not None:
            yield _report(name, statistics.age, limit)
        if len(statistics.unknown) > statistics.known:
            reason = (
                f"{len(statistics.unknown)} lines are not understood, and {statistics.known} "
                "values are ('conntrack-stat sync' shows the lines)"
            )
            yield Remark(name, reason, "ok")


def _report(name: str, age: float, limit: int) -> Remark:
    reason = f"{spelled(age)} old" if age > -1 else f"of a time {spelled(-age)} from now"
    if not limit or abs(age) <= limit:
        return Remark(name, reason, "ok")
    reason += (
        f", and may be {spelled(limit)} old: see why nothing writes it anew, or give --max-age"
    )
    return Remark(name, reason, "warning")


def _standstill(own: SyncStatistics, peer: SyncStatistics, exchange: Exchange) -> Iterator[Remark]:
    """Yield that the other node takes nothing over, which only both nodes together show."""
    now = takeover(own, peer)
    earlier = None
    try:
        if now:
            # Of reports, the last two are compared; of one that was never seen to be written anew,
            # the last two runs.
            earlier = exchange(REPLICATION, now) or exchange(RUNS, now)
    except InvalidRequest as error:
        yield Remark(STANDSTILL, str(error))
        return
    offered = offered_in_vain(earlier.counters, now) if earlier else 0
    if earlier and offered:
        reason = (
            f"nothing is taken over: of {offered} new connections of this node in "
            f"{spelled(earlier.seconds)}, the other node took over none"
        )
        yield Remark(STANDSTILL, reason, "critical")


def _fail_over(
    judged: Sequence[Rule], own: SyncStatistics, peer: SyncStatistics
) -> Iterator[Absent]:
    """Yield a warning if what the other node holds is not what this node sent."""
    missing, lost = not_external_share(own, peer), missing_share(own, peer)
    for rule in judged:
        if rule.expression.metric.id != MISSING or missing is None or lost is None:
            continue
        if rule.warning.match(lost * 100) and not rule.warning.match(missing * 100):
            reason = (
                f"{missing:.0%} of this node's connections are missing in the other node's "
                "external cache, and its internal cache holds as many: a fail-over, until this "
                "node's table is purged; else both nodes forward and do not replicate"
            )
            yield Absent(rule, reason, state="warning")


def _state(failure: ConntrackError) -> str:
    down = isinstance(failure, (DaemonUnreachable, DaemonNotAnswering))
    return "critical" if down else "unknown"


def main(argv: Sequence[str] | None = None) -> int:
    """Run check_conntrackd; it ends with a Nagios state, whatever happens."""
    return check("conntrackd", lambda: arguments.options(Options, parser, argv), outcomes)

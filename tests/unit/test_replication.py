"""What two nodes' statistics prove, and what the user's own rules leave in force."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import processes
from conntrack_common.analysis.replication import (
    incomparable,
    missing_share,
    not_external_share,
    offered_in_vain,
    takeover,
)
from conntrack_common.model.conntrackd import Cache, Runtime, SyncStatistics
from installation import command, python_path

COUNT = st.integers(0, 2**32 - 1)


def node(
    internal: int, external: int | None, created: int = 0, taken: tuple[int, int] = (0, 0)
) -> SyncStatistics:
    """A node; `external` is None where it keeps no external cache."""
    others = Cache(
        "external", disabled=external is None, active=external, created=taken[0], updated=taken[1]
    )
    return SyncStatistics(caches=(Cache("internal", active=internal, created=created), others))


@pytest.mark.parametrize(("own", "peer", "missing", "lacking"), [
    (node(100, 0), node(0, 100), 0.0, 0.0),
    (node(100, 0), node(0, 150), 0.0, 0.0),
    (node(0, 100), node(100, 0), 0.0, 0.0),  # a backup
    (node(100, 0), node(0, 25), 0.75, 0.75),
    (node(100, 0), node(100, 0), 0.0, 1.0),  # after a fail-over
    (node(100, 0), node(20, 30), 0.5, 0.7),
    (node(100, 0), node(30, None), None, None),  # the peer keeps no external cache
])  # fmt: skip
def test_what_is_missing(
    own: SyncStatistics, peer: SyncStatistics, missing: float | None, lacking: float | None
) -> None:
    assert missing_share(own, peer) == (missing if missing is None else pytest.approx(missing))
    assert not_external_share(own, peer) == lacking
    assert bool(incomparable(own, peer)) == (missing is None)


@given(COUNT, COUNT, COUNT)
def test_no_more_is_missing_than_there_is(here: int, external: int, internal: int) -> None:
    own, peer = node(here, 0), node(internal, external)
    missing, lacking = missing_share(own, peer), not_external_share(own, peer)
    assert missing is not None
    assert lacking is not None
    assert 0 <= missing <= lacking <= 1
    assert (missing == 0) == (external + internal >= here or missing < 1e-9)


def test_why_nothing_can_be_compared() -> None:
    own, peer = node(5, 0), node(0, 5)
    bypass = SyncStatistics(caches=(Cache("internal", disabled=True, created=5),))
    assert "DisableInternalCache" in incomparable(bypass, peer)
    assert "DisableExternalCache" in incomparable(own, node(0, None))
    stats = SyncStatistics(caches=(Cache("stats", active=5),))
    assert "no internal cache" in incomparable(stats, peer)
    assert "no external cache" in incomparable(own, stats)


@pytest.mark.parametrize(("before", "now", "in_vain"), [
    ((10, 5, 5), (30, 5, 5), 20),
    ((10, 5, 5), (30, 6, 5), 0),
    ((10, 5, 5), (30, 5, 6), 0),  # injected into the kernel, entries are updated
    ((10, 5, 5), (10, 5, 5), 0),  # nothing to take over
    ((2**32 - 5, 5, 5), (5, 5, 5), 10),  # it has wrapped
    ((10, 5, 5), (3, 5, 5), 0),  # this node was restarted
    ((10, 5, 5), (30, 0, 0), 0),  # the other was
])  # fmt: skip
def test_standing_still(
    before: tuple[int, int, int], now: tuple[int, int, int], in_vain: int
) -> None:
    readings = [
        takeover(node(0, 0, offered), node(0, None, 0, (created, updated)))
        for offered, created, updated in (before, now)
    ]
    assert offered_in_vain(*readings) == in_vain


def test_a_cache_that_was_filled_from_the_kernel_offers_nothing() -> None:
    def own(created: int, resyncs: int) -> SyncStatistics:
        runtime = Runtime(resync_kernel_table=resyncs)
        return node(0, 0, created)._replace(runtime=runtime)

    peer = node(0, 0)
    assert offered_in_vain(takeover(own(5, 1), peer), takeover(own(9, 1), peer)) == 4
    assert offered_in_vain(takeover(own(5, 1), peer), takeover(own(9, 2), peer)) == 0


def test_who_says_nothing_of_it_is_not_judged() -> None:
    stats = SyncStatistics(caches=(Cache("stats", active=5, created=5),))
    assert takeover(stats, node(0, 0)) == takeover(node(0, 0), stats) == {}
    assert offered_in_vain({}, takeover(node(0, 0), node(0, 0))) == 0


OWN = """\
cache internal:
current active connections:\t{0}
connections created:\t{0}\tfailed:\t0

cache external:
current active connections:\t0
connections created:\t0\tfailed:\t0

UDP traffic device=eth0 status=RUNNING role=ACTIVE:
5 Bytes sent 5 Bytes recv

UDP traffic device=eth1 status=DOWN role=BACKUP:
5 Bytes sent 5 Bytes recv
"""
PEER = """\
cache external:
current active connections:\t{0}
connections created:\t{0}\tfailed:\t0
connections updated:\t{1}\tfailed:\t0
"""
# Rules of a user's that have nothing to do with a standstill, or only seem to.
RULES = (
    "sync.cache.created[cache=external]/s,,5",
    "sync.cache.created[cache=internal]/s,,1000000",
    "sync.cache.created/s,,1000000",
    "sync.peer.created/s,,1000000",
    "sync.peer.created/s,,",
    "sync.peer.missing,,",
    "sync.link.up,,",
)


def check(folder: Path, own: str, peer: str, rules: tuple[str, ...]) -> tuple[int, str]:
    (folder / "own.txt").write_text(own, "ascii")
    (folder / "peer.txt").write_text(peer, "ascii")
    words = ["--file", "own.txt", "--peer-file", "peer.txt", "--state-file", "state"]
    words += [word for rule in rules for word in ("--check", rule)]
    argv = ["sh", "-c", f'cd {folder} && exec "$@"', "sh", *command("check_conntrackd"), *words]
    done = processes.run(argv, env=python_path())
    return done.returncode, done.stdout.partition("|")[0]


@pytest.mark.parametrize(
    "rules",
    [
        (),
        *((rule,) for rule in RULES),
        RULES,
        RULES[::-1],
    ],
    ids=", ".join,
)
def test_no_rule_of_the_users_hides_a_standstill(tmp_path: Path, rules: tuple[str, ...]) -> None:
    assert check(tmp_path, OWN.format(100), PEER.format(100, 7), rules)[0] in (0, 1)
    processes.until(lambda: check_later(tmp_path, rules), "a second has passed", 10)


def check_later(folder: Path, rules: tuple[str, ...]) -> bool:
    """Whether the other node's standstill is CRITICAL, once the rates are known."""
    status, text = check(folder, OWN.format(130), PEER.format(100, 7), rules)
    return (
        status == 2 and "sync.peer.created/s: nothing is taken over: of 30 new connections" in text
    )


@pytest.mark.parametrize(("rules", "status"), [
    ((), 1),
    (("sync.link.up[link=eth0],,",), 1),
    (("sync.link.up[link=eth1],,",), 0),
    (("sync.link.up[link=eth1],,1:1",), 2),
    (("sync.link.up,,",), 0),
    (("sync.link.up[link=eth0],,", "sync.link.up[link=eth1],,"), 0),
])  # fmt: skip
def test_a_rule_for_one_link_leaves_the_others_judged(
    tmp_path: Path, rules: tuple[str, ...], status: int
) -> None:
    assert check(tmp_path, OWN.format(9), PEER.format(9, 0), rules)[0] == status

"""The text of `conntrackd -s`: real output of nine set-ups, older spellings, and rubbish."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conntrack_common.conntrackd.text import merge, parse_statistics
from conntrack_common.model.conntrackd import (
    Cache,
    ChildProcess,
    Link,
    MessageTracking,
    Network,
    Queue,
    Runtime,
    SyncStatistics,
    Traffic,
    UnknownLine,
)

DATA = Path(__file__).parent.parent / "data" / "conntrackd"
SAMPLES = sorted(DATA.glob("*/*.txt"))
TEXTS = [path.read_text() for path in SAMPLES]

# Every number differs, so that none can stand in another's place.
CACHE = """\
cache:internal\tactive objects:\t\t          11
\tactive/total entries:\t\t          12/          13
\tcreation OK/failed:\t\t          14/          15
\t\tno memory available:\t          16
\t\tno space left in cache:\t          17
\tupdate OK/failed:\t\t          18/          19
\t\tentry not found:\t          20
\tdeletion created/failed:\t          21/          22
\t\tentry not found:\t          23

"""
NETWORK = """\
network statistics:
\trecv:
\t\tMalformed messages:\t                  31
\t\tWrong protocol version:\t                  32
\t\tMalformed header:\t                  33
\t\tMalformed payload:\t                  34
\t\tBad message type:\t                  35
\t\tTruncated message:\t                  36
\t\tBad message size:\t                  37
\tsend:
\t\tMalformed messages:\t                  38

sequence tracking statistics:
\trecv:
\t\tPackets lost:\t\t                  39
\t\tPackets before:\t\t                  40

TCP traffic (active device=eth2) server=connected client=disconnected:
                  41 Bytes sent                   42 Bytes recv
                  43 Pckts sent                   44 Pckts recv
                  45 Error send                   46 Error recv

"""
RUNTIME = """\
daemon uptime: 2 days 3 h 4 min

netlink stats:
\tevents received:\t                  51
\tevents filtered:\t                  52
\tevents unknown type:\t\t          53
\tcatch event failed:\t\t          54
\tdump unknown type:\t\t          55
\tnetlink overrun:\t\t          56
\tflush kernel table:\t\t          57
\tresync with kernel table:\t          58
\tcurrent buffer size (in bytes):\t          59

runtime stats:
\tchild process failed:\t\t          60
\t\tchild process segfault:\t          61
\t\tchild process termsig:\t          62
\tselect failed:\t\t\t          63
\twait failed:\t\t\t          64
\tlocal read failed:\t\t          65
\tlocal unknown request:\t\t          66

"""
QUEUES = """\
allocated queue nodes:\t\t          71

queue txqueue:
current elements:\t\t          72
maximum elements:\t\t  2147483647
not enough space errors:\t          73

queue rsqueue:
current elements:\t\t          74
maximum elements:\t\t      131072
not enough space errors:\t          75

"""


def sample(name: str) -> SyncStatistics:
    return parse_statistics((DATA / name).read_text())


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_line_of_every_sample_is_understood(path):
    text = path.read_text()
    statistics = parse_statistics(text)
    assert statistics.unknown == ()
    assert (statistics == SyncStatistics()) == (not text.strip())


def test_ftfw():
    assert sample("ftfw/s.txt") == SyncStatistics(
        caches=(
            Cache("internal", "ct", False, 21, None, None, 21, 0, None, None, 64, 0, None, 0, 0),
            Cache("external", "ct", False, 0, None, None, 0, 0, None, None, 0, 0, None, 0, 0),
        ),
        traffic=Traffic(0, 0),
        links=(Link("udp", "sync", None, "ACTIVE", None, None, 2432, 48, 39, 3, 0, 0),),
        tracking=MessageTracking(0, 0),
    )


def test_backup_and_lost_messages():
    backup = sample("ftfw-linkup-again/s.backup.txt")
    assert backup.tracking is not None
    assert backup.tracking.lost == 50
    external = backup.caches[1]
    assert (external.name, external.active) == ("external", 36)


def test_link_states():
    assert sample("ftfw-linkdown/s-link.txt").links[0].status == "DOWN"
    assert sample("ftfw-linkdown/s-link.backup.txt").links[0].status == "NO-CARRIER"
    assert sample("ftfw-mcast/s-link.txt").links == (
        Link("multicast", "sync", "RUNNING", "ACTIVE", None, None, 2372, 48, 39, 3, 0, 0),
    )


def test_disabled_caches():
    active, backup = sample("notrack-bypass/s.txt"), sample("notrack-bypass/s-cache.backup.txt")
    assert active.caches == (
        Cache("internal", disabled=True, created=21, updated=64, destroyed=0),
        Cache(
            "external",
            disabled=True,
            created=0,
            created_failed=0,
            updated=0,
            updated_failed=0,
            destroyed=0,
            destroyed_failed=0,
        ),
    )
    assert (backup.caches[1].created, backup.caches[1].updated) == (21, 64)


def test_statistics_mode():
    statistics = sample("stats/s.txt")
    assert [cache.name for cache in statistics.caches] == ["stats"]
    assert statistics.links == ()
    assert statistics.tracking is None


def test_the_manuals_example():
    assert sample("tutorial.txt") == SyncStatistics(
        caches=(
            Cache("internal", "ct", False, 4, None, None, 4, 0, None, None, 0, 0, None, 0, 0),
            Cache("external", "ct", False, 0, None, None, 0, 0, None, None, 0, 0, None, 0, 0),
        ),
        traffic=Traffic(0, 0),
        links=(Link("multicast", "", None, None, None, None, 352, 0, 22, 0, 0, 0),),
        tracking=MessageTracking(0, 0),
    )


def test_headings_joined_with_their_first_line():
    text = (
        "cache internal:\ncurrent active connections: 1\nconnections created: 3 failed: 2\n"
        "traffic processed: 5 Bytes 6 Pckts\n"
        "multicast traffic (active device=eth2): 400 Bytes sent 128 Bytes recv\n"
        "message tracking: 7 Malformed msgs 8 Lost msgs\n"
    )
    statistics = parse_statistics(text)
    assert statistics.unknown == ()
    assert statistics.caches == (Cache("internal", active=1, created=3, created_failed=2),)
    assert statistics.traffic == Traffic(5, 6)
    assert statistics.links == (
        Link("multicast", "eth2", role="ACTIVE", bytes_sent=400, bytes_received=128),
    )
    assert statistics.tracking == MessageTracking(7, 8)


def test_every_field_has_its_place():
    statistics = parse_statistics(CACHE + NETWORK + RUNTIME + QUEUES)
    assert statistics.unknown == ()
    assert statistics.caches == (
        Cache("internal", "ct", False, 12, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23),
    )
    assert statistics.network == Network(*range(31, 41))
    assert statistics.links == (
        Link("tcp", "eth2", None, "ACTIVE", "connected", "disconnected", *range(41, 47)),
    )
    assert statistics.runtime == Runtime(2 * 86400 + 3 * 3600 + 4 * 60, *range(51, 67))
    assert statistics.queue_nodes == 71
    assert statistics.queues == (
        Queue("txqueue", 72, 2147483647, 73),
        Queue("rsqueue", 74, 131072, 75),
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0 min", 0), ("59 min", 3540), ("1 day 0 min", 86400), ("7 h 1 min", 25260), ("new", None)],
)
def test_uptime(text, seconds):
    runtime = parse_statistics(f"daemon uptime: {text}\n").runtime
    assert runtime is not None
    assert runtime.uptime == seconds


def test_four_links():
    text = "".join(
        f"UDP traffic device=eth{number} status=RUNNING role={role}:\n"
        f"  {number}1 Bytes sent  {number}2 Bytes recv\n\n"
        for number, role in enumerate(["BACKUP", "ACTIVE", "BACKUP", "BACKUP"], start=1)
    )
    links = parse_statistics(text).links
    assert [link.device for link in links] == ["eth1", "eth2", "eth3", "eth4"]
    assert [link.bytes_sent for link in links] == [11, 21, 31, 41]
    assert [link.device for link in links if link.role == "ACTIVE"] == ["eth2"]


@pytest.mark.parametrize(
    "text",
    [
        "message sequence tracking:\n 3 Msgs mfrm  4 Msgs lost\n",
        "multicast sequence tracking:\n 3 Pckts mfrm  4 Pckts lost\n",
        "\n  message tracking:\n\n3 Malformed msgs\t4 Lost msgs",
    ],
)
def test_spellings_of_message_tracking(text):
    assert parse_statistics(text) == SyncStatistics(tracking=MessageTracking(3, 4))


def test_children_and_the_resend_queue():
    text = "resent queue (len=2)\ncontrol -> seq:1 flags:8\nobject -> seq:2\nPID=7 type=flush\n"
    assert parse_statistics(text) == SyncStatistics(
        resend_length=2, processes=(ChildProcess(7, "flush"),)
    )


def test_only_the_request_tells_caches_of_expectations():
    text = "cache internal:\ncurrent active connections: 5\n"
    assert parse_statistics(text, "expect").caches == (Cache("internal", "expect", active=5),)
    saved = f"# conntrackd -C /etc/c.conf -s expect\n{text}# conntrackd -s ct\n{text}"
    statistics = parse_statistics(saved)
    assert statistics.unknown == ()
    assert [cache.kind for cache in statistics.caches] == ["expect", "ct"]


def test_an_unreadable_number_is_kept_as_it_stands():
    text = (
        "cache internal:\nconnections created: many failed: 0\nconnections updated: 4 failed: 5\n"
    )
    statistics = parse_statistics(text)
    assert statistics.unknown == (
        UnknownLine("cache internal", "connections created: many failed: 0"),
    )
    assert statistics.caches == (Cache("internal", updated=4, updated_failed=5),)
    too_large = parse_statistics(f"cache internal:\ncurrent active connections: {1 << 64}\n")
    assert too_large.caches[0].active is None


def test_a_new_section_does_not_spoil_the_one_before():
    text = (
        "network statistics:\n\trecv:\n\tMalformed messages: 3\n\trelay:\n\tMalformed messages: 9\n"
    )
    statistics = parse_statistics(text)
    assert statistics.network == Network(malformed=3)
    assert [line.section for line in statistics.unknown] == ["network statistics", "relay:"]


def test_an_unreadable_line_does_not_move_its_neighbours():
    text = CACHE.replace("          21/          22", "          21/")
    cache = parse_statistics(text).caches[0]
    assert (cache.updated_not_found, cache.destroyed, cache.destroyed_not_found) == (20, None, 23)


def test_answers_are_merged_into_one_record():
    names = ["s", "s-cache", "s-network", "s-runtime", "s-link", "s-queue"]
    texts = [(DATA / "ftfw" / f"{name}.txt").read_text() for name in names]
    merged = SyncStatistics()
    for text in texts:
        merged = merge(merged, parse_statistics(text))
    assert merged == parse_statistics("".join(texts))
    assert (merged.caches[0].active, merged.caches[0].created_no_space) == (21, 0)
    assert (merged.links[0].status, merged.links[0].role) == ("RUNNING", "ACTIVE")


@given(st.text())
def test_arbitrary_text_never_raises(text):
    parse_statistics(text)


@settings(max_examples=300)
@given(st.sampled_from(TEXTS), st.data())
def test_mutated_samples_never_raise(text, data):
    for _ in range(3):
        place = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 9))
        text = text[:place] + data.draw(st.text(max_size=9)) + text[place + cut :]
    statistics = parse_statistics(text)
    assert merge(statistics, statistics)._replace(unknown=()) == statistics._replace(unknown=())


@pytest.mark.parametrize(
    "line", ["x" * 90, "x: y" * 20, "1 Bytes " * 99, "cache " * 60, "1" * 5000]
)
def test_rubbish_is_quick_and_bounded(line):
    start = time.perf_counter()
    statistics = parse_statistics(f"traffic processed:\n{f'{line}{chr(10)}' * 10_000}")
    assert time.perf_counter() - start < 3
    assert len(statistics.unknown) <= 1000
    assert all(len(unknown.text) <= 200 for unknown in statistics.unknown)

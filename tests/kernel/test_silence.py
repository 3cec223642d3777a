"""What the kernel does not say is not told as 0, and why is told where the user looks."""

from __future__ import annotations

import pytest

import traffic
from installation import Installation, command, python_path
from namespaces import Namespace

pytestmark = pytest.mark.kernel

OFF = ["sysctl", "-qw", "net.netfilter.nf_conntrack_events=0"]


def test_events_that_are_switched_off_are_absent_with_the_reason(namespace: Namespace) -> None:
    namespace.must(*OFF)
    traffic.sent(namespace, 1024)
    words = [*command("conntrack-telegraf"), "--execd", "--metrics", "events.*,table.entries"]
    done = namespace.run(words, env=python_path(), stdin="\n\n")
    assert done.returncode == 0, done
    assert "new=" not in done.stdout
    assert done.stdout.count("conntrack_source,source=events up=0i") == 2
    assert done.stderr.count("events are switched off") == 1, "it is told once, until it changes"


def test_a_person_is_told_before_the_wait(namespace: Namespace) -> None:
    namespace.must(*OFF)
    words = [*command("conntrack-stat"), "events", "--duration", "0.3"]
    done = namespace.run(words, env=python_path())
    assert done.returncode == 0, done
    assert done.stderr.startswith("new entries will not be seen: events are switched off")


@pytest.mark.parametrize("name", ["conntrack-telegraf", "conntrack-prometheus"])
def test_why_a_part_is_missing_is_told_beside_the_rest(
    namespace: Namespace, installation: Installation, name: str
) -> None:
    words = [installation.command(name), "--metrics", "table.entries,tcp.state"]
    done = namespace.run(words, user="nobody")
    assert done.returncode == 0, done
    assert "CAP_NET_ADMIN" in done.stderr
    assert 'source="counts"} 0' in done.stdout or "source=counts up=0i" in done.stdout
    assert "entries" in done.stdout


def test_the_kernels_own_count_needs_no_right_and_no_dump(
    namespace: Namespace, installation: Installation
) -> None:
    namespace.must("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1")
    traffic.sent(namespace, 1024)
    done = namespace.run([installation.command("conntrack-stat"), "count"], user="nobody")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")

"""The rendered sudoers before a real sudo: the needed commands, and nothing beside them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import oracle
import processes
import rendered
from installation import Installation
from namespaces import Namespace
from pair import pair

pytestmark = [pytest.mark.kernel, pytest.mark.agent("sudo", "visudo")]
SAID = ("checks=tcp.state[state=SYN_RECV],1000,5000", "conntrackd=yes", "nagios_user=nobody")
CONNTRACKD = ("/usr/bin/timeout", "5", "/usr/sbin/conntrackd")
NEEDED = ["--check", "tcp.state[state=SYN_RECV],1000,5000"]


Ask = Callable[..., "subprocess.CompletedProcess[str]"]


def asked(namespace: Namespace, sudoers: Path) -> Ask:
    """Return what runs a command as nobody by sudo, which becomes root again."""

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        drop = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--init-groups"]
        return namespace.run(rendered.with_sudoers(sudoers, [*drop, "sudo", "-n", *words]))

    return ask


def test_what_is_needed_and_nothing_else(
    filled_namespace: Namespace, hostile: Installation, folder: Path
) -> None:
    sudoers = rendered.render("sudoers", folder, hostile, *SAID)
    check = hostile.command("check_conntrack")

    ask = asked(filled_namespace, sudoers)
    allowed = ask(check, *NEEDED)
    assert allowed.returncode == 0, allowed
    assert f"({oracle.count(filled_namespace)} of " in allowed.stdout
    refused = [
        (check,),
        (check, *NEEDED, "--netns", "all"),
        (check, "--check", "tcp.state[state=ESTABLISHED],1000,5000"),
        (check, "--check", "tcp.stateS,1000,5000"),  # what an unquoted [...] would match
        ("/usr/sbin/conntrackd", "-s"),
        (*CONNTRACKD, "-k"),
        (*CONNTRACKD, "-s", "-k"),
        (*CONNTRACKD, "-s", "network", "-k"),
        (*CONNTRACKD, "-f"),
        ("/usr/bin/timeout", "5", "/bin/sh"),
        ("/usr/bin/timeout", "50", *CONNTRACKD[2:], "-s"),
        ("/bin/sh",),
    ]
    for words in refused:
        done = ask(*words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert "password is required" in done.stderr, done
    for words in ([], ["network"], ["queue"]):
        # Allowed, and the daemon is not there to answer.
        done = ask(*CONNTRACKD, "-s", *words)
        assert "password" not in done.stderr, done


def asking() -> set[str]:
    """The ids of those that ask conntrackd, by its own configuration, for its statistics."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"/usr/sbin/conntrackd\0-s\0" in path.read_bytes():
                found.add(path.parent.name)
    return found


@pytest.mark.agent("sudo", "visudo", "conntrackd")
def test_a_daemon_that_hangs_gathers_no_processes(hostile: Installation, folder: Path) -> None:
    """The check may not end what sudo started for root; timeout(1), which is root's, does."""
    said = ("conntrackd_command=sudo -n /usr/bin/timeout 2 /usr/sbin/conntrackd",)
    sudoers = rendered.render("sudoers", folder, hostile, *SAID, *said)
    before = asking()
    with pair(folder) as (node, _other):
        mounted = 'mount --bind "$1" /etc/conntrackd/conntrackd.conf; shift; exec "$@"'
        drop = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--init-groups"]
        check = [hostile.command("check_conntrackd"), "--command", said[0].partition("=")[2]]
        argv = rendered.with_sudoers(
            sudoers, ["sh", "-c", mounted, "sh", node.config, *drop, "env", "HOME=/", *check]
        )
        well = node.namespace.run(argv)
        assert "sync.cache.active[cache=internal] 0" in well.stdout, well
        node.signal(signal.SIGSTOP)
        for _run in range(3):
            done = node.namespace.run([*argv, "-t", "3"])
            assert (done.returncode, "did not end in time" in done.stdout) == (2, True), done
        processes.until(lambda: asking() <= before, "all have ended", 10)


def test_a_command_without_words_is_allowed_without_words_alone(
    filled_namespace: Namespace, hostile: Installation, folder: Path
) -> None:
    """In sudoers, a command by itself would mean: with any words."""
    said = ("sudo=always", "telegraf_user=nobody", "nagios_user=nobody", "conntrackd=yes")
    sudoers = rendered.render("sudoers", folder, hostile, *said, "conntrackd_command=")
    telegraf, check = hostile.command("conntrack-telegraf"), hostile.command("check_conntrackd")
    ask = asked(filled_namespace, sudoers)
    assert ask(telegraf).stdout.startswith("conntrack entries=")
    assert ask(telegraf, "--execd").returncode == 0
    assert "password" not in ask(check).stderr
    for words in ((telegraf, "--proc-root", "/"), (check, "--command", "/bin/sh")):
        done = ask(*words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert "password is required" in done.stderr, done

"""The rendered sudoers before a real sudo: the needed commands, and nothing beside them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import oracle
import rendered
from installation import Installation
from namespaces import Namespace

pytestmark = [pytest.mark.kernel, pytest.mark.agent("sudo", "visudo")]
SAID = ("checks=tcp.state[state=SYN_RECV],1000,5000", "conntrackd=yes", "nagios_user=nobody")
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
        ("/usr/sbin/conntrackd", "-k"),
        ("/usr/sbin/conntrackd", "-s", "-k"),
        ("/usr/sbin/conntrackd", "-s", "network", "-k"),
        ("/usr/sbin/conntrackd", "-f"),
        ("/bin/sh",),
    ]
    for words in refused:
        done = ask(*words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert "password is required" in done.stderr, done
    for words in ([], ["network"], ["queue"]):
        # Allowed, and the daemon is not there to answer.
        done = ask("/usr/sbin/conntrackd", "-s", *words)
        assert "password" not in done.stderr, done


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

"""The rendered sudoers before a real sudo: the needed commands, and nothing beside them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import oracle
import rendered
from installation import Installation
from namespaces import Namespace

pytestmark = [pytest.mark.kernel, pytest.mark.agent("sudo", "visudo")]
SAID = ("checks=tcp.state[state=SYN_RECV],1000,5000", "conntrackd=yes", "nagios_user=nobody")
NEEDED = ["--check", "tcp.state[state=SYN_RECV],1000,5000"]


def test_what_is_needed_and_nothing_else(
    filled_namespace: Namespace, hostile: Installation, folder: Path
) -> None:
    sudoers = rendered.render("sudoers", folder, hostile, *SAID)
    check = hostile.command("check_conntrack")

    def asked(*words: str) -> subprocess.CompletedProcess[str]:
        # nobody asks sudo, which becomes root again.
        drop = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--init-groups"]
        argv = rendered.with_sudoers(sudoers, [*drop, "sudo", "-n", *words])
        return filled_namespace.run(argv)

    allowed = asked(check, *NEEDED)
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
        done = asked(*words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert "password is required" in done.stderr, done
    for words in ([], ["network"], ["queue"]):
        # Allowed, and the daemon is not there to answer.
        done = asked("/usr/sbin/conntrackd", "-s", *words)
        assert "password" not in done.stderr, done

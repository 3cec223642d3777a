"""`conntrack-stat render` for the agents of the tests, and what runs their commands by sudo."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import processes
from installation import Installation, command, python_path

# What a path may hold, and what each agent's syntax has for its own.
HOSTILE = 'a b "c" it\'s $HOME;#%n{{x}}[?]*(!)'


def render(agent: str, folder: Path, at: Installation, *said: str, check: bool = True) -> Path:
    """Render an agent's configuration for an installation, judged by the agent's validator."""
    output = folder / f"rendered-{agent}"
    places = [f"plugin_dir={at.plugins}", f"bin_dir={at.bin}", f"module_path={at.modules}"]
    settings = [word for text in (*places, *said) for word in ("--set", text)]
    judged = ["--check"] if check else []
    words = ["render", agent, "--output", str(output), *settings, *judged]
    done = processes.run([*command("conntrack-stat"), *words], env=python_path())
    assert done.returncode == 0, done
    assert ("checked by" in done.stderr) == check
    return output


def with_sudoers(folder: Path, argv: list[str | os.PathLike[str]]) -> list[str]:
    """Return the words that run a command with this folder as /etc/sudoers.d.

    Only for `ip netns exec`, which gives the command mounts of its own. What sudo refuses, it would
    write to root by mail.
    """
    quiet = folder / "00-no-mail"
    quiet.write_text("Defaults !mailerpath\n", "utf-8")
    quiet.chmod(0o440)
    script = 'mount --bind "$1" /etc/sudoers.d; shift; exec "$@"'
    return ["sh", "-c", script, "sh", str(folder), *map(os.fspath, argv)]


def own(folder: Path, user: str) -> None:
    """Give a folder, and all in it, to a user."""
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, user, user)

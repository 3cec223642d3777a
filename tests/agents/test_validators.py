"""render --check: each agent's own validator, asked by any user, and what it objects to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import processes
from conntrack_common.errors import InvalidRequest
from conntrack_plugins.render import AGENTS, File, render
from conntrack_plugins.render.settings import load
from conntrack_plugins.render.validators import VALIDATORS, validate
from installation import Installation
from namespaces import dropped

SETTINGS = load(AGENTS)


def needs(agent: str) -> None:
    program = VALIDATORS[agent][0].program
    if not shutil.which(program, path=processes.PATH):
        pytest.skip(f"{program} is not installed")


HERE = [agent for agent in VALIDATORS if agent != "telegraf"]  # which no Debian release has


@pytest.mark.parametrize("agent", HERE)
def test_anybody_may_ask(agent: str, installation: Installation, folder: Path) -> None:
    needs(agent)
    words = [installation.command("conntrack-stat"), "render", agent, "--check"]
    done = processes.run([*dropped(), *words, "--set", f"bin_dir={installation.bin}"])
    assert done.returncode == 0, done
    assert done.stderr == "".join(f"checked by '{each.command}'\n" for each in VALIDATORS[agent])


@pytest.mark.parametrize("agent", HERE)
def test_it_objects_to_what_is_broken(agent: str) -> None:
    needs(agent)
    broken = [File(name, f"{text}\n<<< {agent}\n") for name, text in render(agent, SETTINGS)]
    program = VALIDATORS[agent][0].program
    with pytest.raises(InvalidRequest, match=f"{program} objects to .*make: .+"):
        list(validate(agent, broken, SETTINGS))

"""Bash completion, in a real bash: by its function, and with the Tab key on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import processes
from conntrack_common.catalogue.lookup import BY_ID, CATALOGUE
from conntrack_plugins.manual import completion
from conntrack_plugins.manual.commands import commands
from conntrack_plugins.manual.completion import script
from installation import TREE, entry_points

COMMANDS = commands()
PACKAGE = Path("/usr/share/bash-completion/bash_completion")
BASH = ["bash", "--norc", "--noprofile"]
HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`",
    "a b",
    "x'y",
    'x"y',
    "-n",
    "*",
    "$((a[$(touch pwned)]))",
)
# Every way in which the function gets its words: with the line that was typed, and without.
ASK = """
source ./script || exit
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
function=$(complete -p "${1##*/}") && [[ $function =~ -F\\ ([^ ]+) ]] || exit
"${BASH_REMATCH[1]}" "$1" "${COMP_WORDS[COMP_CWORD]}"
[[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\\0' "${COMPREPLY[@]}"
"""

pytestmark = pytest.mark.skipif(
    not shutil.which("bash", path=processes.PATH), reason="bash is not installed"
)


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder with the script, files to complete, and namespaces with names of all kinds."""
    (tmp_path / "netns").mkdir()
    (tmp_path / "script").write_text(script(str(tmp_path / "netns")), "utf-8")
    for name in ("blue", "green", *HOSTILE):
        (tmp_path / "netns" / name).touch()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "saved.txt").touch()
    (tmp_path / "here" / "sub dir").mkdir()
    (tmp_path / "here" / "$(touch pwned)").touch()
    return tmp_path


def ask(room: Path, *words: str, options: str = "", line: str | None = None) -> list[str]:
    """What is offered for the last of the words, as bash has broken them."""
    env = {} if line is None else {"COMP_LINE": line}
    done = processes.run(
        [*BASH, *shlex.split(options), "-c", f"cd {shlex.quote(str(room))}; {ASK}", "bash", *words],
        env={"HOME": str(room), **env},
    )
    assert not done.stderr, done.stderr
    assert not list(room.rglob("pwned")), "a word was executed"
    return done.stdout.split("\0")[:-1]


def test_the_script_is_one(room: Path) -> None:
    processes.must(["bash", "-n", room / "script"])


@pytest.mark.skipif(
    not shutil.which("shellcheck", path=processes.PATH), reason="shellcheck is not installed"
)
def test_shellcheck_finds_nothing(room: Path) -> None:
    processes.must(["shellcheck", "--shell=bash", room / "script"])


@pytest.mark.parametrize("name", sorted(entry_points()))
def test_all_options_are_offered(room: Path, name: str) -> None:
    places = [([name], COMMANDS[name])]
    places += [([name, each.name], each) for each in COMMANDS[name].subcommands]
    for words, interface in places:
        flags = [flag for option in interface.options for flag in option.flags]
        assert ask(room, *words, "-") == flags
        assert ask(room, *words, "--pro") == [flag for flag in flags if flag.startswith("--pro")]


@pytest.mark.parametrize("name", sorted(entry_points()))
def test_every_choice_is_offered(room: Path, name: str) -> None:
    interface = COMMANDS[name]
    for each in (interface, *interface.subcommands):
        place = [name] if each is interface else [name, each.name]
        for option in each.options:
            if option.choices:
                assert ask(room, *place, option.long, "") == list(option.choices)
                assert ask(room, *place, option.long, "=") == list(option.choices)


def test_a_subcommand_and_its_options(room: Path) -> None:
    names = [each.name for each in COMMANDS["conntrack-stat"].subcommands]
    assert ask(room, "conntrack-stat", "") == names
    assert ask(room, "conntrack-stat", "co") == ["counters", "count"]
    assert ask(room, "conntrack-stat", "--netns", "list", "ex") == ["expect"]
    assert ask(room, "/usr/bin/conntrack-stat", "--json", "list", "--so") == ["--sort"]
    assert ask(room, "conntrack-stat", "list", "list", "--so") == ["--sort"]
    assert ask(room, "conntrack-stat", "count", "--so") == []
    assert "--by" in ask(room, "conntrack-stat", "count", "")


def test_agents_and_settings(room: Path) -> None:
    assert ask(room, "conntrack-stat", "render", "n") == ["nagios", "nrpe"]
    assert ask(room, "conntrack-stat", "render", "nrpe", "--set", "warn") == ["warning="]


def test_metrics(room: Path) -> None:
    ids = list(BY_ID)
    assert ask(room, "conntrack-telegraf", "--metrics", "") == ids
    assert ask(room, "conntrack-telegraf", "--metrics", "=", "tcp") == ["tcp.state"]
    assert ask(room, "conntrack-prometheus", "--metrics", "cpu.drop,tcp") == ["cpu.drop,tcp.state"]
    rates = [f"{metric.id}/s" for metric in CATALOGUE if metric.kind == "counter"]
    offered = ask(room, "check_conntrack", "--check", "")
    assert sorted(offered) == sorted(ids + rates)
    assert ask(room, "check_conntrack", "--check", "cpu.early") == [
        "cpu.early_drop",
        "cpu.early_drop/s",
    ]
    of_the_daemon = ask(room, "check_conntrackd", "--check", "")
    assert of_the_daemon
    assert all(name.startswith("sync.") for name in of_the_daemon)


def test_words_that_belong_together(room: Path) -> None:
    """Bash breaks at '=' and ':' (and not at ','), or does not, where a user has set it so."""
    telegraf = "conntrack-telegraf --metrics="
    cases = {
        (telegraf, "conntrack-telegraf", "--metrics", "="): list(BY_ID),
        (f"{telegraf}tcp", "conntrack-telegraf", "--metrics", "=", "tcp"): ["tcp.state"],
        (f"{telegraf}tcp", "conntrack-telegraf", "--metrics=tcp"): ["--metrics=tcp.state"],
        (f"{telegraf}x,tcp", "conntrack-telegraf", "--metrics=x,tcp"): ["--metrics=x,tcp.state"],
        (
            "check_conntrack --check x,1:, --netn",
            *("check_conntrack", "--check", "x,1", ":", ",", "--netn"),
        ): ["--netns"],
        (
            "check_conntrack  --check x,1: --no-conntrack ",
            *("check_conntrack", "--check", "x,1", ":", "--no-conntrack", ""),
        ): ["ok", "warning", "critical", "unknown"],
        ("conntrack-stat ", "conntrack-stat", ""): [
            each.name for each in COMMANDS["conntrack-stat"].subcommands
        ],
    }
    for (line, *words), offered in cases.items():
        assert ask(room, *words, line=line) == offered, line


def test_names_of_the_kernel(room: Path) -> None:
    assert ask(room, "conntrack-stat", "list", "-p", "ud") == ["udp", "udplite"]
    assert ask(room, "conntrack-stat", "list", "--state", "EST") == ["ESTABLISHED"]
    assert ask(room, "conntrack-stat", "list", "-u", "ASSURED,UNR") == ["ASSURED,UNREPLIED"]
    assert ask(room, "conntrack-stat", "list", "-f", "") == ["ipv4", "ipv6"]
    assert ask(room, "conntrack-stat", "events", "-e", "NEW,D") == ["NEW,DESTROY"]
    assert ask(room, "conntrack-stat", "count", "--by", "protocol,st") == [
        "protocol,state",
        "protocol,status",
    ]
    assert ask(room, "conntrack-stat", "list", "--dport", "") == []


def test_a_value_that_may_be_left_out(room: Path) -> None:
    assert ask(room, "conntrack-stat", "list", "--src-nat", "--so") == ["--sort"]
    assert ask(room, "conntrack-stat", "list", "--src-nat", "192.0.2.1", "--so") == ["--sort"]
    assert "--sort" in ask(room, "conntrack-stat", "list", "--src-nat", "")


def test_namespaces_are_quoted(room: Path) -> None:
    offered = ask(room, "check_conntrack", "--netns", "")
    assert offered[0] == "all"
    words = processes.must(["bash", "-c", f"printf '%s\\0' {' '.join(offered)}"], env=None)
    assert sorted(words.split("\0")[:-1]) == sorted(["all", "blue", "green", *HOSTILE])
    assert ask(room, "check_conntrack", "--netns", "bl") == ["blue"]
    assert ask(room, "check_conntrack", "--netns", "=", "bl") == ["blue"]
    assert ask(room, "check_conntrack", "--netns", "a\\ ") == ["a\\ b"]
    assert ask(room, "check_conntrack", "--netns", "'a ") == []


def test_a_namespace_may_be_a_file(room: Path) -> None:
    assert ask(room, "check_conntrack", "--netns", f"{room}/here/sav") == [f"{room}/here/saved.txt"]
    assert ask(room, "check_conntrack", "--netns", f"{room}/nosuch/") == []


def test_the_usual_place_of_namespaces() -> None:
    assert " /run/netns/*" in script()


def test_files_and_folders(room: Path) -> None:
    here = ["here/$(touch pwned)", "here/saved.txt", "here/sub dir"]
    assert sorted(ask(room, "check_conntrackd", "--file", "here/")) == here
    assert ask(room, "check_conntrackd", "--file", "=", "here/sa") == ["here/saved.txt"]
    assert ask(room, "check_conntrackd", "--file", "~/here/sa") == ["~/here/saved.txt"]
    assert ask(room, "conntrack-stat", "render", "--output", "here/") == ["here/sub dir"]
    assert ask(room, "conntrack-stat", "render", "--output", "here/sub\\ ") == ["here/sub dir"]
    assert ask(room, "check_conntrackd", "--file", "none") == []


@pytest.mark.parametrize("options", ["", "-f", "-u", "-O failglob", "-O nullglob -O dotglob"])
@pytest.mark.parametrize(
    "word", [*HOSTILE, "$(touch pwned)/x", "'$(touch pwned)", "~$(touch pwned)"]
)
def test_what_is_typed_is_never_executed(room: Path, word: str, options: str) -> None:
    """Whatever a user's shell is set to."""
    command = "conntrack-stat"
    for before in ([], ["list"], ["list", "--sort"], ["list", "-u"], ["list", "--netns"]):
        ask(room, command, *before, word, options=options)
        ask(room, command, *before, word, "", options=options)
    for option in ("--file", "--check"):
        ask(room, "check_conntrackd", option, word, options=options)
        ask(room, "check_conntrackd", option, "=", word, options=options)


def test_the_module_writes_the_script_and_its_names(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "conntrack_plugins.manual.completion", str(tmp_path / "made")]
    path = os.pathsep.join(str(TREE / room) for room in ("common", "plugins"))
    for _twice in range(2):
        subprocess.run(words, check=True, env={"PYTHONPATH": path})
    made = {found.name: found for found in (tmp_path / "made").iterdir()}
    assert set(made) == set(entry_points())
    assert all(found.read_text("utf-8") == script() for found in made.values())
    assert [name for name, found in made.items() if not found.is_symlink()] == ["conntrack-stat"]
    links = {os.readlink(found) for found in made.values() if found.is_symlink()}
    assert links == {"conntrack-stat"}


class Terminal:
    """An interactive bash that has read the script, or what is said instead."""

    def __init__(
        self,
        room: Path,
        start: str = "source ./script",
        more: Mapping[str, str] | None = None,
    ) -> None:
        self._main, terminal = pty.openpty()
        env = processes.environment(
            {"HOME": str(room), "TERM": "dumb", "PS1": "> ", **(more or {})}
        )
        self._process = subprocess.Popen(
            [*BASH, "-i"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=env,
            cwd=room,
            start_new_session=True,
        )
        os.close(terminal)
        self.type(
            f"bind 'set enable-bracketed-paste off'; {start}; "
            "show() { printf 'WORD %s\\n' \"$@\"; }; echo END$((1 + 1))\n"
        )
        self.until("END2\r\n")

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def until(self, text: str) -> str:
        """What is shown until a text has been shown."""
        shown, deadline = "", time.monotonic() + 20
        while text not in shown and time.monotonic() < deadline:
            if select.select([self._main], [], [], 0.1)[0]:
                shown += os.read(self._main, 4096).decode("utf-8", "replace")
        assert text in shown, shown
        return shown

    def completed(self, typed: str) -> list[str]:
        """The words of a line as bash would run it after Tab."""
        # Ctrl-A goes to the line's beginning: its words are shown, and no command is run.
        self.type(f"{typed}\t\x01show \x05; echo END$((1 + 1))\n")
        shown = self.until("END2\r\n")
        return re.findall(r"^WORD (.*)\r$", shown, re.MULTILINE)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)
        os.close(self._main)


def test_on_a_terminal(room: Path) -> None:
    terminal = Terminal(room)
    try:
        cases = {
            "conntrack-stat exp": ["conntrack-stat", "expect"],
            "conntrack-stat list --sort=by": ["conntrack-stat", "list", "--sort=bytes"],
            "conntrack-stat list --sort pa": ["conntrack-stat", "list", "--sort", "packets"],
            "check_conntrack --check x,1:2 --no-conn": [
                *("check_conntrack", "--check", "x,1:2", "--no-conntrack"),
            ],
            "conntrack-telegraf --metrics 'tcp": ["conntrack-telegraf", "--metrics", "tcp.state"],
            "conntrack-telegraf --metrics=x,tcp": ["conntrack-telegraf", "--metrics=x,tcp.state"],
            "check_conntrackd --file=here/sa": ["check_conntrackd", "--file=here/saved.txt"],
            "check_conntrackd --file here/su": ["check_conntrackd", "--file", "here/sub dir/"],
            "check_conntrackd --file here/\\$": [
                *("check_conntrackd", "--file", "here/$(touch pwned)"),
            ],
            "check_conntrack --netns a\\ ": ["check_conntrack", "--netns", "a b"],
            "check_conntrack --netns \\$\\(t": ["check_conntrack", "--netns", "$(touch pwned)"],
        }
        for typed, words in cases.items():
            assert terminal.completed(typed) == words, typed
    finally:
        terminal.close()
    assert not list(room.rglob("pwned"))


@pytest.mark.skipif(not PACKAGE.exists(), reason="bash-completion is not installed")
def test_the_package_finds_it_by_the_command(room: Path) -> None:
    completion.main([str(room / "data" / "bash-completion" / "completions")])
    terminal = Terminal(room, f"source {PACKAGE}", {"XDG_DATA_HOME": str(room / "data")})
    try:
        for name in entry_points():
            assert terminal.completed(f"{name} --vers") == [name, "--version"]
    finally:
        terminal.close()

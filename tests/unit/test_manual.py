"""The manual pages: complete, free of warnings, and shown as it is typed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import processes
from conntrack_common import __version__
from conntrack_plugins.interface import Group, Interface, Option
from conntrack_plugins.manual import pages as manual
from conntrack_plugins.manual.commands import commands
from conntrack_plugins.manual.pages import ABOUT, page, pages
from conntrack_plugins.manual.roff import line, text
from conntrack_plugins.render.settings import SETTINGS
from installation import TREE, entry_points

PAGES = pages()
COMMANDS = commands()
ENVIRONMENT = {"MANROFFSEQ": "", "MANWIDTH": "80"}
CHARACTERS = st.sampled_from(r""".'"\-`^~$[]{}()%&*|#;:,…é aenfBRzSH0""")
STARTS = st.sampled_from(["", ".", "'", "\\", ".so ", ".EE ", "\\fB", "\\\\", '"'])
HOSTILE = st.builds(str.__add__, STARTS, st.text(CHARACTERS, max_size=40))


def needs(program: str) -> pytest.MarkDecorator:
    missing = not shutil.which(program, path=processes.PATH)
    return pytest.mark.skipif(missing, reason=f"{program} is not installed")


def warnings(path: Path) -> str:
    words = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(path)]
    return processes.run(words, ENVIRONMENT).stderr


def shown(path: Path, device: str = "utf8") -> str:
    """The page as a reader sees it, without what stands for bold and underlined."""
    words = ["man", "-E", "UTF-8", "-l", f"-T{device}", str(path)]
    done = processes.run(words, ENVIRONMENT)
    assert not done.stderr
    return re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)


def flat(words: str) -> str:
    return " ".join(words.split())


def with_subcommands(interface: Interface) -> Iterator[Interface]:
    yield interface
    for command in interface.subcommands:
        yield from with_subcommands(command)


def examples_of(interface: Interface) -> Iterator[str]:
    for each in with_subcommands(interface):
        yield from (found for found in each.examples.splitlines() if found.startswith(" "))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("man")
    manual.main([str(made / "pages")])
    return made / "pages"


def test_every_command_has_a_page() -> None:
    assert set(PAGES) == {*(f"{name}.1" for name in entry_points()), "conntrack-plugins.conf.5"}
    assert set(ABOUT) == set(entry_points())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_told_with_its_help(name: str) -> None:
    lines = PAGES[f"{name}.1"].splitlines()
    for interface in with_subcommands(COMMANDS[name]):
        for option in interface.options:
            flags = ", ".join(rf"\fB{text(flag)}\fP" for flag in option.flags)
            flags = flags or rf"\fI{option.value}\fP"
            told = [lines[at + 1] for at, found in enumerate(lines) if found.startswith(flags)]
            assert line(option.help) in told, (interface.name, option)


def test_every_subcommand_has_a_section_with_its_own_options() -> None:
    parts = PAGES["conntrack-stat.1"].split("\n.SS ")
    for command in COMMANDS["conntrack-stat"].subcommands:
        start = re.compile(rf'"conntrack\\-stat {command.name}[ "]')
        (part,) = [part for part in parts if start.match(part)]
        assert text(command.summary) in part
        untitled = [each for each in command.groups if each.title in manual.UNTITLED]
        for option in (each for group in untitled for each in group.options):
            everywhere = option in manual._usual(COMMANDS["conntrack-stat"])
            name = rf"\fB{text(option.flags[-1])}\fP" if option.flags else rf"\fI{option.value}"
            assert (name in part) is not everywhere, option


def test_options_that_only_one_subcommand_takes_stand_there() -> None:
    rare = Group("ways", (Option(("--way",), "WORD", "a way"),))
    shared = Group("filters", (Option(("-p",), "PROTO", "protocol"),))
    one = Interface("one", "Show one.", (shared, rare), "")
    two = Interface("two", "Show two.", (shared,), "")
    made = page(Interface("x", "Show x.", (), "", (one, two)))
    assert made.count(r"\fB\-p\fP") == 1
    assert "The commands one, two take these." in made
    assert made.index("The commands one") < made.index(".SH COMMANDS")
    before, after = made.split('.SS "x one')
    assert r"\-\-way" in after
    assert r"\-\-way" not in before


def test_options_of_every_subcommand_are_told_once() -> None:
    both, first = Option(("--both",), "", "b"), Option(("--first",), "", "f")
    one = Interface("one", "Show one.", (Group("options", (both, first)),), "")
    two = Interface("two", "Show two.", (Group("options", (both,)),), "")
    made = page(Interface("x", "Show x.", (Group("options", (both, first)),), "", (one, two)))
    assert r"Each takes \-\-both, too." in made
    assert [made.count(rf"\fB\-\-{name}\fP") for name in ("both", "first")] == [1, 2]


def test_who_lacks_a_usual_option_is_told() -> None:
    usual = Option(("--usual",), "", "u")
    takes = Interface("one", "Show one.", (Group("options", (usual,)),), "")
    lacks = Interface("last", "Show last.", (), "")
    others = [takes._replace(name=name) for name in ("two", "three")]
    made = page(Interface("x", "Show x.", (Group("", (usual,)),), "", (takes, *others, lacks)))
    assert r"Each but last takes \-\-usual, too." in made


def test_what_is_said_behind_the_examples_is_description() -> None:
    check, telegraf = PAGES["check_conntrack.1"], PAGES["conntrack-telegraf.1"]
    assert ".PP\nA range is [@][start:]end: alert" in check.partition(".SH OPTIONS")[0]
    assert "A range is" not in check.partition(".SH EXAMPLES")[2]
    assert ".PP\ntelegraf.conf:\n.EX\n[[inputs.exec]]\n" in telegraf.partition(".SH EXAMPLES")[2]


def test_every_setting_is_told() -> None:
    written = PAGES["conntrack-plugins.conf.5"]
    for setting in SETTINGS:
        assert f"\\fB{setting.key} = VALUE\\fP\n{line(setting.meaning)}" in written
        assert all(text(words) in written for words in setting.default.splitlines())


def test_the_settings_example_is_one(tmp_path: Path) -> None:
    from conntrack_plugins.render.settings import load

    file = tmp_path / "conf"
    file.write_text(manual.SETTINGS_EXAMPLE, "utf-8")
    assert load(["telegraf", "nagios"], str(file))["telegraf"]["interval"] == 30
    assert load(["telegraf", "nagios"], str(file))["nagios"]["warning"] == 70


@pytest.mark.parametrize("name", sorted(PAGES))
def test_pages_are_the_same_in_every_build(name: str) -> None:
    assert PAGES[name].isascii()
    title = PAGES[name].splitlines()[0]
    assert title.endswith(f' "" "conntrack\\-plugins {__version__}"')


def test_the_module_writes_them(folder: Path, tmp_path: Path) -> None:
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == PAGES
    words = [sys.executable, "-m", "conntrack_plugins.manual.pages", str(tmp_path)]
    path = ":".join(str(TREE / room) for room in ("common", "plugins"))
    subprocess.run(words, check=True, env={"PYTHONPATH": path, "PYTHONHASHSEED": "7"})
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == PAGES


@needs("man")
@pytest.mark.parametrize("name", sorted(PAGES))
def test_no_page_has_warnings(folder: Path, name: str) -> None:
    assert warnings(folder / name) == ""


@needs("man")
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_reader_sees_options_and_examples_as_they_are_typed(folder: Path, name: str) -> None:
    read = shown(folder / f"{name}.1")
    lines = [each.strip() for each in read.splitlines()]
    for typed in examples_of(COMMANDS[name]):
        assert typed.strip() in lines
    for interface in with_subcommands(COMMANDS[name]):
        for option in interface.options:
            name = ", ".join(option.flags) or option.value
            assert re.search(rf"^ +{re.escape(name)}\b", read, re.MULTILINE)
            assert flat(option.help) in flat(read)
    assert not re.search("[\u2010\u2011\u2212\u2018\u2019]", read)


@needs("man")
def test_a_reader_sees_the_settings(folder: Path) -> None:
    read = flat(shown(folder / "conntrack-plugins.conf.5"))
    for setting in SETTINGS:
        assert f"{setting.key} = VALUE {setting.meaning}" in read
    assert flat(manual.SETTINGS_EXAMPLE) in read


@needs("man")
def test_a_terminal_without_the_character_shows_dots(folder: Path) -> None:
    assert "--status FLAG,..." in shown(folder / "conntrack-stat.1", "ascii")


@needs("lexgrog")
@pytest.mark.parametrize("name", sorted(PAGES))
def test_apropos_knows_the_name(folder: Path, name: str) -> None:
    stem = name.rpartition(".")[0]
    found = processes.must(["lexgrog", folder / name])
    assert f': "{stem} - ' in found


@needs("man")
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=st.lists(HOSTILE, min_size=1, max_size=8))
@example(texts=[".so /etc/passwd", "'br x", r"\fBbold", ".EE", r"\*(HF", '." x "y"'])
def test_no_text_is_taken_for_a_request(tmp_path: Path, texts: list[str]) -> None:
    options = tuple(Option((f"--o{at}",), "V", f"{words} {at}") for at, words in enumerate(texts))
    lines = "".join(f"  x {words}\n  {words} y\n" for words in texts)
    notes = "".join(f"\nsay {words} y\n" for words in texts)
    hostile = Interface("x", f"{texts[0]} z", (Group(texts[-1], options),), lines + notes)
    file = tmp_path / "x.1"
    file.write_text(page(hostile), "utf-8")
    assert warnings(file) == ""
    read = shown(file)
    assert flat(hostile.summary) in flat(read)
    for at, words in enumerate(texts):
        assert flat(f"--o{at} V {words} {at}") in flat(read)
        assert f" {words} y\n" in read
        assert flat(f"say {words} y") in flat(read)
    assert flat(f"DESCRIPTION {texts[0]} z") in flat(read)

"""Agents' configuration: values can't break out of their places; files come all or not at all."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import processes
from conntrack_common.errors import InvalidRequest, NotAvailable
from conntrack_plugins.render import AGENTS, TEMPLATES, File, expand, quoting, render, write
from conntrack_plugins.render.settings import defaults, load
from conntrack_plugins.render.validators import VALIDATORS, validate
from installation import command, python_path

SETTINGS = Path(__file__).parent.parent / "data" / "settings"
PRINTABLE = st.text(st.characters().filter(str.isprintable))
DEFAULTS = load(AGENTS, os.devnull)
WORDS = st.lists(PRINTABLE, min_size=1)


def stat_render(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Render by the words, or by no settings: a host's own are none of a test's."""
    settings = () if "--settings" in words else ("--settings", os.devnull)
    argv = [*command("conntrack-stat"), "render", *words, *settings]
    return processes.run(argv, env={**python_path(), **(env or {})})


# No agent's library can be imported, and trying it is an error where nothing else is left to try.
WITHOUT_LIBRARIES = """
import sys

class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name == "nagiosplugin":
            raise AssertionError(f"{name} is imported")
        if name in {"collectd", "pyroute2", "rich"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refusal())
from conntrack_plugins.commands import stat
stat()
"""


@pytest.mark.parametrize("settings", [os.devnull, SETTINGS / "gate.conf"], ids=["default", "gate"])
@pytest.mark.parametrize("agent", AGENTS)
def test_rendering_needs_no_agents_library(agent: str, settings: Path) -> None:
    words = ["render", agent, "--settings", str(settings)]
    with_all = processes.run([*command("conntrack-stat"), *words], env=python_path())
    argv = [sys.executable, "-c", WITHOUT_LIBRARIES, *words]
    without = processes.run(argv, env=python_path())
    assert with_all.stdout
    assert (without.returncode, without.stdout, without.stderr) == (0, with_all.stdout, "")


@given(words=WORDS)
def test_a_shells_line_means_its_words(words: list[str]) -> None:
    assert shlex.split(quoting.shell(words)) == words


@given(text=PRINTABLE)
def test_yaml_and_toml_read_their_text_back(text: str) -> None:
    # Between double quotes, JSON's escapes mean the same in both formats.
    assert json.loads(f'"{quoting.yaml(text)}"') == text
    assert json.loads(f'"{quoting.toml(text)}"') == text
    assert "$" not in quoting.toml(text), "Telegraf would replace a variable"
    if sys.version_info >= (3, 11):
        import tomllib

        assert tomllib.loads(f'x = "{quoting.toml(text)}"') == {"x": text}


@given(text=PRINTABLE)
def test_nothing_between_double_quotes_ends_them(text: str) -> None:
    for escape in (quoting.icinga, quoting.icinga_text, quoting.collectd, quoting.systemd):
        assert re.fullmatch(r'(?:[^"\\]|\\.)*', escape(text))
    macros = quoting.icinga(text).replace("$$", "")
    assert "$" not in macros
    assert "$" not in quoting.nagios(text).replace("$$", "")
    assert not re.search(r"(?<!\\);", quoting.nagios(text))
    assert "%" not in quoting.systemd(text).replace("%%", "")
    line = quoting.systemd_words(["/x", text])
    assert "$" not in line.replace("$$", "")


@given(words=WORDS)
def test_sudoers_takes_no_character_for_its_own(words: list[str]) -> None:
    program = "/" + words[0].replace("\\", "")
    start = quoting.sudoers([program])[: -len(' ""')]
    text = quoting.sudoers([program, "-x", *words[1:]])
    assert text.startswith(f"{start} ")
    bare = re.sub(r"\[([*?[])\]", "", start.replace("\\", ""))
    assert not re.search(r"[*?[]", bare)
    assert not re.search(r"(?<!\\)[,:=# ]", start)
    arguments = text[len(start) + 1 :]
    assert re.fullmatch(r"(?:[^,:=#*?\[\]!\\]|\\.)*", arguments)
    assert re.sub(r"\\(.)", r"\1", arguments) == " ".join(["-x", *words[1:]])


def test_sudoers_allows_no_words_behind_a_command_that_has_none() -> None:
    assert quoting.sudoers(["/usr/bin/conntrack-telegraf"]) == '/usr/bin/conntrack-telegraf ""'
    with pytest.raises(InvalidRequest, match="whole path"):
        quoting.sudoers(["conntrackd", "-s"])


@pytest.mark.parametrize("program", ["/opt/it's", '/opt/a"b', "/opt/a\\b"])
def test_systemd_can_not_run_quotes(program: str) -> None:
    with pytest.raises(InvalidRequest, match="holds a quote or a backslash"):
        quoting.systemd_words([program, "-s"])


def test_sudoers_can_not_name_a_backslash() -> None:
    with pytest.raises(InvalidRequest, match="holds a backslash"):
        quoting.sudoers(["/opt/a\\b", "-s"])


def test_a_value_is_no_template() -> None:
    hostile = "/x$(id);`id`%n{{7*7}}{% raw %}"
    values = {**defaults(), "plugin_dir": hostile, "bin_dir": hostile, "textfile": f"{hostile}/f"}
    for agent in AGENTS:
        texts = "".join(file.text for file in render(agent, dict.fromkeys(AGENTS, values)))
        plain = texts.replace("$$", "$").replace("%%", "%").replace("\\", "")
        assert "{{7*7}}{% raw %}" in plain or agent in {"collectd", "sudoers"}, agent
        assert "49" not in texts


def test_a_template_can_show_no_structure_by_mistake(tmp_path: Path) -> None:
    import jinja2

    with pytest.raises((jinja2.UndefinedError, TypeError), match=r"undefined|Undefined"):
        expand("check/collectd", "collectd", DEFAULTS)  # lacks `folder`
    with pytest.raises(TypeError, match="neither text nor number"):
        expand("check/collectd", "collectd", DEFAULTS, folder=None, modules="")


def test_every_agent_has_templates_and_every_template_an_agent() -> None:
    folders = {path.name for path in Path(TEMPLATES).iterdir()} - {"check"}
    assert folders == set(AGENTS)
    assert {path.name for path in Path(TEMPLATES, "check").iterdir()} <= set(VALIDATORS)


def test_icinga_has_every_option_of_the_checks() -> None:
    from conntrack_plugins.manual.commands import commands

    text = render("icinga2", DEFAULTS)[0].text
    for program, prefix in (("check_conntrack", "conntrack"), ("check_conntrackd", "conntrackd")):
        block = text.partition(f'object CheckCommand "{prefix}" {{')[2].partition("\nobject ")[0]
        for option in commands()[program].options:
            if option.long not in {"--help", "--version"}:
                assert f'"{option.long}" = {{' in block
                assert f'"${prefix}_{option.long[2:].replace("-", "_")}$"' in block


def test_files_are_written_with_their_modes_and_never_over_others(tmp_path: Path) -> None:
    done = stat_render("sudoers", "--output", str(tmp_path / "new"), "--set", "sudo=always")
    file = tmp_path / "new/conntrack-plugins"
    assert (done.returncode, done.stdout) == (0, f"written: {file}\n"), done
    assert stat.S_IMODE(file.stat().st_mode) == 0o440
    file.chmod(0o600)
    file.write_text("mine", "utf-8")
    done = stat_render("sudoers", "--output", str(tmp_path / "new"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("conntrack-plugins is there already: --force replaces it\n")
    assert file.read_text("utf-8") == "mine"
    assert stat_render("sudoers", "--output", str(tmp_path / "new"), "--force").returncode == 0
    assert "Belongs in /etc/sudoers.d" in file.read_text("utf-8")


def test_all_files_are_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("a file, where a directory is needed", "utf-8")
    files = [File("first", "1\n"), File("there/second", "2\n")]
    with pytest.raises(InvalidRequest, match="second can't be written"):
        write(files, str(tmp_path), 0o644, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_file_is_stale_by_the_interval_of_its_timer() -> None:
    made = {
        **DEFAULTS,
        "systemd": {**DEFAULTS["systemd"], "interval": 300, "textfile": "/x/y.prom"},
    }
    rules = next(file.text for file in render("prometheus", made) if "rules.yml" in file.name)
    assert r'node_textfile_mtime_seconds{file=\"/x/y.prom\"} > 1500"' in rules


def test_a_service_is_given_a_capability_only_where_the_settings_say_so() -> None:
    def names(*agents: str) -> list[str]:
        made = {**DEFAULTS, **{agent: {**DEFAULTS[agent], "sudo": "never"} for agent in agents}}
        return [file.name for file in render("systemd", made) if ".service.d/" in file.name]

    assert names() == []
    assert names("telegraf") == ["telegraf.service.d/conntrack.conf"]
    assert names("nrpe") == ["nagios-nrpe-server.service.d/conntrack.conf"]


def test_a_directory_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    files = [File("first", "1\n"), File("second", "2\n")]
    with pytest.raises(InvalidRequest, match="second is a directory"):
        write(files, str(tmp_path), 0o644, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["second"]


def test_nothing_is_written_that_the_validator_objects_to_or_can_not_judge(tmp_path: Path) -> None:
    output = tmp_path / "output"
    done = stat_render("nrpe", "--check", "--output", str(output))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "conntrack-stat: no program can check what is rendered for nrpe: leave out --check\n"
    )
    assert not output.exists()


def test_a_missing_validator_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conntrack_plugins.render.validators.PATH", "/nosuch")
    for agent, validators in VALIDATORS.items():
        program, package = validators[0].program, validators[0].package
        with pytest.raises(NotAvailable, match=f"{program} is not installed.*install {package}"):
            list(validate(agent, render(agent, DEFAULTS), DEFAULTS))


def test_output_that_can_not_be_written(tmp_path: Path) -> None:
    done = stat_render("nagios", "--output", "/proc/nosuch")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "can't be written" in done.stderr
    assert "--output" in done.stderr


def test_json_has_the_same_files() -> None:
    found = json.loads(stat_render("nagios", "--json").stdout)["files"]
    assert [(each["name"], each["text"]) for each in found] == render("nagios", DEFAULTS)
    agents = json.loads(stat_render("--json").stdout)["agents"]
    assert list(agents) == list(AGENTS)


def test_the_settings_that_are_rendered_mean_what_they_were_rendered_from(tmp_path: Path) -> None:
    source = Path(__file__).parent.parent / "data/settings/gate.conf"
    values = load(AGENTS, str(source))
    done = stat_render("settings", "--settings", str(source), "--output", str(tmp_path))
    assert done.returncode == 0, done
    assert load(AGENTS, str(tmp_path / "conntrack-plugins.conf")) == values
    parser = configparser.RawConfigParser(delimiters=("=",))
    parser.read_string(stat_render("settings").stdout)
    assert dict(parser["all"]) == {}, "a default stands as a comment"


def test_without_jinja2_a_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['jinja2'] = None\n"
        "from conntrack_plugins.stat import main\n"
        "sys.exit(main(['render', 'nrpe', '--settings', '/dev/null']))"
    )
    done = processes.run([sys.executable, "-c", code], env=python_path())
    assert (done.returncode, done.stdout) == (1, "")
    assert "apt install python3-jinja2" in done.stderr
    assert os.linesep.join(done.stderr.splitlines()[1:]) == ""

"""The settings of `conntrack-stat render`: what may be said, and how what may not is refused."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conntrack_common.errors import InvalidRequest
from conntrack_plugins.render import settings
from conntrack_plugins.render.invocations import telegraf
from conntrack_plugins.render.settings import BY_KEY, SETTINGS, assignment, defaults, load

AGENTS = ("nagios", "telegraf")


def loaded(folder: Path, text: str, agent: str = "nagios", *said: str) -> Mapping[str, Any]:
    file = folder / "settings"
    file.write_text(text, "utf-8")
    return load(AGENTS, str(file), said)[agent]


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(InvalidRequest) as refused:
        loaded(folder, text)
    return str(refused.value).replace(f"{folder}/", "")


def test_an_agents_section_stands_over_all_and_the_command_line_over_both(tmp_path: Path) -> None:
    text = "[telegraf]\nwarning = 60\ninterval = 10\n[all]\nwarning = 50\ninterval = 30\n"
    found = loaded(tmp_path, text, "telegraf", "interval=5")
    assert (found["warning"], found["interval"], found["critical"]) == (60, 5, 90)
    found = loaded(tmp_path, text, "nagios")
    assert (found["warning"], found["interval"]) == (50, 30)


def test_values_have_their_types(tmp_path: Path) -> None:
    text = (
        "[all]\nwarning = 62.5%\nmetrics = table.*, tcp.state\nconntrackd = Yes\n"
        "conntrackd_command = sudo -n '/opt/a b/conntrackd'\n"
        "checks =\n    tcp.state[state=SYN_RECV],1,2\n    # a comment\n    cpu.drop/s,0,1\n"
    )
    found = loaded(tmp_path, text)
    assert found["warning"] == 62.5
    assert found["metrics"] == "table.*,tcp.state"
    assert found["conntrackd"] is True
    assert found["conntrackd_command"] == ("sudo", "-n", "/opt/a b/conntrackd")
    assert found["checks"] == ("tcp.state[state=SYN_RECV],1,2", "cpu.drop/s,0,1")


def test_no_file_gives_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(tmp_path, "") == defaults()
    usual = tmp_path / "usual"
    monkeypatch.setattr(settings, "FILE", str(usual))
    assert load(AGENTS)["nagios"] == defaults()
    usual.write_text("[all]\nwarning = 5\n", "ascii")
    assert load(AGENTS)["nagios"]["warning"] == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("warning = 80\n", "settings, line 1: write [all] above the first key"),
        ("[all]\n\nwarning\n", "settings, line 3: this is neither KEY = VALUE nor [SECTION]"),
        ("[all]\nhost = a\nhost = b\n", "settings, line 3: key host is here a second time"),
        ("[all]\n[all]\n", "settings, line 2: section [all] is here a second time"),
        ("\n[nagois]\n", "settings, line 2: there is no agent 'nagois'; write [all] or one of"),
        ("[all]\nwarnign = 1\n", "settings, line 2, key warnign: there is no setting 'warnign'; "),
        ("[all]\n\nwarning = many\n", "settings, line 3, key warning: 'many' is no percentage"),
        ("[all]\nwarning = 101\n", "settings, line 2, key warning: '101' is no percentage"),
        ("[all]\nwarning = 95\n", "for nagios, warning (95) is above critical (90)"),
        ("[all]\ninterval = 0\n", "settings, line 2, key interval: '0' is no interval"),
        ("[all]\nmetrics = tcp.sate\n", "settings, line 2, key metrics: no metric matches"),
        ("[all]\nchecks = tcp.sate,1,2\n", "settings, line 2, key checks: "),
        ("[all]\nchecks = table.entries,b,c\n", "settings, line 2, key checks: "),
        ("[all]\nconntrackd = perhaps\n", "settings, line 2, key conntrackd: 'perhaps' is neither"),
        ("[all]\nsudo = maybe\n", "settings, line 2, key sudo: 'maybe' is none of needed"),
        ("[all]\nhost = a b\n", "settings, line 2, key host: 'a b' is no name"),
        ("[all]\nplugin_dir = here\n", "settings, line 2, key plugin_dir: 'here' is no absolute"),
        ("[all]\nplugin_dir = /a\n  /b\n", r"settings, line 2, key plugin_dir: '/a\n/b' is no"),
        ("[all]\nbin_dir = /a\tb\n", r"settings, line 2, key bin_dir: '/a\tb' is no absolute"),
        ("[all]\nnetns = ../x\n", "settings, line 2, key netns: '../x' is no network namespace"),
        (
            "[all]\nno_conntrack = fine\n",
            "settings, line 2, key no_conntrack: 'fine' is not a state",
        ),
        ("[all]\nconntrackd_command = 'x\n", "settings, line 2, key conntrackd_command: "),
        # What is broken for another agent is told, too.
        ("[telegraf]\ninterval = x\n", "settings, line 2, key interval: 'x' is no interval"),
    ],
)
def test_what_is_broken_is_named_by_line_and_key(text: str, expected: str, tmp_path: Path) -> None:
    found = refusal(tmp_path, text)
    assert found.startswith(expected)
    assert "\n" not in found


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="can't be read: No such file"):
        load(AGENTS, str(tmp_path / "missing"))
    with pytest.raises(InvalidRequest, match="can't be read: Is a directory"):
        load(AGENTS, str(tmp_path))
    garbled = tmp_path / "garbled"
    garbled.write_bytes(b"[all]\nhost = \xff\n")
    with pytest.raises(InvalidRequest, match="it is no UTF-8"):
        load(AGENTS, str(garbled))


@pytest.mark.parametrize("said", ["warning", "=80", "nosuch=1", "warning=x", "host=a\nb"])
def test_what_the_command_line_can_not_mean(said: str) -> None:
    with pytest.raises(InvalidRequest, match="--set"):
        load(AGENTS, os.devnull, [said])


@given(text=st.text())
def test_any_text_is_read_or_refused_in_a_sentence(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("settings", numbered=True)
    try:
        loaded(folder, f"[all]\n{text}".replace("\r", "").encode("utf-8", "replace").decode())
    except InvalidRequest as refused:
        said = str(refused)
        assert "\n" not in said


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_a_value_is_read_back(setting: Any) -> None:
    value = setting.parse(setting.default)
    parser = configparser.RawConfigParser(delimiters=("=",))
    parser.read_string(f"[all]\n{assignment(setting, value)}\n")
    assert setting.parse(parser["all"][setting.key]) == value


def test_root_is_needed_where_the_table_or_another_namespace_is_read() -> None:
    assert not telegraf(defaults()).sudo
    assert not telegraf({**defaults(), "metrics": "table.usage,cpu.*"}).sudo
    assert telegraf({**defaults(), "metrics": "tcp.state"}).sudo
    assert telegraf({**defaults(), "netns": "blue"}).sudo
    assert telegraf({**defaults(), "netns": "/run/docker/netns/0123456789ab"}).sudo


def test_a_namespace_is_a_name_or_an_absolute_path() -> None:
    for text in ("blue", "all", "pid:7", "/run/docker/netns/0123456789ab"):
        assert BY_KEY["netns"].parse(text) == text
    for text in ("../x", "a/b", "a\nb"):
        with pytest.raises(InvalidRequest):
            BY_KEY["netns"].parse(text)


def test_every_setting_says_what_it_means() -> None:
    assert len(BY_KEY) == len(SETTINGS)
    assert all(setting.meaning.endswith(".") for setting in SETTINGS)

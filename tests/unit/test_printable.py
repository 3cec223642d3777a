"""What comes from outside reaches no terminal and no Nagios with a control character in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import processes
from conntrack_common.errors import InvalidRequest, MalformedData
from conntrack_common.printable import printable
from installation import command, python_path

# A sequence that a terminal obeys, one of a single character (C1), a line's end for str.splitlines
# alone, and one that turns the direction of writing.
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
REPORT = f"""\
cache internal:
current active connections:\t           5
cache ev{EVIL}il:
current active connections:\t           6
UDP traffic device=eth{EVIL}0 status=DOWN{EVIL} role=ACTIVE:
                   1 Bytes sent                    2 Bytes recv
{EVIL} | boo=1
"""
CHECK = ["check_conntrackd", "-v", "--check", "sync.link.up,1:,1:"]


def shown(words: list[str], folder: Path) -> str:
    """What a command shows of a hostile report, file name or daemon, on both of its outputs."""
    state = ["--state-file", str(folder / "state")] * (words[0] == "check_conntrackd")
    done = processes.run([*command(words[0]), *words[1:], *state], env=python_path())
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@given(st.text())
def test_the_text_keeps_its_length_and_what_is_printed(text: str) -> None:
    assert printable(text).isprintable()
    assert [new for old, new in zip(text, printable(text)) if old.isprintable()] == [
        old for old in text if old.isprintable()
    ]
    assert len(printable(text)) == len(text)


@pytest.mark.parametrize("words", [CHECK, ["conntrack-stat", "sync"]], ids=lambda w: w[0])
@pytest.mark.parametrize("way", ["--file", "--command", "--config", "--socket"])
def test_nothing_from_outside_is_obeyed(tmp_path: Path, words: list[str], way: str) -> None:
    report, evil = tmp_path / "report.txt", tmp_path / f"x{EVIL}"
    report.write_text(REPORT, "utf-8")
    program = tmp_path / "conntrackd"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' 'no {EVIL}' >&2\nexit 1\n", "utf-8")
    program.chmod(0o755)
    value = {"--file": report, "--command": program}.get(way, evil)
    text = shown([*words, way, str(value)], tmp_path)
    assert text.strip()
    assert all(line.isprintable() for line in text.split("\n")), text


@pytest.mark.parametrize("words", [f"UNIX {{ Path /nosuch{EVIL}/x }}", f'Syslog "{EVIL}'])
def test_a_configurations_words_are_shown_printable(tmp_path: Path, words: str) -> None:
    config = tmp_path / f"c{EVIL}.conf"
    config.write_text(f"General {{ {words}\n}}\nStats {{\n}}\n", "utf-8")
    text = shown(["conntrack-stat", "doctor", "--config", str(config)], tmp_path)
    assert "nosuch" in text or "Syslog" in text
    assert all(line.isprintable() for line in text.split("\n")), text


def test_json_says_the_same_in_ascii(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    report.write_text(REPORT, "utf-8")
    text = shown(["conntrack-stat", "sync", "--json", "--file", str(report)], tmp_path)
    assert text[:-1].isprintable()
    labels = [sample["labels"].get("link") for sample in json.loads(text)["samples"]]
    assert f"eth{EVIL}0" in labels


@pytest.mark.parametrize("error", [InvalidRequest(EVIL), MalformedData(EVIL, "x\ny", EVIL)])
def test_every_error_is_one_printed_line(error: Exception) -> None:
    assert str(error).isprintable()

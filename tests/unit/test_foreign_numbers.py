"""Numbers in the kernel's files that are none: no number is taken, and no command breaks off."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import processes
from conntrack_common.errors import MalformedData
from conntrack_common.host.system import host
from conntrack_common.proc.files import ProcRoot, parse_stat, parse_sysctl
from installation import command, python_path

SYSTEM = Path(__file__).parent.parent / "data" / "proc" / "ok"
STAT = "net/stat/nf_conntrack"
SETTINGS = sorted(
    str(path.relative_to(SYSTEM)) for path in (SYSTEM / "sys").rglob("*") if path.is_file()
)
LONG = "9" * 5000  # more digits than Python's int takes
NO_NUMBER = ["-1", "+1", "1_0", "0x10", "", "\u0661", "1.5", "nan", "4294967296", LONG]
NO_HEXADECIMAL = [*(text for text in NO_NUMBER if text not in {"", "4294967296"}), "g", "1" * 9]
COMMANDS = [
    ["check_conntrack"],
    ["conntrack-telegraf"],
    ["conntrack-prometheus"],
    ["conntrack-stat", "status"],
]


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A saved system that a test may change."""
    return Path(shutil.copytree(SYSTEM, tmp_path / "proc"))


def with_counter(system: Path, text: str) -> None:
    """Let a counter in the second row be this."""
    heading, first, second = (system / STAT).read_text("ascii").splitlines()
    changed = f"{second.rpartition(' ')[0]} {text}"
    (system / STAT).write_text("\n".join([heading, first, changed, ""]), "utf-8")


@pytest.mark.parametrize("text", NO_NUMBER, ids=lambda text: text[:12] or "empty")
@pytest.mark.parametrize("name", SETTINGS, ids=lambda name: Path(name).name)
def test_a_setting_that_is_no_number(system: Path, name: str, text: str) -> None:
    (system / name).write_text(f"{text}\n", "utf-8")
    with pytest.raises(MalformedData, match="is not a number") as raised:
        ProcRoot(str(system)).sysctls()
    assert name in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("text", NO_HEXADECIMAL, ids=lambda text: text[:12])
def test_a_counter_that_is_no_hexadecimal_number(system: Path, text: str) -> None:
    with_counter(system, text)
    with pytest.raises(MalformedData, match=r"line 3: .* is not hexadecimal") as raised:
        ProcRoot(str(system)).cpu_counters()
    assert len(str(raised.value)) < 400


@given(st.text())
def test_any_text_is_a_number_or_malformed(text: str) -> None:
    for parse in (parse_sysctl, parse_stat):
        try:
            found = parse(text, "file")
        except MalformedData:
            continue
        assert found == int(text.strip())


def test_memory_that_is_no_number_is_unknown(system: Path) -> None:
    for text in ("9" * 5000, "\u00b2", "-1"):
        (system / "meminfo").write_text(f"MemTotal:       {text} kB\n", "utf-8")
        assert host(ProcRoot(str(system))).memory is None


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[-1])
@pytest.mark.parametrize("name", ["sys/net/netfilter/nf_conntrack_count", STAT])
def test_a_number_of_5000_digits_is_one_sentence(system: Path, name: str, words: list[str]) -> None:
    if name == STAT:
        with_counter(system, LONG)
        words = [*words, "--check", "cpu.drop,1,2"] if words == COMMANDS[0] else words
    else:
        (system / name).write_text(f"{LONG}\n", "ascii")
    program, *rest = words
    done = processes.run([*command(program), *rest, "--proc-root", str(system)], env=python_path())
    said = done.stdout if program.startswith("check_") else done.stderr
    assert done.returncode == (3 if program.startswith("check_") else 1), done
    assert "is not " in said
    assert said.count("\n") == 1, done


def test_execd_lives_on(system: Path) -> None:
    count = system / "sys/net/netfilter/nf_conntrack_count"
    words = [*command("conntrack-telegraf"), "--execd", "--proc-root", str(system)]
    with subprocess.Popen(
        [*words, "--metrics", "table.entries"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=processes.environment(python_path()),
        encoding="utf-8",
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for text in ("100", LONG, "7"):
            count.write_text(f"{text}\n", "ascii")
            process.stdin.write("\n")
            process.stdin.flush()
            if text == LONG:
                assert process.stderr.readline().startswith("E! ")
            else:
                answer = process.stdout.readline() + process.stdout.readline()
                assert f"conntrack entries={text}i\nconntrack_source" in answer
        process.stdin.close()
        assert (process.wait(20), process.stdout.read(), process.stderr.read()) == (0, "", "")

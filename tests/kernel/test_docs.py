"""Every command line of README.md and docs/, run for real, and its output compared in shape."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import fill
import processes
from documents import DOCUMENTS, FENCE, Command, commands, configurations, same, spelled
from installation import TREE, Installation, entry_points
from namespaces import Namespace, dropped
from processes import Daemon

pytestmark = [pytest.mark.kernel, pytest.mark.agent("conntrackd", "nagios4", "promtool", "visudo")]
TOGETHER = [path for path in DOCUMENTS if commands(path)]

# The host's files are covered by an overlay, in mounts that `ip netns exec` makes private; what is
# mounted in /run/netns has to be seen through it.
COVER = """
mount -t tmpfs covers "$1"
mkdir "$1/netns"
mount --rbind /run/netns "$1/netns"
for place in etc run var; do
    mkdir "$1/$place" "$1/$place-work"
    mount -t overlay covers -o "lowerdir=/$place,upperdir=$1/$place,workdir=$1/$place-work" /$place
done
mount --rbind "$1/netns" /run/netns
mount -t tmpfs -o mode=1777 fresh /var/tmp
"""
# A host that looks at many ports: what documents show is there to be seen.
SCAN = """
import socket, time
def send(port):
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.bind(("127.0.0.66", 0))
    found.sendto(b"x", ("127.0.0.1", port))
    found.close()
for port in range(2000, 2200):
    send(port)
print("ready", flush=True)
for port in range(3000, 3400):
    send(port)
    time.sleep(0.25)
"""


def run_all(
    stage: Namespace,
    folder: Path,
    installation: Installation,
    lines: list[Command],
    configured: Mapping[str, str],
) -> list[tuple[int, str]]:
    """Run command lines, one after the other, under one cover; return statuses and outputs."""
    (folder / "covers").mkdir()
    (folder / "home").mkdir(mode=0o777)
    (folder / "home").chmod(0o777)
    script = []
    for name, text in configured.items():
        script.append(f"mkdir -p {Path(name).parent}; cat > {name} <<'END'\n{text}END\n")
    script.append(f"cd {folder}/home")
    for number, line in enumerate(lines):
        user = [] if line.root else dropped()
        words = shlex.join([*user, "timeout", "20", "bash", "-c", line.text])
        script.append(
            f"{words} >{folder}/{number}.out 2>&1 </dev/null; echo $? >{folder}/{number}.rc"
        )
    path = f"{installation.plugins}:{installation.bin}:{processes.PATH}"
    whole = f"set -e{COVER}set +e\n" + "\n".join(script)
    done = processes.run(
        stage.argv(["bash", "-c", whole, "bash", folder / "covers"]),
        env={"PATH": path, "COLUMNS": "100"},
        timeout=300,
    )
    assert done.returncode == 0, done
    return [
        (int((folder / f"{n}.rc").read_text()), (folder / f"{n}.out").read_text("utf-8"))
        for n in range(len(lines))
    ]


@pytest.fixture
def stage(folder: Path) -> Iterator[Namespace]:
    """A namespace with 3000 entries, where one host tries port after port."""
    with Namespace() as made:
        with made.entered():
            fill.fill(3000, seed=5)
        with Daemon(made.argv(["/usr/bin/python3", "-c", SCAN]), folder / "scan") as scan:
            scan.until(lambda: "ready" in scan.said(), "the scan")
            yield made


@pytest.mark.parametrize("path", TOGETHER, ids=lambda path: path.name)
def test_outputs_have_the_promised_shape(
    path: Path, stage: Namespace, folder: Path, installation: Installation
) -> None:
    lines = [line for line in commands(path) if not line.excuse]
    found = run_all(stage, folder, installation, lines, configurations(path))
    wrong = []
    for line, (status, text) in zip(lines, found):
        where = f"{path.name}:{line.line}: {line.text}"
        if line.output is None and status:
            wrong.append(f"{where}\nended with {status}: {text}")
        elif line.output is not None and not same(line.output, text.splitlines()):
            wrong.append(f"{where}\nprinted (status {status}):\n{text}")
        assert "Traceback" not in text, where
    assert not wrong, "\n\n".join(wrong)


def test_commands_in_sentences_can_be_meant(
    stage: Namespace, folder: Path, installation: Installation
) -> None:
    """Those that run until they are stopped are stopped; one that is refused is wrong."""
    lines = list(dict.fromkeys(text for path in DOCUMENTS for text in spelled(path)))
    assert len(lines) > 15
    script = [Command(0, f"timeout -s INT 6 {line}", True, None) for line in lines]
    found = run_all(stage, folder, installation, script, {})
    for line, (status, text) in zip(lines, found):
        refused = "shows the options" in text or "is not understood" in text
        assert not refused, (line, text)
        assert status != 2 or line.startswith("check_"), (line, text)
        assert status not in {126, 127}, (line, text)
        assert "Traceback" not in text, (line, text)


def test_every_command_and_subcommand_is_shown() -> None:
    lines = [line.text for path in DOCUMENTS for line in commands(path)]
    shown = "\n".join([*lines, *(text for path in DOCUMENTS for text in spelled(path))])
    for name in entry_points():
        assert name in shown
    for name in ("list", "count", "events", "top", "expect", "sync", "doctor", "render", "metrics"):
        assert f"conntrack-stat {name}" in shown


def anchors(path: Path) -> set[str]:
    text = FENCE.sub("", path.read_text("utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = FENCE.sub("", path.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        assert TREE in there.parents
        assert not anchor or anchor in anchors(there), target

"""Draw README's picture: what conntrack-stat shows of a table that a host floods (make picture).

    python3 tests/picture.py docs/picture.svg

The output is real: of a namespace with 180,000 entries, 40,000 of them made by one host.
"""

from __future__ import annotations

import sys
from pathlib import Path

import fill
from installation import command, python_path
from namespaces import Namespace

FLOOD = """
import socket
for port in range(1, 40001):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.66", 0))
        found.sendto(b"x", ("127.0.0.1", port))
"""
COMMANDS = (
    ("check_conntrack", 1),
    ("conntrack-stat status", 5),
    ("conntrack-stat count --by protocol,state --top 6", 8),
    ("conntrack-stat count --by src,protocol --top 2", 4),
)


def outputs() -> str:
    """What the commands print, on a terminal with colours."""
    env = {**python_path(), "FORCE_COLOR": "1", "COLUMNS": "100"}
    text = ""
    with Namespace() as namespace:
        with namespace.entered():
            fill.fill(140_000, seed=5)
        namespace.must("/usr/bin/python3", "-c", FLOOD)
        for line, lines in COMMANDS:
            program, *words = line.split()
            done = namespace.run([*command(program), *words], env=env)
            shown = done.stdout.splitlines()[:lines]
            text += f"\x1b[1m# {line}\x1b[0m\n" + "\n".join(each[:400] for each in shown) + "\n\n"
    return text


def main(path: str) -> None:
    from rich.console import Console
    from rich.text import Text

    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=100, file=nowhere)
        console.print(Text.from_ansi(outputs().rstrip()))
    svg = console.export_svg(title="conntrack-plugins", unique_id="conntrack-plugins")
    Path(path).write_text(svg, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])

"""Draws the README's picture, `docs/picture.svg`: what a terminal shows of one command.

python docs/draw_picture.py           writes it anew
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from html import escape
from pathlib import Path

PICTURE = Path(__file__).parent / "picture.svg"
COMMAND = "tcalc params gpt3"
COLUMNS = 118

WIDTH, HEIGHT, MARGIN = 8.4, 20, 18  # of a character, of a line, around all of them; at 14 px
# ECMA-48's select graphic rendition: what the tool's tables use of it
STYLES = {"1": "b", "2": "d", "36": "c"}
CSS = """
  .w { fill: #ffffff; stroke: #d0d7de; } text { fill: #1f2328; font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas,
  'DejaVu Sans Mono', monospace; white-space: pre; }
  .b { font-weight: bold; } .d { fill: #6e7781; } .c { fill: #0550ae; }
  @media (prefers-color-scheme: dark) { .w { fill: #0d1117; stroke: #30363d; } text { fill: #e6edf3; }
  .d { fill: #8b949e; } .c { fill: #79c0ff; } }
"""


def shown(command: str = COMMAND) -> str:
    """What a command writes to a terminal of that width, with its colours."""
    words = [sys.executable, "-m", "transformer_calc", *shlex.split(command)[1:]]
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    environment.pop("NO_COLOR", None)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, stdout=theirs, stderr=subprocess.DEVNULL, stdin=theirs, env=environment)
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux: nobody writes any longer
            break
        if not part:
            break
        written += part
    os.close(ours)
    assert process.wait() == 0
    return written.decode("utf-8").replace("\r\n", "\n")


def draw(text: str, command: str = COMMAND) -> str:
    """The text as a picture, each run of one style placed by the column that it begins at."""
    lines = [f"\033[2m$ {command}\033[0m", *text.rstrip("\n").split("\n")]
    columns = max(len(re.sub(r"\033\[[0-9;]*m", "", line)) for line in lines)
    width, height = round(columns * WIDTH) + 2 * MARGIN, len(lines) * HEIGHT + 2 * MARGIN
    rows = [row for number, line in enumerate(lines) for row in _line(line, MARGIN + HEIGHT * number + 14)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img">\n<title>{escape(command)}</title>\n<style>{CSS}</style>\n'
        f'<rect class="w" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


def _line(line: str, y: int) -> list[str]:
    made, column, style = [], 0, ""
    for part in re.split(r"(\033\[[0-9;]*m)", line):
        if part.startswith("\033"):
            style = " ".join(filter(None, map(STYLES.get, part[2:-1].split(";"))))
            continue
        for word in re.finditer(r"\S+(?: \S+)*", part):
            x, length = MARGIN + (column + word.start()) * WIDTH, len(word[0]) * WIDTH
            name = f' class="{style}"' if style else ""
            made.append(f'<text x="{x:.1f}" y="{y}" textLength="{length:.1f}"{name}>{escape(word[0])}</text>')
        column += len(part)
    return made


if __name__ == "__main__":
    PICTURE.write_text(draw(shown()), encoding="utf-8")

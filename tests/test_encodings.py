"""Whatever a terminal's encoding lacks has another form: no output, help or message dies of a character."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import transformer_calc
from transformer_calc import cli
from transformer_calc.output import signs
from transformer_calc.sources import presets

PACKAGE = Path(transformer_calc.__file__).parent
ENCODINGS = """
    ascii latin-1 iso8859-2 iso8859-15 cp1250 cp1251 cp1252 cp1253 cp437 cp850 cp852 cp866 koi8-r mac-roman
    cp932 shift_jis gbk big5 euc-kr cp949 iso2022_jp cp037 utf-16 utf-8
""".split()

# Every command, with each kind of section that it draws: tables with bars, facts, matrices, plots, formulas.
LINES = (
    "--help",
    *(f"{name} --help" for name in sorted(cli.command().commands)),
    "presets show gpt3",
    "hardware show h100-sxm",
    "shapes lesson",
    "params gpt3 --by layer",
    "params llama-3-8b --format md",
    "flops gpt2 --compare",
    "memory llama-3-8b --device h100-sxm --mode train --format md",
    "fit llama-3-8b --device h100-sxm",
    "cost gpt3 --mfu 0.3 --lr 6e-5 --lr-schedule cosine --tokens 300B --batch 1536",
    "cost gpt3 --mfu 0.3 --format md",
    "serve llama-3-8b --device h100-sxm",
    "compare gpt2 llama-3-8b",
    "verify lesson",
    "walk exercise",
    "walk --format md",
    "params gpt3 --format csv",
    "params gpt3 --json",
    "params gpt3x",
    "params '(Ωλ²¹⁴ₙ√不\udcff)'",
)


def characters() -> set[str]:
    """Every character beyond ASCII that stands in the package or its presets, and so may be drawn."""
    files = [*PACKAGE.rglob("*.py"), *presets.MODELS.folder().parent.rglob("*.toml")]
    return {c for file in files for c in file.read_text(encoding="utf-8") if not c.isascii()}


def spoken(monkeypatch: pytest.MonkeyPatch, encoding: str, line: str) -> tuple[int, str, str]:
    """What a command line writes to streams of an encoding, strict as those of Python are."""
    raw = [io.BytesIO(), io.BytesIO()]
    streams = [io.TextIOWrapper(buffer, encoding=encoding, errors="strict", newline="") for buffer in raw]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        status = cli.run(shlex.split(line))
    return status, raw[0].getvalue().decode(encoding), raw[1].getvalue().decode(encoding)


def test_every_character_that_is_drawn_has_a_form_in_ascii() -> None:
    for character in sorted(characters()):
        plain = signs.plain(character)
        assert plain, character
        assert plain.isascii(), character
        assert "?" not in plain, character


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_command_speaks_every_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    for line in LINES:
        status, out, err = spoken(monkeypatch, encoding, line)
        refused = line.startswith(("params gpt3x", "params '"))
        assert status == (2 if refused else 0), (line, err)
        if "(Ω" not in line:
            assert "?" not in re.sub(r"did you mean [\w.-]+(?: or [\w.-]+)?\?", "", out + err), line
        if line.endswith("--json"):
            assert json.loads(out)["params"]["total"] == 174_604_259_328
            assert out.isascii() or encoding == "utf-8"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_columns_stay_aligned(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = spoken(monkeypatch, encoding, "params gpt3 --by layer")[1]
    rows = [line for line in out.splitlines() if re.search(r"%$", line)]
    assert len(rows) > 3
    assert len({len(line) for line in rows}) == 1


def test_a_power_is_written_in_one_way() -> None:
    assert signs.written("10¹⁴ of D²", "latin-1") == "10^14 of D²"  # which has ¹ and ², but no ⁴
    assert signs.written("24·L·D²", "cp437") == "24·L·D²"
    assert signs.written("A × B ≤ C", "cp437") == "A x B ≤ C"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437", "utf-16"])
@pytest.mark.parametrize("line", ["cost --help", "params '√²·不'", "walk exercise"])
def test_as_a_process(encoding: str, line: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "transformer_calc", *shlex.split(line)]
    run = subprocess.run(command, capture_output=True, env=environment)
    assert run.returncode == (2 if "√" in line else 0)
    shown = (run.stdout + run.stderr).decode(encoding)
    assert "Traceback" not in shown
    assert ("not a preset" if "√" in line else "") in shown


def test_streams_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    assert cli.run(["--version"]) == 0
    assert stream.errors == "strict"

"""The README's transcripts are what the commands print. `python tests/test_readme.py` writes them anew."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import predictions
import pytest

from transformer_calc.sources import families

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"^```console\n\$ (tcalc [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FAMILIES = re.compile(r"(<!-- families -->\n)((?:\n|`[^\n]*\n)*)")


PREDICTIONS = re.compile(r"(<!-- predictions -->\n)((?:\n|\|[^\n]*\n)*)")


def transcript(command: str, statuses: tuple[int, ...] = (0,)) -> str:
    """What a command prints on a wide page, without the notes on standard error."""
    environment = {**os.environ, "COLUMNS": "118", "PYTHONIOENCODING": "utf-8"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, encoding="utf-8", env=environment)
    assert run.returncode in statuses, run.stderr
    return run.stdout


def known_families() -> str:
    names = ", ".join(f"`{name}`" for name in families.known())
    lines, line = [], ""
    for word in names.split(" "):
        if len(line) + len(word) > 118:
            lines.append(line.rstrip())
            line = ""
        line += f"{word} "
    return "\n".join([*lines, line.rstrip()])


@pytest.mark.parametrize(("command", "shown"), BLOCK.findall(README.read_text(encoding="utf-8")))
def test_transcript_is_what_the_command_prints(command: str, shown: str) -> None:
    assert transcript(command) == shown


def test_families_are_listed() -> None:
    found = FAMILIES.search(README.read_text(encoding="utf-8"))
    assert found
    assert found[2].strip() == known_families()


# What shows every key that the README lists.
ANSWERS = {
    "shapes": ["lesson"],
    "params": ["gpt2"],
    "flops": ["gpt2 --compare"],
    "memory": ["gpt2 --formula"],
    "fit": ["gpt2 --device h100", "gpt2 --device h100 --batch 2 --context 9"],
    "cost": ["gpt3 --serve-tokens 1M --mfu 0.3", "gpt3"],
    "serve": ["gpt2 --device h100 --output 2", "gpt3 --device h100"],
    "compare": ["gpt2 gpt3 --device h100"],
    "verify": ["lesson"],
    "walk": ["exercise"],
    "presets": ["gpt2", "show gpt2"],
    "hardware": ["h100", "show h100"],
}
KEYS = re.compile(r"^\| `([a-z]+)`(?:, `([a-z]+)`)? \| (.*) \|$", re.MULTILINE)
ONLY_WITH_A_REFERENCE = {"max_abs_diff", "max_rel_diff"}


def keys_in(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_in, value.values()))
    return set[str]().union(*map(keys_in, value)) if isinstance(value, list) else set()


def test_keys_of_json_are_listed() -> None:
    text = README.read_text(encoding="utf-8").partition("\n## Scripts\n")[2].partition("\n## ")[0]
    listed = KEYS.findall(text)
    assert {name for first, second, _ in listed for name in (first, second) if name} == set(ANSWERS)
    for first, second, said in listed:
        commands = [f"{name} {rest}" for name in (first, second) if name for rest in ANSWERS[name]]
        answers = [json.loads(transcript(f"tcalc {command} --json", (0, 1))) for command in commands]
        codes = (re.sub("--[a-z]+", "", code) for code in re.findall("`([^`]*)`", said))
        named = {key for code in codes for key in re.findall("[a-z_0-9]+", code)} - {"show"}
        assert named - ONLY_WITH_A_REFERENCE <= keys_in(answers), first
        top = {key for answer in answers for key in answer} - {"schema", "command", "model", "workload"}
        assert top <= named, first


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    text = BLOCK.sub(lambda m: f"```console\n$ {m[1]}\n{transcript(m[1])}```", text)
    text = FAMILIES.sub(lambda m: f"{m[1]}\n{known_families()}\n\n", text)
    text = PREDICTIONS.sub(lambda m: f"{m[1]}\n{predictions.table()}\n\n", text)
    README.write_text(text, encoding="utf-8")

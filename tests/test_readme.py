"""What README and docs show is what the commands print. `python tests/test_readme.py` writes it anew.

`python tests/test_readme.py PAGE…` does so for these pages alone.
"""

from __future__ import annotations

import doctest
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import predictions
import pytest

from transformer_calc.cli import command, run

ROOT = Path(__file__).parent.parent
README, DOCS = ROOT / "README.md", ROOT / "docs"
PREDICTED = DOCS / "explain" / "predictions.md"
# What is written by hand; the other pages of the reference are made from the code.
PAGES = [README, *sorted(page for page in DOCS.rglob("*.md") if "generated" not in page.parts)]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
BLOCK = re.compile(r"^```console\n\$ (tcalc [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^<!-- file (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SESSION = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"[|&;<>$`*]")  # what the shell does
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PREDICTIONS = re.compile(r"(<!-- predictions -->\n)((?:\n|\|[^\n]*\n)*)")


def files(text: str, folder: Path) -> Path:
    """A folder with the files that a page shows, under the names that it gives them."""
    for name, content in FILE.findall(text):
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def transcript(line: str, folder: Path = ROOT, statuses: tuple[int, ...] = (0,)) -> str:
    """What a command line prints on a wide page, without the notes on standard error."""
    environment = {**os.environ, "COLUMNS": "118", "PYTHONIOENCODING": "utf-8"}
    if SHELL.search(line):
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        shell = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, encoding="utf-8", env=environment, cwd=folder
        )
        status, out, err = shell.returncode, shell.stdout, shell.stderr
    else:  # in this process: starting another one takes longer than most answers
        printed, said = io.StringIO(), io.StringIO()
        with chdir(folder), redirect_stdout(printed), redirect_stderr(said), mock.patch.dict(os.environ, environment):
            status = run(shlex.split(line)[1:])
        out, err = printed.getvalue(), said.getvalue()
    assert status in statuses, err
    return out


@pytest.mark.parametrize(
    ("page", "command", "shown"), [(page, *block) for page, text in TEXTS.items() for block in BLOCK.findall(text)]
)
def test_transcript_is_what_the_command_prints(page: str, command: str, shown: str, tmp_path: Path) -> None:
    assert transcript(command, files(TEXTS[page], tmp_path)) == shown


def test_every_command_is_shown() -> None:
    shown = {command.split()[1] for text in TEXTS.values() for command, _ in BLOCK.findall(text)}
    assert set(command().commands) - {"presets"} <= shown


@pytest.mark.parametrize(
    ("page", "session"), [(page, session) for page, text in TEXTS.items() for session in SESSION.findall(text)]
)
def test_python_session_prints_what_is_shown(page: str, session: str) -> None:
    test = doctest.DocTestParser().get_doctest(session, {}, page, page, 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    """But for those into the pages that are made from the code: Sphinx finds these."""
    links = [link for link in LINK.findall(TEXTS[page]) if "generated/" not in link]
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert not missing


def test_readme_is_read_at_one_sitting() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


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
    listed = KEYS.findall(TEXTS["docs/reference/json.md"])
    assert {name for first, second, _ in listed for name in (first, second) if name} == set(ANSWERS)
    assert set(ANSWERS) == set(command().commands)
    for first, second, said in listed:
        lines = [f"{name} {rest}" for name in (first, second) if name for rest in ANSWERS[name]]
        answers = [json.loads(transcript(f"tcalc {line} --json", statuses=(0, 1))) for line in lines]
        codes = (re.sub("--[a-z]+", "", code) for code in re.findall("`([^`]*)`", said))
        named = {key for code in codes for key in re.findall("[a-z_0-9]+", code)} - {"show"}
        assert named - ONLY_WITH_A_REFERENCE <= keys_in(answers), first
        top = {key for answer in answers for key in answer} - {"schema", "command", "model", "workload"}
        assert top <= named, first


if __name__ == "__main__":
    for page in [Path(name) for name in sys.argv[1:]] or PAGES:
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            place = files(text, Path(folder))
            text = BLOCK.sub(lambda m, place=place: f"```console\n$ {m[1]}\n{transcript(m[1], place)}```", text)  # type: ignore[misc]
        text = PREDICTIONS.sub(lambda m: f"{m[1]}\n{predictions.table()}\n\n", text)
        page.write_text(text, encoding="utf-8")

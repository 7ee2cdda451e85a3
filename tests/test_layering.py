"""The order of the package's stages: who imports whom, and which words belong to which stage.

Who may import whom stands in pyproject.toml, as contracts that `lint-imports` holds the package to.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transformer_calc
from transformer_calc.sources import families

PACKAGE = Path(transformer_calc.__file__).parent
PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
CONTRACTS: list[dict[str, Any]] = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"][
    "contracts"
]


@pytest.mark.filterwarnings("ignore")
def test_every_import_keeps_to_the_contracts(capsys: pytest.CaptureFixture[str]) -> None:
    linter = pytest.importorskip("importlinter.cli")
    status = linter.lint_imports(str(PYPROJECT), no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def test_every_stage_says_who_imports_it() -> None:
    """But the first ones, which any may, and the last, which none does."""
    stages = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    protected = {name for contract in CONTRACTS for name in contract.get("protected_modules", [])}
    assert {f"transformer_calc.{stage}" for stage in stages - {"__init__", "__main__", "errors", "tuples"}} <= protected


# --- words ----------------------------------------------------------------------------------------------------------

ROOMS = ("readings", "spec", "graph", "ops")
# What is still said in the wrong place: these numbers only become smaller.
FLAGS: dict[str, int] = {}
MODEL_TYPES: dict[str, int] = {"readings/run/weights.py": 7}


def modules(rooms: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(file, text) of every module of some rooms."""
    for room in rooms:
        for path in sorted((PACKAGE / room).rglob("*.py")):
            yield path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")


def words_in(text: str) -> Iterator[str]:
    """The words of a module's strings, but for those that document it."""
    tree = ast.parse(text)
    documented = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docs = {id(first.value) for node in documented for first in node.body[:1] if isinstance(first, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield from re.findall(r"[\w-]+", node.value)


def test_what_counts_speaks_of_fields_and_not_of_flags() -> None:
    found: Counter[str] = Counter()
    for file, text in modules(ROOMS):
        found[file.partition("/")[0]] += len(re.findall(r"--[a-z]", text))
    assert {room: n for room, n in found.items() if n > FLAGS.get(room, 0)} == {}


def test_what_counts_knows_no_model_types() -> None:
    """Facts of how a class computes are fields of the spec (`clip` is a word of other things too)."""
    known = {*families.known(), *families.WRAPPERS, *families.FORMER} - {"clip"}
    found = {file: sum(word in known for word in words_in(text)) for file, text in modules(ROOMS)}
    assert {file: n for file, n in found.items() if n > MODEL_TYPES.get(file, 0)} == {}

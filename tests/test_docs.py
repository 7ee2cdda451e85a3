"""The pages that are made from the code have all that the code has, drawings are current, and Sphinx is content."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import draw_house
import draw_picture
import pages_from_code
import pytest

from transformer_calc import load, storage
from transformer_calc.cli import command
from transformer_calc.sources import families, hardware, presets

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return pages_from_code.pages()


def options(of: Any) -> set[str]:
    return {name for param in of.params if not getattr(param, "hidden", False) for name in param.opts}


@pytest.mark.parametrize("name", sorted(command().commands))
def test_a_page_of_a_command_has_every_option(name: str, pages: dict[str, str]) -> None:
    made = command().commands[name]
    several = [made, *getattr(made, "commands", {}).values()]
    named = {option for one in several for option in options(one) if option.startswith("-")}
    assert named
    assert not [option for option in named if f"`{option}`" not in pages[f"commands/{name}"]]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("families", families.known()),
        ("presets", presets.names()),
        ("storage", [*storage.STORAGE, *storage.PRECISIONS, *storage.OPTIMIZERS]),
    ],
    ids=["families", "presets", "storage"],
)
def test_a_page_lists_every_name(page: str, names: list[str], pages: dict[str, str]) -> None:
    assert not [name for name in names if f"`{name}`" not in pages[page]]


def test_every_device_has_a_section_with_its_source(pages: dict[str, str]) -> None:
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", pages["devices"], re.MULTILINE | re.DOTALL))
    assert set(sections) == set(hardware.names())
    assert all("| source |" in text for text in sections.values())


def test_a_field_has_its_type_default_and_comment(pages: dict[str, str]) -> None:
    assert (
        "| `window` | a whole number, at least 1, or none |  | "
        "a query sees this many latest keys; where not causal, half of it to either side |"
    ) in pages["fields"]
    assert "| `place` | `pre`, `post`, `output`, `sandwich`, `none` | `pre` |" in pages["fields"]


def test_a_field_of_a_plan_has_its_help_and_where_its_names_are(pages: dict[str, str]) -> None:
    assert "| `dp` | a whole number, at least 1 | `1` | copies of the model, which share the batch |" in pages["plans"]
    assert "| `optimizer` | [a name](storage.md#optimizers) | `adamw` |" in pages["plans"]


@pytest.mark.parametrize(
    ("docstring", "about", "said"),
    [
        ("One thing.", "One thing.", {}),
        ("Two.\n\na, b: both; c (in s): the last", "Two.", {"a": "both", "b": "both", "c": "in s; the last"}),
        ("Lines.\n\na:  one\n    and more\nb, c:  others\nRaises.", "Lines.\n\nRaises.", {"a": "one and more"}),
    ],
    ids=["plain", "sentence", "lines"],
)
def test_what_a_docstring_says_of_names_is_found(docstring: str, about: str, said: dict[str, str]) -> None:
    found = pages_from_code.described(docstring, ["a", "b", "c"])
    assert found[0] == about
    assert said.items() <= found[1].items()


def test_the_library_has_every_public_method(pages: dict[str, str]) -> None:
    from transformer_calc import Transformer

    methods = [name for name, one in vars(Transformer).items() if callable(one) and not name.startswith("_")]
    assert methods
    assert not [name for name in methods if f":{{py:method}} {name}(" not in pages["python"]]


EXAMPLES = [
    path.relative_to(DOCS.parent).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for path in sorted((DOCS.parent / "transformer_calc").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_in_a_docstring_prints_what_is_shown(name: str) -> None:
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(import_module(name), extraglobs={"load": load}):
        runner.run(test)
    assert runner.summarize().failed == 0


def test_the_house_is_as_the_code_is() -> None:
    """`python docs/draw_house.py` draws it anew."""
    assert draw_house.PICTURE.read_text(encoding="utf-8") == draw_house.drawing()


def test_the_picture_is_what_a_terminal_shows() -> None:
    """`python docs/draw_picture.py` draws it anew."""
    assert draw_picture.PICTURE.read_text(encoding="utf-8") == draw_picture.draw(draw_picture.shown())


def test_pages_build_without_a_warning(tmp_path: Path) -> None:
    """As `sphinx-build -W docs build/docs` does."""
    pytest.importorskip("sphinx", reason="the group docs is not installed")
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(tmp_path / "html")]
    run = subprocess.run(words, capture_output=True, text=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "html" / "reference" / "generated" / "commands" / "params.html").exists()

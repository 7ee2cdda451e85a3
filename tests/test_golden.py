"""Golden data: every file is described, has a script that makes it again, and is of the versions that are pinned."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tomllib
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TESTS = Path(__file__).parent
GOLDEN, ORACLE = TESTS / "golden", TESTS / "oracle"
README = (GOLDEN / "README.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([\w.]+)`.* \| ([^|]*) \|$", README, re.MULTILINE))
PINS = dict(
    pin.split("==")
    for pin in tomllib.loads((TESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"][
        "oracle"
    ]
    if isinstance(pin, str)
)


def test_every_file_is_described() -> None:
    assert set(ROWS) == {path.name for path in GOLDEN.glob("*.json")}
    assert {path.stem for path in (GOLDEN / "numerics").iterdir()} == set(read("numerics.json")["models"])


def test_every_file_has_a_script_and_every_script_makes_one() -> None:
    scripts = {match[1] for row in ROWS.values() if (match := re.fullmatch(r"`([\w.]+)`", row))}
    assert {name for name, row in ROWS.items() if not row.startswith("`")} == {
        "training_runs.json",
        "inference_runs.json",
    }
    others = {"other_families.py"}  # which writes a module of the package
    assert scripts == {path.name for path in ORACLE.glob("*.py")} - others
    for name, row in ROWS.items():
        if row.startswith("`"):
            stem = name.removesuffix(".json")
            assert stem in (ORACLE / row.strip("`")).read_text(encoding="utf-8"), name


@pytest.mark.parametrize("name", ROWS)
def test_versions_are_those_that_are_pinned(name: str) -> None:
    data = read(name)
    found = (data.get("versions") or data) if isinstance(data, dict) else {}
    for program in ("torch", "transformers"):
        if isinstance(version := found.get(program), str):
            assert version.partition("+")[0] == PINS[program]


def read(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


# --- measured again ---------------------------------------------------------------------------------------------------


def oracle(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script of tests/oracle as a module, where the programs that it needs are installed in the pinned versions."""
    for program in ("torch", "transformers"):
        version = pytest.importorskip(program).__version__.partition("+")[0]
        if version != PINS[program]:
            pytest.skip(f"{program} {version}, not {PINS[program]}")
    monkeypatch.syspath_prepend(str(ORACLE))
    spec = importlib.util.spec_from_file_location(name, ORACLE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.xdist_group("oracle")  # one process loads them
@pytest.mark.filterwarnings("ignore")
def test_reference_models_are_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    script, models = oracle("reference", monkeypatch), read("reference.json")
    for name in ("gpt2", "t5-small", "vit-base-patch16-224"):
        assert script.measured(models[name]) == models[name], name


@pytest.mark.oracle
@pytest.mark.xdist_group("oracle")  # one process loads them
@pytest.mark.filterwarnings("ignore")
def test_points_of_activations_are_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    script, data = oracle("activations", monkeypatch), read("activations.json")
    for row in data["points"][::80]:
        point = dict(zip(data["fields"], row, strict=True))
        assert script.measure(point) == (point["saved_bytes"], point["live_bytes"]), point

"""What a user gets: the wheel, installed elsewhere, with its presets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(target.glob("*.whl"))


def test_the_wheel_carries_every_preset_and_the_types_marker(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    presets = {f"transformer_calc/presets/{p.parent.name}/{p.name}" for p in (ROOT / "presets").glob("*/*.toml")}
    assert presets <= names
    assert {name.split("/")[2] for name in presets} == {"models", "hardware"}
    assert "transformer_calc/py.typed" in names
    for folder in ("models", "hardware"):  # parsed before: nothing is to be made where it is installed
        index = zipfile.ZipFile(wheel).read(f"transformer_calc/presets/{folder}/index.jsonl").decode()
        files = [json.loads(line)[0] for line in index.splitlines()[1:]]
        assert files == sorted(path.name for path in (ROOT / "presets" / folder).glob("*.toml"))
    assert not [name for name in names if name.startswith("tests/")]


def test_the_installed_wheel_answers_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    run = subprocess.run(
        [sys.executable, "-m", "transformer_calc", "params", "--preset", "gpt3", "--json"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert json.loads(run.stdout)["params"]["total"] == 174_604_259_328
    run = subprocess.run(
        [sys.executable, "-m", "transformer_calc", "hardware", "show", "h100", "--json"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert json.loads(run.stdout)["device"]["name"] == "h100-sxm"
    where = subprocess.run(
        [sys.executable, "-c", "import transformer_calc; print(transformer_calc.__file__)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert where.stdout.startswith(str(site))

"""Presets: models as small TOML files, each with the source of its figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from transformer_calc.errors import InputError, did_you_mean
from transformer_calc.sources import files
from transformer_calc.spec import Model

NULL = "null"  # TOML has none, and in a config.json it can mean something else than a missing key
TABLES = ("model", "config", "training", "workload", "expected")


class Source(NamedTuple):
    """A preset as loaded: the model, notes for the user, and its usual workload."""

    model: Model
    notes: list[str]
    workload: dict[str, int]


def folder(kind: str = "models") -> Path:
    """Where presets are: beside this package's modules in an installation, beside the package in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "presets" / kind
    return inside if inside.is_dir() else package.parent / "presets" / kind


def names() -> list[str]:
    """Every preset's name."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def aliases() -> Iterator[tuple[str, str]]:
    """(other name, preset), read without parsing the files."""
    for path in folder().glob("*.toml"):
        line = re.search(r"^aliases\s*=\s*\[(.*)\]", path.read_text(encoding="utf-8"), re.MULTILINE)
        if line:
            for alias in re.findall(r'"([^"]+)"', line[1]):
                yield alias, path.stem


def find(name: str) -> Path:
    """The file of a preset, by its name or another name of it, in upper or lower case."""
    wanted = name.strip().lower()
    path = folder() / f"{wanted}.toml"
    if re.fullmatch(r"[\w.+-]+", wanted) and path.is_file():
        return path
    others = dict(aliases())
    if wanted in others:
        return folder() / f"{others[wanted]}.toml"
    shown = name if len(name) <= 60 else name[:59] + "…"
    hint = did_you_mean(name, [*names(), *others]) or "tcalc presets lists them"
    raise InputError(f"{shown!r} is not a preset", hint=hint)


def read(path: Path) -> dict[str, Any]:
    """A preset's file as a dictionary."""
    import tomllib

    return files.read(path, "TOML", tomllib.loads)


def load(path: Path, *, fields: Mapping[str, Any], ignore: tuple[str, ...] = ()) -> Source:
    """The model that a preset's file describes; `fields` override its hyperparameters."""
    data = read(path)
    where = f"{path.name}: "
    for key, value in data.items():
        if (key in TABLES) != isinstance(value, dict):
            expected = "a table" if key in TABLES else "not a table"
            raise InputError(f"{where}{key} must be {expected}", hint=did_you_mean(key, TABLES))
    if ("model" in data) == ("config" in data):
        raise InputError(f"{where}there must be one table that describes the model: [model] or [config]")
    name = str(data.get("name", path.stem))
    if "config" in data:
        from dataclasses import replace

        from transformer_calc.sources import huggingface

        config = {key: None if value == NULL else value for key, value in data["config"].items()}
        model, notes = huggingface.load(config, fields=fields, ignore=ignore, where=where)
        model = replace(model, name=name)
    else:
        from transformer_calc.sources import hyperparameters

        family = str(data.get("family", "custom"))
        model, notes = hyperparameters.load({**data["model"], **fields}, name=name, family=family, where=where)
    return Source(model, notes, dict(data.get("workload", {})))

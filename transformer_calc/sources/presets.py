"""Presets: models as small TOML files, each with the source of its figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from transformer_calc.errors import InputError, did_you_mean, nearest, shown
from transformer_calc.sources import files
from transformer_calc.spec import Model

NULL = "null"  # TOML has none, and in a config.json it can mean something else than a missing key
WORKLOAD = ("batch", "seq", "target_seq")
TABLES = ("model", "config", "training", "workload", "expected", "values")


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
    if path := _file(name):
        return path
    raise InputError(f"{shown(name, 60)} is not a preset", hint=suggestion(name) or "tcalc presets lists them")


def exists(name: str) -> bool:
    """Whether a preset has this name."""
    return _file(name) is not None


def _file(name: str) -> Path | None:
    wanted = name.strip().lower()
    path = folder() / f"{wanted}.toml"
    if re.fullmatch(r"[\w.+-]{1,100}", wanted) and path.is_file():
        return path
    others = dict(aliases())
    return folder() / f"{others[wanted]}.toml" if wanted in others else None


def suggestion(name: str) -> str | None:
    """A hint at the preset that a wrong name may stand for, or at how to list those whose names begin with it."""
    others = dict(aliases())
    wanted = name.strip().lower()
    if path := _file(wanted):
        return f"did you mean {path.stem}?"
    begin = {others.get(known, known) for known in [*names(), *others] if known.startswith(wanted)} if wanted else set()
    if len(begin) > 1:
        return f"tcalc presets {wanted} lists those whose names begin so"
    near = min(begin) if begin else nearest(wanted, [*names(), *others])
    return f"did you mean {others.get(near, near)}?" if near else None


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
            if key in TABLES:
                raise InputError(f"{where}{key} is {_short(value)}; it must be a table: [{key}]")
            raise InputError(f"{where}[{key}] is not a table of a preset", hint=did_you_mean(key, TABLES))
    if ("model" in data) == ("config" in data):
        raise InputError(f"{where}there must be one table that describes the model: [model] or [config]")
    workload = data.get("workload", {})
    for key, value in workload.items():
        if key not in WORKLOAD:
            raise InputError(f"{where}[workload] {key} is not one of {', '.join(WORKLOAD)}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{where}[workload] {key} is {_short(value)}; it must be a whole number of at least 1")
    name = data.get("name", path.stem)
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}name is {_short(name)}; it must be a text")
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
    return Source(model, notes, dict(workload))


def _short(value: Any) -> str:
    return shown(value) if isinstance(value, str) else str(value)[:60]

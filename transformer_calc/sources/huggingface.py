"""Hugging Face `config.json` files: found, read safely, and turned into a spec by their family's entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from transformer_calc.errors import InputError, did_you_mean
from transformer_calc.sources import families, files
from transformer_calc.sources.families.base import FLAGS, Config, Family
from transformer_calc.spec import Model


def read(path: Path) -> dict[str, Any]:
    """The object in a config.json, or in the folder that holds one."""
    import json

    if path.is_dir():
        path = path / "config.json"
        if not path.exists():
            raise InputError(f"{path.parent} is a folder without a config.json")
    data = files.read(path, "JSON", json.loads)
    inner = data.get("config")
    if "model_type" not in data and isinstance(inner, dict) and "model_type" in inner:
        return inner  # a record about a model that holds its config
    return data


def family(data: Mapping[str, Any], where: str = "") -> Family:
    """The entry for a config's model_type."""
    model_type = data.get("model_type")
    if model_type is None:
        raise InputError(f"{where}model_type is missing; it names the family", hint='for example "model_type": "llama"')
    if not isinstance(model_type, str):
        raise InputError(f"{where}model_type is {model_type!r}; it must be a string")
    module = families.module_of(model_type)
    if module is None:
        shown = model_type if len(model_type) <= 60 else model_type[:59] + "…"
        hint = did_you_mean(model_type, families.known()) or f"known: {', '.join(families.known())}"
        raise InputError(f"{where}model_type {shown!r} is not a family that tcalc knows", hint=hint)
    entries: list[Family] = import_module(f"transformer_calc.sources.families.{module}").FAMILIES
    return next(entry for entry in entries if entry.model_type == model_type)


def load(
    data: Mapping[str, Any], *, fields: Mapping[str, Any], ignore: Iterable[str] = (), where: str = ""
) -> tuple[Model, list[str]]:
    """The spec of a config, and notes on what was passed over. `fields`: our names, which override its keys."""
    entry = family(data, where)
    changed = dict(data)
    flags = FLAGS | dict(entry.flags)
    keys = {field: [entry.aliases.get(key, key) for key in names.split()] for field, names in flags.items()}
    for field, value in fields.items():
        for key in keys.get(field, [field]):
            for alias, name in entry.aliases.items():
                if name == key:
                    changed.pop(alias, None)
            changed[key] = value
        if field == "layers":
            for key in ("layer_types", "attention_types"):  # lists of the old length
                changed.pop(key, None)
    config = Config(changed, entry, where)
    model = entry.build(config)
    for field in fields:
        if field not in keys or not config.read.issuperset(keys[field]):
            can = ", ".join(name for name, those in keys.items() if config.read.issuperset(those))
            raise InputError(f"{field} cannot be set on a {entry.model_type} model", hint=f"what can: {can}")
    structural, others = config.unread(ignore)
    if structural:
        key = structural[0]
        raise InputError(
            f"{where}{key} ({config.shown(key)}) is not understood for {entry.model_type} and may change its numbers",
            hint=f"if it does not, pass --ignore-key {key}",
        )
    notes = [f"passed over {', '.join(others)}: not known for {entry.model_type}"] if others else []
    if not config.architecture:
        notes.append(f"no architectures in the config: taken as {entry.model_type} with its usual head")
    return model, notes

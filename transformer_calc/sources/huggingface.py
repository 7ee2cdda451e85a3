"""Hugging Face `config.json` files: found, read safely, and turned into a spec by their family's entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from transformer_calc.errors import InputError, did_you_mean
from transformer_calc.sources import families
from transformer_calc.sources.families.base import FLAGS, Config, Family
from transformer_calc.spec import Model

LARGEST_FILE = 4 * 2**20  # bytes; real config.json files are a few kilobytes


def read(path: Path) -> dict[str, Any]:
    """The object in a config.json, or in the folder that holds one."""
    import json

    try:
        if path.is_dir():
            path = path / "config.json"
            if not path.is_file():
                raise InputError(f"{path.parent} is a folder without a config.json")
        if not path.exists():
            raise InputError(f"there is no file {path}")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise InputError(f"{path} has {size:,} bytes; a config.json has at most {LARGEST_FILE:,}")
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        what = "is empty" if error.doc.strip() == "" else f"is not JSON: {error.msg} at line {error.lineno}"
        raise InputError(f"{path} {what}") from None
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be a config.json") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; a config.json is JSON in UTF-8") from None
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} holds a {type(data).__name__}; a config.json holds an object")
    return data


def family(data: Mapping[str, Any], where: str = "") -> Family:
    """The entry for a config's model_type."""
    model_type = data.get("model_type")
    if model_type is None:
        raise InputError(f"{where}model_type is missing; it names the family", hint="for example \"model_type\": \"llama\"")
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
    keys = FLAGS | dict(entry.flags)
    for field, value in fields.items():
        if field not in keys:
            raise InputError(f"{field} cannot be set on a {entry.model_type} model", hint=f"it has: {', '.join(keys)}")
        key = keys[field]
        for alias, name in entry.aliases.items():
            if name == key:
                changed.pop(alias, None)
        changed[key] = value
        if field == "layers":
            changed.pop("layer_types", None)
    config = Config(changed, entry, where)
    model = entry.build(config)
    structural, others = config.unread(ignore)
    if structural:
        key = structural[0]
        raise InputError(
            f"{where}{key} ({config.given[key]!r:.60}) is not understood for {entry.model_type} and may change its numbers",
            hint=f"if it does not, pass --ignore-key {key}",
        )
    notes = [f"passed over {', '.join(others)}: not known for {entry.model_type}"] if others else []
    if not config.architecture:
        notes.append(f"no architectures in the config: taken as {entry.model_type} with its usual head")
    return model, notes

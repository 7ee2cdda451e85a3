"""Hugging Face `config.json` files: found, read safely, and turned into a spec by their family's entry."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformer_calc import strict
from transformer_calc.errors import InputError, NotSettable, did_you_mean, shown
from transformer_calc.sources import families, files, further
from transformer_calc.sources.families.base import Config, Family
from transformer_calc.spec import Model

# Families with layers of another kind than attention: known, and refused by name.
LATER = """
    mamba mamba2 falcon_mamba jamba bamba zamba zamba2 falcon_h1 nemotron_h plamo2 hymba xlstm rwkv
    retnet recurrent_gemma qwen3_next qwen3_5 qwen3_5_text qwen3_5_moe qwen3_5_moe_text kimi_linear minimax minimax_m1
    olmo_hybrid jet_nemotron lfm2 lfm2_moe
"""
SOME = "llama, mistral, mixtral, qwen3, gemma2, deepseek_v3, gpt2, bert, t5, vit and whisper"


def read(path: Path) -> dict[str, Any]:
    """The object in a config.json, or in the folder that holds one."""
    if os.path.isdir(path):  # not path.is_dir(), which fails where a name is too long
        path = path / "config.json"
        if not os.path.lexists(path):
            raise InputError(f"{path.parent} is a folder without a config.json")
    data = files.read(path, "JSON", lambda text: strict.parse(text, path))
    inner = data.get("config")
    if "model_type" not in data and isinstance(inner, dict) and "model_type" in inner:
        given = data.get("given")  # a record about a model that holds its config, and what that was made from
        return {**inner, **given} if isinstance(given, dict) else inner
    return data


def family(data: Mapping[str, Any], where: str = "") -> Family:
    """The entry for a config's model_type."""
    model_type = data.get("model_type")
    if model_type is None:
        raise InputError(f"{where}model_type is missing; it names the family", hint='for example "model_type": "llama"')
    if not isinstance(model_type, str):
        raise InputError(f"{where}model_type is {model_type!r}; it must be a string")
    if model_type in LATER.split():
        raise InputError(
            f"{where}model_type is {model_type!r}; state-space and linear-attention layers are not supported yet"
        )
    if not families.is_known(model_type):
        raise _unknown(data, model_type, where)
    return families.find(model_type)


def _unknown(data: Mapping[str, Any], model_type: str, where: str) -> InputError:
    """The refusal of a model_type without a family: what it is, and what of it could be given instead."""
    from transformer_calc.sources.families import others

    what = f"{where}model_type {shown(model_type, 60)}"
    if part := families.WRAPPERS.get(model_type):
        inner = data.get(part)
        kind = inner.get("model_type") if isinstance(inner, dict) else None
        known = isinstance(kind, str) and families.is_known(kind)
        hint = f"its {part} can be given on its own if its family is known"
        if not isinstance(inner, dict):
            hint = f"a {part}, which could be given on its own, is not in it"
        elif known:
            hint = f"its {part}, of model_type {kind!r}, can be given on its own"
        return InputError(f"{what} is a text model among other parts, which tcalc does not know yet", hint)
    if former := families.FORMER.get(model_type):
        return InputError(
            f"{what} is what {former} was called before transformers had it",
            f"take the later config.json with model_type {former!r}; its keys have other names",
        )
    if model_type in others.TRANSFORMERS.split():
        return InputError(
            f"{what} is an architecture of its own, which tcalc does not know yet",
            "the documentation lists those it knows",
        )
    if model_type in others.WITH_CHECKPOINTS.split():
        return InputError(
            f"{what} is an architecture of its own, whose code came with its checkpoints; tcalc does not know it",
            "the documentation lists those it knows",
        )
    hint = did_you_mean(model_type, families.known()) or (
        f"{len(families.known())} families are known, such as {SOME}; the documentation lists them all"
    )
    return InputError(f"{where}model_type is {shown(model_type, 60)}; tcalc knows no such family", hint)


def load(
    data: Mapping[str, Any], *, fields: Mapping[str, Any], ignore: Iterable[str] = (), where: str = ""
) -> tuple[Model, list[str]]:
    """The spec of a config, and notes on what was passed over. `fields`: our names, which override its keys."""
    entry = family(data, where)
    ignore = tuple(ignore)
    changed = {key: value for key, value in data.items() if key != "architectures" or key not in ignore}
    keys = entry.settable() if fields else {}
    for field, value in fields.items():
        for key in keys.get(field, [field]):
            for alias, name in entry.aliases.items():
                if name == key:
                    changed.pop(alias, None)
            changed[key] = value
        if field == "layers":
            changed.pop("attention_types", None)  # lists of the old length
            for key in ("layer_types", "layers_block_type", "mlp_layer_types"):
                given = changed.pop(key, None)
                if (
                    isinstance(given, list)
                    and given
                    and given.count(given[0]) == len(given)
                    and type(value) is int
                    and value <= 10**5
                ):
                    changed[key] = given[:1] * value
    config = Config(changed, entry, where)
    if config.given.get("architectures"):
        from transformer_calc.sources.families import classes

        classes.check(config)
    model = entry.build(config)
    for field in fields:
        if field not in keys or not config.read.issuperset(keys[field]):
            can = ", ".join(name for name, those in keys.items() if config.read.issuperset(those))
            raise NotSettable(field, f"{field} cannot be set on a {entry.model_type} model", f"what can: {can}")
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
    return model, notes + config.notes + further.unknown(model, config.given)


def context_length(data: Mapping[str, Any]) -> int | None:
    """The longest sequence that a config says its model is made for, or that is its family's default."""
    entry = family(data)
    config = Config(data, entry)
    for key in entry.settable().get("max_positions", []):
        value = config.raw(key, None)
        if type(value) is int:
            return value
    return None

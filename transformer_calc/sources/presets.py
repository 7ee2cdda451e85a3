"""Presets: models as small TOML files, each with the source of its figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformer_calc.errors import InputError, did_you_mean
from transformer_calc.sources.catalogue import MODELS as MODELS
from transformer_calc.sources.catalogue import short
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.spec import Model

NULL = "null"  # TOML has none, and in a config.json it can mean something else than a missing key
WORKLOAD = ("batch", "seq", "target_seq")
TABLES = ("model", "config", "training", "workload", "expected", "values")


class Source(NamedTuple):
    """A preset as loaded: the model, notes for the user, its usual workload, and what the file says."""

    model: Model
    notes: list[str]
    workload: dict[str, int]
    file: Mapping[str, Any]


names, find, exists, suggestion = MODELS.names, MODELS.find, MODELS.exists, MODELS.suggestion


def load(path: Path, *, fields: Mapping[str, Any], ignore: tuple[str, ...] = ()) -> Source:
    """The model that a preset's file describes; `fields` override its hyperparameters."""
    data = MODELS.read(path)
    where = f"{path.name}: "
    for key, value in data.items():
        if (key in TABLES) != isinstance(value, dict):
            if key in TABLES:
                raise InputError(f"{where}{key} is {short(value)}; it must be a table: [{key}]")
            raise InputError(f"{where}[{key}] is not a table of a preset", hint=did_you_mean(key, TABLES))
    if ("model" in data) == ("config" in data):
        raise InputError(f"{where}there must be one table that describes the model: [model] or [config]")
    workload = data.get("workload", {})
    for key, value in workload.items():
        if key not in WORKLOAD:
            raise InputError(f"{where}[workload] {key} is not one of {', '.join(WORKLOAD)}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{where}[workload] {key} is {short(value)}; it must be a whole number of at least 1")
    name = data.get("name", path.stem)
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}name is {short(name)}; it must be a text")
    if "config" in data:
        from dataclasses import replace

        from transformer_calc.sources import huggingface

        config = {key: None if value == NULL else value for key, value in data["config"].items()}
        model, notes = huggingface.load(config, fields=fields, ignore=ignore, where=where)
        model = replace(model, name=name)
        if model.mtp and "mtp_copies" in data:  # which no config says
            if not isinstance(data["mtp_copies"], bool):
                raise InputError(f"{where}mtp_copies is {short(data['mtp_copies'])}; it must be true or false")
            model = replace(model, mtp=replace(model.mtp, copies=data["mtp_copies"]))
    else:
        from transformer_calc.sources import hyperparameters

        family = str(data.get("family", "custom"))
        model, notes = hyperparameters.load({**data["model"], **fields}, name=name, family=family, where=where)
    return Source(model, notes, dict(workload), data)

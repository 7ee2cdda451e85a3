"""Layers that predict further tokens (multi-token prediction): counted on request, and said where they are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformer_calc.errors import InputError
from transformer_calc.spec import Model, further_layers

# keys of configs that say how many there are
KEYS = ("num_nextn_predict_layers", "num_mtp_layers", "num_mtp_modules")


def counted(model: Model) -> Model:
    """The model with them."""
    if model.mtp is None:
        raise InputError(f"--mtp is given, but no layers that predict further tokens are known of {model.name}")
    return replace(model, mtp=replace(model.mtp, counted=True))


def unknown(model: Model, config: Mapping[str, Any]) -> list[str]:
    """A note on those that a config names and of which is not known how they are built."""
    if model.mtp or config.get("use_mtp") is False:
        return []
    named = next((config[key] for key in KEYS if type(config.get(key)) is int and config[key] > 0), 0)
    if not named:
        return []
    return [f"{further_layers(named)} not counted, and how {model.family} builds them is not known"]

"""How long a sequence a model is made for, where no table of positions bounds it: said by its config, or its training.

Rotary and relative positions go on without end, but models answer well only as far as they were made to. With scores
that fall with the distance (ALiBi) there is no such length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformer_calc.tuples import NamedTuple

WITHIN = ("su", "longrope", "llama3", "default", "mrope", "proportional")  # scalings whose factor the length has in it


class Length(NamedTuple):
    """Tokens of a sequence, and what of the model it is: positions, or what it was made for or trained on."""

    tokens: int
    what: str  # positions | trained on | the key of a config

    @property
    def said(self) -> str:
        """What is said of a model, in words that go after it."""
        if self.what == "positions":
            return f"has {self.tokens:,} positions"
        if self.what == "trained on":
            return f"was trained on sequences of {self.tokens:,} tokens"
        return f"is made for {self.tokens:,} tokens ({self.what})"


def stated(described: Mapping[str, Any], fields: Mapping[str, Any]) -> Length | None:
    """What a preset's file or a config.json says, unless a field was given in its place."""
    config = described if "model_type" in described else described.get("config")
    if isinstance(config, Mapping):
        given = fields.get("max_positions")
        found = given if isinstance(given, int) else of_config(config)
        return None if found is None else Length(found, "max_position_embeddings")
    run = described.get("training")
    trained = run.get("seq") if isinstance(run, Mapping) else None
    return Length(trained, "trained on") if type(trained) is int else None


def of_config(config: Mapping[str, Any]) -> int | None:
    """The longest sequence that a config says its model is made for, or that is its family's default.

    With a scaling of the rotary embedding the scaled one, as vLLM has it (vllm/config, _get_and_verify_max_len): yarn
    multiplies the original length, linear and dynamic scaling the config's; the others, and Gemma 3, have it in there.
    """
    from transformer_calc.sources import huggingface

    length = huggingface.context_length(config)
    scaling = config.get("rope_scaling")
    if length is None or not isinstance(scaling, Mapping) or str(config.get("model_type")).startswith("gemma3"):
        return length
    kind, factor = scaling.get("rope_type", scaling.get("type", "default")), scaling.get("factor", 1)
    if kind in WITHIN or isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor < 1e6:
        return length
    original = scaling.get("original_max_position_embeddings") if kind == "yarn" else None
    return round((original if type(original) is int else length) * factor)

"""Hugging Face families: which config.json key is which field, and what a missing key means.

A family is found by its `model_type`: what its configuration class says stands in `defaults/TYPE.json`, with the module
that has its record; only that module is imported.
"""

from __future__ import annotations

from copy import copy
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformer_calc.sources.families.base import Family

DEFAULTS = Path(__file__).parent / "defaults"


def is_known(model_type: str) -> bool:
    """Whether there is a record of a model_type."""
    return (DEFAULTS / f"{model_type}.json").is_file()


def known() -> list[str]:
    """Every model_type that is understood."""
    return sorted(path.stem for path in DEFAULTS.iterdir())


@cache
def find(model_type: str) -> Family:
    """The record of a model_type that is known, with what its configuration class says."""
    import json

    data: dict[str, Any] = json.loads((DEFAULTS / f"{model_type}.json").read_text(encoding="utf-8"))
    record: Family = import_module(f"{__name__}.{data['group']}").TYPES[model_type]
    found = copy(record)
    found.model_type, found.parts = model_type, data.get("parts", {})
    found.defaults = data["keys"] | record.own
    names = {**data.get("aliases", {}), **record.renamed}
    found.aliases = {name: key for name, key in names.items() if key}
    return found


# model types around a text model, whose own config stands under this key
WRAPPERS = dict.fromkeys(
    "gemma3 gemma3n gemma4 llama4 mistral3 qwen2_vl qwen2_5_vl qwen3_vl qwen3_vl_moe qwen2_5_omni mllama llava "
    "llava_next llava_onevision paligemma idefics2 idefics3 smolvlm internvl aya_vision cohere2_vision glm4v glm4v_moe "
    "kimi_k25 kimi_vl ernie4_5_vl_moe qwen3_5 qwen3_5_moe pixtral vipllava video_llava got_ocr2 fuyu aria".split(),
    "text_config",
)
# names from before a family's code came into transformers, with other keys -> the family's name there
FORMER = {"RefinedWeb": "falcon", "RefinedWebModel": "falcon", "phi-msft": "phi", "stablelm_epoch": "stablelm"}

"""Hugging Face families: which config.json key is which field, and what a missing key means.

A family is found by its `model_type`; only the module that holds it is imported.
"""

from __future__ import annotations

MODULES = {
    "llama": "llama mistral mixtral qwen2 qwen3 qwen2_moe qwen3_moe",
}


def module_of(model_type: str) -> str | None:
    """The module of `families` that holds a model_type."""
    return next((module for module, types in MODULES.items() if model_type in types.split()), None)


def known() -> list[str]:
    """Every model_type that is understood."""
    return sorted(t for types in MODULES.values() for t in types.split())

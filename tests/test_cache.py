"""What decoding keeps: against the caches of the Hugging Face classes, and published bytes per token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from transformer_calc import load
from transformer_calc.expr import minimum, symbol
from transformer_calc.readings.count.cache import elements, per_token

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "reference.json").read_text())
WITH_CACHE = [name for name, entry in REFERENCE.items() if not entry["later"] and entry["kv"]]


@pytest.mark.parametrize("name", WITH_CACHE)
def test_elements_are_those_of_the_class(name: str) -> None:
    """After a prefill, in transformers 5.24; of a window that is full the class keeps one token less than we do."""
    model = load(config=REFERENCE[name]["config"])
    for row in REFERENCE[name]["kv"]:
        sizes = model.graph.sizes(model.workload(batch=row["batch"], seq=row.get("src")))
        assert elements(model.graph, sizes, row.get("tgt", row.get("seq"))) == row["elements"], row


# bytes per token in bf16: ISCA 2025 (arXiv 2505.09343), Table 1
PER_TOKEN = [("deepseek-v3", 70_272), ("qwen2.5-72b", 327_680), ("llama-3.1-405b", 516_096)]


@pytest.mark.parametrize(("preset", "published"), PER_TOKEN)
def test_bytes_per_token_are_those_published(preset: str, published: int) -> None:
    graph = load(preset).graph
    assert 2 * per_token(graph, graph.sizes(load(preset).workload())) == published


def test_a_windowed_layer_keeps_its_window() -> None:
    graph = load("gemma-2-2b").graph
    letters = graph.symbols()
    L, B, K, E, C = (symbol(s) for s in ("L_local", "B", "K", "E", "C"))
    full = symbol("L_global")
    assert elements(graph, letters, C) == 2 * B * K * E * (L * minimum(C, 4096) + full * C)


def test_what_is_kept_does_not_depend_on_the_query_heads() -> None:
    few, many = (
        load(fields={"layers": 2, "d_model": 64, "heads": h, "kv_heads": 2, "d_head": 8}).graph for h in (4, 16)
    )
    assert elements(few, few.sizes(load("gpt2").workload()), 100) == elements(
        many, many.sizes(load("gpt2").workload()), 100
    )

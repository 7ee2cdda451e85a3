"""What autograd keeps of every family's class: what eager kernels are predicted to keep, to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transformer_calc import Transformer, load
from transformer_calc.readings.memory import activations
from transformer_calc.readings.memory.activations import saved, total
from transformer_calc.sources.families import known
from transformer_calc.sources.huggingface import family
from transformer_calc.spec import Execution

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "activations_by_family.json").read_text())
MODELS: dict[str, Any] = GOLDEN["models"]
BYTES = {"float32": 4, "bfloat16": 2}

# name -> (bytes that are measured and not predicted, by batch, tokens and bytes of an entry; which tensor that is)
LEFT: dict[str, tuple[Callable[[int, int, int], int], str]] = {
    "deberta_convolution": (
        lambda b, s, each: b * s * (1 if each == 4 else 1 + each),
        "the convolution's own padding mask: to fill with, and cast again where that makes a copy",
    ),
}
UNMEASURED = {"kimi_k2": "absent in transformers 5.24; deepseek_v3's class"}


def run(name: str, model: Transformer, size: list[int]) -> dict[str, Any]:
    """The sizes of a point: sound and images have lengths of their own."""
    batch, seq, target = size
    axes = model.graph.workload_axes
    own = "seq" not in axes or name.startswith("whisper")
    workload = model.workload(batch=batch, seq=None if own else seq, target_seq=target if "target" in axes else None)
    return dict(model.graph.sizes(workload))


def predicted(name: str, kind: str) -> list[int]:
    """Bytes that are kept at each size, without dropout masks' packing: the CPU keeps them in the activations' type."""
    model = load(config=MODELS[name]["config"])
    attention, dtype, *more = kind.split()
    found = []
    for batch, seq, target in GOLDEN["sizes"]:
        size = [batch, 1, 1] if more == ["single"] else [batch, seq, target]
        how = activations.settings(
            model.graph,
            bytes=BYTES[dtype],
            kernels="eager",
            attention="flash" if attention == "sdpa" else "eager",
            mask_bytes=BYTES[dtype],
            tokens=size[1],
            alone=batch == 1,
            recompute="full" if more == ["checkpointed"] else "none",
        )
        found.append(int(total(saved(model.graph, how), run(name, model, size))))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("name", MODELS)
def test_eager_bytes_are_those_that_autograd_keeps(name: str) -> None:
    for kind, measured in MODELS[name]["saved_bytes"].items():
        each = BYTES[kind.split()[1]]
        few = LEFT[name][0] if name in LEFT and "checkpointed" not in kind else lambda b, s, each: 0
        left = [few(b, s, each) for b, s, _ in GOLDEN["sizes"]]
        assert [a + b for a, b in zip(predicted(name, kind), left, strict=True)] == measured, kind
        assert all(part < 0.002 * whole for part, whole in zip(left, measured, strict=True)), kind


def test_every_family_is_measured_or_says_why_not() -> None:
    measured = {model["config"]["model_type"] for model in MODELS.values()}
    assert measured | UNMEASURED.keys() == set(known())
    assert measured.isdisjoint(UNMEASURED)


def test_every_family_says_how_it_is_executed() -> None:
    said = {name: Execution(**family({"model_type": name}).execution) for name in known()}
    assert len(set(said.values())) > 30
    assert said["llama"] == said["mistral"] == Execution() != said["cohere"]


def test_facts_of_classes_are_not_those_of_fused_kernels() -> None:
    for name in ("gpt_oss", "cohere", "falcon", "deepseek_v3"):
        model = load(config=MODELS[name]["config"])
        assert activations.settings(model.graph).eager == Execution()


def kept(name: str, *, tokens: int | None, attention: str = "flash") -> dict[str, tuple[str, ...]]:
    model = load(config=MODELS[name]["config"])
    how = activations.settings(model.graph, kernels="eager", attention=attention, tokens=tokens)
    return {row.tensor: tuple(axis for dim in row.dims for axis in dim) for row in saved(model.graph, how)}


def test_a_window_is_a_matrix_only_where_a_sequence_does_not_fit_in() -> None:
    """And with a matrix grouped keys and values are repeated for every query head."""
    inside, outside = kept("mistral_window", tokens=16), kept("mistral_window", tokens=17)
    assert "attn.mask" not in inside
    assert "attn.mask" in outside
    assert "attn.k_rotated" in inside
    assert "attn.k_repeat" in outside
    assert kept("mistral_window", tokens=None).keys() == outside.keys()


def test_partly_rotated_queries_have_their_output_copied() -> None:
    assert "attn.mix.tokens_first" in kept("phi", tokens=40)
    assert "attn.mix.tokens_first" not in kept("llama", tokens=40)


def test_values_of_another_width_are_attended_to_plainly() -> None:
    rows = kept("deepseek_v3", tokens=40)
    assert "attn.softmax in float32" in rows
    assert "attn.mix.logsumexp" not in rows


def test_experts_keep_the_order_of_tokens_and_no_weights_of_their_own() -> None:
    rows = kept("mixtral", tokens=40)
    for name in ("tokens", "order", "back"):
        assert rows[f"ffn.dispatch.{name}"] == ("batch", "seq", "top_k")
    assert rows["ffn.experts.ends"] == ("experts",)
    assert not [name for name, axes in rows.items() if "experts" in axes and "d_expert" in axes]

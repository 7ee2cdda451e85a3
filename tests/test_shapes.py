"""`tcalc shapes`: the classic teaching examples, to the digit."""

from __future__ import annotations

from typing import Any

import pytest

from transformer_calc import InputError, load
from transformer_calc.report.shapes import build

LESSON: dict[str, Any] = {"layers": 6, "d_model": 768, "heads": 8, "d_head": 64, "vocab": 10000, "max_positions": 512}


def ops(model: Any, *, layer: str | None = None, expand: bool = False, **workload: int) -> dict[str, dict[str, Any]]:
    """Operations of the report by their path."""
    report = build(model.shapes(**workload, layer=layer, expand=expand))
    return {op["path"]: op for op in report.to_dict()["ops"]}  # type: ignore[attr-defined]


# 5 sentences of 12 tokens, embedding size 768, W_q, W_k, W_v of [768, 512], 8 heads
ATTENTION = [
    ("embed.tokens", ["B", "S", "D"], [5, 12, 768]),
    ("layers.attn.q", ["B", "S", "H·E"], [5, 12, 512]),
    ("layers.attn.q_split", ["B", "S", "H", "E"], [5, 12, 8, 64]),
    ("layers.attn.q_heads", ["B", "H", "S", "E"], [5, 8, 12, 64]),
    ("layers.attn.scores", ["B", "H", "S", "C"], [5, 8, 12, 12]),
    ("layers.attn.softmax", ["B", "H", "S", "C"], [5, 8, 12, 12]),
    ("layers.attn.mix", ["B", "H", "S", "E"], [5, 8, 12, 64]),
    ("layers.attn.tokens_first", ["B", "S", "H", "E"], [5, 12, 8, 64]),
    ("layers.attn.concat", ["B", "S", "H·E"], [5, 12, 512]),
    ("layers.attn.o", ["B", "S", "D"], [5, 12, 768]),
    ("layers.attn_residual", ["B", "S", "D"], [5, 12, 768]),
    ("layers.ffn_norm", ["B", "S", "D"], [5, 12, 768]),
    ("layers.ffn.up", ["B", "S", "F"], [5, 12, 3072]),
    ("layers.ffn.down", ["B", "S", "D"], [5, 12, 768]),
    ("layers.ffn_residual", ["B", "S", "D"], [5, 12, 768]),
    ("final_norm", ["B", "S", "D"], [5, 12, 768]),
    ("head.lm", ["B", "S", "V"], [5, 12, 10000]),
    ("head.probabilities", ["B", "S", "V"], [5, 12, 10000]),
]


@pytest.mark.parametrize(("path", "symbols", "shape"), ATTENTION)
def test_a_batch_of_5_sentences_of_12_tokens(path: str, symbols: list[str], shape: list[int]) -> None:
    output = ops(load(fields=LESSON), batch=5, seq=12)[path]["output"]
    assert (output["symbols"], output["shape"]) == (symbols, shape)


def test_the_projections_of_the_lesson_are_768_by_512() -> None:
    found = ops(load(fields=LESSON), batch=5, seq=12)
    for name in ("q", "k", "v"):
        weight = found[f"layers.attn.{name}"]["weights"][0]
        assert (weight["shape"], weight["symbols"]) == ([768, 512], ["D", "H·E"])
    assert found["layers.attn.o"]["weights"][0]["shape"] == [512, 768]


def test_the_mask_is_one_square_for_all_heads() -> None:
    mask = ops(load(fields=LESSON), batch=5, seq=12)["layers.attn.mask"]["inputs"][1]
    assert (mask["name"], mask["shape"], mask["symbols"]) == ("mask", [12, 12], ["S", "C"])


def test_the_feed_forward_part_takes_each_of_5_positions_from_3_to_4_to_3() -> None:
    small = load(fields={"layers": 1, "d_model": 3, "heads": 1, "d_ff": 4, "vocab": 10, "max_positions": 5})
    found = ops(small, seq=5)
    assert [found[f"layers.ffn.{p}"]["output"]["shape"] for p in ("up", "act", "down")] == [
        [1, 5, 4],
        [1, 5, 4],
        [1, 5, 3],
    ]
    assert [found[f"layers.ffn.{p}"]["weights"][0]["shape"] for p in ("up", "down")] == [[3, 4], [4, 3]]


def test_cross_attention_asks_with_the_decoder_and_looks_at_the_encoder() -> None:
    found = ops(load("transformer-base"), batch=5, seq=12, target_seq=9)
    shapes = {
        path: (op["output"]["symbols"], op["output"]["shape"])
        for path, op in found.items()
        if path.startswith(("decoder.layers.cross.", "encoder.layers.attn.scores", "decoder.layers.attn.scores"))
    }
    assert shapes["decoder.layers.cross.q"] == (["B", "T", "H·E"], [5, 9, 512])
    assert shapes["decoder.layers.cross.k"] == (["B", "S", "H·E"], [5, 12, 512])
    assert shapes["decoder.layers.cross.scores"] == (["B", "H", "T", "S"], [5, 8, 9, 12])
    assert shapes["decoder.layers.cross.o"] == (["B", "T", "D"], [5, 9, 512])
    assert shapes["encoder.layers.attn.scores"] == (["B", "H", "S", "S"], [5, 8, 12, 12])
    assert shapes["decoder.layers.attn.scores"] == (["B", "H", "T", "C"], [5, 8, 9, 9])
    assert found["head.lm"]["output"]["symbols"] == ["B", "T", "V"]


def test_cached_tokens_are_keys_but_not_queries() -> None:
    scores = ops(load(fields=LESSON), seq=1, context=100)["layers.attn.scores"]
    assert scores["output"]["shape"] == [1, 8, 1, 101]


def test_grouped_keys_are_repeated_for_the_query_heads() -> None:
    found = ops(load("llama-3-8b"), seq=7)
    assert found["layers.attn.k_heads"]["output"]["shape"] == [1, 8, 7, 128]
    assert found["layers.attn.k_repeat"]["output"]["shape"] == [1, 32, 7, 128]


def test_a_layer_is_shown_once_with_its_count_and_expanded_on_request() -> None:
    model = load(fields=LESSON)
    assert ops(model, seq=4)["layers.ffn.up"]["repeat"] == 6
    expanded = ops(model, seq=4, expand=True)
    assert [f"layers.{i}.ffn.up" in expanded for i in range(7)] == [True] * 6 + [False]
    assert expanded["layers.5.ffn.up"]["repeat"] == 1
    assert set(ops(model, seq=4, layer="3")) == {p for p in expanded if p.startswith("layers.3.")}


def test_layers_that_differ_are_expanded_in_their_order() -> None:
    model = load("gemma-2-2b")
    for number, window in enumerate([4096, None, 4096, None]):
        mask = next(op for op in model.graph.blocks[1 + number % 2].ops if op.kind == "mask")
        assert mask.attrs["window"] == window
        assert f"layers.{number}.attn.q" in ops(model, seq=4, layer=str(number))


def test_parameters_and_flops_of_the_operations_add_up() -> None:
    model = load("deepseek-v3")
    found = ops(model, seq=16).values()
    assert sum(op["repeat"] * op["params"] for op in found) == model.params().total


def test_asking_for_a_layer_that_is_not_there_is_refused() -> None:
    model = load(fields=LESSON)
    with pytest.raises(InputError, match="layers are 0 to 5"):
        ops(model, layer="6")
    with pytest.raises(InputError, match="`expand` would write out 10,000 layers"):
        ops(load(fields={**LESSON, "layers": 10_000}), expand=True)

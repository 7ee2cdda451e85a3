"""Lines of algebra multiply: A·B and A·Bᵀ, with the shapes that stand beside them, in every preset.

A·B multiplies the last two dimensions, Bᵀ has them the other way round. Leading dimensions are paired by name, and one
that only one of the two has is the product's, too (a key/value head that all query heads share, say). Of stacked
experts' weights a token takes those that it was sent to, so that their own axis is not the product's.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from transformer_calc import load
from transformer_calc.graph.core import Graph
from transformer_calc.graph.model import build
from transformer_calc.ops.notation import by
from transformer_calc.readings.count.shapes import Shaped, Shapes, Value, shapes
from transformer_calc.report.walk import build as walk
from transformer_calc.sources import presets
from transformer_calc.spec import Workload

PRODUCT = re.compile(r"(?:^|= )([^\s·(]+)·([^\s·(ᵀ]+)(ᵀ?)(?= |,|:|$)")
PART = re.compile(r"each head with its own \[([^\]]*)\]")
SUM = re.compile(r"Σ over (\S+) of (\S+) ⊙ (\S+)")


def operands(op: Shaped) -> tuple[Value, Value]:
    return op.inputs[0], op.weights[0] if op.op != "einsum" else op.inputs[1]


def check(op: Shaped) -> str:
    """What is wrong with an operation's line of algebra; empty: it multiplies."""
    a, b = operands(op)
    if found := SUM.search(op.note):
        return "" if found[1] in a.symbols and found[1] in b.symbols and found[1] not in op.output.symbols else "sum"
    found = PRODUCT.search(op.note)
    if not found:
        return "no product"
    part = PART.search(op.note)
    axes, symbols, size = b.axes, b.symbols, b.shape
    if part:  # each head multiplies with its own part of the weight
        symbols = part[1].split(", ")
        size = [0, 0]
        axes = []
    inner, outer = (-1, -2) if found[3] else (-2, -1)
    if symbols[inner] != a.symbols[-1] or (not part and (size[inner] != a.shape[-1] or axes[inner] != a.axes[-1])):
        return f"inner dimensions {a.symbols} {symbols}"
    if symbols[outer] != op.output.symbols[-1] or (not part and size[outer] != op.output.shape[-1]):
        return "outer dimension"
    if len(op.weights) > 1 and op.weights[1].shape[-1:] != op.output.shape[-1:]:
        return "bias"
    if a.axes[-2:-1] != op.output.axes[-2:-1]:
        return "rows"
    leading = {*a.axes[:-1], *(axes[:-2] if op.op != "expert_linear" else [])} - {"1"}
    return "" if leading | {"1"} == {*op.output.axes[:-1], "1"} else f"leading dimensions {leading}"


PRODUCTS = ("linear", "expert_linear", "einsum")


@pytest.mark.parametrize("name", presets.names())
def test_every_product_of_every_preset_multiplies(name: str) -> None:
    found = [op for op in load(name).shapes() if op.op in PRODUCTS]
    assert [(op.path, op.note, wrong) for op in found if (wrong := check(op))] == []
    assert found


@pytest.mark.parametrize("name", ["deepseek-v3", "deepseek-v2-lite", "kimi-k2"])
def test_latent_attention_as_it_is_served(name: str) -> None:
    graph = build(load(name).spec, absorbed=True)
    found = [op for op in shaped(graph, Workload(seq=3, context=7)) if op.op in PRODUCTS]
    assert [(op.path, op.note, wrong) for op in found if (wrong := check(op))] == []
    assert any("each head with its own" in op.note for op in found)


def test_an_indexer_sums_over_its_heads() -> None:
    fields = {"num_hidden_layers": 1, "first_k_dense_replace": 0, "vocab_size": 64}
    found = {op.path: op for op in load(config={"model_type": "deepseek_v32", **fields}).shapes() if op.op in PRODUCTS}
    assert [(path, op.note, wrong) for path, op in found.items() if (wrong := check(op))] == []
    total = next(op for path, op in found.items() if path.endswith("indexer.total"))
    assert total.note == "total = Σ over H_i of weights ⊙ scores / √H_i"


def one(name: str, path: str) -> Shaped:
    return next(op for op in load(name).shapes() if op.path == path)


@pytest.mark.parametrize(
    ("name", "path", "line"),
    [
        ("llama-3-8b", "layers.attn.k", "K = X·W_kᵀ"),
        ("llama-3-8b", "layers.ffn.down", "Y = M·W_downᵀ"),
        ("llama-3-8b", "head.lm", "logits = X·W_lmᵀ"),
        ("gpt2", "layers.attn.k", "K = X·W_k + b_k"),  # Conv1D: stored [in, out]
        ("gpt2", "head.lm", "logits = X·W_Eᵀ"),  # tied: the token table, [V, D]
        ("gpt3", "layers.ffn.up", "U = X·W₁ + b₁"),
        ("bert-base-uncased", "layers.attn.o", "O = Z·W_oᵀ + b_o"),
        ("mixtral-8x7b", "layers.ffn.router", "router = X·W_routerᵀ: a score for each expert"),
        ("mixtral-8x7b", "layers.ffn.experts.up", "U = dispatch·W_upᵀ of its experts"),
        ("gpt-oss-20b", "layers.local.ffn.experts.up", "U = dispatch·W_up + b_up of its experts"),
        ("dbrx", "layers.ffn.experts.down", "Y = M·W_down of its experts"),  # rows of d_model entries
        ("deepseek-v3", "layers.dense.attn.k_up", "K = C_kv·W_k_upᵀ: every head's key"),
        ("vit-base", "embed.patches", "patches = W_patches ∗ image + b_patches, stride 16: one vector a patch"),
        ("lesson", "layers.attn.scores", "scores = Q·Kᵀ / √E"),
        ("t5-small", "encoder.layers.attn.scores", "scores = Q·Kᵀ"),  # no scale
        ("gemma-2-9b", "layers.local.attn.scores", "scores = Q·Kᵀ / √E"),  # query_pre_attn_scalar is the head's width
        ("gemma-2-27b", "layers.local.attn.scores", "scores = Q·Kᵀ / 12"),  # and here 4,608 / 32 = 144
        ("deberta-v3-base", "layers.attn.scores", "scores = Q·Kᵀ / √(3·E)"),  # three kinds of scores are added
        ("transformer-base", "encoder.embed.scale", "tok′ = tok · √D"),
        ("exercise", "layers.attn.mix", "Z = A·X"),
    ],
)
def test_lines_of_known_layouts(name: str, path: str, line: str) -> None:
    assert one(name, path).note == line


@pytest.mark.parametrize(
    ("name", "path", "line"),
    [
        ("llama-3-8b", "layers.attn.k", "K = X·W_k"),
        ("llama-3-8b", "layers.attn.scores", "scores = Q·K / √E"),
        ("gpt2", "layers.attn.q", "Q = X·W_qᵀ"),
        ("gpt2", "head.lm", "logits = X·W_E"),
        ("mixtral-8x7b", "layers.ffn.experts.up", "U = dispatch·W_up of its experts"),
        ("lesson", "layers.attn.mix", "Z = A·Vᵀ"),
        ("lesson", "layers.attn.mix", "A with V"),
    ],
)
def test_the_check_finds_lines_that_do_not_multiply(name: str, path: str, line: str) -> None:
    assert check(one(name, path)) == ""
    assert check(one(name, path)._replace(note=line))


def shaped(graph: Graph, run: Workload) -> Shapes:
    return shapes(graph, graph.sizes(run), {"title": "", "model": {}, "workload": {}, "notes": ()})


def convolutions(graph: Graph) -> list[Shaped]:
    return [op for op in shaped(graph, Workload(seq=4, target=3)) if op.op == "convolution"]


@pytest.mark.parametrize("name", ["vit-base", "clip-vit-b-32", "whisper-tiny"])
def test_convolutions_are_filters_over_channels(name: str) -> None:
    for op in convolutions(load(name).graph):
        (x,), filters = op.inputs, op.weights[0]
        assert re.search(r"W_\w+ ∗ ", op.note)
        assert (filters.shape[1], filters.shape[0]) == (x.shape[1], op.output.shape[1])


NUMBERED = re.compile("[XN][₀₁₂₃₄₅₆₇₈₉]+")


def bare(line: str) -> str:
    """A walk's line as `shapes` has it: X for all that flows down, without what a function is made of."""
    return re.sub(r"^X = ", "", NUMBERED.sub("X", re.sub(r"\bN\b", "X", line)))


SAME = ["walk", "exercise", "lesson-ffn"]
SHRUNK = [
    "gpt2",
    "llama-3-8b",
    "bert-base-uncased",
    "t5-small",
    "gemma-2-2b",
    "mixtral-8x7b",
    "deepseek-v3",
    "vit-base",
]


@pytest.mark.parametrize("name", SAME + SHRUNK)
def test_the_walk_says_the_same(name: str) -> None:
    model = load(name)
    steps: dict[str, Any] = {
        re.sub(r"layers\.\d+\.", "layers.", step["path"]): step["algebra"]
        for step in walk(model.walk(shrink=name in SHRUNK)).to_dict()["steps"]  # type: ignore[attr-defined]
    }
    compared = 0
    for op in model.shapes():
        path = re.sub(r"layers\.[a-z]\w*\.(?=attn|ffn)", "layers.", op.path)
        if op.op in (*PRODUCTS, "lookup", "norm", "softmax") and path in steps:
            line = bare(steps[path])
            assert line.startswith(re.sub(r", X = .*", "", op.note)), (op.path, steps[path])
            compared += 1
    assert compared > 2


@pytest.mark.parametrize(
    ("scale", "size", "text"),
    [
        (1.0, 64, ""),
        (64**-0.5, 64, " / √E"),
        (2**-0.5, 2, " / √E"),
        (144**-0.5, 128, " / 12"),
        (168**-0.5, 128, " / √168"),
        (1 / 128, 128, " / E"),
        (192**-0.5, 64, " / √(3·E)"),
        (1 / 7, 64, " / 7"),
        (512**0.5, 512, " · √E"),
        (12.0, 64, " · 12"),
        (0.1147213867929261, 192, " · 0.1147"),
    ],
)
def test_factors_are_written_as_roots_where_they_are_some(scale: float, size: int, text: str) -> None:
    assert by(scale, "E", size) == text

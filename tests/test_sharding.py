"""Parameters on many devices: shares add up to the model, and what does not divide is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from transformer_calc import InputError, Workload, load
from transformer_calc.plan import Mesh
from transformer_calc.readings.shard import check, layers_of, params_of, parts_of, share, stages

MODELS = ["gpt3", "llama-3-70b", "mixtral-8x7b", "deepseek-v3", "gemma-2-9b", "qwen3-30b-a3b", "opt-175b"]
GRAPHS = {name: load(name).graph for name in MODELS}
SIZES: dict[str, Any] = {name: graph.sizes(Workload()) for name, graph in GRAPHS.items()}
POWERS = st.sampled_from([1, 2, 4, 8, 16])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MODELS), POWERS, POWERS, POWERS, POWERS)
def test_shares_of_all_devices_add_up_to_the_model(name: str, dp: int, tp: int, pp: int, ep: int) -> None:
    """Every shard once: a device's entries times the devices that a tensor is spread over."""
    graph, sizes = GRAPHS[name], SIZES[name]
    mesh = Mesh(dp=dp, tp=tp, pp=pp, ep=ep)
    try:
        check(mesh, graph, sizes)
        found = list(stages(graph, mesh))
    except InputError:
        assume(False)
    assume(sizes["vocab"] % tp == 0)
    total = sum(
        count * share(part, mesh, sizes).entries * share(part, mesh, sizes).ways
        for stage in found
        for part, count in parts_of(stage, graph, sizes)
    )
    model = load(name).params()
    tied = not any(part.path == "head.lm.weight" for stage in found for part, _ in parts_of(stage, graph, sizes))
    again = sizes["vocab"] * sizes["d_model"] if tied and pp > 1 else 0  # the last stage's copy of the token table
    assert total == model.total + again


@pytest.mark.parametrize("name", ["t5-base", "clip-vit-b-32", "bart-base"])
@pytest.mark.parametrize("pp", [2, 4, 12])
def test_stages_are_of_one_stack(name: str, pp: int) -> None:
    """The encoder's layers, then the decoder's; each stack's embedding and last norm beside its own layers."""
    graph = load(name).graph
    found = list(stages(graph, Mesh(pp=pp)))
    first, second = graph.orders
    sizes: Any = graph.sizes(Workload())
    for stage in found:
        blocks = [block for block, _ in stage.blocks]
        assert {block.stack for block in blocks if block.role != "head"} == {
            first if stage.number < pp // 2 else second
        }
        roles = {block.role for block in blocks}
        assert ("embed" in roles) == (stage.number in (0, pp // 2))
        assert ("head" in roles) == (stage.number == pp - 1)
    for block in graph.blocks:
        held = sum(count for stage in found for b, count in stage.blocks if b is block)
        assert held == (sizes[block.repeat] if block.repeat else 1)


def test_a_decoder_has_the_token_table_of_its_encoder_once_more() -> None:
    graph = load("t5-base").graph
    for stage in stages(graph, Mesh(pp=4)):
        paths = [part.path for part, _ in parts_of(stage, graph, graph.sizes(Workload()))]
        assert paths.count("encoder.embed.tokens.weight") == (stage.number != 1)
        assert ("decoder.relative_bias.weight" in paths) == (stage.number == 2)


UNEVEN = [
    (
        {},
        3,
        "`pp` is 3; 8 layers a stage do not divide the 12 of the encoder and 12 of the decoder",
        "2, 4, 6, 8, 12, 24",
    ),
    ({}, 5, "`pp` is 5; it must divide the 24 layers", "2, 4, 6, 8, 12, 24"),
    ({"num_decoder_layers": 4}, 2, "`pp` is 2; 8 layers a stage do not divide the 12 of the encoder", "4, 8, 16"),
]


@pytest.mark.parametrize(("change", "pp", "message", "would"), UNEVEN)
def test_stacks_that_do_not_divide_say_what_would(change: dict[str, int], pp: int, message: str, would: str) -> None:
    config = {"model_type": "t5", "d_model": 64, "d_kv": 8, "d_ff": 256, "num_heads": 8, "vocab_size": 100}
    graph = load(config={**config, "num_layers": 12, **change}).graph
    with pytest.raises(InputError) as error:
        list(stages(graph, Mesh(pp=pp)))
    assert error.value.message.startswith(message)
    assert error.value.hint == f"`pp={would}`"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(MODELS), st.sampled_from([1, 2, 3, 4, 5, 6, 8, 10, 12, 16]))
def test_every_layer_stands_on_one_stage(name: str, pp: int) -> None:
    graph = GRAPHS[name]
    try:
        found = list(stages(graph, Mesh(pp=pp)))
    except InputError:
        assume(False)
    for block in graph.blocks:
        held = sum(count for stage in found for b, count in stage.blocks if b is block)
        assert held == (SIZES[name][block.repeat] if block.repeat else 1)


def test_deepseek_v3_on_64_expert_ranks() -> None:
    """Each device holds 4 of 256 experts of 58 layers, and everything else whole."""
    graph, sizes = GRAPHS["deepseek-v3"], SIZES["deepseek-v3"]
    (stage,) = stages(graph, Mesh(dp=64, ep=64))
    _, experts = params_of(stage, graph, Mesh(dp=64, ep=64), sizes)
    assert experts == 58 * 4 * 3 * 7168 * 2048


def test_fewer_key_heads_than_ranks_are_replicated() -> None:
    graph, sizes = GRAPHS["llama-3-70b"], SIZES["llama-3-70b"]
    mesh = Mesh(tp=16)
    check(mesh, graph, sizes)
    (stage,) = stages(graph, mesh)
    held = {part.path: share(part, mesh, sizes) for part, _ in parts_of(stage, graph, sizes)}
    assert held["layers.attn.q.weight"] == ((8192 // 16, 8192), 16)
    assert held["layers.attn.k.weight"] == ((128, 8192), 8)


REFUSED = [
    ("gpt3", Mesh(tp=7), "`tp` is 7; it must divide the 96 query heads"),
    ("gpt3", Mesh(ep=2, dp=2), "`ep` is 2, but the model has no experts"),
    ("gpt3", Mesh(sp=True), "`sp` splits the sequence"),
    ("mixtral-8x7b", Mesh(ep=4, dp=2), "`ep` is 4; it must divide `dp` times `cp` (2)"),
    ("mixtral-8x7b", Mesh(ep=3, dp=3), "`ep` is 3; it must divide the 8 experts"),
]


@pytest.mark.parametrize(("name", "mesh", "message"), REFUSED)
def test_a_mesh_that_does_not_divide_the_model_is_refused(name: str, mesh: Mesh, message: str) -> None:
    with pytest.raises(InputError) as error:
        check(mesh, GRAPHS[name], SIZES[name])
    assert error.value.message.startswith(message)


def test_a_mesh_has_no_dimension_of_none() -> None:
    with pytest.raises(InputError, match=r"^`dp` is 0; it must be at least 1$"):
        Mesh(dp=0)


# preset, stages, groups of layers of each -> layers of each stage; embedding and head stand for a layer where the
# layers do not divide, as in Llama 3 (arXiv 2407.21783, section 3.3.2)
LAYERS = [
    ("gpt3", 8, 1, [12] * 8),
    ("gpt3", 7, 1, [13, 14, 14, 14, 14, 14, 13]),
    ("llama-3.1-405b", 16, 1, [7, *[8] * 14, 7]),
    ("llama-3.1-405b", 16, 4, [7, *[8] * 14, 7]),
    ("bloom-176b", 12, 1, [5, *[6] * 10, 5]),
    ("deepseek-v3", 2, 1, [30, 31]),
    ("qwen3-0.6b", 16, 1, [1, 1, *[2] * 12, 1, 1]),
]


@pytest.mark.parametrize(("name", "pp", "virtual", "layers"), LAYERS)
def test_stages_differ_by_a_layer_where_they_must(name: str, pp: int, virtual: int, layers: list[int]) -> None:
    found = list(stages(load(name).graph, Mesh(pp=pp), virtual))
    assert [layers_of(stage) for stage in found] == layers


def test_more_stages_than_layers_are_refused() -> None:
    with pytest.raises(InputError, match="`pp` is 97, but there are 96 layers"):
        list(stages(GRAPHS["gpt3"], Mesh(pp=97)))

"""`tcalc verify`: the run in NumPy is what the readings predict, and it is the reference models themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny as tiny_models
from shell import Shell

from transformer_calc import InputError, Transformer, load, ops
from transformer_calc.graph.core import Block, Graph, Op, shape
from transformer_calc.graph.model import build as build_graph
from transformer_calc.ops.core import Work
from transformer_calc.readings.count.params import params
from transformer_calc.readings.run import verify as verify_module
from transformer_calc.readings.run.machine import Machine, random_weights
from transformer_calc.readings.run.shrink import shrink, workload
from transformer_calc.readings.run.verify import random_inputs, verify
from transformer_calc.readings.run.weights import Checkpoint, Loaded, expected, match
from transformer_calc.report.verify import build
from transformer_calc.sources import families, presets
from transformer_calc.spec import Workload

GOLDEN = Path(__file__).parent / "golden"
VARIANTS: list[Any] = json.loads((GOLDEN / "hf_variants.json").read_text())["variants"]
PUBLISHED: list[Any] = json.loads((GOLDEN / "hf_published.json").read_text())["models"]
REFERENCE: dict[str, Any] = json.loads((GOLDEN / "reference.json").read_text())
# their classes compute these in float64 throughout; the others take RMSNorm or rotary tables in float32
EXACT = {
    *("albert_groups", "bart", "bart_classification", "bert", "blenderbot_small", "dinov2_gated", "distilbert_answers"),
    *("electra_choice", "gpt2", "gpt2_by_layer", "whisper", "whisper_classification", "xlm_roberta"),
}
# variants that their own classes cannot run: sizes that do not fit, or what such a config would need
CANNOT_RUN = {
    "mistral/default-kv-heads",
    "deepseek_v2/defaults",
    "deberta-v2/pooler-size",
    *(f"helium/{name}" for name in ("gqa", "tied", "untied", "model-only", "biases")),
    "siglip/small",
}
NOT_YET = {"glm_moe_dsa/indexer-freq-2"}


def tiny(model: Transformer) -> tuple[Graph, dict[str, Any], Any, dict[str, Any]]:
    """A tiny model of the same structure, ready to run: graph, sizes, weights, inputs."""
    spec = shrink(model.spec)
    graph, on = build_graph(spec), workload(spec)
    sizes = graph.sizes(on)
    return graph, sizes, random_weights(graph, sizes, 0), random_inputs(spec, on, 0)


def report(config: Path | str, **options: Any) -> dict[str, Any]:
    return build(load(config).verify(**options)).to_dict()


@pytest.mark.parametrize("preset", presets.names())
def test_every_preset_is_what_its_graph_says(preset: str) -> None:
    data = report(preset)
    assert data["ok"], [check for check in data["checks"] if not check["ok"]]


@pytest.mark.parametrize("name", [name for name, entry in REFERENCE.items() if not entry["later"]])
def test_every_published_config_is_what_its_graph_says(name: str) -> None:
    failed = [c for c in verify(*tiny(load(config=REFERENCE[name]["config"]))).checks if not c.ok]
    assert not failed


@pytest.mark.slow
@pytest.mark.parametrize("family", families.known())
def test_every_variant_of_a_family_is_what_its_graph_says(family: str) -> None:
    for variant in VARIANTS:
        if variant["name"].partition("/")[0] == family and variant["name"] not in CANNOT_RUN | NOT_YET:
            failed = [c for c in verify(*tiny(load(config=variant["config"]))).checks if not c.ok]
            assert not failed, variant["name"]


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda row: row["name"])
def test_every_further_published_config_is_what_its_graph_says(model: dict[str, Any]) -> None:
    failed = [c for c in verify(*tiny(load(config=model["config"]))).checks if not c.ok]
    assert not failed


# --- the graph is the model -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tiny models are written, once."""
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize("name", tiny_models.MODELS)
def test_outputs_are_those_of_the_class(name: str, models: Path) -> None:
    """Tiny Hugging Face models with drawn weights, their task heads and padded inputs (tests/oracle/numerics.py)."""
    folder = tiny_models.folder(name, models)
    data = report(folder / "config.json", weights=str(folder), reference=str(folder / "reference.npz"))
    assert data["ok"]
    assert data["max_abs_diff"] < (1e-9 if name in EXACT else 1e-5)


def test_absorbed_latent_attention_gives_the_same_logits(models: Path) -> None:
    folder = tiny_models.folder("deepseek_v3", models)
    reference = np.load(folder / "reference.npz")
    model = load(folder / "config.json")
    graph = build_graph(model.spec, absorbed=True)
    sizes = graph.sizes(model.workload(batch=2, seq=24))
    checkpoint = Checkpoint(folder / "model.safetensors")
    loaded = Loaded(graph, sizes, checkpoint, match(graph, sizes, checkpoint.shapes))
    outcome = Machine(graph, sizes, loaded, {"token_ids": reference["input_ids"]}).run()
    assert np.allclose(outcome.outputs["head"], reference["logits"], rtol=1e-4, atol=1e-5)


def test_a_setting_that_is_left_out_changes_the_logits(tmp_path: Path, models: Path) -> None:
    """What the config says is honoured: without its soft-capping Gemma 2's logits are other ones."""
    folder = tiny_models.folder("gemma2", models)
    config = {**json.loads((folder / "config.json").read_text()), "final_logit_softcapping": None}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    data = report(path, weights=str(folder / "model.safetensors"), reference=str(folder / "reference.npz"))
    assert not data["ok"]


# --- a wrong graph is found out -------------------------------------------------------------------------------------

MUTATED = ["gpt2", "llama-3-8b", "mixtral-8x7b", "deepseek-v3", "bert-base-uncased", "t5-base", "gemma-2-2b"]


def with_op(graph: Graph, block: Block, old: Op, new: Op) -> Graph:
    """The graph with one operation changed."""
    changed = block._replace(ops=tuple(new if op is old else op for op in block.ops))
    return graph._replace(blocks=tuple(changed if b is block else b for b in graph.blocks))


def other_axis(axis: str, sizes: dict[str, Any], graph: Graph) -> str:
    """An axis of another size."""
    return next(name for name in graph.axes if sizes[name] != sizes[axis] and sizes[name] > 1)


def mutations(graph: Graph, sizes: dict[str, Any]) -> Iterator[tuple[str, Graph]]:
    """Every graph in which one thing is wrong: an axis of an output or a weight, a bias, an operation, a repeat."""
    for block in graph.blocks:
        for op in block.ops:
            where = f"{block.path} {op.path}"
            for i, dim in enumerate(op.output.dims):
                for j, axis in enumerate(dim):
                    wrong = (*dim[:j], other_axis(axis, sizes, graph), *dim[j + 1 :])
                    dims = (*op.output.dims[:i], wrong, *op.output.dims[i + 1 :])
                    yield (
                        f"{where}: output {i}",
                        with_op(graph, block, op, op._replace(output=op.output._replace(dims=dims))),
                    )
            for p, param in enumerate(op.params):
                for i, dim in enumerate(param.dims):
                    if dim:
                        wrong = (other_axis(dim[0], sizes, graph), *dim[1:])
                        dims = (*param.dims[:i], wrong, *param.dims[i + 1 :])
                        changed = (*op.params[:p], param._replace(dims=dims), *op.params[p + 1 :])
                        yield f"{where}: {param.name} {i}", with_op(graph, block, op, op._replace(params=changed))
                yield (
                    (
                        f"{where}: no {param.name}",
                        with_op(graph, block, op, op._replace(params=(*op.params[:p], *op.params[p + 1 :]))),
                    )
                    if op.kind in ("linear", "norm") and p
                    else ("", graph)
                )
            without = block._replace(ops=tuple(other for other in block.ops if other is not op))
            yield f"{where}: left out", graph._replace(blocks=tuple(without if b is block else b for b in graph.blocks))
    for name, counted in graph.axes.items():
        if counted.size and any(name == block.repeat for block in graph.blocks):
            more = {**graph.axes, name: counted._replace(size=counted.size + 1)}
            yield f"{name}: one more", graph._replace(axes=more)


@pytest.mark.parametrize("preset", MUTATED)
def test_every_single_error_in_the_graph_is_caught(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, sizes, weights, inputs = tiny(load(preset))
    ran = Machine(graph, sizes, weights, inputs)
    outcome = ran.run()
    # what runs is the right graph each time: once is enough
    monkeypatch.setattr(ran, "run", lambda: outcome)
    monkeypatch.setattr(verify_module, "Machine", lambda *_: ran)
    assert all(check.ok for check in verify(graph, sizes, weights, inputs).checks)
    tried = 0
    for what, wrong in mutations(graph, sizes):
        if wrong is graph:
            continue
        tried += 1
        found = verify(graph, sizes, weights, inputs, predicted=wrong)
        assert not all(check.ok for check in found.checks), what
    assert tried > 100


@pytest.mark.parametrize("kind", ["linear", "einsum", "expert_linear", "convolution"])
def test_a_wrong_rule_for_flops_is_caught(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = {"expert_linear": "mixtral-8x7b", "convolution": "lesson"}.get(kind, "gpt2")
    model = load(preset) if kind != "convolution" else load(config=REFERENCE["vit-base-patch16-224"]["config"])
    right = ops.kinds()[kind]

    def wrong(op: Op, sizes: Any) -> Work:
        return right.forward(op, sizes).plus(Work(2))

    monkeypatch.setitem(ops.kinds(), kind, right._replace(forward=wrong))
    assert not all(check.ok for check in verify(*tiny(model)).checks)


def test_a_graph_that_cannot_run_is_an_answer_not_a_crash() -> None:
    graph, sizes, weights, inputs = tiny(load("gpt2"))
    block = graph.blocks[1]
    scores = next(op for op in block.ops if op.path == "attn.scores")
    dims = (("batch",), ("heads",), ("context",), ("d_model",))
    broken = with_op(graph, block, scores, scores._replace(output=scores.output._replace(dims=dims)))
    checks = verify(broken, sizes, weights, inputs).checks
    assert [check.what for check in checks] == ["layers.attn.scores runs"] or not all(check.ok for check in checks)


# --- routing --------------------------------------------------------------------------------------------------------


def test_experts_load_is_what_is_predicted_on_average() -> None:
    """Each token goes to k of X experts: the loads add up to B·S·k, their mean is B·S·k / X."""
    graph, sizes, weights, inputs = tiny(load("mixtral-8x7b"))
    outcome = verify(graph, sizes, weights, inputs).outcome
    assert outcome
    (load_of,) = outcome.loads.values()
    assert load_of.mean() == sizes["batch"] * sizes["seq"] * sizes["top_k"] * sizes["layers"] / sizes["experts"]


def test_a_router_that_sends_all_tokens_to_one_expert_changes_no_total() -> None:
    model = load(fields={"layers": 2, "d_model": 16, "heads": 2, "vocab": 50, "experts": 4, "experts_per_token": 1})
    graph, sizes, weights, inputs = tiny(model)
    even = verify(graph, sizes, weights, inputs)

    def biased(path: str, copy: int) -> Any:
        array = weights(path, copy)
        if path.endswith("router.weight"):
            return np.zeros_like(array)  # all scores equal: the first expert is chosen always
        return array

    one = verify(graph, sizes, biased, inputs)
    assert one.outcome
    assert even.outcome
    assert all(check.ok for check in one.checks)
    assert all((load[1:] == 0).all() for load in one.outcome.loads.values())
    counted = [sum(o.multiply_adds for o in found.outcome.observed) for found in (even, one) if found.outcome]
    assert counted[0] == counted[1]


def test_the_same_seed_gives_the_same_run() -> None:
    first, second, other = (report("qwen3-0.6b", seed=seed) for seed in (1, 1, 2))
    assert first == second
    assert other["ok"]


# --- checkpoints ----------------------------------------------------------------------------------------------------


def save(path: Path, tensors: dict[str, Any]) -> Path:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
    return path


@pytest.fixture
def gpt2(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    from safetensors.numpy import load_file

    folder = tiny_models.folder("gpt2", tmp_path)
    return folder, load_file(folder / "model.safetensors")


def test_missing_unexpected_and_misshapen_tensors_are_each_named(gpt2: tuple[Path, dict[str, Any]]) -> None:
    folder, tensors = gpt2
    del tensors["transformer.h.1.ln_2.bias"]
    tensors["transformer.h.7.ln_2.bias"] = np.zeros(3, np.float32)
    tensors["transformer.wpe.weight"] = tensors["transformer.wpe.weight"][:-1]
    data = report(folder / "config.json", weights=str(save(folder / "wrong.safetensors", tensors)))
    assert not data["ok"]
    failed = {check["what"]: (check["predicted"], check["measured"]) for check in data["checks"] if not check["ok"]}
    assert failed == {
        "transformer.h.1.ln_2.bias: missing": ("there", "missing"),
        "transformer.h.7.ln_2.bias: unexpected": ("not there", "there"),
        "transformer.wpe.weight: shape": ([64, 32], [63, 32]),
    }


def test_files_without_the_models_prefix_are_recognised(gpt2: tuple[Path, dict[str, Any]]) -> None:
    folder, tensors = gpt2
    bare = {name.removeprefix("transformer."): array for name, array in tensors.items()}
    path = save(folder / "bare.safetensors", bare)
    assert report(folder / "config.json", weights=str(path), reference=str(folder / "reference.npz"))["ok"]


def test_a_sharded_checkpoint_is_read_through_its_index_or_its_folder(gpt2: tuple[Path, dict[str, Any]]) -> None:
    folder, tensors = gpt2
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    save(folder / "a.safetensors", {name: tensors[name] for name in names[:9]})
    save(folder / "b.safetensors", {name: tensors[name] for name in names[9:]})
    where = {name: "a.safetensors" if i < 9 else "b.safetensors" for i, name in enumerate(names)}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    for weights in (index, folder):
        assert report(folder / "config.json", weights=str(weights), reference=str(folder / "reference.npz"))["ok"]


HOSTILE = {
    "empty": b"",
    "truncated header": (200).to_bytes(8, "little") + b'{"a":',
    "huge header": (2**62).to_bytes(8, "little") + b"{}",
    "no JSON": (5).to_bytes(8, "little") + b"hello",
    "offsets past the end": (70).to_bytes(8, "little")
    + json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).ljust(70).encode(),
    "pickle": b"\x80\x04\x95",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_or_truncated_file_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a safetensors file"):
        report("gpt2", weights=str(path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x80\x04\x95 pickle"])
def test_a_reference_that_is_no_npz_is_a_clear_error(gpt2: tuple[Path, dict[str, Any]], content: bytes) -> None:
    folder, _ = gpt2
    path = folder / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is not an \.npz file"):
        report(folder / "config.json", weights=str(folder), reference=str(path))


def test_a_run_that_the_machine_cannot_hold_is_refused_with_its_size() -> None:
    with pytest.raises(InputError, match=r"the run needs .* TiB and this machine has"):
        report("gpt3", size="full")


def test_a_small_model_runs_as_it_is() -> None:
    data = report("lesson-translation", size="full")
    assert data["ok"]
    counted = next(check for check in data["checks"] if check["what"] == "total: parameters")
    assert (
        counted["measured"]
        == params(
            load("lesson-translation").graph,
            load("lesson-translation").graph.sizes(load("lesson-translation").workload()),
        ).total
    )


def test_every_check_of_a_tensor_says_its_shape(gpt2: tuple[Path, dict[str, Any]]) -> None:
    folder, tensors = gpt2
    checks = report(folder / "config.json", weights=str(folder))["checks"]
    shapes = {check["what"].removesuffix(": shape"): check["measured"] for check in checks}
    assert shapes == {name: list(array.shape) for name, array in tensors.items()}


WRONG_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "floats for ids": ({"input_ids": np.zeros((2, 3))}, "input_ids is of float64, expected integers"),
    "one dimension": ({"input_ids": np.zeros(3, int)}, r"input_ids has the shape \[3\]"),
    "no dimension": ({"input_ids": np.array(3)}, r"input_ids has the shape \[\]"),
    "past the vocabulary": ({"input_ids": np.full((2, 3), 97)}, "input_ids holds 97, expected ids from 0 to 96"),
    "below nought": ({"input_ids": np.full((2, 3), -1)}, "input_ids holds -1"),
    "past the positions": ({"input_ids": np.zeros((1, 65), int)}, "65 tokens are too many to run"),
    "text": ({"logits": np.full((2, 24, 97), "x")}, "logits is of <U1, expected real numbers"),
    "not a number": ({"logits": np.full((2, 24, 97), np.nan)}, "logits holds what is not a finite number"),
    "a mask of another length": ({"attention_mask": np.ones((2, 2))}, r"attention_mask has the shape \[2, 2\]"),
    "a mask of sevens": ({"attention_mask": np.full((2, 24), 7)}, "expected 0 and 1"),
    "objects": ({"logits": np.array([None])}, "not an .npz file of arrays"),
}


@pytest.mark.parametrize(("arrays", "says"), WRONG_ARRAYS.values(), ids=WRONG_ARRAYS.keys())
def test_a_reference_of_wrong_arrays_is_one_sentence(
    gpt2: tuple[Path, dict[str, Any]], arrays: dict[str, Any], says: str
) -> None:
    folder, _ = gpt2
    held = dict(np.load(folder / "reference.npz"))
    path = folder / "wrong.npz"
    np.savez(path, **{**held, **arrays})
    with pytest.raises(InputError, match=says):
        report(folder / "config.json", weights=str(folder), reference=str(path))


def test_weights_that_are_not_numbers_fail_without_a_number(gpt2: tuple[Path, dict[str, Any]]) -> None:
    folder, tensors = gpt2
    name = "transformer.ln_f.weight"
    save(folder / "model.safetensors", {**tensors, name: tensors[name] * np.nan})
    data = report(folder / "config.json", weights=str(folder), reference=str(folder / "reference.npz"))
    assert (data["ok"], data["max_abs_diff"], data["max_rel_diff"]) == (False, None, None)


@pytest.mark.parametrize("name", ["../a.safetensors", "/a.safetensors", "", "..", "none.safetensors"])
def test_an_index_names_files_beside_it_alone(gpt2: tuple[Path, dict[str, Any]], name: str) -> None:
    folder, tensors = gpt2
    save(folder.parent / "a.safetensors", tensors)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, name)}))
    with pytest.raises(InputError, match="which is not a file beside it"):
        report(folder / "config.json", weights=str(index))


def test_a_shard_may_be_a_link_as_in_the_hugging_face_cache(gpt2: tuple[Path, dict[str, Any]]) -> None:
    folder, tensors = gpt2
    save(folder.parent / "blob", tensors)
    (folder / "a.safetensors").symlink_to(folder.parent / "blob")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, "a.safetensors")}))
    assert report(folder / "config.json", weights=str(index))["ok"]


@pytest.mark.parametrize("option", ["weights", "reference"])
def test_a_pipe_is_refused_and_not_waited_for(gpt2: tuple[Path, dict[str, Any]], option: str) -> None:
    folder, _ = gpt2
    os.mkfifo(folder / "pipe.npz")
    files = {"weights": str(folder), "reference": str(folder / "reference.npz"), option: str(folder / "pipe.npz")}
    with pytest.raises(InputError, match="neither a file nor a folder"):
        report(folder / "config.json", **files)


def test_an_expert_of_another_shape_is_named() -> None:
    model = load(config=tiny_models.MODELS["mixtral"]["config"])
    graph, sizes = model.graph, model.graph.sizes(model.workload())
    held: dict[str, tuple[int, ...]] = {}
    for stored in expected(graph, sizes):
        prefix, experts, _ = stored.name.partition(".experts.")
        if not experts:
            held[stored.name] = stored.shape
            continue
        for part in stored.tensor.parts:
            size: Any = tuple(shape(part.dims, sizes))
            word = part.path.split(".")[-2]
            held |= {f"{prefix}.experts.{e}.{word}_proj.weight": size[1:] for e in range(size[0])}
    assert match(graph, sizes, held).ok
    name = next(name for name in held if ".experts.1." in name)
    held[name] = (3, *held[name][1:])
    assert [wrong[0] for wrong in match(graph, sizes, held).wrong_shape] == [name]


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"seq": 2000}, "2,000 tokens are too many to run"),
        ({"seq": 1000, "context": 25}, "1,025 tokens are too many to run"),
    ],
)
def test_a_workload_that_cannot_run_is_refused(sizes: dict[str, int], says: str) -> None:
    model = load("gpt2")
    with pytest.raises(InputError, match=says):
        model.verify(**sizes, size="full")  # type: ignore[arg-type]


# a model, a workload, and what the tiny one is then run on
RUN_ON = [
    ("gpt2", "", {"batch": 2, "seq": 13, "context": 0}),
    ("gpt2", "--seq 50 -b 3", {"batch": 3, "seq": 50, "context": 0}),  # its table of positions grows with it
    ("gpt2", "--context 20", {"batch": 2, "seq": 1, "context": 20}),
    ("gemma-3-1b", "--seq 3 --context 30", {"batch": 2, "seq": 3, "context": 30}),  # windows of 7 keep 6 of them
    ("llama-4-scout", "--seq 5 --context 40", {"batch": 2, "seq": 5, "context": 40}),  # chunks
    ("deepseek-v3", "--context 9", {"batch": 2, "seq": 1, "context": 9}),  # latents are cached
    ("bloom-560m", "--seq 2 --context 5", {"batch": 2, "seq": 2, "context": 5}),  # a bias by distance
    ("t5-small", "--context 7", {"batch": 2, "seq": 13, "target_seq": 1, "context": 7}),  # buckets of distances
    ("t5-small", "--seq 9 --target-seq 4 -b 1", {"batch": 1, "seq": 9, "target_seq": 4, "context": 0}),
    ("whisper-tiny", "--seq 30", {"batch": 2, "seq": 30, "target_seq": 11, "context": 0}),
    ("vit-base", "--seq 197", {"batch": 2, "seq": 10, "context": 0}),  # what a tiny image has
]


@pytest.mark.parametrize(("model", "sizes", "on"), RUN_ON)
def test_a_tiny_model_is_run_on_what_is_asked_for(tcalc: Shell, model: str, sizes: str, on: dict[str, int]) -> None:
    data = tcalc.json(f"verify {model} {sizes}")
    assert data["ok"]
    assert data["run_on"] == data["workload"] == on


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gpt2 --target-seq 4", "target_seq is 4, but gpt2 has no decoder"),
        ("gpt2 --seq 2000", "2,000 tokens are too many to run: gpt2 has a table of 1,024 positions"),
        ("gpt2 --seq 1000 --context 30", "1,030 tokens are too many to run: gpt2 has a table of 1,024 positions"),
        ("bert-base-uncased --context 5", "context is 5, but bert-base-uncased keeps no cache"),
        ("vit-base --seq 5", "seq is 5; this model's images are 197 tokens"),
        ("gpt2 --weights x.safetensors --seq 5", "--seq is 5, but weights alone are not run"),
        ("gpt2 --weights x.safetensors --reference y.npz -b 5", "--batch is 5, but the run is of what the reference"),
    ],
)
def test_a_workload_that_the_model_cannot_take_is_refused_at_every_size(tcalc: Shell, line: str, said: str) -> None:
    assert said in tcalc.refusal(f"verify {line}")
    assert said in tcalc.refusal(f"verify {line} --size full")


class Remembering(Machine):
    """A machine whose caches hold what an earlier run left in them."""

    def __init__(self, kept: dict[str, Any], *args: Any) -> None:
        super().__init__(*args)
        self.kept = kept

    def remembered(self, x: Any, tokens: int) -> Any:
        path = f"{self.running} {self.layer}"
        if path not in self.kept:
            self.kept[path] = x
            return x
        missing = tokens - x.shape[-2]
        return np.concatenate([self.kept[path][..., -missing - 1 : -1, :], x], axis=-2)


def test_a_decoded_token_is_what_it_is_in_the_whole_sequence() -> None:
    """With what the first tokens left in its caches, the last one comes out as in one pass over all of them."""
    for name in ("gpt2", "llama-3-8b", "gemma-3-1b", "deepseek-v3", "bloom-560m"):
        spec = shrink(load(name).spec)
        graph = build_graph(spec)
        whole = graph.sizes(Workload(batch=2, seq=13))
        inputs = random_inputs(spec, Workload(batch=2, seq=13), 0)
        kept: dict[str, Any] = {}

        first = Remembering(kept, graph, whole, random_weights(graph, whole, 0), inputs).run()
        one = graph.sizes(Workload(batch=2, seq=1, context=12))
        last = {path: ids[:, -1:] for path, ids in inputs.items()}
        second = Remembering(kept, graph, one, random_weights(graph, one, 0), last).run()
        (wanted,), (got,) = first.outputs.values(), second.outputs.values()
        np.testing.assert_allclose(got[:, 0], wanted[:, -1], rtol=1e-9, err_msg=name)


@pytest.mark.filterwarnings("error")
def test_numbers_that_grow_too_large_are_said_and_no_warning_is_shown(tcalc: Shell, tmp_path: Path) -> None:
    line = "walk --size full --set place=none --set ffn.activation=relu2 --set layers=12 --set layer.residual_scale=1e9"
    assert tcalc.refusal(f"verify {line}").startswith(
        "the run's numbers grow too large for float64 at layers.attn.scores"
    )
    (tmp_path / "x.json").write_text('{"values": {"layers.0.ffn.up.weight": [[1e99, 1e99, 1e99, 1e99]]}}')
    status, _, err = tcalc(f"walk exercise --input {tmp_path / 'x.json'}")
    assert status in (0, 2)
    assert "Warning" not in err

"""The most that is alive in a training step: what is predicted of the loss, held against PyTorch's own storages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reports import memory_report

from transformer_calc import Transformer, load
from transformer_calc.expr import Expr, evaluate
from transformer_calc.plan import Mesh, Training
from transformer_calc.readings.memory.letters import letters_of
from transformer_calc.readings.memory.parts import StageMemory
from transformer_calc.readings.memory.training import START, Reading
from transformer_calc.readings.shard import stages

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "peaks.json").read_text())["models"]
RECIPES = {"bfloat16": "bf16", "float32": "fp32", "float16": "fp16-mixed"}  # by the type of the activations


def held(model: Transformer, plan: Training, workload: Any) -> StageMemory:
    (stage,) = stages(model.graph, plan.mesh)
    return Reading(model.graph, model.graph.sizes(workload), plan).held(stage)


def predicted(name: str, kind: str, size: list[int]) -> StageMemory:
    model = load(config=GOLDEN[name]["config"])
    attention, dtype, outputs = kind.split()
    batch, seq, target = size
    axes = model.graph.workload_axes
    run = model.workload(
        batch=batch,
        seq=None if name == "whisper" else seq,
        target_seq=target if "target" in axes else None,
    )
    attention = "flash" if attention == "sdpa" else "eager"
    plan = Training(precision=RECIPES[dtype], kernels="eager", attention=attention, outputs=outputs)
    return held(model, plan, run)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_peak_is_what_pytorch_allocates(name: str) -> None:
    """To the byte, in two micro-batches, with the output held and released (tests/oracle/measure_peaks.py)."""
    assert GOLDEN[name]["at"] == ["aten._log_softmax_backward_data.default"]
    for kind, measured in GOLDEN[name]["bytes"].items():
        found = [predicted(name, kind, size) for size in GOLDEN[name]["sizes"]]
        assert [of.bytes.activations for of in found] == measured, kind
        assert {of.peak_at for of in found} == {START}


# of a Llama of one layer, 32,768 words, width 64, 1,024 tokens: bytes a logit in all
BYTES = [("bf16", "held", 14.10), ("bf16", "released", 12.10), ("fp32", "released", 12.19), ("fp32", "held", 16.19)]


@pytest.mark.parametrize(("recipe", "outputs", "each"), BYTES)
def test_bytes_of_a_logit(recipe: str, outputs: str, each: float) -> None:
    """Log-probabilities, their gradient and the logits' in float32; a released output leaves nothing of itself."""
    model = load(config=GOLDEN["wide"]["config"])
    logits, width = 1024 * 32768, 4 if recipe == "fp32" else 2
    for kernels in ("eager", "fused"):
        plan = Training(precision=recipe, kernels=kernels, outputs=outputs)
        found = held(model, plan, model.workload(batch=1, seq=1024))
        assert found.logits_and_loss == (12 + width * (outputs == "held")) * logits
    assert found.bytes.activations / logits == pytest.approx(each, abs=0.15)
    eager = held(model, plan.changed(kernels="eager"), model.workload(batch=1, seq=1024))
    assert eager.bytes.activations / logits == pytest.approx(each, abs=0.01)


def test_a_softcap_adds_a_copy() -> None:
    """Gemma 2 keeps its tanh, of the logits and not of the loss."""
    model = load(config=GOLDEN["wide_softcap"]["config"])
    logits = 1024 * 32768
    for outputs, each in (("held", 16), ("released", 14)):
        found = held(model, Training(precision="bf16", outputs=outputs), model.workload(batch=1, seq=1024))
        assert found.logits_and_loss == each * logits
        assert 2 * logits < found.saved < 3 * logits


FAMILIES: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "activations_by_family.json").read_text())


@pytest.mark.parametrize("name", ["llama", "mistral_window_one_head", "gemma3_one_head", "gpt2", "qwen3_moe"])
def test_what_is_saved_is_what_autograd_keeps_but_for_the_loss(name: str) -> None:
    """Log-probabilities and targets of 3·40 tokens, and the number that they are divided by, are the loss's."""
    case = FAMILIES["models"][name]
    model = load(config=case["config"])
    batch, seq, _ = FAMILIES["sizes"][0]
    plan = Training(precision="bf16", kernels="eager")
    found = held(model, plan, model.workload(batch=batch, seq=seq))
    loss = batch * seq * (4 * case["config"]["vocab_size"] + 8) + 4
    assert found.saved == case["saved_bytes"]["sdpa bfloat16"][0] - loss
    report: Any = memory_report(model, model.workload(batch=batch, seq=seq), plan).to_dict()
    assert report["memory"]["saved"] == found.saved


@pytest.mark.parametrize("tp", [2, 8])
def test_ranks_share_the_logits(tp: int) -> None:
    model = load(config=GOLDEN["wide"]["config"] | {"num_attention_heads": 8, "num_key_value_heads": 8})
    plan = Training(mesh=Mesh(tp=tp))
    report: Any = memory_report(model, model.workload(batch=1, seq=1024), plan).to_dict()
    assert report["memory"]["logits_and_loss"] == 14 * 1024 * 32768 // tp
    assert "of a rank's part of the vocabulary" in report["assumptions"]["logits and loss"]["text"]


def test_what_the_loop_holds_is_there_in_the_layers_too() -> None:
    """Where the peak is in a layer, the loss is gone and a held output is not."""
    model = load("llama-3-8b", fields={"layers": 8, "vocab": 4096})
    run = model.workload(batch=1, seq=2048)
    plan = Training(recompute="full", recompute_every=8)
    both = [held(model, plan.changed(outputs=outputs), run) for outputs in ("held", "released")]
    assert {of.peak_at for of in both} == {"recomputation of a layer in the backward pass"}
    assert [of.logits_and_loss for of in both] == [2 * 2048 * 4096, 0]
    assert both[0].bytes.activations - both[1].bytes.activations == 2 * 2048 * 4096


def test_micro_batches_bound_the_loss() -> None:
    """One micro-batch's at a time, of a pipeline's last stage alone; GPipe's last stage has those of all."""
    model = load("gpt2")
    for schedule, times in (("1f1b", 1), ("gpipe", 4)):
        plan = Training(mesh=Mesh(pp=2), micro_batch=1, schedule=schedule)
        counts = []
        for stage in stages(model.graph, plan.mesh):
            run = model.graph.sizes(model.workload(batch=4, seq=64))
            counts.append(Reading(model.graph, run, plan).held(stage).logits_and_loss)
        logits, targets = 64 * 50257, 8 * 64
        assert counts == [0, times * (4 + 2) * logits + 8 * logits + (times - 1) * targets]
    plan = Training(micro_batch=1)
    assert held(model, plan, model.workload(batch=4, seq=64)).logits_and_loss == 14 * logits


@pytest.mark.parametrize("outputs", ["held", "released"])
@pytest.mark.parametrize("recompute", ["none", "full"])
@pytest.mark.parametrize("name", ["wide", "wide_softcap", "bert", "t5"])
def test_formulas_say_the_same(name: str, recompute: str, outputs: str) -> None:
    model = load(config=GOLDEN[name]["config"])
    plan = Training(recompute=recompute, outputs=outputs, mesh=Mesh())
    run = model.workload(batch=2, seq=96, target_seq=64 if "target" in model.graph.workload_axes else None)
    sizes, found = model.graph.sizes(run), held(model, plan, run)
    letters = letters_of(model.graph, sizes, plan)
    (stage,) = stages(model.graph, plan.mesh)
    both = Reading(model.graph, letters.sizes, plan).held(letters.stage(stage, plan.mesh))
    assert both == found
    formulas, _ = letters.textbook({"activations": both.bytes.activations, "gradients": both.bytes.gradients})
    assert evaluate(formulas["activations"], letters.values) == found.bytes.activations
    assert isinstance(formulas["activations"], Expr)

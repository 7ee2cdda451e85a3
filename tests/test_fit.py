"""What fits: the answer to what was asked, by the count of `tcalc memory`, and what is said of the model's length."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from shell import Shell

from transformer_calc import load
from transformer_calc.sources import presets
from transformer_calc.sources.lengths import of_config


@pytest.fixture
def tcalc(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def fitted(tcalc: Shell, line: str) -> tuple[int, dict[str, Any], Any]:
    """Exit status, what fits, and what was solved for."""
    status, out, err = tcalc(f"fit {line} --json")
    assert status in (0, 1), err
    data = json.loads(out)
    return status, data["fit"], data["solved_for"]


# --- the question -----------------------------------------------------------------------------------------------

ON = "--device h100-sxm"
QUESTIONS = [  # what is given -> what is looked for
    ("llama-3-8b", "batch"),
    ("llama-3-8b --context 8k", "batch"),
    ("llama-3-8b --seq 8k", "batch"),
    ("llama-3-8b --batch 7", "context"),
    ("llama-3-8b --batch 7 --solve context", "context"),
    ("llama-3-8b --batch 7 --context 8k", None),
    ("llama-3-8b --batch 7 --seq 8k", None),
    ("llama-3-8b --batch 7 --context 8k --devices 2", None),
    ("llama-3-8b --batch 7 --context 8k --solve devices", "devices"),
    ("llama-3-8b --mode train --zero 3 --dp 8", "batch"),
    ("llama-3-8b --mode train --zero 3 --dp 8 --batch 16", "context"),
    ("llama-3-8b --mode train --zero 3 --dp 8 --batch 16 --seq 1k", None),
    ("llama-3-8b --mode train --zero 3 --dp 8 --micro-batch 2 --batch 16", "context"),
    ("bert-base-uncased --batch 9", "context"),
    ("bert-base-uncased --batch 9 --seq 100", None),
    ("vit-base --batch 9", None),  # its images have a length of their own
    ("vit-base", "batch"),
    ("t5-base --batch 9", "context"),
    ("t5-base --batch 9 --context 100", None),
]


NOT_DIVIDED = [
    ("gpt2 --devices 8 --tp 8", "--tp is 8; it must divide the 12 query heads"),
    ("gpt2 --devices 4 --tp 2 --pp 1 --batch 3", "--dp is 2; it must divide the batch of 3"),
    ("gpt2 --devices 7 --tp 2", "--devices is 7, but --tp 2 make 2; it must be a multiple"),
    ("gpt2 --devices 8 --tp 2 --pp 2 --dp 1", "--devices is 8, but --tp 2 and --pp 2 make 4; give one of them"),
    ("gpt2 --tp 8", "--tp is 8; it must divide the 12 query heads"),
]
WHOLE = [  # devices, with what is given of the mesh -> the mesh that is found: of a node, 8
    ("llama-3-70b --devices 8 --batch 4", {"tp": 8, "pp": 1, "dp": 1}),
    ("llama-3-70b --devices 16 --batch 4", {"tp": 8, "pp": 1, "dp": 2}),
    ("llama-3-70b --devices 16 --batch 3", {"tp": 8, "pp": 2, "dp": 1}),
    ("llama-3-70b --devices 16 --tp 4 --batch 4", {"tp": 4, "pp": 1, "dp": 4}),
    ("llama-3-70b --devices 16 --pp 2 --batch 1", {"tp": 8, "pp": 2, "dp": 1}),
    ("llama-3-70b --devices 512 --batch 64", {"tp": 8, "pp": 1, "dp": 64}),
    ("llama-3.1-405b --devices 16 --batch 8", {"tp": 8, "pp": 2, "dp": 1}),  # two copies would not fit
    ("gpt2 --devices 8 --batch 1", {"tp": 4, "pp": 2, "dp": 1}),  # 12 heads
]


@pytest.mark.parametrize(("line", "mesh"), WHOLE)
def test_a_machine_is_divided_where_that_is_not_said(tcalc: Shell, line: str, mesh: dict[str, int]) -> None:
    found = tcalc.json(f"fit {line} --context 100 --device h100-sxm")["fit"]["mesh"]
    assert {name: found[name] for name in mesh} == mesh
    devices = int(line.split("--devices ")[1].split()[0])
    assert tcalc.json(f"memory {line} --context 100 --device h100-sxm")["devices"] == devices
    title = tcalc.answer(f"serve {line} --context 100 --device h100-sxm").splitlines()[0]
    assert f"on {devices} devices (" in title


@pytest.mark.parametrize("command", ["fit", "serve"])
@pytest.mark.parametrize(("line", "said"), NOT_DIVIDED)
def test_a_refusal_names_the_option_that_was_written(tcalc: Shell, command: str, line: str, said: str) -> None:
    status, _, told = tcalc(f"{command} {line} --device t4")
    assert (status, told.splitlines()[0]) == (2, f"error: {said}")


@pytest.mark.parametrize("line", ["llama-3-70b", "llama-3-70b --batch 3", "llama-3-70b --batch 3 --context 8k"])
def test_devices_that_are_given_are_told_though_nothing_fits(tcalc: Shell, line: str) -> None:
    _, found, _ = fitted(tcalc, f"{line} --device t4 --devices 2")
    assert (found["fits"], found["devices"]) == (False, 2)


@pytest.mark.parametrize(("line", "solved"), QUESTIONS)
def test_what_is_given_stays_and_what_is_not_is_looked_for(tcalc: Shell, line: str, solved: str | None) -> None:
    _, found, solved_for = fitted(tcalc, f"{line} {ON}")
    assert solved_for == solved
    words = line.split()
    given = {
        name: words[words.index(f"--{name}") + 1] for name in ("batch", "context", "devices") if f"--{name}" in words
    }
    for name, text in given.items():
        assert str(found[name]) == text.replace("8k", str(found["context"]))
    if "--seq" in words:
        assert found["context"] == json.loads(tcalc(f"memory {line} --json")[1] or "{}").get("workload", {}).get(
            "seq", found["context"]
        )


REFUSED = [
    ("llama-3-8b --batch 7 --solve batch", "--batch is 7, but --solve batch is to find it"),
    ("llama-3-8b --context 8192 --solve context", "--context is 8,192, but --solve context is to find it"),
    ("llama-3-8b --mode train --seq 512 --solve context", "--seq is 512, but --solve context is to find it"),
    ("llama-3-8b --mode train --batch 8 --solve batch", "--batch is 8, but --solve batch is to find it"),
    ("bert-base-uncased --seq 100 --solve context", "--seq is 100, but --solve context is to find it"),
    ("llama-3-8b --devices 4 --solve devices", "--devices is 4, but --solve devices is to find how many"),
    ("llama-3-8b --tp 1 --pp 2 --solve devices", "--tp 1, --pp 2 are given, but --solve devices is to find them"),
    ("vit-base --solve context", "--solve is context, but images of vit-base are always 197 tokens"),
    ("llama-3-8b --mode train --context 100", "--context is 100, but --mode is train"),
    ("bert-base-uncased --context 100", "context is 100, but bert-base-uncased keeps no cache"),
    ("llama-3-8b --dp 4 --batch 7 --context 100", "--dp is 4; it must divide the batch of 7"),
    ("llama-3-8b --tp 2 --devices 5", "--devices is 5"),
]


@pytest.mark.parametrize(("line", "says"), REFUSED)
def test_what_is_looked_for_cannot_be_given(tcalc: Shell, line: str, says: str) -> None:
    assert says in tcalc.refusal(f"fit {line} {ON}")


@pytest.mark.parametrize(
    "line",
    [
        "llama-3-8b --batch 200 --context 128000",
        "llama-3-8b --batch 7 --context 8192",
        "llama-3-70b --batch 1 --context 100",
        "llama-3-70b --devices 4 --batch 64 --context 8192",
        "llama-3-8b --mode train --zero 3 --dp 8 --batch 512 --seq 2048",
        "llama-3-8b --mode train --zero 3 --dp 8 --batch 8 --seq 2048",
        "llama-3-8b --mode train --zero 3 --dp 8 --micro-batch 1 --batch 512 --seq 2048",
        "bert-base-uncased --batch 100000 --seq 512",
        "whisper-small --batch 4000 --context 400",
    ],
)
def test_whether_it_fits_is_answered_for_what_was_asked(tcalc: Shell, line: str) -> None:
    """The answer is that of `memory --check`, and the largest batch beside it is right."""
    status, found, _ = fitted(tcalc, f"{line} {ON}")
    assert found["fits"] is (status == 0)
    line = line.replace("--devices", "--tp")
    assert tcalc(f"memory {line} {ON} --check")[0] == status
    words = line.split()
    asked = int(words[words.index("--batch") + 1])
    assert found["batch"] == asked
    assert found["fits"] is (found["largest_batch"] is None or asked <= found["largest_batch"])
    if most := found["largest_batch"]:
        step = 8 if "--dp" in words else 1
        for batch, fits in ((most, True), (most + step, False)):
            assert tcalc(f"memory {line.replace(f'--batch {asked}', f'--batch {batch}')} {ON} --check")[0] == (not fits)


# --- one count --------------------------------------------------------------------------------------------------

SERVED = st.tuples(
    st.sampled_from(["", "--weights int8", "--weights q4_k_m", "--weights nf4", "--weights fp8"]),
    st.sampled_from(["", "--kv-dtype fp8", "--kv-dtype int8"]),
    st.sampled_from(["", "--tp 2", "--tp 2 --kv-split batch", "--pp 2", "--dp 2", "--cp 2"]),
    st.sampled_from(["", "--attention eager", "--logits all"]),
    st.sampled_from(["", "--block-size 16"]),
    st.sampled_from(["", "--overhead 1Gi"]),
)
TRAINED = st.tuples(
    st.just("--mode train"),
    st.sampled_from(["", "--zero 1 --dp 4", "--zero 3 --dp 8", "--tp 2 --sp", "--pp 2", "--tp 2 --pp 2 --dp 2"]),
    st.sampled_from(["", "--recompute full", "--recompute selective"]),
    st.sampled_from(["", "--precision bf16", "--precision fp32"]),
    st.sampled_from(["", "--optimizer sgd", "--optimizer adam8bit"]),
    st.sampled_from(["", "--lora-rank 8", "--lora-rank 8 --weights nf4"]),
    st.sampled_from(["", "--attention eager", "--kernels eager"]),
)
MODELS = (
    "gpt2 llama-3-8b mistral-7b-v0.1 deepseek-v2-lite gemma-2-9b gemma-3-1b mixtral-8x7b qwen3-30b-a3b bloom-560m "
    "t5-large whisper-small bert-large-uncased phi-2 gpt-oss-20b"
).split()


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    st.sampled_from(MODELS),
    st.sampled_from(["t4", "rtx-4090", "a100-40gb-sxm", "h100-sxm", "tpu-v5e"]),
    st.one_of(SERVED, TRAINED),
    st.sampled_from(["batch", "context", "devices"]),
    st.integers(1, 3000),
    st.integers(1, 16),
)
def test_what_fits_passes_the_check_of_memory_and_one_more_does_not(
    tcalc: Shell, name: str, device: str, flags: tuple[str, ...], solve: str, length: int, batch: int
) -> None:
    """The same words to both, with what was found in place of what was looked for."""
    how = " ".join(filter(None, flags))
    word = "seq" if "train" in how or name.startswith("bert") else "context"
    batch *= 8
    sizes = {
        "batch": f"--{word} {length}",
        "context": f"--batch {batch}",
        "devices": f"--batch {batch} --{word} {length}",
    }
    asked = f"{name} --device {device} {how} {sizes[solve]}"
    if solve == "devices":
        asked = " ".join(part for part in asked.split(" ") if part not in ("--sp",))
    status, out, err = tcalc(f"fit {asked} {'--solve devices' if solve == 'devices' else ''} --json")
    if status == 2:  # what the model or the device does not take; then memory does not either
        assume(solve != "devices")
        one = {"batch": "--batch 8", "context": f"--{word} 8"}[solve]
        assert tcalc(f"memory {asked} {one} --check")[0] == 2, err
        return
    data = json.loads(out)
    found = data["fit"]
    assert data["solved_for"] == solve
    if solve == "devices":
        for way in ("dp", "tp", "pp"):
            words = asked.split()
            if f"--{way}" in words:
                del words[words.index(f"--{way}") : words.index(f"--{way}") + 2]
            asked = f"{' '.join(words)} --{way} {found['mesh'][way]}"
        assert tcalc(f"memory {asked} --check")[0] == status
        return
    if not found["fits"] or found[solve] is None:
        return
    step = {"batch": data["fit"]["mesh"]["dp"], "context": data["fit"]["mesh"]["cp"] if "train" in how else 1}[solve]
    flag = {"batch": "batch", "context": word}[solve]
    for size, right in ((found[solve], 0), (found[solve] + step, 1)):
        assert tcalc(f"memory {asked} --{flag} {size} --check")[0] == right, (asked, size)


# --- the model's length -----------------------------------------------------------------------------------------

LENGTHS = [  # what a config says -> tokens
    ({"model_type": "llama", "max_position_embeddings": 4096}, 4096),
    ({"model_type": "llama"}, 2048),  # the family's default
    # lmsys/vicuna-7b-v1.5-16k: 16K by linear scaling
    (
        {"model_type": "llama", "max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}},
        16384,
    ),
    # Qwen2.5's README, processing long texts: 32,768 to 131,072
    (
        {
            "model_type": "qwen2",
            "max_position_embeddings": 32768,
            "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        },
        131072,
    ),
    # deepseek-ai/DeepSeek-V3: 40 times 4,096 are in the length already
    (
        {
            "model_type": "deepseek_v3",
            "max_position_embeddings": 163840,
            "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096},
        },
        163840,
    ),
    (
        {
            "model_type": "llama",
            "max_position_embeddings": 131072,
            "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
        },
        131072,
    ),
    (
        {
            "model_type": "gemma3_text",
            "max_position_embeddings": 131072,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
        131072,
    ),
    ({"model_type": "bloom"}, None),
]


@pytest.mark.parametrize(("config", "tokens"), LENGTHS)
def test_the_length_that_a_config_states(config: dict[str, Any], tokens: int | None) -> None:
    assert of_config(config) == tokens


@pytest.mark.parametrize("name", presets.names())
def test_beyond_its_length_a_model_is_remarked_on(name: str) -> None:
    """Every kind of model with a length, in the one place that all commands share; not within it."""
    model = load(name)
    if model.length is None:
        run = model.workload(seq=None if model.spec.kind == "vision" else 10**6)
        assert not model.beyond(run)
        return
    decodes = model.spec.kind == "encoder-decoder"
    for more in (0, 1):
        run = model.workload(**{"target_seq" if decodes else "seq": model.length.tokens + more})
        assert [note for note in model.beyond(run) if "more than" in note] == model.beyond(run)
        assert bool(model.beyond(run)) is bool(more)


def test_models_whose_scores_fall_with_the_distance_have_no_length() -> None:
    assert [load(name).length for name in ("bloom-176b", "mpt-7b", "t5-base")] == [None] * 3
    assert load("palm-540b").length == (2048, "trained on")
    assert load("gpt2").length == (1024, "positions")
    assert load("llama-3-8b").length == (8192, "max_position_embeddings")


@pytest.mark.parametrize(
    "line",
    [
        "memory llama-3-8b --context 9000",
        "memory llama-3-8b --mode train --seq 9000",
        "serve llama-3-8b --device h200-sxm --context 9000",
        "serve llama-3-8b --device h200-sxm --seq 8000 --output 1000",
        "fit llama-3-8b --device h100-sxm --context 9000",
        "fit llama-3-8b --device h100-sxm --solve context",
        "fit palm-8b --device h100-sxm --batch 1",
        "cost llama-3-8b --seq 9000 --mfu 0.4",
        "shapes llama-3-8b --seq 9000",
        "flops llama-3-8b --seq 9000",
        "params llama-3-8b --seq 9000",
        "shapes mistral-7b-v0.1 --context 40000",
    ],
)
def test_every_command_says_that_it_is_beyond_the_length(tcalc: Shell, line: str) -> None:
    status, out, err = tcalc(f"{line} --json")
    assert status == 0
    assert any(word in err for word in ("that the model is made for", "the model is made for", "was trained on"))
    data = json.loads(out)
    assert data["model"]["notes"]
    assert data["model"]["length"]["tokens"] in (2048, 8192, 32768)
    if data["command"] in ("memory", "serve", "cost"):
        assert "more than the 8,192" in data["assumptions"]["length"]["text"]
    if data["command"] == "fit":
        assert data["fit"]["beyond_model_length"] is True
        shown = tcalc(line)[1]
        assert "the model itself" in shown


def test_a_full_cache_is_not_beyond_a_stated_length(tcalc: Shell) -> None:
    assert not tcalc("memory llama-3-8b --context 8192")[2]
    assert "1,025 tokens are more than the model's 1,024 positions" in tcalc("memory gpt2 --context 1024")[2]

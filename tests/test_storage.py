"""Bytes of storage types, recipes and optimizers against what their sources print."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest

from transformer_calc.errors import InputError
from transformer_calc.expr import symbol
from transformer_calc.storage import (
    ALIASES,
    OPTIMIZER_ALIASES,
    OPTIMIZERS,
    PRECISION_ALIASES,
    PRECISIONS,
    STORAGE,
    bytes_of,
    optimizer,
    precision,
    storage,
)

LLAMA_65B = 65_285_660_672


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("fp32", 32),
        ("tf32", 32),
        ("bf16", 16),
        ("fp16", 16),
        ("fp8", 8),
        ("int8", 8),
        ("int4-g128", 4 + 20 / 128),  # GPTQ and AWQ: 16-bit scale, 4-bit zero point
        ("int4-g64", 4 + 20 / 64),
        ("int4-g32", 4 + 20 / 32),
        ("nf4", 4 + 32 / 64),  # QLoRA, section 3: 0.5 bits for the constants
        ("nf4-dq", 4 + 8 / 64 + 32 / (64 * 256)),  # 0.127 bits
        ("mxfp4", 4.25),  # OCP MX v1.0
        ("mxfp6", 6.25),
        ("mxfp8", 8.25),
        ("nvfp4", 4.5),
        # bits per weight as the comments of llama.cpp's ggml-common.h and its table of types have them
        ("q4_0", 4.5),
        ("q4_1", 5.0),
        ("q5_0", 5.5),
        ("q5_1", 6.0),
        ("q8_0", 8.5),
        ("q2_k", 2.625),
        ("q3_k", 3.4375),
        ("q4_k", 4.5),
        ("q5_k", 5.5),
        ("q6_k", 6.5625),
        ("q8_k", 8 + 32 / 256 + 16 / 16),
        ("iq1_s", 1.5625),
        ("iq1_m", 1.75),
        ("iq2_xxs", 2.0625),
        ("iq2_xs", 2.3125),
        ("iq2_s", 2.5625),
        ("iq3_xxs", 3.0625),
        ("iq3_s", 3.4375),
        ("iq4_nl", 4.5),
        ("iq4_xs", 4.25),
        ("tq1_0", 1.6875),
        ("tq2_0", 2.0625),
    ],
)
def test_bits_per_element(name: str, bits: float) -> None:
    assert Fraction(*storage(name).bits) == Fraction(bits)


@pytest.mark.parametrize("name", STORAGE)
def test_whole_blocks_are_whole_bytes(name: str) -> None:
    found = STORAGE[name]
    assert found.source
    assert bytes_of(3 * found.elements, name) == 3 * found.bytes
    assert Fraction(bytes_of(1, name)) * 8 == Fraction(*found.bits)


def test_bytes_are_exact() -> None:
    assert bytes_of(10**18 + 1, "bf16") == 2 * 10**18 + 2
    assert bytes_of(1, "q4_0") == Fraction(9, 16)
    assert type(bytes_of(64, "q4_0")) is int


def test_constants_of_rows_and_tensors() -> None:
    assert bytes_of(4096 * 4096, "int8") == 4096**2
    assert bytes_of(4096 * 4096, "int8", rows=4096) == 4096**2 + 4 * 4096  # an fp32 scale for each output channel
    assert bytes_of(4096 * 4096, "fp8", rows=4096, tensors=1) == 4096**2 + 4
    assert bytes_of(4096 * 4096, "nvfp4", tensors=1) == 4096**2 * 9 // 16 + 4
    assert bytes_of(64, "bf16", rows=8, tensors=1) == 128


def test_symbols_stay_symbols() -> None:
    d = symbol("D")
    assert STORAGE["bf16"].of(d * d) == 2 * d * d
    assert str(STORAGE["nf4"].of(d * d)) == "9/16·D²"
    assert optimizer("adamw").bytes_of((d, 4 * d)) == 32 * d * d
    assert optimizer("adafactor").bytes_of((d, 4 * d)) == 20 * d


def test_double_quantisation_saves_what_qlora_prints() -> None:
    # Dettmers et al. 2023: from 0.5 to 0.127 bits, 0.373 saved; about 3 GB of a 65B model, which then fits in 48 GB
    saved = Fraction(*storage("nf4").bits) - Fraction(*storage("nf4-dq").bits)
    assert round(float(saved), 3) == 0.373
    gigabytes = float(bytes_of(LLAMA_65B, "nf4") - bytes_of(LLAMA_65B, "nf4-dq")) / 1e9
    assert gigabytes == pytest.approx(3, abs=0.1)
    assert bytes_of(LLAMA_65B, "nf4-dq") < 41e9 < 48e9


# --- recipes ----------------------------------------------------------------------------------------------------


def bytes_per_parameter(recipe: str, by: str) -> int:
    """Of a large hidden matrix."""
    found = precision(recipe)
    states: int = optimizer(by).bytes_of((4096, 4096), states=found.states)
    assert states % 4096**2 == 0
    return sum(found.bytes_per_parameter) + states // 4096**2


@pytest.mark.parametrize(
    ("recipe", "by", "bytes"),
    [
        ("fp16-mixed", "adam", 16),  # ZeRO, section 3.1: 2 + 2 + 12
        ("bf16-mixed", "adamw", 16),
        ("fp32", "adamw", 16),  # Megatron-LM's table of the distributed optimizer
        ("bf16-fp32-grads", "adamw", 18),  # the same
        ("bf16-fp32-states", "adamw", 12),  # QLoRA: more than 780 GB for 65B
        ("bf16", "adamw", 8),
        ("autocast", "adamw", 16),
        ("fp8", "adamw", 13),  # DeepSeek-V3, section 3.3.3: fp32 master and gradients, bf16 states
        ("fp32", "sgd", 8),
        ("fp32", "sgd-momentum", 12),
        ("bf16-mixed", "lion", 12),
        ("bf16-mixed", "muon", 12),
    ],
)
def test_bytes_per_parameter(recipe: str, by: str, bytes: int) -> None:
    assert bytes_per_parameter(recipe, by) == bytes


def test_zero_s_table_1() -> None:
    # Rajbhandari et al. 2019: GB per device for 7.5B parameters on 64 devices, by stage
    weights, gradients, master = precision("fp16-mixed").bytes_per_parameter
    optimizer_bytes = master + 8
    by_stage = [
        weights + gradients + optimizer_bytes,
        weights + gradients + optimizer_bytes / 64,
        weights + (gradients + optimizer_bytes) / 64,
        (weights + gradients + optimizer_bytes) / 64,
    ]
    assert [round(7.5 * each, 1) for each in by_stage] == [120.0, 31.4, 16.6, 1.9]


@pytest.mark.parametrize("name", PRECISIONS)
def test_recipes_are_of_known_types(name: str) -> None:
    found = PRECISIONS[name]
    assert found.source
    assert {found.weights, found.gradients, found.states, found.activations} <= STORAGE.keys()
    assert found.master in ("", "fp32")


# --- optimizers -------------------------------------------------------------------------------------------------


def test_eight_bit_adam() -> None:
    # Dettmers et al. 2021: two states of a byte with a constant per 2048; embeddings stay in 32 bits
    adam = optimizer("adam8bit")
    assert adam.bytes_of((4096, 4096)) == 2 * 4096**2 + 2 * 4 * 4096**2 // 2048
    assert adam.bytes_of((4096, 4096), "head") == adam.bytes_of((4096, 4096))
    assert adam.bytes_of((4096, 4096), "embedding") == 8 * 4096**2
    assert adam.bytes_of((4095,)) == 8 * 4095
    assert adam.bytes_of((4096,)) == 2 * (4096 + 8)
    assert adam.bytes_of((4096, 4096), states="bf16") == adam.bytes_of((4096, 4096))


def test_adafactor_keeps_rows_and_columns() -> None:
    adafactor = optimizer("adafactor")
    assert adafactor.bytes_of((1000, 300)) == 4 * 1300
    assert adafactor.bytes_of((1000,)) == 4 * 1000
    assert adafactor.bytes_of((8, 1000, 300)) == 8 * adafactor.bytes_of((1000, 300))  # stacked experts


def test_muon_orthogonalises_each_matrix() -> None:
    """Five iterations of 2·(2·n·m² + m³), m the smaller size (Jordan et al. 2024)."""
    muon = optimizer("muon")
    assert muon.flops_of((300, 1000)) == muon.flops_of((1000, 300)) == 5 * 2 * (2 * 1000 * 300**2 + 300**3)
    assert muon.flops_of((8, 300, 1000)) == 8 * muon.flops_of((300, 1000))
    assert muon.flops_of((300,)) == muon.flops_of((300, 1000), "embedding") == optimizer("adamw").flops_of((3, 4)) == 0


def test_muon_leaves_embeddings_heads_and_vectors_to_adamw() -> None:
    muon, adamw = optimizer("muon"), optimizer("adamw")
    assert muon.bytes_of((1000, 300)) == 4 * 300_000
    for dims, role in [((1000, 300), "embedding"), ((1000, 300), "head"), ((300,), "hidden")]:
        assert muon.bytes_of(dims, role) == adamw.bytes_of(dims, role)
    assert muon.bytes_of((1000, 300), states="bf16") == 2 * 300_000


def test_roles_are_checked() -> None:
    with pytest.raises(InputError, match="role is 'body'"):
        optimizer("adamw").bytes_of((3, 3), "body")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_have_a_source(name: str) -> None:
    assert OPTIMIZERS[name].source


# --- names ------------------------------------------------------------------------------------------------------


def test_names_and_other_names() -> None:
    for aliases, table in ((ALIASES, STORAGE), (PRECISION_ALIASES, PRECISIONS), (OPTIMIZER_ALIASES, OPTIMIZERS)):
        assert set(aliases.values()) <= set(table)
        assert not set(aliases) & set(table)
    assert storage(" Q4_K ") is storage("q4-k") is STORAGE["q4_k"]
    assert storage("bfloat16") is STORAGE["bf16"]
    assert storage("nf4_dq") is STORAGE["nf4-dq"]
    assert precision("bf16_mixed") is PRECISIONS["bf16-mixed"]
    assert optimizer("Adam") is OPTIMIZERS["adamw"]


@pytest.mark.parametrize(
    ("look_up", "name", "says"),
    [
        (storage, "q4_k_m", "'q4_k_m' is no storage type: it mixes several, layer by layer|give the type that most"),
        (storage, "bf61", "'bf61' is not a storage type|did you mean bf16?"),
        (storage, "", "'' is not a storage type|there are fp64"),
        (precision, "bf16-mixt", "'bf16-mixt' is not a precision|did you mean bf16-mixed?"),
        (optimizer, "lyon", "'lyon' is not an optimizer|did you mean lion?"),
    ],
)
def test_a_wrong_name_gets_the_nearest(look_up: object, name: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        look_up(name)  # type: ignore[operator]
    assert f"{error.value.message}|{error.value.hint}".startswith(says)


def test_importing_it_is_cheap() -> None:
    code = "import sys, transformer_calc.storage; print({'fractions', 'decimal', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"

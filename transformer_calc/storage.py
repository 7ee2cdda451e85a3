"""How numbers are stored, and what training keeps of each parameter: tables, each entry with its source.

A storage type is exact: so many elements are so many bytes, scales and other constants included. Bits per element
are `8 * bytes / elements`, a rational number; nothing here rounds. The functions take integers or expressions of
symbols alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from transformer_calc.errors import InputError, beginning, did_you_mean, shown
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from fractions import Fraction

T = TypeVar("T")


class Storage(NamedTuple):
    """A storage type: a block of `elements` takes `bytes`; constants of a row or of a tensor come on top."""

    name: str
    elements: int
    bytes: int
    source: str
    note: str = ""
    row_bytes: int = 0  # for each row (output channel) of a matrix
    tensor_bytes: int = 0  # for each tensor
    copied: str = ""  # whether a matrix is computed with in a wider copy of its own: always, backward (only there)
    table: str = ""  # types that a model of this one has beside it, where it says so: of the token table,
    head: str = ""  # the head, or the table that is both,
    rest: str = ""  # and the norms, biases and routers

    @property
    def bits(self) -> tuple[int, int]:
        """Bits per element as a fraction in lowest terms, without the constants of rows and tensors."""
        numerator, denominator = 8 * self.bytes, self.elements
        a, b = numerator, denominator
        while b:
            a, b = b, a % b
        return numerator // a, denominator // a

    def of(self, elements: Any, rows: Any = None, tensors: Any = None) -> Any:
        """Bytes of so many elements, exactly: an int where it is whole, else a Fraction; symbols stay symbols.

        rows, tensors: how many there are, so that their constants count; None leaves those out.
        """
        total = _divided(elements * self.bytes, self.elements)
        if rows is not None and self.row_bytes:
            total = total + rows * self.row_bytes
        if tensors is not None and self.tensor_bytes:
            total = total + tensors * self.tensor_bytes
        return total


def _divided(value: Any, by: int) -> Any:
    if by == 1:
        return value
    if not isinstance(value, int):
        return value / by  # an expression divides itself exactly
    if value % by == 0:
        return value // by
    from fractions import Fraction  # slow to import, and rarely needed

    return Fraction(value, by)


IEEE = "IEEE 754-2019"
BFLOAT = "Kalamkar et al. 2019, arXiv 1905.12322"
FP8 = "Micikevicius et al. 2022, arXiv 2209.05433"
MX = "OCP Microscaling Formats (MX) v1.0, 2023; Rouhani et al. 2023, arXiv 2310.10537"
QLORA = "Dettmers et al. 2023, arXiv 2305.14314, section 3"
ADAM8 = "Dettmers et al. 2021, arXiv 2110.02861"
GGML = "llama.cpp, ggml/src/ggml-common.h"
GPTQ = "Frantar et al. 2022, arXiv 2210.17323; Lin et al. 2023, arXiv 2306.00978 (AWQ)"


def _grouped(group: int) -> Storage:
    # Two groups, so that the two 4-bit zero points are a whole byte.
    note = f"groups of {group} with an fp16 scale and a 4-bit zero point"
    return Storage(f"int4-g{group}", 2 * group, 2 * (group // 2 + 2) + 1, GPTQ, note)


def _aliases(names: Mapping[str, str]) -> dict[str, str]:
    return {other: name for name, others in names.items() for other in others.split()}


def _gguf(name: str, elements: int, bytes: int, note: str = "") -> Storage:
    """A type of llama.cpp, with those of the other tensors in a file of it (its src/llama-quant.cpp)."""
    narrow = name in ("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs")
    head = "q8_0" if name == "q8_0" else "q5_k" if narrow else "q6_k"
    tables = {"q2_k": "iq1_s iq1_m iq2_xxs iq2_xs", "iq3_s": "iq2_s iq3_xxs", "q4_k": "tq1_0 tq2_0"}
    table = next((kind for kind, names in tables.items() if name in names.split()), name)
    return Storage(name, elements, bytes, GGML, note, table=table, head=head, rest="fp32")


_STORAGE = (
    Storage("fp64", 1, 8, IEEE),
    Storage("fp32", 1, 4, IEEE),
    Storage("tf32", 1, 4, "NVIDIA A100 whitepaper, 2020", "a way to multiply: it is stored as fp32"),
    Storage("bf16", 1, 2, BFLOAT),
    Storage("fp16", 1, 2, IEEE),
    Storage("fp8-e4m3", 1, 1, FP8, "an fp32 scale for each tensor", tensor_bytes=4),
    Storage("fp8-e5m2", 1, 1, FP8, "an fp32 scale for each tensor", tensor_bytes=4),
    Storage(
        "fp8-block128",
        128 * 128,
        128 * 128 + 4,
        "DeepSeek-AI 2024, arXiv 2412.19437, section 3.3.2",
        "blocks of 128x128 with an fp32 scale",
    ),
    Storage(
        "int8",
        1,
        1,
        "Dettmers et al. 2022, arXiv 2208.07339 (LLM.int8())",
        "an fp32 scale for each row; what is kept in 16 bits for outliers is not counted",
        row_bytes=4,
        copied="backward",
    ),
    Storage("int8-block256", 256, 256 + 4, "bitsandbytes", "blocks of 256 with an fp32 constant"),
    Storage("int8-block2048", 2048, 2048 + 4, ADAM8, "blocks of 2048 with an fp32 constant"),
    _grouped(32),
    _grouped(64),
    _grouped(128),
    Storage("nf4", 64, 32 + 4, QLORA, "blocks of 64 with an fp32 constant", copied="always"),
    Storage(
        "nf4-dq",
        64 * 256,
        32 * 256 + 256 + 4,
        QLORA,
        "double quantisation: the constants of blocks of 64 are 8 bits, those of 256 blocks share an fp32 constant",
        copied="always",
    ),
    Storage("fp4", 64, 32 + 4, "bitsandbytes", "blocks of 64 with an fp32 constant", copied="always"),
    Storage("mxfp8", 32, 32 + 1, MX, "blocks of 32 with an 8-bit exponent"),
    Storage("mxfp6", 32, 24 + 1, MX, "blocks of 32 with an 8-bit exponent"),
    Storage("mxfp4", 32, 16 + 1, MX, "blocks of 32 with an 8-bit exponent"),
    Storage(
        "nvfp4",
        16,
        8 + 1,
        "NVIDIA Transformer Engine, NVFP4BlockScaling",
        "blocks of 16 with an fp8 scale; an fp32 scale for each tensor",
        tensor_bytes=4,
    ),
    _gguf("q4_0", 32, 18),
    _gguf("q4_1", 32, 20),
    _gguf("q5_0", 32, 22),
    _gguf("q5_1", 32, 24),
    _gguf("q8_0", 32, 34),
    _gguf("q8_1", 32, 36, "of activations, for dot products"),
    _gguf("q2_k", 256, 84),
    _gguf("q3_k", 256, 110),
    _gguf("q4_k", 256, 144),
    _gguf("q5_k", 256, 176),
    _gguf("q6_k", 256, 210),
    _gguf("q8_k", 256, 292, "of activations, for dot products"),
    _gguf("iq1_s", 256, 50),
    _gguf("iq1_m", 256, 56),
    _gguf("iq2_xxs", 256, 66),
    _gguf("iq2_xs", 256, 74),
    _gguf("iq2_s", 256, 82),
    _gguf("iq3_xxs", 256, 98),
    _gguf("iq3_s", 256, 110),
    _gguf("iq4_nl", 32, 18),
    _gguf("iq4_xs", 256, 136),
    _gguf("tq1_0", 256, 54, "ternary"),
    _gguf("tq2_0", 256, 66, "ternary"),
)
STORAGE: Mapping[str, Storage] = {storage.name: storage for storage in _STORAGE}
ALIASES = _aliases(
    {
        "fp64": "float64",
        "fp32": "float32 float f32",
        "fp16": "float16 half f16",
        "bf16": "bfloat16",
        "fp8-e4m3": "fp8 e4m3",
        "fp8-e5m2": "e5m2",
        "int4-g128": "int4 gptq awq",
        "nf4-dq": "nf4-double",
    }
)


def storage(name: str) -> Storage:
    """The storage type of that name, in upper or lower case.

    >>> storage("Q4_K").bits
    (9, 2)
    """
    if name in STORAGE:
        return STORAGE[name]
    if mix := re.fullmatch(r"(q[2-6]_k)_(xs|s|m|l|xl)", name.strip().lower()):
        hint = f"give the type that most of it is: {mix[1]}"
        raise InputError(f"{shown(name)} is no storage type: it mixes several, layer by layer", hint)
    return _entry("a storage type", name, STORAGE, ALIASES)


def bytes_of(elements: int, type: str | Storage, rows: int | None = None, tensors: int | None = None) -> int | Fraction:
    """Bytes of so many elements in a storage type, exactly; rows and tensors: see `Storage.of`.

    >>> bytes_of(4096 * 4096, "nf4")
    9437184
    """
    found = storage(type) if isinstance(type, str) else type
    exact: int | Fraction = found.of(elements, rows, tensors)
    return exact


# --- what training keeps of each parameter --------------------------------------------------------------------


COMPUTE = ("fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int8", "int4")  # in which devices multiply


class Precision(NamedTuple):
    """A recipe: in which types training keeps weights, gradients, a master copy and the optimizer's states."""

    name: str
    weights: str
    gradients: str
    master: str  # "": there is no copy in another type
    states: str  # of an optimizer that leaves its states' type to the recipe
    activations: str
    compute: str  # the precision of the matmuls: which of a device's peaks counts
    source: str
    note: str = ""

    @property
    def bytes_per_parameter(self) -> tuple[int, int, int]:
        """Bytes of a weight, of its gradient and of its master copy."""
        weights, gradients = STORAGE[self.weights].bytes, STORAGE[self.gradients].bytes
        return weights, gradients, STORAGE[self.master].bytes if self.master else 0


ZERO = "Rajbhandari et al. 2019, arXiv 1910.02054, section 3.1"
MEGATRON = "Megatron-LM, docs: distributed optimizer"

_PRECISIONS = (
    Precision("fp32", "fp32", "fp32", "", "fp32", "fp32", "fp32", MEGATRON),
    Precision(
        "tf32", "fp32", "fp32", "", "fp32", "fp32", "tf32", "NVIDIA A100 whitepaper, 2020", "fp32, multiplied in tf32"
    ),
    Precision(
        "autocast",
        "fp32",
        "fp32",
        "",
        "fp32",
        "bf16",
        "bf16",
        "PyTorch, torch.autocast",
        "fp32 weights, cast where they are used; the casts' copies are not counted",
    ),
    Precision("fp16-mixed", "fp16", "fp16", "fp32", "fp32", "fp16", "fp16", ZERO),
    Precision("bf16-mixed", "bf16", "bf16", "fp32", "fp32", "bf16", "bf16", ZERO, "as fp16-mixed, in bf16"),
    Precision(
        "bf16-fp32-grads",
        "bf16",
        "fp32",
        "fp32",
        "fp32",
        "bf16",
        "bf16",
        MEGATRON,
        "gradients are summed in fp32: 18 bytes with Adam",
    ),
    Precision("bf16", "bf16", "bf16", "", "bf16", "bf16", "bf16", "PyTorch, torch.optim: states in the weights' type"),
    Precision(
        "bf16-fp32-states",
        "bf16",
        "bf16",
        "",
        "fp32",
        "bf16",
        "bf16",
        "Dettmers et al. 2023, arXiv 2305.14314: 780 GB for 65B parameters",
        "no master copy, states in fp32: 12 bytes with Adam",
    ),
    Precision(
        "fp8",
        "fp8-e4m3",
        "fp32",
        "fp32",
        "bf16",
        "bf16",
        "fp8",
        "DeepSeek-AI 2024, arXiv 2412.19437, section 3.3",
        "weights of matmuls in fp8, master copy and summed gradients in fp32, Adam's states in bf16",
    ),
)
PRECISIONS: Mapping[str, Precision] = {precision.name: precision for precision in _PRECISIONS}
PRECISION_ALIASES = _aliases(
    {
        "fp32": "float32",
        "autocast": "amp",
        "fp16-mixed": "fp16",
        "bf16-mixed": "mixed",
        "bf16": "bf16-pure pure-bf16",
        "bf16-fp32-grads": "megatron",
    }
)


def precision(name: str) -> Precision:
    """The precision recipe of that name."""
    return _entry("a precision", name, PRECISIONS, PRECISION_ALIASES)


class Optimizer(NamedTuple):
    """What an optimizer keeps: so many states of a tensor's size, or the sums of its rows and columns."""

    name: str
    states: int
    source: str
    type: str = ""  # of the states; "": the recipe's
    least: int = 0  # tensors of fewer elements, and embeddings, have their states in fp32 instead
    factored: bool = False  # a matrix keeps a sum for each row and each column instead of a state
    hidden_states: int | None = None  # of matrices other than embeddings and heads, where that differs
    note: str = ""
    update: Callable[[Any, Any], Any] | None = None  # matmul FLOPs of an update of one of these, by its two sizes

    def flops_of(self, dims: Sequence[Any], role: str = "hidden") -> Any:
        """Matmul FLOPs of an update of a tensor of this shape, of which the last two dims are a matrix's."""
        if self.update is None or role != "hidden" or len(dims) < 2:
            return 0
        return _product(dims[:-2]) * self.update(*dims[-2:])

    def bytes_of(
        self,
        dims: Sequence[Any],
        role: str = "hidden",
        states: str = "fp32",
        elements: int | None = None,
        *,
        matrix: bool | None = None,
    ) -> Any:
        """Bytes kept for a tensor of this shape: an int, or a Fraction where a block is not full.

        dims: the tensor's, of which the last two are a matrix's; role: hidden, embedding or head; states: the type
        that the precision recipe has for them; elements: how many there are, where dims are symbols; matrix: whether
        it is one, where dims do not say so.
        """
        if role not in ROLES:
            raise InputError(f"role is {shown(role)}; it must be one of {', '.join(ROLES)}")
        whole = _product(dims)
        kept = STORAGE[self.type or states]
        number = whole if elements is None else elements
        if self.least and (role == "embedding" or (isinstance(number, int) and number < self.least)):
            kept = STORAGE["fp32"]
        if self.factored and len(dims) > 1:
            return kept.of(_product(dims[:-1]) + _product((*dims[:-2], dims[-1])))
        several = len(dims) > 1 if matrix is None else matrix
        hidden = self.hidden_states is not None and role == "hidden" and several
        return kept.of((self.hidden_states if hidden else self.states) * whole)


ROLES = ("hidden", "embedding", "head")
NEWTON_SCHULZ = 5  # iterations


def newton_schulz(m: int, n: int) -> int:
    """FLOPs of bringing a matrix near to an orthogonal one, by the smaller of its sizes m and the other one n.

    An iteration is X·Xᵀ, the square of that, and their sum times X: 2·(2·n·m² + m³) FLOPs (Jordan et al. 2024,
    kellerjordan.github.io/posts/muon).
    """
    m, n = min(m, n), max(m, n)
    return NEWTON_SCHULZ * 2 * (2 * n * m**2 + m**3)


_OPTIMIZERS = (
    Optimizer("adamw", 2, f"Loshchilov and Hutter 2017, arXiv 1711.05101; {ZERO}: 8 bytes in fp32"),
    Optimizer(
        "adam8bit",
        2,
        ADAM8,
        type="int8-block2048",
        least=4096,
        note="embeddings, and as bitsandbytes does it tensors of fewer than 4,096 elements, in fp32",
    ),
    Optimizer("sgd", 0, "Robbins and Monro 1951"),
    Optimizer("sgd-momentum", 1, "Sutskever et al. 2013, PMLR 28(3)"),
    Optimizer(
        "adafactor",
        1,
        "Shazeer and Stern 2018, arXiv 1804.04235; torch.optim.Adafactor",
        factored=True,
        note="without momentum; of stacked matrices each is factored",
    ),
    Optimizer("lion", 1, "Chen et al. 2023, arXiv 2302.06675"),
    Optimizer(
        "muon",
        2,
        "Jordan et al. 2024, kellerjordan.github.io/posts/muon; Liu et al. 2025, arXiv 2502.16982",
        hidden_states=1,
        note="embeddings, heads and vectors by AdamW",
        update=newton_schulz,
    ),
)
OPTIMIZERS: Mapping[str, Optimizer] = {optimizer.name: optimizer for optimizer in _OPTIMIZERS}
OPTIMIZER_ALIASES = _aliases(
    {
        "adamw": "adam",
        "adam8bit": "adamw8bit adamw-8bit adam-8bit",
        "sgd-momentum": "momentum",
    }
)


def optimizer(name: str) -> Optimizer:
    """The optimizer of that name."""
    return _entry("an optimizer", name, OPTIMIZERS, OPTIMIZER_ALIASES)


def _entry(what: str, name: str, table: Mapping[str, T], aliases: Mapping[str, str]) -> T:
    if name in table:
        return table[name]
    wanted = name.strip().lower()
    wanted = aliases.get(wanted, wanted)
    for spelt in (wanted, wanted.replace("_", "-"), wanted.replace("-", "_")):
        spelt = aliases.get(spelt, spelt)
        if spelt in table:
            return table[spelt]
    hint = did_you_mean(wanted, [*table, *aliases])
    if not hint and (begin := beginning(wanted, table)):
        hint = f"those that begin so: {', '.join(begin)}"
    raise InputError(f"{shown(name)} is not {what}", hint or f"there are {', '.join(table)}")


def _product(sizes: Iterable[Any]) -> Any:
    total: Any = 1
    for size in sizes:
        total = total * size
    return total

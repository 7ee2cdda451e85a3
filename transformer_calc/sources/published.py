"""How a checkpoint is stored, as its config.json says: the type of its numbers, and how they are quantised.

The keys are those that transformers reads (its quantizers, utils/quantization_config.py) and those that the tools write
which made the checkpoint: AutoAWQ, GPTQModel, bitsandbytes, compressed-tensors, Quark, torchao, ModelOpt and others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformer_calc.errors import InputError, shown
from transformer_calc.tuples import NamedTuple

DTYPES = {
    "float64": "fp64",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float8_e4m3fn": "fp8-e4m3",
    "float8_e5m2": "fp8-e5m2",
    **dict.fromkeys(("double",), "fp64"),
    **dict.fromkeys(("float", "fp32"), "fp32"),
    **dict.fromkeys(("half", "fp16"), "fp16"),
    **dict.fromkeys(("bf16",), "bf16"),
}
INSIDE = ("text_config", "language_config", "llm_config", "thinker_config")  # where wrappers keep a text model's keys
BITS = ("bits", "w_bit", "wbits", "nbits", "num_bits", "weight_bits", "quant_bits")
GROUPS = ("group_size", "q_group_size", "weight_group_size")


class Quantization(NamedTuple):
    """How matrices are quantised."""

    method: str
    bits: int | float | None = None  # of a weight, without constants; None: not said, or not the same everywhere
    group_size: int | None = None  # weights that share a constant, where the config says it
    storage: str | None = None  # the storage type that comes nearest, if one is near


class Checkpoint(NamedTuple):
    """What a config says of its checkpoint's numbers; None is not said."""

    dtype: str | None = None  # by our name where there is one
    quantization: Quantization | None = None

    @property
    def storage(self) -> str | None:
        """The storage type of its matrices, if one is near."""
        if self.quantization:
            return self.quantization.storage
        return self.dtype if self.dtype in DTYPES.values() else None

    @property
    def said(self) -> str:
        """What the config says, in a few words."""
        q = self.quantization
        if q is None:
            return self.dtype or ""
        parts = [f"{q.bits:g} bits" if q.bits else "", f"groups of {q.group_size}" if q.group_size else ""]
        return " of ".join(filter(None, (q.method, " in ".join(filter(None, parts)))))

    def to_dict(self) -> dict[str, Any]:
        """For reports."""
        return {"dtype": self.dtype, "quantization": self.quantization and self.quantization._asdict()}


def read(config: Mapping[str, Any], where: str = "") -> Checkpoint | None:
    """What a config.json says of how its checkpoint is stored; None where it says nothing."""
    dtype = None
    for key in ("torch_dtype", "dtype"):  # the later name wins
        value = _found(config, key)
        if isinstance(value, str) and value not in ("", "auto"):
            plain = value.removeprefix("torch.").lower()
            dtype = DTYPES.get(plain, plain[:40])
    quantization = None
    for key in ("compression_config", "quantization_config"):
        value = _found(config, key)
        if value is not None and not isinstance(value, Mapping):
            raise InputError(f"{where}{key} is {_kind(value)}; it must be an object that says how weights are stored")
        if value:
            quantization = _quantization(value, f"{where}{key}.")
    return Checkpoint(dtype, quantization) if dtype or quantization else None


def _found(config: Mapping[str, Any], key: str) -> Any:
    """A key's value, in the config or in that of the text model within."""
    parts = [config, *(part for name in INSIDE if isinstance(part := config.get(name), Mapping))]
    return next((part[key] for part in parts if part.get(key) is not None), None)


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else shown(value) if isinstance(value, str) else str(value)[:40]


def _quantization(q: Mapping[str, Any], where: str) -> Quantization | None:
    """Method, bits and groups, from whichever keys the method has."""
    method = q.get("quant_method") or q.get("quantization_method") or ""
    if not isinstance(method, str):
        raise InputError(f"{where}quant_method is {_kind(method)}; it must be the name of a method, such as gptq")
    bnb = _flag(q, "load_in_4bit"), _flag(q, "load_in_8bit")
    method = " ".join(method.split())[:40] or (
        "bitsandbytes" if any(bnb) else "compressed-tensors" if "config_groups" in q else ""
    )
    name = method.lower().replace("_", "-")
    if name.startswith("bitsandbytes"):
        return _bitsandbytes(q, method, four=bnb[0] or "4bit" in name, eight=bnb[1] or "8bit" in name)
    if name == "mxfp4":
        return Quantization(method, 4, 32, "mxfp4")
    if name in ("fp8", "fbgemm-fp8", "finegrained-fp8", "deepspeedfp"):
        blocks, e5m2 = q.get("weight_block_size"), str(q.get("fmt", "")).lower() == "e5m2"
        return Quantization(method, 8, None, "fp8-block128" if blocks == [128, 128] else "fp8-e5m2" if e5m2 else "fp8")
    if name == "modelopt" or name.startswith("modelopt-"):
        return _named(method, _word(q, "quant_algo") or _word(q.get("quantization"), "quant_algo") or name, q)
    if isinstance(q.get("config_groups"), Mapping):
        return _groups(q["config_groups"], method)
    if name == "quark":
        weight = _part(_part(q, "global_quant_config"), "weight")
        return _named(method, _word(weight, "dtype"), weight)
    if name == "torchao":
        kind = q.get("quant_type")
        kind = kind.get("default", kind) if isinstance(kind, Mapping) else kind
        of = kind.get("_data", q) if isinstance(kind, Mapping) else q.get("quant_type_kwargs", q)
        return _named(method, _word(kind, "_type") if isinstance(kind, Mapping) else str(kind or ""), of)
    if name in ("quanto", "eetq"):
        return _named(method, _word(q, "weights") or ("int8" if name == "eetq" else ""), q)
    if name == "hqq":
        q = _part(_part(q, "quant_config"), "weight_quant_params") or q
    if name == "aqlm":
        wide = [_number(q, (key,), where) for key in ("nbits_per_codebook", "num_codebooks", "in_group_size")]
        return Quantization(method, wide[0] * wide[1] / wide[2] if all(wide) else None)  # type: ignore[operator]
    bits, group = _number(q, BITS, where), _number(q, GROUPS, where)
    if name == "awq" and bits is None:
        bits = 4  # its only one
    if not method and bits is None:
        return None  # it says nothing of how weights are stored
    return _of_bits(method or "quantised", bits, group)


def _bitsandbytes(q: Mapping[str, Any], method: str, *, four: bool, eight: bool) -> Quantization:
    if four:
        kind = "fp4" if q.get("bnb_4bit_quant_type", "fp4") == "fp4" else "nf4"  # fp4 is the class's default
        twice = kind == "nf4" and _flag(q, "bnb_4bit_use_double_quant")
        return Quantization(method, 4, 64, "nf4-dq" if twice else kind)
    return Quantization(method, 8, None, "int8") if eight else Quantization(method)


def _groups(groups: Mapping[str, Any], method: str) -> Quantization:
    """The groups of modules of compressed-tensors, each with weights of a kind of its own."""
    found = set()
    for group in groups.values():
        weights = _part(group, "weights")
        bits, wide = _number(weights, BITS, ""), _number(weights, GROUPS, "")
        whole = weights.get("type", "int") != "float"
        blocks = weights.get("block_structure") in ([128, 128], "128x128")
        floats = {
            4: "nvfp4" if wide == 16 else "mxfp4",
            8: "fp8-block128" if blocks else "mxfp8" if wide == 32 else "fp8",
        }
        made = _of_bits(method, bits, wide)
        found.add(
            made if whole else made._replace(storage=next((kind for n, kind in floats.items() if n == bits), None))
        )
    return found.pop() if len(found) == 1 else Quantization(method)


def _named(method: str, kind: str, of: Any) -> Quantization:
    """A kind of weights by its name: int4, fp8_e4m3, Int4WeightOnlyConfig, NVFP4, W4A16_AWQ and others."""
    name = kind.lower().replace("_", "").replace("-", "")
    group = _number(of, GROUPS, "") if isinstance(of, Mapping) else None
    for word, bits, stored in (
        ("nvfp4", 4, "nvfp4"),
        ("modeloptfp4", 4, "nvfp4"),
        ("mxfp4", 4, "mxfp4"),
        ("mxfp6", 6, "mxfp6"),
        ("mxfp8", 8, "mxfp8"),
        ("fp8pb", 8, "fp8-block128"),
        ("fp8e5m2", 8, "fp8-e5m2"),
        ("fp8", 8, "fp8"),
        ("float8", 8, "fp8"),
        ("fp4", 4, "mxfp4" if group == 32 else "nvfp4"),
    ):
        if word in name:
            return Quantization(method, bits, _of_bits(method, bits, group).group_size, stored)
    for word, bits in (("int2", 2), ("int4", 4), ("w4a", 4), ("int8", 8), ("w8a", 8)):
        if word in name:
            return _of_bits(method, bits, group)
    return _of_bits(method, _number(of, BITS, "") if isinstance(of, Mapping) else None, group)


def _of_bits(method: str, bits: int | float | None, group: int | float | None) -> Quantization:
    """Whole numbers of so many bits, each group with a scale."""
    wide = int(group) if group and group > 0 else None  # -1: a whole row
    four = f"int4-g{wide}" if wide in (32, 64, 128) else "int4"
    return Quantization(method, bits, wide, four if bits == 4 else "int8" if bits == 8 else None)


def _number(of: Mapping[str, Any], keys: tuple[str, ...], where: str) -> int | float | None:
    """The first of some keys that is there."""
    for key in keys:
        value = of.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not -(10**6) < value < 10**6:
            raise InputError(f"{where or 'quantization_config: '}{key} is {_kind(value)}; it must be a number")
        if keys is BITS and value <= 0:  # of groups, -1 is a whole row
            raise InputError(f"{where or 'quantization_config: '}{key} is {_kind(value)}; it must be above 0")
        return value
    return None


def _flag(q: Mapping[str, Any], key: str) -> bool:
    return q.get(key) is True or q.get(f"_{key}") is True


def _part(of: Any, key: str) -> Mapping[str, Any]:
    part = of.get(key) if isinstance(of, Mapping) else None
    part = part[0] if isinstance(part, list) and part else part
    return part if isinstance(part, Mapping) else {}


def _word(of: Any, key: str) -> str:
    value = of.get(key) if isinstance(of, Mapping) else None
    return value if isinstance(value, str) else ""

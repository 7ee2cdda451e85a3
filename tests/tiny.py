"""Tiny Hugging Face models, and what they compute: their weights are drawn again from the names of their tensors.

tests/oracle/numerics.py writes golden/numerics.json (config.json files, tensors of checkpoints: name, shape, type) and
golden/numerics/NAME.npz (inputs, outputs in float64), after the classes have been run on these same weights.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "golden"
MODELS: dict[str, dict[str, Any]] = {}  # name -> config, tensors
if (GOLDEN / "numerics.json").exists():
    MODELS = json.loads((GOLDEN / "numerics.json").read_text(encoding="utf-8"))["models"]


@lru_cache(4096)  # small tensors, which hundreds of models have in common
def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The values of a tensor: those of norms around one, of biases small, of matrices by their width."""
    name = re.sub(r"\b(mlp|block_sparse_moe)\.e_score", "mlp.gate.e_score", name)  # which classes have moved
    r = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    r = np.asarray(r)
    if "logit_scale" in name or (len(shape) <= 1 and name.endswith("weight")) or "lambda" in name:
        return 1 + 0.1 * r
    if len(shape) <= 1:
        return 0.2 * r
    if any(word in name for word in ("embed", "wte", "wpe", "token", "shared.weight")):
        return 0.5 * r
    inner = np.prod(shape[1:]) if len(shape) == 4 else shape[-2] if len(shape) == 3 else shape[-1]
    return np.asarray(r / inner**0.5)


def safetensors(header: Any, body: bytes) -> bytes:
    """A safetensors file of a header that may say anything."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def checkpoint(tensors: list[list[Any]]) -> bytes:
    """The safetensors file of tensors (name, shape, F32 or BF16), drawn; to bfloat16 they are rounded to even."""
    header: dict[str, Any] = {}
    body = b""
    for name, shape, dtype in tensors:
        values = drawn(name, tuple(shape)).astype("<f4")
        if dtype == "BF16":
            bits = values.view("<u4")
            values = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")
        start, body = len(body), body + values.tobytes()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, len(body)]}
    return safetensors(header, body)


def folder(name: str, inside: Path) -> Path:
    """A folder as people have one: config.json, model.safetensors, and reference.npz with what the class computed."""
    path = inside / name
    if not path.exists():
        path.mkdir()
        (path / "config.json").write_text(json.dumps(MODELS[name]["config"]), encoding="utf-8")
        (path / "model.safetensors").write_bytes(checkpoint(MODELS[name]["tensors"]))
        shutil.copy(GOLDEN / "numerics" / f"{name}.npz", path / "reference.npz")
    return path

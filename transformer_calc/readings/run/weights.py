"""Checkpoints: whether their tensors are those that the graph predicts, and the arrays for running it.

Names are those of the model's classes; what older checkpoints call otherwise, or keep apart (one matrix per expert), is
recognised.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from transformer_calc import strict
from transformer_calc.errors import InputError, shown
from transformer_calc.graph.core import Graph, Sizes, shape
from transformer_calc.ops.tables import sinusoids
from transformer_calc.readings.count.params import Component, Tensor, tensors
from transformer_calc.tuples import NamedTuple

Array = np.ndarray[Any, np.dtype[Any]]

# other names of the same tensors in published checkpoints -> the classes' own
RENAMES = [
    (r"block_sparse_moe\.experts\.(\d+)\.w1\.", r"mlp.experts.\1.gate_proj."),
    (r"block_sparse_moe\.experts\.(\d+)\.w3\.", r"mlp.experts.\1.up_proj."),
    (r"block_sparse_moe\.experts\.(\d+)\.w2\.", r"mlp.experts.\1.down_proj."),
    (r"block_sparse_moe\.gate\.", r"mlp.gate."),
    (r"block_sparse_moe\.gate\.", r"mlp.router."),
    (r"block_sparse_moe\.router\.layer\.", r"block_sparse_moe.router."),
    (r"block_sparse_moe\.input_linear\.weight$", r"block_sparse_moe.experts.gate_up_proj"),
    (r"block_sparse_moe\.output_linear\.weight$", r"block_sparse_moe.experts.down_proj"),
    (r"^embed_out\.", r"lm_head."),
    (r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.", r"layers.\1.attention.\2_proj."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"layers.\1.attention.o_proj."),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.", r"layers.\1.mlp.fc1."),
    (r"encoder\.layer\.(\d+)\.output\.dense\.", r"layers.\1.mlp.fc2."),
    (r"encoder\.layer\.(\d+)\.(layernorm_before|layernorm_after)\.", r"layers.\1.\2."),
    (r"attention\.attention\.(query|key|value)\.", r"attention.\1_proj."),
    (r"attention\.output\.dense\.", r"attention.o_proj."),
    (r"mlp\.weights_out\.", r"mlp.down_proj."),
    (r"mlp\.moe_statics\.", r"mlp.gate.moe_statics."),
    (r"\.(query|key|value)_proj\.", lambda m: f".{m[1][0]}_proj."),
    (r"\.gamma$", r".weight"),
    (r"\.beta$", r".bias"),
]
# a tensor that holds others, one after the other along its first dimension
JOINED = [(r"mlp\.weights_in\.", ("mlp.gate_proj.", "mlp.up_proj."))]
JOINT = "\udc23"  # between a tensor's name and a part of it; names of files are UTF-8, which has no such character
LARGEST_INDEX, LARGEST_HEADER = 64 * 2**20, 32 * 2**20  # bytes; those of the largest checkpoints have a few million
BASES = ("model.", "transformer.", "bert.", "roberta.", "gpt_neox.", "vit.", "electra.", "albert.", "distilbert.")


class Stored(NamedTuple):
    """A tensor that a checkpoint should hold: its name, shape, and where its parts belong."""

    name: str
    shape: tuple[int, ...]
    tensor: Tensor
    copy: int  # which of the block's parameter sets
    entry: int | None  # of a stack whose entries are stored apart


class Match(NamedTuple):
    """What a checkpoint holds against what is expected."""

    found: dict[str, str]  # expected name -> name in the checkpoint
    apart: dict[str, list[list[str]]]  # expected stack -> its parts' names, one for each expert
    missing: list[str]
    unexpected: list[str]
    wrong_shape: list[tuple[str, tuple[int, ...], tuple[int, ...]]]  # name, expected, found

    @property
    def ok(self) -> bool:
        """Whether every tensor is there, and no other."""
        return not (self.missing or self.unexpected or self.wrong_shape)


def expected(graph: Graph, sizes: Sizes) -> list[Stored]:
    """Every tensor of a checkpoint, layer by layer."""
    found = []
    for tensor in tensors(graph, buffers=True):
        first = tensor.parts[0]
        copies = int(sizes[first.repeat]) if first.repeat else 1  # type: ignore[arg-type]
        wanted: tuple[int, ...] = tensor.shape(sizes)  # type: ignore[assignment]
        numbers = layer_numbers(graph, first, sizes) if first.repeat else [0]
        entries = range(shape(first.dims, sizes)[0]) if "#" in tensor.name else [None]  # type: ignore[arg-type]
        for copy in range(copies):
            for entry in entries:
                name = _numbered(tensor.name, numbers[copy], first.block.turns).replace("#", str(entry))
                found.append(Stored(name, wanted, tensor, copy, entry))
    return found


def layer_numbers(graph: Graph, part: Component, sizes: Sizes) -> list[int]:
    """The number in the stack of each layer of the part's block: its copies count only its own kind."""
    if part.block.copies != part.block.repeat:  # shared sets are numbered for themselves
        return list(range(int(sizes[part.block.copies])))  # type: ignore[arg-type]
    if not any(part.block.path in cycle for runs in graph.orders.values() for cycle, _ in runs):  # further tokens'
        names, layers = dict(graph.tensor_names), sum(len(c) * t for runs in graph.orders.values() for c, t in runs)
        start = layers if names.get("mtp") == names.get("layers") else 0  # stored behind the layers, or apart
        return list(range(start, start + int(sizes[part.block.repeat])))  # type: ignore[arg-type]
    runs = next(runs for runs in graph.orders.values() if any(part.block.path in cycle for cycle, _ in runs))
    order = [path for cycle, times in runs for path in cycle * times]
    return [number for number, path in enumerate(order) if path == part.block.path]


def _numbered(name: str, number: int, turns: int) -> str:
    """The layer's number for *; where there are two, its group's number and its own within the group."""
    if name.count("*") < 2:
        return name.replace("*", str(number))
    return name.replace("*", str(number // turns), 1).replace("*", str(number % turns))


def match(graph: Graph, sizes: Sizes, held: Mapping[str, tuple[int, ...]]) -> Match:
    """Hold a checkpoint's tensors (name -> shape) against the graph."""
    wanted = expected(graph, sizes)
    names = {stored.name for stored in wanted}
    in_file, held = held, _separate(held)
    seen = _known_as(held, names)
    found: dict[str, str] = {}
    apart: dict[str, list[list[str]]] = {}
    missing, wrong = [], []
    for stored in wanted:
        if stored.name in seen:
            found[stored.name] = seen[stored.name]
            shape_held = held[seen[stored.name]]
            if shape_held != stored.shape:
                wrong.append((seen[stored.name], stored.shape, shape_held))
            continue
        parts = _apart(stored, sizes)
        held_apart = [[seen.get(name, "") for name in part] for part in parts]
        if parts and all(name for part in held_apart for name in part):
            apart[stored.name] = held_apart
            for part, inside in zip(stored.tensor.parts, held_apart, strict=True):
                one: tuple[int, ...] = shape(part.dims, sizes)[1:]  # type: ignore[assignment]
                wrong += [(name, one, held[name]) for name in inside if held[name] != one]
            continue
        alias = _stored_as(stored, graph, held, seen)
        if alias:
            found[stored.name] = alias
        elif not (stored.tensor.parts[0].buffer or _computed(stored.tensor.parts[0])):
            missing.append(stored.name)
    used = set(found.values()) | {name for parts in apart.values() for part in parts for name in part}
    used = {name.partition(JOINT)[0] for name in used}
    unexpected = [name for name in in_file if name not in used and not _is_alias(name, graph)]
    return Match(found, apart, missing, unexpected, wrong)


def _separate(held: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The tensors held, joined ones also part by part: as `name`, JOINT and the part's number."""
    parts = dict(held)
    for name, size in held.items():
        for pattern, inner in JOINED:
            if size and size[0] % len(inner) == 0 and re.search(pattern, name):
                parts |= {f"{name}{JOINT}{i}": (size[0] // len(inner), *size[1:]) for i in range(len(inner))}
    return parts


def _stored_as(stored: Stored, graph: Graph, held: Mapping[str, tuple[int, ...]], seen: Mapping[str, str]) -> str:
    """The name under which a checkpoint holds a tied table that lacks the name which it should have."""
    path, taken = stored.tensor.parts[0].path, set(seen.values())
    if path == "head.lm.weight" and graph.execution.ties_head:
        return next((name for name in held if name.endswith("shared.weight") and held[name] == stored.shape), "")
    if not any(param.tied == path for block in graph.blocks for op in block.ops for param in op.params):
        return ""
    fits = (n for n in held if n not in taken and n.endswith(ALIASES) and held[n] == stored.shape)
    return next(fits, "")


def _computed(part: Component) -> Mapping[str, Any]:
    """What a table of sines and cosines, which some checkpoints leave out, is filled with; empty: it is no such."""
    name = part.path.removesuffix(".weight")
    return next((op.attrs for op in part.block.ops if op.attrs.get("fixed") and name.endswith(op.path)), {})


def _known_as(held: Iterable[str], names: set[str]) -> dict[str, str]:
    """Our name for each tensor held -> its name in the checkpoint."""
    seen: dict[str, str] = {}
    for name in sorted(held, key=lambda name: name not in names):  # the names that are right come first
        for ours in _candidates(name):
            if ours in names or ".experts." in ours:
                seen.setdefault(ours, name)
                if ours in names:
                    break
    return seen


def _candidates(name: str) -> Iterable[str]:
    """Names that a tensor of this name may stand for, the likeliest first."""
    yield name
    whole, _, number = name.partition(JOINT)
    if number:
        name = next(re.sub(p, inner[int(number)], whole) for p, inner in JOINED if re.search(p, whole))
        yield name
    for base in BASES:
        yield name.removeprefix(base) if name.startswith(base) else f"{base}{name}"
    changed = {name}
    for pattern, replacement in RENAMES:
        changed |= {re.sub(pattern, replacement, old) for old in changed}  # type: ignore[call-overload]
    yield from sorted(changed - {name})
    for other in sorted(changed - {name}):
        for base in BASES:
            yield other.removeprefix(base) if other.startswith(base) else f"{base}{other}"


def _apart(stored: Stored, sizes: Sizes) -> list[list[str]]:
    """The names of a stack's matrices where a checkpoint keeps one for each expert, part by part."""
    parts = stored.tensor.parts
    if not parts[0].routed or ".experts." not in stored.name:
        return []
    prefix = stored.name.rpartition(".experts.")[0]
    experts = int(shape(parts[0].dims, sizes)[0])  # type: ignore[arg-type]
    words = [part.path.split(".")[-2] for part in parts]  # gate, up or down
    kind = parts[0].path.rpartition(".")[2]
    return [[f"{prefix}.experts.{e}.{word}_proj.{kind}" for e in range(experts)] for word in words]


def _is_alias(name: str, graph: Graph) -> bool:
    """A tied weight that a checkpoint stores once more, or a buffer that older classes saved."""
    tied = any(param.tied for block in graph.blocks for op in block.ops for param in op.params)
    return (tied and name.endswith(ALIASES)) or name.endswith(BUFFERS)


ALIASES = (
    "lm_head.weight",
    "embed_tokens.weight",
    "decoder.weight",
    "decoder.bias",
    "word_embeddings.weight",
    "proj_out.weight",
    "embed_out.weight",
)
HEADS = ("lm_head.weight", "decoder.weight", "embed_out.weight", "proj_out.weight", "output_projection.weight")
BUFFERS = (
    "attn.bias",
    "attn.masked_bias",
    "attention.bias",
    "attention.masked_bias",
    "rotary_emb.inv_freq",
    "position_ids",
)


def untied(graph: Graph, checkpoint: Checkpoint, held: Match, dtype: Any = np.float64) -> dict[str, Array]:
    """A head's weights that a checkpoint holds beside the token table and that differ from it: path -> array.

    transformers does not tie the two then, whatever the config says.
    """
    used = set(held.found.values())
    found = {}
    for block in graph.blocks:
        for op in block.ops:
            for param in op.params if block.role == "head" else ():
                tables = [found for found in map(held.found.get, _names_of(graph, param.tied)) if found]
                for name in checkpoint.shapes if tables else ():
                    if name.endswith(HEADS) and name not in used:
                        own, table = checkpoint.array(name, dtype), checkpoint.array(tables[0], dtype)
                        if own.shape == table.shape and not np.array_equal(own, table):
                            found[".".join(p for p in (block.path, op.path, param.name) if p)] = own
    return found


def _names_of(graph: Graph, path: str) -> list[str]:
    """The stored tensors' names of a parameter that stands once."""
    return [tensor.name for tensor in tensors(graph) if path and tensor.parts[0].path == path]


# --- files ------------------------------------------------------------------------------------------------------


class Checkpoint:
    """The tensors of a safetensors file, of a sharded index, or of the folder that holds either.

    Names and shapes are read at once, from the headers; arrays when they are asked for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = _files(path)
        self.home: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for file in self.files:
            with _open(file, check=True) as reader:
                for name in reader.keys():  # noqa: SIM118
                    if name in self.home:
                        raise InputError(f"{file} holds {name}, and so does {self.home[name]}")
                    self.home[name] = file
                    self.shapes[name] = tuple(reader.get_slice(name).get_shape())

    def array(self, name: str, dtype: Any = np.float64) -> Array:
        """One tensor as numbers of a type."""
        name, _, number = name.partition(JOINT)
        if number:  # of several that are joined
            whole = self.array(name, dtype)
            return np.split(whole, next(len(inner) for p, inner in JOINED if re.search(p, name)))[int(number)]
        with _open(self.home[name]) as reader:
            part = reader.get_slice(name)
            kind = part.get_dtype()
            if kind == "BF16":  # which NumPy does not know: the upper half of a float32
                return _bfloat16(self.home[name], name).astype(dtype)
            if kind not in ("F64", "F32", "F16"):
                raise InputError(f"{name} is stored as {kind}; only F64, F32, F16 and BF16 weights can be run")
            return np.asarray(reader.get_tensor(name)).astype(dtype)


def _bfloat16(path: Path, name: str) -> Array:
    import json

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
        start, end = entry["data_offsets"]
        file.seek(8 + length + start)
        halves = np.frombuffer(file.read(end - start), "<u2").reshape(entry["shape"])
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _open(path: Path, *, check: bool = False) -> Any:
    """A safetensors file; `check`: its header, too."""
    from safetensors import SafetensorError, safe_open

    if is_folder(path):
        raise InputError(f"{path} is a folder, expected a safetensors file")
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if LARGEST_HEADER < length < size:
                raise InputError(f"{path} has a header of {length:,} bytes, expected at most {LARGEST_HEADER:,}")
            if check and length < size:
                strict.parse(file.read(length), path)  # the library takes the last of equal names
        return safe_open(path, framework="np")
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a safetensors file: {error}") from None


def _files(path: Path) -> list[Path]:
    """The files that a path stands for."""
    if is_folder(path):
        index = path / "model.safetensors.index.json"
        single = path / "model.safetensors"
        if os.path.lexists(index):
            return _files(index)
        if os.path.lexists(single):
            return [single]
        found = sorted(path.glob("*.safetensors"))
        if not found:
            raise InputError(f"{path} is a folder without a safetensors file")
        return found
    if path.suffix == ".json":
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST_INDEX + 1)
            if len(content) > LARGEST_INDEX:
                raise InputError(
                    f"{path} has more than {LARGEST_INDEX:,} bytes, expected an index of safetensors files"
                )
            listed = strict.parse(content, path)["weight_map"]
            names = sorted({str(name) for name in listed.values()})
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InputError(f"{path} is not an index of safetensors files: it needs a weight_map") from None
        if not names:
            raise InputError(f"{path} names no file: its weight_map is empty")
        for name in names:  # a name, no path; a file may be a link, as in the Hugging Face cache
            if name in ("", ".", "..") or re.search(r"[/\\\0]", name) or not os.path.isfile(path.parent / name):
                raise InputError(f"{path} names {shown(name, 100)}, which is not a file beside it")
        return [path.parent / name for name in names]
    return [path]


def is_folder(path: Path) -> bool:
    """Whether a path is a folder's; what is neither a folder nor a file is refused, so that no pipe is waited for."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"there is no file {shown(str(path), 100)}") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{shown(str(path), 100)} cannot be read: {why}") from None
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise InputError(f"{path} is neither a file nor a folder")
    return stat.S_ISDIR(mode)


class Loaded:
    """Weights for a run, taken from a checkpoint: call it with a parameter's path and which of its copies."""

    def __init__(
        self, graph: Graph, sizes: Sizes, checkpoint: Checkpoint, held: Match, dtype: Any = np.float64
    ) -> None:
        self.sizes, self.checkpoint, self.held, self.dtype = sizes, checkpoint, held, dtype
        self.stored: dict[tuple[str, int], list[Stored]] = {}
        for stored in expected(graph, sizes):
            for part in stored.tensor.parts:
                self.stored.setdefault((part.path, stored.copy), []).append(stored)
        self.cache: dict[tuple[str, int], Array] = {}

    def __call__(self, path: str, copy: int) -> Array:
        """The array of a parameter."""
        if (path, copy) not in self.cache:
            stack = self.stored[path, copy]
            parts = [self._parts(stored)[path] for stored in stack]
            self.cache[path, copy] = np.stack(parts) if stack[0].entry is not None else parts[0]
        return self.cache[path, copy]

    def _parts(self, stored: Stored) -> dict[str, Array]:
        """A stored tensor's parts, each in its own shape."""
        tensor, sizes = stored.tensor, self.sizes
        if stored.name in self.held.apart:
            return {
                part.path: np.stack([self.checkpoint.array(name, self.dtype) for name in names])
                for part, names in zip(tensor.parts, self.held.apart[stored.name], strict=True)
            }
        if stored.name not in self.held.found:  # a buffer that the file lacks, or a table that is computed
            first = tensor.parts[0]
            if table := _computed(first):
                rows, width = (int(n) for n in shape(first.dims, sizes))  # type: ignore[arg-type]
                made = sinusoids(np.arange(rows), width, table["order"], table["spread"])
                return {first.path: made.astype(self.dtype)}
            return {part.path: np.zeros(shape(part.dims, sizes), self.dtype) for part in tensor.parts}
        whole = self.checkpoint.array(self.held.found[stored.name], self.dtype)
        wanted = [tuple(int(n) for n in shape(part.dims, sizes)) for part in tensor.parts]  # type: ignore[arg-type]
        if len(tensor.parts) == 1:
            return {tensor.parts[0].path: whole.reshape(wanted[0][1:] if stored.entry is not None else wanted[0])}
        axis = tensor.parts[0].out
        groups = 1 if not tensor.by else int(tensor.by) if tensor.by.isdigit() else int(sizes[tensor.by])  # type: ignore[arg-type]
        lengths = [size[part.out] // groups for size, part in zip(wanted, tensor.parts, strict=True)]
        split = whole.reshape(*whole.shape[:axis], groups, -1, *whole.shape[axis + 1 :])
        pieces = np.split(split, np.cumsum(lengths)[:-1], axis=axis + 1)
        return {part.path: piece.reshape(size) for part, piece, size in zip(tensor.parts, pieces, wanted, strict=True)}

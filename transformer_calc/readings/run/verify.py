"""Holds what the other readings predict against what a run in NumPy does, operation by operation."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from transformer_calc.answer import OfModel
from transformer_calc.errors import InputError, check_choice
from transformer_calc.graph.core import MASK, Graph, Sizes, join, product, shape
from transformer_calc.ops import rules
from transformer_calc.ops.kind import CONVOLUTION, GROWN, PART, SAME
from transformer_calc.readings.count.params import params
from transformer_calc.readings.run.machine import Machine, Observed, Outcome, Weights, random_weights
from transformer_calc.spec import Audio, Averaging, Model, Patches, Vectors, Workload
from transformer_calc.tuples import NamedTuple
from transformer_calc.units import format_bytes

Array = np.ndarray[Any, np.dtype[Any]]

SIZES = ("small", "full")
LARGEST_SMALL = 480 * 2**20  # bytes that a tiny model is run with: a second of work


class Check(NamedTuple):
    """One thing that was predicted and measured."""

    what: str
    predicted: Any
    measured: Any

    @property
    def ok(self) -> bool:
        """Whether they are equal."""
        return bool(self.predicted == self.measured)


class Verified(NamedTuple):
    """The checks of a run, and its outcome (None where it broke off)."""

    checks: list[Check]
    outcome: Outcome | None
    overflowed: str = ""  # the first operation whose output was not all finite numbers


class BlockChecks(NamedTuple):
    """How many checks of a block there were and failed, the parameters of one such block, and the FLOPs of all."""

    path: str
    checks: int = 0
    failed: int = 0
    params: int = 0
    flops: int = 0


class Verification(OfModel):
    """Whether what was predicted of a model is what a run in NumPy does, or what a checkpoint holds.

    ok: whether all of it is; checks: what was predicted and what was measured; run_on: what was run, in words; size:
    full, or small: a tiny model of the same structure; seed: of the run's weights and inputs; bytes_needed: bytes that
    the run takes; expert_loads: path of a router -> tokens that went to each expert; blocks: checks by block

    weights: a checkpoint's path, files: their names; tensors: how many it holds; misfits: how many are missing,
    unexpected, and of another shape; untied: heads that differ from the table to which they are tied otherwise;
    reference: its path; compared: the outputs that it holds; max_abs_diff, max_rel_diff: the largest difference, none
    where nothing was run; rtol, atol: agreement is |got - wanted| <= atol + rtol · |wanted|
    """

    ok: bool
    checks: list[Check]
    run_on: str = ""
    size: str = ""
    seed: int | None = None
    bytes_needed: int | None = None
    expert_loads: Mapping[str, list[int]] | None = None
    blocks: tuple[BlockChecks, ...] = ()
    weights: Path | None = None
    files: tuple[str, ...] = ()
    tensors: int | None = None
    misfits: tuple[int, int, int] | None = None
    untied: tuple[str, ...] = ()
    reference: Path | None = None
    compared: str = ""
    max_abs_diff: float | None = None
    max_rel_diff: float | None = None
    rtol: float | None = None
    atol: float | None = None

    FIRST: ClassVar[Mapping[str, str]] = {
        "title": "text",
        "ok": "text",
        "checks": "count",
        "tensors": "count",
        "max_abs_diff": "number",
    }

    @property
    def failed(self) -> list[Check]:
        """The checks in which something else was measured than was predicted."""
        return [check for check in self.checks if not check.ok]


def random_inputs(model: Model, workload: Workload, seed: int) -> dict[str, Array]:
    """Seeded token ids, pixels or spectrograms for every stack of a model."""
    rng = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    several = len(model.stacks) > 1
    for stack in model.stacks:
        prefix, e = f"{stack.name}." if several else "", stack.embedding
        if isinstance(e, Patches):
            inputs[f"{prefix}pixels"] = rng.normal(size=(workload.batch, e.channels, e.height, e.width))
        elif isinstance(e, Audio):
            inputs[f"{prefix}mel_spectrogram"] = rng.normal(size=(workload.batch, e.mels, 2 * workload.seq))
        elif isinstance(e, Vectors):
            inputs[f"{prefix}vectors"] = rng.normal(size=(workload.batch, workload.seq, stack.d_model))
        else:
            decoding = several and stack.name == "decoder"
            length = workload.target if decoding and workload.target else workload.seq
            ids = rng.integers(0, e.vocab, (workload.batch, length))
            if e.positions and e.positions.pad is not None:  # nothing is padding
                ids[ids == e.positions.pad] = (e.positions.pad + 1) % e.vocab
            inputs[f"{prefix}token_ids"] = ids
    if any(isinstance(layer.mixer, Averaging) for stack in model.stacks for layer in stack.layers.kinds):
        inputs["A"] = rng.dirichlet(np.ones(workload.seq), workload.seq)
    return inputs


def verify(
    graph: Graph,
    sizes: Sizes,
    weights: Weights,
    inputs: Mapping[str, Array],
    *,
    predicted: Graph | None = None,
    dtype: Any = np.float64,
    progress: Callable[[float], None] | None = None,
) -> Verified:
    """Run the graph and compare: shapes, parameters, FLOPs and bytes of each operation, the totals, experts' loads.

    `predicted`: the graph that the predictions are read off, where it is not the one that runs.
    """
    predicted = predicted or graph
    machine = Machine(graph, sizes, weights, inputs, dtype, progress)
    try:
        outcome = machine.run()
    except (ValueError, KeyError, IndexError) as error:  # arrays that do not fit: the graph is wrong
        return Verified([Check(f"{machine.running} runs", "yes", f"no: {error}")], None)
    expected = predicted.bind({name: sizes[name] for name in predicted.workload_axes})
    checks = _operations(predicted, expected, outcome.observed, np.dtype(dtype).itemsize)
    checks += _totals(predicted, expected, outcome, machine)
    for name, output in outcome.outputs.items():
        if not np.isfinite(output).all():
            checks.append(Check(f"{name}: finite numbers", "all", "not all"))
    return Verified(checks, outcome, machine.overflowed)


def check_options(
    given: Mapping[str, int], size: str, rtol: float, atol: float, weights: object, reference: object
) -> None:
    """Refuse what says nothing, or not the same; given: sizes of a workload, as far as they were asked for."""
    check_choice("size", size, SIZES)
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not 0 <= value < float("inf"):
            raise InputError(f"`{name}` is {value}; it must be a number of at least 0")
    for field, file in (("weights", weights), ("reference", reference)):
        if file is not None and not str(file).strip():
            raise InputError(f"`{field}` is empty, expected the path of a file")
    if reference and not weights:
        raise InputError("`reference` needs the weights that it was made with", hint="`weights=model.safetensors`")
    for name, value in given.items() if weights else ():
        runs = "the run is of what the reference holds" if reference else "weights alone are not run"
        raise InputError(f"`{name}` is {value:,}, but {runs}; leave it out")


def verification(
    model: Model,
    graph: Graph,
    on: Workload,
    of: Mapping[str, Any],
    *,
    limits: Model,
    size: str,
    seed: int,
    progress: Callable[[float], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Verification:
    """Run a model, a tiny one or itself, and compare; `of`: what an answer says of the model itself.

    limits: the model whose tables of positions are to have room; progress: is told how much of the run is done; say:
    what the run of a whole model takes, before it starts
    """
    if wrong := too_long(limits, on):
        raise InputError(wrong, hint="a shorter `seq` or `target_seq`")
    if wrong := unfit(model, on):
        raise InputError(wrong)
    sizes = graph.sizes(on)
    need = held(graph, sizes)
    words = _words(on)
    if size == "small" and need > LARGEST_SMALL:
        raise InputError(
            f"{words} are too many for a tiny model: the run needs {format_bytes(need)}, expected at most "
            f"{format_bytes(LARGEST_SMALL)}",
            hint="a shorter `seq`, or a smaller `batch`; `size=full` runs the model itself on what is asked for",
        )
    refuse_if_too_large(need, "`size=small`, or a shorter `seq`")
    if size == "full" and say:
        say(f"the run needs {format_bytes(need)}")
    found = verify(graph, sizes, random_weights(graph, sizes, seed), random_inputs(model, on, seed), progress=progress)
    failed = [check for check in found.checks if not check.ok]
    if found.overflowed and failed and all(check.what.endswith(": finite numbers") for check in failed):
        raise InputError(
            f"the run's numbers grow too large for float64 at {found.overflowed}",
            hint="norms, smaller factors or fewer layers keep them small",
        )
    return Verification(
        **of,
        ok=not failed,
        checks=found.checks,
        run_on=words,
        size=size,
        seed=seed,
        bytes_needed=need,
        expert_loads={path: load.tolist() for path, load in (found.outcome.loads if found.outcome else {}).items()},
        blocks=_by_block(graph, found.checks),
    )


def _by_block(graph: Graph, checks: Sequence[Check]) -> tuple[BlockChecks, ...]:
    """The checks of each block, and of the totals."""
    blocks: dict[str, BlockChecks] = {}
    names = [block.path for block in graph.blocks if block.path]
    for check in checks:
        path, _, what = check.what.partition(": ")
        path, _, layer = path.partition(", layer ")
        block = max((name for name in names if path == name or path.startswith(f"{name}.")), key=len, default="")
        block = block or path.partition(".")[0]
        row, got = blocks.get(block, BlockChecks(block)), check.measured
        entries = (got if isinstance(got, int) else sum(got.values())) if what == "parameters" else 0
        work = got if what == "FLOPs" and not layer else 0
        counts = row.checks + 1, row.failed + (not check.ok), row.params + entries, row.flops + work
        blocks[block] = BlockChecks(block, *counts)
    return tuple(blocks.values())


def _words(on: Workload) -> str:
    """What is run, in words."""
    target = f", {on.target} target tokens" if on.target else ""
    cached = f" after {on.context:,} in the cache" if on.context else ""
    return f"{on.batch} × {on.seq} tokens{target}{cached}"


def _free_memory() -> int:
    """Bytes that a new program can have: on Linux with what caches would give back; 8 GiB where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        known = "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {})
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else 2**33


def refuse_if_too_large(need: int, hint: str) -> None:
    """Refuse a run of so many bytes where the machine has not much more; the hint says what would take less."""
    free = _free_memory()
    if need > 0.9 * free:
        raise InputError(f"the run needs {format_bytes(need)} and this machine has {format_bytes(free)} free", hint)


NOTHING_NEW = (SAME, GROWN, PART)  # whose output is their input, or a part of it
IDLE = 128 * 2**20  # bytes of Python, NumPy and its buffers before anything is run


def held(graph: Graph, sizes: Sizes, itemsize: int = 8) -> int:
    """Bytes that a run holds at once, at most: all weights, hidden states, what blocks keep, and copies of a kernel."""
    weights: Any = 0
    states: Any = 0
    once, heads, layers = _Peak(), _Peak(), _Peak()
    for block in graph.blocks:
        own: Any = 0
        most: Any = 0
        for op in block.ops:
            weights += sum(product(p.dims, sizes) * block.sets(sizes) for p in op.params if not p.tied)
            made = product(op.output.dims, sizes) + sum(product(t.dims, sizes) for t in op.extra)
            kind = rules(op)
            if kind.memory in NOTHING_NEW:
                continue
            own += made
            entries: Any = made + sum(product(t.dims, sizes) for t in op.inputs)
            if kind.kernel == CONVOLUTION:  # each patch beside the next
                channels, *patch = op.params[0].dims
                entries += product((*op.output.dims, *patch), sizes) // product((channels,), sizes)  # type: ignore[operator]
            most = max(most, kind.copies(op) * entries)
        if block.repeat:
            output = next(op.output for op in block.ops if op.path == block.output)
            states += product(output.dims, sizes) * (sizes[block.repeat] + 1)
            layers = _Peak(max(layers.kept, own), max(layers.most, most))
        elif block.role == "head":
            heads = _Peak(heads.kept + own, max(heads.most, most))
        else:
            once = _Peak(once.kept + own, max(once.most, most))
    running = max(layers.kept + max(layers.most, once.most), heads.kept + heads.most)
    total: int = math.ceil(weights + states + once.kept + running)
    return IDLE + itemsize * total


class _Peak(NamedTuple):
    """Entries of the outputs of blocks, and the most that one operation has copies of."""

    kept: Any = 0
    most: Any = 0


def _operations(graph: Graph, sizes: Sizes, observed: Sequence[Observed], itemsize: int) -> list[Check]:
    seen: dict[str, list[Observed]] = {}
    for one in observed:
        seen.setdefault(join(one.block, one.op.output.name), []).append(one)
    checks = []
    for block in graph.blocks:
        repeat = block.times(sizes)
        for op in block.ops:
            path = block.full(op.output.name)
            runs = seen.pop(path, [])
            checks.append(Check(f"{path}: runs", repeat, len(runs)))
            if not runs:
                continue
            wanted = shape(op.output.dims, sizes)
            checks.append(Check(f"{path}: output", list(wanted), _all([run.output for run in runs])))
            for i, tensor in enumerate(op.inputs):
                if tensor.given != MASK:  # made within the run, from what it masks
                    got = _all([run.inputs[i] if i < len(run.inputs) else () for run in runs])
                    checks.append(Check(f"{path}: {tensor.name}", list(shape(tensor.dims, sizes)), got))
            entries = {p.name: product(p.dims, sizes) for p in op.params}
            held = {name: math.prod(size) for name, size in runs[0].params.items()}
            if entries or held:
                checks.append(Check(f"{path}: parameters", entries, held))
            work = repeat * rules(op).forward(op, sizes).model
            checks.append(Check(f"{path}: FLOPs", work, 2 * sum(run.multiply_adds for run in runs)))
            if runs[0].itemsize == itemsize:
                checks.append(Check(f"{path}: bytes", product(op.output.dims, sizes) * itemsize, runs[0].nbytes))
    checks += [Check(f"{path}: runs", 0, len(runs)) for path, runs in seen.items()]
    return checks


def _totals(graph: Graph, sizes: Any, outcome: Outcome, machine: Machine) -> list[Check]:
    work = [(block, sum(rules(op).forward(op, sizes).model for op in block.ops)) for block in graph.blocks]
    total = sum(of_one * block.times(sizes) for block, of_one in work)
    per_layer = Counter[tuple[str, int]]()
    for one in outcome.observed:
        if one.layer is not None:
            per_layer[one.block, one.layer] += 2 * one.multiply_adds
    checks = [
        Check("total: parameters", params(graph, sizes).total, sum(machine.entries.values())),
        Check("total: FLOPs", total, 2 * sum(one.multiply_adds for one in outcome.observed)),
    ]
    for block, of_one in work:
        mine = [(layer, got) for (path, layer), got in per_layer.items() if path == block.path]
        checks += [Check(f"{block.path}, layer {layer}: FLOPs", of_one, got) for layer, got in mine]
    for path, load in outcome.loads.items():
        routers = [(b, o) for b in graph.blocks for o in b.ops if b.full(o.path) == path]
        sent = [product(o.output.dims, sizes) * b.times(sizes) for b, o in routers]
        checks.append(Check(f"{path}: tokens sent to experts", sent, [int(load.sum())]))
    return checks


def _all(shapes: Sequence[tuple[int, ...]]) -> Any:
    """The one shape that all have, or all of them where they differ."""
    different = sorted(set(shapes))
    return list(different[0]) if len(different) == 1 else [list(one) for one in different]


def unfit(model: Model, workload: Workload) -> str:
    """What is wrong with a number of tokens that a head cannot read; empty: nothing."""
    for head in model.heads:
        if head.take == "second" and workload.seq < 2:
            return f"`seq` is {workload.seq}; {head.name} reads the second token, so that it must be at least 2"
        if head.take == "end" and workload.target not in (None, workload.seq):
            target = f"`target_seq` is {workload.target}; {head.name}"
            return f"{target} looks in the source, so that it must be {workload.seq}"
    return ""


def too_long(model: Model, workload: Workload) -> str:
    """What is wrong with more tokens than a stack's table of positions has rows; empty: nothing."""
    for stack in model.stacks:
        positions = None if isinstance(stack.embedding, Patches) else stack.embedding.positions
        tokens = workload.target if stack.name == "decoder" and workload.target else workload.seq
        tokens += workload.context if stack.name != "encoder" or len(model.stacks) == 1 else 0
        if positions and positions.kind != "sinusoidal" and positions.count and tokens > positions.count:
            kind = "target tokens" if stack.name == "decoder" and workload.target else "tokens"
            return f"{tokens:,} {kind} are too many to run: {model.name} has a table of {positions.count:,} positions"
    return ""

"""The report of `tcalc verify`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transformer_calc import units
from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph
from transformer_calc.graph.model import build as build_graph
from transformer_calc.readings.run.machine import Machine, Outcome, random_weights
from transformer_calc.readings.run.shrink import shrink
from transformer_calc.readings.run.shrink import workload as small_workload
from transformer_calc.readings.run.verify import Check, Difference, difference, random_inputs, too_long, unfit, verify
from transformer_calc.readings.run.verify import held as held_by_run
from transformer_calc.readings.run.weights import JOINT, Checkpoint, Loaded, Match, match, untied
from transformer_calc.report import Column, Report, Table, Text
from transformer_calc.sources import files, values
from transformer_calc.spec import Audio, Model, Patches, Tokens, Workload

if TYPE_CHECKING:
    from transformer_calc.api import Transformer

SIZES = ("small", "full")
RTOL, ATOL = 1e-4, 1e-5
LARGEST_SMALL = 480 * 2**20  # bytes that a tiny model is run with: a second of work
LARGEST_INPUTS = 256 * 2**20  # bytes of a reference's inputs
SHOWN = 40  # differences that are listed for people; JSON has all
COLUMNS = (
    Column("path", "block", "text"),
    Column("checks", "checks", "count"),
    Column("params", "parameters of one", "count", 1),
    Column("flops", "FLOPs of all", "count", 1),
    Column("ok", "", "text"),
)
FAILED = (
    Column("what", "what", "text"),
    Column("predicted", "predicted", "text"),
    Column("measured", "measured", "text"),
)

# names in reference files -> names of the run's inputs
INPUTS = {
    "input_ids": "token_ids",
    "attention_mask": "attention_mask",
    "token_type_ids": "segment_ids",
    "pixel_values": "pixels",
    "input_features": "mel_spectrogram",
}
CHOICES = ("input_ids", "attention_mask", "token_type_ids")  # which may come in groups
# names in reference files of what a run puts out
OUTPUTS = ("logits", "start_logits", "end_logits", "logits_per_text", "logits_per_image")
HIDDEN = ("last_hidden", "last_hidden_state")
POOLED = ("pooler_output", "text_embeds", "image_embeds")
DECODER = {"decoder_input_ids": "token_ids", "decoder_attention_mask": "attention_mask"}


def build(
    model: Transformer,
    workload: Workload | Mapping[str, int],
    *,
    size: str = "small",
    seed: int = 0,
    weights: str | None = None,
    reference: str | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
    progress: Callable[[float], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Report:
    """Run the model and compare; with weights, hold a checkpoint's tensors against the graph instead.

    workload: batch, seq, target_seq and context, as far as they are given. Without them a tiny model is run on a tiny
    workload, and the model itself on its usual one, after `say` has told what that takes; a whole one is of the latter.
    """
    if size not in SIZES:
        raise InputError(f"--size is {size!r}; it must be one of {', '.join(SIZES)}")
    for name, value in (("--rtol", rtol), ("--atol", atol)):
        if not 0 <= value < float("inf"):
            raise InputError(f"{name} is {value}; it must be a number of at least 0")
    for option, file in (("--weights", weights), ("--reference", reference)):
        if file is not None and not file.strip():
            raise InputError(f"{option} is empty, expected the path of a file")
    if reference and not weights:
        raise InputError("--reference needs the weights that it was made with", hint="--weights model.safetensors")
    given: Mapping[str, int] = {} if isinstance(workload, Workload) else workload
    whole = workload if isinstance(workload, Workload) else None
    if weights:
        for name, value in given.items():
            runs = "the run is of what the reference holds" if reference else "weights alone are not run"
            raise InputError(f"--{name.replace('_', '-')} is {value:,}, but {runs}; leave it out")
        compare = Path(reference) if reference else None
        return _with_weights(model, whole or model.workload(), Path(weights), compare, rtol, atol, progress)
    if size == "small":
        spec, on = _small(model, given)
    else:
        spec, on = model.spec, whole or model.workload(**given)
    if wrong := too_long(model.spec if given else spec, on):
        raise InputError(wrong, hint="a shorter --seq or --target-seq")
    if wrong := unfit(spec, on):
        raise InputError(wrong)
    graph = build_graph(spec)
    sizes = graph.sizes(on)
    need = held_by_run(graph, sizes)
    if size == "small" and need > LARGEST_SMALL:
        raise InputError(
            f"{_text(on)} are too many for a tiny model: the run needs {units.format_bytes(need)}, expected at most "
            f"{units.format_bytes(LARGEST_SMALL)}",
            hint="a shorter --seq, or a smaller --batch; --size full runs the model itself on what is asked for",
        )
    _refuse_if_too_large(need, "--size small, or a shorter --seq")
    if size == "full" and say:
        say(f"the run needs {units.format_bytes(need)}")
    found = verify(graph, sizes, random_weights(graph, sizes, seed), random_inputs(spec, on, seed), progress=progress)
    failed = [check for check in found.checks if not check.ok]
    if found.overflowed and failed and all(check.what.endswith(": finite numbers") for check in failed):
        raise InputError(
            f"the run's numbers grow too large for float64 at {found.overflowed}",
            hint="norms, smaller factors or fewer layers keep them small",
        )
    data: dict[str, Any] = {
        "ok": not failed,
        "size": size,
        "seed": seed,
        "bytes_needed": need,
        "run_on": on.to_dict(),
        "checks": [_plain(check) for check in found.checks],
        "expert_loads": {path: load.tolist() for path, load in (found.outcome.loads if found.outcome else {}).items()},
    }
    what = "as it is" if size == "full" else "a tiny model of the same structure"
    verdict = "all that was predicted was measured" if not failed else f"{len(failed):,} differ"
    head = Text(
        f"{model.title}: {what}, run in NumPy on {_text(on)} (seed {seed})\n"
        f"{len(found.checks):,} checks of shapes, parameters, FLOPs and bytes: {verdict}"
    )
    table = _by_block(graph, found.checks)
    sections: list[Any] = [head, table]
    if failed:
        sections.insert(1, _differences(failed))
    return Report("verify", model.describe(), on.to_dict(), data, tuple(sections), table, ok=not failed)


def _small(model: Transformer, given: Mapping[str, int]) -> tuple[Model, Workload]:
    """A tiny model of the same structure, and what it is run on: what is given, and else little."""
    from transformer_calc.api import Transformer

    model.unremarked(**given)  # the model itself must take them
    if isinstance(model.spec.stacks[0].embedding, Patches):  # whose tokens are those of its images
        given = {name: value for name, value in given.items() if name != "seq"}
    tiny = shrink(model.spec, tokens=sum(given.get(name, 0) for name in ("seq", "target_seq", "context")))
    usual = small_workload(tiny)
    sizes: dict[str, int | None] = {"batch": usual.batch, **given}
    if usual.target is None:
        sizes.setdefault("seq", None if given.get("context") else usual.seq)
    else:
        sizes.setdefault("seq", usual.seq)
        if not given.get("context"):
            sizes.setdefault("target_seq", sizes["seq"] if usual.target == usual.seq else usual.target)
    return tiny, Transformer(tiny, model.source).unremarked(**sizes)


def _text(on: Workload) -> str:
    target = f", {on.target} target tokens" if on.target else ""
    cached = f" after {on.context:,} in the cache" if on.context else ""
    return f"{on.batch} × {on.seq} tokens{target}{cached}"


def _plain(check: Check) -> dict[str, Any]:
    return {"what": check.what, "predicted": check.predicted, "measured": check.measured, "ok": check.ok}


def _free_memory() -> int:
    """Bytes that a new program can have: on Linux with what caches would give back; 8 GiB where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        known = "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {})
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else 2**33


def _refuse_if_too_large(need: int, hint: str) -> None:
    free = _free_memory()
    if need > 0.9 * free:
        needs, has = units.format_bytes(need), units.format_bytes(free)
        raise InputError(f"the run needs {needs} and this machine has {has} free", hint=hint)


def _by_block(graph: Graph, checks: list[Check]) -> Table:
    """A row for each block, and one for the totals."""
    rows: dict[str, dict[str, Any]] = {}
    names = [block.path for block in graph.blocks if block.path]
    for check in checks:
        path, _, what = check.what.partition(": ")
        path, _, layer = path.partition(", layer ")
        block = max((name for name in names if path == name or path.startswith(f"{name}.")), key=len, default="")
        block = "total" if path == "total" else block or path.partition(".")[0]
        row = rows.setdefault(block, {"path": block, "checks": 0, "params": 0, "flops": 0, "bad": 0})
        row["checks"] += 1
        row["bad"] += not check.ok
        if what == "parameters":
            row["params"] += check.measured if isinstance(check.measured, int) else sum(check.measured.values())
        if what == "FLOPs" and not layer:
            row["flops"] += check.measured
    cells = tuple({**row, "ok": "ok" if not row["bad"] else f"{row['bad']} differ"} for row in rows.values())
    return Table("", COLUMNS, cells)


def _differences(failed: list[Check]) -> Table:
    rows = tuple(
        {"what": check.what, "predicted": str(check.predicted), "measured": str(check.measured)}
        for check in failed[:SHOWN]
    )
    caption = f"and {len(failed) - SHOWN:,} more" if len(failed) > SHOWN else ""
    return Table("differences", FAILED, rows, caption=caption)


# --- weights ------------------------------------------------------------------------------------------------------


def _with_weights(
    model: Transformer,
    workload: Workload,
    weights: Path,
    reference: Path | None,
    rtol: float,
    atol: float,
    progress: Callable[[float], None] | None,
) -> Report:
    """Every tensor of a checkpoint against the prediction; with a reference, the outputs too."""
    graph = model.graph
    checkpoint = Checkpoint(weights)
    arrays: dict[str, Any] = {}
    if reference:
        files.regular(reference, "an .npz file")
        held_arrays = values.Arrays(reference)
        arrays = _inputs_of(held_arrays)
        _check_arrays(model.spec, arrays)
        workload = _workload(model, arrays)
        if wrong := too_long(model.spec, workload):
            raise InputError(f"{reference}: {wrong}")
    sizes = graph.sizes(workload)
    if "batch_images" in sizes and "pixel_values" in arrays:
        sizes["batch_images"] = arrays["pixel_values"].shape[0]
    if reference:
        need = held_by_run(graph, sizes)
        _refuse_if_too_large(need, "a reference of fewer tokens")
        arrays |= _outputs_of(held_arrays, need)
        _check_arrays(model.spec, arrays)
    held = match(graph, sizes, checkpoint.shapes)
    checks = _tensor_checks(held, checkpoint)
    data: dict[str, Any] = {
        "ok": held.ok,
        "tensors": len(checkpoint.shapes),
        "files": [f.name for f in checkpoint.files],
    }
    lines = [f"{model.title}: {len(checkpoint.shapes):,} tensors in {weights}", _verdict(held)]
    if reference:
        data |= {"max_abs_diff": None, "max_rel_diff": None, "rtol": rtol, "atol": atol}
    if reference and held.ok:
        inputs = _inputs(model.spec, arrays)
        loaded, own = Loaded(graph, sizes, checkpoint, held), untied(graph, checkpoint, held)
        lines += [f"{path} differs from the token table, and is not tied to it" for path in own]
        machine = Machine(graph, sizes, loaded, inputs, progress=progress, untied=own)
        try:
            outcome = machine.run()
        except (ValueError, IndexError, TypeError) as error:
            raise InputError(f"{reference}: the run broke off at {machine.running}: {error}") from None
        name, off = _compared(arrays, outcome, rtol, atol)
        data |= {"ok": off.ok, "max_abs_diff": _finite(off.max_abs), "max_rel_diff": _finite(off.max_rel)}
        checks.append(Check(f"{name} within rtol {rtol:g}, atol {atol:g}", True, off.ok))
        agrees = "agree" if off.ok else "DIFFER"
        lines.append(
            f"{name} of {reference} {agrees}: largest difference {off.max_abs:.3g}, relative {off.max_rel:.3g} "
            f"(rtol {rtol:g}, atol {atol:g})"
        )
    data["checks"] = [_plain(check) for check in checks]
    failed = [check for check in checks if not check.ok]
    table = _differences(failed)
    sections: list[Any] = [Text("\n".join(lines))] + ([table] if failed else [])
    return Report("verify", model.describe(), workload.to_dict(), data, tuple(sections), table, ok=data["ok"])


def _finite(number: float) -> float | None:
    """The number, or None where JSON has none: the run gave what is not a number."""
    return number if math.isfinite(number) else None


def _tensor_checks(held: Match, checkpoint: Checkpoint) -> list[Check]:
    """A check for each tensor that is expected, and for each that is not."""
    checks = [Check(f"{name}: missing", "there", "missing") for name in held.missing]
    checks += [Check(f"{name}: unexpected", "not there", "there") for name in held.unexpected]
    checks += [Check(f"{name}: shape", list(wanted), list(got)) for name, wanted, got in held.wrong_shape]
    wrong = {name for name, _, _ in held.wrong_shape}
    apart = [name for parts in held.apart.values() for part in parts for name in part]
    right = [name for name in (*held.found.values(), *apart) if name not in wrong]
    shapes = {name: list(checkpoint.shapes[name.partition(JOINT)[0]]) for name in right}
    return checks + [Check(f"{name}: shape", size, size) for name, size in shapes.items()]


def _verdict(held: Match) -> str:
    if held.ok:
        return "every tensor is there, with the shape that the graph predicts, and no other"
    wrong = len(held.wrong_shape)
    return f"{len(held.missing):,} missing, {len(held.unexpected):,} unexpected, {wrong:,} of another shape"


def _inputs_of(held: values.Arrays) -> dict[str, Any]:
    """The arrays of a reference that go into a run."""
    names = [name for name in held.shapes if name in (*INPUTS, *DECODER)]
    if held.bytes(names) > LARGEST_INPUTS:
        raise InputError(
            f"{held.path} holds {held.bytes(names):,} bytes of inputs once they are unpacked, expected at most "
            f"{LARGEST_INPUTS:,}"
        )
    return {name: held.array(name) for name in names}


def _outputs_of(held: values.Arrays, need: int) -> dict[str, Any]:
    """The arrays of a reference that come out of a run, which has them in so many bytes beside all others."""
    names = [name for name in held.shapes if name in (*OUTPUTS, *HIDDEN, *POOLED)]
    if held.bytes(names) > need:
        raise InputError(
            f"{held.path} holds {held.bytes(names):,} bytes of outputs once they are unpacked, more than the whole "
            f"run on its inputs takes"
        )
    return {name: held.array(name) for name in names}


def _check_arrays(spec: Model, arrays: Mapping[str, Any]) -> None:
    """Refuse arrays that no run can take: of a wrong type or rank, out of range, or not fitting together."""
    for name, array in arrays.items():
        kinds = "iu" if name in ("input_ids", "token_type_ids", "decoder_input_ids") else "iufb"
        kinds = "iuf" if kinds == "iufb" and not name.endswith("attention_mask") else kinds
        what = {"iu": "integers", "iuf": "real numbers", "iufb": "0 and 1"}[kinds]
        if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
            raise InputError(f"{name} is of {getattr(array, 'dtype', 'no type')}, expected {what}")
        if not np.isfinite(array).all():
            raise InputError(f"{name} holds what is not a finite number, expected {what}")
        if kinds == "iufb" and not np.isin(array, (0, 1)).all():
            raise InputError(f"{name} holds numbers from {array.min():g} to {array.max():g}, expected 0 and 1")
    tables = {stack.name: stack.embedding for stack in spec.stacks}
    decoder = tables.pop("decoder", None) if len(tables) > 1 else None
    for embedding in tables.values():
        if isinstance(embedding, Tokens):
            most = {"input_ids": embedding.vocab, "token_type_ids": embedding.segments or None, "attention_mask": None}
            _check_ids(arrays, most, (2, 3))
        elif isinstance(embedding, Patches):
            _check_shape(arrays, "pixel_values", (None, embedding.channels, embedding.height, embedding.width))
        elif isinstance(embedding, Audio):
            _check_shape(arrays, "input_features", (None, embedding.mels, None))
    if isinstance(decoder, Tokens):
        _check_ids(arrays, {"decoder_input_ids": decoder.vocab, "decoder_attention_mask": None}, (2,))
        source = next((arrays[name] for name in INPUTS if name in arrays), None)
        ids = arrays.get("decoder_input_ids")
        if ids is not None and source is not None and source.ndim != 3 and len(ids) != len(source):
            raise InputError(f"decoder_input_ids has {len(ids)} sequences, the source has {len(source)}")


def _check_ids(arrays: Mapping[str, Any], most: Mapping[str, int | None], ranks: tuple[int, ...]) -> None:
    """Ids and masks of one stack: of one shape, and each below its limit."""
    names = [name for name in most if name in arrays]
    for name in names:
        array, limit = arrays[name], most[name]
        if array.ndim not in ranks:
            raise InputError(f"{name} has the shape {list(array.shape)}, expected [batch, tokens]")
        if array.shape != arrays[names[0]].shape:
            of = arrays[names[0]].shape
            raise InputError(f"{name} has the shape {list(array.shape)}, expected {list(of)}, which {names[0]} has")
        if limit and array.size and not 0 <= array.min() <= array.max() < limit:
            bad = array.min() if array.min() < 0 else array.max()
            raise InputError(f"{name} holds {bad}, expected ids from 0 to {limit - 1:,}")


def _check_shape(arrays: Mapping[str, Any], name: str, wanted: tuple[int | None, ...]) -> None:
    if name in arrays:
        got = arrays[name].shape
        fits = len(got) == len(wanted) and all(b in (None, a) for a, b in zip(got, wanted, strict=True))
        if not fits or 0 in got:
            words = ", ".join("any" if n is None else str(n) for n in wanted)
            raise InputError(f"{name} has the shape {list(got)}, expected [{words}]")


def _inputs(spec: Model, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The run's inputs, by the names that it knows."""
    first = f"{spec.stacks[0].name}." if len(spec.stacks) > 1 else ""
    inputs = {}
    for theirs, ours in INPUTS.items():
        if theirs in arrays:
            stack = "vision." if first and theirs == "pixel_values" else first
            array = arrays[theirs].astype(float) if arrays[theirs].dtype.kind == "f" else arrays[theirs]
            if theirs in CHOICES and array.ndim == 3:  # so many choices for each question
                array = array.reshape(-1, array.shape[-1])
            inputs[f"{stack}{ours}"] = array
    for theirs, ours in DECODER.items():
        if theirs in arrays:
            inputs[f"decoder.{ours}"] = arrays[theirs]
    if spec.kind == "encoder-decoder" and "decoder.token_ids" not in inputs:
        ids = inputs["encoder.token_ids"]
        inputs["decoder.token_ids"] = np.concatenate([np.full_like(ids[:, :1], spec.start_token), ids[:, :-1]], axis=1)
    return inputs


def _workload(model: Transformer, arrays: Mapping[str, Any]) -> Workload:
    """The sizes of what a reference was made with."""
    spec = model.spec
    for name in ("input_ids", "pixel_values", "input_features"):
        if name in arrays:
            given = arrays[name].shape
            batch = math.prod(given[:-1]) if name in CHOICES else given[0]
            break
    else:
        raise InputError("the reference holds none of input_ids, pixel_values and input_features")
    for stack in spec.stacks:
        needs = {"Patches": "pixel_values", "Audio": "input_features"}.get(type(stack.embedding).__name__, "input_ids")
        if stack.name != "decoder" and needs not in arrays:
            raise InputError(f"the reference holds no {needs}, which the {stack.name} needs")
    seq = int(arrays["input_ids"].shape[-1]) if "input_ids" in arrays else None
    if "input_features" in arrays:
        seq = int(arrays["input_features"].shape[-1]) // 2
    if seq is not None and spec.kind == "vision":
        seq = None
    if spec.kind != "encoder-decoder":
        return model.workload(batch=batch, seq=seq)
    target = seq if "input_ids" in arrays and spec.start_token is not None else None
    target = int(arrays["decoder_input_ids"].shape[1]) if "decoder_input_ids" in arrays else target
    if target is None:
        raise InputError("the reference holds no decoder_input_ids, which an encoder–decoder needs")
    return model.workload(batch=batch, seq=seq, target_seq=target)


def _compared(arrays: Mapping[str, Any], outcome: Outcome, rtol: float, atol: float) -> tuple[str, Difference]:
    """The outputs that the reference holds, against the run's; hidden states only where there is nothing else."""
    names = [name for name in OUTPUTS if name in arrays]
    names = names or [name for name in (*HIDDEN, *POOLED) if name in arrays][:1]
    if not names:
        raise InputError(f"the reference holds neither {', '.join(OUTPUTS)} nor {HIDDEN[0]}")
    found = []
    for name in names:
        wanted = np.asarray(arrays[name])
        fitting = [got for got in (_shaped(g, wanted) for g in _outputs(name, outcome)) if got is not None]
        if not fitting:
            shapes = " or ".join(str(list(got.shape)) for got in _outputs(name, outcome)) or "nothing of that kind"
            raise InputError(f"{name}: the run gives {shapes}, the reference holds {list(wanted.shape)}")
        alike = [difference(got, wanted, rtol, atol) for got in fitting]
        found.append(min(alike, key=lambda off: off.max_abs) if name == "logits" else alike[0])
    worst = Difference(max(off.max_abs for off in found), max(off.max_rel for off in found), all(o.ok for o in found))
    return ", ".join(names), worst


def _outputs(name: str, outcome: Outcome) -> list[Any]:
    """The arrays of a run that may be what a reference calls so."""
    by_head = outcome.outputs
    if name in HIDDEN:
        return [list(outcome.hidden.values())[-1][-1], *by_head.values()]
    if name in ("start_logits", "end_logits"):
        return [got[..., 0 if name == "start_logits" else 1] for got in by_head.values() if got.shape[-1] == 2]
    if "similarity" in by_head:
        texts = by_head["similarity"]
        if name in ("logits", "logits_per_text", "logits_per_image"):
            return {"logits": [texts.T, texts], "logits_per_text": [texts]}.get(name, [texts.T])
    return [by_head["average"]] if "average" in by_head else list(by_head.values())


def _shaped(got: Any, wanted: Any) -> Any:
    """The array in the reference's shape, if they differ by dimensions of 1 or by a grouping into choices only."""
    if got.shape == wanted.shape:
        return got
    same = [n for n in got.shape if n > 1] == [n for n in wanted.shape if n > 1]
    return got.reshape(wanted.shape) if got.size == wanted.size and (same or got.shape[1:] == (1,)) else None

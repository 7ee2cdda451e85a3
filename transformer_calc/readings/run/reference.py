"""A checkpoint held against the graph, and a run of it against what a reference implementation gave."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph
from transformer_calc.readings.run.machine import Machine, Outcome
from transformer_calc.readings.run.verify import Check, Verification, held, refuse_if_too_large, too_long
from transformer_calc.readings.run.weights import JOINT, Checkpoint, Loaded, Match, match, untied
from transformer_calc.spec import Audio, Model, Patches, Tokens, Workload
from transformer_calc.tuples import NamedTuple

Array = np.ndarray[Any, np.dtype[Any]]

LARGEST_INPUTS = 256 * 2**20  # bytes of a reference's inputs

# names in reference files -> names of the run's inputs
INPUTS = {
    "input_ids": "token_ids",
    "attention_mask": "attention_mask",
    "token_type_ids": "segment_ids",
    "pixel_values": "pixels",
    "input_features": "mel_spectrogram",
}
CHOICES = ("input_ids", "attention_mask", "token_type_ids")  # which may come in groups
DECODER = {"decoder_input_ids": "token_ids", "decoder_attention_mask": "attention_mask"}
IDS = ("input_ids", "token_type_ids", "decoder_input_ids")
# names in reference files of what a run puts out
OUTPUTS = ("logits", "start_logits", "end_logits", "logits_per_text", "logits_per_image")
HIDDEN = ("last_hidden", "last_hidden_state")
POOLED = ("pooler_output", "text_embeds", "image_embeds")


def held_against(
    graph: Graph,
    on: Workload,
    of: Mapping[str, Any],
    checkpoint: Checkpoint,
    reference: Reference | None = None,
    *,
    rtol: float,
    atol: float,
    progress: Callable[[float], None] | None = None,
) -> Verification:
    """Every tensor of a checkpoint against the prediction; with a reference, the outputs too.

    of: what an answer says of the model itself
    """
    sizes = graph.sizes(on)
    if reference:
        if wrong := too_long(reference.spec, on):
            raise InputError(f"{reference.path}: {wrong}")
        if "batch_images" in sizes and "pixel_values" in reference.arrays:
            sizes["batch_images"] = len(reference.arrays["pixel_values"])
        need = held(graph, sizes)
        refuse_if_too_large(need, "a reference of fewer tokens")
        reference.read_outputs(need)
    found = match(graph, sizes, checkpoint.shapes)
    answer = Verification(
        **of,
        ok=found.ok,
        checks=_tensor_checks(found, checkpoint),
        weights=checkpoint.path,
        files=tuple(file.name for file in checkpoint.files),
        tensors=len(checkpoint.shapes),
        misfits=(len(found.missing), len(found.unexpected), len(found.wrong_shape)),
    )
    if reference is None:
        return answer
    answer = answer.changed(reference=reference.path, rtol=rtol, atol=atol)
    if not found.ok:
        return answer
    loaded, own = Loaded(graph, sizes, checkpoint, found), untied(graph, checkpoint, found)
    machine = Machine(graph, sizes, loaded, reference.inputs(), progress=progress, untied=own)
    try:
        outcome = machine.run()
    except (ValueError, IndexError, TypeError) as error:
        raise InputError(f"{reference.path}: the run broke off at {machine.running}: {error}") from None
    names, off = reference.compared(outcome, rtol, atol)
    return answer.changed(
        ok=off.ok,
        checks=[*answer.checks, Check(f"{names} within rtol {rtol:g}, atol {atol:g}", True, off.ok)],
        untied=tuple(own),
        compared=names,
        max_abs_diff=off.max_abs,
        max_rel_diff=off.max_rel,
    )


def _tensor_checks(found: Match, checkpoint: Checkpoint) -> list[Check]:
    """A check for each tensor that is expected, and for each that is not."""
    checks = [Check(f"{name}: missing", "there", "missing") for name in found.missing]
    checks += [Check(f"{name}: unexpected", "not there", "there") for name in found.unexpected]
    checks += [Check(f"{name}: shape", list(wanted), list(got)) for name, wanted, got in found.wrong_shape]
    wrong = {name for name, _, _ in found.wrong_shape}
    apart = [name for parts in found.apart.values() for part in parts for name in part]
    right = [name for name in (*found.found.values(), *apart) if name not in wrong]
    shapes = {name: list(checkpoint.shapes[name.partition(JOINT)[0]]) for name in right}
    return checks + [Check(f"{name}: shape", size, size) for name, size in shapes.items()]


class Difference(NamedTuple):
    """How far an output is from the reference's."""

    max_abs: float
    max_rel: float
    ok: bool


def difference(got: Array, wanted: Array, rtol: float, atol: float) -> Difference:
    """Largest absolute and relative difference, the latter where `wanted` is not 0.

    Agreement is |got - wanted| <= atol + rtol · |wanted| everywhere.
    """
    off, size = np.abs(got - wanted), np.abs(wanted)
    with np.errstate(over="ignore"):  # beside the smallest numbers, any difference is infinite
        relative = np.divide(off, size, out=np.zeros(off.shape), where=size > 0)
    agrees = bool(np.all(off <= atol + rtol * size))
    return Difference(float(off.max(initial=0.0)), float(relative.max(initial=0.0)), agrees)


class Reference:
    """What a reference implementation was given and gave: arrays under the names of its class's own arguments.

    file: of arrays, with its path and their shapes; they are read when they are asked for
    """

    def __init__(self, spec: Model, file: Any) -> None:
        self.spec, self.file, self.path = spec, file, file.path
        names = [name for name in file.shapes if name in (*INPUTS, *DECODER)]
        if file.bytes(names) > LARGEST_INPUTS:
            raise InputError(
                f"{file.path} holds {file.bytes(names):,} bytes of inputs once they are unpacked, expected at most "
                f"{LARGEST_INPUTS:,}"
            )
        self.arrays = {name: file.array(name) for name in names}
        _check_numbers(self.arrays)
        _check_inputs(spec, self.arrays)

    def read_outputs(self, need: int) -> None:
        """Read the arrays that come out of a run, which has them in so many bytes beside all others."""
        names = [name for name in self.file.shapes if name in (*OUTPUTS, *HIDDEN, *POOLED)]
        if self.file.bytes(names) > need:
            raise InputError(
                f"{self.path} holds {self.file.bytes(names):,} bytes of outputs once they are unpacked, more than the "
                f"whole run on its inputs takes"
            )
        outputs = {name: self.file.array(name) for name in names}
        _check_numbers(outputs)
        self.arrays |= outputs

    def sizes(self) -> dict[str, int | None]:
        """The sizes of the workload that it was made with."""
        spec, arrays = self.spec, self.arrays
        for name in ("input_ids", "pixel_values", "input_features"):
            if name in arrays:
                given = arrays[name].shape
                batch = math.prod(given[:-1]) if name in CHOICES else given[0]
                break
        else:
            raise InputError("the reference holds none of input_ids, pixel_values and input_features")
        for stack in spec.stacks:
            takes = {Patches: "pixel_values", Audio: "input_features"}.get(type(stack.embedding), "input_ids")
            if stack.name != "decoder" and takes not in arrays:
                raise InputError(f"the reference holds no {takes}, which the {stack.name} needs")
        seq = arrays["input_ids"].shape[-1] if "input_ids" in arrays else None
        if "input_features" in arrays:
            seq = arrays["input_features"].shape[-1] // 2
        if spec.kind != "encoder-decoder":
            return {"batch": batch, "seq": None if spec.kind == "vision" else seq}
        target = seq if "input_ids" in arrays and spec.start_token is not None else None
        target = arrays["decoder_input_ids"].shape[1] if "decoder_input_ids" in arrays else target
        if target is None:
            raise InputError("the reference holds no decoder_input_ids, which an encoder–decoder needs")
        return {"batch": batch, "seq": seq, "target_seq": target}

    def inputs(self) -> dict[str, Any]:
        """The run's inputs, by the names that it knows."""
        spec, inputs = self.spec, dict[str, Any]()
        first = f"{spec.stacks[0].name}." if len(spec.stacks) > 1 else ""
        for theirs, ours in INPUTS.items():
            if theirs in self.arrays:
                stack = "vision." if first and theirs == "pixel_values" else first
                array = self.arrays[theirs]
                array = array.astype(float) if array.dtype.kind == "f" else array
                if theirs in CHOICES and array.ndim == 3:  # so many choices for each question
                    array = array.reshape(-1, array.shape[-1])
                inputs[f"{stack}{ours}"] = array
        inputs |= {f"decoder.{ours}": self.arrays[theirs] for theirs, ours in DECODER.items() if theirs in self.arrays}
        if spec.kind == "encoder-decoder" and "decoder.token_ids" not in inputs:
            ids = inputs["encoder.token_ids"]
            start = np.full_like(ids[:, :1], spec.start_token)
            inputs["decoder.token_ids"] = np.concatenate([start, ids[:, :-1]], axis=1)
        return inputs

    def compared(self, outcome: Outcome, rtol: float, atol: float) -> tuple[str, Difference]:
        """The outputs that it holds against the run's; hidden states only where there is nothing else."""
        names = [name for name in OUTPUTS if name in self.arrays]
        names = names or [name for name in (*HIDDEN, *POOLED) if name in self.arrays][:1]
        if not names:
            raise InputError(f"the reference holds neither {', '.join(OUTPUTS)} nor {HIDDEN[0]}")
        found = []
        for name in names:
            wanted, got = self.arrays[name], outputs(name, outcome)
            fitting = [one for one in (as_shaped(one, wanted) for one in got) if one is not None]
            if not fitting:
                shapes = " or ".join(str(list(one.shape)) for one in got) or "nothing of that kind"
                raise InputError(f"{name}: the run gives {shapes}, the reference holds {list(wanted.shape)}")
            alike = [difference(one, wanted, rtol, atol) for one in fitting]
            found.append(min(alike, key=lambda off: off.max_abs) if name == "logits" else alike[0])
        largest = max(off.max_abs for off in found), max(off.max_rel for off in found)
        return ", ".join(names), Difference(*largest, all(off.ok for off in found))


def outputs(name: str, outcome: Outcome) -> list[Any]:
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


def as_shaped(got: Any, wanted: Any) -> Any:
    """The array in the reference's shape, if they differ by dimensions of 1 or by a grouping into choices only."""
    if got.shape == wanted.shape:
        return got
    same = [n for n in got.shape if n > 1] == [n for n in wanted.shape if n > 1]
    return got.reshape(wanted.shape) if got.size == wanted.size and (same or got.shape[1:] == (1,)) else None


# --- what no run can take -----------------------------------------------------------------------------------------


def _check_numbers(arrays: Mapping[str, Any]) -> None:
    """Refuse what is of a wrong type, and what is no finite number."""
    for name, array in arrays.items():
        masks = name.endswith("attention_mask")
        kinds, what = ("iufb", "0 and 1") if masks else ("iu", "integers") if name in IDS else ("iuf", "real numbers")
        if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
            raise InputError(f"{name} is of {getattr(array, 'dtype', 'no type')}, expected {what}")
        if not np.isfinite(array).all():
            raise InputError(f"{name} holds what is not a finite number, expected {what}")
        if masks and not np.isin(array, (0, 1)).all():
            raise InputError(f"{name} holds numbers from {array.min():g} to {array.max():g}, expected 0 and 1")


def _check_inputs(spec: Model, arrays: Mapping[str, Any]) -> None:
    """Refuse inputs of a wrong rank, out of range, or not fitting together."""
    for stack in spec.stacks:
        embedding = stack.embedding
        if isinstance(embedding, Patches):
            _check_shape(arrays, "pixel_values", (None, embedding.channels, embedding.height, embedding.width))
        elif isinstance(embedding, Audio):
            _check_shape(arrays, "input_features", (None, embedding.mels, None))
        elif isinstance(embedding, Tokens) and stack.name == "decoder" and len(spec.stacks) > 1:
            _check_ids(arrays, {"decoder_input_ids": embedding.vocab, "decoder_attention_mask": None}, (2,))
        elif isinstance(embedding, Tokens):
            most = {"input_ids": embedding.vocab, "token_type_ids": embedding.segments or None, "attention_mask": None}
            _check_ids(arrays, most, (2, 3))
    source, ids = next((arrays[name] for name in INPUTS if name in arrays), None), arrays.get("decoder_input_ids")
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

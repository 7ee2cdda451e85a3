"""What a count of memory rests on: each assumption with its value, its source, and in words."""

from __future__ import annotations

from typing import Any

from transformer_calc.answer import Assumption
from transformer_calc.facts import Device
from transformer_calc.graph.core import plain
from transformer_calc.plan import Serving, Training
from transformer_calc.readings.memory import serving, training
from transformer_calc.readings.memory.buffers import BUFFERS
from transformer_calc.readings.memory.held import Held
from transformer_calc.readings.memory.serving import PLAIN, beside
from transformer_calc.readings.shard import PADDED
from transformer_calc.storage import optimizer, precision, storage

CROSS_ENTROPY = "log-probabilities, their gradient and the logits', whole (PyTorch, cross_entropy)"
Found = dict[str, Assumption]


def of_memory(found: Held, overhead: int, device: Device | None) -> Found:
    """Everything that the bytes of a plan rest on."""
    plan, most = found.plan, found.fullest
    said = _training(plan, found) if isinstance(plan, Training) else _serving(plan)
    if isinstance(plan, Training) and most.logits_and_loss:
        said |= _loss(plan)
    said |= _copies(found) | _uneven(found)
    if isinstance(plan, Training):
        said |= _buffers(found, plan)
    said |= _stages(found)
    if why := idle(plan):
        said["selective recomputation"] = Assumption(why, "selective")
    text = f"{overhead:,} bytes of framework and allocator (`overhead`)"
    said["overhead"] = Assumption(text, overhead, "bytes", "as given")
    if device and device.memory_note:
        said["device memory"] = Assumption(device.memory_note, device.memory_bytes, "bytes", device.memory_note)
    return said


def idle(plan: Serving | Training) -> str:
    """That recomputation saves no memory, where it does not: operator by operator more of attention is kept."""
    return training.idle_selective(plan) if isinstance(plan, Training) and plan.kernels == "fused" else ""


def stored_beside(plan: Serving | Training, checkpoint: Any, further: Any) -> Found:
    """What the weights that are counted are not: stored otherwise, or all that the checkpoint holds.

    checkpoint, further:  what the model's config says of both, if anything
    """
    said = _stored_otherwise(plan, checkpoint)
    return said | ({"further tokens": Assumption(further.said, further.counted)} if further else {})


def _stored_otherwise(plan: Serving | Training, checkpoint: Any) -> Found:
    recipe = "" if isinstance(plan, Serving) or plan.adapters else plan.precision  # of what is trained whole
    if checkpoint is None or (not recipe and not isinstance(plan, Serving) and not plan.adapters):
        return {}
    counted = precision(recipe).weights if recipe else storage(plan.weights).name
    near = storage(checkpoint.storage).name if checkpoint.storage else None
    if near == counted:
        return {}
    key = "quantization_config" if checkpoint.quantization else "dtype"
    if recipe:
        way = f"training keeps its weights in {counted} (`precision={recipe}`)"
    elif plan.weights != Serving().weights:
        way = f"weights are counted in {counted} (`weights`)"
    else:
        way = f"`weights={checkpoint.storage}` counts them so" if near else "no `weights` comes near it"
        way = f"weights are counted in {counted}: {way}"
    return {"checkpoint": Assumption(f"{checkpoint.said} by its {key}; {way}", checkpoint.said, source=key)}


def _serving(plan: Serving) -> Found:
    chosen, cache = storage(plan.weights), storage(plan.kv_dtype)
    said = {"weights": Assumption(chosen.name, chosen.name, source=chosen.source)}
    if chosen.name not in PLAIN:
        of = beside(chosen, storage(plan.rest).name)
        said |= {name: Assumption(kind, kind) for name, kind in of.items()}
    split = ", its batch split over ranks beyond the heads" if plan.kv_split == "batch" else ""
    scales = ", without scales of rows or tensors" if cache.row_bytes or cache.tensor_bytes else ""
    said["cache"] = Assumption(cache.name + scales + split, cache.name, source=cache.source)
    if plan.block_size > 1:
        text = f"{plan.block_size} tokens each, the last one reserved whole"
        said["pages"] = Assumption(text, plan.block_size, "tokens", "as given")
    positions = "every position" if plan.logits == "all" else "the last position"
    live = f"{plan.activations}, what is live at once in a pass"
    text = f"{live}; {plan.attention} attention; logits of {positions}"
    return said | {"activations": Assumption(text, plan.activations)}


def _training(plan: Training, found: Held) -> Found:
    recipe, sequences = precision(plan.precision), training.micro_batch(plan, found.sizes)
    weight, gradient, master = recipe.bytes_per_parameter
    of_each = f"{weight} {'byte' if weight == 1 else 'bytes'} a weight, {gradient} a gradient" + (
        f", {master} a master copy" if master else ""
    )
    said: Found = {}
    if one := plan.adapters:
        drops = f"dropout {one.dropout}, each its own" if one.dropout else "without dropout"
        text = f"LoRA of rank {one.rank} on {', '.join(one.targets)}, {drops}; each matrix its own A and B"
        said["adapters"] = Assumption(text, one.rank, "rank", "as given")
        said["frozen weights"] = _frozen(plan)
    if plan.freeze:
        text = f"{', '.join(plan.freeze)}: {weight} bytes a weight, no gradients, no states"
        said["frozen"] = Assumption(text, list(plan.freeze), source="as given")
    others = "" if recipe.weights in PLAIN else f"; tables, norms, biases, routers, heads {recipe.activations}"
    text = f"{recipe.name}: {of_each} ({recipe.source}){others}"
    said["precision"] = Assumption(text, recipe.name, source=recipe.source)
    chosen = optimizer(plan.optimizer)
    said["optimizer"] = Assumption(f"{chosen.name} ({chosen.source})", chosen.name, source=chosen.source)
    said["ZeRO stage"] = Assumption(str(plan.zero), plan.zero)
    groups = f", {plan.virtual} groups of layers a stage" if plan.virtual > 1 else ""
    text = f"{sequences:,} {'sequence' if sequences == 1 else 'sequences'}, schedule {plan.schedule}{groups}"
    said["micro-batch"] = Assumption(text, sequences, "sequences")
    every = f", every {plan.recompute_every} layers" if plan.recompute == "full" and plan.recompute_every > 1 else ""
    run = f"{plan.kernels} kernels"
    run += " (operator by operator, as transformers 5.24)" if plan.kernels == "eager" else ""
    text = f"{plan.attention} attention, {run}, recomputation {plan.recompute}{every}"
    return said | {"activations": Assumption(text, recipe.activations)}


def _frozen(plan: Training) -> Assumption:
    chosen = storage(plan.weights)
    text = chosen.name
    if chosen.name not in PLAIN:
        others = ", ".join(f"{name} {kind}" for name, kind in beside(chosen, Serving().rest).items())
        text = f"{chosen.name} ({chosen.source}); {others}"
    return Assumption(text, chosen.name, source=chosen.source)


def _loss(plan: Training) -> Found:
    """How the loss is computed, and whether its logits are there all the time."""
    split = ""
    if plan.mesh.tp > 1:
        split = (
            "; of a rank's part of the vocabulary, in the same steps (vocabulary-parallel, arXiv 1909.08053, section 3)"
        )
    output = "held through the backward pass" if plan.outputs == "held" else "released before the backward pass"
    text = f"{CROSS_ENTROPY}{split}; the model's output is {output} (`outputs`)"
    return {"logits and loss": Assumption(text, plan.outputs, source="PyTorch, cross_entropy")}


def _buffers(found: Held, plan: Training) -> Found:
    """What each buffer is, and whose convention that is."""
    given, mesh = dict(plan.buffers), plan.mesh
    ahead = {
        "gradient_bucket": f"; {plan.bucket_size:,} elements (`bucket_size`)" if plan.zero in (1, 2) else "",
        "gathered_parameters": f"; {plan.prefetch} ahead (`prefetch`)" if plan.zero == 3 else "",
    }
    said: Found = {}
    for name, (what, source) in BUFFERS.items():
        if any(name in stage.other_parts for stage in found.stages):
            origin = "as given by `buffer`" if name in given else source
            text = f"{what} ({origin}){ahead.get(name, '')}"
            most = max(stage.other_parts.get(name, 0) for stage in found.stages)
            said[name.replace("_", " ")] = Assumption(text, most, "bytes", origin)
    in_place = ["tensor parallelism reduces in place"] if mesh.tp > 1 and not mesh.sp else []
    if mesh.dp * mesh.cp > 1 and plan.zero == 0 and plan.ddp_buckets == "views":
        in_place.append("gradients are views of their buckets (Megatron-LM; PyTorch DDP, gradient_as_bucket_view=True)")
    return said | ({"without buffers": Assumption("; ".join(in_place))} if in_place else {})


def _stages(found: Held) -> Found:
    """How layers stand on stages that they do not divide over."""
    each = [stage.layers for stage in found.stages]
    few, many = min(each), max(each)
    if few == many:
        return {}
    fewer = max(each[0], each[-1]) < min(each[1:-1], default=0)
    ends = "; the first and the last have fewer" if fewer else ""
    return {"stages": Assumption(f"{few} to {many} layers each: they do not divide{ends}", [few, many], "layers")}


def _uneven(found: Held) -> Found:
    """What ranks hold of a vocabulary that they do not divide."""
    tp, graph = found.plan.mesh.tp, found.graph
    axes = (axis for name, axis in graph.axes.items() if plain(name) in PADDED)
    counts: Any = sorted({int(found.sizes[axis.name]) for axis in axes})  # type: ignore[arg-type]
    uneven = [f"{count:,} over {tp} ranks, {-(-count // tp):,} on most" for count in counts if count % tp]
    if not uneven:
        return {}
    text = f"{'; '.join(uneven)}, not padded to a multiple of 128 times `tp` as Megatron-LM would"
    return {"vocabulary": Assumption(text, counts, "tokens")}


def _copies(found: Held) -> Found:
    """Whether quantised matrices are computed with in copies, and the largest of these."""
    plan = found.plan
    chosen = storage(plan.weights)
    if chosen.name in PLAIN or (isinstance(plan, Training) and not plan.adapters):
        return {}
    stage = found.cut[found.number]
    if isinstance(plan, Training):
        copy, width = training.copied(stage, found.sizes, plan), precision(plan.precision).activations
    else:
        of_blocks = (serving.copied(block, found.sizes, plan) for block, _ in stage.blocks)
        copy = max((one for one in of_blocks if one), key=lambda one: one.bytes, default=None)
        width = plan.activations
    if copy:
        when = " in the backward pass" if chosen.copied == "backward" else ""
        text = f"one at a time is computed with in {width}{when}, at most {copy.path} (bitsandbytes)"
        return {"dequantised matrix": Assumption(text, int(copy.bytes), "bytes", "bitsandbytes")}
    if chosen.copied == "always":
        text = "none: a single row is multiplied with the matrix as it is stored (bitsandbytes)"
        return {"dequantised matrix": Assumption(text, 0, "bytes", "bitsandbytes")}
    return {"dequantised matrix": Assumption("none: kernels take matrices as they are stored", 0, "bytes")}

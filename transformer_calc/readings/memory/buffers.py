"""What training holds beside states and activations: buffers of communication, by the way that the work is divided.

One convention for each, of the framework that does it so. Sizes come from the graph: parameters of a layer, and the
tensors that go from one device to another. What is reduced in place (tensor parallelism's activations, gradients that
are views of their buckets) has no buffer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from transformer_calc.expr import divide, largest
from transformer_calc.graph.core import Block, Dims, Graph, Op
from transformer_calc.ops import rules
from transformer_calc.ops.kind import EXPERTS, MATRIX, PRODUCT, SENDS, SPREAD
from transformer_calc.readings.shard import Local, Stage
from transformer_calc.storage import precision
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.plan import Mesh, Training

# name -> (what it is, whose convention)
BUFFERS: Mapping[str, tuple[str, str]] = {
    "gradient_copies": (
        "gradients once more, where they are reduced",
        "PyTorch DDP, gradient_as_bucket_view=False",
    ),
    "gradient_bucket": (
        "gradients on their way to be reduced, at most all of a device's",
        "DeepSpeed, reduce_bucket_size, without overlap_comm",
    ),
    "gathered_parameters": (
        "whole parameters of the layer at work and of those gathered ahead; outside of the layers, of everything",
        "PyTorch FSDP2, fully_shard of each layer and of the model",
    ),
    "unsharded_gradients": (
        "whole gradients of the layer at work, their copy that is being reduced, and the head's",
        "PyTorch FSDP2, foreach_reduce",
    ),
    "pipeline_buffers": (
        "what a stage hands on and what comes back, of one micro-batch",
        "Megatron-LM, p2p_communication",
    ),
    "gathered_sequence": (
        "the whole sequence where a matrix is split over `tp`, once",
        "Korthikanti et al. 2022, arXiv 2205.05198, section 4.2.2",
    ),
    "expert_exchange": (
        "a send and a receive buffer of the tokens that go to experts, evenly many to each",
        "GShard, arXiv 2006.16668, section 3.2",
    ),
    "ring_keys_values": (
        "keys and values of other devices: those at work and the next ones",
        "Liu et al. 2023, arXiv 2310.01889, section 3",
    ),
}


class Unit(NamedTuple):
    """Parameters that data-parallel ranks share: bytes on a device that has them whole; sizes may be symbolic."""

    block: Block
    times: Any  # on the stage
    weights: Any
    gradients: Any
    last: bool  # used after the layers, where the backward pass begins


class Buffers(NamedTuple):
    """Bytes of each buffer of one device."""

    at_start: dict[str, Any]  # at the start of the backward pass
    in_layer: dict[str, Any]  # in the backward pass of a layer


def of_stage(
    stage: Stage,
    graph: Graph,
    local: Local,
    units: list[Unit],
    plan: Training,
    each: int,
    sent: Sent | None = None,
) -> Buffers:
    """The buffers of one device of a stage.

    each: bytes of an entry of an activation; sent: what its blocks send, where that is known
    """
    sent = sent or sent_by(stage, local, plan.mesh, each)
    both: dict[str, Any] = {}
    summed = sum(unit.times * unit.gradients for unit in units)
    if plan.zero == 0 and plan.ddp_buckets == "copies":
        both["gradient_copies"] = summed
    elif plan.zero in (1, 2):
        bucket = plan.bucket_size * precision(plan.precision).bytes_per_parameter[1]
        both["gradient_bucket"] = min(bucket, summed)
    if plan.mesh.pp > 1:
        both["pipeline_buffers"] = sent.stages
    start, layer = dict(both), dict(both)
    if plan.zero >= 3:
        outside = sum(unit.weights for unit in units if not unit.block.repeat)
        start["gathered_parameters"] = outside + largest(_in_a_row(graph, units, plan.prefetch))
        layer["gathered_parameters"] = outside + largest(_in_a_row(graph, units, 1 + plan.prefetch))
        of_layers = _by_layer((unit.block.path, unit.gradients) for unit in units if unit.block.repeat)
        last = sum(unit.gradients for unit in units if unit.last)
        weight, gradient, _ = precision(plan.precision).bytes_per_parameter
        made = max(weight, each)  # bytes of a gradient as the backward pass makes it, before it is added up
        layer["unsharded_gradients"] = divide(made * last + (made + gradient) * largest(of_layers.values()), gradient)
    if plan.mesh.sp:
        start["gathered_sequence"], layer["gathered_sequence"] = sent.after, sent.inside
    if plan.mesh.ep > 1:
        layer["expert_exchange"] = sent.experts
    if plan.mesh.cp > 1:
        layer["ring_keys_values"] = sent.ring
    chosen = dict(plan.buffers)
    return Buffers(*({name: size for name, size in (held | chosen).items() if size} for held in (start, layer)))


class Sent(NamedTuple):
    """Bytes of the buffers for activations that a stage's blocks send, one micro-batch's."""

    stages: Any  # between stages
    inside: Any  # the whole sequence, in layers
    after: Any  # and behind them
    experts: Any
    ring: Any


def sent_by(stage: Stage, local: Local, mesh: Mesh, each: int) -> Sent:
    """What the blocks of a stage send; each: bytes of an entry of an activation."""
    layers = [block for block, _ in stage.blocks if block.repeat]
    rest = [block for block, _ in stage.blocks if not block.repeat and block.role != "embed"]
    routed = [local.bytes(op.output.dims, each) for op in _ops(layers) if mesh.ep > 1 and rules(op).mesh(op) == SENDS]
    return Sent(
        2 * (largest(_outputs(layers, local, each)) + _beside(layers, local, each)),
        largest(_gathered(layers, local, each)) if mesh.sp else 0,
        largest(_gathered(rest, local, each)) if mesh.sp else 0,
        2 * largest(routed),
        min(2, mesh.cp - 1) * largest(_keys_and_values(layers, local, each)) if mesh.cp > 1 else 0,
    )


def _outputs(layers: list[Block], local: Local, each: int) -> Iterator[Any]:
    """What a stage hands on to the next, of one micro-batch: the output of a layer."""
    return (local.bytes(op.output.dims, each) for block in layers for op in block.ops if op.path == block.output)


def _beside(layers: list[Block], local: Local, each: int) -> Any:
    """And what the layers of all stages of a decoder read: the encoder's output."""
    read = {tensor.dims for op in _ops(layers) for tensor in op.inputs if tensor.handed}
    return sum([local.bytes(dims, each) for dims in read])


def _in_a_row(graph: Graph, units: list[Unit], layers: int) -> Iterator[Any]:
    """What so many layers in a row have, wherever they begin, of those that stand on the stage."""
    size = _by_layer((unit.block.path, unit.weights) for unit in units if unit.block.repeat)
    count = {unit.block.path: unit.times for unit in units}
    runs = [run for stack in graph.orders.values() for run in stack]
    order = [path for cycle, times in runs for path in cycle * min(times, layers)]
    for start in range(len(order)):
        row = Counter(path for path in order[start : start + layers] if path in size)
        yield sum(min(n, count[path]) * size[path] for path, n in row.items())


def _by_layer(sizes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for path, size in sizes:
        total[path] = total.get(path, 0) + size
    return total


def _gathered(blocks: list[Block], local: Local, each: int) -> Iterator[Any]:
    """Inputs of matrices that are split along their outputs: each device needs all tokens for its part."""
    whole = Local(local.sizes, local.mesh)
    for op in _ops(blocks):
        if rules(op).mesh(op) not in (MATRIX, EXPERTS):
            continue
        inputs = op.inputs[0].dims
        if _axes(inputs) & set(local.between) and local.divides(op.params[0].dims) and not local.divides(inputs):
            yield whole.bytes(inputs, each)


def _keys_and_values(blocks: list[Block], local: Local, each: int) -> Iterator[Any]:
    """Keys and values of each attention, before they are repeated for grouped queries."""
    for block in blocks:
        made = {op.path: op for op in block.ops}
        of: dict[str, Any] = {}
        for op in block.ops:
            if rules(op).kernel == PRODUCT and op.output.scores != op.inputs[0].scores:
                source = op.inputs[1]
                while source.name in made and rules(made[source.name]).memory == SPREAD:
                    source = made[source.name].inputs[0]
                of[op.scope] = of.get(op.scope, 0) + local.bytes(source.dims, each)
        yield from of.values()


def _ops(blocks: list[Block]) -> list[Op]:
    return [op for block in blocks for op in block.ops]


def _axes(dims: Dims) -> set[str]:
    return {axis for dim in dims for axis in dim}

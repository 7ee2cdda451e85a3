"""What training keeps on one device: weights, gradients, the optimizer's states, and activations for the backward pass.

ZeRO (Rajbhandari et al. 2019, arXiv 1910.02054) divides over the data-parallel ranks the optimizer's states (stage 1),
gradients too (2), and weights too (3). A pipeline stage holds the activations of every micro-batch that is in flight:
all of them (GPipe, arXiv 1811.06965), or as many as there are stages from it on (1F1B, Megatron-LM, arXiv 2104.04473,
§2.2), or, interleaved, somewhat more (Korthikanti et al. 2022, arXiv 2205.05198, §4.2.3: the first of p stages with v
groups of layers each holds 1 + (p - 1)/(p·v) times the activations of all layers of one micro-batch). What is
recomputed is there for one layer, or as many as lie between kept inputs, at a time. With adapters (LoRA), these alone
have gradients and states.

The backward pass begins with that of the loss: then all activations are there and, of each logit, its log-probability,
the gradient of that and its own, and the logit itself while the loop holds the model's output, as loops do that call
`out.loss.backward()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformer_calc.errors import InputError, did_you_mean
from transformer_calc.expr import ceil_div, divide, formula_of, largest, number_of, paired
from transformer_calc.graph.core import Graph, Sizes, product
from transformer_calc.ops.kept import How
from transformer_calc.plan import USUAL, Mesh, Serving, Training
from transformer_calc.readings.count import lora
from transformer_calc.readings.count.params import Component, components
from transformer_calc.readings.memory import activations, buffers, serving
from transformer_calc.readings.memory.activations import Saved
from transformer_calc.readings.memory.parts import Bytes, StageMemory
from transformer_calc.readings.shard import Local, Share, Stage, content, key, layers_of, parts_of, share, tied
from transformer_calc.storage import STORAGE, optimizer, precision, storage
from transformer_calc.tuples import NamedTuple

LOSS = ("loss", "targets")  # roles of what the loss keeps
START = "start of the backward pass"
AGAIN = "recomputation of a layer in the backward pass"
LAYER = "backward pass of a layer"


def check(plan: Training, sizes: Sizes) -> None:
    """Refuse a plan that cannot be."""
    mesh, batch = plan.mesh, number_of(sizes["batch"])
    if batch % mesh.dp:
        raise InputError(f"`dp` is {mesh.dp}; it must divide the batch of {batch:,}")
    if (batch // mesh.dp) % micro_batch(plan, sizes):
        raise InputError(
            f"`micro_batch` is {plan.micro_batch}; it must divide the {batch // mesh.dp:,} sequences of a rank"
        )
    if mesh.cp > 1 and plan.attention == "eager":
        raise InputError("`cp` splits each sequence, for which `attention` must be flash")
    for name in ("seq", "target"):
        if name in sizes and number_of(sizes[name]) % mesh.cp:
            raise InputError(f"`cp` is {mesh.cp}; it must divide the {number_of(sizes[name]):,} tokens of a sequence")
    if plan.recompute_every > 1 and plan.freeze:
        raise InputError(f"`recompute_every` is {plan.recompute_every}; with `freeze` it must be 1")
    if plan.freeze and plan.adapters:
        raise InputError("`freeze` and `lora_rank` are given; with adapters everything else is frozen anyway")
    if plan.recompute_every > 1 and plan.recompute != "full":
        raise InputError("`recompute_every` is of full recomputation", "`recompute=full`")
    _check_interleaved(plan, sizes)
    _check_buffers(plan)
    precision(plan.precision)
    optimizer(plan.optimizer)
    storage(plan.weights)


def idle_selective(plan: Training) -> str:
    """That selective recomputation changes nothing, where it does not, in words that go after it.

    It computes the attention core again (Korthikanti et al. 2022, arXiv 2205.05198, section 5), of which flash
    attention keeps nothing: its backward pass makes the scores anew (Dao et al. 2022, arXiv 2205.14135, section 3.1).
    """
    if plan.recompute != "selective" or plan.attention != "flash":
        return ""
    return (
        "changes nothing here: flash attention keeps no score matrix, and its backward pass computes the scores again "
        "by itself (`attention=eager`)"
    )


def _check_interleaved(plan: Training, sizes: Sizes) -> None:
    mesh = plan.mesh
    if plan.schedule != "interleaved":
        if plan.virtual != 1:
            raise InputError(
                f"`virtual` is {plan.virtual}, but the schedule is {plan.schedule}", "`schedule=interleaved`"
            )
        return
    if mesh.pp == 1:
        raise InputError("`schedule` is interleaved, but `pp` is 1: there is no pipeline")
    if plan.virtual < 2:
        raise InputError(
            f"`virtual` is {plan.virtual}; an interleaved stage has at least 2 groups of layers", "`virtual=2`"
        )
    if passes(plan, sizes) % mesh.pp:
        raise InputError(f"an interleaved pipeline takes micro-batches by `pp={mesh.pp}`, not {passes(plan, sizes):,}")


def _check_buffers(plan: Training) -> None:
    for name, needed in (("ddp_buckets", (0,)), ("bucket_size", (1, 2)), ("prefetch", (3,))):
        value = getattr(plan, name)
        if value != USUAL[name] and plan.zero not in needed:
            stages = " or ".join(map(str, needed))
            raise InputError(f"`{name}` is {value}, but `zero` is {plan.zero}; it is of `zero={stages}`")
    for name, size in plan.buffers:
        if name not in buffers.BUFFERS:
            hint = did_you_mean(name, buffers.BUFFERS) or f"there are {', '.join(buffers.BUFFERS)}"
            raise InputError(f"`buffer` names {name!r}, which is no buffer", hint)
        if size < 0:
            raise InputError(f"`buffer={name}` is {size}; it must be at least 0")


def micro_batch(plan: Training, sizes: Sizes) -> int:
    """Sequences of one pass of a device."""
    return plan.micro_batch or (number_of(sizes["batch"]) // plan.mesh.dp if plan.mesh.pp == 1 else 1)


class Blocks(NamedTuple):
    """What one micro-batch keeps on one device, of each block once: bytes."""

    kept: list[tuple[Saved, Any]]  # a tensor, and bytes of all that stand as often
    loss: Any
    logits: Any
    output: Any
    moment: Any
    layers: dict[str, Any]  # of one layer, by its path


class Common:
    """What plans of one model have in common, read once: parameters on any mesh, what a pass of a block keeps.

    The plans differ in mesh, ZeRO, micro-batch, schedule and recomputation.
    """

    def __init__(self, graph: Graph, sizes: Sizes, plan: Training) -> None:
        self.graph, self.plan, self.sizes = graph, plan, lora.bound(sizes, plan.adapters)
        self.paths = lora.targets(graph, plan.adapters) if plan.adapters else frozenset[str]()
        self.still = graph.frozen.params if graph.frozen else frozenset[str]()
        self.tied = {param.tied for block in graph.blocks for op in block.ops for param in op.params}
        self.every = components(graph)
        self._stages: dict[Any, list[tuple[Component, int, Any]]] = {}
        self.states = States(plan)
        self._shares: dict[Any, Share] = {}
        self._bytes: dict[Any, tuple[Any, Any, Any]] = {}
        self._locals: dict[Any, Local] = {}
        self._hows: dict[Any, How] = {}
        self._blocks: dict[Any, Blocks] = {}
        self._sent: dict[Any, buffers.Sent] = {}

    def local(self, plan: Training, sizes: Sizes) -> Local:
        """One micro-batch on one device."""
        mesh = plan.mesh
        of = mesh.tp, mesh.cp, mesh.sp, micro_batch(plan, sizes)
        if of not in self._locals:
            self._locals[of] = local_of(self.graph, sizes, plan)
        return self._locals[of]

    def how(self, plan: Training, sizes: Sizes) -> How:
        """How a model is run by a plan."""
        of = plan.recompute, micro_batch(plan, sizes) == 1
        if of not in self._hows:
            self._hows[of] = how_of(plan, self.graph, sizes)
        return self._hows[of]

    def blocks(self, stage: Stage, how: How, local: Local, plan: Training) -> Blocks:
        """What the blocks of a stage keep."""
        counts = stage.counts
        of = tuple(counts), how, id(local)
        if of not in self._blocks:
            self._blocks[of] = self._kept(counts, rows_of(stage, self.graph, how, plan), local)
        return self._blocks[of]

    def sent(self, stage: Stage, local: Local, mesh: Mesh, each: int) -> buffers.Sent:
        """What the blocks of a stage send."""
        of = tuple(stage.counts), id(local), mesh.ep
        if of not in self._sent:
            self._sent[of] = buffers.sent_by(stage, local, mesh, each)
        return self._sent[of]

    def _kept(self, counts: Mapping[tuple[str, str], int], rows: list[Saved], local: Local) -> Blocks:
        kept = dict[Any, tuple[Saved, Any]]()
        loss = logits = output = moment = 0
        layers = dict[str, Any]()
        for row in rows:
            block = key(row.block)
            if block not in counts:
                continue
            each = local.bytes(row.dims, row.bytes * row.factor)
            if row.kept and row.repeat:
                layers[row.block.path] = layers.get(row.block.path, 0) + each
            if row.given:
                continue
            if row.kept:
                often = block, row.number, row.every, row.repeat
                first, size = kept.get(often, (row, 0))
                kept[often] = first, size + each
                loss += each if row.role in LOSS else 0
                moment -= each if row.role == "targets" else 0
                logits += each if activations.of_logits(row) else 0
            elif row.role == "loss":
                moment += each
            else:
                output += each
        return Blocks(list(kept.values()), loss, logits, output, moment, layers)

    def on(self, stage: Stage) -> list[tuple[Component, int, Any]]:
        """(a tensor, how many of its block are like it, how many such blocks there are) on a stage."""
        held = content(stage)
        if held not in self._stages:
            alike: dict[Any, tuple[Component, int, Any]] = {}
            for part, count in parts_of(stage, self.graph, self.sizes, self.every):
                like = self._like(part)
                first, number, _ = alike.get(like, (part, 0, count))
                alike[like] = first, number + 1, count
            self._stages[held] = list(alike.values())
        return self._stages[held]

    def _like(self, part: Component) -> Any:
        """What tensors have in common of which as many bytes are kept."""
        if self.plan.adapters or self.graph.frozen or part.embedding or part.path in self.tied:
            return part.path
        return part.block.path, part.block.title, part.dims, part.out, part.routed, part.path.endswith(".weight")

    def update_flops(self, part: Component, mesh: Mesh) -> float:
        """Matmul FLOPs of an update of one device's share of a tensor, or of its adapters, before ZeRO divides them."""
        if self.states.optimizer.update is None or not part.path.endswith(".weight"):
            return 0.0
        learning = lora.adapters(part, self.paths) if self.plan.adapters else (part,)
        whole = sum(self.states.update_flops(one, self.sizes) for one in learning)
        return float(whole * share(part, mesh, self.sizes).entries / part.entries(self.sizes)) if whole else 0.0

    def bytes(self, part: Component, mesh: Mesh, zero: int) -> tuple[Any, Any, Any]:
        """Bytes of (weights, gradients, states) of one device's share of a tensor and of its adapters."""
        ranks = mesh.dp * mesh.cp if zero else 1  # which divide nothing otherwise
        of = part.path, mesh.tp, mesh.ep, ranks, zero
        if of not in self._bytes:
            if self.plan.adapters or self.graph.frozen:
                plan = self.plan.changed(mesh=mesh, zero=zero)
                self._bytes[of] = part_bytes(part, self.sizes, plan, self.paths, self.still)
            else:
                if of[:3] not in self._shares:
                    self._shares[of[:3]] = share(part, mesh, self.sizes)
                self._bytes[of] = self.states.bytes(part, self._shares[of[:3]], ranks_of(part, mesh), zero)
        return self._bytes[of]

    def frozen(self, part: Component, mesh: Mesh) -> Any:
        """Bytes of what does not learn of one device's share of a tensor beside its adapters."""
        return frozen_bytes(part, self.sizes, self.plan.changed(mesh=mesh, zero=0)) if self.plan.adapters else 0


class Reading:
    """Training of one model by one plan: what is the same on several of its stages is read once."""

    def __init__(self, graph: Graph, sizes: Sizes, plan: Training, common: Common | None = None) -> None:
        self.graph, self.plan, self.sizes = graph, plan, lora.bound(sizes, plan.adapters)
        self.common = common or Common(graph, sizes, plan)
        self.local = self.common.local(plan, sizes)
        self.how = self.common.how(plan, sizes)
        self._stills: dict[Any, tuple[Bytes, buffers.Buffers]] = {}  # by what stands on a stage
        self._passes: dict[Any, Pass] = {}

    def held(self, stage: Stage) -> StageMemory:
        """One device of a stage at the moment that needs the most."""
        if (alike := content(stage)) not in self._stills:
            self._stills[alike] = self._still(stage)
        still, beside = self._stills[alike]
        running = in_flight(stage, self.sizes, self.plan)
        groups, counts = [self.one_pass(chunk) for chunk in stage.chunks or (stage,)], [running]
        if stage.chunks:
            waiting = [number_of(group.held) for group in groups]
            counts = interleaved(waiting, running, passes(self.plan, self.sizes), self.plan.mesh.pp)
        kept = sum(n * group.kept for n, group in zip(counts, groups, strict=True))
        losses, last, working = counts[-1], groups[-1], largest(group.working for group in groups)
        held, each = losses * last.output, last.loss + last.logits
        # (activations, of these logits and loss, buffers); in a layer's that micro-batch's loss is no longer needed
        start = kept + held + last.moment, losses * each + held + last.moment, beside.at_start
        layer = kept + held + working - each, max(losses - 1, 0) * each + held, beside.in_layer
        moments = {START: start, LAYER if self.plan.recompute == "none" else AGAIN: layer}
        peak = max(moments, key=lambda name: moments[name][0] + sum(moments[name][2].values()))
        activations, loss, others = moments[peak]
        size, saved = still._replace(activations=activations), kept - losses * last.loss
        return StageMemory(stage.number, layers_of(stage), size, {}, peak, loss, saved, last.layers).beside(**others)

    def _still(self, stage: Stage) -> tuple[Bytes, buffers.Buffers]:
        """What one device of a stage holds whatever is under way, and its buffers."""
        weights = gradients = states = 0
        units, plan = list[buffers.Unit](), self.plan
        last = tied(stage, "head")
        for part, number, count in self.common.on(stage):
            w, g, s = [number * each for each in self.common.bytes(part, plan.mesh, plan.zero)]
            weights, gradients, states = weights + count * w, gradients + count * g, states + count * s
            if ranks_of(part, plan.mesh) > 1:  # as it is where its ranks have it whole
                w, g, _ = [number * each for each in self.common.bytes(part, plan.mesh, 0)]
                after = part.block.role in ("final", "head") or part.path in last
                units.append(buffers.Unit(part.block, count, w, g, after))
        each = STORAGE[precision(plan.precision).activations].bytes
        sent = self.common.sent(stage, self.local, plan.mesh, each)
        beside = buffers.of_stage(stage, self.graph, self.local, units, plan, each, sent)
        if copy := copied(stage, self.sizes, plan):
            beside.in_layer[serving.COPY] = copy.bytes
        return Bytes(weights=weights, gradients=gradients, optimizer=states), beside

    def one_pass(self, stage: Stage) -> Pass:
        """What one micro-batch takes on one device of a stage, or of a group of its layers."""
        if (held := content(stage)) not in self._passes:
            self._passes[held] = self._pass(stage)
        return self._passes[held]

    def _pass(self, stage: Stage) -> Pass:
        plan, counts = self.plan, stage.counts
        found = self.common.blocks(stage, self.how, self.local, plan)
        kept = sum([times(row, counts[key(row.block)], self.local.sizes) * each for row, each in found.kept])
        working: Any = 0
        if plan.recompute != "none":
            whole = self.common.blocks(stage, self.how._replace(recompute="none", every=1), self.local, plan).layers
            segment = min(plan.recompute_every, sum([count for block, count in stage.blocks if block.repeat]))
            working = largest([segment * size - found.layers[path] for path, size in whole.items()])
        output = found.output if plan.outputs == "held" else 0
        return Pass(kept, found.loss, found.logits, output, found.moment, working, found.layers)


def copied(stage: Stage, sizes: Sizes, plan: Training) -> serving.Copy | None:
    """The largest frozen matrix on a device that is dequantised before it is multiplied with."""
    if plan.adapters is None:
        return None
    found = (serving.copied(block, sizes, _stored(plan), backward=True) for block, _ in stage.blocks)
    return max((copy for copy in found if copy), key=lambda copy: copy.bytes, default=None)


def _stored(plan: Training) -> Serving:
    """How frozen weights are stored, and what is computed with them."""
    return Serving(weights=plan.weights, mesh=plan.mesh, activations=precision(plan.precision).activations)


def frozen_bytes(part: Component, sizes: Sizes, plan: Training) -> Any:
    """Bytes of one device's share of a tensor that does not learn."""
    stored, ranks = _stored(plan), ranks_of(part, plan.mesh)
    whole = serving.weight_bytes(part, plan.mesh, sizes, stored)
    if plan.zero < 3:
        return whole
    kind = serving.weight_type(part, stored)
    if kind.name in serving.PLAIN:  # entries are divided, blocks of entries are not taken apart
        return kind.bytes * ceil_div(share(part, plan.mesh, sizes).entries, ranks)
    return ceil_div(whole, ranks)


def ranks_of(part: Component, mesh: Mesh) -> int:
    """Devices that hold the same share, over which ZeRO divides it."""
    return mesh.dp * mesh.cp // (mesh.ep if part.routed else 1)


def part_bytes(
    part: Component, sizes: Sizes, plan: Training, paths: frozenset[str], frozen: frozenset[str] = frozenset()
) -> tuple[Any, Any, Any]:
    """Bytes of (weights, gradients, states) of one device's share of a tensor and of its adapters.

    paths:  of the linear maps that have adapters; frozen: of the parameters that do not learn
    """
    if plan.adapters is None:
        weights, gradients, states = state_bytes(part, sizes, plan)
        return (weights, 0, 0) if part.path in frozen else (weights, gradients, states)
    every = [state_bytes(adapter, sizes, plan) for adapter in lora.adapters(part, paths)]
    weights, gradients, states = (sum(held) for held in zip(*every, strict=True)) if every else (0, 0, 0)
    return weights + frozen_bytes(part, sizes, plan), gradients, states


def state_bytes(part: Component, sizes: Sizes, plan: Training) -> tuple[Any, Any, Any]:
    """Bytes of (weights, gradients, master copy and optimizer states) of one device's share of a tensor."""
    return States(plan).bytes(part, share(part, plan.mesh, sizes), ranks_of(part, plan.mesh), plan.zero)


def _role(part: Component) -> str:
    """What an optimizer takes a tensor for."""
    return "embedding" if part.embedding else "hidden" if part.block.role in ("layer", "mtp") else "head"


class States:
    """What training keeps of what learns: a plan's words, looked up once."""

    def __init__(self, plan: Training) -> None:
        recipe = precision(plan.precision)
        self.stored = Serving(weights=recipe.weights, rest=recipe.activations)
        _, self.gradient, self.master = recipe.bytes_per_parameter
        self.optimizer, self.type = optimizer(plan.optimizer), recipe.states

    def update_flops(self, part: Component, sizes: Sizes) -> Any:
        """Matmul FLOPs of an update of a whole tensor."""
        return self.optimizer.flops_of([product((dim,), sizes) for dim in part.dims], _role(part))

    def bytes(self, part: Component, held: Share, ranks: int, zero: int) -> tuple[Any, Any, Any]:
        """Bytes of (weights, gradients, master copy and optimizer states) of one device's share of a tensor.

        ZeRO divides the tensor's entries over its ranks: one has as many of each kind as that with the most of them.
        """
        entries, chosen, role = held.entries, self.optimizer, _role(part)
        divided = ceil_div(entries, ranks) if zero else entries
        weights = (divided if zero >= 3 else entries) * serving.weight_type(part, self.stored).bytes
        gradients = (divided if zero >= 2 else entries) * self.gradient
        number = number_of(entries)
        if zero and not chosen.factored:  # of a stretch of entries, whose shape says nothing
            states = chosen.bytes_of((divided,), role, self.type, number, matrix=len(part.dims) > 1)
        else:
            states = chosen.bytes_of(held.shape, role, self.type, number)
            states = divide(states, ranks) if zero else states
        return ceil_div(weights, 1), ceil_div(gradients, 1), ceil_div(divided * self.master + states, 1)


def passes(plan: Training, sizes: Sizes) -> int:
    """Micro-batches of a step."""
    whole: int = number_of(sizes["batch"]) // plan.mesh.dp // micro_batch(plan, sizes)
    return whole


def in_flight(stage: Stage, sizes: Sizes, plan: Training) -> int:
    """Micro-batches whose activations a stage holds at once; interleaved: each of one of its groups of layers."""
    every, after = passes(plan, sizes), plan.mesh.pp - stage.number
    if plan.schedule == "interleaved":  # as Megatron-LM warms up: 2·(stages after it) + (v - 1)·p, and the next
        return min(every * plan.virtual, 2 * (after - 1) + (plan.virtual - 1) * plan.mesh.pp + 1)
    return every if plan.schedule == "gpipe" else min(every, after)


class Pass(NamedTuple):
    """Bytes of one micro-batch on one device of a stage, or of a group of its layers."""

    kept: int  # until its backward pass, those of the loss included
    loss: int  # of them the loss's
    logits: int  # of them those of the logits: what a softcap keeps
    output: int  # the logits as they are handed to the caller, if it holds them
    moment: int  # while the loss goes backward, without its targets, which are not kept so long
    working: int  # while a layer, or a segment of them, is computed again
    layers: dict[str, int]  # what one layer of each kind keeps, by its path

    @property
    def held(self) -> int:
        """What a micro-batch that waits takes, the output that its caller holds included."""
        return self.kept + self.output


def interleaved(kept: list[int], running: int, passes: int, pp: int) -> list[int]:
    """How often each group of layers is kept when that is the most: forward as Megatron-LM does it, backward likewise.

    Each group takes `pp` micro-batches, then the next group the same ones; backward begins with the last group.
    """
    total, turn = len(kept) * passes, pp * len(kept)
    whole, rest = divmod(running, turn)
    counts = [whole * pp + min(max(rest - group * pp, 0), pp) for group in range(len(kept))]
    held = most = sum(n * size for n, size in zip(counts, kept, strict=True))
    found = list(counts)
    k, end = 0, min(total - running, turn)  # then it begins anew
    while k < end:
        one, other = (running + k) % turn // pp, -1 - k // pp
        # as many at once as are of the same two groups: what is held only grows, or only shrinks, meanwhile
        times = min(pp - (running + k) % pp, pp - k % pp, end - k)
        counts[one] += times
        counts[other] -= times
        held += times * (kept[one] - kept[other])
        k += times
        if held > most:
            most, found = held, list(counts)
    return found


def local_of(graph: Graph, sizes: Sizes, plan: Training) -> Local:
    """One micro-batch on one device."""
    mesh = plan.mesh
    run: dict[str, Any] = {name: sizes[name] for name in graph.workload_axes}
    run |= {name: divide(sizes[name], mesh.cp) for name in ("seq", "target") if name in run}
    run |= {"cached": 0, "batch": paired(micro_batch(plan, sizes), formula_of(sizes["batch"]))}
    between = tuple(name for name in ("seq", "target") if mesh.sp and name in graph.axes)
    return Local(lora.bound(graph.rebound(sizes, run), plan.adapters), mesh, between)


def times(row: Saved, count: Any, sizes: Sizes) -> Any:
    """How often a tensor stands on a stage with so many layers of its block."""
    if row.number is not None:  # of layers that differ, those whose turn it is: the stage's part of them
        return -(-row.number * number_of(count) // number_of(sizes[row.block.repeat]))
    return ceil_div(count, row.every) if row.repeat else 1


def how_of(plan: Training, graph: Graph, sizes: Sizes) -> How:
    """How a model is run by this plan."""
    return activations.settings(
        graph,
        bytes=STORAGE[precision(plan.precision).activations].bytes,
        kernels=plan.kernels,
        attention=plan.attention,
        recompute=plan.recompute,
        every=plan.recompute_every,
        tokens=number_of(sizes["seq"]) if "seq" in graph.workload_axes else None,
        alone=micro_batch(plan, sizes) == 1,
    )


def rows_of(stage: Stage, graph: Graph, how: How, plan: Training) -> list[Saved]:
    """What the backward pass keeps on a stage, of adapters too."""
    counts = stage.counts
    blocks = [block for block in graph.blocks if key(block) in counts]
    if graph.frozen:
        still, inputs = graph.frozen.ops, graph.frozen.inputs
        return activations.saved(graph, how, trainable=lambda path: path not in still, inputs=inputs, blocks=blocks)
    if plan.adapters is None:
        return activations.saved(graph, how, blocks=blocks)
    learning = lora.keeps_input(graph, plan.adapters)
    rows = activations.saved(graph, how, trainable=learning.__contains__, blocks=blocks)
    return rows + activations.of_adapters(graph, how, plan.adapters)

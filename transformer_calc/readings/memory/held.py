"""What each device holds, whole: the answer of what serving or training needs, and whether a device has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from transformer_calc.answer import Assumptions, OfModel
from transformer_calc.errors import InputError
from transformer_calc.facts import Device
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.plan import Serving, Training
from transformer_calc.readings.count import lora
from transformer_calc.readings.count.cache import cached, elements, per_token
from transformer_calc.readings.count.formulas import Identity
from transformer_calc.readings.count.legend import Symbol
from transformer_calc.readings.count.params import components
from transformer_calc.readings.memory import serving, training
from transformer_calc.readings.shard import Stage, layers_of, stages
from transformer_calc.readings.shard import check as check_mesh
from transformer_calc.spec import Workload
from transformer_calc.storage import storage


class Bytes(NamedTuple):
    """Bytes on one device, by what they are for."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    kv_cache: int = 0
    other: int = 0  # buffers of communication, a copy of a matrix, overhead

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)

    def to_dict(self) -> dict[str, int]:
        """For reports."""
        return self._asdict() | {"total": self.total}


class StageMemory(NamedTuple):
    """What one device of a pipeline stage holds when it holds the most."""

    stage: int
    layers: int
    bytes: Bytes
    other_parts: dict[str, int]  # what `other` is made of
    peak_at: str = ""  # of training: when that is
    logits_and_loss: int = 0  # of the activations
    saved: int = 0  # of the activations, what autograd keeps of the forward passes, the loss apart
    of_layers: Mapping[str, int] = {}  # of the activations, what one layer of each kind keeps, by its path

    @property
    def parts(self) -> dict[str, int]:
        """Its bytes by kind, those of logits and loss apart, and each part of what is other."""
        found = self.bytes._asdict() | {"logits_and_loss": self.logits_and_loss}
        found["activations"] -= self.logits_and_loss
        return {name: size for name, size in found.items() if name != "other"} | self.other_parts


class KvCache(NamedTuple):
    """The cache of the whole model and batch."""

    elements: int
    state_elements: int  # of states that do not grow with the context
    bytes: int | float
    bytes_per_token: int | float  # of one sequence
    context: int  # tokens of each sequence in it


class Learning(NamedTuple):
    """How many parameters learn, where that is a part of the model."""

    trainable_params: int
    frozen_params: int


class Held(NamedTuple):
    """What one device of each stage holds, of a graph whose plan can be."""

    graph: Graph
    sizes: Sizes
    plan: Serving | Training  # with what is frozen as it was found
    context: int  # tokens of each sequence in the cache
    cut: tuple[Stage, ...]
    stages: tuple[StageMemory, ...]

    @property
    def number(self) -> int:
        """The stage that needs the largest device."""
        return max(range(len(self.stages)), key=lambda number: self.stages[number].bytes.total)

    @property
    def fullest(self) -> StageMemory:
        """What a device of that stage holds."""
        return self.stages[self.number]


class Formulas(NamedTuple):
    """Each part of one device of each stage in symbols, where that is the exact count."""

    stages: tuple[dict[str, str], ...]  # part -> formula
    identities: tuple[Identity, ...]  # that shorten them
    symbols: tuple[Symbol, ...]
    omitted: tuple[str, ...]  # parts of the fullest device that have none: they are rounded up


class Memory(OfModel):
    """What serving or training a model needs on each device.

    mode: infer or train; plan: how; devices: of the whole mesh; per_device: bytes on the fullest device, by what they
    are for; peak_at: when these are needed; stages: the same of a device of each pipeline stage; number: the stage of
    the fullest; kv_cache: of the whole model and batch; device: the device, if one is given; fits: whether it holds
    that; learning: parameters that learn, where not all do; formulas: of each part, where they
    were asked for
    """

    mode: str
    plan: Serving | Training
    devices: int
    per_device: Bytes
    peak_at: str
    stages: tuple[StageMemory, ...]
    number: int
    kv_cache: KvCache
    device: Device | None
    fits: bool | None
    learning: Learning | None
    assumptions: Assumptions
    formulas: Formulas | None = None

    FIRST: ClassVar[Mapping[str, str]] = {
        "title": "text",
        "total": "bytes",
        "per_device.weights": "bytes",
        "per_device.kv_cache": "bytes",
        "per_device.activations": "bytes",
        "peak_at": "text",
        "devices": "count",
        "fits": "text",
    }

    @property
    def total(self) -> int:
        """Bytes on the fullest device."""
        return self.per_device.total

    @property
    def all_devices(self) -> int:
        """Bytes of all devices together."""
        return sum(stage.bytes.total for stage in self.stages) * (self.devices // self.plan.mesh.pp)

    @property
    def room(self) -> int | None:
        """Bytes that the device has."""
        return room_of(self.device) if self.device else None

    @property
    def free(self) -> int | None:
        """Bytes that it has beside."""
        return None if self.room is None else max(self.room - self.total, 0)

    @property
    def lacking(self) -> int:
        """Bytes that it does not have."""
        return max(self.total - (self.room or 0), 0)


def room_of(device: Device) -> int:
    """Bytes of memory of a device of which that is known."""
    if device.memory_bytes is None:
        raise InputError(f"how much memory {device.name} has is unknown", hint="a TOML file of your own may say it")
    return device.memory_bytes


def held(graph: Graph, workload: Workload, plan: Serving | Training, *, overhead: int = 0, family: str = "") -> Held:
    """Bytes of each kind on one device of each stage; `overhead` is added to each, in bytes.

    graph:  of serving with latent attention as it is served; of training with frozen parts, as these tell layers apart
    """
    sizes = graph.sizes(workload)
    check_mesh(plan.mesh, graph, sizes)
    if isinstance(plan, Training):
        training.check(plan, sizes)
        if plan.adapters:
            lora.check(graph, plan.adapters)
        context, groups = 0, plan.virtual
    else:
        serving.check(plan, sizes)
        context, groups = tokens_in_cache(graph, workload), 1
    cut = tuple(stages(graph, plan.mesh, groups))
    return Held(graph, sizes, plan, context, cut, of_stages(cut, graph, sizes, plan, overhead))


def of_stages(
    cut: Sequence[Stage], graph: Graph, sizes: Sizes, plan: Serving | Training, overhead: int = 0
) -> tuple[StageMemory, ...]:
    """What one device of each stage holds; of sizes with their symbols, each number of bytes with its formula."""
    if isinstance(plan, Training):
        reading = training.Reading(graph, sizes, plan)
        every = [_trained(reading.kept(stage)) for stage in cut]
    else:
        served = serving.Reading(graph, sizes, plan)
        every = [_served(served.held(stage)) for stage in cut]
    found = []
    for stage, (kinds, buffers, more) in zip(cut, every, strict=True):
        others = buffers | ({"overhead": overhead} if overhead else {})
        size = Bytes(**kinds, other=sum(others.values()))
        found.append(StageMemory(stage.number, layers_of(stage), size, others, **more))
    return tuple(found)


def _trained(of: training.Kept) -> tuple[dict[str, int], dict[str, int], dict[str, Any]]:
    """Bytes by kind, those of what is other, and the rest of what is known of a stage."""
    kinds = {name: getattr(of, name) for name in ("weights", "gradients", "optimizer", "activations")}
    more = {"peak_at": of.peak_at, "logits_and_loss": of.loss, "saved": of.saved, "of_layers": of.layers}
    return kinds, of.buffers, more


def _served(of: serving.Held) -> tuple[dict[str, int], dict[str, int], dict[str, Any]]:
    kinds = {name: getattr(of, name) for name in ("weights", "kv_cache", "activations")}
    return kinds, of.buffers, {}


def memory(
    found: Held, about: Mapping[str, Any], *, workload: Workload, device: Device | None, assumptions: Assumptions
) -> Memory:
    """The answer that what was counted gives; `about`: what it says of the model."""
    plan, most = found.plan, found.fullest
    trains = isinstance(plan, Training)
    return Memory(
        **about,
        mode="train" if trains else "infer",
        plan=plan,
        devices=plan.mesh.devices,
        per_device=most.bytes,
        peak_at=most.peak_at if trains else "decoding a token" if workload.context else "prefill",
        stages=found.stages,
        number=found.number,
        kv_cache=kv_cache(
            found.graph, found.sizes, "bf16" if isinstance(plan, Training) else plan.kv_dtype, found.context
        ),
        device=device,
        fits=None if device is None else most.bytes.total <= room_of(device),
        learning=learning(found),
        assumptions=assumptions,
    )


def tokens_in_cache(graph: Graph, workload: Workload) -> int:
    """Tokens of each sequence in the cache: those given, else those that the pass itself puts there."""
    return (workload.context or workload.target or workload.seq) if cached(graph) else 0


def kv_cache(graph: Graph, sizes: Sizes, kv_dtype: str, context: int) -> KvCache:
    """The whole model's cache for the whole batch."""
    kind = storage(kv_dtype)
    count: Any = elements(graph, sizes, context)
    one: Any = per_token(graph, sizes)
    batch: Any = sizes["batch"]
    each = kind.of(one) / batch if one % batch else kind.of(one // batch)
    return KvCache(count, 0, _plain(kind.of(count)), _plain(each), context)


def _plain(value: Any) -> int | float:
    return int(value) if value == int(value) else float(value)


def learning(found: Held) -> Learning | None:
    """How much learns, where not all does."""
    plan, graph, sizes = found.plan, found.graph, found.sizes
    if not isinstance(plan, Training) or not (plan.adapters or plan.frozen):
        return None
    counts = {True: 0, False: 0}
    for part in components(graph):
        counts[plan.frozen is None or part.path in plan.frozen.params] += int(part.total(sizes))  # type: ignore[arg-type]
    trainable = lora.trainable(graph, sizes, plan.adapters) if plan.adapters else counts[False]
    return Learning(trainable, counts[True])

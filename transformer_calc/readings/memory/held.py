"""What each device holds, whole: the answer of what serving or training needs, and whether a device has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from transformer_calc.answer import Assumptions, OfModel
from transformer_calc.errors import InputError
from transformer_calc.facts import Device
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.plan import Serving, Training
from transformer_calc.readings.count import lora
from transformer_calc.readings.count.cache import elements, per_token
from transformer_calc.readings.count.formulas import Identity
from transformer_calc.readings.count.legend import Symbol
from transformer_calc.readings.count.params import components
from transformer_calc.readings.memory import serving, training
from transformer_calc.readings.memory.parts import Bytes, StageMemory
from transformer_calc.readings.shard import Stage, stages
from transformer_calc.readings.shard import check as check_mesh
from transformer_calc.spec import Workload
from transformer_calc.storage import storage
from transformer_calc.tuples import NamedTuple


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
    plan: Serving | Training
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
        context, groups = serving.tokens_in_cache(graph, sizes), 1
    cut = tuple(stages(graph, plan.mesh, groups))
    return Held(graph, sizes, plan, context, cut, of_stages(cut, graph, sizes, plan, overhead))


def of_stages(
    cut: Sequence[Stage], graph: Graph, sizes: Sizes, plan: Serving | Training, overhead: int = 0
) -> tuple[StageMemory, ...]:
    """What one device of each stage holds; of sizes with their symbols, each number of bytes with its formula."""
    read = (
        training.Reading(graph, sizes, plan).held
        if isinstance(plan, Training)
        else serving.Reading(graph, sizes, plan).held
    )
    return tuple(read(stage).beside(overhead=overhead) for stage in cut)


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
    if not isinstance(plan, Training) or not (plan.adapters or graph.frozen):
        return None
    counts = {True: 0, False: 0}
    for part in components(graph):
        counts[graph.frozen is None or part.path in graph.frozen.params] += int(part.total(sizes))  # type: ignore[arg-type]
    trainable = lora.trainable(graph, sizes, plan.adapters) if plan.adapters else counts[False]
    return Learning(trainable, counts[True])

"""The report of `tcalc fit`: the largest batch, the longest context or the fewest devices that memory allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.plan import Mesh, Serving, Training
from transformer_calc.readings.count.cache import cached
from transformer_calc.readings.count.params import Component
from transformer_calc.readings.memory.serving import weight_bytes
from transformer_calc.readings.memory.training import state_bytes
from transformer_calc.readings.shard import check, parts_of, stages
from transformer_calc.report import Facts, Report, Text
from transformer_calc.report.common import device_data, memory_said, said_of, stored_beside
from transformer_calc.report.memory import PARTS, cached_tokens, count, devices_of, idle, memory_of
from transformer_calc.sources.lengths import Length
from transformer_calc.spec import Patches

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.facts import Device
    from transformer_calc.spec import Workload

SOLVE = ("batch", "context", "devices")
MOST = 2**40  # of a batch or a context: beyond it, nothing is searched
MOST_DEVICES = 4096
WAYS = ("dp", "tp", "pp", "cp", "ep")


def build(
    model: Transformer,
    sizes: Mapping[str, int],
    plan: Serving | Training,
    *,
    device: Device,
    solve: str | None = None,
    overhead: int = 0,
    given: frozenset[str] = frozenset(),
) -> Report:
    """What fits on a device, by search over what `tcalc memory` counts for the same words; one more does not fit.

    sizes:  those of the workload that are given: batch, seq, target_seq, context
    solve:  what to look for; None: of batch and length the one that is not given, and of both, whether they fit
    given:  names of the ways of the plan's mesh that are given, and so stay
    """
    search = _Search(model, sizes, plan, overhead)
    solve = _solved(search, solve, given)
    asked = search.asked
    room, mesh, step = memory_of(device), plan.mesh, _step(plan, solve or "batch")
    found: dict[str, Any] = {"fits": True, "batch": asked.batch, "context": search.length(asked), "devices": None}
    most: dict[str, int | None] = {}  # of a question of whether: what fits beside what else is given
    at: dict[str, int] = {}  # what is looked for, where its parts are taken

    def largest_of(name: str) -> int | None:
        return _most(lambda n: search.parts(mesh, **{search.word(name): n})["total"] <= room, _step(plan, name))

    if solve == "devices":
        mesh, now = _fewest(_meshes(model, asked, plan, device, given), search.parts, room, least_bytes(model, plan))
    elif solve:
        found[solve] = end = largest_of(solve)
        at = {search.word(solve): MOST * step if end is None else end or step}
        now = search.parts(mesh, **at)
    else:
        now = search.parts(mesh)
        most = {name: largest_of(name) for name in ("batch", "context") if name == "batch" or not search.images}
    found["fits"] = fits = now["total"] <= room
    found["devices"] = mesh.devices if fits or solve != "devices" else None
    before, after = now, now
    if fits and (at or not solve):
        further = at or {"batch": asked.batch}
        after = search.parts(mesh, **{name: n + step for name, n in further.items()})
    elif not solve and not fits:  # what has grown since it fitted
        fitting = next(({search.word(name): n} for name, n in most.items() if n), None)
        before = search.parts(mesh, **fitting) if fitting else now
    found["limit"] = max(PARTS, key=lambda name: (after[name] - before[name], before[name]))
    found["mesh"] = {name: getattr(mesh, name) for name in WAYS}
    if not solve:
        found |= {"largest_batch": most["batch"], "longest_context": most.get("context")}
    run = search.workload(**at)
    found["peak_at"] = search.peak_at(run, mesh)
    length = search.made_for
    tokens = search.tokens(run)
    found["model_length"] = length and length.tokens
    found["beyond_model_length"] = beyond = bool(fits and length and tokens > length.tokens)
    stored = stored_beside(model, plan)
    data = {"fit": found, "solved_for": solve, "device": device_data(device), "assumptions": stored}
    lines: list[Any] = [("fits", "yes" if fits else "no", "text"), *said_of(stored)]
    if fits or not solve:
        lines += [(name, found[name], "count") for name in SOLVE if found[name] is not None]
        every = f"a multiple of {step}: " if solve and step > 1 else ""
        if found["batch"] is None:
            lines.append(("batch", f"any, {every}a device holds passes of one micro-batch", "text"))
        if found["context"] is None:
            lines.append(("context", f"any, {every}no more tokens are kept than a window holds", "text"))
        if length and beyond:
            lines.append(("the model itself", length.said, "text"))
        if mesh.devices > 1:
            lines.append(("mesh", devices_of(mesh).partition("(")[2].rstrip(")"), "text"))
        lines += [("per device", now["total"], "bytes"), ("of", memory_said(device), "text")]
    else:
        lines += [("per device, at least", now["total"], "bytes"), ("of", memory_said(device), "text")]
    names = {"batch": "largest batch of this length", "context": "longest context of this batch"}
    for name, end in most.items():
        lines.append((names[name], "any" if end is None else end or "none", "text" if not end else "count"))
    lines += [("limit", str(found["limit"]).replace("_", " "), "text"), ("peak at", found["peak_at"], "text")]
    facts = Facts(f"{model.title} on {device.title or device.name}: {_answer(solve)}", tuple(lines))
    kept = (
        f"weights {plan.weights}, cache {plan.kv_dtype}"
        if isinstance(plan, Serving)
        else f"trained in {plan.precision}"
    )
    said = [f"searched over the exact count of tcalc memory; {kept}"]
    if search.caches and not run.context:
        prompt = f"the pass over the prompts, {run.seq:,} tokens of every sequence at once"
        said.append(f"counted: {prompt}; --context {run.seq} counts a step of decoding")
    if why := idle(plan):
        said.append(f"selective recomputation {why}")
        model.remark(said[-1])
    if solve == "devices":
        node = f"within a node of {device.node}" if device.node else "of any width"
        copies = f", copies with ZeRO {plan.zero}" if isinstance(plan, Training) else ""
        said.append(f"tried: tensor parallelism {node}, pipelines of equal stages{copies}; what is given stays")
    if length and beyond:
        said.append(f"of memory alone: the model {length.said}")
        if at:
            model.remark(said[-1])
    return Report("fit", model.describe(), asked.to_dict(), data, (facts, Text("\n".join(said))), ok=fits)


class _Search:
    """What a model needs on a device, for workloads like the one that is asked for."""

    def __init__(self, model: Transformer, sizes: Mapping[str, int], plan: Serving | Training, overhead: int) -> None:
        self.model, self.plan, self.overhead = model, plan, overhead
        self.given = {name: size for name, size in sizes.items() if size or name != "context"}
        self.trains = isinstance(plan, Training)
        self.caches = not self.trains and bool(cached(model.graph))
        self.images = isinstance(model.spec.stacks[0].embedding, Patches)
        if self.trains and "context" in self.given:
            raise InputError(f"--context is {sizes['context']:,}, but --mode is train: it keeps no cache", "--seq N")
        self.asked = model.workload(**self.given)

    def word(self, name: str) -> str:
        """Which size of the workload a batch or a context is: a length is the cache's, or where none is kept, `seq`."""
        return "seq" if name == "context" and not self.caches else name

    def workload(self, **changed: int) -> Workload:
        """The workload with sizes changed; what is only tried is nothing to remark on."""
        return self.model.unremarked(**{**self.given, **changed})

    def parts(self, mesh: Mesh, **changed: int) -> dict[str, int]:
        """Bytes of each kind on the fullest device."""
        return count(self.model, self.workload(**changed), self.plan._replace(mesh=mesh), self.overhead).fullest[0]

    def peak_at(self, run: Workload, mesh: Mesh) -> str:
        """When the most is needed."""
        if not self.trains:
            return "decoding a token" if run.context else "prefill" if self.caches else "a pass"
        return count(self.model, run, self.plan._replace(mesh=mesh), self.overhead).fullest[1]

    def length(self, run: Workload) -> int:
        """Tokens in the cache; of a sequence, in training and where nothing is cached."""
        return (cached_tokens(self.model, run) if self.caches else 0) or run.seq

    def tokens(self, run: Workload) -> int:
        """Tokens of a sequence, which a model may be made for or not."""
        decodes = self.model.spec.kind == "encoder-decoder" and self.caches
        return ((run.target or 1) if decodes else run.seq) + run.context

    @property
    def made_for(self) -> Length | None:
        """How many of them the model is made for; of an encoder–decoder in training, those of the source."""
        if self.model.spec.kind != "encoder-decoder" or self.caches:
            return self.model.length
        return Length(self.model.max_positions, "positions") if self.model.max_positions else None


def _solved(search: _Search, solve: str | None, given: frozenset[str]) -> str | None:
    """What is looked for: as asked, if it is not given; else what is not given; None where all is."""
    name = search.model.spec.name
    if solve not in (None, *SOLVE):
        raise InputError(f"--solve is {solve!r}; it must be one of {', '.join(SOLVE)}")
    if solve is None:
        if "batch" not in search.given:
            return "batch"
        return None if search.images or {"seq", "context"} & search.given.keys() else "context"
    if solve == "context" and search.images:
        raise InputError(f"--solve is context, but images of {name} are always {search.asked.seq:,} tokens")
    ways = ("tp", "pp", "dp") if search.trains else ("tp", "pp")
    if solve == "devices" and given.issuperset(ways):
        listed = ", ".join(f"--{way} {getattr(search.plan.mesh, way)}" for way in ways)
        raise InputError(f"{listed} are given, but --solve devices is to find them; leave one out")
    word = search.word(solve)
    if word in search.given:
        hint = "without --solve, the answer is whether what is given fits"
        raise InputError(
            f"--{word} is {search.given[word]:,}, but --solve {solve} is to find it; give one of them", hint
        )
    return solve


def _answer(solve: str | None) -> str:
    found = {"batch": "the largest batch", "context": "the longest context", "devices": "the fewest devices"}
    return found[solve] if solve else "whether it fits"


def _step(plan: Serving | Training, solve: str) -> int:
    """Sequences by which a batch grows: a micro-batch on each copy, in an interleaved pipeline as many as stages.

    Of a context, in training, as many tokens as there are devices that share a sequence.
    """
    if solve == "context":
        return plan.mesh.cp if isinstance(plan, Training) else 1
    if isinstance(plan, Serving):
        return plan.mesh.dp
    return plan.mesh.dp * (plan.micro_batch or 1) * (plan.mesh.pp if plan.schedule == "interleaved" else 1)


def _meshes(
    model: Transformer, workload: Workload, plan: Serving | Training, device: Device, given: frozenset[str]
) -> list[Mesh]:
    """Ways to spread a model: tensor parallelism within a node, pipelines, in training copies; fewest devices first.

    What is given stays, and what the plan has as more than 1. Of as many devices the shortest pipeline comes first,
    then, where copies share states, the most copies, else the widest tensor parallelism.
    """
    graph, mesh = model.graph, plan.mesh
    sizes = graph.sizes(workload)
    train = isinstance(plan, Training)
    widths = (mesh.tp,) if mesh.tp > 1 or "tp" in given else range(1, (device.node or MOST_DEVICES) + 1)
    layers = sum(len(cycle) * times for of in graph.orders.values() for cycle, times in of)
    lengths = (
        (mesh.pp,)
        if mesh.pp > 1 or "pp" in given
        else [n for n in range(1, min(layers, MOST_DEVICES) + 1) if layers % n == 0]
    )
    batch = workload.batch
    most = min(batch, MOST_DEVICES)
    copies = (
        (mesh.dp,) if mesh.dp > 1 or "dp" in given or not train else [n for n in range(1, most + 1) if batch % n == 0]
    )
    found = []
    for tp in widths:
        if not _divides(mesh._replace(tp=tp, dp=max(mesh.dp, mesh.ep), sp=False), graph, sizes):
            continue
        every = (mesh._replace(tp=tp, pp=pp, dp=dp) for pp in lengths for dp in copies)
        found += [tried for tried in every if tried.devices <= MOST_DEVICES]
    shared = train and plan.zero > 0  # type: ignore[union-attr]
    return sorted(found, key=lambda m: (m.devices, m.pp, -m.dp if shared else -m.tp))


def _divides(mesh: Mesh, graph: Graph, sizes: Sizes) -> bool:
    try:
        check(mesh, graph, sizes)
    except InputError:
        return False
    return True


def least_bytes(model: Transformer, plan: Serving | Training) -> int:
    """Bytes of weights, gradients and states that all devices together hold at least, each once."""
    if isinstance(plan, Training) and (plan.adapters or plan.freeze):
        return 0
    (stage,), sizes = stages(model.graph, Mesh()), model.graph.sizes(model.unremarked())

    def of(part: Component) -> int:
        if isinstance(plan, Serving):
            return int(weight_bytes(part, Mesh(), sizes, plan))
        return sum(state_bytes(part, sizes, plan._replace(mesh=Mesh())))

    return sum(count * of(part) for part, count in parts_of(stage, model.graph, sizes))


def _fewest(
    meshes: list[Mesh], parts: Callable[[Mesh], dict[str, int]], room: int, states: int
) -> tuple[Mesh, dict[str, int]]:
    """The first mesh that fits, else that which needs least, with what a device then holds.

    states:  bytes that all devices share at best; meshes on which their parts alone do not fit come last
    """
    best: tuple[Mesh, dict[str, int]] | None = None
    refused: InputError | None = None
    for mesh in sorted(meshes, key=lambda mesh: states > room * mesh.devices):
        try:
            held = parts(mesh)
        except InputError as error:
            refused = error
            continue
        if held["total"] <= room:
            return mesh, held
        if best is None or held["total"] < best[1]["total"]:
            best = mesh, held
    if best is None:
        raise refused or InputError("--solve devices finds no mesh that divides the model")
    return best


def _most(fits: Callable[[int], bool], step: int) -> int | None:
    """The largest multiple of a step that fits; None where there is none that does not."""
    return None if fits(MOST * step) else step * largest(lambda n: fits(n * step))


def largest(fits: Callable[[int], bool]) -> int:
    """The largest n from 0 that fits, for a need that grows with n."""
    if not fits(1):
        return 0
    low = 1
    while low < MOST and fits(2 * low):
        low *= 2
    high = 2 * low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low

"""The largest batch, the longest context or the fewest devices that memory allows, by search over what it counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from transformer_calc.answer import Assumptions, OfModel
from transformer_calc.errors import InputError, check_choice
from transformer_calc.facts import Device
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.plan import Mesh, Serving, Training
from transformer_calc.readings.count.cache import cached
from transformer_calc.readings.count.params import Component
from transformer_calc.readings.memory.held import Held, room_of
from transformer_calc.readings.memory.parts import Bytes
from transformer_calc.readings.memory.serving import tokens_in_cache, weight_bytes
from transformer_calc.readings.memory.spread import divisors
from transformer_calc.readings.memory.training import state_bytes
from transformer_calc.readings.shard import check, parts_of, stages
from transformer_calc.spec import Workload
from transformer_calc.tuples import NamedTuple

SOLVE = ("batch", "context", "devices")
MOST = 2**40  # of a batch or a context: beyond it, nothing is searched
MOST_DEVICES = 4096


class Subject(NamedTuple):
    """The model that is asked about: its counts for any workload."""

    name: str
    graph: Graph
    workload: Callable[..., Workload]  # by sizes that are given
    held: Callable[[Workload, Serving | Training], Held]
    images: bool  # its sequences have one length
    decodes: bool  # an encoder–decoder
    length: Any  # what it is made for: of its decoder, where it has one
    source: Any  # and of the source


class Fit(OfModel):
    """What fits on a device.

    fits: whether anything does; solved_for: batch, context or devices, None where it was asked whether all fits;
    batch: sequences; context: tokens of each in the cache, or of a sequence; devices: of the mesh, None where nothing
    fits; batch and context are None where there is no end; mesh: the ways of it; limit: the part of memory that ends
    it; peak_at: when; largest_batch, longest_context: beside what else is given, where it was asked whether all fits;
    needs: bytes on the fullest device; device: which; made_for: the length that the model is made for, None where that
    is not stated; beyond: whether what fits is longer; run: what the bytes are of; step: by which a batch grows; plan:
    how; caches: whether there is a cache; sized: whether its sequences have any length; idle: what was asked for and
    changes nothing
    """

    fits: bool
    solved_for: str | None
    batch: int | None
    context: int | None
    devices: int | None
    mesh: Mesh
    limit: str
    peak_at: str
    largest_batch: int | None
    longest_context: int | None
    needs: Bytes
    device: Device
    made_for: Any
    beyond: bool
    run: Workload
    step: int
    plan: Serving | Training
    caches: bool
    sized: bool
    idle: str
    assumptions: Assumptions

    FIRST: ClassVar[Mapping[str, str]] = {
        "title": "text",
        "fits": "text",
        "batch": "count",
        "context": "count",
        "devices": "count",
        "needs.total": "bytes",
        "limit": "text",
    }


def fit(
    subject: Subject,
    sizes: Mapping[str, int],
    plan: Serving | Training,
    device: Device,
    solve: str | None,
    given: frozenset[str],
) -> dict[str, Any]:
    """What fits, by search; one more does not: the fields of the answer.

    sizes:  those of the workload that are given: batch, seq, target_seq, context
    solve:  what to look for; None: of batch and length the one that is not given, and of both, whether they fit
    given:  names of the ways of the plan's mesh that are given, and so stay
    """
    search = _Search(subject, sizes, plan)
    solve = _solved(search, solve, given)
    asked, room = search.asked, room_of(device)
    mesh, step = plan.mesh, _step(plan, solve or "batch")
    found: dict[str, Any] = {"batch": asked.batch, "context": search.length(asked)}
    most: dict[str, int | None] = {}  # of a question of whether: what fits beside what else is given
    at: dict[str, int] = {}  # what is looked for, where its parts are taken

    def largest_of(name: str) -> int | None:
        return _most(lambda n: search.parts(mesh, **{search.word(name): n}).total <= room, _step(plan, name))

    if solve == "devices":
        meshes = _meshes(subject.graph, asked, plan, device, given)
        mesh, now = _fewest(meshes, search.parts, room, least_bytes(subject, plan))
    elif solve:
        found[solve] = end = largest_of(solve)
        at = {search.word(solve): MOST * step if end is None else end or step}
        now = search.parts(mesh, **at)
    else:
        now = search.parts(mesh)
        most = {name: largest_of(name) for name in ("batch", "context") if name == "batch" or not subject.images}
    fits = now.total <= room
    before, after = now, now
    if fits and (at or not solve):
        further = at or {"batch": asked.batch}
        after = search.parts(mesh, **{name: n + step for name, n in further.items()})
    elif not solve and not fits:  # what has grown since it fitted
        fitting = next(({search.word(name): n} for name, n in most.items() if n), None)
        before = search.parts(mesh, **fitting) if fitting else now
    run = search.workload(**at)
    made_for = search.made_for
    return found | {
        "fits": fits,
        "solved_for": solve,
        "devices": mesh.devices if fits or solve != "devices" else None,
        "limit": max(
            Bytes._fields, key=lambda name: (getattr(after, name) - getattr(before, name), getattr(before, name))
        ),
        "mesh": mesh,
        "largest_batch": most.get("batch"),
        "longest_context": most.get("context"),
        "peak_at": search.peak_at(run, mesh),
        "needs": now,
        "device": device,
        "made_for": made_for,
        "beyond": bool(fits and made_for and search.tokens(run) > made_for.tokens),
        "run": run,
        "step": step if solve else 1,
        "plan": plan,
        "caches": search.caches,
        "sized": not subject.images,
    }


def _grown(name: str, before: Bytes, after: Bytes) -> int:
    size: int = getattr(after, name) - getattr(before, name)
    return size


class _Search:
    """What a model needs on a device, for workloads like the one that is asked for."""

    def __init__(self, subject: Subject, sizes: Mapping[str, int], plan: Serving | Training) -> None:
        self.subject, self.plan = subject, plan
        self.given = {name: size for name, size in sizes.items() if size or name != "context"}
        self.trains = isinstance(plan, Training)
        self.caches = not self.trains and bool(cached(subject.graph))
        if self.trains and "context" in self.given:
            raise InputError(f"`context` is {sizes['context']:,}, but `mode` is train: it keeps no cache", "`seq=N`")
        self.asked = subject.workload(**self.given)

    def word(self, name: str) -> str:
        """Which size of the workload a batch or a context is: a length is the cache's, or where none is kept, `seq`."""
        return "seq" if name == "context" and not self.caches else name

    def workload(self, **changed: int) -> Workload:
        """The workload with sizes changed."""
        return self.subject.workload(**{**self.given, **changed})

    def parts(self, mesh: Mesh, **changed: int) -> Bytes:
        """Bytes of each kind on the fullest device."""
        return self.subject.held(self.workload(**changed), self.plan.changed(mesh=mesh)).fullest.bytes

    def peak_at(self, run: Workload, mesh: Mesh) -> str:
        """When the most is needed."""
        if not self.trains:
            return "decoding a token" if run.context else "prefill" if self.caches else "a pass"
        return self.subject.held(run, self.plan.changed(mesh=mesh)).fullest.peak_at

    def length(self, run: Workload) -> int:
        """Tokens in the cache; of a sequence, in training and where nothing is cached."""
        return (tokens_in_cache(self.subject.graph, self.subject.graph.sizes(run)) if self.caches else 0) or run.seq

    def tokens(self, run: Workload) -> int:
        """Tokens of a sequence, which a model may be made for or not."""
        return ((run.target or 1) if self.subject.decodes and self.caches else run.seq) + run.context

    @property
    def made_for(self) -> Any:
        """How many of them the model is made for; of an encoder–decoder in training, those of the source."""
        return self.subject.source if self.subject.decodes and not self.caches else self.subject.length


def _solved(search: _Search, solve: str | None, given: frozenset[str]) -> str | None:
    """What is looked for: as asked, if it is not given; else what is not given; None where all is."""
    subject = search.subject
    if solve is None:
        if "batch" not in search.given:
            return "batch"
        return None if subject.images or {"seq", "context"} & search.given.keys() else "context"
    check_choice("solve", solve, SOLVE)
    if solve == "context" and subject.images:
        raise InputError(f"`solve` is context, but images of {subject.name} are always {search.asked.seq:,} tokens")
    ways = ("tp", "pp", "dp") if search.trains else ("tp", "pp")
    if solve == "devices" and given.issuperset(ways):
        listed = ", ".join(f"`{way}={getattr(search.plan.mesh, way)}`" for way in ways)
        raise InputError(f"{listed} are given, but `solve=devices` is to find them; leave one out")
    word = search.word(solve)
    if word in search.given:
        hint = "without `solve`, the answer is whether what is given fits"
        raise InputError(
            f"`{word}` is {search.given[word]:,}, but `solve={solve}` is to find it; give one of them", hint
        )
    return solve


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
    graph: Graph, workload: Workload, plan: Serving | Training, device: Device, given: frozenset[str]
) -> list[Mesh]:
    """Ways to spread a model: tensor parallelism within a node, pipelines, in training copies; fewest devices first.

    What is given stays, and what the plan has as more than 1. Of as many devices the shortest pipeline comes first,
    then, where copies share states, the most copies, else the widest tensor parallelism.
    """
    mesh, sizes = plan.mesh, graph.sizes(workload)
    train = isinstance(plan, Training)
    widths = (mesh.tp,) if mesh.tp > 1 or "tp" in given else range(1, (device.node or MOST_DEVICES) + 1)
    lengths = (mesh.pp,) if mesh.pp > 1 or "pp" in given else [n for n in divisors(graph.n_layers) if n <= MOST_DEVICES]
    fixed = mesh.dp > 1 or "dp" in given or not train
    copies = (mesh.dp,) if fixed else [n for n in divisors(workload.batch) if n <= MOST_DEVICES]
    found = []
    for tp in widths:
        if not _divides(mesh.changed(tp=tp, dp=max(mesh.dp, mesh.ep), sp=False), graph, sizes):
            continue
        every = (mesh.changed(tp=tp, pp=pp, dp=dp) for pp in lengths for dp in copies)
        found += [tried for tried in every if tried.devices <= MOST_DEVICES]
    shared = train and plan.zero > 0  # type: ignore[union-attr]
    return sorted(found, key=lambda m: (m.devices, m.pp, -m.dp if shared else -m.tp))


def _divides(mesh: Mesh, graph: Graph, sizes: Sizes) -> bool:
    try:
        check(mesh, graph, sizes)
    except InputError:
        return False
    return True


def least_bytes(subject: Subject, plan: Serving | Training) -> int:
    """Bytes of weights, gradients and states that all devices together hold at least, each once."""
    if isinstance(plan, Training) and (plan.adapters or plan.freeze):
        return 0
    graph = subject.graph
    (stage,), sizes = stages(graph, Mesh()), graph.sizes(subject.workload())

    def of(part: Component) -> int:
        if isinstance(plan, Serving):
            return int(weight_bytes(part, Mesh(), sizes, plan))
        return sum(state_bytes(part, sizes, plan.changed(mesh=Mesh())))

    return sum(count * of(part) for part, count in parts_of(stage, graph, sizes))


def _fewest(meshes: list[Mesh], parts: Callable[[Mesh], Bytes], room: int, states: int) -> tuple[Mesh, Bytes]:
    """The first mesh that fits, else that which needs least, with what a device then holds.

    states:  bytes that all devices share at best; meshes on which their parts alone do not fit come last
    """
    best: tuple[Mesh, Bytes] | None = None
    refused: InputError | None = None
    for mesh in sorted(meshes, key=lambda mesh: states > room * mesh.devices):
        try:
            held = parts(mesh)
        except InputError as error:
            refused = error
            continue
        if held.total <= room:
            return mesh, held
        if best is None or held.total < best[1].total:
            best = mesh, held
    if best is None:
        raise refused or InputError("`solve=devices` finds no mesh that divides the model")
    return best


def _most(fits: Callable[[int], bool], step: int) -> int | None:
    """The largest multiple of a step that fits; None where there is none that does not."""
    return None if fits(MOST * step) else step * largest(lambda n: fits(n * step))


def largest(fits: Callable[[int], bool]) -> int:
    """The largest n from 0 that fits, for a need that grows with n."""
    end = 1
    while end < MOST and fits(end):
        end *= 2
    return bisect_left(range(end), True, end // 2, key=lambda n: n > end // 2 and not fits(n)) - 1

"""Models side by side: what the other readings say of each, whether that differs, and by how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transformer_calc.answer import Answer, Assumption, Assumptions, as_table, said
from transformer_calc.errors import InputError
from transformer_calc.facts import Device, TrainingRun
from transformer_calc.graph.core import Graph
from transformer_calc.plan import Serving, Training
from transformer_calc.readings.cost.reckoning import Reckoning
from transformer_calc.readings.cost.scaling import FRONTIERS
from transformer_calc.readings.count import architecture
from transformer_calc.readings.count.architecture import Fact, group
from transformer_calc.readings.count.cache import cached
from transformer_calc.readings.count.flops import rows, scores, totals
from transformer_calc.readings.count.params import Counts
from transformer_calc.readings.memory.held import KvCache, Memory
from transformer_calc.spec import Audio, Model, Tokens, Vectors, Workload
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:  # not imported where nothing is served
    from transformer_calc.readings.cost.serve import Serve

SERVED, TRAINED = Serving(), Training()
CHINCHILLA = FRONTIERS[0]
COLUMNS = ("group", "key", "label", "kind", "same", "mark")  # of what is said of a row: no model is called so
BASIS = {
    "FLOPs": Assumption("matmuls, a multiply-add is 2, score matrices whole, of experts those that a token goes to"),
    "weights": Assumption(SERVED.weights, SERVED.weights),
    "KV cache": Assumption(SERVED.kv_dtype, SERVED.kv_dtype),
    "training": Assumption(f"{TRAINED.precision}, {TRAINED.optimizer}, on one device", TRAINED.precision),
    "activations": Assumption(
        f"{TRAINED.attention} attention, {TRAINED.kernels} kernels, recomputation {TRAINED.recompute}, "
        f"the model's output {TRAINED.outputs}"
    ),
    "device hours": Assumption("as published, or the devices of the published run times its days"),
    "training run": Assumption("the published one, or of `tokens`, at its own batch and length where they are known"),
    "6·N·tokens": Assumption("of the active parameters; 3·N where half of them see each token"),
    "Chinchilla": Assumption(
        f"{CHINCHILLA.source}, {CHINCHILLA.name}; of the active parameters", CHINCHILLA.name, source=CHINCHILLA.source
    ),
}


class SideBySide(NamedTuple):
    """A row: one fact of each model.

    kind: of its values: text, count, flops, bytes, share, seconds, number or usd; values: None where it does not apply,
    and by what they are of where that differs within a model; same: whether all are; ratios: to the first, of numbers
    """

    group: str
    key: str
    label: str
    kind: str
    values: tuple[Any, ...]
    same: bool
    ratios: tuple[float | None, ...]

    @property
    def plain(self) -> tuple[Any, ...]:
        """The values, those that differ within a model as a text."""
        return tuple(map(plain, self.values))


class Passes(NamedTuple):
    """Work of the batch: FLOPs of a forward pass, also for a token, and of a training step; what part scores take."""

    forward: Any
    forward_per_token: int | float
    train: Any
    attention_share: float | None


class Portrait(NamedTuple):
    """What is known of one of the models.

    workload: None where what was asked for does not apply: a context, of a model that keeps no cache; serving,
    training: what memory holds; cache: of serving, where there is one; run: of training, by whatever is known;
    published: the run that is known, of a model that was not changed; served: on the device, if the model can be
    spread over so many; fewest: devices that hold it
    """

    spec: Model
    about: Mapping[str, Any]
    workload: Workload | None
    graph: Graph
    params: Counts
    passes: Passes | None
    serving: Memory
    cache: KvCache | None
    training: Memory
    run: Reckoning
    published: TrainingRun
    served: Serve | None
    fewest: int | None


class Comparison(Answer):
    """Models side by side.

    names: of the models, no two alike; models: what each is, as in JSON; workloads: of each, None where what was asked
    for does not apply; workload: of the first to which it does; rows: a fact each; device, devices: on which they are
    served and trained, if one is given; served: how fast each answers there, None where so many cannot share it;
    trained: what the training of each costs; notes: of each, what was taken for granted or left out
    """

    names: tuple[str, ...]
    models: tuple[Mapping[str, Any], ...]
    workload: Mapping[str, int]
    workloads: tuple[Mapping[str, int] | None, ...]
    rows: tuple[SideBySide, ...]
    device: Device | None
    devices: int
    served: Mapping[str, Serve | None]
    trained: Mapping[str, Reckoning]
    notes: Mapping[str, tuple[str, ...]]
    assumptions: Assumptions

    def __getitem__(self, key: str) -> SideBySide:
        """The row of this key."""
        return next(row for row in self.rows if row.key == key)

    @property
    def differing(self) -> tuple[SideBySide, ...]:
        """The rows whose values are not all the same."""
        return tuple(row for row in self.rows if not row.same)

    def size(self, key: str) -> Any:
        """A size of the workloads (batch, seq, …), as a text where the models differ in it."""
        found = zip(self.names, self.workloads, strict=True)
        return plain(architecture.told((name, run.get(key)) for name, run in found if run))

    def first(self) -> dict[str, str]:
        """What is seen first, as people read it."""
        return {"models": ", ".join(self.names), "rows": f"{len(self.rows)}", "differing": f"{len(self.differing)}"}

    def _repr_html_(self) -> str:
        lines: dict[str, Sequence[str]] = {"": self.names}
        lines |= {row.key: [said(one, _kind(one, row.kind)) for one in row.plain] for row in self.rows}
        return as_table("Comparison", lines)


def _kind(value: Any, kind: str) -> str:
    """What a value of a row is, where that is no whole number after all."""
    return "text" if isinstance(value, str) else "number" if kind == "count" and isinstance(value, float) else kind


def plain(value: Any) -> Any:
    """Values by what they are of as a text."""
    if not isinstance(value, dict):
        return value
    return ", ".join(f"{of} {each:,}" if isinstance(each, int) else f"{of}: {each}" for of, each in value.items())


def check(names: Sequence[str], device: str | Device | None, **of_device: float | None) -> None:
    """Refuse what is no comparison, and what has no meaning without a device."""
    if len(names) < 2:
        given = f"only {names[0]} is given" if names else "none is given"
        raise InputError(f"compare takes two models or more, but {given}", "tcalc compare gpt3 llama-3-8b")
    lonely = [f"`{name}` is {value:,.6g}" for name, value in of_device.items() if value is not None]
    if lonely and device is None:
        raise InputError(f"{lonely[0]}, but of which device is not said", "`device=NAME`")


class Runnable(NamedTuple):
    """A model that takes workloads: what is not given is as usual."""

    spec: Model
    graph: Graph
    workload: Callable[..., Workload]


def workloads(models: Sequence[Runnable], asked: Mapping[str, int]) -> list[tuple[Workload | None, list[str]]]:
    """What each model is run with, and what is to be noted of that.

    It is what was asked for, and else the least batch and length that are usual for them. Images have lengths of their
    own; target tokens are for encoder-decoders, a context for models with a cache.
    """
    context, target, length = asked.get("context", 0), asked.get("target_seq"), asked.get("seq")
    takes_target = [model for model in models if model.spec.kind == "encoder-decoder"]
    caches = [model for model in models if cached(model.graph)]
    texts = [model for model in models if isinstance(model.spec.stacks[0].embedding, Tokens | Vectors)]
    for given, takes in ((context, caches), (target, takes_target), (length, texts)):
        if given and not takes:
            models[0].workload(**asked)  # it says what is wrong
    usual = [model.workload(batch=asked.get("batch")) for model in models]
    batch = min(run.batch for run in usual)
    shortest = min((run.seq for model, run in zip(models, usual, strict=True) if model in texts), default=None)
    runs: list[tuple[Workload | None, list[str]]] = []
    for model in models:
        if context and model not in caches:
            runs.append((None, ["it keeps no cache: what depends on the context is left out"]))
            continue
        speech = isinstance(model.spec.stacks[0].embedding, Audio)
        seq = length if speech else (length or (None if context else shortest)) if model in texts else None
        run = model.workload(batch, seq, target if model in takes_target else None, context)
        fixed = length not in (None, run.seq)
        runs.append((run, [f"its images are {run.seq:,} tokens, whatever seq is"] if fixed else []))
    return runs


def passes(graph: Graph, run: Workload) -> Passes:
    """What a batch takes."""
    sizes, tokens = graph.sizes(run), run.batch * (run.target or run.seq)
    found = list(rows(graph, sizes, decode=run.context > 0))
    whole = totals(found, sizes)
    forward: Any = whole.forward.model
    return Passes(
        forward,
        forward / tokens if forward % tokens else forward // tokens,
        None if run.context else whole.train.model,
        scores(found, sizes) / forward if forward else None,
    )


def _activations(s: Portrait) -> int | None:
    decoding = s.workload is None or s.workload.context
    return None if decoding else s.training.per_device.activations


def _states(s: Portrait) -> int:
    held = s.training.per_device
    return held.weights + held.gradients + held.optimizer


def _per_parameter(s: Portrait) -> float | None:
    return round(s.published.tokens / s.params.total, 2) if s.published.tokens else None


def _chinchilla(s: Portrait) -> float | None:
    """The best number of tokens for this size: the fits are of models that predict the next token."""
    predicts = s.spec.kind == "decoder" and architecture.tied(s.spec) is not None
    return CHINCHILLA.tokens(s.params.active) if predicts else None


def _to_chinchilla(s: Portrait) -> float | None:
    best = _chinchilla(s)
    return s.run.tokens / best if best and s.run.tokens else None


def _time(s: Portrait) -> str | None:
    """What its time is known from, in a few words: a part of the peak, or what was given or predicted."""
    return s.run.briefly("time") if s.run.cost.device_hours is not None else None


FACTS = (
    *architecture.FACTS,
    *group(
        "parameters",
        ("total", "total", "count", "params.total"),
        ("active", "active per token", "count", "params.active"),
        ("embedding", "embedding", "count", "params.embedding"),
        ("non_embedding", "non-embedding", "count", "params.non_embedding"),
    ),
    *group(
        "FLOPs",
        ("forward_per_token", "forward, per token", "flops", "passes.forward_per_token"),
        ("forward", "forward, the batch", "flops", "passes.forward"),
        ("train", "training step", "flops", "passes.train"),
        ("attention_share", "scores and mixing, of forward", "share", "passes.attention_share"),
    ),
    *group(
        "memory",
        ("weights", "weights", "bytes", "serving.per_device.weights"),
        ("kv_per_token", "KV cache, per token", "bytes", "cache.bytes_per_token"),
        ("kv_cache", "KV cache, the batch", "bytes", "cache.bytes"),
        ("activations", "training: activations", "bytes", _activations),
        ("states", "training: states", "bytes", _states),
    ),
    *group(
        "published run",
        ("tokens", "tokens", "count", "published.tokens"),
        ("tokens_per_parameter", "tokens per parameter", "count", _per_parameter),
        ("hardware", "hardware", "text", lambda s: s.published.hardware or None),
        ("device_hours", "device hours", "count", "published.hours"),
    ),
    *group(
        "training run",
        ("run_tokens", "tokens", "count", "run.tokens"),
        ("run_flops", "FLOPs of the run", "flops", "run.cost.flops"),
        ("six_nd", "by 6·N·tokens", "flops", "run.six_nd.flops"),
        ("chinchilla_tokens", "Chinchilla's tokens", "count", lambda s: (best := _chinchilla(s)) and round(best)),
        ("tokens_to_chinchilla", "tokens to Chinchilla's", "number", _to_chinchilla),
    ),
)
ON_DEVICE = (  # where one is given
    *group(
        "training run",
        ("run_devices", "devices", "count", "run.terms.devices"),
        ("run_time", "its time is", "text", _time),
        ("run_device_hours", "device-hours", "number", "run.cost.device_hours"),
        ("run_days", "days", "number", "run.cost.days"),
        ("run_usd", "dollars", "usd", "run.cost.usd"),
        ("run_mwh", "energy, MWh", "number", lambda s: s.run.cost.kwh and s.run.cost.kwh / 1000),
        ("run_tco2e", "carbon, t CO2e", "number", "run.cost.tco2e"),
        ("run_tokens_per_second", "tokens per second", "number", "run.cost.tokens_per_second"),
        ("run_step_seconds", "a step", "seconds", "run.cost.step_seconds"),
        ("run_mfu", "MFU", "share", "run.cost.mfu"),
    ),
    *group(
        "serving",
        ("ttft_seconds", "time to first token", "seconds", "served.ttft_seconds"),
        ("tpot_seconds", "time per output token", "seconds", "served.tpot_seconds"),
        ("tokens_per_second", "tokens per second", "number", "served.tokens_per_second"),
        ("usd_per_million_tokens", "dollars per million tokens", "usd", "served.usd_per_million_tokens"),
        ("bound", "waits for", "text", "served.bound"),
        ("largest_batch", "largest batch in memory", "count", "served.largest_batch"),
        ("fits", "fits", "text", "served.fits"),
        ("fewest_devices", "fewest devices that hold it", "count", "fewest"),
    ),
)


def comparison(
    found: Sequence[Portrait], asked: Mapping[str, int], device: Device | None, devices: int | None
) -> Comparison:
    """Each fact of all models, in their order; asked: the sizes that were given."""
    of = dict(zip(_names(found), found, strict=True))
    runs = [one.workload.to_dict() if one.workload else None for one in found]
    stored = {
        f"checkpoint of {name}": one.serving.assumptions["checkpoint"]
        for name, one in of.items()
        if "checkpoint" in one.serving.assumptions
    }
    return Comparison(
        names=tuple(of),
        models=tuple(one.about for one in found),
        workload=next(filter(None, runs), dict(asked)),
        workloads=tuple(runs),
        rows=tuple(_row(fact, found) for fact in (*FACTS, *(ON_DEVICE if device else ()))),
        device=device,
        devices=devices or 1,
        served={name: one.served for name, one in of.items()} if device else {},
        trained={name: one.run for name, one in of.items()},
        notes={name: tuple(one.about["notes"]) for name, one in of.items()},
        assumptions=stored | BASIS,
    )


def _row(fact: Fact, found: Sequence[Portrait]) -> SideBySide:
    values = tuple(map(fact.of, found))
    same = all(_alike(value, values[0]) for value in values)
    return SideBySide(*fact[:4], values, same, tuple(_ratio(value, values[0]) for value in values))


def _ratio(value: Any, base: Any) -> float | None:
    numbers = all(isinstance(n, int | float) and not isinstance(n, bool) for n in (value, base))
    if numbers and base:
        return 1.0 if _alike(value, base) else value / base
    return None


def _alike(value: Any, other: Any) -> bool:
    """Whether they are the same, but for how the last digits of what is not a count are rounded."""
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=1e-12)
    return bool(value == other)


def _names(found: Sequence[Portrait]) -> list[str]:
    """A name for each model that no other has, nor another column."""
    plain = [one.spec.name for one in found]
    names: list[str] = []
    for one, name in zip(found, plain, strict=True):
        if plain.count(name) > 1 and one.about["source"] != f"preset {name}":
            name = one.about["source"]
        number, unique = 1, name
        while unique in (*names, *COLUMNS):
            number += 1
            unique = f"{name} ({number})"
        names.append(unique)
    return names

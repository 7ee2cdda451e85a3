"""A whole run: what was published of it, what is asked otherwise, what is assumed, and the costs that follow.

Every number that is neither counted nor given is named in `assumptions` with where it is from; every answer that
something unknown stands in the way of is named in `unknown` with what would make it known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from transformer_calc.answer import Assumptions, OfModel
from transformer_calc.errors import InputError
from transformer_calc.facts import Device, Grid, TrainingRun
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.plan import Serving, Training
from transformer_calc.readings.cost import budget, scaling
from transformer_calc.readings.cost.assumed import PUE, Assumed, Unknown
from transformer_calc.readings.cost.budget import Cost, Terms, Work
from transformer_calc.readings.cost.prices import Paid, paid
from transformer_calc.readings.cost.schedules import LearningRate, Point, Ramp, Span, check, points
from transformer_calc.readings.count.lora import check as check_lora
from transformer_calc.readings.count.params import params
from transformer_calc.readings.memory.parts import Bytes
from transformer_calc.readings.memory.serving import check as check_serving
from transformer_calc.readings.memory.training import check as check_training
from transformer_calc.readings.shard import check as check_mesh
from transformer_calc.readings.shard import stages
from transformer_calc.spec import Workload
from transformer_calc.tuples import NamedTuple

MOST_OF_PEAK = 1 + 1e-9  # and what rounding makes of it
MESH = frozenset(("dp", "tp", "pp", "cp", "ep", "sp"))  # options that shape the devices


class Asked(NamedTuple):
    """What is given instead of what was published or is usual. None: nothing."""

    tokens: int | None = None
    batch: int | None = None  # sequences
    batch_tokens: int | None = None
    seq: int | None = None
    device: Device | None = None
    devices: int | None = None
    pace: tuple[str, float] | None = None  # see budget.PACES
    price: float | None = None  # USD of an hour of a device
    amortize: float | None = None  # years over which the price of buying one is spread
    power: float | None = None
    pue: float | None = None
    carbon: Grid | None = None
    needed: bool = False
    serve_tokens: int | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    min_learning_rate: float | None = None
    warmup: Span | None = None
    decay: Span | None = None


class SixND(NamedTuple):
    """The rule of thumb beside the count: so many FLOPs a parameter and token."""

    rule: str
    params: int
    flops: int | None
    pf_days: float | None  # 10^15 FLOP/s for a day
    hardware_flops: int | None
    days: float | None  # at the assumed rate of FLOPs


class Compared(NamedTuple):
    """A figure of the published run beside the predicted one; None where it is unknown."""

    what: str
    name: str
    published: float
    given: bool  # as it was published, not what follows from its time
    predicted: float | None

    @property
    def difference(self) -> float | None:
        """How far it is off, as a part of what was published."""
        return None if self.predicted is None or not self.published else self.predicted / self.published - 1


# of each cost: what it rests on beside the counted FLOPs, by the names of the assumptions
RESTS: dict[str, tuple[str, ...]] = {
    "days": ("time", "devices", "tokens"),
    "device_hours": ("time", "tokens"),
    "usd": ("time", "tokens", "price"),
    "kwh": ("time", "tokens", "power", "PUE"),
    "tco2e": ("time", "tokens", "power", "PUE", "carbon"),
    "flops": ("tokens",),
    "hardware_flops": ("tokens", "hardware FLOPs"),
    "tokens_per_second": ("time", "devices"),
    "step_seconds": ("time", "devices", "batch"),
    "mfu": ("time", "peak"),
    "hfu": ("time", "peak"),
}
TIMES = ("days", "tokens_per_second", "step_seconds")  # of all devices


class Reckoning(OfModel):
    """A run with its costs.

    cost: FLOPs, hours, days, dollars, kWh, t CO2e, seconds of a step, parts of the peak; None where unknown; run: one
    full batch; work: FLOPs of it; terms: what the costs rest on; tokens: of the run; steps: of it; batch_tokens: of a
    full batch; ramp, rate: the growth of the batch, and the learning rate's way; curve: both, from step to step;
    device: what it runs on; price: of one for an hour; plan: how it is trained, or served; six_nd: the rule of thumb;
    serving: costs of the tokens that are to be served; published: what follows from the published times; compared:
    published figures beside predicted ones, and published_source: who says so; predicted: a step, where nothing was
    given of the time; memory: bytes on the fullest device of the plan that is timed; fits: whether memory holds it,
    None where that is unknown; optima, losses: of published fits of how many tokens a model should see; checkpoint:
    bytes on disk; unknown: what is not known, with the field that would tell it
    """

    cost: Cost
    run: Workload
    work: Work
    terms: Terms
    tokens: int | None
    steps: int | None
    batch_tokens: int | None
    ramp: Ramp | None
    rate: LearningRate | None
    device: Device | None
    price: Paid | None
    plan: Training | Serving
    six_nd: SixND
    serving: Cost | None
    published: Cost | None
    predicted: budget.Predicted | None
    assumptions: Assumptions
    unknown: Mapping[str, Unknown]
    curve: tuple[Point, ...] = ()
    compared: tuple[Compared, ...] = ()
    published_source: str = ""
    memory: Bytes | None = None
    fits: bool | None = None
    optima: tuple[scaling.Optimum, ...] = ()
    losses: tuple[scaling.Predicted, ...] = ()
    checkpoint: budget.Checkpoint | None = None

    FIRST: ClassVar[Mapping[str, str]] = {
        "title": "text",
        "cost.days": "number",
        "cost.device_hours": "number",
        "cost.usd": "usd",
        "cost.mfu": "share",
        "cost.flops": "flops",
        "fits": "text",
    }

    @property
    def mean_step_seconds(self) -> float | None:
        """Seconds of a step on average, the smaller ones of a batch that grows included."""
        return None if self.cost.days is None or not self.steps else self.cost.days * budget.DAY / self.steps

    @property
    def flops_per_token(self) -> int | float:
        """The model's FLOPs of a token."""
        whole, tokens = self.work.model, self.work.tokens
        return whole / tokens if whole % tokens else whole // tokens

    @property
    def tokens_per_parameter(self) -> float | None:
        """Tokens of the run to parameters that are active."""
        return None if self.tokens is None else self.tokens / self.six_nd.params

    @property
    def largest_batch_tokens(self) -> int:
        """Tokens of the largest batch of the run."""
        return max((point.batch_tokens for point in self.curve), default=0)

    def rests_on(self, key: str) -> tuple[str, ...]:
        """The names of the assumptions that a cost rests on; how many tokens is no matter of a time's."""
        rests = RESTS[key]
        return tuple(each for each in rests if each in self.assumptions and (each, rests[0]) != ("tokens", "time"))

    def needs(self, key: str) -> list[str]:
        """The fields that would make an unknown cost known."""
        return list(dict.fromkeys(self.unknown[each].field for each in RESTS[key] if each in self.unknown))

    def needed(self, key: str) -> str:
        """The same in words: a time is predicted, or given."""
        fields = self.needs(key)
        predicts = [name for name in ("devices", "batch") if name in self.unknown]
        trains = isinstance(self.plan, Training)
        if trains and "mfu" in fields and "device" in self.unknown:
            # its peak is what an MFU is a part of, and what a step is predicted from
            fields = [name for name in fields if name != "device"]
            fields[fields.index("mfu") : fields.index("mfu") + 1] = ["device", *(["mfu"] if predicts else [])]
        said = [f"`{name}`" for name in fields]
        if trains and "mfu" in fields and predicts:
            said = [f"`{name}`" for name in fields if name not in ("mfu", *predicts)]
            if "devices" in predicts and key in TIMES:
                said += ["`devices`", *(["`batch` or `mfu`"] if "batch" in predicts else [])]
            else:
                said.append(f"{' and '.join(f'`{name}`' for name in predicts)}, or `mfu`")
        return ", ".join(said)

    def briefly(self, name: str) -> str:
        """An assumption in a few words: it is written out elsewhere."""
        text = self.assumptions[name].text.partition(" (")[0].partition(";")[0].partition(":")[0]
        if name == "time":
            return text.partition(",")[0] if text.startswith(("MFU", "HFU")) else text
        if name == "price" and self.price:
            return f"{text}: {self.price.briefly}"
        devices = "1 device" if text == "1" else f"{text} devices"
        return {"devices": devices, "tokens": f"{text} tokens", "PUE": f"PUE {text}"}.get(name, text)


def reckon(
    graph: Graph,
    workload: Workload,
    run: TrainingRun,
    asked: Asked,
    plan: Training | Serving,
    *,
    given: frozenset[str] = frozenset(),
    grid: Grid,
    published_device: Device | None = None,
    name: str = "",
    predict: bool = True,
    changed: bool = False,
    need: Callable[[Workload, Training], Bytes],
    least: Callable[[Training | Serving], int],
) -> dict[str, Any]:
    """The costs of training a model, or of serving it where the plan is one of serving: the fields of the answer.

    workload: one full batch; run: what is published; given: the options of the plan that were given;
    grid: the electricity, if none is asked for; published_device: what the published run was on;
    predict: time a step where nothing is given of the time, which takes longer than all the rest; changed: the model is
    not the one that was published; need: bytes on the fullest device; least: bytes that all devices share at best
    """
    _check(asked)
    train = isinstance(plan, Training)
    run = run if train else TrainingRun()
    words = Assumed(run, {name: value for name, value in asked._asdict().items() if value is not None}, name)
    device = asked.device or published_device
    if isinstance(plan, Training) and not plan.precision:
        plan = plan.changed(precision=budget.usual_precision(device))
    sizes = graph.sizes(workload)
    _check_plan(graph, sizes, plan, given)
    devices = budget.devices_of(plan, asked.devices, run.devices, given)
    batch_known = bool(asked.batch or asked.batch_tokens or run.batch_tokens) or not train
    predicted, why = None, ""
    if predict and isinstance(plan, Training) and asked.pace is None and device and devices and batch_known:
        alike = not (asked.device or asked.devices or given & MESH)
        for how, fixed in (_as_published(plan, run, given), (plan, given)) if alike else ((plan, given),):
            try:
                predicted = budget.predict(graph, sizes, how, device, devices, fixed)
                plan, why = predicted.plan, ""
                break
            except InputError as error:
                why = error.message
    work = budget.work_of(graph, sizes, plan, needed=asked.needed)
    words.work(plan, workload)
    tokens = asked.tokens if asked.tokens is not None else run.whole
    full = work.tokens if batch_known else None
    words.size(workload, tokens, full)
    ramp = _ramp(run, asked, full) if train else None
    words.growth(ramp)
    compute, peak = _peak(device, plan)
    words.devices(device, devices, compute, peak, plan)
    pace = ("tokens_per_second", predicted.tokens_per_second) if predicted else asked.pace
    place = asked.carbon or grid
    price = paid(device, asked.price, asked.amortize)
    terms = Terms(
        tokens=tokens,
        full_batch=full,
        devices=devices,
        peak=peak,
        pace=pace,
        price=price.usd_per_hour if price else None,
        power=asked.power or (device.power if device else None),
        pue=asked.pue or PUE,
        carbon=place.g_per_kwh,
    )
    if predicted:
        words.said |= predicted.assumptions
    words.money(terms, price, device, place)
    words.time(terms, why, train=train)
    cost = budget.cost(work, terms)
    if asked.pace and device:
        _check_peak(asked.pace, cost, device, compute, plan, needed=asked.needed)
    serving = None
    if asked.serve_tokens and train:
        serving = _serving(graph, sizes, plan, terms, cost, asked.serve_tokens, needed=asked.needed)
        words.serving(asked.serve_tokens)
    alike = device == published_device and tokens == run.whole
    rate = learning_rate(run, asked, full) if train else None
    if train and rate is None and (run.learning_rate or asked.learning_rate):
        words.undrawn()
    words.idle(plan, given, timed=bool(predicted))
    if asked.pace and not predicted and device and devices and device.memory_bytes:
        words.beyond(plan, least(plan), devices, devices * device.memory_bytes)
    published = _published(graph, sizes, terms, run, plan) if alike else None
    found: dict[str, Any] = {
        "cost": cost,
        "run": workload,
        "work": work,
        "terms": terms,
        "tokens": tokens,
        "steps": None if tokens is None or full is None else _steps(ramp, full, tokens),
        "batch_tokens": full,
        "ramp": ramp,
        "rate": rate,
        "device": device,
        "price": price,
        "plan": plan,
        "six_nd": _six_nd(graph, params(graph, sizes).active, tokens, plan, cost, asked.pace),
        "serving": serving,
        "published": published,
        "predicted": predicted,
        "assumptions": words.said,
        "unknown": words.unknown,
        "notes": words.notes,
        "fits": predicted.fits if predicted else False if "memory" in words.said else None,
    }
    if predicted:
        found["memory"] = need(replace(workload, batch=predicted.batch), predicted.plan)
    if not isinstance(plan, Training):
        return found
    if published and not changed:
        found |= {"compared": _compared(run, published, found), "published_source": run.source}
    if tokens is not None and not plan.adapters:
        active = found["six_nd"].params
        found |= {"optima": tuple(scaling.optima(active, tokens)), "losses": tuple(scaling.predicted(active, tokens))}
    if ramp is not None and tokens is not None and found["steps"] is not None:
        found["curve"] = tuple(points(ramp, rate, tokens))
    return found | {"checkpoint": budget.checkpoint(graph, sizes, plan)}


def _compared(run: TrainingRun, then: Cost, found: Mapping[str, Any]) -> tuple[Compared, ...]:
    """The published figures, and what they mean, beside the predicted ones."""
    cost, terms = found["cost"], found["terms"]

    def rate(cost: Cost) -> float | None:
        """TFLOP/s that a device achieves, with what is computed again."""
        return None if cost.hfu is None or terms.peak is None else cost.hfu * terms.peak / budget.TERA

    pairs: list[tuple[str, str, float | None, float | None, object]] = [
        ("device_hours", "device-hours", then.device_hours, cost.device_hours, run.device_hours),
        ("days", "wall-clock time", run.days, cost.days if terms.devices == run.devices else None, run.days),
        ("tflops", "TFLOP/s of a device", run.tflops_per_device or rate(then), rate(cost), run.tflops_per_device),
        ("mfu", "MFU", then.mfu, cost.mfu, None),
        ("kwh", "energy", then.kwh, cost.kwh, None),
        ("tco2e", "carbon", then.tco2e, cost.tco2e, None),
        ("usd", "dollars", then.usd, cost.usd, None),
        ("steps", "steps", run.steps, found["steps"], run.steps),
    ]
    return tuple(
        Compared(what, name, published, bool(direct), predicted)
        for what, name, published, predicted, direct in pairs
        if published is not None
    )


def _as_published(plan: Training, run: TrainingRun, given: frozenset[str]) -> tuple[Training, frozenset[str]]:
    """The plan as the run was spread over its devices, where that is published and not given otherwise."""
    known: dict[str, Any] = {name: value for name, value in run.plan if name not in given}
    if run.recompute and "recompute" not in given:
        known["recompute"] = run.recompute
    ways = {name: known.pop(name) for name in tuple(known) if name in MESH}
    if "sp" in ways:
        ways["sp"] = bool(ways["sp"])
    found = plan.changed(mesh=plan.mesh.changed(**ways), **known)
    return found, given | frozenset(known) | frozenset(ways)


def _check(asked: Asked) -> None:
    """Refuse terms that cannot be."""
    values = {**asked._asdict(), **dict([asked.pace] if asked.pace else ())}
    for name in ("tokens", "batch", "batch_tokens", "seq", "devices", "serve_tokens", "power", *budget.PACES):
        most = 1 if name in ("mfu", "hfu") else 10**18
        value = values.get(name)
        if value is not None and not 0 < value <= most:
            raise InputError(f"`{name}` is {value}; it must be more than 0 and at most {most:g}")
    if asked.price is not None and not 0 <= asked.price < math.inf:
        raise InputError(f"`price` is {asked.price}; it must be at least 0")
    if asked.pue is not None and not 1 <= asked.pue <= 10:
        raise InputError(f"`pue` is {asked.pue}; it must be at least 1 and at most 10")


def _check_peak(
    pace: tuple[str, float], cost: Cost, device: Device, compute: str, plan: Training | Serving, *, needed: bool
) -> None:
    """Refuse a pace at which more FLOPs are computed than the devices' peak."""
    if cost.mfu is None or cost.hfu is None or cost.hfu <= MOST_OF_PEAK:
        return
    kind, value = pace
    given = f"{value:,.6g}" if kind not in ("mfu", "hfu") else f"{value:.4g}"
    part, again = f"an MFU of {cost.mfu:.1%}", ""
    if isinstance(plan, Training) and plan.recompute != "none":
        again = f", with {plan.recompute} recomputation"
        part = part if cost.mfu > MOST_OF_PEAK else f"an HFU of {cost.hfu:.1%}"
    peak: Any = device.peak(compute)
    rate = f"{peak / budget.TERA:,.6g} TFLOP/s of dense {compute}"
    counts = "" if needed else "; or `needed`, which counts of score matrices only what the mask lets through"
    faster = isinstance(plan, Training) and compute != "fp8" and (device.peak("fp8") or 0) > peak
    other = " or the precision (`precision=fp8`)" if faster else ""
    raise InputError(
        f"`{kind}` is {given}{again}: {part} of the {rate} that {device.title or device.name} has; "
        "it must be at most 100%",
        f"the pace, the tokens, the devices{other} cannot be right{counts}",
    )


def _check_plan(graph: Graph, sizes: Sizes, plan: Training | Serving, given: frozenset[str]) -> None:
    """Refuse a plan that no devices can run, whatever is chosen of what is not given."""
    mesh = plan.mesh
    mesh = mesh.changed(dp=mesh.dp if "dp" in given else mesh.ep, sp=mesh.sp and "tp" in given)
    check_mesh(mesh, graph, sizes)
    if isinstance(plan, Serving):
        check_serving(plan.changed(mesh=mesh.changed(dp=1)), sizes)
        list(stages(graph, mesh))
        return
    if plan.freeze:
        raise InputError(
            f"`freeze` is {','.join(plan.freeze)}, but what frozen parts save of the FLOPs is not counted",
            "tcalc memory and tcalc fit know it",
        )
    if plan.adapters:
        check_lora(graph, plan.adapters)
    interleaved = plan.schedule == "interleaved"
    pp = mesh.pp if "pp" in given or not interleaved else max(mesh.pp, 2)
    virtual = 2 if interleaved and "virtual" not in given else plan.virtual
    tried = plan.changed(mesh=mesh.changed(dp=1, pp=pp), virtual=virtual, micro_batch=1)
    check_training(tried, {**sizes, "batch": pp})  # what is trained is rounded up to whole micro-batches
    list(stages(graph, mesh, virtual if "virtual" in given else 1))


def _ramp(run: TrainingRun, asked: Asked, full: int | None) -> Ramp | None:
    """How the batch grows: as published, unless another batch is asked for."""
    if full is None:
        return None
    if asked.batch or asked.batch_tokens or not run.batch_ramp:
        return Ramp(((0, full),))
    return Ramp((*run.batch_ramp[:-1], (run.batch_ramp[-1][0], full)), run.batch_growth)  # in whole sequences


def _steps(ramp: Ramp | None, full: int, tokens: int) -> int:
    if ramp is None or len(ramp.points) == 1:
        return -(-tokens // full)
    return math.ceil(ramp.steps(tokens))


def _peak(device: Device | None, plan: Training | Serving) -> tuple[str, int | None]:
    """The type that matmuls are computed in, and the device's peak in it."""
    compute = budget.compute_type(plan)
    if device and isinstance(plan, Serving):
        from transformer_calc.readings.time.latency import computes

        compute = computes(plan, device, None)
    return compute, device.peak(compute) if device else None


# --- what stands beside the costs -----------------------------------------------------------------------------


def _serving(
    graph: Graph, sizes: Sizes, plan: Training | Serving, terms: Terms, cost: Cost, tokens: int, *, needed: bool
) -> Cost:
    """The costs of serving so many tokens, at the MFU of training."""
    work = budget.work_of(graph, sizes, Serving(mesh=plan.mesh), needed=needed)
    pace = terms.pace if terms.pace and terms.pace[0] == "mfu" else ("mfu", cost.mfu) if cost.mfu else None
    return budget.cost(work, terms._replace(tokens=tokens, pace=pace))


def _six_nd(
    graph: Graph,
    active: int,
    tokens: int | None,
    plan: Training | Serving,
    cost: Cost,
    pace: tuple[str, float] | None,
) -> SixND:
    """The rule of thumb: forward and backward are three passes, two where weights are frozen, and one to serve.

    With full recomputation the forward pass is counted twice (Megatron-LM, arXiv 2104.04473, equation 4).
    """
    halved = "decoder" in graph.orders and "encoder" in graph.orders
    passes = 1 if isinstance(plan, Serving) else 2 if plan.adapters else 3
    again = 1 if isinstance(plan, Training) and plan.recompute == "full" else 0
    rule = f"{passes * (1 if halved else 2)}·N·tokens"
    rule += ", half of the parameters see each token" if halved else ", N active parameters"
    if tokens is None:
        return SixND(rule, active, None, None, None, None)
    flops = scaling.six_nd(active, tokens, passes, halved=halved)
    hardware = scaling.six_nd(active, tokens, passes + again, halved=halved)
    days = None
    if pace and pace[0] in budget.OF_FLOPS and cost.days is not None and cost.flops and cost.hardware_flops:
        share = flops / cost.flops if pace[0] == "mfu" else hardware / cost.hardware_flops
        days = cost.days * share
    return SixND(rule, active, flops, flops / scaling.PF_DAY, hardware, days)


def _published(graph: Graph, sizes: Sizes, terms: Terms, run: TrainingRun, plan: Training | Serving) -> Cost | None:
    """What the published times mean, at the same prices; None where no time was published."""
    if not isinstance(plan, Training):
        return None
    if run.device_hours:
        pace = ("device_hours", float(run.device_hours))
    elif run.days and run.devices:
        pace = ("days", float(run.days))
    elif run.tflops_per_device:
        pace = ("tflops", run.tflops_per_device)
    else:
        return None
    work = budget.work_of(graph, sizes, plan.changed(recompute=run.recompute or "none"))
    return budget.cost(work, terms._replace(devices=run.devices, pace=pace))


def learning_rate(run: TrainingRun, asked: Asked, full: int | None = None) -> LearningRate | None:
    """The learning rate's way: as published, with what is asked otherwise; None where it is unknown."""
    peak = asked.learning_rate or run.learning_rate
    schedule = asked.schedule or run.schedule
    if peak is None:
        for flag, value in (
            ("`lr_schedule`", asked.schedule),
            ("`min_lr`", asked.min_learning_rate),
            ("`warmup`", asked.warmup),
            ("`decay`", asked.decay),
        ):
            if value is not None:
                raise InputError(f"{flag} is given, but no learning rate is known", "`lr=RATE`")
        return None
    if not schedule:
        return None
    other = asked.schedule is not None and asked.schedule != run.schedule
    warmup, decay = asked.warmup, asked.decay
    for name, span in (("warmup", warmup), ("decay", decay)):
        if span and full and span.unit == "tokens" and span.amount < full:
            raise InputError(
                f"`{name}` is {span.amount:,} tokens, fewer than the {full:,} of a step; expected more, or steps",
                hint=f"`{name}={span.amount}steps`",
            )
    if warmup is None and run.warmup_tokens:
        warmup = Span(run.warmup_tokens, "tokens")
    elif warmup is None and run.warmup_steps:
        warmup = Span(run.warmup_steps, "steps")
    if decay is None and not other and run.decay_tokens:
        decay = Span(run.decay_tokens, "tokens")
    elif decay is None and not other and run.decay_steps:
        decay = Span(run.decay_steps, "steps")
    floor = asked.min_learning_rate
    if floor is None:
        floor = 0.0 if run.min_learning_rate_ratio is None else peak * run.min_learning_rate_ratio
    hold = 0 if other or asked.warmup else run.hold_steps or 0
    rate = LearningRate(schedule, peak, floor, warmup, decay, hold)
    check(rate)
    return rate

"""A whole run: what was published of it, what is asked otherwise, what is assumed, and the costs that follow.

Every number that is neither counted nor given is named in `assumptions` with where it is from; every answer that
something unknown stands in the way of is named in `unknown` with what would make it known.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph
from transformer_calc.readings import budget, scaling
from transformer_calc.readings.budget import Cost, Terms, Work
from transformer_calc.readings.params import params
from transformer_calc.readings.schedules import LearningRate, Ramp, Span, check
from transformer_calc.readings.serving import Plan
from transformer_calc.readings.training import Training
from transformer_calc.spec import Device, Grid, TrainingRun, Workload
from transformer_calc.storage import precision

PUE = 1.1
PUE_SOURCE = "Touvron et al. 2023, arXiv 2302.13971, section 6"


class Asked(NamedTuple):
    """What is given instead of what was published or is usual. None: nothing."""

    tokens: int | None = None
    batch: int | None = None  # sequences
    batch_tokens: int | None = None
    seq: int | None = None
    device: Device | None = None
    devices: int | None = None
    pace: tuple[str, float] | None = None  # see budget.PACES
    price: float | None = None
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


class Reckoning(NamedTuple):
    """A run with its costs."""

    cost: Cost
    workload: Workload
    work: Work
    terms: Terms
    tokens: int | None
    steps: int | None
    batch_tokens: int | None  # of a full batch
    ramp: Ramp | None
    rate: LearningRate | None
    device: Device | None
    plan: Training | Plan
    six_nd: SixND
    serving: Cost | None  # of the tokens that are to be served
    published: Cost | None  # what follows from the published times, on the published devices
    predicted: budget.Predicted | None  # a step, where nothing was given of the time
    assumptions: dict[str, str]
    unknown: dict[str, str]


def reckon(
    graph: Graph,
    workload: Workload,
    run: TrainingRun,
    asked: Asked,
    plan: Training | Plan,
    *,
    given: frozenset[str] = frozenset(),
    grid: Grid,
    published_device: Device | None = None,
    name: str = "",
    family: str = "",
) -> Reckoning:
    """The costs of training a model, or of serving it where the plan is one of serving.

    workload: one full batch; run: what is published; given: the options of the plan that were given;
    grid: the electricity, if none is asked for; published_device: what the published run was on
    """
    said: dict[str, str] = {}
    unknown: dict[str, str] = {}
    train = isinstance(plan, Training)
    run = run if train else TrainingRun()
    of_run = f"the published run of {name}"
    device = asked.device or published_device
    if isinstance(plan, Training) and not plan.precision:
        plan = plan._replace(precision=budget.usual_precision(device))
    sizes = graph.sizes(workload)
    devices = budget.devices_of(plan, asked.devices, run.devices, given)
    predicted: budget.Predicted | None = None
    why = ""
    if isinstance(plan, Training) and asked.pace is None and device and devices and _batch_known(run, asked):
        try:
            predicted = budget.predict(graph, sizes, plan, device, devices, given, family)
            plan = predicted.plan
        except InputError as error:
            why = error.message
    work = budget.work_of(graph, sizes, plan, needed=asked.needed)
    _say_work(said, plan, workload, run, asked)
    tokens = asked.tokens if asked.tokens is not None else run.whole
    full = work.tokens if _batch_known(run, asked) or not train else None
    ramp = _ramp(run, asked, full) if train else None
    steps = None if tokens is None or full is None else _steps(ramp, full, tokens)
    _say_size(said, unknown, workload, run, asked, tokens, full, of_run)
    _say_ramp(said, run, asked, ramp)

    compute = budget.compute_type(plan)
    peak = device.peak(compute) if device else None
    if device and peak is None and not train and device.peak("fp16"):
        compute, peak = "fp16", device.peak("fp16")
    _say_devices(said, unknown, device, devices, run, asked, of_run, compute, peak, plan)

    pace = asked.pace
    if predicted:
        pace = ("tokens_per_second", predicted.tokens_per_second)
        said |= predicted.assumptions
    terms = Terms(tokens, full, devices, peak, pace, asked.price, asked.power, PUE, grid.g_per_kwh)
    terms = _say_terms(said, unknown, terms, device, asked, grid)
    _say_pace(said, unknown, terms, asked, run, why, train=train)
    cost = budget.cost(work, terms)
    counted = params(graph, sizes)
    rule = _six_nd(graph, counted.active, tokens, plan, cost, asked.pace)
    serving = None
    if asked.serve_tokens and train:
        forward = budget.work_of(graph, sizes, Plan(mesh=plan.mesh), needed=asked.needed)
        same = terms.pace if terms.pace and terms.pace[0] == "mfu" else ("mfu", cost.mfu) if cost.mfu else None
        serving = budget.cost(forward, terms._replace(tokens=asked.serve_tokens, pace=same))
        said["serving"] = (
            f"{asked.serve_tokens:,} tokens (--serve-tokens), forward only at the same length of a sequence and the "
            "same MFU, prices and power; decoding token by token reaches less"
        )
    alike = device == published_device and tokens == run.whole
    published = _published(work, terms, run, published_device, plan) if alike else None
    rate = learning_rate(run, asked, full) if train else None
    if train and rate is None and (run.learning_rate or asked.learning_rate):
        unknown["learning rate"] = (
            f"how the learning rate changes is not known in a form to draw{_note(run.schedule_note)}: --lr-schedule"
        )
    return Reckoning(
        cost=cost,
        workload=workload,
        work=work,
        terms=terms,
        tokens=tokens,
        steps=steps,
        batch_tokens=full,
        ramp=ramp,
        rate=rate,
        device=device,
        plan=plan,
        six_nd=rule,
        serving=serving,
        published=published,
        predicted=predicted,
        assumptions=said,
        unknown=unknown,
    )


# --- what is taken, and from where ----------------------------------------------------------------------------


def _say_work(said: dict[str, str], plan: Training | Plan, workload: Workload, run: TrainingRun, asked: Asked) -> None:
    scores = "what the mask lets through" if asked.needed else "the full score matrix"
    passes = "forward and backward" if isinstance(plan, Training) else "forward"
    said["FLOPs"] = f"matmuls {passes}, {scores}, counted in the graph for a batch; a token's share × tokens"
    if isinstance(plan, Training) and plan.recompute != "none":
        said["hardware FLOPs"] = f"with {plan.recompute} recomputation"
    if isinstance(plan, Training) and plan.lora:
        learn = ", ".join(plan.lora.targets)
        said["adapters"] = f"LoRA of rank {plan.lora.rank} on {learn}: frozen weights have no gradient of their own"
    if asked.seq:
        origin = "--seq"
    elif run.seq == workload.seq:
        origin = "published"
    else:
        origin = "the model's, or usual; --seq"
    target = f", {workload.target:,} of a target sequence" if workload.target else ""
    said["sequence"] = f"{workload.seq:,} tokens{target} ({origin})"


def _batch_known(run: TrainingRun, asked: Asked) -> bool:
    return bool(asked.batch or asked.batch_tokens or run.batch_tokens)


def _say_size(
    said: dict[str, str],
    unknown: dict[str, str],
    workload: Workload,
    run: TrainingRun,
    asked: Asked,
    tokens: int | None,
    full: int | None,
    of_run: str,
) -> None:
    source = " of the source" if workload.target else ""
    if tokens is None:
        unknown["tokens"] = "how many tokens it sees is unknown: --tokens N"
    elif asked.tokens is not None:
        said["tokens"] = f"{tokens:,}{source} (--tokens)"
    else:
        made = "" if run.tokens else f": {run.steps:,} steps of {run.batch_tokens:,}"
        said["tokens"] = f"{tokens:,}{source} ({of_run}{made})"
    if full is None:
        unknown["batch"] = "the size of a batch is unknown: --batch N"
        return
    origin = "--batch" if asked.batch else "--batch-tokens" if asked.batch_tokens else of_run
    said["batch"] = f"{workload.batch:,} sequences, {full:,} tokens{source} ({origin})"


def _ramp(run: TrainingRun, asked: Asked, full: int | None) -> Ramp | None:
    """How the batch grows: as published, unless another batch is asked for."""
    if full is None:
        return None
    if asked.batch or asked.batch_tokens or not run.batch_ramp:
        return Ramp(((0, full),))
    return Ramp((*run.batch_ramp[:-1], (run.batch_ramp[-1][0], full)), run.batch_growth)  # in whole sequences


def _say_ramp(said: dict[str, str], run: TrainingRun, asked: Asked, ramp: Ramp | None) -> None:
    if ramp is None or asked.batch or asked.batch_tokens:
        return
    if len(ramp.points) > 1:
        way = "in proportion to the tokens seen" if ramp.growth == "linear" else "at once"
        points = ", ".join(f"{batch:,} tokens at {seen:,}" for seen, batch in ramp.points)
        said["batch growth"] = f"{points}; {way}; a token takes the same time throughout"
    elif run.batch_note:
        said["batch growth"] = f"{run.batch_note}: not counted in the steps"


def _steps(ramp: Ramp | None, full: int, tokens: int) -> int:
    if ramp is None or len(ramp.points) == 1:
        return -(-tokens // full)
    return math.ceil(ramp.steps(tokens))


def _say_devices(
    said: dict[str, str],
    unknown: dict[str, str],
    device: Device | None,
    devices: int | None,
    run: TrainingRun,
    asked: Asked,
    of_run: str,
    compute: str,
    peak: int | None,
    plan: Training | Plan,
) -> None:
    if device is None:
        which = f"{run.hardware}, the device of {of_run}, is unknown" if run.hardware else "the device is unknown"
        unknown["device"] = f"{which}: --device NAME"
    else:
        said["device"] = f"{device.title or device.name} ({'--device' if asked.device else of_run})"
        if peak is None:
            unknown["peak"] = f"the {compute} peak of {device.name} is unknown, or it has none: --precision"
        else:
            mark = ", unconfirmed" if f"peaks.{compute}" in device.unconfirmed else ""
            said["peak"] = f"{peak / budget.TERA:,.6g} TFLOP/s of dense {compute}{mark}: what MFU and HFU are parts of"
    if devices is None:
        unknown["devices"] = "how many devices it runs on is unknown: --devices N"
    else:
        origin = "--devices" if asked.devices else of_run if devices == run.devices else "of the plan"
        said["devices"] = f"{devices:,} ({origin})"
    if isinstance(plan, Training):
        said["precision"] = f"{plan.precision} ({precision(plan.precision).source})"


def _say_terms(
    said: dict[str, str], unknown: dict[str, str], terms: Terms, device: Device | None, asked: Asked, grid: Grid
) -> Terms:
    """The terms with what is known of price, power and electricity."""
    if asked.price is not None:
        said["price"] = f"${_usd(asked.price)} for an hour of a device (--price)"
    elif device and device.price:
        found = device.price
        about = ", ".join(part for part in (found.provider, found.terms, found.date) if part)
        said["price"] = f"${_usd(found.usd_per_hour)} for an hour of a device ({about})"
        terms = terms._replace(price=found.usd_per_hour)
    else:
        unknown["price"] = f"no price of {device.name if device else 'the device'} is known: --price USD"
    if asked.power is not None:
        said["power"] = f"{asked.power:,.6g} W of a device on average (--power)"
    elif device and device.power:
        mark = ", unconfirmed" if "power" in device.unconfirmed else ""
        said["power"] = f"{device.power:,} W of a device on average: its design power{mark}"
        terms = terms._replace(power=device.power)
    else:
        unknown["power"] = f"the power of {device.name if device else 'the device'} is unknown: --power W"
    pue = PUE if asked.pue is None else asked.pue
    said["PUE"] = f"{pue:g} ({PUE_SOURCE if asked.pue is None else '--pue'})"
    place = asked.carbon or grid
    year = f" in {place.year}" if place.year else ""
    about = f"{place.title}{year}: {place.source}" if place.source else place.title
    said["carbon"] = f"{place.g_per_kwh:,.6g} g CO₂e for a kWh ({about})"
    return terms._replace(pue=pue, carbon=place.g_per_kwh)


def _say_pace(
    said: dict[str, str],
    unknown: dict[str, str],
    terms: Terms,
    asked: Asked,
    run: TrainingRun,
    why: str,
    *,
    train: bool,
) -> None:
    if asked.pace:
        kind, value = asked.pace
        shown = f"{kind.upper()} {value:.1%}," if kind in ("mfu", "hfu") else f"{value:,.6g}"
        said["time"] = f"{shown} {budget.PACES[kind]} (--{kind.replace('_', '-')}); no interruptions"
        if kind in ("mfu", "hfu") and terms.peak is None:
            unknown["time"] = f"the peak that --{kind} is a part of is unknown: --device NAME"
        elif kind in ("device_hours", "days") and terms.tokens is None:
            unknown["time"] = (
                f"--{kind.replace('_', '-')} is of a whole run, of which the tokens are unknown: --tokens N"
            )
        elif kind == "step_seconds" and terms.full_batch is None:
            unknown["time"] = "--step-seconds is of a batch, of which the size is unknown: --batch N"
        return
    if terms.pace is None:
        lacks = [
            flag
            for flag, lacking in (
                ("--device NAME", "device" in unknown),
                ("--devices N", terms.devices is None),
                ("--batch N", terms.full_batch is None),
            )
            if lacking
        ]
        observed = f", or, to predict it, {' and '.join(lacks)}" if lacks and train else ""
        observed += "" if train else "; tcalc serve predicts it"
        if run.device_hours:
            observed += f", or what was published, --device-hours {run.device_hours:,}"
        elif run.days:
            observed += f", or what was published, --days {run.days:g}"
        about = f" ({why})" if why else ""
        unknown["time"] = f"how fast it runs is unknown{about}: --mfu, as in --mfu 0.4{observed}"


def _usd(price: float) -> str:
    return f"{price:,.2f}" if price == round(price, 2) else f"{price:,.6g}"


def _note(text: str) -> str:
    return f" ({text})" if text else ""


# --- what stands beside the costs -----------------------------------------------------------------------------


def _six_nd(
    graph: Graph,
    active: int,
    tokens: int | None,
    plan: Training | Plan,
    cost: Cost,
    pace: tuple[str, float] | None,
) -> SixND:
    """The rule of thumb; with full recomputation the forward pass is counted twice (Megatron-LM, 2104.04473, eq. 4)."""
    halved = "decoder" in graph.orders and "encoder" in graph.orders
    train = isinstance(plan, Training)
    passes = 3 if train else 1
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


def _published(work: Work, terms: Terms, run: TrainingRun, device: Device | None, plan: Training | Plan) -> Cost | None:
    """What the published times mean, at the same prices; None where no time was published."""
    if run.device_hours:
        pace = ("device_hours", float(run.device_hours))
    elif run.days and run.devices:
        pace = ("days", float(run.days))
    elif run.tflops_per_device:
        pace = ("tflops", run.tflops_per_device)
    else:
        return None
    peak = device.peak(budget.compute_type(plan)) if device else None
    return budget.cost(work, terms._replace(tokens=run.whole, devices=run.devices, peak=peak, pace=pace))


def learning_rate(run: TrainingRun, asked: Asked, full: int | None = None) -> LearningRate | None:
    """The learning rate's way: as published, with what is asked otherwise; None where it is unknown."""
    peak = asked.learning_rate or run.learning_rate
    schedule = asked.schedule or run.schedule
    if peak is None:
        for flag, value in (
            ("--lr-schedule", asked.schedule),
            ("--min-lr", asked.min_learning_rate),
            ("--warmup", asked.warmup),
            ("--decay", asked.decay),
        ):
            if value is not None:
                raise InputError(f"{flag} is given, but no learning rate is known", "--lr RATE")
        return None
    if not schedule:
        return None
    other = asked.schedule is not None and asked.schedule != run.schedule
    warmup, decay = asked.warmup, asked.decay
    for flag, span in (("--warmup", warmup), ("--decay", decay)):
        if span and full and span.unit == "tokens" and span.amount < full:
            raise InputError(
                f"{flag} is {span.amount:,} tokens, fewer than the {full:,} of a step; expected more, or steps",
                hint=f"{flag} {span.amount}steps",
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


def compute_optimal(found: Reckoning) -> tuple[list[scaling.Optimum], list[scaling.Predicted]]:
    """How far the run is from the best by the published fits; empty where its tokens are unknown."""
    if found.tokens is None or not isinstance(found.plan, Training) or found.plan.lora:
        return [], []
    return scaling.optima(found.six_nd.params, found.tokens), scaling.predicted(found.six_nd.params, found.tokens)

"""The report of `tcalc cost`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transformer_calc import units
from transformer_calc.errors import as_options
from transformer_calc.plan import Training
from transformer_calc.report import Column, Facts, Plot, Report, Section, Table, Text
from transformer_calc.report.common import of_checkpoint, rests_on
from transformer_calc.report.memory import devices_of

if TYPE_CHECKING:
    from transformer_calc.readings.cost.reckoning import Reckoning

ANSWERS = (  # key of the cost, what people call it, and its unit
    ("days", "wall-clock time", "days"),
    ("device_hours", "device-hours", "hours"),
    ("usd", "dollars", "USD"),
    ("kwh", "energy", "kWh"),
    ("tco2e", "carbon", "t CO2e"),
    ("flops", "FLOPs of the model", "FLOP"),
    ("hardware_flops", "FLOPs with recomputation", "FLOP"),
    ("tokens_per_second", "tokens per second", "1/s"),
    ("step_seconds", "a step in full", "seconds"),
    ("mfu", "MFU", "of the peak"),
    ("hfu", "HFU", "of the peak"),
)
PLANNED = ("zero", "micro_batch", "schedule", "virtual", "recompute", "attention", "precision", "optimizer")
FIRST = ("days", "device_hours", "usd", "kwh", "tco2e")  # answers that a published time gives, too
SHOWN = (Column("what", "", "text"), Column("value", "", "text"), Column("rests_on", "rests on", "text", 1))
BESIDE = Column("published", "published", "text", 2)
RAW = (
    Column("what", "what", "text"),
    Column("value", "value", "text"),
    Column("unit", "unit", "text"),
    Column("rests_on", "rests on", "text"),
)
COMPARED = (
    Column("what", "published run", "text"),
    Column("published", "published", "number"),
    Column("predicted", "predicted", "number"),
    Column("difference", "difference", "number", 1),
)
PARTS = (Column("what", "a step goes to", "text"), Column("seconds", "", "seconds"), Column("share", "share", "share"))
OPTIMA = (
    Column("name", "compute-optimal by", "text"),
    Column("tokens", "tokens for this size", "number"),
    Column("ratio", "this run", "number"),
    Column("params", "size for this compute", "number", 1),
    Column("params_tokens", "its tokens", "number", 2),
    Column("source", "source", "text", 3),
)


def build(found: Reckoning) -> Report:
    """What a run costs, what that rests on, and what stands beside it."""
    train = isinstance(found.plan, Training)
    assumptions, basis = rests_on(found.assumptions)
    unknown = {name: as_options(one.text) for name, one in found.unknown.items()}
    rows = _rows(found)
    data: dict[str, Any] = {
        "cost": found.cost._asdict(),
        "mode": "train" if train else "infer",
        "tokens": found.tokens,
        "steps": found.steps,
        "batch_tokens": found.batch_tokens,
        "mean_step_seconds": found.mean_step_seconds,
        "flops_per_token": found.flops_per_token,
        "devices": found.terms.devices,
        "device": found.device and {"name": found.device.name, "peak_flops": found.terms.peak},
        "price": found.price and found.price.to_dict(),
        "six_nd": found.six_nd._asdict(),
        "unknown": unknown,
        "assumptions": assumptions,
    }
    data |= _plan(found)
    lines = (*of_checkpoint(found.assumptions), *_facts(found))
    sections: list[Section] = [_answers(found, rows)]
    sections += [Facts("", lines)] if lines else []
    sections += [Text("\n".join(unknown.values()))] if unknown else []
    if train:
        data["published"], compared = _compared(found)
        sections += compared
        data["step"], parts = _step(found)
        sections += parts
        optimal, shown = _optimal(found)
        data |= optimal
        sections += shown
        data["checkpoint"], kept = _checkpoint(found)
        data["schedule"], drawn = _schedule(found)
        sections += [kept, *drawn]
    if found.serving:
        data["serving"] = found.serving._asdict()
        served = [(name, _person(key, getattr(found.serving, key)), "text") for key, name, _ in ANSWERS[:6]]
        title = f"serving {found.assumptions['serving'].value:,} tokens"
        sections.append(Facts(title, tuple(served)))  # type: ignore[arg-type]
    main = Table("cost", RAW, tuple(rows))
    return Report("cost", found.model, found.workload, data, (*sections, basis), main)


def _title(found: Reckoning) -> str:
    verb = "training" if isinstance(found.plan, Training) else "serving"
    word = "on" if verb == "training" else "of"
    of = f" {word} {found.tokens:,} tokens" if found.tokens is not None else ""
    where = ""
    if found.device:
        count = f"{found.terms.devices:,} × " if found.terms.devices else ""
        where = f", {count}{found.device.title or found.device.name}"
    return f"{found.title}: {verb}{of}{where}"


def _rows(found: Reckoning) -> list[dict[str, Any]]:
    """An answer a row, raw: what it is, and what it rests on, or why it is unknown."""
    rows = []
    for key, name, unit in ANSWERS:
        value = getattr(found.cost, key)
        if key == "hardware_flops" and value == found.cost.flops:
            continue
        if value is None:
            about = f"needs {found.needed(key)}"
        else:
            about = ", ".join(map(found.briefly, found.rests_on(key)))
        rows.append({"key": key, "what": name, "value": value, "unit": unit, "rests_on": as_options(about)})
    return rows


def _answers(found: Reckoning, rows: list[dict[str, Any]]) -> Table:
    """The answers, with the devices and the steps that they are made of; published ones beside them."""
    then = None if found.model["changes"] else found.published
    shown = []
    for row in rows:
        key = row["key"]
        published = getattr(then, key) if then and key in FIRST else None
        shown.append({**_seen(row), "published": "" if published is None else _person(key, published)})
        if key == "days" and found.steps is not None:
            shown.append({"what": "steps", "value": f"{found.steps:,}", "published": "", "rests_on": _stepped(found)})
    if found.device and found.terms.devices:
        origin = as_options(found.assumptions["devices"].source)
        origin = "as in " + origin if origin.startswith("the published") else origin
        used = {"what": "devices", "value": f"{found.terms.devices:,}", "published": ""}
        shown.insert(0, used | {"rests_on": f"{found.device.title or found.device.name}, {origin}"})
    if then is None:
        return Table(_title(found), SHOWN, tuple(shown))
    caption = "Published: as it was, or what follows from its time at the same prices and power; more below."
    return Table(_title(found), (*SHOWN[:2], BESIDE, SHOWN[2]), tuple(shown), caption=caption)


def _stepped(found: Reckoning) -> str:
    """How the steps make up the time."""
    mean, ramp = found.mean_step_seconds, found.ramp
    if mean is None:
        return f"{found.batch_tokens:,} tokens each in full"
    days = _person("days", found.cost.days)
    if ramp is None or len(ramp.points) == 1:
        return f"{units.format_seconds(mean)} each, in all {days}"
    grown = units.format_count(ramp.points[-1][0])
    each = f"{units.format_seconds(mean)} each on average, in all {days}"
    return f"{each}: shorter while the batch grows, for {grown} tokens"


def _seen(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "value": _person(row["key"], row["value"])}


def _person(key: str, value: Any) -> str:
    """A cost as people read it."""
    if value is None:
        return "unknown"
    return WRITTEN.get(key, units.format_digits)(value)


WRITTEN: dict[str, Callable[[Any], str]] = {
    "days": units.format_days,
    "usd": lambda value: f"${value:,.2f}" if value < 1000 else f"${value:,.0f}",
    "kwh": lambda value: units.format_thousands(value, "kWh", "MWh"),
    "tco2e": units.format_carbon,
    "flops": lambda value: f"{value:.3e}",
    "hardware_flops": lambda value: f"{value:.3e}",
    "step_seconds": units.format_seconds,
    "mfu": lambda value: f"{value:.1%}",
    "hfu": lambda value: f"{value:.1%}",
}


def _plan(found: Reckoning) -> dict[str, Any]:
    """The plan that was timed, whether memory holds it, and among how many it was found."""
    predicted = found.predicted
    data: dict[str, Any] = dict.fromkeys(("plan", "memory", "fits", "searched", "fitting"))
    if not predicted or found.memory is None:
        return data | {"fits": found.fits}
    how = predicted.plan
    of_plan = {name: getattr(how, name) for name in PLANNED}
    memory = {"per_device": found.memory.to_dict(), "fits": found.fits}
    ways = {name: getattr(how.mesh, name) for name in ("tp", "pp", "dp", "cp", "ep", "sp")}
    tried = {"searched": predicted.searched, "fitting": predicted.fitting}
    return data | {"plan": ways | of_plan, "memory": memory, "fits": found.fits} | tried


def _planned(found: Reckoning) -> list[Any]:
    """For people: the plan in a few words."""
    predicted = found.predicted
    if not predicted:
        held = found.assumptions.get("memory")
        return [("memory", held.text, "text")] if held else []
    mesh = devices_of(predicted.plan.mesh).partition("(")[2].rstrip(")") or "1 device"
    among = f"the fastest of {predicted.searched:,} tried that fits"
    if predicted.fits is False:
        among = "does not fit: the time is what it would be"
    elif predicted.searched == 1:
        among = "as given"
    return [("plan", f"{mesh}: {among}", "text")]


def _facts(found: Reckoning) -> list[Any]:
    rule = found.six_nd
    lines: list[Any] = _planned(found)
    if found.tokens is not None:
        lines.append(("tokens", f"{found.tokens:,}", "text"))
    if found.steps is not None:
        lines.append(("batch in full", f"{found.batch_tokens:,} tokens", "text"))
    if rule.flops is not None:
        days = f", {_person('days', rule.days)}" if rule.days is not None else ""
        lines.append((rule.rule, f"{rule.flops:.3e}, {units.format_digits(rule.pf_days or 0)} PF-days{days}", "text"))
    return lines


def _compared(found: Reckoning) -> tuple[dict[str, Any] | None, list[Section]]:
    """The published figures, and what they mean, beside the predicted ones."""
    if not found.compared:
        return None, []
    shown = tuple(
        {
            "what": one.name if one.given else f"  {one.name}",
            "published": _person(one.what, one.published),
            "predicted": _person(one.what, one.predicted),
            "difference": "" if one.difference is None else f"{one.difference:+.1%}",
        }
        for one in found.compared
    )
    source = found.published_source
    lines = [
        {name: getattr(one, name) for name in ("what", "published", "given", "predicted", "difference")}
        for one in found.compared
    ]
    caption = f"Indented: what follows from the published time, here. {source}"
    return {"source": source, "figures": lines}, [Table("", COMPARED, shown, caption=caption)]


def _step(found: Reckoning) -> tuple[dict[str, Any] | None, list[Section]]:
    """What a predicted step's seconds go to."""
    if not found.predicted:
        return None, []
    parts, batch = found.predicted.parts, found.predicted.batch
    whole = found.predicted.seconds
    ordered = sorted(parts, key=lambda part: -part[1])
    rows = tuple({"what": what, "seconds": seconds, "share": seconds / whole} for what, seconds in ordered)
    total = {"what": f"total, of {batch:,} {'sequence' if batch == 1 else 'sequences'}", "seconds": whole, "share": 1.0}
    return {"sequences": batch, "seconds": whole, "parts": dict(parts)}, [Table("", PARTS, rows, total)]


def _optimal(found: Reckoning) -> tuple[dict[str, Any], list[Section]]:
    """How far the run is from compute-optimal."""
    best, losses, each = found.optima, found.losses, found.tokens_per_parameter
    if not best or each is None:
        return {"compute_optimal": None}, []
    shown = tuple(
        {
            "name": fit.name,
            "tokens": units.format_count(fit.tokens),
            "ratio": f"{fit.ratio:.2f} times",
            "params": units.format_count(fit.params),
            "params_tokens": units.format_count(fit.params_tokens),
            "source": fit.source,
        }
        for fit in best
    )
    told = "; ".join(
        f"{law.loss:.3f} by {law.name}, {law.above:.3f} above the best of the same compute" for law in losses
    )
    caption = f"{each:,.1f} tokens a parameter. Compute is 6·N·tokens, as in the papers. Predicted loss, nats: {told}"
    data = {
        "tokens_per_parameter": each,
        "convention": "compute is 6·N·tokens, N the active parameters with embeddings",
        "fits": [fit._asdict() for fit in best],
        "losses": [law._asdict() for law in losses],
    }
    return {"compute_optimal": data}, [Table("", OPTIMA, shown, caption=caption)]


def _checkpoint(found: Reckoning) -> tuple[dict[str, int], Section]:
    """The sizes of checkpoints."""
    assert isinstance(found.plan, Training)
    assert found.checkpoint
    lines: tuple[Any, ...] = (
        ("weights in bf16", found.checkpoint.weights, "bytes"),
        (f"to go on from ({found.plan.precision}, {found.plan.optimizer})", found.checkpoint.full, "bytes"),
    )
    return found.checkpoint._asdict(), Facts("a checkpoint", lines)


def _schedule(found: Reckoning) -> tuple[dict[str, Any] | None, list[Section]]:
    """The learning rate and the batch from step to step."""
    ramp, rate, curve = found.ramp, found.rate, found.curve
    if not curve or ramp is None:
        return None, []
    data: dict[str, Any] = {
        "learning_rate": None
        if rate is None
        else {
            "schedule": rate.schedule,
            "peak": rate.peak,
            "min": rate.floor,
            "warmup": rate.warmup and rate.warmup._asdict(),
            "decay": rate.decay and rate.decay._asdict(),
            "hold_steps": rate.hold,
        },
        "batch_ramp": {"growth": ramp.growth, "points": [list(point) for point in ramp.points]},
        "points": [point._asdict() for point in curve],
    }
    ends = ("step 0", f"{found.steps:,}")
    drawn: list[Section] = []
    if rate is not None:
        line = tuple((float(point.step), point.learning_rate or 0.0) for point in curve)
        drawn.append(Plot(_rate_title(rate), line, ends, (f"{rate.peak:.3g}", "0")))
    if len(ramp.points) > 1:
        batches = tuple((float(point.step), float(point.batch_tokens)) for point in curve)
        top = units.format_count(found.largest_batch_tokens)
        drawn.append(Plot("batch, tokens", batches, ends, (top, "0"), "steps" if ramp.growth == "steps" else "linear"))
    return data, drawn


def _rate_title(rate: Any) -> str:
    parts = [f"learning rate: {rate.schedule}"]
    if rate.warmup:
        parts.append(f"warm-up of {units.format_count(rate.warmup.amount)} {rate.warmup.unit}")
    if rate.hold:
        parts.append(f"{rate.hold:,} steps at the peak")
    if rate.decay:
        parts.append(f"decay over {units.format_count(rate.decay.amount)} {rate.decay.unit}")
    if rate.schedule in ("cosine", "linear", "wsd"):
        parts.append(f"to {rate.floor:.3g}")
    return ", ".join(parts)

"""The report of `tcalc cost`."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from transformer_calc import units
from transformer_calc.answer import Assumption
from transformer_calc.errors import InputError
from transformer_calc.plan import Training
from transformer_calc.readings.cost import budget, reckoning
from transformer_calc.readings.cost.budget import Cost
from transformer_calc.readings.cost.reckoning import Reckoning
from transformer_calc.readings.cost.schedules import Span, points
from transformer_calc.readings.memory.assumed import stored_beside
from transformer_calc.readings.memory.fit import least_bytes
from transformer_calc.readings.memory.training import idle_selective
from transformer_calc.report import Column, Facts, Plot, Report, Section, Table, Text
from transformer_calc.report.common import of_checkpoint, rests_on
from transformer_calc.report.memory import devices_of

if TYPE_CHECKING:
    from transformer_calc.api import Transformer

ANSWERS = (
    # key of the cost, what people call it, its unit, and what it rests on beside the counted FLOPs
    ("days", "wall-clock time", "days", ("time", "devices", "tokens")),
    ("device_hours", "device-hours", "hours", ("time", "tokens")),
    ("usd", "dollars", "USD", ("time", "tokens", "price")),
    ("kwh", "energy", "kWh", ("time", "tokens", "power", "PUE")),
    ("tco2e", "carbon", "t CO2e", ("time", "tokens", "power", "PUE", "carbon")),
    ("flops", "FLOPs of the model", "FLOP", ("tokens",)),
    ("hardware_flops", "FLOPs with recomputation", "FLOP", ("tokens", "hardware FLOPs")),
    ("tokens_per_second", "tokens per second", "1/s", ("time", "devices")),
    ("step_seconds", "a step in full", "seconds", ("time", "devices", "batch")),
    ("mfu", "MFU", "of the peak", ("time", "peak")),
    ("hfu", "HFU", "of the peak", ("time", "peak")),
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


def build(
    model: Transformer, sizes: dict[str, int], plan: Any, given: frozenset[str] = frozenset(), **asked: Any
) -> Report:
    """What a run costs, what that rests on, and what stands beside it.

    sizes: those of the workload that were given; plan, given, asked: see `Transformer.cost`; warmup and decay are
    pairs of an amount and tokens or steps
    """
    everything: dict[str, Any] = {**sizes, **asked}
    everything |= {name: Span(*asked[name]) for name in ("warmup", "decay") if asked.get(name)}
    if asked.get("serve_tokens") and not isinstance(plan, Training):
        message = f"--serve-tokens is {asked['serve_tokens']:,}, but --mode is infer: there it is --tokens"
        raise InputError(message, "--tokens N")
    found = model.cost(plan=plan, given=given, **everything)
    long = "; ".join(model.beyond(found.workload))
    found.assumptions.update(({"length": long} if long else {}) | _without_effect(model, found, given))
    found.assumptions.update(_beyond_memory(model, found))
    stored = stored_beside(found.plan, model.checkpoint, model.further)
    assumptions, basis = rests_on(stored | {name: Assumption(text) for name, text in found.assumptions.items()})
    train = isinstance(found.plan, Training)
    rows = _rows(found)
    data: dict[str, Any] = {
        "cost": found.cost._asdict(),
        "mode": "train" if train else "infer",
        "tokens": found.tokens,
        "steps": found.steps,
        "batch_tokens": found.batch_tokens,
        "mean_step_seconds": mean_step(found),
        "flops_per_token": _per(found.work.model, found.work.tokens),
        "devices": found.terms.devices,
        "device": found.device and {"name": found.device.name, "peak_flops": found.terms.peak},
        "price": found.price and found.price.to_dict(),
        "six_nd": found.six_nd._asdict(),
        "unknown": found.unknown,
        "assumptions": assumptions,
    }
    data |= _plan(model, found)
    facts = _facts(found)
    facts = facts._replace(items=(*of_checkpoint(stored), *facts.items))
    sections: list[Section] = [_answers(model, found, rows)]
    sections += [facts] if facts.items else []
    sections += [Text("\n".join(found.unknown.values()))] if found.unknown else []
    if train:
        data["published"], compared = _compared(model, found)
        sections += compared
        data["step"], parts = _step(found)
        sections += parts
        optimal, shown = _optimal(found)
        data |= optimal
        sections += shown
        data["checkpoint"], kept = _checkpoint(model, found)
        data["schedule"], drawn = _schedule(found)
        sections += [kept, *drawn]
    if found.serving:
        data["serving"] = found.serving._asdict()
        lines: list[Any] = [(name, _person(key, getattr(found.serving, key)), "text") for key, name, *_ in ANSWERS[:6]]
        sections.append(Facts(f"serving {asked['serve_tokens']:,} tokens", tuple(lines)))
    sections.append(basis)
    main = Table("cost", RAW, tuple(rows))
    return Report("cost", model.describe(), found.workload.to_dict(), data, tuple(sections), main)


OF_MEMORY = ("kernels", "recompute_every", "bucket_size", "prefetch", "ddp_buckets", "buffer", "lora_dropout")


def _without_effect(model: Transformer, found: Reckoning, given: frozenset[str]) -> dict[str, str]:
    """What is asked for and changes no time: said, so that nobody reads a difference out of it."""
    if not isinstance(found.plan, Training):
        return {}
    said = {}
    flags = [f"--{name.replace('_', '-')}" for name in OF_MEMORY if name in given]
    if flags:
        verb = "changes" if len(flags) == 1 else "change"
        said["memory alone"] = f"{' and '.join(flags)} {verb} what memory holds, not the time of a step"
    if found.predicted and (why := idle_selective(found.plan)):
        said["selective recomputation"] = f"{why}; HFU counts the attention core once more all the same"
        model.remark(f"selective recomputation {said['selective recomputation']}")
    if flags:
        model.remark(said["memory alone"])
    return said


def _per(flops: int, tokens: int) -> int | float:
    return flops / tokens if flops % tokens else flops // tokens


def _title(model: Transformer, found: Reckoning) -> str:
    verb = "training" if isinstance(found.plan, Training) else "serving"
    word = "on" if verb == "training" else "of"
    of = f" {word} {found.tokens:,} tokens" if found.tokens is not None else ""
    where = ""
    if found.device:
        count = f"{found.terms.devices:,} × " if found.terms.devices else ""
        where = f", {count}{found.device.title or found.device.name}"
    return f"{model.title}: {verb}{of}{where}"


def _rows(found: Reckoning) -> list[dict[str, Any]]:
    """An answer a row, raw: what it is, and what it rests on, or why it is unknown."""
    rows = []
    for key, name, unit, rests in ANSWERS:
        value = getattr(found.cost, key)
        if key == "hardware_flops" and value == found.cost.flops:
            continue
        if value is None:
            about = f"needs {_needed(found, key)}"
        else:
            told = [each for each in rests if each in found.assumptions and (each, rests[0]) != ("tokens", "time")]
            about = ", ".join(briefly(found, each) for each in told)  # how many tokens stands in the title
        rows.append({"key": key, "what": name, "value": value, "unit": unit, "rests_on": about})
    return rows


def _answers(model: Transformer, found: Reckoning, rows: list[dict[str, Any]]) -> Table:
    """The answers, with the devices and the steps that they are made of; published ones beside them."""
    then = None if model.changes else found.published
    shown = []
    for row in rows:
        key = row["key"]
        published = getattr(then, key) if then and key in FIRST else None
        shown.append({**_seen(row), "published": "" if published is None else _person(key, published)})
        if key == "days" and found.steps is not None:
            shown.append({"what": "steps", "value": f"{found.steps:,}", "published": "", "rests_on": _stepped(found)})
    if found.device and found.terms.devices:
        origin = found.assumptions["devices"].partition("(")[2].rstrip(")")
        origin = "as in " + origin if origin.startswith("the published") else origin
        used = {"what": "devices", "value": f"{found.terms.devices:,}", "published": ""}
        shown.insert(0, used | {"rests_on": f"{found.device.title or found.device.name}, {origin}"})
    if then is None:
        return Table(_title(model, found), SHOWN, tuple(shown))
    caption = "Published: as it was, or what follows from its time at the same prices and power; more below."
    return Table(_title(model, found), (*SHOWN[:2], BESIDE, SHOWN[2]), tuple(shown), caption=caption)


def mean_step(found: Reckoning) -> float | None:
    """Seconds of a step on average, the smaller ones of a batch that grows included."""
    if found.cost.days is None or not found.steps:
        return None
    return found.cost.days * budget.DAY / found.steps


def _stepped(found: Reckoning) -> str:
    """How the steps make up the time."""
    mean, ramp = mean_step(found), found.ramp
    if mean is None:
        return f"{found.batch_tokens:,} tokens each in full"
    days = _person("days", found.cost.days)
    if ramp is None or len(ramp.points) == 1:
        return f"{units.format_seconds(mean)} each, in all {days}"
    grown = units.format_count(ramp.points[-1][0])
    each = f"{units.format_seconds(mean)} each on average, in all {days}"
    return f"{each}: shorter while the batch grows, for {grown} tokens"


def _needed(found: Reckoning, key: str) -> str:
    """What would make an unknown answer known, in words: a time is predicted, or given."""
    flags = needs(found, key)
    predicts = [f"--{name}" for name in ("devices", "batch") if name in found.unknown]
    if isinstance(found.plan, Training) and "--mfu" in flags and "device" in found.unknown:
        # its peak is what an MFU is a part of, and what a step is predicted from
        flags = [flag for flag in flags if flag != "--device"]
        flags[flags.index("--mfu") : flags.index("--mfu") + 1] = ["--device", *(["--mfu"] if predicts else [])]
    if isinstance(found.plan, Training) and "--mfu" in flags and predicts:
        flags = [flag for flag in flags if flag not in ("--mfu", *predicts)]
        if "--devices" in predicts and key in ("days", "tokens_per_second", "step_seconds"):
            flags += ["--devices", *(["--batch or --mfu"] if "--batch" in predicts else [])]
        else:
            flags.append(f"{' and '.join(predicts)}, or --mfu")
    return ", ".join(flags)


def needs(found: Reckoning, key: str) -> list[str]:
    """The options that would make an unknown answer known."""
    rests = next(rests for name, _, _, rests in ANSWERS if name == key)
    missing = [found.unknown[each] for each in rests if each in found.unknown]
    flags = [flag[1] for flag in (re.search(r": (--[a-z-]+)", why) for why in missing) if flag]
    return list(dict.fromkeys(flags))


def briefly(found: Reckoning, assumption: str) -> str:
    """An assumption in a few words: it is written out below."""
    text = found.assumptions[assumption].partition(" (")[0].partition(";")[0].partition(":")[0]
    if assumption == "time":
        return text.partition(",")[0] if text.startswith(("MFU", "HFU")) else text
    if assumption == "price" and found.price:
        return f"{text}: {found.price.briefly}"
    devices = "1 device" if text == "1" else f"{text} devices"
    return {"devices": devices, "tokens": f"{text} tokens", "PUE": f"PUE {text}"}.get(assumption, text)


def _seen(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "value": _person(row["key"], row["value"])}


def _person(key: str, value: Any) -> str:
    """A cost as people read it."""
    if value is None:
        return "unknown"
    match key:
        case "days":
            for unit, of_day in (("days", 1), ("hours", 24), ("minutes", 24 * 60)):
                if value * of_day >= 1:
                    return f"{_digits(value * of_day)} {unit}"
            return f"{_digits(value * budget.DAY)} seconds"
        case "usd":
            return f"${value:,.2f}" if value < 1000 else f"${value:,.0f}"
        case "kwh":
            return f"{_digits(value / 1000)} MWh" if value >= 1000 else f"{_digits(value)} kWh"
        case "tco2e":
            return f"{_digits(value)} t CO₂e" if value >= 1 else f"{_digits(value * 1000)} kg CO₂e"
        case "flops" | "hardware_flops":
            return f"{value:.3e}"
        case "step_seconds":
            return units.format_seconds(value)
        case "mfu" | "hfu":
            return f"{value:.1%}"
    return _digits(value)


def _digits(value: float) -> str:
    """Three digits at least."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 99.95 else f"{value:#.3g}"


def _plan(model: Transformer, found: Reckoning) -> dict[str, Any]:
    """The plan that was timed, whether memory holds it, and among how many it was found."""
    predicted, device = found.predicted, found.device
    data: dict[str, Any] = dict.fromkeys(("plan", "memory", "fits", "searched", "fitting"))
    if not predicted or not device:
        return data | ({"fits": False} if "memory" in found.assumptions else {})
    how = predicted.plan
    held = model.held(replace(found.workload, batch=predicted.batch), how).fullest.bytes.to_dict()
    of_plan = {name: getattr(how, name) for name in PLANNED}
    memory = {"per_device": held, "fits": predicted.fits}
    ways = {name: getattr(how.mesh, name) for name in ("tp", "pp", "dp", "cp", "ep", "sp")}
    tried = {"searched": predicted.searched, "fitting": predicted.fitting}
    return data | {"plan": ways | of_plan, "memory": memory, "fits": predicted.fits} | tried


def _beyond_memory(model: Transformer, found: Reckoning) -> dict[str, str]:
    """That the devices cannot hold the model however it is spread, where a time is given: it would not run there."""
    device, devices = found.device, found.terms.devices
    if found.predicted or not found.terms.pace or not device or not devices or not device.memory_bytes:
        return {}
    needs, room = least_bytes(model.subject(), found.plan), devices * device.memory_bytes
    if needs <= room:
        return {}
    what = "weights, gradients and states" if isinstance(found.plan, Training) else "weights"
    of = f"{devices:,} {'device has' if devices == 1 else 'devices have'} {units.format_bytes(room)}"
    said = f"does not fit: {what} take {units.format_bytes(needs)}, {of}; the cost is what it would be"
    model.remark(f"it {said}")
    return {"memory": said}


def _planned(found: Reckoning) -> list[Any]:
    """For people: the plan in a few words."""
    predicted = found.predicted
    if not predicted:
        return [("memory", found.assumptions["memory"], "text")] if "memory" in found.assumptions else []
    mesh = devices_of(predicted.plan.mesh).partition("(")[2].rstrip(")") or "1 device"
    among = f"the fastest of {predicted.searched:,} tried that fits"
    if predicted.fits is False:
        among = "does not fit: the time is what it would be"
    elif predicted.searched == 1:
        among = "as given"
    return [("plan", f"{mesh}: {among}", "text")]


def _facts(found: Reckoning) -> Facts:
    rule = found.six_nd
    lines: list[Any] = _planned(found)
    if found.tokens is not None:
        lines.append(("tokens", f"{found.tokens:,}", "text"))
    if found.steps is not None:
        lines.append(("batch in full", f"{found.batch_tokens:,} tokens", "text"))
    if rule.flops is not None:
        days = f", {_person('days', rule.days)}" if rule.days is not None else ""
        lines.append((rule.rule, f"{rule.flops:.3e}, {_digits(rule.pf_days or 0)} PF-days{days}", "text"))
    return Facts("", tuple(lines))


def _compared(model: Transformer, found: Reckoning) -> tuple[dict[str, Any] | None, list[Section]]:
    """The published figures, and what they mean, beside the predicted ones."""
    run, then = model.run, found.published
    if then is None or model.changes:
        return None, []
    same = found.terms.devices == run.devices
    pairs: list[tuple[str, str, float | None, float | None]] = [
        ("device_hours", "device-hours", then.device_hours, found.cost.device_hours),
        ("days", "wall-clock time", run.days, found.cost.days if same else None),
        ("tflops", "TFLOP/s of a device", run.tflops_per_device or _tflops(found, then), _tflops(found, found.cost)),
        ("mfu", "MFU", then.mfu, found.cost.mfu),
        ("kwh", "energy", then.kwh, found.cost.kwh),
        ("tco2e", "carbon", then.tco2e, found.cost.tco2e),
        ("usd", "dollars", then.usd, found.cost.usd),
        ("steps", "steps", run.steps, found.steps),
    ]
    direct = {"device_hours": run.device_hours, "days": run.days, "tflops": run.tflops_per_device, "steps": run.steps}
    lines: list[dict[str, Any]] = []
    for key, name, published, predicted in pairs:
        if published is None:
            continue
        difference = None if predicted is None or not published else predicted / published - 1
        lines.append(
            {
                "what": key,
                "name": name if direct.get(key) else f"  {name}",
                "published": published,
                "given": bool(direct.get(key)),
                "predicted": predicted,
                "difference": difference,
            }
        )
    shown = tuple(
        {
            "what": line["name"],
            "published": _person(line["what"], line["published"]),
            "predicted": _person(line["what"], line["predicted"]),
            "difference": "" if line["difference"] is None else f"{line['difference']:+.1%}",
        }
        for line in lines
    )
    caption = f"Indented: what follows from the published time, here. {run.source}"
    figures = {"source": run.source, "figures": [{k: v for k, v in line.items() if k != "name"} for line in lines]}
    return figures, [Table("", COMPARED, shown, caption=caption)]


def _step(found: Reckoning) -> tuple[dict[str, Any] | None, list[Section]]:
    """What a predicted step's seconds go to."""
    if not found.predicted:
        return None, []
    parts, batch = found.predicted.parts, found.predicted.batch
    whole = sum(seconds for _, seconds in parts)
    ordered = sorted(parts, key=lambda part: -part[1])
    rows = tuple({"what": what, "seconds": seconds, "share": seconds / whole} for what, seconds in ordered)
    total = {"what": f"total, of {batch:,} {'sequence' if batch == 1 else 'sequences'}", "seconds": whole, "share": 1.0}
    return {"sequences": batch, "seconds": whole, "parts": dict(parts)}, [Table("", PARTS, rows, total)]


def _tflops(found: Reckoning, cost: Cost) -> float | None:
    """What a device achieves, with what is computed again."""
    peak = found.terms.peak
    return None if cost.hfu is None or peak is None else cost.hfu * peak / budget.TERA


def _optimal(found: Reckoning) -> tuple[dict[str, Any], list[Section]]:
    """How far the run is from compute-optimal."""
    best, losses = reckoning.compute_optimal(found)
    if not best or found.tokens is None:
        return {"compute_optimal": None}, []
    each = found.tokens / found.six_nd.params
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
        f"{law.loss:.3f} by {law.name}, {law.loss - law.best:.3f} above the best of the same compute" for law in losses
    )
    caption = f"{each:,.1f} tokens a parameter. Compute is 6·N·tokens, as in the papers. Predicted loss, nats: {told}"
    data = {
        "tokens_per_parameter": each,
        "convention": "compute is 6·N·tokens, N the active parameters with embeddings",
        "fits": [fit._asdict() for fit in best],
        "losses": [law._asdict() for law in losses],
    }
    return {"compute_optimal": data}, [Table("", OPTIMA, shown, caption=caption)]


def _checkpoint(model: Transformer, found: Reckoning) -> tuple[dict[str, int], Section]:
    """The sizes of checkpoints."""
    assert isinstance(found.plan, Training)
    sizes = budget.checkpoint(model.graph, model.graph.sizes(found.workload), found.plan)
    lines: tuple[Any, ...] = (
        ("weights in bf16", sizes.weights, "bytes"),
        (f"to go on from ({found.plan.precision}, {found.plan.optimizer})", sizes.full, "bytes"),
    )
    return sizes._asdict(), Facts("a checkpoint", lines)


def _schedule(found: Reckoning) -> tuple[dict[str, Any] | None, list[Section]]:
    """The learning rate and the batch from step to step."""
    ramp, rate = found.ramp, found.rate
    if ramp is None or found.tokens is None or found.steps is None:
        return None, []
    curve = points(ramp, rate, found.tokens)
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
        top = units.format_count(max(point.batch_tokens for point in curve))
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

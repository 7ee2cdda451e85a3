"""What a run costs: time, money, energy and carbon from counted FLOPs and what is assumed of the devices.

Everything follows from two rates, seconds a token and device-seconds a token, of which any observation or assumption
gives one and the number of devices the other. What would need an unknown is None, never a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformer_calc.answer import Assumption
from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph, Sizes
from transformer_calc.plan import Serving, Training
from transformer_calc.readings.count import lora, tuning
from transformer_calc.readings.count.flops import rows, totals
from transformer_calc.readings.count.params import components
from transformer_calc.readings.memory.training import state_bytes
from transformer_calc.storage import precision, storage
from transformer_calc.tuples import NamedTuple

if TYPE_CHECKING:
    from transformer_calc.facts import Device
    from transformer_calc.readings.time import planner

TERA = 10**12
HOUR, DAY = 3600, 86_400  # seconds

# What may be assumed or observed of a run's time, with the flag's unit in words. The first three are rates of FLOPs,
# so that time is proportional to the count.
PACES = {
    "mfu": "the model's FLOPs as a part of the devices' peak",
    "hfu": "the model's and recomputed FLOPs as a part of the devices' peak",
    "tflops": "hardware TFLOP/s of a device",
    "step_seconds": "seconds of a step of the full batch",
    "tokens_per_second": "tokens per second of all devices",
    "device_hours": "device-hours of the whole run",
    "days": "days of the whole run",
}
UNITS = {
    "tflops": "TFLOP/s",
    "step_seconds": "s",
    "tokens_per_second": "1/s",
    "device_hours": "h",
    "days": "d",
} | dict.fromkeys(("mfu", "hfu"), "")
OF_FLOPS = ("mfu", "hfu", "tflops")


class Work(NamedTuple):
    """Matmul FLOPs of one batch: of the model, and with what is computed again."""

    tokens: int
    model: int
    hardware: int

    def of(self, tokens: int) -> int:
        """The model's FLOPs for so many tokens, at this batch's length of a sequence."""
        return self.model * tokens // self.tokens

    def hardware_of(self, tokens: int) -> int:
        """The same with what is computed again."""
        return self.hardware * tokens // self.tokens


class Terms(NamedTuple):
    """What the costs rest on. None is unknown."""

    tokens: int | None = None
    full_batch: int | None = None  # tokens of a step
    devices: int | None = None
    peak: int | None = None  # FLOP/s of one device, dense, in the type that is computed in
    pace: tuple[str, float] | None = None  # one of PACES, and its value
    price: float | None = None  # USD for an hour of one device
    power: float | None = None  # W of one device, on average
    pue: float = 1.0  # of the data centre: all power to that of the devices
    carbon: float = 0.0  # g CO2e for a kWh


class Cost(NamedTuple):
    """The costs of a run; None where something that they rest on is unknown."""

    flops: int | None  # matmuls of the model, forward and backward
    hardware_flops: int | None  # with what is computed again
    device_hours: float | None
    days: float | None
    usd: float | None
    kwh: float | None
    tco2e: float | None
    step_seconds: float | None  # of the full batch
    tokens_per_second: float | None
    mfu: float | None
    hfu: float | None


def cost(work: Work, terms: Terms) -> Cost:
    """The costs that follow from the work of a batch and the terms."""
    tokens, devices, peak = terms.tokens, terms.devices, terms.peak
    apart, together = _rates(work, terms)  # device-seconds a token, seconds a token
    hours = days = None
    if tokens is not None:
        hours = None if apart is None else apart * tokens / HOUR
        days = None if together is None else together * tokens / DAY
    if terms.pace and terms.pace[0] == "device_hours":
        hours = terms.pace[1]  # without what rounding makes of it
    if terms.pace and terms.pace[0] == "days":
        days = terms.pace[1]
        hours = days * 24 * devices if devices else hours
    kwh = None if hours is None or terms.power is None else hours * terms.power * terms.pue / 1000
    used = None if apart is None or peak is None else apart * peak * work.tokens
    return Cost(
        flops=None if tokens is None else work.of(tokens),
        hardware_flops=None if tokens is None else work.hardware_of(tokens),
        device_hours=hours,
        days=days,
        usd=None if hours is None or terms.price is None else hours * terms.price,
        kwh=kwh,
        tco2e=None if kwh is None else kwh * terms.carbon / 10**6,
        step_seconds=None if together is None or terms.full_batch is None else together * terms.full_batch,
        tokens_per_second=None if together is None else 1 / together,
        mfu=None if used is None else work.model / used,
        hfu=None if used is None else work.hardware / used,
    )


def _rates(work: Work, terms: Terms) -> tuple[float | None, float | None]:
    """Device-seconds and seconds that a token takes."""
    if terms.pace is None:
        return None, None
    kind, value = terms.pace
    apart: float | None = None
    together: float | None = None
    if kind in ("mfu", "hfu") and terms.peak:
        flops = work.model if kind == "mfu" else work.hardware
        apart = flops / (value * terms.peak * work.tokens)
    elif kind == "tflops":
        apart = work.hardware / (value * TERA * work.tokens)
    elif kind == "step_seconds" and terms.full_batch:
        together = value / terms.full_batch
    elif kind == "tokens_per_second":
        together = 1 / value
    elif kind == "device_hours" and terms.tokens:
        apart = value * HOUR / terms.tokens
    elif kind == "days" and terms.tokens:
        together = value * DAY / terms.tokens
    if terms.devices:
        if apart is None and together is not None:
            apart = together * terms.devices
        elif together is None and apart is not None:
            together = apart / terms.devices
    return apart, together


def work_of(graph: Graph, sizes: Sizes, plan: Training | Serving, *, needed: bool = False) -> Work:
    """The FLOPs of one batch: of a training step, or of serving it; `needed`: see `flops.rows`."""
    decode = sizes.get("cached", 0) != 0
    tokens = int(sizes["batch"]) * int(sizes["target" if decode and "target" in sizes else "seq"])  # type: ignore[arg-type]
    if isinstance(plan, Serving):
        served = totals(list(rows(graph, sizes, needed=needed, decode=decode)), sizes).forward.model
        return Work(tokens, int(served), int(served))  # type: ignore[arg-type]
    if plan.adapters:
        whole = tuning.flops(graph, sizes, plan.adapters, needed=needed, recompute=plan.recompute)
    else:
        whole = totals(list(rows(graph, sizes, needed=needed, recompute=plan.recompute)), sizes)
    return Work(tokens, int(whole.train.model), int(whole.hardware.model))  # type: ignore[arg-type]


def compute_type(plan: Training | Serving) -> str:
    """The type that matmuls are computed in, of which a device has a peak."""
    return precision(plan.precision).compute if isinstance(plan, Training) else "bf16"


def usual_precision(device: Device | None) -> str:
    """The mixed precision that a device is used with: bf16, or on one that lacks it fp16."""
    lacks = device is not None and device.peak("bf16") is None and device.peak("fp16") is not None
    return "fp16-mixed" if lacks else "bf16-mixed"


def chosen(plan: Training | Serving) -> frozenset[str]:
    """The names of a plan's fields, and of its mesh's, that are not as usual."""
    usual = type(plan)()
    fields = {name for name, value in vars(plan).items() if name != "mesh" and value != getattr(usual, name)}
    return frozenset(fields | {name for name, ways in vars(plan.mesh).items() if ways != getattr(usual.mesh, name)})


def devices_of(plan: Training | Serving, asked: int | None, published: int | None, given: frozenset[str]) -> int | None:
    """How many devices a run is on: as asked, as many as the plan's ways make, or as published; None is unknown."""
    mesh = plan.mesh
    whole = "dp" in given  # without it, copies take what the other ways leave
    devices = asked or (mesh.devices if whole else None) or published or (mesh.devices if mesh.devices > 1 else None)
    if devices is not None and (mesh.devices > devices or (whole and mesh.devices != devices)):
        ways = [f"`{name}={getattr(mesh, name)}`" for name in ("dp", "tp", "pp", "cp") if getattr(mesh, name) > 1]
        made = f"{' and '.join(ways)} {'make' if len(ways) > 1 else 'makes'} {mesh.devices:,} devices"
        raise InputError(f"{made}, and there are {devices:,}", hint="`devices=N`")
    return devices


class Predicted(NamedTuple):
    """A predicted step: of which plan, and how fast."""

    plan: Training
    batch: int  # sequences that are timed
    tokens_per_second: float
    parts: tuple[tuple[str, float], ...]  # seconds of a step of them, by what they go to
    assumptions: dict[str, Assumption]
    fits: bool | None  # None: how much memory a device has is unknown
    searched: int  # plans that were timed
    fitting: int  # of those whose memory was counted, how many fit

    @property
    def seconds(self) -> float:
        """Of a step."""
        return sum(seconds for _, seconds in self.parts)


def predict(
    graph: Graph, sizes: Sizes, plan: Training, device: Device, devices: int, given: frozenset[str]
) -> Predicted:
    """The fastest plan that keeps to what is given, and how fast it runs.

    Raises InputError where nothing fits, or the device's file does not say enough.
    """
    from transformer_calc.readings.time import planner
    from transformer_calc.readings.time.step import PARTS

    choice = planner.choose(graph, sizes, device, devices, plan, given)
    found, mesh = choice.estimate, choice.plan.mesh
    tokens = int(sizes["batch"]) * int(sizes["seq"])  # type: ignore[arg-type]
    ways = ", ".join(f"{name} {getattr(mesh, name)}" for name in ("dp", "tp", "pp", "cp", "ep"))
    sequence = " with sequence parallelism" if mesh.sp else ""
    how = choice.plan
    said = {
        "time": f"predicted; the kernels and collectives of a step, most of it {PARTS[found.bound]}; no interruptions",
        "plan": f"{ways}{sequence}; ZeRO {how.zero}, micro-batches of {how.micro_batch}, {how.schedule}"
        f"{f' of {how.virtual} groups' if how.virtual > 1 else ''}, recomputation {how.recompute}, {how.attention} "
        f"attention: {_found(choice)}",
    }
    if device.memory_note:
        said["device memory"] = f"{device.memory_note}: what a plan has to fit into"
    if mesh.devices != devices:
        said["plan"] += f"; {devices - mesh.devices:,} devices are idle"
    if choice.batch != sizes["batch"]:
        said["plan"] += f"; a step takes as long as {choice.batch:,} sequences, which divide evenly"
    parts = tuple((PARTS[name], seconds) for name, seconds in found.parts)
    fits = None if device.memory_bytes is None else choice.fits
    rate = tokens / found.seconds
    texts = said | found.assumptions
    said_of = {name: Assumption(text) for name, text in texts.items()}
    return Predicted(choice.plan, choice.batch, rate, parts, said_of, fits, len(choice.tried), choice.fitting)


def _found(choice: planner.Choice) -> str:
    """How a plan was found, in words: among which others."""
    if not choice.fits:
        return "on the mesh that is given, where nothing fits, the one that needs the least memory"
    tried = choice.tried
    if len(tried) == 1:
        return "as given"
    ways = {
        "tp": {plan.mesh.tp for plan in tried},
        "pp": {plan.mesh.pp for plan in tried},
        "ZeRO": {plan.zero for plan in tried},
        "micro-batches": {plan.micro_batch or 0 for plan in tried},
        "groups": {plan.virtual for plan in tried},
    }
    said = [f"{name} {', '.join(map(str, sorted(values)))}" for name, values in ways.items() if len(values) > 1]
    again = sorted({plan.recompute for plan in tried}, reverse=True)
    said += [f"recomputation {' and '.join(again)}"] if len(again) > 1 else []
    among = f" ({'; '.join(said)}; not all together)" if said else ""
    return f"the fastest that fits of {len(tried):,} plans tried{among}; what is given or published stays"


class Checkpoint(NamedTuple):
    """Bytes on disk."""

    weights: int  # alone, in bf16
    full: int  # weights, master copy and the optimizer's states: what training goes on from


def checkpoint(graph: Graph, sizes: Sizes, plan: Training) -> Checkpoint:
    """The sizes of a checkpoint of the whole model; of adapters, without the frozen model beside them."""
    alone = plan.changed(mesh=type(plan.mesh)(), zero=0)
    paths = lora.targets(graph, plan.adapters) if plan.adapters else frozenset[str]()
    sizes = lora.bound(sizes, plan.adapters)
    weights = full = 0
    for whole in components(graph):
        for part in lora.adapters(whole, paths) if plan.adapters else (whole,):
            count = int(sizes[part.repeat]) if part.repeat else 1  # type: ignore[arg-type]
            kept, _, states = state_bytes(part, sizes, alone)
            weights += int(storage("bf16").of(part.total(sizes)))
            full += count * (kept + states)
    return Checkpoint(weights, full)

"""What a run rests on, in words: each assumption with where it is from, and what is unknown with what would tell it.

The names of the entries are what reports and other programs refer to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformer_calc import units
from transformer_calc.answer import Assumption
from transformer_calc.facts import Device, Grid, TrainingRun
from transformer_calc.plan import Serving, Training
from transformer_calc.readings.cost import budget
from transformer_calc.readings.cost.budget import Terms
from transformer_calc.readings.cost.prices import Paid
from transformer_calc.readings.cost.schedules import Ramp
from transformer_calc.readings.memory.training import idle_selective
from transformer_calc.spec import Workload
from transformer_calc.storage import precision
from transformer_calc.tuples import NamedTuple

OF_MEMORY = ("kernels", "recompute_every", "bucket_size", "prefetch", "ddp_buckets", "buffer", "lora_dropout")
PUE = 1.1
PUE_SOURCE = "Touvron et al. 2023, arXiv 2302.13971, section 6"


class Unknown(NamedTuple):
    """What is not known, in words, and the field that would tell it."""

    text: str
    field: str


class Assumed:
    """Collects what is said of one run: `said` is assumed or given, `unknown` is neither.

    asked: the fields of `reckoning.Asked` that were given
    """

    def __init__(self, run: TrainingRun, asked: Mapping[str, object], name: str) -> None:
        self.run, self.asked = run, asked
        self.published = f"the published run of {name}"
        self.said: dict[str, Assumption] = {}
        self.unknown: dict[str, Unknown] = {}

    def _say(self, name: str, text: str, value: Any = None, unit: str = "", source: str = "") -> None:
        self.said[name] = Assumption(text, value, unit, source)

    def _lacks(self, name: str, text: str, asked: str, *, value: str = "N") -> None:
        self.unknown[name] = Unknown(f"{text}: `{asked}={value}`", asked)

    def _from(self, *names: str) -> str:
        """The flag that gave it, or the published run."""
        given = [name for name in names if name in self.asked]
        return field(given[0]) if given else self.published

    def work(self, plan: Training | Serving, workload: Workload) -> None:
        """How FLOPs are counted."""
        scores = "what the mask lets through" if self.asked.get("needed") else "the full score matrix"
        passes = "forward and backward" if isinstance(plan, Training) else "forward"
        self._say("FLOPs", f"matmuls {passes}, {scores}, counted in the graph for a batch; a token's share × tokens")
        if isinstance(plan, Training) and plan.recompute != "none":
            self._say("hardware FLOPs", f"with {plan.recompute} recomputation", plan.recompute)
        if isinstance(plan, Training) and plan.adapters:
            learn = ", ".join(plan.adapters.targets)
            frozen = "frozen weights have no gradient of their own"
            self._say("adapters", f"LoRA of rank {plan.adapters.rank} on {learn}: {frozen}", plan.adapters.rank)
        usual = "published" if self.run.seq == workload.seq else "the model's, or usual; `seq`"
        target = f", {workload.target:,} of a target sequence" if workload.target else ""
        origin = "`seq`" if "seq" in self.asked else usual
        self._say("sequence", f"{workload.seq:,} tokens{target} ({origin})", workload.seq, "tokens", origin)

    def size(self, workload: Workload, tokens: int | None, full: int | None) -> None:
        """How many tokens a run and a batch have."""
        source, run = " of the source" if workload.target else "", self.run
        if tokens is None:
            self._lacks("tokens", "how many tokens it sees is unknown", "tokens")
        else:
            steps = run.tokens is None and "tokens" not in self.asked
            made = f": {run.steps:,} steps of {run.batch_tokens:,}" if steps else ""
            origin = f"{self._from('tokens')}{made}"
            self._say("tokens", f"{tokens:,}{source} ({origin})", tokens, "tokens", origin)
        if full is None:
            self._lacks("batch", "the size of a batch is unknown", "batch")
        else:
            known = self.run.batch_tokens or {"batch", "batch_tokens"} & self.asked.keys()
            origin = self._from("batch", "batch_tokens") if known else "usual; `batch`"
            sequences = f"{workload.batch:,} {'sequence' if workload.batch == 1 else 'sequences'}"
            self._say("batch", f"{sequences}, {full:,} tokens{source} ({origin})", full, "tokens", origin)

    def growth(self, ramp: Ramp | None) -> None:
        """How the batch grows, if it does."""
        if ramp is not None and len(ramp.points) > 1:
            way = "in proportion to the tokens seen" if ramp.growth == "linear" else "at once"
            points = ", ".join(f"{batch:,} tokens at {seen:,}" for seen, batch in ramp.points)
            self._say("batch growth", f"{points}; {way}; a token takes the same time throughout", ramp.growth)
        elif self.run.batch_note and not {"batch", "batch_tokens"} & self.asked.keys():
            self._say("batch growth", f"{self.run.batch_note}: not counted in the steps")

    def devices(
        self, device: Device | None, devices: int | None, compute: str, peak: int | None, plan: Training | Serving
    ) -> None:
        """What it runs on."""
        if device is None:
            which = f"{self.run.hardware}, the device of {self.published}," if self.run.hardware else "the device"
            self._lacks("device", f"{which} is unknown", "device", value="NAME")
        else:
            origin = self._from("device")
            self._say("device", f"{device.title or device.name} ({origin})", device.name, source=origin)
            if peak is None:
                lacks = f"the {compute} peak of {device.name} is unknown, or it has none"
                self._lacks("peak", lacks, "precision", value="RECIPE")
            else:
                mark = ", unconfirmed" if f"peaks.{compute}" in device.unconfirmed else ""
                rate = f"{peak / budget.TERA:,.6g} TFLOP/s of dense {compute}{mark}"
                self._say("peak", f"{rate}: what MFU and HFU are parts of", peak, "FLOP/s")
        if devices is None:
            self._lacks("devices", "how many devices it runs on is unknown", "devices")
        else:
            of_plan = "devices" not in self.asked and devices != self.run.devices
            origin = "of the plan" if of_plan else self._from("devices")
            self._say("devices", f"{devices:,} ({origin})", devices, source=origin)
        if isinstance(plan, Training):
            source = precision(plan.precision).source
            self._say("precision", f"{plan.precision} ({source})", plan.precision, source=source)

    def money(self, terms: Terms, price: Paid | None, device: Device | None, grid: Grid) -> None:
        """Price, power and electricity."""
        which = device.name if device else "the device"
        if price is None:
            self._lacks("price", f"no price of {which} is known", "price", value="USD")
        else:
            hourly = f"${_usd(price.usd_per_hour)} for an hour of a device ({price.said})"
            self._say("price", hourly, price.usd_per_hour, "USD/h", price.said)
        if terms.power is None:
            self._lacks("power", f"the power of {which} is unknown", "power", value="W")
        else:
            mark = ", unconfirmed" if device and "power" in device.unconfirmed else ""
            about = "(`power`)" if "power" in self.asked else f"(its design power{mark}; hosts and network not counted)"
            self._say("power", f"{terms.power:,.6g} W of a device on average {about}", terms.power, "W", about[1:-1])
        origin = "`pue`" if "pue" in self.asked else PUE_SOURCE
        self._say("PUE", f"{terms.pue:g} ({origin})", terms.pue, source=origin)
        year = f" in {grid.year}" if grid.year else ""
        about = f"{grid.title}{year}: {grid.source}" if grid.source else grid.title
        self._say("carbon", f"{grid.g_per_kwh:,.6g} g CO₂e for a kWh ({about})", grid.g_per_kwh, "g/kWh", about)

    def time(self, terms: Terms, why: str, *, train: bool) -> None:
        """How fast it runs, where that is given or unknown; why: what stood in the way of a prediction."""
        if terms.pace is None:
            self.unknown["time"] = Unknown(self._untimed(terms, why, train=train), "mfu")
        elif "pace" in self.asked:
            kind, value = terms.pace
            shown = f"{kind.upper()} {value:.1%}," if kind in ("mfu", "hfu") else f"{value:,.6g}"
            said = f"{shown} {budget.PACES[kind]} ({field(kind)}); no interruptions"
            self._say("time", said, value, budget.UNITS[kind], field(kind))
            if kind in ("mfu", "hfu") and terms.peak is None:
                self._lacks("time", f"the peak that {field(kind)} is a part of is unknown", "device", value="NAME")
            elif kind in ("device_hours", "days") and terms.tokens is None:
                about = f"{field(kind)} is of a whole run, of which the tokens are unknown"
                self._lacks("time", about, "tokens")
            elif kind == "step_seconds" and terms.full_batch is None:
                about = f"{field(kind)} is of a batch, of which the size is unknown"
                self._lacks("time", about, "batch")

    def _untimed(self, terms: Terms, why: str, *, train: bool) -> str:
        lacking = {"device": "`device=NAME`", "devices": "`devices=N`", "batch": "`batch=N`"}
        lacks = [asks for name, asks in lacking.items() if name in self.unknown]
        about = f" ({why})" if why else ""
        text = f"how fast it runs is unknown{about}: `mfu`, as in `mfu=0.4`"
        if not train:
            return f"{text}; tcalc serve predicts it"
        text += f", or, to predict it, {' and '.join(lacks)}" if lacks else ""
        if self.run.device_hours:
            return f"{text}, or what was published, `device_hours={self.run.device_hours:,}`"
        return f"{text}, or what was published, `days={self.run.days:g}`" if self.run.days else text

    def serving(self, tokens: int) -> None:
        """What the cost of serving so many tokens rests on."""
        same = "at the same length of a sequence and the same MFU, prices and power"
        slow = "decoding token by token reaches less (tcalc serve)"
        text = f"{tokens:,} tokens (`serve_tokens`), forward only, {same}; {slow}"
        self._say("serving", text, tokens, "tokens", "`serve_tokens`")

    def idle(self, plan: Training | Serving, given: frozenset[str], *, timed: bool) -> None:
        """What is asked for and changes no time: said, so that nobody reads a difference out of it."""
        if not isinstance(plan, Training):
            return
        fields = [field(name) for name in OF_MEMORY if name in given]
        if fields:
            verb = "changes" if len(fields) == 1 else "change"
            self._say("memory alone", f"{' and '.join(fields)} {verb} what memory holds, not the time of a step")
        if timed and (why := idle_selective(plan)):
            text = f"{why}; HFU counts the attention core once more all the same"
            self._say("selective recomputation", text, plan.recompute)

    def beyond(self, plan: Training | Serving, needs: int, devices: int, room: int) -> None:
        """That the devices cannot hold the model however it is spread: it would not run there."""
        if needs <= room:
            return
        what = "weights, gradients and states" if isinstance(plan, Training) else "weights"
        of = f"{devices:,} {'device has' if devices == 1 else 'devices have'} {units.format_bytes(room)}"
        text = f"does not fit: {what} take {units.format_bytes(needs)}, {of}; the cost is what it would be"
        self._say("memory", text, needs, "bytes")

    @property
    def notes(self) -> list[str]:
        """What of it must not be passed over."""
        said = self.said
        found = [f"selective recomputation {said[name].text}" for name in ("selective recomputation",) if name in said]
        found += [said[name].text for name in ("memory alone",) if name in said]
        return found + [f"it {said[name].text}" for name in ("memory",) if name in said]

    def undrawn(self) -> None:
        """Say that the learning rate's way is unknown."""
        note = f" ({self.run.schedule_note})" if self.run.schedule_note else ""
        text = f"how the learning rate changes is not known in a form to draw{note}"
        self._lacks("learning rate", text, "lr_schedule", value="NAME")


def field(name: str) -> str:
    """How texts write a field."""
    return f"`{name}`"


def _usd(price: float) -> str:
    return f"{price:,.2f}" if price == round(price, 2) else f"{price:,.6g}"

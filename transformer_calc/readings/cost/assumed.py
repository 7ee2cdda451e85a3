"""What a run rests on, in words: each assumption with where it is from, and what is unknown with what would tell it.

The names of the entries are what reports and other programs refer to. An entry of `unknown` ends with the flag that
would answer it, after a colon.
"""

from __future__ import annotations

from collections.abc import Mapping

from transformer_calc.facts import Device, Grid, TrainingRun
from transformer_calc.plan import Serving, Training
from transformer_calc.readings.cost import budget
from transformer_calc.readings.cost.budget import Terms
from transformer_calc.readings.cost.prices import Paid
from transformer_calc.readings.cost.schedules import Ramp
from transformer_calc.spec import Workload
from transformer_calc.storage import precision

PUE = 1.1
PUE_SOURCE = "Touvron et al. 2023, arXiv 2302.13971, section 6"


class Assumed:
    """Collects what is said of one run: `said` is assumed or given, `unknown` is neither.

    asked: the fields of `reckoning.Asked` that were given
    """

    def __init__(self, run: TrainingRun, asked: Mapping[str, object], name: str) -> None:
        self.run, self.asked = run, asked
        self.published = f"the published run of {name}"
        self.said: dict[str, str] = {}
        self.unknown: dict[str, str] = {}

    def _from(self, *names: str) -> str:
        """The flag that gave it, or the published run."""
        given = [name for name in names if name in self.asked]
        return flag(given[0]) if given else self.published

    def work(self, plan: Training | Serving, workload: Workload) -> None:
        """How FLOPs are counted."""
        scores = "what the mask lets through" if self.asked.get("needed") else "the full score matrix"
        passes = "forward and backward" if isinstance(plan, Training) else "forward"
        self.said["FLOPs"] = f"matmuls {passes}, {scores}, counted in the graph for a batch; a token's share × tokens"
        if isinstance(plan, Training) and plan.recompute != "none":
            self.said["hardware FLOPs"] = f"with {plan.recompute} recomputation"
        if isinstance(plan, Training) and plan.adapters:
            learn = ", ".join(plan.adapters.targets)
            frozen = "frozen weights have no gradient of their own"
            self.said["adapters"] = f"LoRA of rank {plan.adapters.rank} on {learn}: {frozen}"
        usual = "published" if self.run.seq == workload.seq else "the model's, or usual; --seq"
        target = f", {workload.target:,} of a target sequence" if workload.target else ""
        self.said["sequence"] = f"{workload.seq:,} tokens{target} ({'--seq' if 'seq' in self.asked else usual})"

    def size(self, workload: Workload, tokens: int | None, full: int | None) -> None:
        """How many tokens a run and a batch have."""
        source, run = " of the source" if workload.target else "", self.run
        if tokens is None:
            self.unknown["tokens"] = "how many tokens it sees is unknown: --tokens N"
        else:
            steps = run.tokens is None and "tokens" not in self.asked
            made = f": {run.steps:,} steps of {run.batch_tokens:,}" if steps else ""
            self.said["tokens"] = f"{tokens:,}{source} ({self._from('tokens')}{made})"
        if full is None:
            self.unknown["batch"] = "the size of a batch is unknown: --batch N"
        else:
            known = self.run.batch_tokens or {"batch", "batch_tokens"} & self.asked.keys()
            origin = self._from("batch", "batch_tokens") if known else "usual; --batch"
            sequences = f"{workload.batch:,} {'sequence' if workload.batch == 1 else 'sequences'}"
            self.said["batch"] = f"{sequences}, {full:,} tokens{source} ({origin})"

    def growth(self, ramp: Ramp | None) -> None:
        """How the batch grows, if it does."""
        if ramp is not None and len(ramp.points) > 1:
            way = "in proportion to the tokens seen" if ramp.growth == "linear" else "at once"
            points = ", ".join(f"{batch:,} tokens at {seen:,}" for seen, batch in ramp.points)
            self.said["batch growth"] = f"{points}; {way}; a token takes the same time throughout"
        elif self.run.batch_note and not {"batch", "batch_tokens"} & self.asked.keys():
            self.said["batch growth"] = f"{self.run.batch_note}: not counted in the steps"

    def devices(
        self, device: Device | None, devices: int | None, compute: str, peak: int | None, plan: Training | Serving
    ) -> None:
        """What it runs on."""
        if device is None:
            which = f"{self.run.hardware}, the device of {self.published}," if self.run.hardware else "the device"
            self.unknown["device"] = f"{which} is unknown: --device NAME"
        else:
            self.said["device"] = f"{device.title or device.name} ({self._from('device')})"
            if peak is None:
                lacks = f"the {compute} peak of {device.name} is unknown, or it has none"
                self.unknown["peak"] = f"{lacks}: --precision RECIPE"
            else:
                mark = ", unconfirmed" if f"peaks.{compute}" in device.unconfirmed else ""
                rate = f"{peak / budget.TERA:,.6g} TFLOP/s of dense {compute}{mark}"
                self.said["peak"] = f"{rate}: what MFU and HFU are parts of"
        if devices is None:
            self.unknown["devices"] = "how many devices it runs on is unknown: --devices N"
        else:
            of_plan = "devices" not in self.asked and devices != self.run.devices
            self.said["devices"] = f"{devices:,} ({'of the plan' if of_plan else self._from('devices')})"
        if isinstance(plan, Training):
            self.said["precision"] = f"{plan.precision} ({precision(plan.precision).source})"

    def money(self, terms: Terms, price: Paid | None, device: Device | None, grid: Grid) -> None:
        """Price, power and electricity."""
        which = device.name if device else "the device"
        if price is None:
            self.unknown["price"] = f"no price of {which} is known: --price USD"
        else:
            self.said["price"] = f"${_usd(price.usd_per_hour)} for an hour of a device ({price.said})"
        if terms.power is None:
            self.unknown["power"] = f"the power of {which} is unknown: --power W"
        else:
            mark = ", unconfirmed" if device and "power" in device.unconfirmed else ""
            about = "(--power)" if "power" in self.asked else f"(its design power{mark}; hosts and network not counted)"
            self.said["power"] = f"{terms.power:,.6g} W of a device on average {about}"
        self.said["PUE"] = f"{terms.pue:g} ({'--pue' if 'pue' in self.asked else PUE_SOURCE})"
        year = f" in {grid.year}" if grid.year else ""
        about = f"{grid.title}{year}: {grid.source}" if grid.source else grid.title
        self.said["carbon"] = f"{grid.g_per_kwh:,.6g} g CO₂e for a kWh ({about})"

    def time(self, terms: Terms, why: str, *, train: bool) -> None:
        """How fast it runs, where that is given or unknown; why: what stood in the way of a prediction."""
        if terms.pace is None:
            self.unknown["time"] = self._untimed(terms, why, train=train)
        elif "pace" in self.asked:
            kind, value = terms.pace
            shown = f"{kind.upper()} {value:.1%}," if kind in ("mfu", "hfu") else f"{value:,.6g}"
            self.said["time"] = f"{shown} {budget.PACES[kind]} ({flag(kind)}); no interruptions"
            if kind in ("mfu", "hfu") and terms.peak is None:
                self.unknown["time"] = f"the peak that {flag(kind)} is a part of is unknown: --device NAME"
            elif kind in ("device_hours", "days") and terms.tokens is None:
                about = f"{flag(kind)} is of a whole run, of which the tokens are unknown"
                self.unknown["time"] = f"{about}: --tokens N"
            elif kind == "step_seconds" and terms.full_batch is None:
                about = f"{flag(kind)} is of a batch, of which the size is unknown"
                self.unknown["time"] = f"{about}: --batch N"

    def _untimed(self, terms: Terms, why: str, *, train: bool) -> str:
        lacking = {"device": "--device NAME", "devices": "--devices N", "batch": "--batch N"}
        lacks = [asks for name, asks in lacking.items() if name in self.unknown]
        about = f" ({why})" if why else ""
        text = f"how fast it runs is unknown{about}: --mfu, as in --mfu 0.4"
        if not train:
            return f"{text}; tcalc serve predicts it"
        text += f", or, to predict it, {' and '.join(lacks)}" if lacks else ""
        if self.run.device_hours:
            return f"{text}, or what was published, --device-hours {self.run.device_hours:,}"
        return f"{text}, or what was published, --days {self.run.days:g}" if self.run.days else text

    def serving(self, tokens: int) -> None:
        """What the cost of serving so many tokens rests on."""
        same = "at the same length of a sequence and the same MFU, prices and power"
        slow = "decoding token by token reaches less (tcalc serve)"
        self.said["serving"] = f"{tokens:,} tokens (--serve-tokens), forward only, {same}; {slow}"

    def undrawn(self) -> None:
        """Say that the learning rate's way is unknown."""
        note = f" ({self.run.schedule_note})" if self.run.schedule_note else ""
        self.unknown["learning rate"] = (
            f"how the learning rate changes is not known in a form to draw{note}: --lr-schedule NAME"
        )


def flag(name: str) -> str:
    """The command line's name of a field."""
    return "--" + name.replace("_", "-")


def _usd(price: float) -> str:
    return f"{price:,.2f}" if price == round(price, 2) else f"{price:,.6g}"

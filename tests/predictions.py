"""Published runs against what is predicted for them, from nothing but their configuration.

python tests/predictions.py            the errors of each source
python tests/predictions.py SOURCE     every run of it
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import transformer_calc
from transformer_calc.api import Transformer
from transformer_calc.graph.model import build
from transformer_calc.readings import flops, step
from transformer_calc.readings.latency import Server
from transformer_calc.readings.serving import Plan
from transformer_calc.readings.sharding import Mesh
from transformer_calc.readings.training import Training
from transformer_calc.sources import hardware

GOLDEN = Path(__file__).parent / "golden"
RECIPES = {"fp16": "fp16-mixed", "bf16": "bf16-mixed", "fp8": "fp8"}
FIELDS = ("layers", "d_model", "heads", "kv_heads", "d_head", "d_ff", "vocab")


class Prediction(NamedTuple):
    """Seconds of a run: predicted, and published (or what its rate comes to)."""

    id: str
    predicted: float
    published: float
    note: str = ""

    @property
    def source(self) -> str:
        """What published it."""
        return self.id.partition("/")[0]

    @property
    def error(self) -> float:
        """Of the published seconds."""
        return self.predicted / self.published - 1


@cache
def _model(name: str | None, shape: str) -> Transformer:
    if name:
        return transformer_calc.load(name)
    sizes = json.loads(shape)
    fields = {field: sizes[field] for field in FIELDS if field in sizes}
    if sizes.get("positions"):
        fields["max_positions"] = sizes["positions"]
    return transformer_calc.load(fields=fields)


def _device(run: dict[str, Any]) -> Any:
    own = {key: run[key] for key in ("node", "network", "bandwidth") if key in run}
    return replace(hardware.load(run["device"]), **own)


def training() -> Iterator[Prediction]:
    """Every training run whose mesh the calculator takes."""
    for run in json.loads((GOLDEN / "training_runs.json").read_text())["runs"]:
        model = _model(run["model"], json.dumps(run.get("shape")))
        mesh = Mesh(**{name: run[name] for name in ("dp", "tp", "pp", "cp", "ep")}, sp=run["sp"] and run["tp"] > 1)
        plan = Training(
            mesh=mesh,
            micro_batch=run["micro_batch"] or 1,
            zero=run["zero"],
            recompute=run["recompute"],
            attention=run["attention"],
            precision=RECIPES.get(run["precision"], ""),
            schedule="interleaved" if run["virtual"] > 1 else "1f1b",
            virtual=run["virtual"],
        )
        workload = {"batch": run["batch"], "seq": run["seq"], "target": run["seq"], "cached": 0}
        sizes = model.graph.bind({axis: workload[axis] for axis in model.graph.workload_axes})
        try:
            found = step.estimate(model.graph, sizes, plan, _device(run), model.spec.family)
        except transformer_calc.InputError:  # a mesh that is not taken: experts split over tensor parallelism, fp4
            continue
        yield Prediction(run["id"], found.seconds, _published(run, model, sizes), found.bound)


def _published(run: dict[str, Any], model: Transformer, sizes: Any) -> float:
    """Seconds of a step, from the rate that is printed and what it counts."""
    reported, devices, tokens = run["reported"], run["devices"], run["batch"] * run["seq"]
    if "step_seconds" in reported:
        return float(reported["step_seconds"])
    if "tokens_per_second" in reported:
        return float(tokens / reported["tokens_per_second"])
    if "tokens_per_second_per_device" in reported:
        return float(tokens / devices / reported["tokens_per_second_per_device"])
    counts = run["counts"]
    rows = flops.rows(model.graph, sizes, recompute=run["recompute"], needed=counts["attention"] == "causal")
    whole = flops.totals(list(rows), sizes)
    work: Any = whole.hardware.matmul if counts["recompute"] else whole.train.matmul
    if counts["attention"] == "none":
        work = 6 * model.params().active * tokens
    if "tflops_per_device" in reported:
        return float(work / devices / (reported["tflops_per_device"] * 1e12))
    part = reported["hfu"] if counts["recompute"] else reported["mfu"]
    return float(work / devices / (part * run["mfu_peak"]))


WEIGHTS = {
    "16 bits": "bf16",
    "8 bits": "int8",
    "4.5 bits (Q4_0)": "q4_0",
    "4.85 bits (Q4_K_M)": "q4_k",
    "5 bits": "int4",
}


def inference() -> Iterator[Prediction]:
    """Every inference run, as a prefill, a decoding step, or both in turn."""
    for run in json.loads((GOLDEN / "inference_runs.json").read_text())["runs"]:
        model, device = transformer_calc.load(run["model"]), _device(run)
        compute = run["compute"] if device.peak(run["compute"]) else None
        weights = WEIGHTS[run["weights"].replace(" (groups of 32)", "")]
        weights = "fp8" if compute == "fp8" else weights
        mesh = Mesh(tp=run["tp"], dp=run["devices"] // run["tp"])
        plan = Plan(
            mesh=mesh,
            weights=weights,
            kv_dtype="fp8" if run["kv"].startswith("8") else "bf16",
            kv_split=run.get("kv_split", "heads"),
        )
        batch, tokens, answer = run["batch"], run["input"], run.get("output") or 1
        first = Server(model.graph, plan, device, compute=compute)
        then = Server(build(model.spec, absorbed=True), plan, device, compute=compute)
        prefill = first.run(batch, tokens=max(tokens, 1), cached=0).seconds
        step = then.run(batch, tokens=1, cached=tokens + answer // 2).seconds
        reported = dict(run["reported"])
        if "tokens_per_second_per_device" in reported:
            reported["tokens_per_second"] = reported["tokens_per_second_per_device"] * run["devices"]
        rate = reported.get("prefill_tokens_per_second", reported.get("tokens_per_second", 1))
        if run["phase"] == "prefill":
            found, published = prefill, reported.get("first_token_seconds", batch * tokens / rate)
        elif run["phase"] == "decode":
            found, published = step, reported.get("step_seconds", batch / rate)
        else:
            found, published = prefill + answer * step, batch * answer / rate
        yield Prediction(run["id"], found, published, run["phase"])


def errors(found: list[Prediction]) -> dict[str, list[float]]:
    """The errors of each source, in the order of the file."""
    by: dict[str, list[float]] = {}
    for one in found:
        by.setdefault(one.source, []).append(one.error)
    return by


def main(wanted: list[str]) -> None:
    """Print the table, or the runs of some sources."""
    for title, found in (("training", list(training())), ("inference", list(inference()))):
        if wanted:
            for one in found:
                if any(one.id.startswith(name) for name in wanted):
                    print(f"{one.id:52s} {one.predicted:10.4g} s {one.published:10.4g} s {one.error:+7.1%}  {one.note}")
            continue
        print(f"{title:24s}  runs   mean error   mean |error|")
        for source, by in errors(found).items():
            print(f"{source:24s}  {len(by):4d}   {mean(by):+10.1%}   {mean(map(abs, by)):12.1%}")
        every = [abs(one.error) for one in found]
        print(f"{'all':24s}  {len(every):4d}                {mean(every):12.1%}   median {median(every):.1%}\n")


if __name__ == "__main__":
    main(sys.argv[1:])

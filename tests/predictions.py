"""Published runs against what `tcalc cost` and `tcalc serve` predict for them, from nothing but their configuration.

python tests/predictions.py            the errors of each source
python tests/predictions.py SOURCE     every run of it, with its command line
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import pytest

import transformer_calc
from transformer_calc.api import Transformer
from transformer_calc.cli import run as tcalc
from transformer_calc.readings.count import flops
from transformer_calc.sources import hardware

GOLDEN = Path(__file__).parent / "golden"
RECIPES = {"fp16": "fp16-mixed", "bf16": "bf16-mixed"}
FIELDS = ("layers", "d_model", "heads", "kv_heads", "d_head", "d_ff", "vocab")
OVERRIDES = ("node", "network", "bandwidth")  # of the device's file, where a system differs


def once(test: Any) -> Any:
    """Mark a test that needs the answers to all runs: hundreds of command lines, so that one process does."""
    return pytest.mark.slow(pytest.mark.xdist_group("predictions")(test))


class Prediction(NamedTuple):
    """Seconds of a run: predicted, and published (or what its rate comes to)."""

    id: str
    predicted: float
    published: float
    note: str = ""
    command: str = ""
    fits: bool | None = None  # by the count of memory

    @property
    def source(self) -> str:
        """What published it."""
        return self.id.partition("/")[0]

    @property
    def error(self) -> float:
        """Of the published seconds."""
        return self.predicted / self.published - 1


class Unanswered(NamedTuple):
    """A run of which the command line predicts nothing, and why."""

    id: str
    why: str


Found = tuple[list[Prediction], list[Unanswered]]


def ask(words: list[str]) -> tuple[dict[str, Any], str]:
    """The answer to a command line, and what its error says."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        tcalc([*words, "--json"])
    error = next((line for line in err.getvalue().splitlines() if line.startswith("error: ")), "")
    return json.loads(out.getvalue() or "{}"), error.removeprefix("error: ")


def runs(kind: str) -> list[dict[str, Any]]:
    """The golden rows."""
    rows: list[dict[str, Any]] = json.loads((GOLDEN / f"{kind}_runs.json").read_text())["runs"]
    return rows


@cache
def _model(name: str | None, shape: str) -> Transformer:
    if name:
        return transformer_calc.load(name)
    sizes = json.loads(shape)
    fields = {field: sizes[field] for field in FIELDS if field in sizes}
    if sizes.get("positions"):
        fields["max_positions"] = sizes["positions"]
    return transformer_calc.load(fields=fields)


def training_line(run: dict[str, Any]) -> list[str]:
    """The command line of a training run: all of its configuration is given."""
    words: list[object] = ["cost"]
    if run["model"]:
        words.append(run["model"])
    else:
        shape = run["shape"]
        for field in FIELDS:
            words += [f"--{field.replace('_', '-')}", shape[field]] if field in shape else []
        words += ["--max-positions", shape["positions"]] if shape.get("positions") else []
    words += ["--device", run["device"], "--devices", run["devices"], "--tokens", "1T"]
    words += _overrides(run)
    for name in ("batch", "seq", "dp", "tp", "pp", "cp", "ep", "zero", "recompute", "attention"):
        words += [f"--{name}", run[name]]
    words += ["--sp" if run["sp"] and run["tp"] > 1 else "--no-sp", "--micro-batch", run["micro_batch"] or 1]
    words += ["--precision", RECIPES.get(run["precision"], run["precision"])]
    words += ["--schedule", "interleaved" if run["virtual"] > 1 else "1f1b", "--virtual", run["virtual"]]
    return [str(word) for word in words]


def _overrides(run: dict[str, Any]) -> list[str]:
    return [word for name in OVERRIDES if name in run for word in ("--device-set", f"{name}={run[name]}")]


@cache
def predicted_training() -> Found:
    """Every training run of which `tcalc cost` predicts a step, and those of which it does not."""
    found: list[Prediction] = []
    without: list[Unanswered] = []
    for run in runs("training"):
        words = training_line(run)
        data, error = ask(words)
        seconds = data.get("cost", {}).get("step_seconds")
        if seconds is None:
            without.append(Unanswered(run["id"], error or data["unknown"]["time"]))
            continue
        parts = data["step"]["parts"]
        model = _model(run["model"], json.dumps(run.get("shape")))
        workload = {"batch": run["batch"], "seq": run["seq"], "target": run["seq"], "cached": 0}
        sizes = model.graph.bind({axis: workload[axis] for axis in model.graph.workload_axes})
        published, bound = _published(run, model, sizes), max(parts, key=parts.__getitem__)
        found.append(Prediction(run["id"], seconds, published, bound, shlex.join(["tcalc", *words]), data["fits"]))
    return found, without


def training() -> list[Prediction]:
    """The training runs that are predicted."""
    return predicted_training()[0]


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


def inference_line(run: dict[str, Any]) -> list[str]:
    """The command line of an inference run: a prefill, a decoding step half-way, or both in turn."""
    compute = run["compute"] if hardware.load(run["device"]).peak(run["compute"]) else None
    weights = "fp8" if compute == "fp8" else WEIGHTS[run["weights"].replace(" (groups of 32)", "")]
    words: list[object] = ["serve", run["model"], "--device", run["device"], *_overrides(run)]
    words += ["--devices", run["devices"], "--tp", run["tp"], "--batch", run["batch"]]
    words += ["--weights", weights, "--kv-dtype", "fp8" if run["kv"].startswith("8") else "bf16"]
    words += ["--kv-split", run["kv_split"]] if "kv_split" in run else []
    words += ["--compute", compute] if compute else []
    tokens, answer = run["input"], run.get("output") or 1
    if run["phase"] == "decode":
        words += ["--context", tokens + answer // 2]
    else:
        words += ["--seq", tokens, *(["--output", answer] if run["phase"] == "generate" else [])]
    return [str(word) for word in words]


ANSWERS = {"prefill": "ttft_seconds", "decode": "tpot_seconds", "generate": "request_seconds"}


@cache
def predicted_inference() -> Found:
    """Every inference run of which `tcalc serve` predicts a time, and those of which it does not."""
    found: list[Prediction] = []
    without: list[Unanswered] = []
    for run in runs("inference"):
        words = inference_line(run)
        data, error = ask(words)
        said = data.get("serve", {})
        if said.get("fits") is False:
            error = f"a batch of {run['batch']:,} is more than the {said['largest_batch']:,} that memory holds at once"
        if not said or said["fits"] is False:
            without.append(Unanswered(run["id"], error))
            continue
        batch, tokens, answer = run["batch"], run["input"], run.get("output") or 1
        reported = dict(run["reported"])
        if "tokens_per_second_per_device" in reported:
            reported["tokens_per_second"] = reported["tokens_per_second_per_device"] * run["devices"]
        rate = reported.get("prefill_tokens_per_second", reported.get("tokens_per_second", 1))
        published = {
            "prefill": reported.get("first_token_seconds", batch * tokens / rate),
            "decode": reported.get("step_seconds", batch / rate),
            "generate": batch * answer / rate,
        }[run["phase"]]
        seconds, command = said[ANSWERS[run["phase"]]], shlex.join(["tcalc", *words])
        found.append(Prediction(run["id"], seconds, published, run["phase"], command, said["fits"]))
    return found, without


def inference() -> list[Prediction]:
    """The inference runs that are predicted."""
    return predicted_inference()[0]


def errors(found: list[Prediction]) -> dict[str, list[float]]:
    """The errors of each source, in the order of the file."""
    by: dict[str, list[float]] = {}
    for one in found:
        by.setdefault(one.source, []).append(one.error)
    return by


def table() -> str:
    """Mean error and mean absolute error of the predicted seconds, for each source of published runs."""
    lines = ["| | runs | mean error | mean absolute error |", "|---|---:|---:|---:|"]
    for title, found in (("training step", training()), ("inference", inference())):
        by = errors(found)
        every = [error for of in by.values() for error in of]
        for name, of in ({f"**{title}**": every} | by).items():
            lines.append(f"| {name} | {len(of)} | {mean(of):+.0%} | {mean(map(abs, of)):.0%} |")
    return "\n".join(lines)


def counts() -> str:
    """How many of the published runs the command line answers."""
    kinds = (predicted_training(), predicted_inference())
    numbers = [(len(found), len(found) + len(without)) for found, without in kinds]
    (training, of_training), (inference, of_inference) = numbers
    of = f"of {of_training} published training runs `tcalc cost` answers {training}"
    return f"{of}, of {of_inference} inference runs `tcalc serve` {inference}"


def main(wanted: list[str]) -> None:
    """Print the table, or the runs of some sources."""
    for title, (found, without) in (("training", predicted_training()), ("inference", predicted_inference())):
        if wanted:
            for one in found:
                if any(one.id.startswith(name) for name in wanted):
                    print(f"{one.id:52s} {one.predicted:10.4g} s {one.published:10.4g} s {one.error:+7.1%}  {one.note}")
                    print(f"    {one.command}")
            continue
        print(f"{title:24s}  runs   mean error   mean |error|")
        for source, by in errors(found).items():
            print(f"{source:24s}  {len(by):4d}   {mean(by):+10.1%}   {mean(map(abs, by)):12.1%}")
        every = [abs(one.error) for one in found]
        print(f"{'all':24s}  {len(every):4d}                {mean(every):12.1%}   median {median(every):.1%}")
        for missing in without:
            print(f"not answered: {missing.id}: {missing.why}")
        print()


if __name__ == "__main__":
    main(sys.argv[1:])

"""The report of `tcalc fit`: the largest batch, the longest context or the fewest devices that memory allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformer_calc.errors import as_options
from transformer_calc.plan import WAYS, Serving, Training
from transformer_calc.report import Facts, Report, Text
from transformer_calc.report.common import device_data, of_checkpoint, rests_on
from transformer_calc.report.memory import devices_of

if TYPE_CHECKING:
    from transformer_calc.readings.memory.fit import Fit

SOUGHT = {"batch": "the largest batch", "context": "the longest context", "devices": "the fewest devices"}
BESIDE = {"largest_batch": "largest batch of this length", "longest_context": "longest context of this batch"}


def build(answer: Fit) -> Report:
    """What fits, and what ends it."""
    solve, device, mesh = answer.solved_for, answer.device, answer.mesh
    found = {name: getattr(answer, name) for name in ("fits", *SOUGHT, "limit")}
    found["mesh"] = {name: getattr(mesh, name) for name in WAYS}
    most = {} if solve else {name: getattr(answer, name) for name in BESIDE}
    found |= most
    found["peak_at"] = answer.peak_at
    found["model_length"] = answer.made_for and answer.made_for.tokens
    found["beyond_model_length"] = answer.beyond
    assumptions, _ = rests_on(answer.assumptions)
    data = {"fit": found, "solved_for": solve, "device": device_data(device), "assumptions": assumptions}
    lines: list[Any] = [("fits", "yes" if answer.fits else "no", "text"), *of_checkpoint(answer.assumptions)]
    least = "" if answer.fits or not solve else ", at least"
    if not least:
        lines += [(name, found[name], "count") for name in SOUGHT if found[name] is not None]
        every = f"a multiple of {answer.step}: " if answer.step > 1 else ""
        if answer.batch is None:
            lines.append(("batch", f"any, {every}a device holds passes of one micro-batch", "text"))
        if answer.context is None:
            lines.append(("context", f"any, {every}no more tokens are kept than a window holds", "text"))
        if answer.beyond:
            lines.append(("the model itself", answer.made_for.said, "text"))
        if mesh.devices > 1:
            lines.append(("mesh", devices_of(mesh).partition("(")[2].rstrip(")"), "text"))
    lines += [(f"per device{least}", answer.needs.total, "bytes"), ("of", device.memory_said, "text")]
    for name, end in most.items():
        if name != "longest_context" or answer.sized:
            lines.append((BESIDE[name], "any" if end is None else end or "none", "text" if not end else "count"))
    lines += [("limit", answer.limit.replace("_", " "), "text"), ("peak at", answer.peak_at, "text")]
    whether = SOUGHT[solve] if solve else "whether it fits"
    facts = Facts(f"{answer.title} on {device.title or device.name}: {whether}", tuple(lines))
    return Report("fit", answer.model, answer.workload, data, (facts, Text(_said(answer))), ok=answer.fits)


def _said(answer: Fit) -> str:
    """How it was searched, and what was counted."""
    plan, run, device = answer.plan, answer.run, answer.device
    kept = (
        f"trained in {plan.precision}"
        if isinstance(plan, Training)
        else f"weights {plan.weights}, cache {plan.kv_dtype}"
    )
    said = [f"searched over the exact count of tcalc memory; {kept}"]
    if answer.caches and not run.context:
        prompt = f"the pass over the prompts, {run.seq:,} tokens of every sequence at once"
        said.append(f"counted: {prompt}; --context {run.seq} counts a step of decoding")
    if answer.idle:
        said.append(as_options(answer.idle))
    if answer.solved_for == "devices":
        node = f"within a node of {device.node}" if device.node else "of any width"
        copies = "" if isinstance(plan, Serving) else f", copies with ZeRO {plan.zero}"
        said.append(f"tried: tensor parallelism {node}, pipelines of equal stages{copies}; what is given stays")
    if answer.beyond:
        said.append(f"of memory alone: the model {answer.made_for.said}")
    return "\n".join(said)

"""The report of `tcalc fit`: the largest batch, the longest context or the fewest devices that memory allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transformer_calc.errors import InputError
from transformer_calc.readings.cache import cached
from transformer_calc.readings.serving import Plan
from transformer_calc.readings.sharding import Mesh
from transformer_calc.readings.training import Training
from transformer_calc.report import Facts, Report, Text
from transformer_calc.report.memory import count, memory_of

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.spec import Device, Workload

SOLVE = ("batch", "context", "devices")
MOST = 2**40  # of a batch or a context: beyond it, nothing is searched
MOST_DEVICES = 4096


def build(
    model: Transformer,
    workload: Workload,
    plan: Plan | Training,
    *,
    device: Device,
    solve: str = "batch",
    overhead: int = 0,
) -> Report:
    """What fits on a device, by search over the exact count; the answer fits, and one more does not.

    The context is that of the cache in serving; it is the sequence in training, and where nothing is cached.
    """
    if solve not in SOLVE:
        raise InputError(f"--solve is {solve!r}; it must be one of {', '.join(SOLVE)}")
    context = workload.context or workload.seq

    def parts(batch: int, tokens: int, mesh: Mesh) -> dict[str, int]:
        if isinstance(plan, Training) or not cached(model.graph):
            run = model.workload(batch=batch, seq=tokens, target_seq=workload.target)
        else:
            run = model.workload(batch=batch, context=tokens, seq=workload.seq if workload.target else None)
        return count(model, run, plan._replace(mesh=mesh), overhead).fullest[0]

    room = memory_of(device)
    batch, mesh = workload.batch, plan.mesh
    step = mesh.dp * (plan.micro_batch or 1 if isinstance(plan, Training) else 1)  # a rank takes whole micro-batches
    if solve == "batch":
        sequences = largest(lambda n: parts(n * step, context, mesh)["total"] <= room)
        if sequences >= MOST:
            raise InputError(
                "--solve batch has no answer here: a device holds passes of one micro-batch, so memory stops growing",
                hint="tcalc memory with a larger --micro-batch says what a pass may hold",
            )
        batch = step * sequences
    elif solve == "context":
        context = largest(lambda n: parts(batch, n, mesh)["total"] <= room)
    else:
        mesh = _fewest(lambda tried: parts(batch, context, tried)["total"] <= room, mesh)
    fits = bool(batch and context and mesh.tp)
    limit = "weights"
    if fits:
        now, more = (parts(b, c, mesh) for b, c in ((batch, context), _one_more(solve, batch, context, step)))
        limit = max(("kv_cache", "activations", "weights"), key=lambda name: (more[name] - now[name], now[name]))
    found = {
        "fits": fits,
        "batch": batch,
        "context": context,
        "devices": mesh.devices if fits else None,
        "limit": limit,
    }
    data = {"fit": found, "solved_for": solve, "device": {"name": device.name, "memory_bytes": room}}
    lines: list[Any] = [("fits", "yes" if fits else "no", "text")]
    if fits:
        lines += [(name, found[name], "count") for name in SOLVE]
        lines += [("per device", now["total"], "bytes"), ("of", room, "bytes")]
    lines.append(("limit", limit.replace("_", " "), "text"))
    facts = Facts(f"{model.title} on {device.title or device.name}: {_answer(solve)}", tuple(lines))
    kept = (
        f"weights {plan.weights}, cache {plan.kv_dtype}" if isinstance(plan, Plan) else f"trained in {plan.precision}"
    )
    said = [f"searched over the exact count of tcalc memory; {kept}"]
    if solve == "context" and model.max_positions and context > model.max_positions:
        said.append(f"of memory alone: the model has {model.max_positions:,} positions")
    return Report("fit", model.describe(), workload.to_dict(), data, (facts, Text("\n".join(said))), ok=fits)


def _answer(solve: str) -> str:
    return {"batch": "the largest batch", "context": "the longest context", "devices": "the fewest devices"}[solve]


def _one_more(solve: str, batch: int, context: int, step: int) -> tuple[int, int]:
    """(batch, context) of the next step, by which the limit shows."""
    return (batch, context + 1) if solve == "context" else (batch + step, context)


def largest(fits: Callable[[int], bool]) -> int:
    """The largest n from 0 that fits, for a need that grows with n."""
    if not fits(1):
        return 0
    low = 1
    while low < MOST and fits(2 * low):
        low *= 2
    high = 2 * low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _fewest(fits: Callable[[Mesh], bool], mesh: Mesh) -> Mesh:
    """The least tensor parallelism that divides the model and fits; tp 0 where none does."""
    for ways in range(1, MOST_DEVICES + 1):
        tried = mesh._replace(tp=ways)
        try:
            if fits(tried):
                return tried
        except InputError as error:
            if not error.message.startswith("--tp is"):
                raise
    return mesh._replace(tp=0)

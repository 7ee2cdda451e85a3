"""The report of `tcalc serve`: how fast a model answers, and what a million tokens cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from transformer_calc import units
from transformer_calc.errors import InputError
from transformer_calc.plan import Serving, Training
from transformer_calc.readings.cost.prices import Paid, paid
from transformer_calc.readings.count.cache import cached
from transformer_calc.readings.memory.serving import check
from transformer_calc.readings.shard import check as check_mesh
from transformer_calc.readings.time import communication, roofline
from transformer_calc.readings.time.latency import WAITS, Pass, Server
from transformer_calc.report import Column, Facts, Report, Table
from transformer_calc.report.common import assumed, device_data, memory_said, said_of, stored_beside, too_long
from transformer_calc.report.fit import largest
from transformer_calc.report.memory import count, devices_of
from transformer_calc.spec import Workload
from transformer_calc.storage import COMPUTE, storage

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.facts import Device

COLUMNS = (
    Column("batch", "sequences", "count"),
    Column("tpot_seconds", "per token", "seconds"),
    Column("tokens_per_second", "tokens/s", "number"),
    Column("per_device", "a device", "number", 2),
    Column("usd_per_million_tokens", "$ per 1M", "usd", 1),
    Column("bound", "waits for", "text", 1),
    Column("memory", "memory", "bytes", 3),
)
MOST_BATCH = 4096  # of the table's batches


class Measured(NamedTuple):
    """How a model answers on its devices; what only generating models have is None for the others."""

    first: Server  # of the prompt
    then: Server | None  # of each token after it
    start: Pass
    step: dict[str, Any] | None
    batch: int
    prompt: int
    context: int
    usd: float | None  # of a device for an hour
    bill: Paid | None  # and who says so
    needs: int  # bytes of the fullest device
    room: int | None  # and those that it has, if that is known
    largest: int | None  # batch that memory holds
    assumptions: dict[str, Any]

    @property
    def fits(self) -> bool | None:
        """Whether memory holds the batch."""
        return None if self.largest is None else self.batch <= self.largest

    def said(self) -> dict[str, Any]:
        """The measures; of what memory does not hold, there are none but for what they would be if it did."""
        start, step = self.start, self.step or {}
        found = {
            "ttft_seconds": start.seconds,
            "tpot_seconds": step.get("tpot_seconds"),
            "tokens_per_second": step.get("tokens_per_second"),
            "tokens_per_second_per_device": step.get("per_device"),
            "usd_per_million_tokens": step.get("usd_per_million_tokens"),
            "bound": step.get("bound", WAITS[start.bound]),
            "prefill_bound": WAITS[start.bound],
            "prefill_tokens_per_second": self.batch * self.prompt / start.seconds,
            "ttft_parts": start._asdict(),
            "tpot_parts": step.get("parts"),
        }
        if self.fits is not False:
            return found
        times = {name: found[name] for name in ("ttft_seconds", "tpot_seconds")}
        return {**dict.fromkeys(found), "bound": "memory capacity", "if_it_fitted": times}


def measure(
    model: Transformer,
    workload: Workload,
    plan: Serving | Training,
    *,
    device: Device,
    price: float | None = None,
    amortize: float | None = None,
    compute: str | None = None,
    ideal: bool = False,
    overhead: int = 0,
) -> Measured:
    """Time to first token, time per output token, and what follows from them.

    The prompt is the sequence (--seq), the cache the context (--context, else the prompt).
    price:  dollars of a device for an hour; None: the device's own, if that is known
    amortize:  years over which a price to buy is spread; None: as usual
    compute:  the precision of the matmuls, if not the plan's own
    ideal:  the roofline itself: peaks without any loss
    """
    if isinstance(plan, Training):
        raise InputError("--mode is train, but serving is inference; it must be infer")
    if compute is not None and compute not in COMPUTE:
        raise InputError(f"--compute is {compute!r}; it must be one of {', '.join(COMPUTE)}")
    generates = bool(cached(model.graph))
    prompt = workload.seq if workload.seq > 1 or not workload.context else workload.context
    context = workload.context or workload.target or prompt
    sizes = model.graph.sizes(workload)
    check_mesh(plan.mesh, model.graph, sizes)
    check(plan, sizes)
    first = Server(model.graph, plan, device, compute=compute, ideal=ideal)
    then = Server(model.absorbed, plan, device, compute=compute, ideal=ideal) if generates else None
    batch, devices = workload.batch, plan.mesh.devices
    start = _prompt(first, batch, prompt, workload)
    bill = paid(device, price, amortize)
    usd = bill.usd_per_hour if bill else None
    step = _step(then, batch, context, usd, devices, workload) if then else None
    passes = replace(workload, seq=workload.seq if workload.target else prompt, context=0)
    if workload.target and generates:  # the prompt's pass makes the first token
        passes = replace(passes, target=1)
    told = _decoding(workload, batch, context) if generates else passes
    room = device.memory_bytes
    most = None if room is None else _largest(model, told, plan, room, overhead)
    said = _assumptions(plan, device, first, bill, overhead, ideal=ideal)
    if generates and most is not None and batch <= most and _memory(model, passes, plan, overhead) > room:  # type: ignore[operator]
        at_once = _largest(model, passes, plan, room, overhead)  # type: ignore[arg-type]
        said["prompts"] = f"{batch:,} do not fit in memory in one pass, {at_once:,} do; timed as one"
    needs = _memory(model, told, plan, overhead)
    return Measured(first, then, start, step, batch, prompt, context, usd, bill, needs, room, most, said)


def build(
    model: Transformer,
    workload: Workload,
    plan: Serving | Training,
    *,
    device: Device,
    price: float | None = None,
    amortize: float | None = None,
    output: int | None = None,
    compute: str | None = None,
    ideal: bool = False,
    overhead: int = 0,
) -> Report:
    """The measures, the same of other batches, and what they rest on; see `measure` for the rest.

    output:  tokens that each sequence answers with; None: one step is looked at
    """
    if output is not None and not cached(model.graph):
        raise InputError(f"--output is {output:,}, but {model.spec.name} generates nothing: it sees all tokens at once")
    found = measure(
        model,
        workload,
        plan,
        device=device,
        price=price,
        amortize=amortize,
        compute=compute,
        ideal=ideal,
        overhead=overhead,
    )
    assert isinstance(plan, Serving)
    start, then, step, batch, devices = found.start, found.then, found.step, found.batch, plan.mesh.devices
    prompt, context, usd, most = found.prompt, found.context, found.usd, found.largest
    data: dict[str, Any] = {
        "serve": found.said(),
        "prompt": prompt,
        "context": context if then else 0,
        "devices": devices,
        "device": device_data(device),
        "usd_per_device_hour": usd,
        "price": found.bill and found.bill.to_dict(),
    }
    what = f"time to first token, prompt of {prompt:,}" if then else f"a pass of {prompt:,} tokens"
    held = found.fits is not False
    lines: list[Any] = [(what, start.seconds, "seconds")] if held else _refused(found, what)
    sections: list[Any] = []
    main: Table | None = None
    said = data["serve"]
    if not then:
        said |= {"largest_batch": most, "fits": found.fits}
    elif step and not held:
        what = f"if it fitted: time per output token, {context:,} in the cache"
        lines.append((what, step["tpot_seconds"], "seconds"))
        said |= dict.fromkeys(("critical_batch", "critical_batch_experts", "turning_batch"))
        said |= {"largest_batch": most, "fits": False}
    elif step:
        lines += [
            (f"time per output token, {context:,} in the cache", step["tpot_seconds"], "seconds"),
            ("tokens per second", step["tokens_per_second"], "number"),
        ]
        lines += [("  of each device", step["per_device"], "number")] if devices > 1 else []
        money = step["usd_per_million_tokens"]
        lines.append(("per million output tokens", "unknown: no price is known" if money is None else money, "usd"))
        lines.append(("a token waits for", f"{step['bound']} ({_shares(step['pass'])})", "text"))
        lines.append(("the prompt waits for", f"{WAITS[start.bound]} ({_shares(start)})", "text"))
        if not ideal:
            floor = Server(then.graph, plan, device, compute=compute, ideal=True)
            one = floor.run(batch, tokens=1, cached=context, source=workload.seq).seconds
            whole = Server(model.graph, plan, device, compute=compute, ideal=True)
            data["ideal"] = {
                "ttft_seconds": _prompt(whole, batch, prompt, workload).seconds,
                "tpot_seconds": one,
            }
            lines.append(("roofline, per output token", one, "seconds"))
        if output is not None:
            before = workload.context if workload.target else context
            half = max(before + output // 2, 1)
            middle = then.run(batch, tokens=1, cached=half, source=workload.seq).seconds
            said["request_seconds"] = start.seconds + output * middle
            said["output_tokens"] = output
            lines.append((f"a whole answer of {output:,} tokens", said["request_seconds"], "seconds"))
        said["critical_batch"] = then.critical()
        said["critical_batch_experts"] = experts = then.critical_experts()
        said["turning_batch"] = then.turning(context)
        said["largest_batch"] = most
        said["fits"] = found.fits
        turn = _sequences(said["critical_batch"], "")
        turn += f", those of the experts {_sequences(experts, '')}" if experts else ""
        lines.append(("matmuls turn compute-bound", turn, "text"))
        lines.append(("the whole step does", _sequences(said["turning_batch"], "at no batch: caches grow too"), "text"))
        if most is not None:
            lines.append((f"largest batch that fits, {context:,} in each", most, "count"))
    if then:
        rows = [
            _row(model, workload, plan, context, overhead, _step(then, n, context, usd, devices, workload))
            for n in _batches(batch, most, plan.mesh.dp)
        ]
        data["batches"] = [{key: value for key, value in row.items() if key not in ("pass", "parts")} for row in rows]
        main = Table("batches", COLUMNS, tuple(data["batches"]))
        sections += [main] if rows else []
    lines[1:1] = said_of(stored := stored_beside(model, plan))
    longest = _decoding(workload, batch, context) if workload.context else workload
    if long := too_long(model, longest, output or 0):
        model.remark(long["length"])
    found.assumptions.update(long)
    data["assumptions"] = assumptions = stored | found.assumptions
    at_once = f"{batch:,} {'sequence' if batch == 1 else 'sequences'} at once"
    title = f"{model.title}: {at_once} on {devices:,} {devices_of(plan.mesh)} of {device.title or device.name}"
    notes = assumed(assumptions)
    shown = (Facts(title, tuple(lines)), *sections, notes)
    return Report("serve", model.describe(), workload.to_dict(), data, shown, main, ok=held)


def _refused(found: Measured, what: str) -> list[Any]:
    """The first lines of an answer that is no: what memory lacks, and what a pass would take if it had it."""
    batch, most = found.batch, found.largest
    sequences = "one sequence" if batch == 1 else f"{batch:,} sequences"
    need = f"{units.format_bytes(found.needs)} for {sequences} on a device of {units.format_bytes(found.room or 0)}"
    return [
        ("fits", f"no: {need}; nothing is priced", "text"),
        ("largest batch that memory holds", most, "count"),
        (f"if it fitted: {what}", found.start.seconds, "seconds"),
    ]


def _prompt(server: Server, batch: int, prompt: int, workload: Workload) -> Pass:
    """The pass that makes the first token; of an encoder–decoder, the whole source and one token of the answer."""
    return server.run(batch, tokens=1 if workload.target else prompt, cached=0, source=workload.seq)


def _step(
    server: Server, batch: int, context: int, usd: float | None, devices: int, workload: Workload
) -> dict[str, Any]:
    """A decoding step of a batch."""
    one = server.run(batch, tokens=1, cached=context, source=workload.seq)
    rate = batch / one.seconds
    return {
        "batch": batch,
        "tpot_seconds": one.seconds,
        "tokens_per_second": rate,
        "per_device": rate / devices,
        "usd_per_million_tokens": None if usd is None else usd * devices / 3600 / rate * 10**6,
        "bound": WAITS[one.bound],
        "parts": one._asdict(),
        "pass": one,
    }


def _row(
    model: Transformer, workload: Workload, plan: Serving, context: int, overhead: int, step: dict[str, Any]
) -> dict[str, Any]:
    """A step with the memory that it takes."""
    return {**step, "memory": _memory(model, _decoding(workload, step["batch"], context), plan, overhead)}


def _decoding(workload: Workload, batch: int, context: int) -> Workload:
    """A step of decoding with so much in the cache."""
    encoded = workload.target is not None
    return Workload(batch=batch, seq=workload.seq if encoded else 1, target=1 if encoded else None, context=context)


def _memory(model: Transformer, run: Workload, plan: Serving, overhead: int) -> int:
    """Bytes of the fullest device."""
    return count(model, run, plan, overhead).fullest[0]["total"]


def _largest(model: Transformer, run: Workload, plan: Serving, room: int, overhead: int) -> int:
    """The largest batch that memory holds in such a pass."""
    dp = plan.mesh.dp
    return dp * largest(lambda n: _memory(model, replace(run, batch=n * dp), plan, overhead) <= room)


def _batches(batch: int, most: int | None, dp: int) -> list[int]:
    """Powers of two up to what memory holds, with the batch that is asked for, if it does."""
    end = MOST_BATCH if most is None else min(most, MOST_BATCH)
    powers = {dp * 2**i for i in range(13) if dp * 2**i <= end}
    asked = {batch} if most is None or batch <= most else set()
    return sorted(powers | asked | ({end} if most and most <= MOST_BATCH else set()))


def _shares(one: Pass) -> str:
    """What a pass waits for, as shares."""
    parts = sorted(one._asdict().items(), key=lambda part: -part[1])
    return ", ".join(
        f"{WAITS[name]} {value / one.seconds:.0%}" for name, value in parts if value / one.seconds >= 0.005
    )


def _sequences(count: int | None, none: str) -> str:
    return none if count is None else f"from {count:,} sequences on"


def _assumptions(
    plan: Serving, device: Device, server: Server, bill: Paid | None, overhead: int, *, ideal: bool
) -> dict[str, Any]:
    said: dict[str, Any] = {
        "weights": f"{storage(plan.weights).name}, cache {storage(plan.kv_dtype).name}; multiplied in {server.compute}",
    }
    if plan.mesh.tp > 1:
        held = "split its batch (--kv-split batch)" if plan.kv_split == "batch" else "hold copies (--kv-split heads)"
        said["cache"] = f"ranks beyond the key/value heads {held}"
    if ideal:
        said["rates"] = "the peaks themselves (--ideal): no losses, no latency"
    else:
        said |= roofline.said(device)
        said |= communication.said(device) if plan.mesh.devices > 1 else {}
    said["attention"] = (
        f"{plan.attention}; logits of {'the last position' if plan.logits == 'last' else 'all positions'}"
    )
    said["overhead"] = f"{overhead:,} bytes of framework and allocator on each device (--overhead)"
    if device.memory_bytes:
        said["device memory"] = memory_said(device)
    said["steps"] = "every sequence of the batch decodes; prompts of others do not interrupt"
    if bill is None:
        said["price"] = f"unknown: the file of {device.name} has none (--price)"
    else:
        said["price"] = f"{units.format_usd(bill.usd_per_hour)} an hour of a device ({bill.said})"
    return said

"""The report of `tcalc serve`: how fast a model answers, and what a million tokens cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformer_calc import units
from transformer_calc.report import Column, Facts, Report, Table
from transformer_calc.report.common import device_data, of_checkpoint, rests_on
from transformer_calc.report.memory import devices_of

if TYPE_CHECKING:
    from transformer_calc.readings.cost.serve import Row, Serve
    from transformer_calc.readings.time.latency import Pass

COLUMNS = (
    Column("batch", "sequences", "count"),
    Column("tpot_seconds", "per token", "seconds"),
    Column("tokens_per_second", "tokens/s", "number"),
    Column("per_device", "a device", "number", 2),
    Column("usd_per_million_tokens", "$ per 1M", "usd", 1),
    Column("bound", "waits for", "text", 1),
    Column("memory", "memory", "bytes", 3),
)
MEASURES = (
    "ttft_seconds",
    "tpot_seconds",
    "tokens_per_second",
    "tokens_per_second_per_device",
    "usd_per_million_tokens",
    "bound",
    "prefill_bound",
    "prefill_tokens_per_second",
    "ttft_parts",
    "tpot_parts",
)
BOUNDS = ("critical_batch", "critical_batch_experts", "turning_batch")


def build(answer: Serve, *, ideal: bool = False) -> Report:
    """The measures, the same of other batches, and what they rest on.

    ideal:  they are those of the roofline itself
    """
    held, device = answer.fits is not False, answer.device
    assumptions, basis = rests_on(answer.assumptions)
    data: dict[str, Any] = {
        "serve": measures(answer),
        "prompt": answer.prompt,
        "context": answer.context,
        "devices": answer.devices,
        "device": device_data(device),
        "usd_per_device_hour": answer.price and answer.price.usd_per_hour,
        "price": answer.price and answer.price.to_dict(),
    }
    if held and answer.step and not ideal:
        data["ideal"] = {"ttft_seconds": answer.ideal_ttft_seconds, "tpot_seconds": answer.ideal_tpot_seconds}
    what = f"time to first token, prompt of {answer.prompt:,}"
    what = what if answer.generates else f"a pass of {answer.prompt:,} tokens"
    lines: list[Any] = [(what, answer.start.seconds, "seconds")] if held else _refused(answer, what)
    stored = of_checkpoint(answer.assumptions)
    lines[1:1] = stored
    lines += _lines(answer, held=held, ideal=ideal)
    sections: list[Any] = []
    main: Table | None = None
    if answer.step:
        data["batches"] = list(map(_row, answer.batches))
        main = Table("batches", COLUMNS, tuple(data["batches"]))
        sections += [main] if answer.batches else []
    data["assumptions"] = assumptions
    at_once = f"{answer.batch:,} {'sequence' if answer.batch == 1 else 'sequences'} at once"
    on = f"{answer.devices:,} {devices_of(answer.plan.mesh)} of {device.title or device.name}"
    facts = Facts(f"{answer.title}: {at_once} on {on}", tuple(lines))
    return Report("serve", answer.model, answer.workload, data, (facts, *sections, basis), main, ok=held)


def measures(answer: Serve) -> dict[str, Any]:
    """In JSON; of what memory does not hold, there are none but for what they would be if it did."""
    step = answer.step
    found: dict[str, Any] = {name: getattr(answer, name, None) for name in MEASURES}
    found |= {"largest_batch": answer.largest_batch, "fits": answer.fits}
    if step:
        found |= {name: getattr(answer, name) for name in BOUNDS}
    if answer.fits is False:
        times = {"ttft_seconds": answer.start.seconds, "tpot_seconds": step and step.tpot_seconds}
        return found | {"prefill_bound": None, "if_it_fitted": times}
    if answer.output_tokens is not None:
        found |= {"request_seconds": answer.request_seconds, "output_tokens": answer.output_tokens}
    return found | {
        "ttft_parts": answer.start._asdict(),
        "tpot_parts": step and step.parts._asdict(),
        "tokens_per_second_per_device": step and step.per_device,
    }


def _lines(answer: Serve, *, held: bool, ideal: bool) -> list[Any]:
    """What is said of a token, for people."""
    step, cached = answer.step, f"{answer.context:,} in the cache"
    if not step:
        return []
    if not held:
        return [(f"if it fitted: time per output token, {cached}", step.tpot_seconds, "seconds")]
    money = step.usd_per_million_tokens
    experts = answer.critical_batch_experts
    turn = _sequences(answer.critical_batch, "")
    turn = f"{turn}, those of the experts {_sequences(experts, '')}" if experts else turn
    lines: list[Any] = [
        (f"time per output token, {cached}", step.tpot_seconds, "seconds"),
        ("tokens per second", step.tokens_per_second, "number"),
        *([("  of each device", step.per_device, "number")] if answer.devices > 1 else []),
        ("per million output tokens", "unknown: no price is known" if money is None else money, "usd"),
        ("a token waits for", f"{step.bound} ({_shares(step.parts)})", "text"),
        ("the prompt waits for", f"{answer.prefill_bound} ({_shares(answer.start)})", "text"),
        *([] if ideal else [("roofline, per output token", answer.ideal_tpot_seconds, "seconds")]),
    ]
    if answer.output_tokens is not None:
        lines.append((f"a whole answer of {answer.output_tokens:,} tokens", answer.request_seconds, "seconds"))
    lines.append(("matmuls turn compute-bound", turn, "text"))
    lines.append(("the whole step does", _sequences(answer.turning_batch, "at no batch: caches grow too"), "text"))
    if answer.largest_batch is not None:
        lines.append((f"largest batch that fits, {answer.context:,} in each", answer.largest_batch, "count"))
    return lines


def _refused(answer: Serve, what: str) -> list[Any]:
    """The first lines of an answer that is no: what memory lacks, and what a pass would take if it had it."""
    sequences = "one sequence" if answer.batch == 1 else f"{answer.batch:,} sequences"
    room = units.format_bytes(answer.room or 0)
    need = f"{units.format_bytes(answer.needs)} for {sequences} on a device of {room}"
    return [
        ("fits", f"no: {need}; nothing is priced", "text"),
        ("largest batch that memory holds", answer.largest_batch, "count"),
        (f"if it fitted: {what}", answer.start.seconds, "seconds"),
    ]


def _row(row: Row) -> dict[str, Any]:
    """A step of a batch, with the memory that it takes."""
    return {name: value for name, value in row.step._asdict().items() if name != "parts"} | {"memory": row.memory}


def _shares(one: Pass) -> str:
    """What a pass waits for, as shares."""
    return ", ".join(f"{word} {part:.0%}" for word, part in one.shares)


def _sequences(count: float | None, none: str) -> str:
    return none if count is None else f"from {count:,} sequences on"

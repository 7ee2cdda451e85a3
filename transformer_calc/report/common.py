"""What several reports share: the legend of symbols, and what an answer rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from transformer_calc import units
from transformer_calc.report import Column, Facts, Table

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.facts import Device
    from transformer_calc.plan import Serving, Training
    from transformer_calc.readings.count.legend import Symbol
    from transformer_calc.spec import Workload


def assumed(assumptions: Mapping[str, object], title: str = "assumptions") -> Facts:
    """What an answer rests on, each beside its name."""
    return Facts(title, tuple((name, str(text), "text") for name, text in assumptions.items()))


def too_long(model: Transformer, run: Workload, more: int = 0) -> dict[str, str]:
    """What of a workload is longer than the model is made for, as an assumption; `more`: tokens that are to follow."""
    said = "; ".join(model.beyond(run, more))
    return {"length": said} if said else {}


def device_data(device: Device) -> dict[str, Any]:
    """A device in JSON: its name, and what is known of its memory."""
    return {name: getattr(device, name) for name in ("name", "memory_bytes", "memory_kind", "memory_note")}


def memory_said(device: Device) -> str:
    """How much memory a device has, and what that figure is."""
    return f"{units.format_bytes(device.memory_bytes or 0)}, {device.memory_basis}"


def stored_otherwise(model: Transformer, plan: Serving | Training) -> dict[str, str]:
    """What the config says of how its checkpoint is stored, where its weights are not counted so, as an assumption."""
    from transformer_calc.plan import Serving
    from transformer_calc.storage import precision, storage

    checkpoint = model.checkpoint
    recipe = "" if isinstance(plan, Serving) or plan.adapters else plan.precision  # of what is trained whole
    if checkpoint is None or (not recipe and not isinstance(plan, Serving) and not plan.adapters):
        return {}
    counted = precision(recipe).weights if recipe else storage(plan.weights).name
    near = storage(checkpoint.storage).name if checkpoint.storage else None
    if near == counted:
        return {}
    said = f"{checkpoint.said} by its {'quantization_config' if checkpoint.quantization else 'dtype'}; "
    if recipe:
        return {"checkpoint": f"{said}training keeps its weights in {counted} (--precision {recipe})"}
    if plan.weights != Serving().weights:
        return {"checkpoint": f"{said}weights are counted in {counted} (--weights)"}
    way = f"--weights {checkpoint.storage} counts them so" if near else "no --weights comes near it"
    return {"checkpoint": f"{said}weights are counted in {counted}: {way}"}


def stored_beside(model: Transformer, plan: Serving | Training) -> dict[str, str]:
    """What the weights that are counted are not: stored otherwise, or all that the checkpoint holds."""
    return stored_otherwise(model, plan) | ({"further tokens": model.further.said} if model.further else {})


def said_of(assumptions: Mapping[str, str]) -> list[Any]:
    """What of a checkpoint stands in the first lines of an answer."""
    return [(name, text, "text") for name, text in assumptions.items()]


def legend(symbols: Iterable[Symbol]) -> tuple[dict[str, int | float], Table]:
    """The letters with their values for JSON, and with what they are for people."""
    rows = tuple(
        {
            "symbol": f"{one.letter} = {one.made_of}" if one.made_of else one.letter,
            "value": one.value if isinstance(one.value, int) else f"{one.value:,.1f}",
            "meaning": one.meaning,
        }
        for one in symbols
    )
    columns = (
        Column("symbol", "symbol", "text"),
        Column("value", "value", "count"),
        Column("meaning", "meaning", "text"),
    )
    return {one.letter: one.value for one in symbols}, Table("symbols", columns, rows)

"""What several reports share: the legend of symbols, and what an answer rests on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from transformer_calc.errors import as_options
from transformer_calc.report import Column, Facts, Table

if TYPE_CHECKING:
    from transformer_calc.answer import Assumptions
    from transformer_calc.facts import Device
    from transformer_calc.readings.count.legend import Symbol


def rests_on(assumptions: Assumptions, title: str = "assumptions") -> tuple[dict[str, Any], Facts]:
    """What an answer rests on: for JSON, and for people, each beside its name; fields in the command line's words."""
    said = {
        name: one._replace(text=as_options(one.text), source=as_options(one.source))
        for name, one in assumptions.items()
    }
    return {name: one.to_dict() for name, one in said.items()}, Facts(
        title, tuple((name, one.text, "text") for name, one in said.items())
    )


def of_checkpoint(assumptions: Assumptions) -> tuple[Any, ...]:
    """What of a checkpoint stands in the first lines of an answer."""
    names = ("checkpoint", "further tokens")
    return tuple((name, as_options(assumptions[name].text), "text") for name in names if name in assumptions)


def device_data(device: Device) -> dict[str, Any]:
    """A device in JSON: its name, and what is known of its memory."""
    return {name: getattr(device, name) for name in ("name", "memory_bytes", "memory_kind", "memory_note")}


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

"""Electricity: grams of CO₂e that a kWh stands for, by country and cloud region."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformer_calc.errors import InputError, did_you_mean, shown
from transformer_calc.facts import Grid
from transformer_calc.sources.catalogue import Catalogue, read, short

FILE = Catalogue("", "grid", "").folder() / "grid.toml"
WORLD = "world"


def grids() -> Iterator[Grid]:
    """Every entry of the file."""
    for table, entries in read(FILE, "electricity grids").items():
        source, year = str(entries.get("source", "")), str(entries.get("year", ""))
        for name, entry in entries.items():
            if isinstance(entry, dict):
                yield _grid(f"{FILE.name}: [{table}.{name}] ", name, {"source": source, "year": year, **entry})


def load(name: str) -> Grid:
    """The grid of a country (`USA`, `France`), a cloud region (`us-central1`) or the world, in either case."""
    every = {name.lower(): grid for grid in grids() for name in (grid.title, grid.name)}
    wanted = name.strip().lower()
    if wanted in every:
        return every[wanted]
    countries = ", ".join(dict.fromkeys(grid.name for grid in every.values() if grid.name.isupper()))
    hint = did_you_mean(wanted, every) or f"of places there are {WORLD}, {countries}, and regions of Google Cloud"
    raise InputError(f"carbon is {shown(name)}; it must be g CO₂e for a kWh, or a place that is known", hint)


def _grid(where: str, name: str, entry: dict[str, Any]) -> Grid:
    grams = entry.get("g_per_kwh")
    if isinstance(grams, bool) or not isinstance(grams, int | float):
        raise InputError(f"{where}g_per_kwh is {short(grams)}; it must be a number")
    return Grid(name=name, title=entry.get("title", name), g_per_kwh=grams, year=entry["year"], source=entry["source"])

"""The reports of `tcalc presets`: the list, and one preset whole."""

from __future__ import annotations

from typing import Any

from transformer_calc.errors import InputError
from transformer_calc.report import Column, Facts, Report, Table, Text
from transformer_calc.sources import presets

COLUMNS = (
    Column("name", "preset", "text"),
    Column("title", "model", "text", 1),
    Column("family", "family", "text", 3),
    Column("year", "year", "text", 2),
    Column("params", "parameters", "count"),
    Column("source", "source", "text", 4),
)


def build(filter: str | None = None) -> Report:
    """Every preset whose name, title, family or other names hold the filter."""
    rows = []
    for name in presets.names():
        data = presets.read(presets.folder() / f"{name}.toml")
        aliases = [str(alias) for alias in data.get("aliases", [])]
        words = [name, str(data.get("title", "")), str(data.get("family", "")), *aliases]
        if filter and not any(filter.lower() in word.lower() for word in words):
            continue
        rows.append(
            {
                "name": name,
                "title": data.get("title", name),
                "family": data.get("family", ""),
                "year": data.get("year"),
                "params": data.get("expected", {}).get("params"),
                "source": data.get("source", ""),
                "aliases": aliases,
            }
        )
    if not rows:
        raise InputError(f"no preset matches {filter!r}", hint="tcalc presets lists all of them")
    about = f"{len(rows)} preset{'s' if len(rows) > 1 else ''}" + (f" matching {filter!r}" if filter else "")
    table = Table(about, COLUMNS, tuple(rows), caption="tcalc presets show NAME prints one whole")
    return Report("presets", {}, {}, {"presets": rows}, (table,), table)


def show(name: str) -> Report:
    """One preset, as its file has it."""
    path = presets.find(name)
    data = presets.read(path)
    sections: list[Facts | Text] = []
    head = {key: value for key, value in data.items() if not isinstance(value, dict)}
    sections.append(
        Facts(str(head.get("title", path.stem)), tuple((k, _text(v), "text") for k, v in head.items() if k != "title"))
    )
    rows = [{"table": "", "key": k, "value": _text(v)} for k, v in head.items()]
    for table, values in data.items():
        if isinstance(values, dict):
            sections.append(Facts(f"[{table}]", tuple((k, _shown(v), "text") for k, v in values.items())))
            rows += [{"table": table, "key": k, "value": _text(v)} for k, v in values.items()]
    columns = (Column("table", "table", "text"), Column("key", "key", "text"), Column("value", "value", "text"))
    main = Table("preset", columns, tuple(rows))
    model = {"name": path.stem, "family": data.get("family", "")}
    return Report("presets show", model, {}, {"preset": data}, tuple(sections), main)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(f"[{_text(inner)}]" if isinstance(inner, list) else _text(inner) for inner in value)
    return str(value)


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _text(value)

"""The reports of `tcalc presets`: the list, and one preset whole. Other catalogues are reported on the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from transformer_calc.errors import InputError
from transformer_calc.report import Column, Facts, Report, Table, Text
from transformer_calc.sources import presets
from transformer_calc.sources.catalogue import Catalogue

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
    rows = [
        {
            "name": name,
            "title": data.get("title", name),
            "family": data.get("family", ""),
            "year": data.get("year"),
            "params": data.get("expected", {}).get("params"),
            "source": data.get("source", ""),
            "aliases": [str(alias) for alias in data.get("aliases", [])],
        }
        for name, data in entries(presets.MODELS, filter, ("title", "family"))
    ]
    return listing(presets.MODELS, filter, COLUMNS, rows)


def show(name: str) -> Report:
    """One preset, as its file has it."""
    path = presets.find(name)
    data = presets.MODELS.read(path)
    return whole(presets.MODELS, data, {"name": path.stem, "family": data.get("family", "")})


def entries(catalogue: Catalogue, filter: str | None, keys: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    """(name, data) of every entry of which the name, another name or the text of one of the keys holds the filter."""
    found = []
    for name, data in catalogue.entries():
        words = [name, *(str(data.get(key, "")) for key in keys), *map(str, data.get("aliases", []))]
        if not filter or any(filter.lower() in word.lower() for word in words):
            found.append((name, data))
    if not found:
        raise InputError(f"no {catalogue.one} matches {filter!r}", hint=f"tcalc {catalogue.command} lists all of them")
    return found


def listing(
    catalogue: Catalogue,
    filter: str | None,
    columns: tuple[Column, ...],
    rows: list[dict[str, Any]],
    drawn: tuple[Column, ...] | None = None,
    texts: Iterable[Mapping[str, object]] = (),
    caption: str = "",
) -> Report:
    """The list of a catalogue's entries; `drawn` and `texts`: what people see, where it differs from the figures."""
    about = f"{len(rows)} {catalogue.one}{'s' if len(rows) > 1 else ''}" + (f" matching {filter!r}" if filter else "")
    caption += f"tcalc {catalogue.command} show NAME prints one whole"
    main = Table(about, columns, tuple(rows), caption=caption)
    table = Table(about, drawn, tuple(texts), caption=caption) if drawn else main
    return Report(catalogue.command, {}, {}, {f"{catalogue.one}s": rows}, (table,), main)


def whole(
    catalogue: Catalogue,
    data: Mapping[str, Any],
    model: Mapping[str, object],
    seen: Callable[[str, str, Any], str | None] = lambda table, key, value: None,
) -> Report:
    """One entry as its file has it; `seen`: how people see the value of a table's key, where it is not as it stands."""
    tables = {"": {key: value for key, value in data.items() if not isinstance(value, dict)}}
    tables |= {key: value for key, value in data.items() if isinstance(value, dict)}
    sections: list[Facts | Text] = []
    for table, values in tables.items():
        title = f"[{table}]" if table else str(values.get("title", data.get("name", "")))
        plain = _shown if table else _text
        items = ((key, seen(table, key, value) or plain(value)) for key, value in values.items())
        sections.append(Facts(title, tuple((key, text, "text") for key, text in items if table or key != "title")))
    rows = [{"table": t, "key": k, "value": _text(v)} for t, values in tables.items() for k, v in values.items()]
    columns = (Column("table", "table", "text"), Column("key", "key", "text"), Column("value", "value", "text"))
    main = Table(catalogue.one, columns, tuple(rows))
    return Report(f"{catalogue.command} show", model, {}, {catalogue.one: data}, tuple(sections), main)


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

"""Devices: accelerators as small TOML files, each with the source of its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from transformer_calc.errors import InputError, did_you_mean, shown
from transformer_calc.facts import Device, Price
from transformer_calc.sources.catalogue import DEVICES as DEVICES
from transformer_calc.sources.catalogue import short
from transformer_calc.units import parse_amount

T = TypeVar("T")

TEXTS = (
    "name",
    "title",
    "vendor",
    "kind",
    "source",
    "note",
    "memory_kind",
    "memory_note",
    "memory_source",
    "interconnect_kind",
    "network_kind",
    "efficiency_source",
)
COUNTS = ("year", "memory_bytes", "bandwidth", "interconnect", "node", "network", "units", "power")
TABLES = ("peaks", "efficiency", "prices")
KEYS = (*TEXTS, *COUNTS, "memory_gb", "aliases", "unconfirmed", *TABLES)
PEAKS = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp16_fp16acc", "fp8", "fp6", "fp4", "int8", "int4")
REACHED = ("matmul", "attention", "memory", "interconnect", "network")  # of which an efficiency is known
PRICE = ("usd_per_hour", "usd", "terms", "date", "source")

MEMORY_SAID = ("memory_note", "memory_source")  # of what a file has; forgotten where the memory is given

names, find, exists, suggestion = DEVICES.names, DEVICES.find, DEVICES.exists, DEVICES.suggestion


def load(name: str | Path | None, sets: Iterable[str] = ()) -> Device:
    """A device by its name, another name of it, or the path of a TOML file like those of the known ones.

    sets:  `key=value` of its file, as in bandwidth=4e12 or peaks.bf16=500T; without a name they are all that is known
    """
    path = Path("custom.toml") if name is None else locate(name)
    data = {"name": "custom", "kind": "GPU"} if name is None else DEVICES.read(path)
    sets = tuple(sets)
    return parse(_changed(data, sets), Path("--device-set")) if sets else parse(data, path)


def _changed(data: Mapping[str, Any], sets: tuple[str, ...]) -> dict[str, Any]:
    """The file with each `key=value` set, and what it said of them before forgotten."""
    found = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    doubts: Any = found.get("unconfirmed", [])
    before: dict[str, str] = {}
    for text in sets:
        path, equals, value = (part.strip() for part in text.partition("="))
        if path in before:
            values = f"as {shown(before[path])} and as {shown(value)}"
            raise InputError(f"--device-set {shown(path)} is given twice, {values}; give it once")
        before[path] = value
        table, dot, key = path.partition(".")
        if not equals or not path or (dot and table not in ("peaks", "efficiency")):
            raise InputError(f"--device-set is {shown(text)}; it must be key=value", "for example bandwidth=4e12")
        if not dot and (path not in (*TEXTS, *COUNTS, "memory_gb") or path in ("source", "note")):
            raise InputError(
                f"--device-set: {shown(path)} is not a figure of a device",
                did_you_mean(path, [*COUNTS, "memory_gb", *(f"peaks.{key}" for key in PEAKS)]),
            )
        where = found.setdefault(table, {}) if dot else found
        where[key if dot else path] = value if path in TEXTS else parse_amount(value, field=f"--device-set {path}")
        found["unconfirmed"] = doubts = [figure for figure in doubts if figure != path]
        if path in ("memory_gb", "memory_bytes"):
            said = ("memory_bytes", "memory_note", "memory_source") if path == "memory_gb" else MEMORY_SAID
            found = {key: value for key, value in found.items() if key not in said} | {"memory_kind": "given"}
    title = found.get("title") or found.get("name", "")
    found["title"] = f"{title} with {', '.join(sets)}"
    return found


def locate(name: str | Path) -> Path:
    """The file of a device."""
    text = str(name)
    return find(text) if isinstance(name, str) and "/" not in text and not text.endswith(".toml") else Path(text)


def parse(data: Mapping[str, Any], path: Path) -> Device:
    """The device that a file describes; what it leaves out is unknown."""
    where = f"{path.name}: "
    _known(where, data, KEYS)
    for table in TABLES:
        if not isinstance(data.get(table, {}), dict):
            raise InputError(f"{where}{table} is {short(data[table])}; it must be a table: [{table}]")
    fields: dict[str, Any] = {key: _text(where, key, data[key]) for key in TEXTS if key in data}
    fields |= {key: _whole(where, key, data[key]) for key in COUNTS if key in data}
    fields["name"] = fields.get("name") or path.stem
    if "memory_gb" in data:
        gb = fields["memory_gb"] = _number(where, "memory_gb", data["memory_gb"])
        if "memory_bytes" not in data:
            fields["memory_bytes"] = round(gb * 10**9)
            fields.setdefault("memory_note", "a GB is taken as 10⁹ bytes")
    peaks = data.get("peaks", {})
    _known(where, peaks, PEAKS, "peaks.")
    fields["peaks"] = tuple((key, _whole(where, f"peaks.{key}", value)) for key, value in peaks.items())
    reached = data.get("efficiency", {})
    _known(where, reached, REACHED, "efficiency.")
    fields["efficiency"] = tuple((key, _number(where, f"efficiency.{key}", value)) for key, value in reached.items())
    fields["prices"] = tuple(_price(where, provider, price) for provider, price in data.get("prices", {}).items())
    unconfirmed = data.get("unconfirmed", [])
    if not isinstance(unconfirmed, list) or not all(isinstance(key, str) for key in unconfirmed):
        raise InputError(f"{where}unconfirmed is {short(unconfirmed)}; it must be a list of keys")
    figures = [*COUNTS, "memory_gb", *(f"peaks.{key}" for key in peaks), *(f"efficiency.{key}" for key in reached)]
    for key in unconfirmed:
        if key not in figures:
            raise InputError(
                f"{where}unconfirmed names {shown(key)}, which is no figure of it", did_you_mean(key, figures)
            )
    fields["unconfirmed"] = tuple(unconfirmed)
    return _made(where, Device, **fields)


def _price(where: str, provider: str, data: Any) -> Price:
    key = f"prices.{provider}"
    if not isinstance(data, dict):
        raise InputError(f'{where}{key} is {short(data)}; it must be a table: [prices."{provider}"]')
    _known(where, data, PRICE, f"{key}.")
    if "usd_per_hour" not in data and "usd" not in data:
        raise InputError(f"{where}{key} has no usd_per_hour, to rent, and no usd, to buy")
    texts = {name: _text(where, f"{key}.{name}", data[name]) for name in PRICE[2:] if name in data}
    dollars = {name: _number(where, f"{key}.{name}", data[name]) for name in PRICE[:2] if name in data}
    return _made(f"{where}{key}: ", Price, provider=provider, **dollars, **texts)


def _made(where: str, record: Callable[..., T], **fields: Any) -> T:
    try:
        return record(**fields)
    except InputError as error:
        raise InputError(where + error.message, error.hint) from None


def _known(where: str, data: Mapping[str, Any], keys: Iterable[str], prefix: str = "") -> None:
    for key in data:
        if key not in keys:
            hint = did_you_mean(key, keys)
            raise InputError(
                f"{where}{shown(prefix + key)} is not a key of a device; there are {', '.join(keys)}", hint
            )


def _text(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}{key} is {short(value)}; it must be a text")
    return value


def _number(where: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InputError(f"{where}{key} is {short(value)}; it must be a number greater than 0")
    return value


def _whole(where: str, key: str, value: Any) -> int:
    number = _number(where, key, value)
    if number != int(number):
        raise InputError(f"{where}{key} is {short(value)}; it must be a whole number")
    return int(number)

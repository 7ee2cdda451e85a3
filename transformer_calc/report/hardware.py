"""The reports of `tcalc hardware`: the list of devices, and one device whole."""

from __future__ import annotations

from typing import Any

from transformer_calc import facts, units
from transformer_calc.facts import Device
from transformer_calc.readings.cost.prices import YEARS, paid
from transformer_calc.report import Column, Report
from transformer_calc.report.presets import entries, listing, whole
from transformer_calc.sources import hardware

PEAKS = ("fp32", "bf16", "fp16", "fp8", "int8", "fp4")
MARK = "?"
LESS = "*"
BOUGHT = "~"

COLUMNS = (
    Column("name", "device", "text"),
    Column("title", "title", "text"),
    Column("vendor", "vendor", "text"),
    Column("kind", "kind", "text"),
    Column("year", "year", "text"),
    Column("memory_gb", "memory as printed, GB", "count"),
    Column("memory_bytes", "memory, bytes", "count"),
    Column("memory_kind", "the bytes are", "text"),
    Column("bandwidth", "bandwidth, bytes/s", "count"),
    *(Column(f"peak_{precision}", f"{precision}, FLOP/s", "count") for precision in hardware.PEAKS),
    Column("interconnect", "interconnect, bytes/s both ways", "count"),
    Column("interconnect_kind", "interconnect", "text"),
    Column("node", "devices that it joins", "count"),
    Column("network", "network, bytes/s both ways", "count"),
    Column("network_kind", "network", "text"),
    Column("units", "multiprocessors", "count"),
    *(Column(f"reached_{what}", f"reached of {what}", "share") for what in hardware.REACHED),
    Column("power", "power, W", "count"),
    Column("usd_per_hour", "$ per hour", "text"),
    Column("usd", "$ to buy", "text"),
    Column("price_date", "price of", "text"),
    Column("price_provider", "price at", "text"),
    Column("unconfirmed", "unconfirmed", "text"),
    Column("source", "source", "text"),
)
# Figures are texts here: a mark may follow them.
DRAWN = (
    Column("name", "device", "text"),
    Column("memory", "memory", "count"),
    Column("bandwidth", "GB/s", "count", 1),
    *(Column(f"peaks.{p}", f"{p} TFLOP/s", "count", 1 if p in ("bf16", "fp8") else 4) for p in PEAKS),
    Column("interconnect", "links GB/s", "count", 2),
    Column("power", "power W", "count", 2),
    Column("price", "$/hour", "count", 3),
    Column("price_from", "price at, of", "text", 5),
)


def build(filter: str | None = None) -> Report:
    """Every device whose name, title, vendor, kind or other names hold the filter."""
    rows, texts = [], []
    keys = ("title", "vendor", "kind")
    for name, data in entries(hardware.DEVICES, filter, keys):
        device = hardware.parse(data, hardware.DEVICES.path(name))
        rows.append({**_figures(device), "aliases": data.get("aliases", [])})
        texts.append(_texts(device))
    caption = f"{MARK} unconfirmed. {LESS} the driver's or the vendor's figure: programs get less. "
    caption += f"{BOUGHT} bought, over {YEARS:g} years. Peaks are dense; links are both directions together. "
    return listing(hardware.DEVICES, filter, COLUMNS, rows, DRAWN, texts, caption)


def show(name: str) -> Report:
    """One device, as its file has it, with what is unconfirmed marked."""
    path = hardware.locate(name)
    data = hardware.DEVICES.read(path)
    device = hardware.parse(data, path)
    exact = {
        **data,
        **{key: getattr(device, key) for key in hardware.COUNTS if key in data},
        **({"peaks": dict(device.peaks)} if device.peaks else {}),
    }

    def seen(table: str, key: str, value: Any) -> str | None:
        text = _seen(table, key, value)
        figure = f"{table}.{key}" if table else key
        return f"{text or value} (unconfirmed)" if figure in device.unconfirmed else text

    return whole(hardware.DEVICES, exact, {}, seen)


def _figures(device: Device) -> dict[str, Any]:
    """For JSON and CSV: every figure, exactly."""
    price = device.price
    return {
        "name": device.name,
        "title": device.title,
        "vendor": device.vendor,
        "kind": device.kind,
        "year": device.year,
        "memory_gb": device.memory_gb,
        "memory_bytes": device.memory_bytes,
        "memory_kind": device.memory_kind,
        "bandwidth": device.bandwidth,
        **{f"peak_{precision}": device.peak(precision) for precision in hardware.PEAKS},
        "interconnect": device.interconnect,
        "interconnect_kind": device.interconnect_kind,
        "node": device.node,
        "network": device.network,
        "network_kind": device.network_kind,
        "units": device.units,
        **{f"reached_{what}": device.reached(what) for what in hardware.REACHED},
        "power": device.power,
        "usd_per_hour": price.usd_per_hour if price else None,
        "usd": price.usd if price else None,
        "price_date": price.date if price else None,
        "price_provider": price.provider if price else None,
        "unconfirmed": list(device.unconfirmed),
        "source": device.source,
    }


def _texts(device: Device) -> dict[str, str]:
    """For people: figures in the units of datasheets, with a mark where they are unconfirmed."""
    figures: dict[str, str] = {
        "bandwidth": _scaled(device.bandwidth, 10**9),
        "interconnect": _scaled(device.interconnect, 10**9),
        "power": _scaled(device.power),
        **{f"peaks.{precision}": _scaled(rate, 10**12) for precision, rate in device.peaks},
        "memory": _memory(device),
    }
    unconfirmed = {"memory" if key.startswith("memory") else key for key in device.unconfirmed}
    price = device.price
    return {
        "name": device.name,
        **{key: f"{text}{MARK}" if key in unconfirmed else text for key, text in figures.items()},
        "price": _hourly(device),
        "price_from": f"{price.provider}, {price.date}" if price else "",
    }


def _memory(device: Device) -> str:
    """The memory, with a mark where it is not what programs get."""
    if device.memory_bytes is None:
        return ""
    return units.format_bytes(device.memory_bytes) + (LESS if device.memory_kind in ("driver", "vendor") else "")


def _hourly(device: Device) -> str:
    """What an hour costs, with a mark where that is a purchase that is spread over years."""
    price = paid(device)
    return "" if price is None else f"{price.usd_per_hour:.2f}" + (BOUGHT if price.years else "")


def _seen(table: str, key: str, value: Any) -> str | None:
    if table == "efficiency":
        return f"{value:.0%} of the peak"
    if table == "peaks":
        return f"{_scaled(value, 10**12)} {'TOP/s' if key.startswith('int') else 'TFLOP/s'}"
    match table, key:
        case "", "memory_bytes":
            return f"{value:,} ({units.format_bytes(value)})"
        case "", "memory_kind":
            return f"{value}: {facts.MEMORY_KINDS[value]}".format(runtime="the runtime")
        case "", "bandwidth":
            return f"{_scaled(value, 10**9)} GB/s"
        case "", "interconnect":
            return f"{_scaled(value, 10**9)} GB/s, both directions together"
        case "", "network":
            return f"{_scaled(value, 10**9)} GB/s to other nodes, both directions together"
        case "", "node":
            return f"{value:,} devices"
        case "", "power":
            return f"{value} W"
        case "prices", _:
            asked = f"${value['usd_per_hour']:g} an hour" if "usd_per_hour" in value else f"${value['usd']:,} to buy"
            terms = [asked, *(value.get(name, "") for name in hardware.PRICE[2:])]
            return "; ".join(filter(None, terms))
    return None


def _scaled(value: int | None, unit: int = 1) -> str:
    return "" if value is None else f"{value / unit:,.6g}"

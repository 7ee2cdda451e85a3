"""Every device says where its figures are from; what is not known stays unknown, and what is not sure is marked."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from transformer_calc import facts
from transformer_calc.cli import run
from transformer_calc.errors import InputError
from transformer_calc.facts import Device, Price
from transformer_calc.report import hardware as report
from transformer_calc.sources import hardware

FILES = {path.stem: path for path in sorted((Path(__file__).parent.parent / "presets" / "hardware").glob("*.toml"))}
DATA: dict[str, dict[str, Any]] = {
    name: tomllib.loads(path.read_text(encoding="utf-8")) for name, path in FILES.items()
}
MODELS = Path(__file__).parent.parent / "presets" / "models"


@pytest.mark.parametrize("name", FILES)
class TestDevice:
    def test_says_what_it_is_and_where_its_figures_are_from(self, name: str) -> None:
        device = hardware.load(name)
        assert device.name == name == name.lower()
        assert device.title.startswith(device.vendor)
        assert device.kind
        assert device.year is not None
        assert 2017 <= device.year <= 2100
        assert device.source.strip()
        assert device.memory_note.strip()
        assert bool(device.interconnect) == bool(device.interconnect_kind)

    def test_figures_are_of_the_right_size(self, name: str) -> None:
        device = hardware.load(name)
        assert device.memory_gb is not None
        assert device.memory_bytes is not None
        assert 0.9 * 2**30 <= device.memory_bytes / device.memory_gb <= 2**30 * 1.01  # GB are GiB, but for what is kept
        assert device.memory_kind in ("runtime", "driver", "vendor")
        assert device.memory_source.strip()
        assert device.bandwidth is not None
        assert 3e11 <= device.bandwidth <= 1e13
        assert device.peaks
        assert all(5e12 <= rate <= 2e16 for _, rate in device.peaks)
        assert device.interconnect is None or 3e10 <= device.interconnect <= 3e12
        assert device.power is None or 50 <= device.power <= 1500

    def test_fewer_bits_are_not_slower(self, name: str) -> None:
        device = hardware.load(name)
        known = [rate for rate in map(device.peak, ("fp32", "tf32", "bf16", "fp8", "fp4")) if rate]
        assert known == sorted(known)
        if device.peak("bf16") and device.peak("fp16"):
            assert device.peak("bf16") == device.peak("fp16")

    def test_prices_have_a_date_and_a_source(self, name: str) -> None:
        for price in hardware.load(name).prices:
            assert price.terms
            assert price.date
            assert price.source

    def test_is_found_by_its_other_names(self, name: str) -> None:
        for other in (name, name.upper(), *DATA[name]["aliases"]):
            assert hardware.find(other).stem == name


def test_names_are_unique() -> None:
    names = Counter([*FILES, *(alias for data in DATA.values() for alias in data["aliases"])])
    assert [name for name, times in names.items() if times > 1] == []
    assert all(name == name.lower() for name in names)


@pytest.mark.parametrize(
    ("name", "precision", "tflops", "gb_per_second", "link", "watts", "gb"),
    [
        # dense tensor-core peaks, memory, NVLink or ICI both ways, power; the GB of the datasheet
        ("h100", "bf16", 989.4, 3350, 900, 700, 80),
        ("h100", "fp8", 1978.9, 3350, 900, 700, 80),
        ("a100", "bf16", 312, 2039, 600, 400, 80),
        ("a100-40gb", "bf16", 312, 1555, 600, 400, 40),
        ("v100", "fp16", 125, 900, 300, 300, 32),
        ("tpu v4", "bf16", 275, 1200, 540, 192, 32),
        ("b200", "fp4", 9000, 8000, 1800, 1000, 180),
    ],
)
def test_figures_of_datasheets(
    name: str, precision: str, tflops: float, gb_per_second: int, link: int, watts: int, gb: int
) -> None:
    device = hardware.load(name)
    assert device.peak(precision) == round(tflops * 10**6) * 10**6
    assert device.bandwidth == gb_per_second * 10**9
    assert (device.interconnect, device.interconnect_each_way) == (link * 10**9, link * 10**9 / 2)
    assert device.power == watts
    assert device.memory_gb == gb


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        # GiB of "total capacity" in PyTorch's out-of-memory messages, of "hbm" in XLA's; sources: the files
        ("t4", 14.76),
        ("a10g", 22.19),
        ("l4", 22.03),
        ("rtx-3090", 23.58),
        ("rtx-4090", 23.64),
        ("rtx-5090", 31.37),
        ("v100", 31.74),
        ("v100-pcie", 31.73),
        ("a100-40gb", 39.50),
        ("a100-40gb-pcie", 39.49),
        ("l40s", 44.42),
        ("a6000", 47.54),
        ("a100", 79.25),
        ("a100-pcie", 79.15),
        ("h100", 79.18),
        ("h100-pcie", 79.11),
        ("h20", 95.00),
        ("h200", 139.80),
        ("b200", 178.35),
        ("gb200", 184.31),
        ("b300", 267.69),
        ("gb300", 276.50),
        ("mi250x", 2 * 63.984),  # 65,520 MiB on each of two devices
        ("mi300x", 191.98),
        ("mi325x", 255.98),
        ("mi355x", 287.98),
        ("gaudi2", 94.62),
        ("tpu-v3", 2 * 15.48),
        ("tpu-v4", 30.75),
        ("tpu-v5e", 15.75),
        ("tpu-v5p", 95.74),
        ("tpu-v6e", 31.25),
        ("tpu-v7x", 2 * 94.75),
    ],
)
def test_memory_is_what_programs_get(name: str, gib: float) -> None:
    device = hardware.load(name)
    assert device.memory_kind == "runtime"
    assert device.memory_bytes is not None
    assert abs(device.memory_bytes / 2**30 - gib) <= 0.0051  # as rounded to two decimals
    assert device.memory_basis == f"what {facts.RUNTIMES.get(device.vendor, 'its runtime')} hands out"


@pytest.mark.parametrize(("name", "kind"), [("a10", "driver"), ("h800", "vendor"), ("m4-max", "vendor")])
def test_memory_that_is_only_printed_is_marked(name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A fit on such a device says on its first lines, and in JSON, that programs get less."""
    assert hardware.load(name).memory_kind == kind
    for command in ("memory", "fit"):
        assert run([command, "llama-3-8b", "--device", name, "--json"]) == 0
        device = json.loads(capsys.readouterr().out)["device"]
        assert device["memory_kind"] == kind
        assert device["memory_note"]
        assert run([command, "llama-3-8b", "--device", name]) == 0
        assert "hands out less" in capsys.readouterr().out
    assert run(["hardware", name]) == 0
    assert "GiB*" in capsys.readouterr().out


def test_memory_that_is_given_is_said_to_be() -> None:
    for change in ("memory_gb=20", "memory_bytes=20e9"):
        device = hardware.load("a10", [change])
        assert (device.memory_bytes, device.memory_kind, device.memory_basis) == (20 * 10**9, "given", "as given")
        assert "nvidia-smi" not in device.memory_note


def test_what_is_unknown_is_none() -> None:
    tpu, apple = hardware.load("tpu-v5e"), hardware.load("m4-max")
    assert (tpu.power, tpu.peak("fp8"), tpu.peak("fp32")) == (None, None, None)
    assert (apple.interconnect, apple.interconnect_each_way, apple.power) == (None, None, None)


def test_the_price_is_a_quote_where_there_is_one() -> None:
    price = hardware.load("h100").price
    assert price is not None
    assert (price.provider, price.usd_per_hour, price.terms) == ("Nebius", 2.95, "on demand")
    assumed = hardware.load("h800").price  # of the DeepSeek-V3 paper: $5.576M for 2,788K hours
    assert assumed is not None
    assert assumed.usd_per_hour == 2
    for name, device in ((name, hardware.load(name)) for name in FILES):
        kinds = [_kind(price) for price in device.prices]
        assert kinds == sorted(kinds) or name == "h800-sxm"  # renting before reserving, buying and what authors assume


def _kind(price: Price) -> int:
    if price.usd is not None:
        return 3 if price.terms else 4
    words = ("on demand", "marketplace", "reserved", "assumption")
    return (0, 1, 2, 5)[next(i for i, word in enumerate(words) if price.terms.startswith(word))]


def test_what_can_be_rented_or_bought_has_a_price_with_a_year() -> None:
    lacking = {name for name in FILES if not hardware.load(name).prices}
    assert lacking == {"tpu-v7x", "trainium3"}  # of which no price is public
    for name in FILES:
        for price in hardware.load(name).prices:
            assert re.search(r"\b20[12]\d\b", price.date), (name, price)


# Rented at the price of epoch-research/training-cost-trends, data/Hardware prices.csv (263c40a15930), or bought.
@pytest.mark.parametrize(
    ("name", "provider", "date", "rent", "buy"),
    [
        ("v100", "Microsoft Azure", "2024-01-29", 2.75, None),
        ("a100", "RunPod", "2025-03-03", 1.89, None),
        ("rtx-4090", "RunPod", "2025-03-03", 0.69, None),
        ("tpu-v4", "Google Cloud", "2025-03-03", 3.22, None),
        ("tpu-v6e", "Google Cloud", "2025-03-03", 2.70, None),
        ("gaudi2", "Intel", "2024-06-09", None, 8125),
        ("mi250x", "AMD", "2021-11-08", None, 14500),
        ("h20", "NVIDIA", "2023-11-09", None, 12000),
    ],
)
def test_prices_of_a_table(name: str, provider: str, date: str, rent: float | None, buy: float | None) -> None:
    price = hardware.load(name).price
    assert price is not None
    assert (price.provider, price.date, price.usd_per_hour, price.usd) == (provider, date, rent, buy)


def test_a_price_to_buy_becomes_one_of_an_hour_by_a_named_assumption(capsys: pytest.CaptureFixture[str]) -> None:
    """$8,125 over 4 years of 8,766 hours is $0.2317 an hour; over two, twice that."""
    for years, words in ((4, []), (2, ["--amortize", "2"])):
        hourly = 8125 / (years * 8766)
        for command in (["cost", "gpt2", "--tokens", "1B", "--mfu", "0.4", "--devices", "8"], ["serve", "gpt2"]):
            assert run([*command, "--device", "gaudi2", "--json", *words]) == 0
            found = json.loads(capsys.readouterr().out)
            price = found["price"]
            assert price["usd_per_hour"] == pytest.approx(hourly)
            assert (price["kind"], price["usd"], price["years"], price["provider"]) == (
                "purchase",
                8125,
                years,
                "Intel",
            )
            assert price["date"] == "2024-06-09"
            assert price["source"]
            said = str(found["assumptions"]["price"]["text"])
            assert said.partition("(")[2].startswith("bought for $8,125 (Intel, list, an eighth of a kit of eight at ")
            assert f"spread over {years} years of 8,766 hours" in said
            assert "--amortize" in said
            if command[0] == "cost":
                assert found["cost"]["usd"] == pytest.approx(found["cost"]["device_hours"] * hourly)
    assert run(["serve", "gpt2", "--device", "gaudi2", "--amortize", "0"]) == 2
    assert "--amortize" in capsys.readouterr().err
    assert run(["serve", "gpt2", "--device", "h100", "--price", "1.5", "--json"]) == 0
    price = json.loads(capsys.readouterr().out)["price"]
    assert (price["kind"], price["usd_per_hour"], price["provider"]) == ("given", 1.5, None)


def test_what_published_runs_used_is_known() -> None:
    used = {tomllib.loads(path.read_text()).get("training", {}).get("hardware") for path in MODELS.glob("*.toml")}
    unknown = {name for name in used - {None} if not hardware.exists(name)}
    assert unknown == {"P100", "Cloud TPU"}  # older than any device here; of no kind that is named


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("h1000", "'h1000' is not a device: did you mean h100-sxm?"),
        ("a100-", "'a100-' is not a device: tcalc hardware a100- lists those whose names begin so"),
        ("xyzzy", "'xyzzy' is not a device: tcalc hardware lists them"),
        ("nowhere.toml", "there is no file nowhere.toml: None"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        hardware.load(name)
    assert f"{error.value.message}: {error.value.hint}" == says


# --- a device of the user's own ---------------------------------------------------------------------------------


def described(tmp_path: Path, text: str) -> Device:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return hardware.load(str(path))


def test_a_file_of_one_s_own(tmp_path: Path) -> None:
    device = described(
        tmp_path, 'memory_gb = 24.5\nbandwidth = 1.5e12\n[peaks]\nbf16 = 100e12\n[prices."My lab"]\nusd_per_hour = 0.2'
    )
    assert device == Device(
        name="mine",
        memory_gb=24.5,
        memory_bytes=24_500_000_000,
        memory_note="a GB is taken as 10⁹ bytes",
        bandwidth=1_500_000_000_000,
        peaks=(("bf16", 10**14),),
        prices=(Price(provider="My lab", usd_per_hour=0.2),),
    )
    assert (device.power, device.interconnect, device.peak("fp8")) == (None, None, None)
    whole = report.show(str(tmp_path / "mine.toml"))
    assert whole.data["device"]["bandwidth"] == 1_500_000_000_000  # type: ignore[index]
    assert described(tmp_path, 'name = "empty"') == Device(name="empty")


@pytest.mark.parametrize("name", FILES)
def test_every_file_here_can_be_copied(name: str, tmp_path: Path) -> None:
    assert described(tmp_path, FILES[name].read_text(encoding="utf-8")) == hardware.load(name)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bandwith = 1e12", "mine.toml: 'bandwith' is not a key of a device"),
        ("bandwidth = -1", "mine.toml: bandwidth is -1; it must be a number greater than 0"),
        ("bandwidth = 1.5", "mine.toml: bandwidth is 1.5; it must be a whole number"),
        ("bandwidth = true", "mine.toml: bandwidth is True"),
        ("bandwidth = inf", "mine.toml: bandwidth is inf"),
        ("bandwidth = 1e30", "mine.toml: bandwidth is 1000000000000000019884624838656; it must be between 1 and 1e+15"),
        ('memory_gb = "80"', "mine.toml: memory_gb is '80'; it must be a number greater than 0"),
        ("title = 3", "mine.toml: title is 3; it must be a text"),
        ("peaks = 3", "mine.toml: peaks is 3; it must be a table: [peaks]"),
        ("[peaks]\nbf17 = 1e12", "mine.toml: 'peaks.bf17' is not a key of a device"),
        ("[peaks]\nbf16 = 1e30", "mine.toml: peaks.bf16 is 1000000000000000019884624838656; it must be a whole"),
        ("[prices]\nme = 2", "mine.toml: prices.me is 2; it must be a table"),
        ('[prices.me]\ndate = "now"', "mine.toml: prices.me has no usd_per_hour"),
        (
            "[prices.me]\nusd_per_hour = 1e9",
            "mine.toml: prices.me: usd_per_hour is 1000000000.0; it must be more than 0",
        ),
        ("unconfirmed = 'power'", "mine.toml: unconfirmed is 'power'; it must be a list of keys"),
        ("unconfirmed = ['peaks.bf16']", "mine.toml: unconfirmed names 'peaks.bf16', which is no figure of it"),
        ("[peaks", "mine.toml is not TOML"),
    ],
)
def test_a_wrong_file_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        described(tmp_path, text)
    assert says in error.value.message


def test_flags_can_change_a_device() -> None:
    assert replace(hardware.load("h100"), power=350).power == 350
    with pytest.raises(InputError, match="power is 0"):
        replace(hardware.load("h100"), power=0)


# --- the reports ------------------------------------------------------------------------------------------------


def test_unconfirmed_figures_are_marked() -> None:
    shown = {str(row["name"]): row for row in report.build().sections[0].rows}  # type: ignore[union-attr]
    assert set(shown) == set(FILES)
    assert (shown["h100-sxm"]["peaks.bf16"], shown["h200-sxm"]["peaks.fp32"]) == ("989.4", "67?")
    assert shown["mi355x"]["interconnect"] == "1,075?"
    assert shown["m4-max"]["memory"] == "128.0 GiB*?"
    whole = {label: text for label, text, _ in report.show("v100").sections[1].items}  # type: ignore[union-attr]
    assert whole == {"fp32": "15.7 TFLOP/s (unconfirmed)", "fp16": "125 TFLOP/s"}


def test_figures_are_exact_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hardware", "NVIDIA", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["devices"]}
    assert set(rows) == {name for name, data in DATA.items() if data["vendor"] == "NVIDIA"}
    assert rows["h100-sxm"]["peak_bf16"] == 989_400_000_000_000
    assert rows["h100-sxm"]["unconfirmed"] == ["peaks.tf32"]
    assert rows["v100-sxm"]["peak_bf16"] is None
    assert run(["hardware", "show", "H100", "--json"]) == 0
    device = json.loads(capsys.readouterr().out)["device"]
    assert (device["bandwidth"], device["peaks"]["fp8"]) == (3_350_000_000_000, 1_978_900_000_000_000)
    assert all(isinstance(rate, int) for rate in device["peaks"].values())


def test_no_match_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hardware", "abacus"]) == 2
    assert capsys.readouterr().err == "error: no device matches 'abacus'\nhint: tcalc hardware lists all of them\n"


def test_figures_may_be_set() -> None:
    """As `--device-set` does: of a known device, or of one of which nothing else is known."""
    changed = hardware.load("h100-sxm", ["bandwidth=4e12", "peaks.bf16=500T"])
    assert (changed.bandwidth, changed.peak("bf16"), changed.power) == (4 * 10**12, 500 * 10**12, 700)
    assert "bandwidth=4e12" in changed.title
    own = hardware.load(None, ["memory_gb=24", "peaks.fp16=100T"])
    assert (own.memory_bytes, own.bandwidth) == (24 * 10**9, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bandwidth", "must be key=value"),
        ("speed=1", "'speed' is not a figure of a device"),
        ("peaks.bf17=1T", "'peaks.bf17' is not a key of a device"),
        ("bandwidth=-1", "expected more than 0"),
        ("efficiency.matmul=2", "at least 1e-06 and at most 1"),
    ],
)
def test_a_figure_that_cannot_be_set_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        hardware.load("h100-sxm", [text])

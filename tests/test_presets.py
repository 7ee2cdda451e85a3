"""Every preset says where its figures are from, and gives exactly the total that follows from them."""

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import transformer_calc
from transformer_calc.sources import catalogue, hardware, index, presets, runs

FILES = {path.stem: path for path in sorted((Path(__file__).parent.parent / "presets" / "models").glob("*.toml"))}
DATA: dict[str, dict[str, Any]] = {
    name: tomllib.loads(path.read_text(encoding="utf-8")) for name, path in FILES.items()
}
PRINTED = {name: data["expected"]["published"] for name, data in DATA.items() if "published" in data["expected"]}

KEYS = ("name", "title", "aliases", "family", "year", "source", "note", "mtp_copies")
TABLES = ("expected", "model", "config", "training", "workload", "values")


@pytest.mark.parametrize("name", FILES)
class TestPreset:
    def test_says_what_it_is_and_where_its_figures_are_from(self, name: str) -> None:
        data = DATA[name]
        assert data["name"] == name == name.lower()
        assert set(data) <= {*KEYS, *TABLES}
        assert data["title"]
        assert data["family"]
        assert 2017 <= data["year"] <= 2100
        assert data["source"].strip()
        assert ("model" in data) != ("config" in data)
        assert set(data.get("workload", {})) <= {"batch", "seq", "target_seq", "context"}

    def test_of_hugging_face_names_its_class(self, name: str) -> None:
        config = DATA[name].get("config")
        if config is not None:
            assert isinstance(config["model_type"], str)
            assert len(config["architectures"]) == 1

    def test_training_has_a_source(self, name: str) -> None:
        training = DATA[name].get("training")
        if training is not None:
            assert training["source"].strip()
            assert len(training) > 1
            assert runs.parse(training).source == training["source"]  # refuses what is no key, or no value of it

    def test_total_is_exactly_what_its_figures_give(self, name: str) -> None:
        expected = DATA[name]["expected"]
        assert set(expected) <= {"params", "published"}
        assert transformer_calc.load(name).params().total == expected["params"]

    def test_is_found_by_its_other_names(self, name: str) -> None:
        for other in (name, name.upper(), *DATA[name].get("aliases", [])):
            assert presets.find(other).stem == name


def published(text: str) -> tuple[float, float]:
    """(a total as printed, one of its last digit), as in `1,065M` or `540.35B`."""
    match = re.match(r"([\d,]+)(\.\d+)?([MBT]?)", text)
    assert match
    whole, part, unit = match[1].replace(",", ""), match[2] or ".", match[3]
    scale = {"": 1, "M": 10**6, "B": 10**9, "T": 10**12}[unit]
    return float(whole + part) * scale, scale / 10 ** (len(part) - 1)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("117M", 117e6, 1e6),
        ("1,065M", 1065e6, 1e6),
        ("540.35B", 540.35e9, 1e7),
        ("1T (32B active)", 1e12, 1e12),
        ("20,554,567,680", 20554567680, 1),
    ],
)
def test_published_totals_are_read_as_printed(text: str, value: float, unit: float) -> None:
    assert published(text) == pytest.approx((value, unit))


@pytest.mark.parametrize("name", [name for name, text in PRINTED.items() if "without" not in text])
def test_total_is_near_the_published_one(name: str) -> None:
    value, unit = published(PRINTED[name])
    assert abs(DATA[name]["expected"]["params"] - value) <= max(0.06 * value, unit / 2)


def test_names_are_unique() -> None:
    names = Counter([*FILES, *(alias for data in DATA.values() for alias in data.get("aliases", []))])
    assert [name for name, times in names.items() if times > 1] == []
    assert all(name == name.lower() for name in names)


def test_gpt3_is_the_paper_s() -> None:
    # Brown et al. 2020, Table D.1: 174,600M
    assert DATA["gpt3"]["expected"]["params"] == 174_604_259_328


def test_pythia_s_totals_without_the_vocabulary_are_the_paper_s() -> None:
    # Biderman et al. 2023, arXiv 2304.01373, Table 1
    sizes = [data for name, data in DATA.items() if name.startswith("pythia-")]
    assert len(sizes) == 8
    for data in sizes:
        config, printed = data["config"], data["expected"]["published"].split()[0]
        tables = 2 * config["vocab_size"] * config["hidden_size"]
        assert data["expected"]["params"] - tables == int(printed.replace(",", ""))


# --- the index ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of two presets, whose index stands in a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "models"
    place.mkdir()
    (place / "one.toml").write_text('name = "one"\nlayers = 2\nrate = 0.1\n')
    (place / "two.toml").write_text('name = "two"\n[model]\nheads = [1, 2]\n')
    return place


def asked(folder: Path) -> tuple[list[Any], list[str]]:
    """What the files say, and which of them were parsed for it."""
    parsed: list[str] = []

    def parse(path: Path) -> dict[str, Any]:
        parsed.append(path.stem)
        return catalogue.read(path)

    return index.every(sorted(folder.glob("*.toml")), parse), parsed


def test_files_are_parsed_once(folder: Path) -> None:
    first, parsed = asked(folder)
    assert parsed == ["one", "two"]
    assert asked(folder) == (first, [])
    assert first == [{"name": "one", "layers": 2, "rate": 0.1}, {"name": "two", "model": {"heads": [1, 2]}}]
    assert index.one(folder / "two.toml", lambda path: {}) == first[1]


def test_a_file_that_has_changed_is_parsed_again_and_one_that_is_new(folder: Path) -> None:
    asked(folder)
    (folder / "two.toml").write_text('name = "TWO"\n[model]\nheads = [1, 2]\n')
    assert index.one(folder / "two.toml", lambda path: {"name": "parsed"}) == {"name": "parsed"}
    (folder / "three.toml").write_text('name = "three"\n')
    said, parsed = asked(folder)
    assert [one["name"] for one in said] == ["one", "three", "TWO"]
    assert parsed == ["three", "two"]
    assert asked(folder) == (said, [])


@pytest.mark.parametrize("broken", ["", "\n[", '\n["one.toml", "', "\n\udc80\n", "[]\n"])
def test_a_broken_index_is_none(folder: Path, broken: str) -> None:
    first, _ = asked(folder)
    (file,) = (folder.parent / "cache").rglob("*.jsonl")
    file.write_bytes(broken.encode("utf-8", "surrogateescape"))
    assert asked(folder) == (first, ["one", "two"])


def test_what_json_does_not_keep_is_parsed_each_time(folder: Path) -> None:
    (folder / "one.toml").write_text("day = 2024-01-01\n")
    first, _ = asked(folder)
    assert asked(folder) == (first, ["one"])


def test_where_no_index_can_be_written_files_are_parsed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "one.toml"))  # no folder
    first, _ = asked(folder)
    assert asked(folder) == (first, ["one", "two"])


def test_the_index_says_of_every_preset_and_device_what_its_file_says() -> None:
    for known in (presets.MODELS, hardware.DEVICES):
        for name, said in known.entries():
            assert said == catalogue.read(known.path(name)) == known.read(known.path(name))

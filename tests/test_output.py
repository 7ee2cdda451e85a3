"""Every format shows the same numbers, and none ever loses a digit."""

import csv
import io
import json
import re
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_calc.errors import InputError
from transformer_calc.output import plots, render
from transformer_calc.report import Column, Facts, Plot, Report, Table, Text

COLUMNS = (
    Column("path", "Component", "text"),
    Column("shape", "Shape", "shape", priority=2),
    Column("repeat", "×", "count", priority=1),
    Column("params", "Parameters", "count"),
    Column("share", "Share", "share", priority=1),
    Column("flops", "FLOPs", "flops", priority=3),
    Column("formula", "Formula", "formula", priority=4),
)
SIZES = (
    ("embedding.tokens", (50257, 12288), 1, 617_558_016, "V·D"),
    ("embedding.positions", (2048, 12288), 1, 25_165_824, "P·D"),
    ("all attention layers", ("H", "E", "D"), 96, 57_986_777_088, "4·L·D² + 4·L·D"),
    ("all feed-forward | layers", (12288, 49152), 96, 115_970_015_232, "2·L·D·F + L·F + L·D"),
    ("all norms", (12288,), 96, 4_718_592, "4·L·D"),
    ("final norm", (), 1, 24_576, "2·D"),
)
TOTAL = sum(size[3] for size in SIZES)
TABLE = Table(
    "Parameters of gpt3",
    COLUMNS,
    tuple(
        {
            "path": path,
            "shape": shape,
            "repeat": repeat,
            "params": n,
            "share": n / TOTAL,
            "flops": 4096 * n,
            "formula": formula,
        }
        for path, shape, repeat, n, formula in SIZES
    ),
    total={"path": "total", "params": TOTAL, "share": 1.0},
    caption="A tied weight is counted once.",
)
FACTS = Facts(
    "Summary",
    (
        ("total", TOTAL, "count"),
        ("embedding", 642_723_840, "count"),
        ("formula", "12·L·D² + 13·L·D + 2·D", "formula"),
    ),
)
REPORT = Report(
    "params",
    {"name": "gpt3", "family": "gpt"},
    {"batch": 1, "seq": 2048},
    {
        "params": {"total": TOTAL, "active": TOTAL},
        "components": list(TABLE.rows),
        "huge": 3 * 10**23,
        "none": None,
    },
    (Text("gpt3 · 96 layers"), FACTS, TABLE),
    main=TABLE,
)


class Stream(io.StringIO):
    """A stream in memory that says which encoding it has, and whether it is a terminal."""

    def __init__(self, encoding: str = "utf-8", terminal: bool = False) -> None:
        super().__init__()
        self._encoding, self._terminal = encoding, terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        text.encode(self._encoding)  # as a real stream does, and fails
        return super().write(text)


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


def rendered(
    report: Report = REPORT,
    format: str = "table",
    *,
    stream: Stream | None = None,
    width: int | None = None,
) -> str:
    stream = stream or Stream()
    render(report, format, stream, width=width)
    return stream.getvalue()


def printed_counts(text: str) -> list[int]:
    """The last number with thousands separators of each line of the table."""
    table = text[text.index("Component") :]
    found = (re.findall(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?![\d,])", line) for line in table.splitlines())
    return [int(numbers[-1].replace(",", "")) for numbers in found if numbers]


# --- tables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [None, 200, 120, 80, 60, 40, 20, 1])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_the_printed_column_adds_up_to_the_printed_total(width: int | None, encoding: str) -> None:
    table = TABLE._replace(columns=tuple(column for column in COLUMNS if column.key != "shape"))
    text = rendered(REPORT._replace(sections=(table,)), stream=Stream(encoding), width=width)
    *parts, total = printed_counts(text)
    assert parts == [size[3] for size in SIZES]
    assert sum(parts) == total == TOTAL


@pytest.mark.parametrize("width", [200, 80, 60, 40])
def test_lines_fit_and_what_is_left_out_is_named(width: int) -> None:
    lines = rendered(width=width).splitlines()
    assert max(map(len, lines)) <= width
    header = next(line for line in lines if line.startswith("Component"))
    note = " ".join(lines[lines.index("A tied weight is counted once.") :])
    for column in COLUMNS:
        assert (column.title in header) != (column.title in note)


def test_the_least_important_columns_go_first() -> None:
    left_out = {
        width: re.findall(r"Left out at this width: (.*) \(", rendered(width=width).replace("\n", " "))
        for width in (200, 85, 70, 50, 40, 30)
    }
    assert left_out == {
        200: [],
        85: ["Formula"],
        70: ["FLOPs, Formula"],
        50: ["Shape, FLOPs, Formula"],
        40: ["Shape, Share, FLOPs, Formula"],
        30: ["Shape, ×, Share, FLOPs, Formula"],
    }


def test_bars_go_after_the_columns_that_matter_less_and_before_those_that_matter_more() -> None:
    def has(width: int) -> tuple[bool, bool, bool]:
        text = rendered(width=width)
        return "FLOPs" in text.partition("Left out")[0], "██" in text, "[12288, 49152]" in text

    assert has(100) == (True, True, True)
    assert has(75) == (False, True, True)
    assert has(65) == (False, False, True)
    assert has(60) == (False, True, False)  # where a column has gone there is room for them again


def test_tables_of_the_same_columns_read_as_one() -> None:
    columns = (Column("name", "Name", "text"), Column("n", "N", "count", priority=1))
    small = Table("A", columns, ({"name": "a", "n": 1},), total={"name": "sum", "n": 1})
    large = Table("B", columns, ({"name": "a longer name", "n": 10**12},))
    other = Table("C", columns[:1], ({"name": "c"},))
    assert rendered(REPORT._replace(sections=(small, large, other))).splitlines() == [
        "A",
        "Name                           N",
        "────────────────────────────────",
        "a                              1",
        "────────────────────────────────",
        "sum                            1",
        "",
        "B",
        "Name                           N",
        "────────────────────────────────",
        "a longer name  1,000,000,000,000",
        "",
        "C",
        "Name",
        "────",
        "c",
    ]
    narrow = rendered(REPORT._replace(sections=(small, large)), width=20).splitlines()
    assert [line for line in narrow if "1" in line] == []  # the column is left out of both
    assert "sum" not in narrow  # a total without its number is none
    assert " ".join(narrow).count("Left out at this width: N") == 1


def test_a_number_too_wide_for_the_terminal_is_still_whole() -> None:
    assert f"{TOTAL:,}" in rendered(width=10)


def test_piped_output_is_as_wide_as_it_needs_to_be_and_plain() -> None:
    text = rendered()
    assert "2·L·D·F + L·F + L·D" in text
    assert "Left out" not in text
    assert "\x1b" not in text
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_columns_rules_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, rendered().splitlines())) == 60
    monkeypatch.setenv("COLUMNS", "wide")
    assert max(map(len, rendered().splitlines())) > 60


def test_colour_only_on_a_terminal_and_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    colored = rendered(stream=Stream(terminal=True))
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored).replace(" ", "") == rendered().replace(" ", "")
    monkeypatch.setenv("NO_COLOR", "1")
    assert rendered(stream=Stream(terminal=True)) == rendered()


def test_an_ascii_stream_gets_ascii_forms() -> None:
    text = rendered(stream=Stream("ascii"), width=160)
    assert "12*L*D^2 + 13*L*D + 2*D" in text
    assert "######" in text
    assert "-----" in text
    assert "?" not in text


def test_a_formula_breaks_before_a_sign() -> None:
    facts = Facts("", (("formula", "12·L·D² + 13·L·D + P·D + V·D - 2·D", "formula"),))
    assert rendered(REPORT._replace(sections=(facts,)), width=30).splitlines() == [
        "formula  12·L·D² + 13·L·D",
        "         + P·D + V·D - 2·D",
    ]


def test_a_long_path_breaks_after_a_dot() -> None:
    table = Table("", (Column("path", "Path", "text"),), ({"path": "model.layers.*.self_attn.kv_a_layernorm.weight"},))
    assert rendered(REPORT._replace(sections=(table,)), width=38).splitlines()[2:] == [
        "model.layers.*.self_attn.",
        "kv_a_layernorm.weight",
    ]


def test_numbers_line_up_under_a_rule() -> None:
    lines = rendered().splitlines()
    total = next(line for line in lines if line.startswith("total ") and "100.0%" in line)
    assert set(lines[lines.index(total) - 1]) == {"─"}
    ends = {line.index(f"{size[3]:,}") + len(f"{size[3]:,}") for size in SIZES for line in lines if size[0] in line}
    assert ends == {total.index(f"{TOTAL:,}") + len(f"{TOTAL:,}")}


def test_a_bar_is_as_long_as_the_share() -> None:
    columns = (Column("share", "Share", "share"),)
    table = Table("", columns, tuple({"share": share} for share in (1.0, 0.5, 0.25, 0.0)))
    rows = rendered(REPORT._replace(sections=(table,))).splitlines()[2:]
    assert [row.split()[0] for row in rows[:3]] == ["█" * 10, "█" * 5, "██▌"]
    assert "█" not in rows[3]


def test_names_cannot_steer_the_terminal_or_the_markup() -> None:
    table = Table("", (Column("name", "Name", "text"),), ({"name": "\x1b]0;x\x07 [red]x[/red] :smile: \r"},))
    text = rendered(REPORT._replace(sections=(table,)))
    assert "?]0;x? [red]x[/red] :smile: ?" in text


words = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=30)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(words, st.integers(0, 10**24)), max_size=5),
    st.integers(1, 120),
    st.sampled_from(["utf-8", "ascii"]),
)
def test_no_table_loses_a_number(rows: list[tuple[str, int]], width: int, encoding: str) -> None:
    columns = (
        Column("name", "Name", "text"),
        Column("n", "N", "count"),
        Column("x", "X", "share", priority=1),
    )
    table = Table("T", columns, tuple({"name": name, "n": n, "x": 0.3} for name, n in rows))
    text = rendered(REPORT._replace(sections=(table,)), stream=Stream(encoding), width=width)
    for _, n in rows:
        assert f"{n:,}" in text


# --- formats for programs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_keeps_every_digit(encoding: str) -> None:
    text = rendered(format="json", stream=Stream(encoding))
    data = json.loads(text)
    assert list(data)[:4] == ["schema", "command", "model", "workload"]
    assert data["schema"] == "tcalc/1"
    assert data["params"]["total"] == TOTAL
    assert data["huge"] == 3 * 10**23
    assert data["components"][2]["shape"] == ["H", "E", "D"]
    assert data["components"][2]["formula"] == "4·L·D² + 4·L·D"
    assert text.endswith("}\n")
    assert ("D²" in text) == (encoding == "utf-8")


def test_json_refuses_what_json_cannot_say() -> None:
    with pytest.raises(TypeError, match="object has no form in JSON"):
        rendered(REPORT._replace(data={"x": object()}), "json")


@pytest.mark.parametrize("number", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("format", ["json", "table", "md", "csv"])
def test_no_format_says_what_is_not_a_finite_number(number: float, format: str) -> None:
    facts = Facts("", (("dollars", number, "usd"),))
    for report, where in (
        (REPORT._replace(data={"cost": {"parts": [{"usd": number}]}}), f"cost.parts.usd is {number}"),
        (REPORT._replace(sections=(*REPORT.sections, facts)), f"dollars is {number}"),
    ):
        with pytest.raises(InputError, match=re.escape(where)):
            rendered(report, format)


def test_csv_is_raw_and_sums_up() -> None:
    rows = list(csv.DictReader(io.StringIO(rendered(format="csv"))))
    assert list(rows[0]) == [column.key for column in COLUMNS]
    assert sum(int(row["params"]) for row in rows) == TOTAL
    assert [row["shape"] for row in rows[:3]] == ["50257x12288", "2048x12288", "HxExD"]
    assert rows[3]["path"] == "all feed-forward | layers"


def test_csv_needs_a_table() -> None:
    with pytest.raises(InputError, match="params has no table to write as csv"):
        rendered(REPORT._replace(main=None), "csv")


def test_markdown_tables_are_whole() -> None:
    lines = rendered(format="md").splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    for cells in (re.split(r"(?<!\\)\|", row)[1:-1] for row in rows):
        assert len(cells) in (2, len(COLUMNS))
    assert "### Parameters of gpt3" in lines
    assert any("all feed-forward \\| layers" in row for row in rows)
    assert f"**{TOTAL:,}**" in rows[-1]


@pytest.mark.parametrize("format", ["table", "md", "csv", "json"])
def test_every_format_ends_with_one_newline(format: str) -> None:
    text = rendered(format=format)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


# --- rows of different kinds --------------------------------------------------------------------------------

SIDE_BY_SIDE = Table(
    "sizes",
    (
        Column("label", "", "text"),
        Column("one", "a model of some name", "mixed"),
        Column("ratio", "ratio", "mixed", 1),
        Column("more", "ratio", "mixed", 1),
    ),
    (
        {"label": "weights", "one": (2**30, "bytes"), "ratio": (0.5, "share"), "more": (None, "text")},
        {"label": "parameters", "one": (174_604_259_328, "count")},
    ),
    stacks=True,
)


def test_a_mixed_column_shows_each_value_as_its_kind() -> None:
    report = REPORT._replace(sections=(SIDE_BY_SIDE,), main=SIDE_BY_SIDE)
    lines = rendered(report).splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["weights", "1.0", "GiB", "50.0%"],
        ["parameters", "174,604,259,328"],
    ]
    assert rendered(report, "csv").splitlines()[1:] == ["weights,1073741824,0.5,", "parameters,174604259328,,"]
    assert "| weights | 1.0 GiB | 50.0% |" in rendered(report, "md")


def test_a_table_that_stacks_has_its_rows_as_lines_where_there_is_no_room() -> None:
    report = REPORT._replace(sections=(SIDE_BY_SIDE,))
    narrow = rendered(report, width=24)
    assert narrow.startswith("sizes\nweights\n  a model of some name")
    assert "174,604,259,328" in narrow
    assert "Left out at this width: ratio (" in rendered(report, width=40)  # both, and named once


def drawn(plot: Plot, width: int | None = None, *, unicode: bool = True) -> list[str]:
    return plots.drawn(plot, str, width, unicode=unicode)


RAMP = Plot("up", ((0, 0.0), (100, 8.0)), ("0", "100"), ("8", "0"))


def test_a_plot_rises_with_its_values() -> None:
    lines = drawn(RAMP, 15)
    assert [line[3:] for line in lines] == [
        "         ▁▄▇",
        "      ▁▄▇███",
        "   ▁▄▇██████",
        "▁▄▇█████████",
        "0        100",
    ]
    assert [line[:3] for line in lines] == ["8  ", "   ", "   ", "0  ", "   "]
    assert [line[3:] for line in drawn(RAMP, 15, unicode=False)[:4]] == [
        "          ##",
        "       #####",
        "    ########",
        " ###########",
    ]


def test_a_plot_of_steps_jumps() -> None:
    steps = Plot("batch", ((0, 1.0), (50, 4.0), (100, 4.0)), ("0", "100"), ("4", "0"), "steps")
    assert drawn(steps, 15)[0] == "4        ██████"
    assert drawn(steps, 15)[3] == "0  ████████████"


@given(
    st.lists(st.floats(0, 1e12), min_size=1, max_size=50),
    st.one_of(st.none(), st.integers(1, 200)),
    st.sampled_from(["linear", "steps"]),
)
def test_a_plot_has_room_for_any_values(
    values: list[float], width: int | None, growth: Literal["linear", "steps"]
) -> None:
    plot = Plot("", tuple((float(x), y) for x, y in enumerate(values)), ("first", "last"), ("top", "0"), growth)
    lines = drawn(plot, width)
    assert len(lines) == plots.HEIGHT + 1
    assert max(map(len, lines)) <= max(width or 1000, len("top") + 2 + plots.LEAST)
    assert lines == drawn(plot, width)

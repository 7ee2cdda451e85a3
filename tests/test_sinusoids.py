"""Tables of sines and cosines: in the paper's order, or as each family's class fills its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transformer_calc import InputError, load
from transformer_calc.graph.core import Graph, Op
from transformer_calc.ops.tables import sinusoids

GOLDEN = json.loads((Path(__file__).parent / "golden" / "sinusoids.json").read_text(encoding="utf-8"))
# what makes a small model of each family's own class
SEQ2SEQ = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 1, "decoder_attention_heads": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "marian": SEQ2SEQ,
    "pegasus": SEQ2SEQ,
    "m2m_100": SEQ2SEQ,
    "whisper": SEQ2SEQ,
    "xglm": {"num_layers": 1, "attention_heads": 1},
    "distilbert": {"n_layers": 1, "n_heads": 1, "sinusoidal_pos_embds": True},
}


def config(family: str, width: int) -> dict[str, Any]:
    key = "dim" if family == "distilbert" else "d_model"
    return {"model_type": family, key: width, "vocab_size": 11, **CONFIGS[family]}


def first_table(graph: Graph) -> Op:
    return next(op for block in graph.blocks for op in block.ops if op.path == "embed.positions")


def paper(position: int, column: int, width: int) -> float:
    """Vaswani et al. 2017, arXiv 1706.03762, §3.5, written out."""
    angle = position / 10000 ** (2 * (column // 2) / width)
    return float(np.cos(angle) if column % 2 else np.sin(angle))


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 64])
def test_sines_and_cosines_alternate_as_in_the_paper(width: int) -> None:
    wanted = [[paper(position, column, width) for column in range(width)] for position in range(7)]
    assert sinusoids(np.arange(7), width, "alternating") == pytest.approx(np.array(wanted), abs=1e-12)


def test_position_1_of_four_columns() -> None:
    assert [f"{x:.3f}" for x in sinusoids(np.array([1]), 4, "alternating")[0]] == ["0.841", "0.540", "0.010", "1.000"]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['family']}-{row['width']}")
def test_each_family_s_table_is_its_class_s(row: dict[str, Any]) -> None:
    attrs = first_table(load(config=config(row["family"], row["width"])).graph).attrs
    made = sinusoids(np.arange(len(row["table"])), row["width"], attrs["order"], attrs["spread"])
    assert made == pytest.approx(np.array(row["table"]), abs=1e-6)


@pytest.mark.parametrize("model", ["lesson", "lesson-translation", "transformer-base", "transformer-big"])
def test_presets_of_the_paper_s_kind_alternate(model: str) -> None:
    assert first_table(load(model).graph).attrs["order"] == "alternating"


@pytest.mark.parametrize("kind", ["decoder", "encoder", "encoder-decoder"])
def test_models_from_flags_alternate(kind: str) -> None:
    fields = {"layers": 1, "d_model": 4, "heads": 1, "vocab": 9, "positions": "sinusoidal", "kind": kind}
    op = first_table(load(fields=fields).graph)
    assert op.attrs["order"] == "alternating"
    assert op.note == "PE[p, 2i] = sin(p / 10000^(2i/D)), PE[p, 2i+1] = cos(p / 10000^(2i/D))"


@pytest.mark.parametrize(
    ("family", "formula"),
    [
        ("marian", "PE[p, i] = sin(p / 10000^(2i/D)), PE[p, D/2 + i] = cos(p / 10000^(2i/D))"),
        ("whisper", "PE[p, i] = sin(p / 10000^(i/(D/2 − 1))), PE[p, D/2 + i] = cos(p / 10000^(i/(D/2 − 1)))"),
        ("distilbert", "PE[p, 2i] = sin(p / 10000^(2i/D)), PE[p, 2i+1] = cos(p / 10000^(2i/D))"),
        ("xglm", "PE[p, D/2 + i] = cos(p / 10000^(i/(D/2 − 1))), p from 2 on"),
    ],
)
def test_the_formula_says_how_a_family_orders_them(family: str, formula: str) -> None:
    assert formula in first_table(load(config=config(family, 8)).graph).note


@pytest.mark.parametrize(
    ("family", "width", "says"), [("m2m_100", 2, "less than half of the width"), ("whisper", 5, "even")]
)
def test_widths_that_the_class_cannot_fill_are_refused(family: str, width: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load(config=config(family, width)).graph  # noqa: B018

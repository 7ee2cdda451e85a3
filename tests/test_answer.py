"""Answers: typed, set once, short to look at, here and in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from transformer_calc.answer import Answer, Assumption


class Part(Answer):
    """A part.

    size: bytes
    """

    size: int


class Whole(Answer):
    """A whole.

    part: its part; days: of the run, None where unknown; fits: whether it does
    """

    part: Part
    days: float | None = None
    fits: bool = True

    FIRST: ClassVar[Mapping[str, str]] = {"part.size": "bytes", "days": "number", "fits": "text"}


WHOLE = Whole(part=Part(size=3 * 2**30))


def test_an_answer_is_short_to_look_at() -> None:
    assert repr(WHOLE) == "<Whole part.size=3.0 GiB, fits=yes>"
    assert '<th style="text-align:left">part.size</th><td style="text-align:right">3.0 GiB</td>' in WHOLE._repr_html_()
    assert "days" not in WHOLE._repr_html_()


def test_an_answer_is_set_once_and_whole() -> None:
    with pytest.raises(AttributeError, match="days cannot be set"):
        WHOLE.days = 3.0  # type: ignore[misc]
    with pytest.raises(TypeError, match="Whole needs part"):
        Whole()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Whole has no hours"):
        Whole(part=WHOLE.part, hours=3)  # type: ignore[call-arg]
    assert WHOLE.changed(days=2.0) != WHOLE
    assert WHOLE.changed(days=2.0).days == 2.0


def test_an_assumption_in_json() -> None:
    assumption = Assumption("MFU 0.4 (as given)", 0.4, source="as given")
    assert assumption.to_dict() == {"value": 0.4, "unit": None, "source": "as given", "text": "MFU 0.4 (as given)"}

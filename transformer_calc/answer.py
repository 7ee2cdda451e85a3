"""Answers: typed records that readings return, with what they rest on, and short to look at.

An answer's fields are documented in its class, with their units. `FIRST` names those that are seen first, each with
what it is, for `repr` and for notebooks; fields of fields by dots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self, dataclass_transform

from transformer_calc import units
from transformer_calc.tuples import NamedTuple


class Assumption(NamedTuple):
    """What an answer rests on: a value with its unit, where it is from, and the same in words."""

    text: str
    value: Any = None
    unit: str = ""
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"value": self.value, "unit": self.unit or None, "source": self.source or None, "text": self.text}


Assumptions = Mapping[str, Assumption]


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Answer:
    """What all answers share: keyword fields that are set once, compared by value."""

    FIRST: ClassVar[Mapping[str, str]] = {}  # field -> count, flops, bytes, seconds, share, usd, number or text
    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        own = (name for name, kind in cls.__annotations__.items() if not str(kind).startswith("ClassVar"))
        cls._fields = (*cls._fields, *own)

    def __init__(self, **values: Any) -> None:
        if unknown := values.keys() - set(self._fields):
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for name in self._fields:
            if name not in values and not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} needs {name}")
        self.__dict__.update(values)

    def changed(self, **values: Any) -> Self:
        """The same with other values."""
        return type(self)(**{**self.__dict__, **values})

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # answers hold mappings

    def first(self) -> dict[str, str]:
        """What is seen first, as people read it."""
        return {name: said(self._value(name), kind) for name, kind in self.FIRST.items()}

    def _value(self, name: str) -> Any:
        value: Any = self
        for part in name.split("."):
            value = None if value is None else getattr(value, part)
        return value

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={text}" for name, text in self.first().items() if text)
        return f"<{type(self).__name__} {shown}>"

    def _repr_html_(self) -> str:
        return as_table(type(self).__name__, self.first())


class OfModel(Answer):
    """An answer about one model, as it is run on one workload."""

    title: str  # the model's name, with where it is from and what was changed
    model: Mapping[str, Any]  # what it is, as in JSON
    workload: Mapping[str, int]  # batch: sequences; seq, target_seq, context: tokens; those that apply
    notes: tuple[str, ...]  # what was taken for granted or passed over, and what of the workload is beyond the model


def as_table(caption: str, lines: Mapping[str, str | Sequence[str]]) -> str:
    """What notebooks show: a line for each name that has a text, or several."""
    from html import escape

    def row(name: str, texts: Sequence[str]) -> str:
        cells = "".join(f'<td style="text-align:right">{escape(text)}</td>' for text in texts)
        return f'<tr><th style="text-align:left">{escape(name.replace("_", " "))}</th>{cells}</tr>'

    each = {name: (text,) if isinstance(text, str) else text for name, text in lines.items()}
    rows = "".join(row(name, texts) for name, texts in each.items() if any(texts))
    return f"<table><caption>{escape(caption)}</caption>{rows}</table>"


SHOWN: Mapping[str, Callable[[Any], str]] = {
    "bytes": units.format_bytes,
    "flops": units.format_flops,
    "seconds": units.format_seconds,
    "share": units.format_share,
    "usd": units.format_usd,
    "count": units.format_exact,
    "number": units.format_number,
}


def said(value: Any, kind: str) -> str:
    """A value as people read it; nothing of what is unknown."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if kind == "count" and not isinstance(value, int):
        value = len(value)
    return SHOWN.get(kind, str)(value)

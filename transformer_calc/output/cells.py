"""How people see a value, and which of it a stream can show."""

from __future__ import annotations

from typing import Any, TextIO

from .. import units
from ..report import Kind
from . import signs

# aligned to the right
NUMERIC = frozenset({"count", "rounded", "flops", "bytes", "share", "seconds", "number", "usd", "mixed"})


def cell(value: Any, kind: Kind) -> str:
    """Write a value as people read it; a value that is text already stays as it is."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    match kind:
        case "count":
            return units.format_exact(value)
        case "rounded":
            return units.format_count(value)
        case "flops":
            return units.format_flops(value)
        case "bytes":
            return units.format_bytes(value)
        case "share":
            return units.format_share(value)
        case "seconds":
            return units.format_seconds(value)
        case "number":
            return units.format_number(value)
        case "usd":
            return units.format_usd(value)
        case "shape":
            return "[" + ", ".join(map(str, value)) + "]"
        case "shapes":
            return " ".join(cell(shape, "shape") for shape in value)
        case "mixed":
            return cell(*value)
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def encoding_of(stream: TextIO) -> str:
    """The stream's encoding; one without takes every text."""
    return getattr(stream, "encoding", None) or "utf-8"


def can_show(text: str, stream: TextIO) -> bool:
    """Say whether the stream's encoding has every character of the text."""
    return signs.has(encoding_of(stream), text)


def showable(text: str, stream: TextIO) -> str:
    """Return the text, with ASCII forms of what the stream cannot show: `24·D²` becomes `24*D^2`."""
    return signs.written(text, encoding_of(stream))


def printable(text: str) -> str:
    """Replace control characters: a name in somebody's file must not steer the reader's terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)

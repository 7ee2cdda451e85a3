"""How people see a value, and which of it a stream can show."""

from __future__ import annotations

import re
from typing import Any, TextIO

from .. import units
from ..report import Kind

# aligned to the right
NUMERIC = frozenset({"count", "rounded", "flops", "bytes", "share", "seconds", "number", "usd", "mixed"})

_ASCII = str.maketrans(
    {"·": "*", "×": "x", "÷": "/", "−": "-", "–": "-", "—": "-", "→": "->", "←": "<-", "≤": "<=", "≥": ">="}
    | {"≠": "!=", "≈": "~", "…": "...", "√": "sqrt ", "Σ": "sum", "½": "1/2", "¼": "1/4", "∞": "inf", "µ": "u"}
    | {
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "•": "*",
        "⌈": "ceil(",
        "⌉": ")",
        "⌊": "floor(",
        "⌋": ")",
        "ᵀ": "^T",
        "′": "'",
        "±": "+-",
        "⊙": "*",
        "⋮": ":",
        "§": "section ",
    }
    | {"β": "beta", "γ": "gamma", "ε": "eps", "μ": "mu", "π": "pi", "σ": "sigma"}
)
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_POWER = re.compile(f"[{_SUPERSCRIPTS}]+")
_DIGITS = str.maketrans(_SUPERSCRIPTS, "0123456789")


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


def can_show(text: str, stream: TextIO) -> bool:
    """Say whether the stream's encoding has every character of the text (a stream without one takes all)."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def showable(text: str, stream: TextIO) -> str:
    """Return the text, in ASCII forms if the stream needs them: `24·D²` becomes `24*D^2`."""
    if can_show(text, stream):
        return text
    plain = _POWER.sub(lambda power: "^" + power[0].translate(_DIGITS), text).translate(_ASCII)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if not plain.isascii():
        from unicodedata import combining, normalize

        plain = "".join(c for c in normalize("NFKD", plain) if not combining(c))  # X₁ and Rozière
    return plain.encode(encoding, "replace").decode(encoding)


def printable(text: str) -> str:
    """Replace control characters: a name in somebody's file must not steer the reader's terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)

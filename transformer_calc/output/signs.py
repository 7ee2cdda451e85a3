"""How a character is written where a stream's encoding does not have it: one table, for every stream and format.

What people read is full of signs (`24·L·D²`, `√`, `≤`, bars). A console of western Windows (cp1252), of DOS (cp437), a
pipe in Japan (cp932) and an ASCII locale have some of them each, so that it is asked sign by sign.
"""

from __future__ import annotations

import re

ASCII: dict[str, str] = (
    {
        "·": "*",
        "×": "x",
        "÷": "/",
        "−": "-",
        "–": "-",
        "—": "-",
        "±": "+-",
        "⊙": "*",
        "∗": "*",
        "√": "sqrt ",
        "Σ": "sum",
    }
    | {"≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "→": "->", "←": "<-", "…": "...", "⋮": ":", "•": "*", "′": "'"}
    | {"½": "1/2", "¼": "1/4", "∞": "inf", "µ": "u", "§": "section ", "ᵀ": "^T", "ₗ": "l", "°": " deg"}
    | {"⌈": "ceil(", "⌉": ")", "⌊": "floor(", "⌋": ")", "‘": "'", "’": "'", "“": '"', "”": '"', "‑": "-"}
    | {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "eps", "η": "eta", "θ": "theta", "λ": "lambda"}
    | {"μ": "mu", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "ω": "omega", "Δ": "Delta"}
    | {"€": "EUR ", "£": "GBP ", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ß": "ss", "æ": "ae", "œ": "oe", "đ": "d"}
    | {"─": "-", "│": "|", "┌": "+", "┐": "+", "└": "+", "┘": "+", "├": "+", "┤": "+", "┬": "+", "┴": "+", "┼": "+"}
    # Blocks keep their width. Where one is lacking, a bar or a plot is drawn with # throughout.
    | dict.fromkeys("█▉▊▋▌▅▆▇", "#")
    | dict.fromkeys("▍▎▏▁▂▃▄", " ")
    | dict.fromkeys("\u00a0\u2009\u202f", " ")
)
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_POWER = re.compile(f"[{_RAISED}]+")
_DIGITS = str.maketrans(_RAISED, "0123456789")


def has(encoding: str, text: str) -> bool:
    """Whether an encoding has every character of the text."""
    try:
        text.encode(encoding)
    except UnicodeError:
        return False
    return True


def written(text: str, encoding: str) -> str:
    """The text with a form in ASCII of each character that the encoding lacks: `24·D²` becomes `24*D^2` in ASCII."""
    if has(encoding, text):
        return text
    text = _POWER.sub(lambda power: power[0] if has(encoding, power[0]) else plain(power[0]), text)
    lacking = {c: plain(c) for c in set(text) if not has(encoding, c)}
    return "".join(lacking.get(c, c) for c in text)


def plain(text: str) -> str:
    """The text in ASCII. A letter loses what stands above or below it (`X₁`, `Rozière`); what is left over is a `?`."""
    text = _POWER.sub(lambda power: "^" + power[0].translate(_DIGITS), text)
    return "".join(c if c.isascii() else ASCII.get(c) or _letter(c) for c in text)


def _letter(sign: str) -> str:
    """A character without its marks, if that is in ASCII."""
    from unicodedata import combining, normalize

    bare = "".join(c for c in normalize("NFKD", sign) if not combining(c))
    return bare if bare and bare.isascii() else "?"

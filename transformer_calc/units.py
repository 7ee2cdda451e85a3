"""Numbers as people write and read them: `2k`, `174.6B`, `80.0 GiB`, `734.8 TFLOP`.

Everything here is integer arithmetic: a float in between would turn large counts into other numbers.
"""

from __future__ import annotations

import re

from .errors import InputError, shown

# k, M, B, T are powers of 1000, in either case; G is a synonym of B.
_POWERS = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12}

_NUMBER = re.compile(
    r"""(?P<sign>[+-]?)
        (?: (?P<whole> [0-9]{1,3}(?:,[0-9]{3})+ | [0-9]+(?:_[0-9]+)* ) (?:\.(?P<part>[0-9]*))?
          | \.(?P<bare>[0-9]+) )
        (?: [eE](?P<exponent>[+-]?[0-9]+) )?
        [ ]?(?P<suffix>[kKmMbBgGtT]?)""",
    re.VERBOSE,
)
_LONGEST = 64
_EXAMPLES = "a whole number such as 2048, 2k, 3.2M or 1e12"

_COUNTS = ("", "K", "M", "B", "T")
_FLOPS = tuple(f" {prefix}FLOP" for prefix in ("", "K", "M", "G", "T", "P", "E", "Z", "Y"))
_BYTES = tuple(f" {prefix}" for prefix in ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def parse_count(text: str, *, field: str, minimum: int = 1, maximum: int = 10**18) -> int:
    """Read a count exactly: `2048`, `50_257`, `50,257`, `2k`, `3.2M`, `300B`, `1e12`.

    `field` is the name under which the user knows the number; messages begin with it.
    """
    problem = f"{field} is {shown(text)}"
    stripped = text.strip()
    match = _NUMBER.fullmatch(stripped) if len(stripped) <= _LONGEST else None
    if match is None:
        raise InputError(f"{problem}, expected {_EXAMPLES}")

    part = match["part"] or match["bare"] or ""
    digits = ((match["whole"] or "") + part).replace(",", "").replace("_", "")
    power = int(match["exponent"] or 0) - len(part) + _POWERS[match["suffix"].lower()]

    # Whether it is whole and whether it is too large show before 10**power is worked out, which for
    # 1e999999999 would take forever.
    significant = digits.lstrip("0").rstrip("0")
    power += len(digits) - len(digits.rstrip("0"))
    if not significant:
        value = 0
    elif power < 0:
        raise InputError(f"{problem}, which is not a whole number; expected {_EXAMPLES}")
    elif len(significant) + power > len(str(maximum)) + 1 and match["sign"] != "-":
        raise InputError(f"{problem}, expected at most {format_exact(maximum)}")
    elif match["sign"] == "-":
        value = -1  # any negative number: only its sign matters below
    else:
        value = int(significant) * 10**power

    if value < minimum:
        raise InputError(f"{problem}, expected at least {format_exact(minimum)}")
    if value > maximum:
        raise InputError(f"{problem}, expected at most {format_exact(maximum)}")
    return value


def parse_decimal(text: str, *, field: str, zero: bool = False, most: float = 10.0**15) -> float:
    """Read a number that need not be whole, `2.95`, `238.3k`, `6e-5`: more than 0 (`zero`: or 0), at most `most`."""
    problem = f"{field} is {shown(text)}"
    stripped = text.strip()
    match = _NUMBER.fullmatch(stripped) if len(stripped) <= _LONGEST else None
    if match is None:
        raise InputError(f"{problem}, expected a number such as 0.4, 2.95 or 1.5k")
    digits = stripped[: match.start("suffix")].strip().replace(",", "").replace("_", "")
    exponent = match["exponent"] or "0"
    mantissa = digits[: match.start("exponent") - 1] if match["exponent"] else digits
    value = float(f"{mantissa}e{int(exponent) + _POWERS[match['suffix'].lower()]}")
    if not 0 <= value <= most or (value == 0 and not zero):
        least = "at least 0" if zero else "more than 0"
        raise InputError(f"{problem}, expected {least} and at most {most:,.6g}")
    return value


def parse_share(text: str, *, field: str) -> float:
    """Read a part of a whole: `0.4` or `40%`."""
    stripped = text.strip()
    percent = stripped.endswith("%")
    try:
        value = parse_decimal(stripped.removesuffix("%"), field=field, most=100 if percent else 1)
    except InputError:
        raise InputError(f"{field} is {shown(text)}, expected a part of 1 such as 0.4, or 40%") from None
    return value / 100 if percent else value


def format_exact(n: int) -> str:
    """Write every digit: `174,604,259,328`."""
    return f"{n:,}"


def format_count(n: float) -> str:
    """Write a count with one decimal: `174.6B`; below 1000 exactly."""
    return _scaled(n, 1000, _COUNTS)


def format_flops(n: float) -> str:
    """Write FLOPs with one decimal: `734.8 TFLOP`."""
    return _scaled(n, 1000, _FLOPS)


def format_bytes(n: float) -> str:
    """Write bytes in powers of 1024 with one decimal: `80.0 GiB`."""
    return _scaled(n, 1024, _BYTES)


def format_share(share: float) -> str:
    """Write a fraction as a percentage: `12.3%`. What is not nothing is not shown as nothing, nor most as all."""
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{share:.1%}"


def _scaled(n: float, base: int, units: tuple[str, ...]) -> str:
    """Write `n` in the largest unit in which it is at least 1 once it is rounded (999,999 -> 1.0M)."""
    if n != n or abs(n) == float("inf"):
        return f"{n}{units[0]}"
    numerator, denominator = n.as_integer_ratio()  # exact, for ints and floats alike
    sign, numerator = ("-", -numerator) if numerator < 0 else ("", numerator)
    if denominator == 1 and numerator < base:
        return f"{sign}{numerator}{units[0]}"
    if numerator < 10 * denominator:
        return f"{sign}{numerator / denominator:.3g}{units[0]}"  # 0.004 must not become 0.0
    for unit in units:  # noqa: B007 (it is used after the loop)
        tenths = (20 * numerator + denominator) // (2 * denominator)  # rounded half up
        if tenths < 10 * base:
            break
        denominator *= base
    return f"{sign}{tenths // 10:,}.{tenths % 10}{unit}"

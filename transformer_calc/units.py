"""Numbers as people write and read them: `2k`, `174.6B`, `80.0 GiB`, `734.8 TFLOP`.

Everything here is integer arithmetic: a float in between would turn large counts into other numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from .errors import InputError, shown

# k, M, B, T are powers of 1000, in either case; G is a synonym of B. Ki, Mi, Gi, Ti are powers of 1024, and so are k
# and M in lengths, as the models' own lengths are.
_POWERS = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12}

_NUMBER = re.compile(
    r"""(?P<sign>[+-]?)
        (?: (?P<whole> [0-9]{1,3}(?:,[0-9]{3})+ | [0-9]+(?:_[0-9]+)* ) (?:\.(?P<part>[0-9]*))?
          | \.(?P<bare>[0-9]+) )
        (?: [eE](?P<exponent>[+-]?[0-9]+) )?
        [ ]?(?P<suffix>[kKmMbBgGtT]? | [kKmMgGtT]i)""",
    re.VERBOSE,
)
_LONGEST = 64
_LEAST = 1e-9  # of a measure that cannot be 0: quotients by smaller ones are no longer numbers
_EXAMPLES = "a whole number such as 2048, 2k, 3.2M or 1e12"

_COUNTS = ("", "K", "M", "B", "T")
_FLOPS = tuple(f" {prefix}FLOP" for prefix in ("", "K", "M", "G", "T", "P", "E", "Z", "Y"))
_BYTES = tuple(f" {prefix}" for prefix in ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def parse_length(text: str, *, field: str, minimum: int = 1, maximum: int = 10**18) -> int:
    """Read a number of tokens in a row, of which `8k` are 8,192 and `1M` 1,048,576; else as `parse_count`."""
    return parse_count(text, field=field, minimum=minimum, maximum=maximum, length=True)


def parse_count(text: str, *, field: str, minimum: int = 1, maximum: int = 10**18, length: bool = False) -> int:
    """Read a count exactly: `2048`, `50_257`, `50,257`, `2k`, `3.2M`, `300B`, `1e12`, `8Ki`.

    `field` is the name under which the user knows the number; messages begin with it. `length`: see `parse_length`.
    """
    problem = f"{field} is {shown(text)}"
    stripped = text.strip()
    match = _NUMBER.fullmatch(stripped) if len(stripped) <= _LONGEST else None
    if match is None:
        raise InputError(f"{problem}, expected {_EXAMPLES}")

    part = match["part"] or match["bare"] or ""
    digits = ((match["whole"] or "") + part).replace(",", "").replace("_", "")
    suffix = match["suffix"].lower()
    twofold = suffix.endswith("i") or (length and suffix in ("k", "m"))
    scale = 2 ** (_POWERS[suffix[:1]] // 3 * 10) if twofold else 1
    power = int(match["exponent"] or 0) - len(part) + (0 if twofold else _POWERS[suffix])

    # Whether it is whole and whether it is too large show before 10**power is worked out, which for
    # 1e999999999 would take forever.
    significant = digits.lstrip("0").rstrip("0")
    power += len(digits) - len(digits.rstrip("0"))
    if not significant:
        value = 0
    elif power < 0 and (power < -_LONGEST or int(significant) * scale % 10**-power):
        of_two = f" ({match['suffix'][0]} is a power of two in a length)" if length and scale > 1 else ""
        raise InputError(f"{problem}, which is not a whole number{of_two}; expected {_EXAMPLES}")
    elif len(significant) + power > len(str(maximum)) + 1 and match["sign"] != "-":
        raise InputError(f"{problem}, expected at most {format_exact(maximum)}")
    elif match["sign"] == "-":
        value = -1  # any negative number: only its sign matters below
    else:
        value = int(significant) * scale * 10**power if power >= 0 else int(significant) * scale // 10**-power

    if value < minimum:
        raise InputError(f"{problem}, expected at least {format_exact(minimum)}")
    if value > maximum:
        raise InputError(f"{problem}, expected at most {format_exact(maximum)}")
    return value


def parse_amount(
    text: str, *, field: str, minimum: float = 0.0, maximum: float = 1e18, inclusive: bool = False
) -> float:
    """Read a measure: `0.4`, `2.5`, `1.5k`, `300B`; more than `minimum` (`inclusive`: or it), at most `maximum`."""
    stripped = text.strip().replace("_", "")
    match = _NUMBER.fullmatch(stripped) if len(stripped) <= _LONGEST else None
    if match is None:
        raise InputError(f"{field} is {shown(text)}, expected a number such as 0.4, 2.5 or 1.5k")
    digits = stripped.rstrip("kKmMbBgGtTi ").replace(",", "")
    suffix = match["suffix"].lower()
    factor = 1024.0 ** (_POWERS[suffix[:1]] // 3) if suffix.endswith("i") else 10.0 ** _POWERS[suffix]
    value = float(digits) * factor
    least = f"at least {minimum:g}" if inclusive else f"more than {minimum:g}"
    if 0 < value < _LEAST and minimum == 0 and not inclusive:
        raise InputError(f"{field} is {shown(text)}, expected at least {_LEAST:g}")
    if not minimum <= value <= maximum or (value == minimum and not inclusive):
        raise InputError(f"{field} is {shown(text)}, expected {least} and at most {maximum:g}")
    return value


def parse_share(text: str, *, field: str) -> float:
    """Read a part of a whole: `0.4` or `40%`."""
    stripped = text.strip()
    percent = stripped.endswith("%")
    try:
        value = parse_amount(stripped.removesuffix("%"), field=field, maximum=100 if percent else 1)
    except InputError:
        raise InputError(
            f"{field} is {shown(text)}, expected a part of 1 such as 0.4, or 40%, of at least {_LEAST:g}"
        ) from None
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


_DURATIONS = ((86_400, "days"), (3_600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))


def format_seconds(seconds: float) -> str:
    """Write a duration in the unit in which it is at least 2: `12.3 ms`, `1.42 s` and `33.9 days`."""
    for unit, name in _DURATIONS:
        if seconds >= (2 * unit if unit >= 60 else unit):
            return f"{format_number(seconds / unit)} {name}"
    return f"{format_number(seconds * 1e9)} ns" if seconds else "0 s"


def format_number(value: float) -> str:
    """Write a measure with three digits, or all of those before the point: `0.0421`, `7.00`, `1,720,320`."""
    if value == 0 or value != value or abs(value) == float("inf"):
        return f"{value:g}"
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def is_whole(x: float, decimals: int = 0) -> bool:
    """Whether a number has no more than so many decimals."""
    return abs(x - round(x, decimals)) <= 1e-12 * max(1.0, abs(x))


def decimals_of(numbers: Iterable[float], most: int) -> int:
    """The decimals that numbers need, at most so many; more where all of them would vanish."""
    shown = list(numbers)
    for places in range(most):
        if all(is_whole(x, places) for x in shown):
            return places
    largest = max(map(abs, shown), default=0.0)
    return most if largest == 0 or largest >= 10 ** (1 - most) else most - math.floor(math.log10(largest))


def format_decimals(x: float, decimals: int) -> str:
    """Write a number with so many decimals and a real minus sign."""
    text = f"{abs(x):.6e}" if abs(x) >= 1e15 else f"{abs(x):.{decimals}f}"
    return f"−{text}" if x < 0 and any(digit in "123456789" for digit in text) else text


def format_usd(usd: float) -> str:
    """Write dollars: `$0.0083`, `$0.21`, `$1,234`, `$4.6M`."""
    if 0 < usd < 0.0995:
        return f"${usd:#.2g}"
    return f"${usd:,.2f}" if usd < 1000 else f"${format_number(usd)}" if usd < 10**6 else f"${format_count(usd)}"


def format_digits(value: float) -> str:
    """Write a measure with three digits at least: `0.0421`, `7.00`, `120.5`, `1,720,320`."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 99.95 else f"{value:#.3g}"


def format_days(days: float) -> str:
    """Write days, or where these are less than one, hours, minutes or seconds."""
    for unit, of_day in (("days", 1), ("hours", 24), ("minutes", 24 * 60)):
        if days * of_day >= 1:
            return f"{format_digits(days * of_day)} {unit}"
    return f"{format_digits(days * 86_400)} seconds"


def format_thousands(value: float, unit: str, thousand: str) -> str:
    """Write a measure in its unit, or from a thousand on in a thousand of it."""
    return f"{format_digits(value / 1000)} {thousand}" if value >= 1000 else f"{format_digits(value)} {unit}"


def format_carbon(tonnes: float) -> str:
    """Write tonnes of CO₂e, or what is less in kg."""
    return f"{format_digits(tonnes)} t CO₂e" if tonnes >= 1 else f"{format_digits(tonnes * 1000)} kg CO₂e"


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

"""Published training runs: the [training] table of a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformer_calc.errors import InputError, did_you_mean, shown
from transformer_calc.facts import TrainingRun
from transformer_calc.sources.catalogue import short

TEXTS = ("schedule", "schedule_note", "batch_growth", "batch_note", "recompute", "hardware", "source")
WAYS = ("dp", "tp", "pp", "cp", "ep", "zero", "micro_batch", "virtual")  # of a plan: counts
WORDS = {"schedule": ("1f1b", "gpipe", "interleaved"), "attention": ("flash", "eager"), "precision": ()}
NUMBERS = ("learning_rate", "min_learning_rate_ratio", "days", "tflops_per_device")


def parse(data: Mapping[str, Any], where: str = "") -> TrainingRun:
    """The run that a [training] table describes; what it leaves out is unknown."""
    known = list(TrainingRun.__dataclass_fields__)
    fields: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            hint = did_you_mean(key, known)
            raise InputError(
                f"{where}[training] {shown(key)} is not a key of a run; there are {', '.join(known)}", hint
            )
        tables = {"batch_ramp": _ramp, "plan": _plan}
        fields[key] = tables[key](where, value) if key in tables else _value(where, key, value)
    try:
        return TrainingRun(**fields)
    except InputError as error:
        raise InputError(f"{where}[training] {error.message}", error.hint) from None


def _value(where: str, key: str, value: Any) -> Any:
    if key in TEXTS:
        expected, right = "a text", isinstance(value, str)
    elif key in NUMBERS:
        expected, right = "a number", isinstance(value, int | float) and not isinstance(value, bool)
    else:
        expected, right = "a whole number", isinstance(value, int) and not isinstance(value, bool)
    if not right:
        raise InputError(f"{where}[training] {key} is {short(value)}; it must be {expected}")
    return value


def _plan(where: str, value: Any) -> tuple[tuple[str, int | str], ...]:
    """How the run was spread over its devices: counts, sp as 0 or 1, and words."""
    if not isinstance(value, dict):
        raise InputError(f"{where}[training] plan is {short(value)}; it must be a table: [training.plan]")
    known = (*WAYS, "sp", *WORDS)
    for key, given in value.items():
        if key not in known:
            hint = did_you_mean(key, known)
            raise InputError(f"{where}[training.plan] {shown(key)} is not known; there are {', '.join(known)}", hint)
        right = isinstance(given, str) if key in WORDS else type(given) is int and given >= 0
        if not right or (WORDS.get(key) and given not in WORDS[key]):
            raise InputError(f"{where}[training.plan] {key} is {short(given)}, which it cannot be")
    return tuple(value.items())


def _ramp(where: str, value: Any) -> tuple[tuple[int, int], ...]:
    """Points of a batch's growth: [[tokens seen, tokens of a batch], …]."""
    points = value if isinstance(value, list) else [value]
    for point in points:
        if not (isinstance(point, list) and len(point) == 2 and all(type(number) is int for number in point)):
            raise InputError(
                f"{where}[training] batch_ramp has {short(point)}; it must be a list of pairs of whole numbers: "
                "tokens seen, tokens of a batch"
            )
    return tuple((seen, batch) for seen, batch in points)

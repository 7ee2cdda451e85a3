"""JSON: the report's data at full precision, one entry of a list on a line so that it can be read and diffed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TextIO

from ..report import Report
from .cells import can_show


def render(report: Report, stream: TextIO) -> None:
    """Write the report as one JSON object."""
    text = _lines(report.to_dict(), ensure_ascii=False)
    if not can_show(text, stream):
        text = _lines(report.to_dict(), ensure_ascii=True)
    stream.write(text + "\n")


def _lines(data: Mapping[str, object], ensure_ascii: bool) -> str:
    # json's own indent would give each number of each shape a line, at a tenth of the speed.
    def dumps(value: object) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, allow_nan=False, default=_plain)

    def entry(value: object) -> str:
        if isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
            return "[\n    " + ",\n    ".join(map(dumps, value)) + "\n  ]"
        return dumps(value)

    return "{\n  " + ",\n  ".join(f"{dumps(key)}: {entry(value)}" for key, value in data.items()) + "\n}"


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON: {value!r}")

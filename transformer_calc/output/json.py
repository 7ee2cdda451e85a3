"""JSON: the report's data at full precision, one entry of a list on a line so that it can be read and diffed."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from typing import TextIO

from ..report import Report
from .cells import can_show, encoding_of


def render(report: Report, stream: TextIO) -> None:
    """Write the report as one JSON object."""
    utf8 = codecs.lookup(encoding_of(stream)).name == "utf-8"  # in any other encoding it would not be JSON
    text = _lines(report.to_dict(), ensure_ascii=not utf8)
    if not can_show(text, stream):  # the name of a file that is no text
        text = _lines(report.to_dict(), ensure_ascii=True)
    stream.write(text + "\n")


def _lines(data: Mapping[str, object], ensure_ascii: bool) -> str:
    # json's own indent would give each number of each shape a line, at a tenth of the speed.
    def dumps(value: object) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, allow_nan=False, default=_plain)

    def entry(value: object, indent: str = "  ") -> str:
        inner = f"\n{indent}  "
        if _of_mappings(value):
            return f"[{inner}" + f",{inner}".join(map(dumps, value)) + f"\n{indent}]"  # type: ignore[call-overload]
        if isinstance(value, Mapping) and any(map(_of_mappings, value.values())):
            lines = (f"{dumps(key)}: {entry(item, indent + '  ')}" for key, item in value.items())
            return f"{{{inner}" + f",{inner}".join(lines) + f"\n{indent}}}"
        return dumps(value)

    return "{\n  " + ",\n  ".join(f"{dumps(key)}: {entry(value)}" for key, value in data.items()) + "\n}"


def _of_mappings(value: object) -> bool:
    """Whether it is a list whose entries stand on lines of their own."""
    return isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON: {value!r}")

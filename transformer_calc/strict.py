"""JSON as it is written: an object that names a key twice says two things, and neither is taken for the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformer_calc.errors import InputError, shown


def parse(text: str | bytes, path: Path) -> Any:
    """What a file's JSON says; a key that stands twice in one object, at any depth, is refused."""
    import json

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise InputError(f"{path} holds the key {shown(name)} twice; it must stand there once")
            found[name] = value
        return found

    return json.loads(text, object_pairs_hook=once)

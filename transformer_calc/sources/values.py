"""Numbers from somebody's file: inputs and weights by name, in TOML, JSON or NumPy's .npz."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformer_calc.errors import InputError
from transformer_calc.sources import files

KINDS = (".toml", ".json", ".npz")


def read(path: Path) -> dict[str, Any]:
    """Every matrix of a file under its name: lists of rows, or arrays. Tables within tables are names with dots."""
    suffix = path.suffix.lower()
    if suffix not in KINDS:
        raise InputError(f"{path} is no {', '.join(KINDS)} or .safetensors file", hint="its name must end so")
    if suffix == ".npz":
        return _arrays(path)
    if suffix == ".toml":
        import tomllib

        data = files.read(path, "TOML", tomllib.loads)
    else:
        import json

        data = files.read(path, "JSON", json.loads)
    values = data.get("values")
    return flat(values if isinstance(values, dict) else data)


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"layers": {"attn": …}}` as `{"layers.attn…": …}`."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        parts = flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
        for part in parts:
            if part in found:
                raise InputError(f"{part} is given twice; it must be given once")
        found |= parts
    return found


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except Exception as error:  # zip, header and pickle errors of all kinds
        raise InputError(f"{path} is not an .npz file of arrays: {str(error).splitlines()[0]}") from None

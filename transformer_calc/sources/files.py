"""Reading somebody's file: whatever is wrong with it is one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformer_calc.errors import InputError

LARGEST = 4 * 2**20  # bytes; real config.json files and presets have a few thousand


def read(path: Path, kind: str, parse: Callable[[str], Any], describes: str = "a model") -> dict[str, Any]:
    """The object in a file; `kind` is its format's name, `parse` raises ValueError where it is not that."""
    try:
        with open(path, "rb", opener=_open) as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            smaller = f"a {kind} file that describes {describes} is smaller"
            raise InputError(f"{path} has more than {LARGEST:,} bytes; {smaller}")
        text = content.decode("utf-8-sig")
        if not text.strip():
            raise InputError(f"{path} is empty")
        data = parse(text)
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; it must be {kind} in UTF-8") from None
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to describe {describes}") from None
    except ValueError as error:  # both parsers' errors are, and so is a number of too many digits
        raise InputError(f"{path} is not {kind}: {error}") from None
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} holds {_kind(data)}; it must hold an object that describes {describes}")
    return data


def _kind(value: Any) -> str:
    return {list: "a list", str: "a string", bool: "true or false", type(None): "null"}.get(type(value), "a number")


def _open(path: str, flags: int) -> int:
    """Open a file without waiting for somebody to write to it: a pipe that nobody writes to is empty."""
    number = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(number, True)  # who has a pipe open for writing is waited for
    return number

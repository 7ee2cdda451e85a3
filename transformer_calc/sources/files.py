"""Reading somebody's file: whatever is wrong with it is one sentence."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformer_calc.errors import InputError

LARGEST = 4 * 2**20  # bytes; real config.json files and presets have a few thousand
PATIENCE = 10.0  # seconds that a pipe may be silent: nobody writes to it, or somebody has forgotten it


def read(
    path: Path, kind: str, parse: Callable[[str], Any], describes: str = "a model", largest: int = LARGEST
) -> dict[str, Any]:
    """The object in a file; `kind` is its format's name, `parse` raises ValueError where it is not that."""
    try:
        with open(path, "rb", opener=_open) as file:
            content = _content(file, path, largest + 1)
        if len(content) > largest:
            smaller = f"a {kind} file that describes {describes} is smaller"
            raise InputError(f"{path} has more than {largest:,} bytes; {smaller}")
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


def regular(path: Path, kind: str) -> int:
    """The bytes of a file that is read in parts, so that it must be none of what else a path can name: no pipe."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{path} is a folder, expected {kind}")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} is neither a file nor a folder, expected {kind}")
    return found.st_size


def exists(path: Path) -> bool:
    """Whether there is such a file, or folder; no name is too long, or otherwise none, to be asked for."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def _content(file: Any, path: Path, most: int) -> bytes:
    """The first bytes of a file, of a pipe as they come."""
    if not stat.S_ISFIFO(os.fstat(file.fileno()).st_mode) or not hasattr(os, "O_NONBLOCK"):
        content: bytes = file.read(most)
        return content
    parts, left = list[bytes](), most
    os.set_blocking(file.fileno(), False)
    while left > 0:
        try:
            part = os.read(file.fileno(), min(left, 2**16))
        except BlockingIOError:  # somebody has it open for writing
            if not select.select([file], [], [], PATIENCE)[0]:
                raise InputError(f"nothing has come through the pipe {path} for {PATIENCE:g} seconds") from None
            continue
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _kind(value: Any) -> str:
    return {list: "a list", str: "a string", bool: "true or false", type(None): "null"}.get(type(value), "a number")


def _open(path: str, flags: int) -> int:
    """Open a file without waiting for somebody to write to it: a pipe that nobody writes to is empty."""
    number = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(number, True)  # who has a pipe open for writing is waited for
    return number

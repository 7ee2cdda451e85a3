"""Numbers from somebody's file: inputs and weights by name, in TOML, JSON or NumPy's .npz."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformer_calc import strict
from transformer_calc.errors import InputError, shown
from transformer_calc.sources import files

KINDS = (".toml", ".json", ".npz")
LARGEST = 64 * 2**20  # bytes of arrays to walk with
LONGEST_HEADER = 2**16  # bytes, of an array in a file


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
        data = files.read(path, "JSON", lambda text: strict.parse(text, path))
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
    files.regular(path, "an .npz file of arrays")
    with Arrays(path) as held:
        if held.bytes(held.shapes) > LARGEST:
            raise InputError(
                f"{path} holds {held.bytes(held.shapes):,} bytes of arrays, once they are unpacked; to walk by hand, "
                f"at most {LARGEST:,} are read"
            )
        return {name: held.array(name) for name in held.shapes}


class Arrays:
    """The arrays of an .npz file: shapes and types are looked at first, whatever size it may unpack to."""

    def __init__(self, path: Path) -> None:
        import zipfile

        self.path = path
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.types: dict[str, Any] = {}
        self._entries: dict[str, Any] = {}
        with self._told():
            self._file = zipfile.ZipFile(path)
        with self._told():
            for entry in self._file.infolist():
                name = entry.filename.removesuffix(".npy")
                if name in self.shapes:
                    raise InputError(f"{path} holds {shown(name)} twice; it must stand there once")
                if entry.filename.endswith(".npy"):
                    self.shapes[name], self.types[name] = self._header(entry)
                    self._entries[name] = entry

    def __enter__(self) -> Arrays:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def bytes(self, names: Iterable[str]) -> int:
        """What arrays take, unpacked."""
        return sum(math.prod(self.shapes[name]) * self.types[name].itemsize for name in names)

    def array(self, name: str) -> Any:
        """One of them, read."""
        import numpy as np

        with self._told(), self._file.open(self._entries[name]) as member:
            return np.lib.format.read_array(member, allow_pickle=False)

    def _header(self, entry: Any) -> tuple[tuple[int, ...], Any]:
        """Shape and type of an array (NEP 1): no more of it is unpacked, and it cannot claim to be more than it is."""
        from numpy.lib import format

        with self._file.open(entry) as member:
            start = member.read(12)
            length = int.from_bytes(start[8:10] if start[6:7] == b"\x01" else start[8:12], "little")
            if length > LONGEST_HEADER:
                raise ValueError(f"{entry.filename} has a header of {length:,} bytes")
        with self._file.open(entry) as member:
            version = format.read_magic(member)
            read = format.read_array_header_1_0 if version == (1, 0) else format.read_array_header_2_0
            shape, _, dtype = read(member)
            if math.prod(shape) * dtype.itemsize != entry.file_size - member.tell() and not dtype.hasobject:
                raise ValueError(f"{entry.filename} does not hold as many entries as it says")
        return shape, dtype

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever is wrong with the file becomes a sentence: there are zip, header and pickle errors of all kinds."""
        try:
            yield
        except (InputError, MemoryError):
            raise
        except Exception as error:
            why = str(error).partition("\n")[0] or type(error).__name__
            raise InputError(f"{self.path} is not an .npz file of arrays: {why}") from None

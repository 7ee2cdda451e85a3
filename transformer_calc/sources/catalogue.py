"""Things that are known by name: a folder of small TOML files, found, listed and read the same way for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformer_calc.errors import InputError, either, misspelt, shown
from transformer_calc.sources import files, index
from transformer_calc.tuples import NamedTuple


class Catalogue(NamedTuple):
    """The files of one kind: `presets/KIND/NAME.toml`, each perhaps with `aliases = [...]` on one line."""

    kind: str  # the folder's name
    one: str  # what an entry is called
    command: str  # what lists them: tcalc COMMAND
    describes: str = "a model"  # what a file of it describes

    def folder(self) -> Path:
        """Where the files are: beside this package's modules in an installation, beside the package in a checkout."""
        package = Path(__file__).parent.parent
        inside = package / "presets" / self.kind
        return inside if inside.is_dir() else package.parent / "presets" / self.kind

    def path(self, name: str) -> Path:
        """The file of an entry that is known to exist."""
        return self.folder() / f"{name}.toml"

    def names(self) -> list[str]:
        """Every entry's name."""
        return sorted(path.stem for path in self.folder().glob("*.toml"))

    def read(self, path: Path) -> dict[str, Any]:
        """A file like those of this kind, one of them or somebody's own."""
        return index.one(path, self._parsed) if path.parent == self.folder() else self._parsed(path)

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """(name, what its file says) of every entry."""
        paths = sorted(self.folder().glob("*.toml"), key=lambda path: path.stem)
        return [(path.stem, said) for path, said in zip(paths, index.every(paths, self._parsed), strict=True)]

    def _parsed(self, path: Path) -> dict[str, Any]:
        return read(path, self.describes)

    def aliases(self) -> Iterator[tuple[str, str]]:
        """(other name, entry), read without parsing the files."""
        for path in self.folder().glob("*.toml"):
            line = re.search(r"^aliases\s*=\s*\[(.*)\]", path.read_text(encoding="utf-8"), re.MULTILINE)
            if line:
                for alias in re.findall(r'"([^"]+)"', line[1]):
                    yield alias, path.stem

    def find(self, name: str) -> Path:
        """The file of an entry, by its name or another name of it, in upper or lower case."""
        if path := self._file(name):
            return path
        hint = self.suggestion(name) or f"tcalc {self.command} lists them"
        raise InputError(f"{shown(name, 60)} is not a {self.one}", hint=hint)

    def exists(self, name: str) -> bool:
        """Whether an entry has this name."""
        return self._file(name) is not None

    def suggestion(self, name: str) -> str | None:
        """A hint at the entry that a wrong name may stand for, or at how to list those whose names begin with it."""
        others = dict(self.aliases())
        wanted = _spelt(name)
        if path := self._file(wanted):
            return f"did you mean {path.stem}?"
        known = [*self.names(), *others]
        near = sorted({others.get(name, name) for name in misspelt(wanted, known, most=20)})
        words = {others.get(other, other) for other in known if other.startswith(f"{wanted}-")}
        if len(words) > 1:  # mistral is no misspelt mixtral
            return f"tcalc {self.command} {wanted} lists those whose names begin so"
        if 0 < len(near) <= 3 and wanted[-1:].isalnum():  # what ends with a dash is the beginning of a name
            return f"did you mean {either(near)}?"
        begin = {others.get(other, other) for other in known if other.startswith(wanted)} if wanted else set()
        if len(begin) > 1:
            return f"tcalc {self.command} {wanted} lists those whose names begin so"
        if begin and len(wanted) > 2:
            return f"did you mean {min(begin)}?"
        stems = {stem for name in known if len(stem := _stem(name)) > 3}
        if _stem(wanted) in stems:
            return f"tcalc {self.command} {_stem(wanted)} lists those whose names begin so"
        right = misspelt(_stem(wanted), stems)
        return f"did you mean {right[0]}? tcalc {self.command} {right[0]} lists those" if len(right) == 1 else None

    def _file(self, name: str) -> Path | None:
        wanted = _spelt(name)
        path = self.path(wanted)
        if re.fullmatch(r"[\w.+-]{1,100}", wanted) and path.is_file():
            return path
        others = dict(self.aliases())
        return self.path(others[wanted]) if wanted in others else None


MODELS = Catalogue("models", "preset", "presets")
DEVICES = Catalogue("hardware", "device", "hardware", "a device")


def read(path: Path, describes: str = "a model") -> dict[str, Any]:
    """An entry's file as a dictionary."""
    import tomllib

    return files.read(path, "TOML", tomllib.loads, describes)


def short(value: Any) -> str:
    """A value of such a file for a message."""
    return shown(value) if isinstance(value, str) else str(value)[:60]


def _spelt(name: str) -> str:
    return re.sub(r"\s+", "-", name.strip().lower())


def _stem(name: str) -> str:
    """What a family's names begin with: `llama` of llama-3-8b."""
    return re.split(r"[-.\d]", name)[0]

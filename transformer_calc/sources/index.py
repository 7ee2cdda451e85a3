"""What the files of a catalogue say, parsed before: a line of JSON for each, used while the file is what it was.

The wheel has an index beside the files. In a checkout, or where files have changed since, it stands in the user's cache
and is made when all files are asked for; where that cannot be written, they are parsed each time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from json import dumps, loads
from pathlib import Path
from typing import Any
from zlib import crc32

Data = dict[str, Any]
Parse = Callable[[Path], Data]
INDEX = "index.jsonl"
KEPT = (str, int, float, bool)  # what JSON keeps exactly; a file may have dates, too


def one(path: Path, parse: Parse) -> Data:
    """What a file says; `parse` reads it, and raises what is wrong with it."""
    for text in _indices(path.parent):
        start = text.find(f"\n[{dumps(path.name)}, ") + 1
        if start and (known := loads(text[start : text.find("\n", start)]))[1] == _content(path):
            return known[2]  # type: ignore[no-any-return]
    return parse(path)


def every(paths: list[Path], parse: Parse) -> list[Data]:
    """What each of a folder's files says."""
    folder = paths[0].parent
    known = {line[0]: line for text in _indices(folder) for line in map(loads, text.splitlines()[1:])}
    found, missing = [], False
    for path in paths:
        line = known.get(path.name)
        if line is None or line[1] != _content(path):
            missing, line = True, (path.name, "", parse(path))
        found.append(line[2])
    if missing:
        _keep(folder, lines(zip(paths, found, strict=True)))
    return found


def lines(entries: Iterable[tuple[Path, Data]]) -> str:
    """The index of files and what they say, below an empty line."""
    kept = ((path.name, _content(path), said) for path, said in entries if _keeps(said))
    return "".join(f"\n{dumps(line, ensure_ascii=False)}" for line in kept) + "\n"


def _indices(folder: Path) -> Iterator[str]:
    """The index in the user's cache and the one beside the files, as far as there are any."""
    for file in (folder / INDEX, _cache(folder)):
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        if text.startswith("\n[") and text.endswith("]\n"):  # whole
            yield text


def _keep(folder: Path, text: str) -> None:
    """Write the index into the cache, all of it at once: another command may read it meanwhile."""
    file = _cache(folder)
    half = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(text, encoding="utf-8")
        half.replace(file)
    except OSError:  # a place that cannot be written
        return


def _cache(folder: Path) -> Path:
    """Where the index of a folder stands for this user."""
    home = os.path.expanduser("~")
    usual = {"win32": os.environ.get("LOCALAPPDATA", home), "darwin": f"{home}/Library/Caches"}
    place = os.environ.get("XDG_CACHE_HOME") or usual.get(sys.platform, f"{home}/.cache")
    return Path(place, "transformer-calc", f"{folder.name}-{crc32(os.fsencode(folder)):08x}.jsonl")


def _content(path: Path) -> str:
    """What tells the content of a file from another."""
    try:
        with open(path, "rb", buffering=0) as file:
            content = file.read()
    except OSError:
        return ""
    return f"{len(content)} {crc32(content):08x}"


def _keeps(value: Any) -> bool:
    """Whether JSON keeps all of it."""
    if isinstance(value, dict):
        return all(map(_keeps, value.values()))
    return all(map(_keeps, value)) if isinstance(value, list) else isinstance(value, KEPT)

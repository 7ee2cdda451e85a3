"""Draws the house, `docs/house.svg`: the stages of the package in their order, and who imports whom.

python docs/draw_house.py           writes it anew

The order is that of the contract `stages` in pyproject.toml, which the tests check; the arrows are the imports that
stand in the code, without those that follow from others (who imports the report sees the api); a box's sentence is the
first of its docstring. What stands in files of its own below the first package is what all are built on, and has no
arrows.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise, permutations
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "transformer_calc"
PICTURE = Path(__file__).parent / "house.svg"

WIDTH, MARGIN = 1000, 40  # of the house, and of its walls
GAP, FLOOR, ROOF = 22, 36, 104  # between boxes, between floors, the roof's height
PASSAGE, WIDEST = 24.0, 420.0  # what an arrow takes that passes a floor; the widest box
LONG = 62  # characters that fit on a line of a floor
LINE, CHARACTER = 15, 6.1  # a line of a sentence and one of its characters, in 11 px
CSS = """
  text { font: 11px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #424a53; text-anchor: middle; }
  .n { font: bold 14px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1f2328; }
  .wall { fill: #f6f8fa; stroke: #8c959f; stroke-width: 2; } .box { fill: #ffffff; stroke: #0550ae; stroke-width: 1.3; }
  .room { fill: #ddf4ff; stroke: #54aeff; } .base { fill: #eaeef2; stroke: #8c959f; }
  .edge { fill: none; stroke: #57606a; stroke-width: 1.3; marker-end: url(#tip); } #tip path { fill: #57606a; }
  @media (prefers-color-scheme: dark) { text { fill: #adbac7; } .n { fill: #e6edf3; }
  .wall { fill: #161b22; stroke: #6e7681; } .base { fill: #21262d; stroke: #6e7681; }
  .box { fill: #0d1117; stroke: #58a6ff; } .room { fill: #0c2d6b; stroke: #388bfd; }
  .edge { stroke: #8b949e; } #tip path { fill: #8b949e; } }
"""


# --- what there is ------------------------------------------------------------------------------------------


def order(contract: str = "stages") -> list[list[str]]:
    """The stages, floor by floor, the lowest first; or what another contract has in layers."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    found = next(one for one in tool["importlinter"]["contracts"] if one.get("id") == contract)
    floors = [[name.strip(" ()") for name in layer.split("|")] for layer in reversed(found["layers"])]
    there = [[name for name in floor if contract != "stages" or _file(name)] for floor in floors]
    return [floor for floor in there if floor]


def imports() -> dict[str, set[str]]:
    """Stage -> the stages that its modules import from."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        inner = path.relative_to(PACKAGE).with_suffix("").parts
        for name in _imported(ast.parse(path.read_text(encoding="utf-8")), inner):
            parts = name.split(".")
            if parts[0] == PACKAGE.name and len(parts) > 1 and parts[1] != inner[0] and _file(parts[1]):
                found.setdefault(inner[0], set()).add(parts[1])
    return found


def _imported(tree: ast.Module, inner: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [PACKAGE.name, *inner[:-1]][: len(inner) - node.level + 1] if node.level else []
            yield from (".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)


def _file(name: str) -> Path | None:
    """Where a stage's docstring stands."""
    places = (PACKAGE / name / "__init__.py", PACKAGE / f"{name}.py")
    return next((path for path in places if path.exists()), None)


def said(path: Path) -> str:
    """The first sentence of a module's docstring; of a long one as much as says something."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    text = text.split(". ")[0]
    for end in ("; ", ": "):
        short = text.split(end)[0]
        if len(text) > LONG and len(short.split()) > 1:
            text = short
    return text.rstrip("., ").replace("`", "")


def reduced(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The edges that do not follow from others."""

    def below(name: str) -> set[str]:
        return {name}.union(*(below(one) for one in edges.get(name, ())))

    return {
        name: {one for one in to if not any(one in below(other) for other in to - {one})} for name, to in edges.items()
    }


# --- where it stands ----------------------------------------------------------------------------------------


class Box(NamedTuple):
    """A stage on its floor, or the place where an arrow passes it (no name)."""

    name: str
    lines: list[str]
    rooms: list[tuple[str, list[str]]]
    width: float

    @property
    def height(self) -> float:
        """With its name, its sentence, and its rooms."""
        inner = 34 + LINE * max((len(lines) for _, lines in self.rooms), default=0) if self.rooms else 0
        return 30 + LINE * len(self.lines) + inner


def box(name: str, width: float) -> Box:
    """A stage; one of packages shows them as rooms."""
    folder = PACKAGE / name
    files: dict[str, Path] = {}
    if name == "readings":
        files = {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"}
        files |= {path.parent.name: path for path in sorted(folder.glob("*/__init__.py"))}
        known = [one for floor in order("rooms") for one in floor]
        files = dict(sorted(files.items(), key=lambda one: known.index(one[0]) if one[0] in known else len(known)))
    each = (width - GAP) / max(len(files), 1)
    rooms = [(one, wrap(said(path), int((each - 14) / CHARACTER))) for one, path in files.items()]
    path = _file(name)
    assert path
    return Box(name, wrap(said(path), int((width - 16) / CHARACTER)), rooms, width)


def drawing() -> str:
    """The whole house."""
    floors = order()
    first = next(i for i, floor in enumerate(floors) if any((PACKAGE / name).is_dir() for name in floor))
    base, upper = floors[:first], floors[first:]
    roof = upper.pop() if upper[-1] == ["__main__"] else []
    level = {name: i for i, floor in enumerate(upper) for name in floor}
    edges = {
        (name, to)
        for name, several in reduced({k: {one for one in v if one in level} for k, v in imports().items()}).items()
        if name in level
        for to in several
    }
    rows: list[list[str]] = [list(floor) for floor in upper]
    chains: list[list[str]] = []  # of each edge: what it passes, from above to below
    for name, to in sorted(edges):
        passed = [f"{name}>{to}>{i}" for i in range(level[name] - 1, level[to], -1)]
        for place in passed:
            rows[int(place.rpartition(">")[2])].append(place)
        chains.append([name, *passed, to])
    rows = _untangled(rows, chains)

    tops, y = {}, float(ROOF + 26)
    boxes: dict[str, tuple[float, Box]] = {}  # name -> its middle, and itself
    for i in range(len(rows) - 1, -1, -1):
        spread = _spread(rows[i])
        placed = [(name, x, Box("", [], [], w) if ">" in name else box(name, w)) for name, x, w in spread]
        boxes |= {name: (x, one) for name, x, one in placed}
        tops[i] = y
        y += max(one.height for _, _, one in placed) + FLOOR
    where = {name: i for i, row in enumerate(rows) for name in row}

    parts = []
    for chain in chains:
        points = []
        for name in chain:
            x, one = boxes[name]
            top = tops[where[name]]
            height = max(boxes[other][1].height for other in rows[where[name]])
            shift = _port(chain, name, chains, boxes)
            points.append((x + shift, top, top + (one.height if one.name else height)))
        parts.append(_arrow(points))
    for name, (x, one) in boxes.items():
        if one.name:
            parts += _drawn(one, x, tops[where[name]])

    ground = y + 4
    slab = [name for floor in reversed(base) for name in floor]
    each = (WIDTH + 2 * MARGIN - 2 * GAP) / len(slab)
    below = []
    deepest = 0
    for i, name in enumerate(slab):
        path = _file(name)
        assert path
        lines = wrap(said(path), int((each - 12) / CHARACTER))
        deepest = max(deepest, len(lines))
        x = GAP + each * (i + 0.5)
        below.append(_text(x, ground + 24, name, "n"))
        below += [_text(x, ground + 42 + LINE * k, line) for k, line in enumerate(lines)]
    height = ground + 44 + LINE * deepest
    total = WIDTH + 2 * MARGIN
    under = _text(total / 2, ROOF - 30, "tcalc", "n") + "".join(_text(total / 2, ROOF - 12, name) for name in roof)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height + 8:.0f}" width="{total}" '
        f'height="{height + 8:.0f}" role="img">\n<title>The stages of the package, and who imports whom</title>\n'
        f"<style>{CSS}</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z"/></marker></defs>\n'
        f'<path class="wall" d="M{MARGIN / 2} {ROOF} L{total / 2} 6 L{total - MARGIN / 2} {ROOF} z"/>\n{under}\n'
        f'<rect class="wall" x="{MARGIN / 2}" y="{ROOF}" width="{total - MARGIN}" height="{ground - ROOF:.0f}"/>\n'
        f'<rect class="base" x="2" y="{ground:.0f}" width="{total - 4}" height="{height - ground:.0f}" rx="3"/>\n'
        + "\n".join([*parts, *below])
        + "\n</svg>\n"
    )


def _untangled(rows: list[list[str]], chains: list[list[str]]) -> list[list[str]]:
    """The rows in the order in which fewest arrows cross and what passes goes straightest, one row after the other."""
    links = [link for chain in chains for link in pairwise(chain)]

    def tangle(order: tuple[str, ...], i: int) -> float:
        at = {name: x for row in (*rows[max(i - 1, 0) : i], order, *rows[i + 1 : i + 2]) for name, x, _ in _spread(row)}
        near = [(one, other) for one, other in links if {one, other} <= at.keys() and {one, other} & set(order)]
        crossings = sum(
            (at[one] - at[third]) * (at[other] - at[fourth]) < 0
            for k, (one, other) in enumerate(near)
            for third, fourth in near[:k]
            if (one in order) == (third in order)  # both above this row, or both below
        )
        bends = sum(abs(at[one] - at[other]) * (3 if ">" in one + other else 1) for one, other in near)
        return round(1e4 * crossings + bends, 3)

    for _ in range(4):
        for i, row in enumerate(rows):
            rows[i] = list(min(permutations(sorted(row)), key=lambda order, i=i: tangle(order, i)))  # type: ignore[misc]
    return rows


def _spread(row: Sequence[str]) -> Iterator[tuple[str, float, float]]:
    """Each of a floor: its name, its middle, and its width."""
    shares = {name: 3.0 if name == "readings" else 1.0 for name in row if ">" not in name}
    beside = PASSAGE * (len(row) - len(shares)) + GAP * (len(row) - 1)
    each = min((WIDTH - beside) / sum(shares.values()), WIDEST)
    x = MARGIN + (WIDTH - beside - each * sum(shares.values())) / 2
    for name in row:
        width = each * shares[name] if name in shares else PASSAGE
        yield name, x + width / 2, width
        x += width + GAP


def _port(chain: list[str], name: str, chains: list[list[str]], boxes: dict[str, tuple[float, Box]]) -> float:
    """Where on a box's edge an arrow begins or ends: beside the others, in the order of where they come from."""
    if name not in (chain[0], chain[-1]):
        return 0.0
    end = 0 if name == chain[0] else -1
    mates = [other for other in chains if other[end] == name]
    mates.sort(key=lambda other: boxes[other[1] if end == 0 else other[-2]][0])
    return (mates.index(chain) - (len(mates) - 1) / 2) * min(90.0, boxes[name][1].width / (len(mates) + 1))


def _arrow(points: list[tuple[float, float, float]]) -> str:
    """A line from the bottom of the first to the top of the last, straight past what is between."""
    x, _, y = points[0]
    way = [f"M{x:.1f} {y:.1f}"]
    for next_x, top, bottom in points[1:]:
        middle = (y + top) / 2
        way.append(f"C{x:.1f} {middle:.1f} {next_x:.1f} {middle:.1f} {next_x:.1f} {top:.1f}")
        x, y = next_x, top
        if (next_x, top, bottom) != points[-1]:
            way.append(f"L{x:.1f} {bottom:.1f}")
            y = bottom
    return f'<path class="edge" d="{" ".join(way)}"/>'


def _drawn(one: Box, x: float, top: float) -> Iterator[str]:
    left = x - one.width / 2
    yield f'<rect class="box" x="{left:.1f}" y="{top:.1f}" width="{one.width:.1f}" height="{one.height:.1f}" rx="5"/>'
    yield _text(x, top + 18, one.name, "n")
    for k, line in enumerate(one.lines):
        yield _text(x, top + 35 + LINE * k, line)
    y = top + 30 + LINE * len(one.lines)
    each = (one.width - GAP) / max(len(one.rooms), 1)
    for k, (name, lines) in enumerate(one.rooms):
        at = left + GAP / 2 + each * k
        yield (
            f'<rect class="room" x="{at + 3:.1f}" y="{y:.1f}" width="{each - 6:.1f}" '
            f'height="{one.height - (y - top) - 8:.1f}" rx="4"/>'
        )
        yield _text(at + each / 2, y + 16, name, "n")
        yield from (_text(at + each / 2, y + 31 + LINE * i, line) for i, line in enumerate(lines))


def _text(x: float, y: float, text: str, name: str = "") -> str:
    kind = f' class="{name}"' if name else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{kind}>{escape(text)}</text>' if text else ""


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")

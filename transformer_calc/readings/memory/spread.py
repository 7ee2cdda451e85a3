"""How a whole machine is divided where that is not said: which mesh of so many devices holds a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph
from transformer_calc.plan import Mesh, Serving, Training
from transformer_calc.tuples import NamedTuple

FREE = ("tp", "pp", "dp")  # the ways that are found where they are not given


class Tried(NamedTuple):
    """A mesh, and bytes on the fullest of its devices."""

    mesh: Mesh
    bytes: int


def over(
    devices: int,
    plan: Serving | Training,
    given: frozenset[str],
    *,
    graph: Graph,
    node: int | None,
    room: int | None,
    need: Callable[[Mesh], int],
) -> Mesh:
    """A mesh of so many devices: what is given of it stays, and the rest is the first that memory holds.

    Fewest stages first, then, serving, the widest tensor parallelism within a node; training, the most copies.

    given:  names of the ways that were asked for
    node:  devices that tensor parallelism may take, if that is known
    room:  bytes of a device, if that is known
    need:  bytes on the fullest device of a mesh; refuses what does not divide the model
    """
    mesh = plan.mesh
    fixed = mesh.devices
    free = [name for name in FREE if name not in given and getattr(mesh, name) == 1]
    if devices % fixed or (not free and devices != fixed):
        ways = [f"`{name}={getattr(mesh, name)}`" for name in ("tp", "pp", "dp", "cp") if getattr(mesh, name) > 1]
        make = f"{' and '.join(ways) or 'the ways that are given'} make {fixed:,}"
        raise InputError(
            f"`devices` is {devices:,}, but {make}; {'it must be a multiple' if free else 'give one of them'}"
        )
    best: Tried | None = None
    refused: InputError | None = None
    every = sorted(_meshes(mesh, devices // fixed, free, graph, node), key=_order(isinstance(plan, Training)))
    for tried in every:
        try:
            size = need(tried)
        except InputError as error:
            refused = refused or error
            continue
        if room is None or size <= room:
            return tried
        if best is None or size < best.bytes:
            best = Tried(tried, size)
    if best is None and refused and len(every) == 1:
        raise refused
    if best is None:
        why = f": {refused.message}" if refused else ""
        raise InputError(f"`devices` is {devices:,}; no mesh of so many divides the model and its batch{why}")
    return best.mesh


def _order(trains: bool) -> Callable[[Mesh], tuple[int, int]]:
    return (lambda mesh: (mesh.pp, mesh.tp)) if trains else (lambda mesh: (mesh.pp, -mesh.tp))


def _meshes(mesh: Mesh, rest: int, free: list[str], graph: Graph, node: int | None) -> Iterator[Mesh]:
    """Each way to divide so many devices over the free ways."""
    most = {"tp": node or rest, "pp": graph.n_layers, "dp": rest}
    ways = {name: [n for n in divisors(rest) if n <= most[name]] if name in free else [1] for name in FREE}
    for tp in ways["tp"]:
        for pp in ways["pp"]:
            dp = rest // (tp * pp)
            if rest % (tp * pp) == 0 and dp in ways["dp"]:
                yield mesh.changed(tp=mesh.tp * tp, pp=mesh.pp * pp, dp=mesh.dp * dp)


def divisors(number: int) -> list[int]:
    """All of them, the smallest first."""
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})

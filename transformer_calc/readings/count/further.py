"""What the layers that predict further tokens hold, whether they are counted or left out."""

from __future__ import annotations

from dataclasses import replace

from transformer_calc.graph.model import build
from transformer_calc.readings.count.params import components
from transformer_calc.spec import Model, Workload, further_layers
from transformer_calc.tuples import NamedTuple


class Further(NamedTuple):
    """Layers that predict further tokens: how many, and their parameters as the checkpoint holds them."""

    layers: int
    params: int
    unique: int  # without copies of the token table and the head
    counted: bool

    @property
    def left_out(self) -> list[str]:
        """A note, where they are not counted."""
        if self.counted:
            return []
        own = f", {self.unique:,} without copies of the token table and the head"
        whose = "" if self.unique == self.params else own
        return [f"{further_layers(self.layers)} not counted: {self.params:,} parameters{whose} (`mtp` counts them)"]

    @property
    def said(self) -> str:
        """Whether they are counted, and how, as an assumption."""
        what = "a layer that predicts one is" if self.layers == 1 else f"{self.layers} layers that predict them are"
        how = f"{what} counted: weights, cache, and a pass in every step; what it saves is not"
        return how if self.counted else self.left_out[0]


def further(model: Model) -> Further | None:
    """Of a model; None where it has none."""
    if model.mtp is None:
        return None
    own = _held(model, copies=False)
    return Further(model.mtp.n, _held(model, copies=True) if model.mtp.copies else own, own, model.mtp.counted)


def _held(model: Model, *, copies: bool) -> int:
    assert model.mtp
    graph = build(replace(model, mtp=replace(model.mtp, counted=True, copies=copies)))
    sizes = graph.sizes(Workload())
    total = sum(part.total(sizes) for part in components(graph) if part.block.repeat == "mtp")
    assert isinstance(total, int)
    return total

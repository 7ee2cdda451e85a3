"""What one device of a pipeline stage holds, part by part. Where sizes are pairs, so are bytes: with their formulas."""

from __future__ import annotations

from collections.abc import Mapping

from transformer_calc.tuples import NamedTuple


class Bytes(NamedTuple):
    """Bytes on one device, by what they are for."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    kv_cache: int = 0
    other: int = 0  # buffers of communication, a copy of a matrix, overhead

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)

    def to_dict(self) -> dict[str, int]:
        """For reports."""
        return self._asdict() | {"total": self.total}


class StageMemory(NamedTuple):
    """What one device of a pipeline stage holds when it holds the most."""

    stage: int
    layers: int
    bytes: Bytes
    other_parts: dict[str, int]  # what `other` is made of
    peak_at: str = ""  # of training: when that is
    logits_and_loss: int = 0  # of the activations
    saved: int = 0  # of the activations, what autograd keeps of the forward passes, the loss apart
    of_layers: Mapping[str, int] = {}  # of the activations, what one layer of each kind keeps, by its path

    def beside(self, **more: int) -> StageMemory:
        """With more that is other, where it is something."""
        others = self.other_parts | {name: size for name, size in more.items() if size}
        return self._replace(bytes=self.bytes._replace(other=sum(others.values())), other_parts=others)

    @property
    def parts(self) -> dict[str, int]:
        """Its bytes by kind, those of logits and loss apart, and each part of what is other."""
        found = self.bytes._asdict() | {"logits_and_loss": self.logits_and_loss}
        found["activations"] -= self.logits_and_loss
        return {name: size for name, size in found.items() if name != "other"} | self.other_parts

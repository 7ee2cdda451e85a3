"""Where a token stands: rotary turns, biases by distance, tables."""

from __future__ import annotations

from typing import Any

from transformer_calc.errors import InputError
from transformer_calc.record import Record, integer, one_of, rate, real, record


def _turns(rotary: Rotary | None, width: str, most: int) -> None:
    """Refuse to turn more of a head than it has."""
    if rotary and rotary.dims > most:
        raise InputError(f"the rotary dimensions are {rotary.dims}; they must be at most {width}, {most}")


POSITIVE = (
    "factor attention_factor low_freq_factor high_freq_factor original_max_position_embeddings max_positions beta_fast "
    "beta_slow short_mscale long_mscale alpha"
).split()  # what a rotary scaling divides by, multiplies with, or takes the logarithm of
LENGTHS = ("dynamic", "yarn", "longrope", "llama3")  # rotary scalings that ask for the model's length


@record
class Rotary(Record):
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864) of the first `dims` of each head."""

    dims: int = integer()
    over: int | None = integer(default=None)  # frequency i is theta^(-2i / over); None: over dims
    theta: float = real(default=10000.0, above=1, most=1e15)
    interleaved: bool = False  # pairs (0,1),(2,3)… as in the paper, or halves (i, i + dims/2) as in most code
    scaling: tuple[tuple[str, object], ...] = ()  # type and parameters: linear, dynamic, yarn, longrope, llama3

    def __post_init__(self) -> None:
        if self.dims % 2:
            raise InputError(f"the rotary dimensions are {self.dims}; they come in pairs and must be even")
        scaling = dict[str, Any](self.scaling)
        _check_scaling(scaling, self.dims)
        if scaling.get("rope_type") == "dynamic" and (self.over or self.dims) <= 2:
            raise InputError(f"the rotary dimensions are {self.dims}; with dynamic scaling there must be more than 2")


def _check_scaling(scaling: dict[str, Any], dims: int) -> None:
    """Refuse numbers of a rotary scaling that no frequencies follow from."""
    for key, value in scaling.items():
        several = isinstance(value, tuple)
        numbers = [one for one in (value if several else (value,)) if type(one) in (int, float)]
        least = 1e-9 if key in POSITIVE or (several and key.endswith("_factor")) else -1e15
        if not all(least <= one <= 1e15 for one in numbers):
            wrong = next(one for one in numbers if not least <= one <= 1e15)
            raise InputError(f"the rotary {key} is {wrong}; it must be at least {least:g} and at most 1e+15")
        if several and key.endswith("_factor") and len(numbers) != dims // 2:
            raise InputError(
                f"the rotary {key} has {len(numbers)} numbers; it must have {dims // 2}, one for each pair of the "
                f"{dims} dimensions that turn"
            )
    kind = scaling.get("rope_type")
    if kind in LENGTHS and "max_positions" not in scaling:
        raise InputError(f"a rotary scaling of type {kind} needs the model's length, max_position_embeddings")


@record
class RelativeBias(Record):
    """A learned bias per head and distance bucket, added to the scores (Raffel et al. 2019, arXiv 1910.10683)."""

    buckets: int = integer(default=32)
    max_distance: int = integer(default=128)
    bidirectional: bool = True
    every_layer: bool = False  # T5 keeps one table a stack, in its first layer; umT5 one a layer

    def __post_init__(self) -> None:
        least = 4 if self.bidirectional else 2  # half of them, of each direction, are of one distance each
        if self.buckets < least:
            raise InputError(f"buckets is {self.buckets}; it must be at least {least}")
        if self.max_distance <= self.buckets // least:
            raise InputError(f"max_distance is {self.max_distance}; it must be more than {self.buckets // least}")


@record
class Disentangled(Record):
    """Scores from content and relative position apart (He et al. 2020, arXiv 2006.03654, equation 4)."""

    positions: int = integer()  # rows of the stack's table of relative positions: half of them for each direction
    # distances share rows, ever more of them towards this one; None: a row for each
    log_distance: int | None = integer(default=None)
    content_to_position: bool = True
    position_to_content: bool = True
    shared_projections: bool = True  # positions go through the content's own q and k projections
    dropout: float = rate(default=0.0)  # of the table of relative positions

    def __post_init__(self) -> None:
        least = 4 if self.log_distance else 2
        if self.positions < least:
            raise InputError(f"positions is {self.positions}; of relative ones there must be at least {least}")
        if self.log_distance and self.log_distance <= self.positions // 4 + 1:
            raise InputError(f"log_distance is {self.log_distance}; it must be more than {self.positions // 4 + 1}")


@record
class RelativeProjection(Record):
    """Transformer-XL positions: a projection of relative embeddings and two biases (arXiv 1901.02860, §3.3)."""

    biases: bool = True


@record
class Positions(Record):
    """A table of absolute positions, added to the embedding."""

    # fixed: a sinusoidal table kept as a parameter
    kind: str = one_of("learned", "sinusoidal", "fixed", default="learned")
    count: int | None = integer()  # rows; None: as many as are asked for, where they are computed
    # rows before the first position's (2 in OPT and BART, padding + 1 in RoBERTa)
    offset: int = integer(default=0, least=0)
    # sine, cosine, sine … (arXiv 1706.03762, §3.5), or halves: the sines, then the cosines
    order: str = one_of("alternating", "halves", default="alternating")
    # sinusoids: d/2 - spread steps from frequency 1 to 1/10000 (1 in tensor2tensor and fairseq)
    spread: int = integer(default=0, least=0)
    # tokens that have a place; kept: by the attention mask; ids: all but those of id `pad`
    counted: str = one_of("all", "kept", "ids", default="all")
    pad: int | None = integer(default=None, least=-1)

    def __post_init__(self) -> None:
        if self.count is None and self.kind != "sinusoidal":
            raise InputError(f"the table of {self.kind} positions needs a count")
        if (self.pad is None) == (self.counted == "ids"):
            raise InputError(f"pad is {str(self.pad).lower()}, but counted is {self.counted}: ids, and a pad, say both")

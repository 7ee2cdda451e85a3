"""A tower of layers, and what goes into it: tokens, an image, sound."""

from __future__ import annotations

from transformer_calc.errors import InputError
from transformer_calc.record import Record, factor, integer, one_of, rate, record
from transformer_calc.spec.layer import Layers
from transformer_calc.spec.positions import Positions
from transformer_calc.spec.words import STACKS, Norm


@record
class Tokens(Record):
    """Token ids become vectors: token, position and segment embeddings, and what is done to their sum."""

    vocab: int = integer()
    pad_to: int = integer(default=1)  # the table's rows are the next multiple of this
    d_embed: int | None = integer(default=None)  # width of the table where it is not d_model; then it is projected
    project: bool = False  # it is projected even where the widths are equal (ALBERT)
    project_bias: bool = False
    positions: Positions | None = None
    segments: int = integer(default=0, least=0)
    norm: Norm | None = None
    norm_last: bool = False  # the norm comes after the projection
    norm_first: bool = False  # the norm comes before the positions are added
    scale: float = factor(default=1.0)
    dropout: float = rate(default=0.0)
    shared: str = one_of("", *STACKS, default="")  # name of the stack whose token table this one uses
    spare: bool = False  # one more table is stored and never read (untied BART's `shared`)
    zero_padding: bool = False  # padding becomes zeros, after the norm (DeBERTa)


@record
class Patches(Record):
    """An image becomes a row of patch vectors by one convolution (Dosovitskiy et al. 2020, arXiv 2010.11929)."""

    height: int = integer()
    width: int = integer()
    patch_height: int = integer()
    patch_width: int = integer()
    channels: int = integer(default=3)
    bias: bool = True
    extra_tokens: int = integer(default=1, least=0)  # class (and distillation, register) tokens, each a learned vector
    extra_names: tuple[str, ...] = ("class_token",)
    token_shape: str = one_of("wide", "flat", default="wide")  # wide: stored as [1, 1, D]; flat: [D]
    mask_token: bool = False  # stored; it stands in for patches only where the caller masks them
    mask_rank: int = integer(default=3, least=2, most=3)  # stored as [1, 1, D] (3) or [1, D] (2)
    positions: str = one_of("learned", "none", default="learned")
    positions_rank: int = integer(default=3, least=2, most=3)  # stored as [1, N, D] (3) or [N, D] (2)
    norm: Norm | None = None
    dropout: float = rate(default=0.0)

    def __post_init__(self) -> None:
        if self.patch_height > self.height or self.patch_width > self.width:
            raise InputError(
                f"patch_size ({self.patch_height}x{self.patch_width}) is larger than "
                f"image_size ({self.height}x{self.width})"
            )
        if self.extra_tokens != len(set(self.extra_names)):
            raise InputError(
                f"extra_tokens is {self.extra_tokens}; it must be {len(set(self.extra_names))}, one for each of "
                f"extra_names"
            )

    @property
    def count(self) -> int:
        """Patches of one image; a remainder at the edge is cut off, as the convolution does."""
        return (self.height // self.patch_height) * (self.width // self.patch_width)


@record
class Audio(Record):
    """A log-mel spectrogram becomes vectors by two convolutions, the second halving its length (Whisper)."""

    mels: int = integer()
    positions: Positions
    kernel: int = integer(default=3)
    dropout: float = rate(default=0.0)

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise InputError(f"kernel is {self.kernel}; it must be odd, so that the sequence keeps its length")
        if self.positions.count is None:
            raise InputError("the table of positions of a spectrogram needs a count")


@record
class Vectors(Record):
    """The input is a matrix: a vector for each token, and nothing is looked up."""

    positions: Positions | None = None  # given with the vectors


@record
class Stack(Record):
    """A tower of layers with what comes before and right after it."""

    name: str = one_of(*STACKS)
    d_model: int = integer()
    embedding: Tokens | Patches | Audio | Vectors
    layers: Layers
    final_norm: Norm | None = None
    dropout: float = rate(default=0.0)  # of the stack's output
    # ALBERT: this many sets of weights serve all layers, each its equal share
    share_layers: int | None = integer(default=None)
    share_inner: int = integer(default=1)  # of those, so many follow each other in turn before the next share's begin
    relative_norm: Norm | None = None  # DeBERTa: norm of the table of relative positions

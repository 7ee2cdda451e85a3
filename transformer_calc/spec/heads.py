"""What is computed from a stack's output."""

from __future__ import annotations

from transformer_calc.record import Record, factor, integer, named, one_of, rate, record
from transformer_calc.spec.attention import Attention
from transformer_calc.spec.feedforward import Mlp
from transformer_calc.spec.words import ACTIVATIONS, STACKS, Norm


@record
class Dense(Record):
    """One linear map of a head, with its activation."""

    name: str = named()
    width: int | None = integer(default=None)  # None: its outputs are logits over the vocabulary
    vocab: int | None = integer(default=None)  # of these logits, where that is not the token table's (Marian)
    bias: bool = True
    activation: str = one_of("", *ACTIVATIONS, default="")
    tied: bool = False  # its weight is the token table
    scale: float = factor(default=1.0)
    softcap: float | None = factor(default=None)
    dropout: float = rate(default=0.0)  # before the map
    buffer: bool = False  # a bias that is stored beside the weights, but is no parameter (final_logits_bias)
    spare_bias: bool = False  # one more bias is stored and never read (BERT's, where the table is not tied)
    # a 1x1 convolution over the grid of patches; each becomes this many pixels squared
    pixels: int = integer(default=0, least=0)


@record
class NormStep(Record):
    """A norm inside a head."""

    name: str = named()
    norm: Norm


@record
class Pool(Record):
    """A mean over all positions inside a head."""

    name: str = named(default="pool")


@record
class Act(Record):
    """An activation on its own inside a head."""

    name: str = named(default="act")
    function: str = one_of(*ACTIVATIONS)


@record
class Probe(Record):
    """A learned query that attends to all positions inside a head, and a feed-forward part (arXiv 2106.04560)."""

    name: str = named(default="probe")
    attention: Attention
    norm: Norm
    ffn: Mlp


TAKES = ("all", "first", "second", "last", "mean", "kept_mean", "end", "patches", "patch_mean", "first_and_patch_mean")


@record
class Head(Record):
    """What is computed from a stack's output: logits, a pooled vector, labels.

    It takes all positions, or one vector: the first, second or last position's (of those whose token is not `pad`), or
    the mean of them (kept_mean: of all but padding). end: that of the token that ends the text. patches, patch_mean,
    first_and_patch_mean: without an image's added tokens, their mean, and the first token's vector with that mean
    behind it.
    """

    name: str = named(default="head")
    stack: str = one_of("", *STACKS, default="")  # the last one
    take: str = one_of(*TAKES, default="all")
    # the id that take="end" looks for; None: the largest id of the sequence
    end_token: int | None = integer(default=None, least=0)
    end_last: bool = False  # where there are several, the last one counts
    pad: int | None = integer(default=None, least=-1)  # the id that take="last" passes over
    scale: float = factor(default=1.0)  # of what is taken
    layer_mix: bool = False  # a learned average of every layer's input and the last one's output is taken
    steps: tuple[Dense | NormStep | Pool | Probe | Act, ...] = ()
    softmax: bool = False  # the outputs are turned into probabilities

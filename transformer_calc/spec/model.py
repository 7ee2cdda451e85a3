"""The whole model, and what is run on it."""

from __future__ import annotations

from transformer_calc.record import Record, integer, one_of, record, text
from transformer_calc.spec.execution import Execution
from transformer_calc.spec.heads import Head
from transformer_calc.spec.layer import Layer
from transformer_calc.spec.stack import Stack
from transformer_calc.spec.words import Norm


@record
class Mtp(Record):
    """Layers behind the model that predict further tokens (DeepSeek-V3, arXiv 2412.19437, §2.2; Gloeckle et al. 2024,
    arXiv 2404.19737): each reads the output before it and the next token's embedding, and has a layer of its own.
    """

    n: int = integer()
    layer: Layer
    norm: Norm  # of both that it reads
    final_norm: Norm | None = None  # before the head
    copies: bool = False  # the checkpoint holds token table and head beside each once more, though they are the model's
    counted: bool = False  # they are part of the model, not only known of


def further_layers(n: int) -> str:
    """So many of them, as the beginning of a sentence on them."""
    return (
        f"{n} {'layer that predicts a' if n == 1 else 'layers that predict'} further token{'s are' if n > 1 else ' is'}"
    )


@record
class Model(Record):
    """A whole model, as built with its heads."""

    name: str = text()
    family: str = text()
    stacks: tuple[Stack, ...]
    heads: tuple[Head, ...] = ()
    contrastive: bool = False  # CLIP: the two stacks' outputs are compared, with a learned scale
    contrast_bias: bool = False  # SigLIP: a learned bias, too
    average: bool = False  # the heads' outputs are averaged (DeiT with a teacher)
    mtp: Mtp | None = None  # what predicts further tokens behind it
    # how weights are stored: in_out (Y = X·W) or out_in (as torch.nn.Linear does)
    layout: str = one_of("in_out", "out_in", default="in_out")
    # a decoder without tokens of its own reads the source's, shifted behind this one
    start_token: int | None = integer(default=None, least=-1)
    # how those of the heads are, where that differs: GPT-2's are nn.Linear, its layers not
    head_layout: str = one_of("", "in_out", "out_in", default="")
    execution: Execution = Execution()
    tensor_names: tuple[tuple[str, str], ...] = ()  # part of the graph -> what its tensor is called in Hugging Face

    @property
    def kind(self) -> str:
        """decoder, encoder, encoder-decoder, vision or dual."""
        names = [s.name for s in self.stacks]
        if len(names) == 1:
            return "encoder" if names[0] == "text" else names[0]
        return "encoder-decoder" if "encoder" in names else "dual"


@record
class Workload(Record):
    """What is run on a model: sequences of how many tokens.

    `seq` are the source tokens of an encoder–decoder, `target` its decoder's; `context` are the tokens that
    are already in the cache before them.
    """

    batch: int = integer(default=1)
    seq: int = integer(default=1)
    target: int | None = integer(default=None)
    context: int = integer(default=0, least=0)

    def to_dict(self) -> dict[str, int]:
        """For reports: only what applies."""
        named = {"batch": self.batch, "seq": self.seq, "target_seq": self.target, "context": self.context}
        return {key: value for key, value in named.items() if value is not None}

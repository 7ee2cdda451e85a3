"""What a model is: frozen, validated records in the field's own words.

A `Model` is one or more `Stack`s of `Layer`s. The pieces compose: a layer is a mixer (attention of some kind),
perhaps cross-attention, and a feed-forward part, with norms placed around them. Nothing here knows how a
model is computed (that is `graph`) or where its description came from (that is `sources`).

A state-space or linear-attention layer is a further kind of `Layer.mixer`; nothing else has to change for it.
"""

from transformer_calc.spec.attention import Attention, Averaging, Indexer, LatentAttention
from transformer_calc.spec.execution import Execution
from transformer_calc.spec.feedforward import Mlp, Moe, Router
from transformer_calc.spec.heads import TAKES, Act, Dense, Head, NormStep, Pool, Probe
from transformer_calc.spec.layer import SEQUENTIAL, Convolution, Layer, Layers
from transformer_calc.spec.model import Model, Mtp, Workload, further_layers
from transformer_calc.spec.positions import (
    LENGTHS,
    POSITIVE,
    Disentangled,
    Positions,
    RelativeBias,
    RelativeProjection,
    Rotary,
)
from transformer_calc.spec.stack import Audio, Patches, Stack, Tokens, Vectors
from transformer_calc.spec.words import ACTIVATIONS, STACKS, WRITTEN_OUT, Norm, divide

# fmt: off
__all__ = (
    "ACTIVATIONS", "LENGTHS", "POSITIVE", "SEQUENTIAL", "STACKS", "TAKES", "WRITTEN_OUT", "Act", "Attention",
    "Audio", "Averaging", "Convolution", "Dense", "Disentangled", "Execution", "Head", "Indexer", "LatentAttention",
    "Layer", "Layers", "Mlp", "Model", "Moe", "Mtp", "Norm", "NormStep", "Patches", "Pool", "Positions", "Probe",
    "RelativeBias", "RelativeProjection", "Rotary", "Router", "Stack", "Tokens", "Vectors", "Workload", "divide",
    "further_layers",
)
# fmt: on

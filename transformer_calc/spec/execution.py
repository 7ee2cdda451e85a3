"""How a model's class computes, beyond what its structure says."""

from __future__ import annotations

from transformer_calc.record import Record, integer, one_of, record


@record
class Execution(Record):
    """What shows in the tensors that autograd keeps, and does not follow from the graph, when PyTorch runs a class of
    Hugging Face transformers 5.24 operator by operator: where it writes an operation out as a chain, casts, copies, or
    makes again what others make once. The defaults are how Llama's class computes. Each fact was read in the model
    type's modeling file; autograd confirms it.
    """

    # attention
    # float32: computed so and cast back; own: in the activations' type; empty: float32 where there is a rotary position
    softmax: str = one_of("", "float32", "own", default="")
    scores_float32: bool = False  # queries and keys are cast to float32 for their product
    scores_clamped: bool = False  # torch.max(scores, the least number), which keeps both
    keys_scaled: bool = False  # the scores' scale divides a copy of the keys
    filled_mask: str = one_of("", "once", "layer", default="")  # masked_fill keeps its mask: one for the model, a layer
    fused_qkv: bool = False  # queries, keys and values are views of one tensor: who keeps one keeps all
    kv_picked: bool = False  # but where they are grouped, keys and values are picked out of it by lists of indices
    probe_written_out: bool = False  # the pooling query's attention never goes through PyTorch's fused one
    # what is handed to scaled_dot_product_attention
    heads_first: bool = False  # queries in a layout of heads first, which the output takes, to be copied for W_o
    rotated_as_made: bool = False  # queries are rotated before heads come first: their layout stays, in parts or not
    mask_always: bool = False  # a mask even where it says no more than causal
    shared_key_broadcast: bool = False  # one key head for all query heads, without saying so: computed plainly
    # rotary tables: made once for the model, for each kind of layer, in each layer, or at each use
    tables: str = one_of("model", "kind", "layer", "use", default="model")
    tables_float32: bool = False
    tables_half: bool = False  # a cosine and a sine for each pair of entries, not for each entry
    # norms: own (PyTorch's operator, or Llama's chain); product_float32 (the weight's product in float32);
    # weight_float32 (and the weight cast for it); input_float32 (the operator on a float32 copy); chain (LayerNorm
    # written out in float32)
    norm: str = one_of("own", "product_float32", "weight_float32", "input_float32", "chain", default="own")
    lengths: int = integer(default=1)  # numbers kept of each vector which is brought to length 1: its square, too
    # mixtures of experts
    # the router's matrix: own type, or float32, as it is stored (_keep_in_fp32_modules), and its input
    router: str = one_of("own", "float32", default="own")
    route_own: bool = False  # the scores' softmax is in the activations' type
    weights_float32: bool = False  # the experts' outputs are multiplied by float32 weights
    grouped_choice: bool = False  # experts are chosen by groups even where there is one
    # grouped: tokens sorted by expert, multiplied by groups; loop: one expert after another; all: every token through
    # every expert, most of them weighted by 0
    experts: str = one_of("grouped", "loop", "all", default="grouped")
    # ids as a row for all sequences, one for each (batch; encoder: only there), or a buffer
    positions: str = one_of("row", "batch", "encoder", "buffer", default="row")
    segments: str = one_of("row", "batch", default="row")  # ids as a row for all sequences, or one for each
    # float32: of logits that are cast; own: of the logits as they are, to labels as they are given; empty: float32
    # where the model continues its input
    loss: str = one_of("", "float32", "own", default="")
    # the head is tied, whatever the config says, unless the checkpoint holds a matrix for it
    ties_head: bool = False

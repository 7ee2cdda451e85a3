"""Feed-forward parts: one network, or a mixture of experts."""

from __future__ import annotations

from transformer_calc.errors import InputError
from transformer_calc.record import Record, factor, integer, one_of, rate, real, record
from transformer_calc.spec.words import ACTIVATIONS, divide


@record
class Mlp(Record):
    """The position-wise feed-forward part; gated: act(x·W_gate) * (x·W_up) (Shazeer 2020, arXiv 2002.05202)."""

    d_ff: int = integer()
    activation: str = one_of(*ACTIVATIONS, default="gelu")
    gated: bool = False
    bias_in: bool = True
    bias_out: bool = True
    dropout: float = rate(default=0.0)  # of the inner activations


@record
class Router(Record):
    """How a token chooses its experts (Shazeer et al. 2017, arXiv 1701.06538; Fedus et al. 2021, 2101.03961).

    scoring: softmax over all experts, softmax-topk over the chosen ones, or sigmoid. sigmoid-input weighs the
    experts' inputs, not their outputs. sparsemixer takes two experts in turn (Liu et al. 2024, arXiv 2409.12136).
    """

    bias: bool = False
    scoring: str = one_of("softmax", "softmax-topk", "sigmoid", "sigmoid-input", "sparsemixer", default="softmax")
    normalize: bool = False  # the chosen weights are divided by their sum
    least_sum: float = real(default=0.0, least=0, most=1e9)  # which counts as no less than this
    scaling: float = factor(default=1.0)
    groups: int = integer(default=1)  # experts are chosen within the best top_groups groups only
    top_groups: int = integer(default=1)
    # of a group: the sum of its two best scores, or max: the best one
    group_score: str = one_of("top2", "max", default="top2")
    correction: bool = False  # a buffer added to the scores when choosing (not counted: not a parameter)
    correction_counts: bool = False  # it is stored as a parameter, [1, X] (ERNIE 4.5)
    jitter: float = rate(default=0.0)  # noise in training; sparsemixer's threshold of what may be chosen at all


@record
class Moe(Record):
    """A mixture of experts: each token goes to top_k of n_experts, and to every shared expert."""

    n_experts: int = integer()
    top_k: int = integer()
    d_expert: int = integer()
    activation: str = one_of(*ACTIVATIONS, default="silu")
    gated: bool = True
    bias: bool = False
    router: Router = Router()
    d_shared: int | None = integer(default=None)  # inner width of the shared experts together
    shared_bias: bool | None = None  # None: as bias
    shared_gate: bool = False  # the shared part is weighted by a sigmoid gate of its own (Qwen2-MoE)
    # how the stacked expert matrices are stored; rows: as rows of d_model entries (DBRX)
    layout: str = one_of("out_in", "in_out", "rows", default="out_in")
    limit: float | None = factor(default=None)  # gate and up are clamped to it (gpt-oss)
    dropout: float = rate(default=0.0)

    def __post_init__(self) -> None:
        if self.top_k > self.n_experts:
            raise InputError(f"top_k ({self.top_k}) is larger than n_experts ({self.n_experts})")
        r = self.router
        if r.scoring == "sparsemixer" and self.top_k != 2:
            raise InputError(f"top_k is {self.top_k}; it must be 2 where scoring is sparsemixer")
        in_group = divide("n_experts", self.n_experts, "groups", r.groups)
        if r.top_groups > r.groups:
            raise InputError(f"top_groups ({r.top_groups}) is larger than groups ({r.groups})")
        if r.groups > 1 and self.top_k > in_group * r.top_groups:
            raise InputError(f"top_k ({self.top_k}) is larger than the {in_group * r.top_groups} experts of top_groups")

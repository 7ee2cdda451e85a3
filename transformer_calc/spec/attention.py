"""Mixers: what lets the tokens of a layer see each other."""

from __future__ import annotations

from transformer_calc.errors import InputError
from transformer_calc.record import LARGEST, Record, factor, integer, one_of, rate, record
from transformer_calc.spec.positions import Disentangled, RelativeBias, RelativeProjection, Rotary, _turns
from transformer_calc.spec.words import Norm, divide


@record
class Attention(Record):
    """Multi-head attention (Vaswani et al. 2017, arXiv 1706.03762), with n_kv_heads < n_heads grouped
    (Ainslie et al. 2023, arXiv 2305.13245) and with n_kv_heads = 1 multi-query (Shazeer 2019, arXiv 1911.02150).
    """

    n_heads: int = integer()
    d_head: int = integer()
    n_kv_heads: int | None = integer(default=None)  # None: as many as n_heads
    d_value: int | None = integer(default=None)  # width of a value head; None: d_head
    causal: bool = True
    # a query sees this many latest keys; where not causal, half of it to either side
    window: int | None = integer(default=None)
    chunk: int | None = integer(default=None)  # a query sees the keys of its own chunk only
    bias_q: bool = False
    bias_k: bool = False
    bias_v: bool = False
    bias_o: bool = False
    rotary: Rotary | None = None
    alibi: bool = False  # a slope per head times the distance, added to the scores (arXiv 2108.12409)
    alibi_scale: float = factor(default=1.0)  # of the slopes: Falcon divides them, like the scores, by sqrt(d_head)
    relative_bias: RelativeBias | None = None
    disentangled: Disentangled | None = None
    relative_projection: RelativeProjection | None = None
    qk_norm: Norm | None = None
    # head: one weight of d_head; heads: a weight each; inner: across all heads
    qk_norm_over: str = one_of("head", "heads", "inner", default="head")
    qk_norm_after_rotary: bool = False
    sinks: bool = False  # a learned logit per head that takes part in the softmax only (gpt-oss)
    scale: float | None = factor(default=None)  # of the scores; None: 1 / sqrt(d_head)
    scale_by_layer: bool = False  # the first layer's scores are divided by 1, the second's by 2 … (GPT-2's option)
    softcap: float | None = factor(default=None)  # scores become cap * tanh(scores / cap)
    clip_qkv: float | None = factor(default=None)
    cache_all: bool = False  # the cache of a windowed layer keeps all tokens nevertheless (GPT-Neo's class)
    cache_repeated: bool = False  # keys and values are cached once for each query head (Falcon 40B's class)
    mask_queries: bool = False  # padding sees nothing, too (DeBERTa), so that it sees all alike
    temperature: tuple[float, float] | None = None  # Llama 4: (floor, scale) of the queries' growth with position
    dropout: float = rate(default=0.0)

    def __post_init__(self) -> None:
        if self.n_kv_heads is not None:
            if self.n_kv_heads > self.n_heads:
                raise InputError(f"n_kv_heads ({self.n_kv_heads}) is larger than n_heads ({self.n_heads})")
            divide("n_heads", self.n_heads, "n_kv_heads", self.n_kv_heads)
            if self.disentangled and self.disentangled.shared_projections and self.n_kv_heads != self.n_heads:
                raise InputError(
                    f"n_kv_heads is {self.n_kv_heads}; positions that share the content's projections need one for "
                    f"each of the {self.n_heads} heads"
                )
        _turns(self.rotary, "d_head", self.d_head)
        if self.qk_norm and self.qk_norm_over == "inner" and self.qk_norm_after_rotary:
            raise InputError(
                "qk_norm_after_rotary is true, but qk_norm_over is inner: that norm is before there are heads"
            )
        if self.temperature:
            floor, growth = self.temperature
            if not (1 <= floor <= LARGEST and 0 <= growth <= 1e9):
                raise InputError(f"temperature is {floor:g}, {growth:g}; it must be at least 1, and at least 0")

    @property
    def kv_heads(self) -> int:
        """Key/value heads as a number."""
        return self.n_kv_heads or self.n_heads


@record
class Indexer(Record):
    """Small heads that choose the keys which attention looks at (DeepSeek-V3.2, arXiv 2512.02556, §2.1)."""

    n_heads: int = integer()
    d_head: int = integer()
    top_k: int = integer()  # keys that each query keeps
    rotary: Rotary | None = None
    norm: Norm = Norm(eps=1e-6)  # of its key

    def __post_init__(self) -> None:
        _turns(self.rotary, "d_head", self.d_head)


@record
class LatentAttention(Record):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, §2.1): keys and values from one small latent."""

    n_heads: int = integer()
    kv_rank: int = integer()
    d_nope: int = integer()  # the part of a query/key head without position
    d_rope: int = integer()  # the rotary part; the key's is shared by all heads
    d_value: int = integer()
    q_rank: int | None = integer(default=None)  # None: queries are projected directly
    bias: bool = False  # on the down-projections and the output
    norm: Norm = Norm(kind="rmsnorm", eps=1e-6)
    rotary: Rotary | None = None
    scale: float | None = factor(default=None)
    causal: bool = True
    indexer: Indexer | None = None
    dropout: float = rate(default=0.0)

    def __post_init__(self) -> None:
        if self.indexer and not self.q_rank:
            raise InputError("an indexer reads the query latent; q_rank is missing")
        _turns(self.rotary, "d_rope", self.d_rope)


@record
class Averaging(Record):
    """Tokens are mixed by a given matrix of weights, the same for every sequence: Z = A·X. It has no parameters."""

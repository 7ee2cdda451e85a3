"""What a model is: frozen, validated records in the field's own words.

A `Model` is one or more `Stack`s of `Layer`s. The pieces compose: a layer is a mixer (attention of some kind),
perhaps cross-attention, and a feed-forward part, with norms placed around them. Nothing here knows how a
model is computed (that is `graph`) or where its description came from (that is `sources`).

A state-space or linear-attention layer is a further kind of `Layer.mixer`; nothing else has to change for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from transformer_calc.errors import InputError
from transformer_calc.record import LARGEST, Record, factor, integer, named, one_of, rate, real, record, text

# functions which a class writes out as a chain of operations: it shows in what eager kernels keep
WRITTEN_OUT = {"gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_python": "gelu"}
ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "relu", "relu2", "silu", "tanh", "sigmoid", "identity", *WRITTEN_OUT)
STACKS = ("decoder", "encoder", "text", "vision")


def divide(what: str, total: int, by: str, parts: int) -> int:
    """`total / parts`, exact; the error names both fields and the nearest divisors."""
    if total % parts:
        below = next(n for n in range(parts, 0, -1) if total % n == 0) if parts < 10**6 else 1
        above = next((n for n in range(parts, min(total, 10 * parts) + 1) if total % n == 0), total)
        near = f"{below} or {above}" if below != above else f"{below}"
        raise InputError(f"{what} ({total}) is not divisible by {by} ({parts})", hint=f"{by} could be {near}")
    return total // parts


def _turns(rotary: Rotary | None, width: str, most: int) -> None:
    """Refuse to turn more of a head than it has."""
    if rotary and rotary.dims > most:
        raise InputError(f"the rotary dimensions are {rotary.dims}; they must be at most {width}, {most}")


@record
class Norm(Record):
    """LayerNorm (Ba et al. 2016, arXiv 1607.06450) or RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    kind: str = one_of("layernorm", "rmsnorm", default="layernorm")
    weight: bool = True
    bias: bool = True  # only where there is a weight; RMSNorm never has one
    eps: float = real(default=1e-5, above=0, most=1)
    # added to the weight: 1 in Gemma, where a zero weight is the identity
    offset: float = real(default=0.0, least=-1000, most=1000)


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


@record
class Convolution(Record):
    """A convolution of a layer's input along the sequence; the layer becomes norm(layer + act(convolution)).

    DeBERTa-v2's first layer has one (He et al. 2020, arXiv 2006.03654, appendix A.5, nGiE).
    """

    kernel: int = integer()
    groups: int = integer(default=1)
    activation: str = one_of(*ACTIVATIONS, default="tanh")
    norm: Norm = Norm()
    dropout: float = rate(default=0.0)

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise InputError(f"kernel is {self.kernel}; it must be odd, so that the sequence keeps its length")


# what layers whose parts read the same input do not have
SEQUENTIAL: dict[str, object] = {
    "cross": None,
    "place": "pre",
    "mixer_norm": True,
    "residual_from_norm": False,
    "convolution": None,
    "residual": True,
    "residual_scale": 1.0,
    "scaled": False,
}


@record
class Layer(Record):
    """One layer: x + mixer(norm(x)), then x + ffn(norm(x)), with the norms where `place` says.

    pre: before each part. post: after each residual sum. output: on each part's output, before the sum.
    sandwich: pre and output. none: no norms.
    `parallel`: mixer and ffn read the same input, with one norm (shared) or two.
    """

    name: str = named(default="layer")
    mixer: Attention | LatentAttention | Averaging | None
    cross: Attention | None = None
    ffn: Mlp | Moe | None
    norm: Norm = Norm()
    place: str = one_of("pre", "post", "output", "sandwich", "none", default="pre")
    parallel: str = one_of("no", "shared", "separate", default="no")
    mixer_norm: bool = True  # ModernBERT's first layer goes without
    residual_from_norm: bool = False  # the residual starts at the norm's output
    convolution: Convolution | None = None
    residual: bool = True  # each part's output is added to what it was given, not put in its place
    residual_scale: float = factor(default=1.0)
    scaled: bool = False  # each part's output is multiplied by a learned vector (LayerScale, arXiv 2103.17239)
    dropout: float = rate(default=0.0)  # on each part's output
    # parts whose output it is on; sum: on that of parallel ones, once
    dropped: str = one_of("both", "mixer", "ffn", "sum", default="both")

    def __post_init__(self) -> None:
        if self.parallel != "no" and self.place != "pre":
            raise InputError(
                f"place is {self.place!r}, but parallel is {self.parallel!r}: parallel parts have their norm before "
                "them, so place must be 'pre'"
            )
        if not (self.mixer or self.ffn):
            raise InputError("mixer and ffn are none; a layer needs one of them")
        if self.parallel == "no":
            if self.dropped == "sum":
                raise InputError("dropped is sum, but parallel is no: there is no sum of two parts")
            return
        for field in ("mixer", "ffn"):
            if getattr(self, field) is None:
                raise InputError(f"{field} is none, but parallel is {self.parallel}: it needs both parts")
        for field, usual in SEQUENTIAL.items():
            if getattr(self, field) != usual:
                value = getattr(self, field)
                held = "given" if isinstance(value, Record) else str(value).lower()
                raise InputError(f"{field} is {held}, but parallel is {self.parallel}: that is of parts in turn")
        if self.dropped not in ("both", "sum"):
            raise InputError(f"dropped is {self.dropped}, but parallel is {self.parallel}: it must be both or sum")


@record
class Layers(Record):
    """Layer kinds and their order, as (cycle of kind numbers, times) runs: its size does not grow with depth.

    Kinds (local, full) and runs (((0, 0, 0, 0, 0, 1), 4), ((0, 0), 1)) are Gemma 3's 26 layers.
    """

    kinds: tuple[Layer, ...]
    runs: tuple[tuple[tuple[int, ...], int], ...]

    def __post_init__(self) -> None:
        if not 1 <= self.n_layers <= LARGEST:
            raise InputError(f"n_layers is {self.n_layers}; it must be between 1 and {LARGEST:.0e}")
        names = [kind.name for kind in self.kinds]
        if len(set(names)) < len(names):
            raise InputError(f"kinds of layers are called {', '.join(names)}; each needs a name of its own")

    @classmethod
    def uniform(cls, layer: Layer, n: int) -> Layers:
        """N equal layers."""
        return cls(kinds=(layer,), runs=(((0,), n),))

    @classmethod
    def cycle(cls, kinds: Sequence[Layer], pattern: Iterable[int], n: int, head: Iterable[int] = ()) -> Layers:
        """`head` once, then `pattern` over and over, n layers in all; equal and unused kinds are merged."""
        first, body = tuple(head)[:n], tuple(pattern)
        times, rest = divmod(n - len(first), len(body))
        runs = [(first, 1), (body, times), (body[:rest], 1)]
        return cls._merged(tuple(kinds), [(_run_length(c), t) for c, t in runs if c and t])

    @classmethod
    def spans(cls, kinds: Sequence[Layer], *spans: tuple[Sequence[int], int]) -> Layers:
        """Cycles of kind numbers, each so many times, one after the other; equal and unused kinds are merged."""
        return cls._merged(tuple(kinds), [(_run_length(cycle), times) for cycle, times in spans if cycle and times > 0])

    @classmethod
    def listed(cls, kinds: Sequence[Layer], order: Sequence[int]) -> Layers:
        """Layers in an explicit order; a repeating pattern in it is found, so that the result is small."""
        n = len(order)
        for period in range(1, min(n, 64) + 1):
            if all(a == b for a, b in zip(order, order[period:], strict=False)):
                return cls.cycle(kinds, order[:period], n)
        return cls._merged(tuple(kinds), [(_run_length(order), 1)])

    @classmethod
    def _merged(cls, kinds: tuple[Layer, ...], parts: Iterable[tuple[list[tuple[int, int]], int]]) -> Layers:
        """Runs of run-length coded cycles, flattened where a cycle is a single kind."""
        runs: list[tuple[tuple[int, ...], int]] = []
        numbers: dict[Layer, int] = {}
        names: dict[int, Layer] = {}

        @cache
        def number(kind: int) -> int:
            bare = replace(kinds[kind], name="layer")
            if bare not in numbers:
                numbers[bare] = len(numbers)
                names[numbers[bare]] = kinds[kind]
            return numbers[bare]

        def push(cycle: tuple[int, ...], times: int) -> None:
            if len(set(cycle)) == 1:
                cycle, times = cycle[:1], times * len(cycle)
            if runs and runs[-1][0] == cycle:
                cycle, times = cycle, times + runs.pop()[1]
            runs.append((cycle, times))

        for coded, times in parts:
            if times == 1 or len(coded) == 1 or len(coded) * times < sum(count for _, count in coded) // 64:
                for kind, count in coded:
                    push((number(kind),), count * times)
            else:
                push(tuple(number(kind) for kind, count in coded for _ in range(count)), times)
        ordered = tuple(names[i] for i in range(len(names)))
        if len(ordered) == 1:
            ordered = (replace(ordered[0], name="layer"),)
        return cls(kinds=ordered, runs=tuple(runs))

    @property
    def n_layers(self) -> int:
        """All layers."""
        return sum(len(cycle) * times for cycle, times in self.runs)

    def count(self, kind: int) -> int:
        """Layers of one kind."""
        return sum(cycle.count(kind) * times for cycle, times in self.runs)

    def __iter__(self) -> Iterator[int]:
        """The kind of each layer, in order."""
        for cycle, times in self.runs:
            for _ in range(times):
                yield from cycle

    def where(self, kind: int, most: int = 4) -> str:
        """The numbers of a kind's layers, for people: `3–60`, `5, 11, 17, 23`, or `5, 11, 17, … 59`."""
        start, spans = 0, list[tuple[int, int]]()
        for cycle, times in self.runs:
            size = len(cycle)
            shown = [i for i, k in enumerate(cycle) if k == kind]
            if len(shown) == size:
                spans.append((start, start + size * times - 1))
            else:
                repeats = range(times) if times <= most + 1 else (*range(most), times - 1)
                spans += [(start + r * size + i,) * 2 for r in repeats for i in shown]
            start += size * times
        merged: list[tuple[int, int]] = []
        for low, high in spans:
            if merged and merged[-1][1] == low - 1:
                merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        text = [str(a) if a == b else f"{a}–{b}" for a, b in merged]
        return ", ".join(text if len(text) <= most + 1 else [*text[:most], f"… {text[-1]}"])

    def resized(self, n: int) -> Layers:
        """The same pattern with n layers: cut at the end, or the last run goes on."""
        runs: list[tuple[tuple[int, ...], int]] = []
        left = n
        longest = max(self.runs, key=lambda run: (len(run[0]) * run[1], run[1]))
        for run in self.runs[: self.runs.index(longest)]:
            take = min(left, len(run[0]) * run[1])
            runs.append((run[0], take // len(run[0])))
            left -= take
        times, rest = divmod(left, len(longest[0]))
        runs += [(longest[0], times), (longest[0][:rest], 1)]
        parts = [(_run_length(cycle), t) for cycle, t in runs if cycle and t]
        return self._merged(self.kinds, parts)


def _run_length(order: Sequence[int]) -> list[tuple[int, int]]:
    coded: list[tuple[int, int]] = []
    for kind in order:
        if coded and coded[-1][0] == kind:
            coded[-1] = (kind, coded[-1][1] + 1)
        else:
            coded.append((kind, 1))
    return coded


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


@record
class Price(Record):
    """What somebody asks, or assumes, for an hour of a device, or what it costs to buy; one of the two."""

    provider: str = text()
    usd_per_hour: float | None = real(default=None, above=0, below=1e6)
    usd: float | None = real(default=None, above=0, below=1e9)  # of the device alone, once
    terms: str = ""  # on demand, reserved, an assumption of a paper
    date: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if (self.usd_per_hour is None) == (self.usd is None):
            both = "has both" if self.usd else "has neither"
            raise InputError(f"a price is usd_per_hour, to rent, or usd, to buy; {self.provider} {both}")

    @property
    def said(self) -> str:
        """Who asks it, on which terms, when."""
        return ", ".join(filter(None, (self.provider, self.terms, self.date)))


# What the bytes of a device's memory are. Programs get what the runtime hands out; a driver's figure (nvidia-smi) or a
# vendor's holds what these keep for themselves, too.
MEMORY_KINDS = {
    "runtime": "what {runtime} hands out",
    "driver": "what its driver reports; {runtime} hands out less",
    "vendor": "the vendor's figure; {runtime} hands out less",
    "given": "as given",
    "": "as its file has it",
}
RUNTIMES = {"NVIDIA": "CUDA", "AMD": "ROCm", "Google": "XLA", "Apple": "Metal"}


@record
class Device(Record):
    """What a model runs on: one accelerator, as its datasheet has it. None is unknown.

    Rates are per second: bytes, and FLOPs without structured sparsity, where a multiply-add is 2.
    """

    name: str = text()
    title: str = ""
    vendor: str = ""
    kind: str = ""
    year: int | None = integer(default=None)
    source: str = ""
    note: str = ""
    memory_gb: float | None = real(default=None, above=0, most=1e9)  # as the vendor prints it, in the vendor's units
    memory_bytes: int | None = integer(default=None)  # what programs can use of it, as far as `memory_kind` knows
    memory_kind: str = one_of(*MEMORY_KINDS, default="")  # what the bytes are
    memory_note: str = ""
    memory_source: str = ""
    bandwidth: int | None = integer(default=None)  # of the memory
    peaks: tuple[tuple[str, int], ...] = ()  # precision -> rate of the matrix units (fp32: of the vector units)
    interconnect: int | None = integer(default=None)  # to the other devices, both directions together
    interconnect_kind: str = ""
    node: int | None = integer(default=None)  # devices that the interconnect joins
    network: int | None = integer(default=None)  # to the devices of other nodes, both directions together
    network_kind: str = ""
    units: int | None = integer(default=None)  # multiprocessors, each of which works on one tile of a matmul at a time
    efficiency: tuple[tuple[str, float], ...] = ()  # of a peak: how much of it programs have been measured to reach
    efficiency_source: str = ""
    power: int | None = integer(default=None)  # W, the most that it draws by design
    prices: tuple[Price, ...] = ()  # the first is the one to reckon with
    unconfirmed: tuple[str, ...] = ()  # figures that no source was found for: bandwidth, peaks.fp8, …

    def __post_init__(self) -> None:
        for name, part in self.efficiency:
            if not 1e-6 <= part <= 1:
                raise InputError(f"efficiency.{name} is {part}; it must be at least 1e-06 and at most 1")
        for precision, peak in self.peaks:
            if not 0 < peak < 10**21:
                raise InputError(f"peaks.{precision} is {peak}; it must be a whole number between 1 and 1e+21")

    def peak(self, precision: str) -> int | None:
        """FLOPs (of integers: operations) per second in a precision; None where it is unknown or there is none."""
        return dict(self.peaks).get(precision)

    def reached(self, what: str) -> float | None:
        """The part of a peak that is reached: of matmul, memory, interconnect, network; None where it is unknown."""
        return dict(self.efficiency).get(what)

    @property
    def memory_basis(self) -> str:
        """What its memory's bytes are, in a few words."""
        return MEMORY_KINDS[self.memory_kind].format(runtime=RUNTIMES.get(self.vendor, "its runtime"))

    @property
    def network_each_way(self) -> float | None:
        """Bytes per second to the devices of other nodes in one direction."""
        return None if self.network is None else self.network / 2

    @property
    def interconnect_each_way(self) -> float | None:
        """Bytes per second to the other devices in one direction."""
        return None if self.interconnect is None else self.interconnect / 2

    @property
    def price(self) -> Price | None:
        """The price to reckon with, if one is known."""
        return self.prices[0] if self.prices else None


SCHEDULES = ("constant", "linear", "cosine", "wsd", "inverse-sqrt")  # of a learning rate
GROWTHS = ("linear", "steps")  # of a batch: all the time, or at once where a number of tokens is reached


@record
class TrainingRun(Record):
    """How a model was trained, as it was published. None is unknown; sizes and times are of the whole run.

    `warmup_*`: the learning rate rises to its peak; `hold_steps`: it stays there before it falls; `decay_*`: where it
    has fallen to `min_learning_rate_ratio` of its peak (wsd: how long that takes, at the end); None: the whole run.
    """

    tokens: int | None = integer(default=None, most=10**18)
    # how many different ones there are, where that is not how many are seen
    corpus_tokens: int | None = integer(default=None, most=10**18)
    batch_tokens: int | None = integer(default=None)  # in full
    batch_ramp: tuple[tuple[int, int], ...] = ()  # (tokens seen, tokens of a batch then), the first at 0
    batch_growth: str = one_of(*GROWTHS, default="linear")  # between the points of the ramp
    batch_note: str = ""  # what the ramp does not say
    seq: int | None = integer(default=None)
    target_seq: int | None = integer(default=None)
    steps: int | None = integer(default=None)
    learning_rate: float | None = real(default=None, above=0, below=1e6)
    schedule: str = one_of("", *SCHEDULES, default="")
    schedule_note: str = ""  # what the schedule does not say
    min_learning_rate_ratio: float | None = real(default=None, least=0, most=1)
    warmup_tokens: int | None = integer(default=None, most=10**18)
    warmup_steps: int | None = integer(default=None)
    hold_steps: int | None = integer(default=None)
    decay_tokens: int | None = integer(default=None, most=10**18)
    decay_steps: int | None = integer(default=None)
    hardware: str = ""
    devices: int | None = integer(default=None, most=10**12)
    days: float | None = real(default=None, above=0, below=1e6)
    device_hours: int | None = integer(default=None, most=10**12)
    tflops_per_device: float | None = real(default=None, above=0, below=1e6)  # achieved, with what was recomputed
    recompute: str = one_of("", "none", "selective", "full", default="")  # what that was
    plan: tuple[tuple[str, int | str], ...] = ()  # how it was spread over the devices: tp, pp, micro_batch …
    source: str = ""

    def __post_init__(self) -> None:
        for one, other in (("warmup_tokens", "warmup_steps"), ("decay_tokens", "decay_steps")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise InputError(f"{one} and {other} are given; it must be one of them")
        if self.batch_ramp:
            seen, batches = zip(*self.batch_ramp, strict=True)
            if seen[0] != 0 or list(seen) != sorted(set(seen)) or min(batches) < 1:
                raise InputError("batch_ramp must begin at 0 tokens, go up in tokens, and have batches of at least 1")
            if batches[-1] != self.batch_tokens:
                raise InputError(f"batch_ramp ends at {batches[-1]}; it must end at batch_tokens, {self.batch_tokens}")

    @property
    def whole(self) -> int | None:
        """Tokens of the whole run: as published, or those of its steps."""
        if self.tokens is not None or self.steps is None or self.batch_tokens is None or self.batch_ramp:
            return self.tokens
        return self.steps * self.batch_tokens

    @property
    def hours(self) -> int | None:
        """Device-hours of the whole run: as published, or those of its devices on its days."""
        if self.device_hours is not None or self.devices is None or self.days is None:
            return self.device_hours
        return round(self.devices * self.days * 24)


@record
class Grid(Record):
    """How much carbon dioxide, and what counts as much, the electricity of a place stands for."""

    name: str = text()
    title: str = ""
    g_per_kwh: float = real(least=0, below=1e4)
    year: str = ""
    source: str = ""

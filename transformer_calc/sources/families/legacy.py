"""Pieces of entries of before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from transformer_calc.errors import InputError, shown
from transformer_calc.sources.families.base import Config, Entry, is_number
from transformer_calc.sources.families.rope import rotary
from transformer_calc.spec import (
    Attention,
    Dense,
    Head,
    Layer,
    Layers,
    Mlp,
    Model,
    Mtp,
    Norm,
    NormStep,
    Positions,
    Rotary,
    Stack,
    Tokens,
    divide,
)

MOST_LISTED = 10**5
K = TypeVar("K")


def heads(c: Config, *, d_head: str = "head_dim", default: int | None = None) -> tuple[int, int, int]:
    """(query heads, key/value heads, width of a head) from the usual keys."""
    n, kv = c.int("num_attention_heads"), c.maybe_int("num_key_value_heads", None)
    width = c.maybe_int(d_head, default) if d_head else None
    if width is None:
        width = divide("hidden_size", c.int("hidden_size"), "num_attention_heads", n)
    return n, kv or n, width


# pad_token_id where the config does not say it, and the family's class has one
PADDING = {
    **dict.fromkeys("cohere cohere2 ernie4_5 ernie4_5_moe exaone_moe gemma gemma2 gemma3_text".split(), 0),
    **dict.fromkeys("hunyuan_v1_dense hunyuan_v1_moe vaultgemma".split(), 0),
    **dict.fromkeys("biogpt olmo olmo2 olmo3 olmoe opt seed_oss xglm".split(), 1),
    "flex_olmo": 100277,
    "glm": 151329,
    "glm4": 151329,
    "helium": 3,
    "phi3": 32000,
    "smollm3": 128004,
}


def predicting(c: Config, layer: Layer, norm: Norm, *, copies: bool, final: bool = True) -> Mtp | None:
    """Layers that predict further tokens, as many as the config says, or None; see `Mtp`."""
    n = c.maybe_int("num_nextn_predict_layers", None, minimum=0)
    if not n:
        return None
    return Mtp(n=n, layer=replace(layer, name="layer"), norm=norm, final_norm=norm if final else None, copies=copies)


# what predicts further tokens, as DeepSeek-V3's checkpoints name it: layers behind the model's own
MTP_NAMES = {
    "mtp": "~layers.*",
    "mtp.embed": "embed_tokens",
    "mtp.enorm": "enorm",
    "mtp.hnorm": "hnorm",
    "mtp.eh_proj": "eh_proj",
    "mtp.norm": "shared_head.norm",
    "mtp.head.lm": "shared_head.head",
}


def causal_heads(
    c: Config,
    d_model: int,
    vocab: int,
    *,
    tied: bool,
    bias: bool = False,
    token_bias: bool = True,
    d_out: int | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
) -> tuple[Head, ...]:
    """The head of a decoder's class: language model (also where no class is named), none, or a task's.

    The generic task heads of transformers: one score per label for the last token's vector, without bias
    (ForSequenceClassification); a labelled bias per token (ForTokenClassification); start and end
    (ForQuestionAnswering).
    """
    name = c.architecture
    token_bias = c.flag("token_classification_bias", True) and token_bias
    last = name.rpartition("For")[2] if "For" in name else name
    if not name or last == "CausalLM" or name.endswith("LMHeadModel"):
        lm = Dense(name="lm", bias=bias, tied=tied, scale=scale, softcap=softcap)
        return (Head(steps=(lm,), softmax=True),)
    if last == "SequenceClassification":
        pad = c.maybe_int("pad_token_id", PADDING.get(c.family.model_type), minimum=-1)
        return (Head(take="last", pad=pad, steps=(Dense(name="score", width=c.n_labels, bias=False),)),)
    if last == "TokenClassification":
        return (Head(steps=(Dense(name="classifier", width=c.n_labels, bias=token_bias),)),)
    if last == "QuestionAnswering":
        return (Head(steps=(Dense(name="qa", width=2, bias=True),)),)
    if name.endswith("Model") and "For" not in name:
        return ()
    raise unknown_architecture(c, "…ForCausalLM, …Model, …ForSequenceClassification, …ForTokenClassification")


def unknown_architecture(c: Config, known: str) -> InputError:
    """The refusal of a class whose head is not known."""
    return InputError(
        f"{c.where}architectures names {shown(c.architecture, 60)}, whose head is not known for {c.family.model_type}",
        hint=f"known: {known}",
    )


def named(c: Config, names: Mapping[str, str], base: str = "model.") -> tuple[tuple[str, str], ...]:
    """Tensor names, `~` standing for the prefix that a bare …Model lacks."""
    bare = c.architecture.endswith("Model") and not c.architecture.endswith(("LMHeadModel", "DoubleHeadsModel"))
    return tuple((part, name.replace("~", "" if bare else base)) for part, name in names.items())


def by_type(c: Config, kinds: Mapping[str, Layer], order: Sequence[str] | None, n: int, cycle: Sequence[str]) -> Layers:
    """Layers of several kinds, in an explicit order (layer_types) or by a cycle that repeats."""
    number = {name: i for i, name in enumerate(kinds)}
    if order is None:
        return Layers.cycle(list(kinds.values()), [number[name] for name in cycle], n)
    if len(order) != n:
        raise InputError(f"{c.where}layer_types names {len(order)} layers, but there are {n} (num_hidden_layers)")
    return Layers.listed(list(kinds.values()), [number[name] for name in order])


def by_rule(
    c: Config, kinds: Mapping[K, Layer], kind_of: Callable[[int], K], n: int, *, period: int = 1, head: int = 0
) -> Layers:
    """Layers whose kind follows from their number: as it comes for the first `head`, then with a period."""
    head = min(head, n)
    period = min(period, n - head)
    if head + period > MOST_LISTED:
        raise InputError(f"{c.where}the layers' pattern repeats only after {head + period:,} of them; that is too many")
    number = {name: i for i, name in enumerate(kinds)}
    order = [number[kind_of(i)] for i in range(head + period)]
    if period == 0:
        return Layers.listed(list(kinds.values()), order)
    return Layers.cycle(list(kinds.values()), order[head:], n, head=order[:head])

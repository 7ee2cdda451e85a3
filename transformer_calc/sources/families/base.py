"""What families are written with: a reader of config.json that knows what was understood, and common pieces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from transformer_calc.errors import InputError, did_you_mean, shown
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

# keys of every config.json that say nothing about the structure: names, special tokens, generation, training
INERT = frozenset(
    """
    _name_or_path _attn_implementation attn_implementation _commit_hash _num_labels architectures auto_map
    bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id mask_token_id decoder_start_token_id
    unk_token_id image_token_id torch_dtype dtype transformers_version model_type use_cache output_attentions
    output_hidden_states output_scores output_past return_dict return_dict_in_generate torchscript use_bfloat16
    chunk_size_feed_forward is_encoder_decoder max_length min_length max_new_tokens do_sample early_stopping
    num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty
    no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences forced_bos_token_id
    forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
    finetuning_task id2label label2id num_labels tokenizer_class tokenizer_name prefix task_specific_params
    problem_type tf_legacy_loss initializer_range initializer_factor init_std gradient_checkpointing
    custom_pipelines quantization_config compression_config neuron language model_name model_max_length
    use_flash_attn use_flash_attention flash_attention use_return_dict full_attn_mod adapters transformers_js_config
    transformers.js_config pretraining_tp ep_size seq_length seq_len n_ctx classifier_dropout
    _attn_implementation_autoset _attn_implementation_internal keys_to_ignore_at_inference max_sequence_length
    unsloth_version unsloth_fixed neftune_noise_alpha sbert_ce_default_activation_function sentence_transformers
    is_llama_config use_past use_rmsnorm for_llm_compressor rope_interleaved
    """.split()
)

# parts of unknown keys that stand for training, number formats and the way of computing: never structure
HARMLESS = re.compile(r"dropout|pdrop|_prob$|loss|_coef|initiali|_init_|token_ids?$|flash|fused|fp32|fp16|bf16|dtype")

# words that make an unknown key look as if it described the structure
STRUCTURAL = frozenset(
    """
    num n size dim dims width depth layer layers head heads hidden expert experts rank window norm bias tie tied
    attn attention moe rope rotary proj projection ff ffn mlp vocab position positions embedding embeddings embed
    type factor ratio scale scaling multiplier softcap softcapping cap kernel conv router shared groups group share
    gate gated activation act sparse sparsity decoder encoder cross qk kv q k v mtp predict kernel patch channels
    alibi interval step freq stride pattern chunk state ssm lora residual parallel pooling pooler every replace
    dense
    """.split()
)

# our flags -> the keys that most families use
FLAGS = {
    "layers": "num_hidden_layers",
    "d_model": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "d_head": "head_dim",
    "d_ff": "intermediate_size",
    "vocab": "vocab_size",
    "max_positions": "max_position_embeddings",
    "window": "sliding_window",
}

MISSING: Any = object()
MOST_LISTED = 10**5  # layers that a pattern may name one by one
K = TypeVar("K")
Count = int  # within Config, `int` is the method


class Family(NamedTuple):
    """One model_type: its config class's own defaults, and how a spec is made of the keys.

    `flags` maps our flag names to its keys where they are not the usual ones (`encoder_layers decoder_layers`: to
    both); `inert` are further keys without effect on the model; `aliases` are other names of keys. Of two that are
    given the one counts that is not the config class's own field: the alias, or with `own_names` false the key.
    """

    model_type: str
    defaults: Mapping[str, Any]
    build: Callable[[Config], Model]
    flags: Mapping[str, str] = {}
    inert: str = ""
    aliases: Mapping[str, str] = {}
    own_names: bool = True


class Config:
    """A config.json with its family's defaults; remembers which keys were read, so that no other passes unseen."""

    def __init__(self, data: Mapping[str, Any], family: Family, where: str = "") -> None:
        self.family, self.where = family, where
        self.given = dict(data)
        self.called: dict[str, str] = {}  # keys that were given under another name -> that name
        for alias, key in family.aliases.items():
            if alias in self.given:
                value = self.given.pop(alias)
                if family.own_names or key not in self.given:
                    self.given[key], self.called[key] = value, alias
        self.read: set[str] = set()
        self.parts: dict[str, Config] = {}
        self.notes: list[str] = []  # what people are to know of what was made of a key

    def part(self, key: str, family: Family) -> Config:
        """The object under a key as a config of its own; its unknown keys are reported with this one's."""
        self.parts[key] = Config(self.mapping(key, None), family, f"{self.where}{key}.")
        return self.parts[key]

    def called_by(self, key: str) -> str:
        """What the config itself calls a key, for messages."""
        return f"{self.where}{self.called.get(key, key)}"

    def raw(self, key: str, default: Any = MISSING) -> Any:
        """The value of a key as it stands, or the family's default."""
        self.read.add(key)
        if key in self.given:
            return self.given[key]
        value = self.family.defaults.get(key, default)
        if value is MISSING:
            raise InputError(f"{self.where}{key} is missing, and {self.family.model_type} has no default for it")
        return value

    def _typed(self, key: str, default: Any, ok: Callable[[Any], bool], what: str) -> Any:
        value = self.raw(key, default)
        if not ok(value):
            raise InputError(f"{self.called_by(key)} is {_short(value)}; it must be {what}")
        return value

    def int(self, key: str, default: Any = MISSING, minimum: Count = 1) -> Count:
        """A whole number."""
        value: Count = self._typed(
            key,
            default,
            lambda v: isinstance(v, int) and not isinstance(v, bool) and minimum <= v <= 10**15,
            f"a whole number of at least {minimum}",
        )
        return value

    def maybe_int(self, key: str, default: Any = MISSING, minimum: Count = 1) -> Count | None:
        """A whole number or null."""
        return None if self.raw(key, default) is None else self.int(key, default, minimum)

    def num(self, key: str, default: Any = MISSING) -> float:
        """A number, in the range that its name asks for."""
        ok, what = next((fits, words) for name, fits, words in RANGES if name.search(key))
        return float(self._typed(key, default, lambda v: is_number(v) and ok(v), what))

    def maybe_num(self, key: str, default: Any = MISSING) -> float | None:
        """A number or null."""
        return None if self.raw(key, default) is None else self.num(key, default)

    def flag(self, key: str, default: Any = MISSING) -> bool:
        """True or false; null counts as false."""
        return bool(
            self._typed(key, default, lambda v: v is None or isinstance(v, bool) or v in (0, 1), "true or false")
        )

    def text(self, key: str, default: Any = MISSING) -> str:
        """A string."""
        value: str = self._typed(key, default, lambda v: isinstance(v, str), "a string")
        return value

    def mapping(self, key: str, default: Any = MISSING) -> dict[str, Any]:
        """An object; null is an empty one."""
        value = self._typed(key, default, lambda v: v is None or isinstance(v, dict), "an object")
        return dict(value or {})

    def numbers(self, key: str, default: Any = MISSING) -> list[Count] | None:
        """A list of whole numbers, or null."""
        value: list[Count] | None = self._typed(
            key,
            default,
            lambda v: v is None or (isinstance(v, list) and all(type(i) is int for i in v)),
            "a list of whole numbers",
        )
        return value

    def words(self, key: str, choices: Sequence[str], default: Any = MISSING) -> list[str] | None:
        """A list of words out of `choices`, or null."""
        value: list[str] | None = self._typed(
            key,
            default,
            lambda v: v is None or (isinstance(v, list) and all(i in choices for i in v)),
            f"a list of {', '.join(choices)}",
        )
        return value

    def must(self, key: str, right: Any, why: str = "") -> None:
        """Refuse a setting whose other values are not understood."""
        value = self.raw(key, right)
        if value != right and value is not None:
            because = f" ({why})" if why else ""
            raise InputError(f"{self.called_by(key)} is {_short(value)}; only {_short(right)} is understood{because}")

    def activation(self, key: str = "hidden_act", default: Any = MISSING) -> str:
        """An activation function, by our name."""
        name = self.text(key, default)
        if name not in ACTIVATIONS:
            raise InputError(
                f"{self.called_by(key)} is {shown(name, 60)}, which is not a known activation",
                hint=did_you_mean(name, ACTIVATIONS) or f"known: {', '.join(sorted(ACTIVATIONS))}",
            )
        return ACTIVATIONS[name]

    @property
    def architecture(self) -> str:
        """The class that the checkpoint is of, or an empty string."""
        value = self.raw("architectures", None)
        if value is None or value == []:
            return ""
        if not isinstance(value, list) or not isinstance(value[0], str):
            raise InputError(f"{self.where}architectures is {_short(value)}; it must be a list with a class name")
        return value[0]

    @property
    def n_labels(self) -> Count:
        """Labels of a task head: num_labels, else the length of id2label, else 2 (PreTrainedConfig)."""
        labels = self.raw("num_labels", None)
        if labels is not None:
            return self.int("num_labels")
        names = self.raw("id2label", None)
        if names is not None and (not isinstance(names, dict) or not names):
            raise InputError(f"{self.where}id2label is {_short(names)}; it must be an object of labels")
        return len(names) if names else 2

    def unread(self, ignore: Iterable[str]) -> tuple[list[str], list[str]]:
        """(keys that look structural and are not understood, other unknown keys)."""
        ignore = tuple(ignore)
        known = self.read | set(self.family.defaults) | INERT | set(self.family.inert.split()) | set(ignore)
        unknown = [k for k, v in self.given.items() if k not in known and v not in (None, False, {}, [], "")]
        structural = [k for k in unknown if set(re.split(r"[._]", k.lower())) & STRUCTURAL and not HARMLESS.search(k)]
        others = [k for k in unknown if k not in structural]
        for name, part in self.parts.items():
            inner = part.unread([k.removeprefix(f"{name}.") for k in ignore])
            for found, more in zip((structural, others), inner, strict=True):
                found.extend(f"{name}.{k}" for k in more)
        return structural, others

    def shown(self, key: str) -> str:
        """The value of an unread key, for people."""
        name, _, inner = key.partition(".")
        return self.parts[name].shown(inner) if name in self.parts and inner else _short(self.given[key])


def is_number(value: Any) -> bool:
    """Whether it is a finite number, of a size that can still be reckoned with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e30


# what a key's name says of its number: of dropouts, of what is divided by, and of what is taken to a power
RANGES: tuple[tuple[re.Pattern[str], Callable[[float], bool], str], ...] = tuple(
    (re.compile(name), fits, words)
    for name, fits, words in (
        (r"drop|_prob$|jitter", lambda v: 0 <= v < 1, "a number of at least 0 and less than 1"),
        (r"partial_rotary|rotary_pct", lambda v: 0 < v <= 1, "a number above 0 and at most 1"),
        (r"theta|_base", lambda v: 1 < v <= 1e15, "a number above 1 and at most 1e15"),
        (r"eps", lambda v: 0 < v <= 1, "a number above 0 and at most 1"),
        (r"norm_min", lambda v: 0 <= v <= 1e9, "a number between 0 and 1e9"),
        (r"cap|scal|multiplier|limit$|clip_qkv", lambda v: 1e-9 <= v <= 1e9, "a number between 1e-9 and 1e9"),
        (r"", lambda v: True, "a number"),
    )
)


def _short(value: Any) -> str:
    """A value of a config for a message: as JSON writes it, but no longer than a line."""
    import json

    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**30:
        return "a number of more than 30 digits"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:59] + "…"


# Hugging Face's name -> ours (transformers.activations.ACT2FN)
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu_python",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_fast",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_new",
    "gelu_accurate": "gelu_new",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "linear": "identity",
}


# --- common pieces ------------------------------------------------------------------------------------------


def heads(c: Config, *, d_head: str = "head_dim", default: int | None = None) -> tuple[int, int, int]:
    """(query heads, key/value heads, width of a head) from the usual keys."""
    n, kv = c.int("num_attention_heads"), c.maybe_int("num_key_value_heads", None)
    width = c.maybe_int(d_head, default) if d_head else None
    if width is None:
        width = divide("hidden_size", c.int("hidden_size"), "num_attention_heads", n)
    return n, kv or n, width


# what each type of rope_scaling cannot do without (transformers.modeling_rope_utils)
ROPE_NEEDS = {
    "default": "",
    "linear": "factor",
    "dynamic": "factor",
    "yarn": "factor",
    "longrope": "short_factor long_factor",
    "llama3": "factor low_freq_factor high_freq_factor",
    "proportional": "",
    "ntk": "factor",
}


def rotary(
    c: Config,
    d_head: int,
    *,
    part: float | None = None,
    interleaved: bool = False,
    theta: float | None = None,
    kind: str = "",
    scaled: bool = True,
) -> Rotary:
    """Rotary settings from rope_theta and rope_scaling, or from the newer rope_parameters that holds both.

    `theta` and `part` are what holds where these say nothing; `part` None: the class turns whole heads. `kind`: the
    entry of rope_parameters, which has one for each kind of layer and nothing else; `scaled`: rope_scaling, which knows
    of no kinds, is meant for this one, and changes its entry.
    The scaling that comes out is complete: its type, and every number that the frequencies follow from.
    """
    old, given = c.mapping("rope_scaling", None), c.mapping("rope_parameters", None)
    if kind:
        entry = given.get(kind)
        if not isinstance(entry, dict | None):
            raise InputError(f"{c.where}rope_parameters.{kind} is {_short(entry)}; it must be an object")
        given = {"rope_type": "default"} | (entry or {}) | (old if scaled else {})
    elif old:
        given = old
    usual = c.num("rope_theta", 10000.0)
    base, turned = given.get("rope_theta", usual if theta is None else theta), given.get("partial_rotary_factor")
    if not is_number(base) or not 1 < base <= 1e15:
        raise InputError(f"{c.where}rope_theta is {_short(base)}; it must be a number above 1 and at most 1e15")
    scaling = _rope_scaling(c, given)
    if turned is None:
        turned = 1.0 if part is None else part
    if not is_number(turned) or not 0 < turned <= 1:
        raise InputError(f"{c.where}partial_rotary_factor is {_short(turned)}; it must be above 0 and at most 1")
    if part is None and turned < 1:
        if scaling:  # which the class's frequencies follow, and its heads do not
            raise InputError(
                f"{c.where}partial_rotary_factor is {_short(turned)}; {c.family.model_type} turns all of a head"
            )
        turned = 1.0
    dims = int(d_head * turned)
    paired = dims + dims % 2 if dims < d_head else dims  # an odd part of a head is rounded up to pairs
    if dims < 2 or paired % 2:
        of = f" (partial_rotary_factor {turned:g})" if turned < 1 else ""
        raise InputError(
            f"{c.where}the rotary dimensions are {dims} of a head's {d_head}{of}; they come in pairs and must be even"
        )
    over = dims if paired != dims else None
    return Rotary(dims=paired, over=over, theta=float(base), interleaved=interleaved, scaling=scaling)


def _rope_scaling(c: Config, given: dict[str, Any]) -> tuple[tuple[str, object], ...]:
    kind = given.get("rope_type", given.get("type", "default"))
    kind = "longrope" if kind == "su" else kind
    if not isinstance(kind, str) or kind not in ROPE_NEEDS:
        raise InputError(f"{c.where}rope_scaling type is {_short(kind)}; it must be one of {', '.join(ROPE_NEEDS)}")
    trained = c.maybe_int("original_max_position_embeddings", None)
    longest = c.maybe_int("max_position_embeddings", None)
    if kind == "default":
        return ()
    scaling = {k: v for k, v in given.items() if k not in ("rope_theta", "partial_rotary_factor", "type")}
    scaling["rope_type"] = kind
    for key, value in scaling.items():
        numbers = value if isinstance(value, list) else [value]
        ok, what = ROPE_RANGES.get(key, (lambda v: True, "a number, or numbers"))
        fits = all(v is None or isinstance(v, bool) or (is_number(v) and ok(v)) for v in numbers)
        if key in ROPE_RANGES and value is not None:
            fits = fits and isinstance(value, list) == ("list" in what)
        if key != "rope_type" and not fits:
            raise InputError(f"{c.where}rope_scaling's {key} is {_short(value)}; it must be {what}")
    if kind in ("yarn", "longrope", "llama3", "dynamic"):
        before = trained or scaling.get("original_max_position_embeddings") or longest
        scaling["original_max_position_embeddings"] = before = longest if kind == "dynamic" else before
        scaling["max_positions"] = longest
        if kind in ("yarn", "longrope") and scaling.get("factor") is None and longest and before:
            scaling["factor"] = longest / before
    for key in ROPE_NEEDS[kind].split():
        if scaling.get(key) is None:
            raise InputError(f"{c.where}rope_scaling of type {kind} has no {key}")
    return tuple(sorted((k, _freeze(v)) for k, v in scaling.items() if v is not None))


# what the numbers of a rope_scaling are, where that is not any number
ROPE_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    **dict.fromkeys(
        "factor low_freq_factor high_freq_factor beta_fast beta_slow alpha attention_factor".split(),
        (lambda v: 1e-9 <= v <= 1e9, "a number between 1e-9 and 1e9"),
    ),
    **dict.fromkeys(
        "mscale mscale_all_dim short_mscale long_mscale".split(),
        (lambda v: 0 <= v <= 1e9, "a number between 0 and 1e9"),
    ),
    **dict.fromkeys(
        ("short_factor", "long_factor"), (lambda v: 1e-9 <= v <= 1e9, "a list of numbers between 1e-9 and 1e9")
    ),
    "original_max_position_embeddings": (lambda v: v >= 1 and v == int(v), "a whole number of at least 1"),
}


def _freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted((k, _freeze(v)) for k, v in value.items()))
    return tuple(_freeze(v) for v in value) if isinstance(value, list) else value


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


__all__ = [
    "MOST_LISTED",
    "MTP_NAMES",
    "Attention",
    "Config",
    "Dense",
    "Family",
    "Head",
    "InputError",
    "Layer",
    "Layers",
    "Mlp",
    "Model",
    "Mtp",
    "Norm",
    "NormStep",
    "Positions",
    "Rotary",
    "Stack",
    "Tokens",
    "by_rule",
    "by_type",
    "causal_heads",
    "divide",
    "heads",
    "is_number",
    "named",
    "predicting",
    "rotary",
    "unknown_architecture",
]

"""What families are written with: a reader of config.json that knows what was understood, and common pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from transformer_calc.errors import InputError, did_you_mean
from transformer_calc.spec import (
    Attention,
    Dense,
    Head,
    Layer,
    Layers,
    Mlp,
    Model,
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
    """.split()
)

# words that make an unknown key look as if it described the structure
STRUCTURAL = (
    "num n size dim dims width depth layer layers head heads hidden expert experts rank window norm bias tie tied attn "
    "attention moe rope rotary proj projection ff ffn mlp vocab position positions embedding embeddings embed type "
    "factor ratio scale scaling multiplier softcap softcapping cap kernel conv router shared groups group share gate "
    "gated activation act sparse sparsity decoder encoder cross qk kv q k v mtp predict kernel patch channels alibi "
    "interval step freq stride pattern chunk state ssm lora residual parallel pooling pooler every replace dense"
).split()

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


class Family(NamedTuple):
    """One model_type: its config class's own defaults, and how a spec is made of the keys.

    `flags` maps our flag names to its keys where they are not the usual ones; `inert` are further keys without
    effect on the model; `aliases` are other names of keys (an alias wins, as in the config class).
    """

    model_type: str
    defaults: Mapping[str, Any]
    build: Callable[[Config], Model]
    flags: Mapping[str, str] = {}
    inert: str = ""
    aliases: Mapping[str, str] = {}


class Config:
    """A config.json with its family's defaults; remembers which keys were read, so that no other passes unseen."""

    def __init__(self, data: Mapping[str, Any], family: Family, where: str = "") -> None:
        self.family, self.where = family, where
        self.given = dict(data)
        for alias, key in family.aliases.items():
            if alias in self.given:
                self.given[key] = self.given.pop(alias)
        self.read: set[str] = set()

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
            raise InputError(f"{self.where}{key} is {_short(value)}; it must be {what}")
        return value

    def int(self, key: str, default: Any = MISSING, minimum: int = 1) -> int:
        """A whole number."""
        value: int = self._typed(
            key,
            default,
            lambda v: isinstance(v, int) and not isinstance(v, bool) and minimum <= v <= 10**15,
            f"a whole number of at least {minimum}",
        )
        return value

    def maybe_int(self, key: str, default: Any = MISSING, minimum: int = 1) -> int | None:
        """A whole number or null."""
        return None if self.raw(key, default) is None else self.int(key, default, minimum)

    def num(self, key: str, default: Any = MISSING) -> float:
        """A number."""
        ok = lambda v: isinstance(v, int | float) and not isinstance(v, bool) and v == v  # noqa: E731, PLR0124
        return float(self._typed(key, default, ok, "a number"))

    def maybe_num(self, key: str, default: Any = MISSING) -> float | None:
        """A number or null."""
        return None if self.raw(key, default) is None else self.num(key, default)

    def flag(self, key: str, default: Any = MISSING) -> bool:
        """true or false; null counts as false."""
        return bool(self._typed(key, default, lambda v: v is None or isinstance(v, bool) or v in (0, 1), "true or false"))

    def text(self, key: str, default: Any = MISSING) -> str:
        """A string."""
        value: str = self._typed(key, default, lambda v: isinstance(v, str), "a string")
        return value

    def mapping(self, key: str, default: Any = MISSING) -> dict[str, Any]:
        """An object; null is an empty one."""
        value = self._typed(key, default, lambda v: v is None or isinstance(v, dict), "an object")
        return dict(value or {})

    def numbers(self, key: str, default: Any = MISSING) -> list[int] | None:
        """A list of whole numbers, or null."""
        value: list[int] | None = self._typed(
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
            raise InputError(f"{self.where}{key} is {_short(value)}; only {_short(right)} is understood{because}")

    def activation(self, key: str = "hidden_act") -> str:
        """An activation function, by our name."""
        name = self.text(key)
        if name not in ACTIVATIONS:
            raise InputError(
                f"{self.where}{key} is {name!r}, which is not a known activation",
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
    def n_labels(self) -> int:
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
        known = self.read | set(self.family.defaults) | INERT | set(self.family.inert.split()) | set(ignore)
        unknown = [k for k, v in self.given.items() if k not in known and v not in (None, False, {}, [], "")]
        structural = [k for k in unknown if set(k.lower().replace(".", "_").split("_")) & set(STRUCTURAL)]
        return structural, [k for k in unknown if k not in structural]


def _short(value: Any) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, float) else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


# Hugging Face's name -> ours (transformers.activations.ACT2FN)
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
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


def rotary(
    c: Config, d_head: int, *, part: float = 1.0, interleaved: bool = False, theta: float | None = None, kind: str = ""
) -> Rotary:
    """Rotary settings from rope_theta and rope_scaling, or from the newer rope_parameters that holds both.

    `kind`: the entry of rope_parameters where it has one for each kind of layer.
    """
    parameters = c.mapping("rope_parameters", None)
    if kind and isinstance(parameters.get(kind), dict):
        parameters = parameters[kind]
    scaling = c.mapping("rope_scaling", None) or {k: v for k, v in parameters.items() if k != "rope_theta"}
    base = theta if theta is not None else parameters.get("rope_theta", c.num("rope_theta", 10000.0))
    part = parameters.get("partial_rotary_factor", part)
    if not isinstance(base, int | float) or base <= 0:
        raise InputError(f"{c.where}rope_theta is {_short(base)}; it must be a positive number")
    if not isinstance(part, int | float) or not 0 < part <= 1:
        raise InputError(f"{c.where}partial_rotary_factor is {_short(part)}; it must be between 0 and 1")
    kind_of = scaling.get("rope_type", scaling.get("type", "default"))
    known = ("default", "linear", "dynamic", "yarn", "longrope", "su", "llama3", "proportional", "ntk")
    if kind_of not in known:
        raise InputError(f"{c.where}rope_scaling type is {_short(kind_of)}; it must be one of {', '.join(known)}")
    frozen = () if kind_of == "default" else tuple(sorted((k, _freeze(v)) for k, v in scaling.items()))
    return Rotary(dims=int(d_head * part), theta=float(base), interleaved=interleaved, scaling=frozen)


def _freeze(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def causal_heads(
    c: Config,
    d_model: int,
    vocab: int,
    *,
    tied: bool,
    bias: bool = False,
    token_bias: bool = True,
    question_labels: int | None = 2,
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
    last = name.rpartition("For")[2] if "For" in name else name
    if not name or last in ("CausalLM", "ConditionalGeneration") or name.endswith("LMHeadModel"):
        lm = Dense(name="lm", width=vocab, bias=bias, tied=tied, vocab=True, scale=scale, softcap=softcap)
        return (Head(steps=(lm,), softmax=True),)
    if last == "SequenceClassification":
        return (Head(take="last", steps=(Dense(name="score", width=c.n_labels, bias=False),)),)
    if last == "TokenClassification":
        return (Head(steps=(Dense(name="classifier", width=c.n_labels, bias=token_bias),)),)
    if last == "QuestionAnswering":
        return (Head(steps=(Dense(name="qa", width=question_labels or c.n_labels, bias=True),)),)
    if name.endswith("Model"):
        return ()
    raise unknown_architecture(c, "…ForCausalLM, …Model, …ForSequenceClassification, …ForTokenClassification")


def unknown_architecture(c: Config, known: str) -> InputError:
    """The refusal of a class whose head is not known."""
    return InputError(
        f"{c.where}architectures names {c.architecture!r}, whose head is not known for {c.family.model_type}",
        hint=f"known: {known}",
    )


def named(c: Config, names: Mapping[str, str], base: str = "model.") -> tuple[tuple[str, str], ...]:
    """Tensor names, `~` standing for the prefix that a bare …Model lacks."""
    bare = c.architecture.endswith("Model") and not c.architecture.endswith("LMHeadModel")
    return tuple((part, name.replace("~", "" if bare else base)) for part, name in names.items())


def by_type(
    c: Config, kinds: Mapping[str, Layer], order: Sequence[str] | None, n: int, cycle: Sequence[str]
) -> Layers:
    """Layers of several kinds, in an explicit order (layer_types) or by a cycle that repeats."""
    number = {name: i for i, name in enumerate(kinds)}
    if order is None:
        return Layers.cycle(list(kinds.values()), [number[name] for name in cycle], n)
    if len(order) != n:
        raise InputError(f"{c.where}layer_types names {len(order)} layers, but there are {n} (num_hidden_layers)")
    return Layers.listed(list(kinds.values()), [number[name] for name in order])


__all__ = [
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
    "Norm",
    "NormStep",
    "Positions",
    "Rotary",
    "Stack",
    "Tokens",
    "by_type",
    "causal_heads",
    "divide",
    "heads",
    "named",
    "rotary",
    "unknown_architecture",
]

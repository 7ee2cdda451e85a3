"""What families are written with: the record of a model type, and a reader of its config.json."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import Any, Self, cast

from transformer_calc.errors import InputError, did_you_mean, shown
from transformer_calc.spec import Model

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

# our name of a field that can be set -> the keys that stand for it: the first of them that a type's class has
SETTABLE = {
    "layers": "num_hidden_layers n_layer n_layers encoder_layers+decoder_layers "
    "num_layers+num_decoder_layers num_layers",
    "d_model": "hidden_size n_embd d_model dim",
    "heads": "num_attention_heads n_head n_heads num_heads attention_heads "
    "encoder_attention_heads+decoder_attention_heads",
    "kv_heads": "num_key_value_heads",
    "d_head": "head_dim d_kv",
    "d_ff": "intermediate_size n_inner ffn_dim ffn_hidden_size hidden_dim d_ff encoder_ffn_dim+decoder_ffn_dim",
    "vocab": "vocab_size",
    "max_positions": "max_position_embeddings n_positions max_target_positions max_seq_len",
    "window": "sliding_window window_size local_attention",
    "encoder_layers": "encoder_layers",
    "decoder_layers": "decoder_layers num_decoder_layers",
    "experts": "num_experts num_local_experts n_routed_experts moe_num_experts",
    "experts_per_token": "num_experts_per_tok moe_k moe_topk moe_top_k",
    "d_expert": "moe_intermediate_size intermediate_size",
    "d_shared": "shared_expert_intermediate_size shared_intermediate_size",
}
FIELDS = SETTABLE | {
    "function": "hidden_act hidden_activation activation_function activation afn dense_act_fn",
    "eps": "rms_norm_eps layer_norm_eps layer_norm_epsilon norm_eps norm_epsilon",
    "attn_bias": "attention_bias use_bias qkv_bias use_qkv_bias enable_bias bias",
    "ffn_bias": "mlp_bias use_bias enable_bias bias",
    "turned": "partial_rotary_factor rotary_pct",
    "further": "num_nextn_predict_layers num_mtp_layers",
    "dropout": "resid_pdrop hidden_dropout resid_dropout residual_dropout hidden_dropout_prob dropout",
    "attn_dropout": "attention_dropout attn_pdrop attention_probs_dropout_prob",
    "ffn_dropout": "activation_dropout mlp_dropout",
    "embed_dropout": "embd_pdrop embed_dropout embedding_dropout emb_pdrop",
}

MISSING: Any = object()
Count = int  # within Config, `int` is the method


class Family:
    """All that is true of a model type: its class's facts, and the parts that its spec is put together from.

    A value of `layer`, `tokens`, `head`, `stack` and `model` may be a function of the config: what it gives is the
    field then.
    """

    # of the configuration class: what `families.find` takes from the type's file
    model_type: str = ""
    defaults: Mapping[str, Any] = {}  # its keys
    aliases: Mapping[str, str] = {}  # other names of keys; of two that are given the other one counts
    parts: Mapping[str, Mapping[str, Any]] = {}  # keys of configurations inside it
    # of it, what the file does not say
    own: Mapping[str, Any] = {}  # values of keys that another than the configuration class reads
    inert: str = ""  # further keys without effect on the model
    flags: Mapping[str, str] = {}  # field -> its keys, where SETTABLE says something else; empty: it cannot be set
    renamed: Mapping[str, str] = {}  # further aliases
    must: Mapping[str, Any] = {}  # keys of which only one value is understood
    # of the class
    execution: Mapping[str, Any] = {}  # fields of `Execution` in which it computes otherwise than Llama's
    classes: str = ""  # what class names begin with, in small letters without underscores, where not the model type
    names: Mapping[str, Any] = {}  # part of the graph -> its tensor; see `named`
    names_of: Callable[..., Any] | None = None  # further ones, which follow from the config
    base: str = ""  # what a class with a head puts before names
    qa_base: str = ""  # the same of the class for question answering, where it is another
    # of the spec: what the functions of `parts` are, and what is given to them
    build: Callable[[Config], Model]
    check: Callable[[Config], object] | None = None  # what refuses settings that are not understood
    mixer: Callable[..., Any]
    ffn: Callable[..., Any]
    norm: Callable[..., Any]
    final: Callable[..., Any] | None = None  # the last norm, where it is not as the others
    layers: Callable[..., Any]
    experts: Callable[..., Any]
    embedding: Callable[..., Any]
    heads: Callable[..., Any]
    mtp: Callable[..., Any] | None = None
    tokens: Mapping[str, Any] = {}
    crosses: bool = False  # add_cross_attention gives its layers attention over an encoder's output
    layer: Mapping[str, Any] = {}
    stack: Mapping[str, Any] = {}
    head: Mapping[str, Any] = {}
    model: Mapping[str, Any] = {}

    def __init__(self, **facts: Any) -> None:
        for name, value in facts.items():
            if name not in Family.__annotations__:
                raise TypeError(f"Family has no {name}")
            self.__dict__[name] = value

    def but(self, **facts: Any) -> Self:
        """The same with other facts; what is a mapping, or words, is added to."""
        new = copy(self)
        for name, value in facts.items():
            now = getattr(self, name, None)
            if isinstance(now, dict):
                value = now | value
            elif name == "inert":
                value = f"{now} {value}"
            new.__init__(**{name: value})  # type: ignore[misc]
        return new

    def settable(self) -> dict[str, list[str]]:
        """The keys that stand for each field that can be set, where the type reads them."""
        found, inert = dict[str, list[str]](), self.inert.split()
        for field, choices in SETTABLE.items():
            each = [keys.split("+") for keys in self.flags.get(field, choices).split()]
            own = [keys for keys in each if all(key in self.defaults and key not in inert for key in keys)]
            if own and not (field == "d_expert" and "experts" not in found):
                found[field] = own[0]
            elif field == "d_head":  # classes read it where their configurations do not have it
                found[field] = [self.aliases.get("head_dim", "head_dim")]
        return found


class Config:
    """A config.json with its family's defaults; remembers which keys were read, so that no other passes unseen."""

    def __init__(self, data: Mapping[str, Any], family: Family, where: str = "") -> None:
        self.family, self.where = family, where
        self.given = dict(data)
        self.called: dict[str, str] = {}  # keys that were given under another name -> that name
        for alias, key in family.aliases.items():
            if alias in self.given:
                self.given[key], self.called[key] = self.given.pop(alias), alias
        self.keys: dict[str, str] = {}  # field -> the class's key
        self.read: set[str] = set()
        self.parts: dict[str, Config] = {}
        self.notes: list[str] = []  # what people are to know of what was made of a key

    def key(self, field: str) -> str:
        """The class's key for a field of FIELDS; empty: it has none. Anything else is a key itself."""
        if field not in FIELDS:
            return field
        if field not in self.keys:
            keys, inert = self.family.defaults, self.family.inert.split()
            self.keys[field] = next((k for k in FIELDS[field].split() if k in keys and k not in inert), "")
        return self.keys[field]

    def settled(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Fields, with what follows from the config worked out."""
        return {name: value(self) if callable(value) else value for name, value in fields.items()}

    def part(self, key: str, model_type: str = "", own: Mapping[str, Any] = {}, inert: str = "") -> Config:
        """The object under a key as a config of its own; its unknown keys are reported with this one's.

        It is of a model type, or of keys that belong to this one's class, with `own` and `inert` as a family has them.
        """
        if model_type:
            from transformer_calc.sources import families

            family = families.find(model_type)
        else:
            keys = {**self.family.parts.get(key, {}), **own}
            family = Family(model_type=self.family.model_type, defaults=keys, inert=inert)
        self.parts[key] = Config(self.mapping(key, None), family, f"{self.where}{key}.")
        return self.parts[key]

    def called_by(self, key: str) -> str:
        """What the config itself calls a key, for messages."""
        key = self.key(key)
        return f"{self.where}{self.called.get(key, key)}"

    def raw(self, key: str, default: Any = MISSING) -> Any:
        """The value of a key, or of a field's, as it stands, or the family's default."""
        own = self.key(key)
        self.read.add(own)
        if own and own in self.given:
            return self.given[own]
        value = self.family.defaults.get(own, default)
        if value is MISSING:
            raise self._missing(key)
        return value

    def _missing(self, key: str) -> InputError:
        key = self.key(key) or key
        return InputError(f"{self.where}{key} is missing, and {self.family.model_type} has no default for it")

    def _typed(self, key: str, default: Any, ok: Callable[[Any], bool], what: str) -> Any:
        value = self.raw(key, default)
        if not ok(value):
            if value is None and default is MISSING and self.key(key) not in self.given:  # it has no default but null
                raise self._missing(key)
            raise InputError(f"{self.called_by(key)} is {short(value)}; it must be {what}")
        return value

    def int(self, key: str, default: Any = MISSING, minimum: Count = 1) -> Count:
        """A whole number."""
        ok = lambda v: type(v) is int and minimum <= v <= 10**15  # noqa: E731
        return cast(Count, self._typed(key, default, ok, f"a whole number of at least {minimum}"))

    def maybe_int(self, key: str, default: Any = MISSING, minimum: Count = 1) -> Count | None:
        """A whole number or null."""
        return None if self.raw(key, default) is None else self.int(key, default, minimum)

    def num(self, key: str, default: Any = MISSING) -> float:
        """A number, in the range that its name asks for."""
        ok, what = next((fits, words) for name, fits, words in RANGES if name.search(self.key(key)))
        return float(self._typed(key, default, lambda v: is_number(v) and ok(v), what))

    def maybe_num(self, key: str, default: Any = MISSING) -> float | None:
        """A number or null."""
        return None if self.raw(key, default) is None else self.num(key, default)

    def flag(self, key: str, default: Any = MISSING) -> bool:
        """True or false; null counts as false."""
        return bool(self._typed(key, default, lambda v: v is None or v in (0, 1), "true or false"))

    def text(self, key: str, default: Any = MISSING) -> str:
        """A string."""
        return cast(str, self._typed(key, default, lambda v: isinstance(v, str), "a string"))

    def mapping(self, key: str, default: Any = MISSING) -> dict[str, Any]:
        """An object; null is an empty one."""
        value = self._typed(key, default, lambda v: v is None or isinstance(v, dict), "an object")
        return dict(value or {})

    def numbers(self, key: str, default: Any = MISSING) -> list[Count] | None:
        """A list of whole numbers, or null."""
        return self._list(key, default, lambda i: type(i) is int, "whole numbers")

    def words(self, key: str, choices: Sequence[str], default: Any = MISSING) -> list[str] | None:
        """A list of words out of `choices`, or null."""
        return self._list(key, default, lambda i: i in choices, ", ".join(choices))

    def _list(self, key: str, default: Any, ok: Callable[[Any], bool], of: str) -> list[Any] | None:
        fits = lambda v: v is None or (isinstance(v, list) and all(map(ok, v)))  # noqa: E731
        return cast("list[Any] | None", self._typed(key, default, fits, f"a list of {of}"))

    def must(self, key: str, right: Any, why: str = "") -> None:
        """Refuse a setting whose other values are not understood."""
        self.read.add(key := self.key(key))
        value = self.given.get(key)
        if value != right and value is not None:
            because = f" ({why})" if why else ""
            raise InputError(f"{self.called_by(key)} is {short(value)}; only {short(right)} is understood{because}")

    def activation(self, key: str = "function", default: Any = MISSING) -> str:
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
            raise InputError(f"{self.where}architectures is {short(value)}; it must be a list with a class name")
        return value[0]

    @property
    def n_labels(self) -> Count:
        """Labels of a task head: num_labels, else the length of id2label, else what the class says, or 2."""
        self.read |= {"num_labels", "id2label"}
        if self.given.get("num_labels") is not None:
            return self.int("num_labels")
        names = self.given.get("id2label")
        if names is not None and (not isinstance(names, dict) or not names):
            raise InputError(f"{self.where}id2label is {short(names)}; it must be an object of labels")
        return len(names) if names else self.family.defaults.get("num_labels", 2)

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
        return self.parts[name].shown(inner) if name in self.parts and inner else short(self.given[key])


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


def short(value: Any) -> str:
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

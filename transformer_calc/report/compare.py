"""The report of `tcalc compare`: what the other commands say of each model, side by side.

A row is one line of `ROWS`: its group, key, label and kind, and the function that reads its value from a `Subject`.
Every figure is a reading, or another command's report, of the same model and workload.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from transformer_calc.answer import Assumption
from transformer_calc.errors import InputError, as_options
from transformer_calc.plan import Serving, Training
from transformer_calc.readings.cost import scaling
from transformer_calc.readings.count.cache import cached
from transformer_calc.readings.count.flops import rows as flops_of
from transformer_calc.readings.count.flops import totals
from transformer_calc.readings.memory.assumed import stored_beside
from transformer_calc.report import Column, Facts, Kind, Report, Section, Table, Text, in_options
from transformer_calc.report.common import rests_on
from transformer_calc.spec import (
    Attention,
    Audio,
    Dense,
    LatentAttention,
    Layer,
    Mlp,
    Moe,
    Patches,
    Stack,
    Tokens,
    Vectors,
    Workload,
)

if TYPE_CHECKING:
    from transformer_calc.api import Transformer
    from transformer_calc.facts import Device
    from transformer_calc.readings.cost.reckoning import Reckoning
    from transformer_calc.readings.cost.serve import Serve
    from transformer_calc.readings.count.flops import Totals
    from transformer_calc.readings.count.parameters import Params
    from transformer_calc.readings.memory.held import Memory

OTHER = "≠"  # marks a row whose values differ
SERVED, TRAINED = Serving(), Training()
CHINCHILLA = scaling.FRONTIERS[0]
TEXTS = {
    "FLOPs": "matmuls, a multiply-add is 2, score matrices whole, of experts those that a token goes to",
    "weights": SERVED.weights,
    "KV cache": SERVED.kv_dtype,
    "training": f"{TRAINED.precision}, {TRAINED.optimizer}, on one device",
    "activations": f"{TRAINED.attention} attention, {TRAINED.kernels} kernels, recomputation {TRAINED.recompute}, "
    f"the model's output {TRAINED.outputs}",
    "device hours": "as published, or the devices of the published run times its days",
    "training run": "the published one, or of --tokens, at its own batch and length where they are known",
    "6·N·tokens": "of the active parameters; 3·N where half of them see each token",
    "Chinchilla": f"{CHINCHILLA.source}, {CHINCHILLA.name}; of the active parameters",
}


ASSUMPTIONS = {name: Assumption(text) for name, text in TEXTS.items()}


class Terms(NamedTuple):
    """What models are served and trained on; None: nothing is given."""

    device: Device | None = None
    devices: int | None = None
    price: float | None = None
    tokens: int | None = None
    mfu: float | None = None

    def check(self) -> None:
        """Refuse what has no meaning without a device."""
        given = {"devices": self.devices, "price": self.price, "mfu": self.mfu}
        lonely = [f"`{field}` is {value:,.6g}" for field, value in given.items() if value is not None]
        if lonely and self.device is None:
            raise InputError(f"{lonely[0]}, but of which device is not said", "`device=NAME`")


NOWHERE = Terms()


class Subject:
    """One of the models with its workload; readings are taken when a row asks for them.

    The workload is None where what was asked for does not apply: a context, of a model that keeps no cache.
    asked: the sizes of the workload that were given
    """

    def __init__(
        self, model: Transformer, workload: Workload | None, asked: Mapping[str, int], terms: Terms = NOWHERE
    ) -> None:
        self.model, self.spec, self.workload = model, model.spec, workload
        self.asked, self.terms = asked, terms
        self.refused = ""  # why it is not served on the devices

    @cached_property
    def params(self) -> Params:
        """The four counts of `tcalc params`."""
        return self.model.params()

    @cached_property
    def flops(self) -> tuple[Totals, Any, int] | None:
        """Work of the batch, FLOPs of scores and mixing in a forward pass, and tokens, as in `tcalc flops`."""
        if self.workload is None:
            return None
        sizes = self.model.graph.sizes(self.workload)
        found = list(flops_of(self.model.graph, sizes, decode=self.workload.context > 0))
        scores: Any = sum(row.times(sizes) * row.forward.model for row in found if not row.op.params)
        return totals(found, sizes), scores, self.workload.batch * (self.workload.target or self.workload.seq)

    @cached_property
    def serving(self) -> Memory:
        """What serving it takes."""
        return self.model.memory(**self.sizes)

    @cached_property
    def training(self) -> Memory:
        """What training it takes."""
        return self.model.memory(**self.sizes | {"context": 0}, mode="train")

    @property
    def sizes(self) -> dict[str, Any]:
        """Those of the workload, if it applies."""
        return self.workload.to_dict() if self.workload else {}

    @cached_property
    def served(self) -> Serve | None:
        """How fast it answers; None where the devices cannot share the model."""
        device, devices, price = self.terms.device, self.terms.devices, self.terms.price
        if device is None or self.workload is None:
            return None
        try:
            return self.model.serve(**self.sizes, device=device, devices=devices, price=price, whole=False)
        except InputError as error:
            self.refused = error.message
            return None

    @cached_property
    def fewest(self) -> int | None:
        """The fewest devices that hold it."""
        device = self.terms.device
        if device is None or device.memory_bytes is None or self.workload is None:
            return None
        return self.model.fit(**self.sizes, device=device, solve="devices").devices

    @cached_property
    def run(self) -> Reckoning:
        """What `tcalc cost` says of training it; the time is predicted only on a device that is asked for.

        A run keeps the batch and the lengths that it is known to have had: those that are asked for are to be served.
        """
        run, lengths = self.model.run, self.workload if self.workload and not self.workload.context else None
        sizes: dict[str, Any] = {"batch": None if run.batch_tokens else self.asked.get("batch")}
        if lengths and "seq" in self.asked and not run.seq:
            sizes["seq"] = lengths.seq
        if lengths and "target_seq" in self.asked and not run.target_seq:
            sizes["target_seq"] = lengths.target
        terms = {name: getattr(self.terms, name) for name in ("device", "devices", "price", "tokens", "mfu")}
        try:
            return self._apart().cost(**sizes, **terms, predict=self.terms.device is not None)
        except InputError as error:
            raise InputError(f"{self.spec.name}: {error.message}", error.hint) from None

    def _apart(self) -> Transformer:
        """The same model for what is run otherwise than the workload: it has nothing to note of that."""
        model = copy(self.model)
        model.notes = []
        return model

    @property
    def published(self) -> Mapping[str, Any]:
        """The run that the preset knows of, if the model is as it was then."""
        known = self.model.run is not None  # which refuses a table that is none
        run: Mapping[str, Any] = self.model.described.get("training", {}) if known and not self.model.changes else {}
        return run

    @property
    def layers(self) -> Iterator[tuple[str, Stack, Layer, int]]:
        """Every kind of layer: what tells it from the others, its stack, itself, and how many there are."""
        for stack in self.spec.stacks:
            kinds = stack.layers.kinds
            for number, layer in enumerate(kinds):
                names = [stack.name] * (len(self.spec.stacks) > 1) + [layer.name] * (len(kinds) > 1)
                yield " ".join(names), stack, layer, stack.layers.count(number)


class Row(NamedTuple):
    """A line of the comparison; `of` gives None where it does not apply to a model."""

    group: str
    key: str
    label: str
    kind: Kind
    of: Callable[[Subject], Any]


# --- architecture ---------------------------------------------------------------------------------------------


def _told(values: Iterable[tuple[str, Any]]) -> Any:
    """One value where all that have one agree, else each by what it is of: {encoder: 512, decoder: 256}."""
    found = {of: value for of, value in values if value is not None}
    return found if len(set(found.values())) > 1 else next(iter(found.values()), None)


def _plain(value: Any) -> Any:
    """For people: values by what they are of as a text."""
    if not isinstance(value, dict):
        return value
    return ", ".join(f"{of} {each:,}" if isinstance(each, int) else f"{of}: {each}" for of, each in value.items())


def _of_mixer(get: Callable[[Any], Any], *kinds: type) -> Callable[[Subject], Any]:
    """A row that is read from the mixers of these kinds."""
    return lambda s: _told((of, get(layer.mixer)) for of, _, layer, _ in s.layers if isinstance(layer.mixer, kinds))


def _of_ffn(get: Callable[[Any], Any], *kinds: type) -> Callable[[Subject], Any]:
    return lambda s: _told((of, get(layer.ffn)) for of, _, layer, _ in s.layers if isinstance(layer.ffn, kinds))


def _of_layer(get: Callable[[Layer], Any]) -> Callable[[Subject], Any]:
    return lambda s: _told((of, get(layer)) for of, _, layer, _ in s.layers)


def _of_stack(get: Callable[[Stack], Any]) -> Callable[[Subject], Any]:
    return lambda s: _told((stack.name, get(stack)) for stack in s.spec.stacks)


def _kinds(s: Subject) -> str:
    kinds = [f"{count:,} {of}" for of, _, _, count in s.layers if of] or ["all alike"]
    kinds += [f"sets of weights: {stack.share_layers}" for stack in s.spec.stacks if stack.share_layers]
    return ", ".join(kinds)


def _attention(layer: Layer) -> str:
    mixer = layer.mixer
    if isinstance(mixer, Attention):
        grouped = "multi-query" if mixer.kv_heads == 1 else "grouped-query"
        kind = grouped if mixer.kv_heads < mixer.n_heads else "multi-head"
    else:
        kind = "latent" if isinstance(mixer, LatentAttention) else "averaging" if mixer else "none"
    return f"{kind} + cross" if layer.cross else kind


def _d_head(mixer: Attention | LatentAttention) -> int:
    return mixer.d_head if isinstance(mixer, Attention) else mixer.d_nope + mixer.d_rope


def _window(mixer: Attention) -> Any:
    return f"chunks of {mixer.chunk:,}" if mixer.chunk else mixer.window


def _added(layer: Layer) -> str:
    """What is done to queries, keys and scores beside the usual."""
    mixer = layer.mixer
    if isinstance(mixer, LatentAttention):
        return f"top {mixer.indexer.top_k:,} keys of an indexer" if mixer.indexer else "none"
    if not isinstance(mixer, Attention):
        return "none"
    said = {"QK norm": mixer.qk_norm, "sinks": mixer.sinks, f"softcap {mixer.softcap}": mixer.softcap}
    return ", ".join(name for name, there in said.items() if there) or "none"


def _position(s: Subject) -> Any:
    return _told((of, _positions(stack, layer)) for of, stack, layer, _ in s.layers)


IN_SCORES = {  # ways in which scores know of positions
    "alibi": "ALiBi",
    "relative_bias": "relative bias",
    "disentangled": "disentangled",
    "relative_projection": "relative projection",
}


def _positions(stack: Stack, layer: Layer) -> str:
    embedding, mixer = stack.embedding, layer.mixer
    table = None if isinstance(embedding, Patches) else embedding.positions
    found = [table.kind if table else ""]
    if isinstance(embedding, Patches) and embedding.positions != "none":
        found.append(embedding.positions)
    if isinstance(mixer, Attention | LatentAttention) and mixer.rotary:
        kind = dict(mixer.rotary.scaling).get("rope_type")
        found.append(f"rotary ({kind})" if kind else "rotary")
    if isinstance(mixer, Attention):
        found += [name for field, name in IN_SCORES.items() if getattr(mixer, field)]
    return ", ".join(filter(None, found)) or "none"


def _theta(mixer: Attention | LatentAttention) -> Any:
    if not mixer.rotary:
        return None
    theta = mixer.rotary.theta
    return int(theta) if theta == int(theta) else theta


def _norm(layer: Layer) -> str | None:
    names = {"layernorm": "LayerNorm", "rmsnorm": "RMSNorm"}
    return None if layer.place == "none" else names[layer.norm.kind]


def _place(layer: Layer) -> str:
    return layer.place if layer.parallel == "no" else f"{layer.place}, parallel"


def _activation(ffn: Mlp | Moe) -> str:
    return f"{ffn.activation}, gated" if ffn.gated else ffn.activation


def _context_length(s: Subject) -> Any:
    """Rows of the table of positions; without one, what the config says that the model is made for."""

    def tokens(stack: Stack) -> int | None:
        embedding = stack.embedding
        if isinstance(embedding, Patches):
            return embedding.count + embedding.extra_tokens
        return embedding.positions.count if embedding.positions else None

    found, made = _of_stack(tokens)(s), s.model.length
    return made.tokens if found is None and made and made.what != "trained on" else found


def _tied(s: Subject) -> bool | None:
    return next((step.tied for head in s.spec.heads for step in head.steps if _is_lm(step)), None)


def _is_lm(step: object) -> TypeGuard[Dense]:
    return isinstance(step, Dense) and step.width is None


def _heads(s: Subject) -> str:
    steps = [step for head in s.spec.heads for step in head.steps]
    if any(map(_is_lm, steps)):
        return "language model"
    return ", ".join(dict.fromkeys(head.name for head in s.spec.heads)) or "none"


def _biases(s: Subject) -> str:
    """Which matrices, norms and heads have biases."""
    found: list[str] = []
    for _, _, layer, _ in s.layers:
        for mixer in (layer.mixer, layer.cross):
            if isinstance(mixer, Attention):
                found += [letter for letter in "qkvo" if getattr(mixer, f"bias_{letter}")]
            elif isinstance(mixer, LatentAttention) and mixer.bias:
                found.append("attention")
        ffn = layer.ffn
        if (isinstance(ffn, Mlp) and (ffn.bias_in or ffn.bias_out)) or (isinstance(ffn, Moe) and ffn.bias):
            found.append("feed-forward")
        if layer.place != "none" and layer.norm.kind == "layernorm" and layer.norm.weight and layer.norm.bias:
            found.append("norms")
    found += ["head" for head in s.spec.heads for step in head.steps if isinstance(step, Dense) and step.bias]
    return ", ".join(dict.fromkeys(found)) or "none"


# --- figures --------------------------------------------------------------------------------------------------


def _forward(s: Subject) -> Any:
    return s.flops and s.flops[0].forward.model


def _forward_per_token(s: Subject) -> Any:
    if s.flops is None:
        return None
    whole, tokens = s.flops[0].forward.model, s.flops[2]
    return whole // tokens if whole % tokens == 0 else whole / tokens  # type: ignore[operator]


def _train(s: Subject) -> Any:
    return s.flops[0].train.model if s.flops and s.workload and not s.workload.context else None


def _attention_share(s: Subject) -> Any:
    return s.flops[1] / s.flops[0].forward.model if s.flops and s.flops[0].forward.model else None


def _kv(key: str) -> Callable[[Subject], Any]:
    return lambda s: getattr(s.serving.kv_cache, key) if s.workload and cached(s.model.graph) else None


def _states(s: Subject) -> int:
    held = s.training.per_device
    return held.weights + held.gradients + held.optimizer


def _activations(s: Subject) -> Any:
    decoding = s.workload is None or s.workload.context
    return None if decoding else s.training.per_device.activations


def _per_parameter(s: Subject) -> Any:
    tokens = s.published.get("tokens")
    return round(tokens / s.params.total, 2) if tokens else None


def _served(key: str) -> Callable[[Subject], Any]:
    return lambda s: s.served and getattr(s.served, key)


def _cost(key: str) -> Callable[[Subject], Any]:
    return lambda s: getattr(s.run.cost, key)


def _mwh(s: Subject) -> float | None:
    return None if s.run.cost.kwh is None else s.run.cost.kwh / 1000


def _time(s: Subject) -> str | None:
    return s.run.briefly("time") if s.run.cost.device_hours is not None else None


def _chinchilla(s: Subject) -> int | None:
    """The best number of tokens for this size: the fits are of models that predict the next token."""
    predicts = s.spec.kind == "decoder" and _tied(s) is not None
    return round(CHINCHILLA.tokens(s.params.active)) if predicts else None


def _to_chinchilla(s: Subject) -> float | None:
    fits = s.run.optima if _chinchilla(s) else ()
    return fits[0].ratio if fits else None


ATTENTION = (Attention, LatentAttention)
ROWS = (
    Row("architecture", "family", "family", "text", lambda s: s.spec.family),
    Row("architecture", "kind", "kind", "text", lambda s: s.spec.kind),
    Row("architecture", "layers", "layers", "count", lambda s: sum(stack.layers.n_layers for stack in s.spec.stacks)),
    Row("architecture", "layer_kinds", "kinds of layers", "text", _kinds),
    Row("architecture", "d_model", "model width", "count", _of_stack(lambda stack: stack.d_model)),
    Row("architecture", "heads", "query heads", "count", _of_mixer(lambda a: a.n_heads, *ATTENTION)),
    Row("architecture", "kv_heads", "key/value heads", "count", _of_mixer(lambda a: a.kv_heads, Attention)),
    Row("architecture", "d_head", "width of a head", "count", _of_mixer(_d_head, *ATTENTION)),
    Row("architecture", "attention", "attention", "text", _of_layer(_attention)),
    Row("architecture", "kv_rank", "key/value latent", "count", _of_mixer(lambda a: a.kv_rank, LatentAttention)),
    Row("architecture", "window", "window", "count", _of_mixer(_window, Attention)),
    Row("architecture", "attention_added", "added to attention", "text", _of_layer(_added)),
    Row("architecture", "position", "positions", "text", _position),
    Row("architecture", "rope_theta", "rotary base", "count", _of_mixer(_theta, *ATTENTION)),
    Row("architecture", "context_length", "context length", "count", _context_length),
    Row("architecture", "d_ff", "feed-forward width", "count", _of_ffn(lambda f: f.d_ff, Mlp)),
    Row("architecture", "activation", "activation", "text", _of_ffn(_activation, Mlp, Moe)),
    Row("architecture", "experts", "experts", "count", _of_ffn(lambda f: f.n_experts, Moe)),
    Row("architecture", "experts_per_token", "experts per token", "count", _of_ffn(lambda f: f.top_k, Moe)),
    Row("architecture", "d_expert", "width of an expert", "count", _of_ffn(lambda f: f.d_expert, Moe)),
    Row("architecture", "d_shared", "width of shared experts", "count", _of_ffn(lambda f: f.d_shared, Moe)),
    Row("architecture", "norm", "norm", "text", _of_layer(_norm)),
    Row("architecture", "norm_place", "place of norms", "text", _of_layer(_place)),
    Row(
        "architecture", "vocab", "vocabulary", "count", _of_stack(lambda stack: getattr(stack.embedding, "vocab", None))
    ),
    Row("architecture", "head", "head", "text", _heads),
    Row("architecture", "tied", "head tied to tokens", "text", _tied),
    Row("architecture", "biases", "biases", "text", _biases),
    Row("parameters", "total", "total", "count", lambda s: s.params.total),
    Row("parameters", "active", "active per token", "count", lambda s: s.params.active),
    Row("parameters", "embedding", "embedding", "count", lambda s: s.params.embedding),
    Row("parameters", "non_embedding", "non-embedding", "count", lambda s: s.params.non_embedding),
    Row("FLOPs", "forward_per_token", "forward, per token", "flops", _forward_per_token),
    Row("FLOPs", "forward", "forward, the batch", "flops", _forward),
    Row("FLOPs", "train", "training step", "flops", _train),
    Row("FLOPs", "attention_share", "scores and mixing, of forward", "share", _attention_share),
    Row("memory", "weights", "weights", "bytes", lambda s: s.serving.per_device.weights),
    Row("memory", "kv_per_token", "KV cache, per token", "bytes", _kv("bytes_per_token")),
    Row("memory", "kv_cache", "KV cache, the batch", "bytes", _kv("bytes")),
    Row("memory", "activations", "training: activations", "bytes", _activations),
    Row("memory", "states", "training: states", "bytes", _states),
    Row("published run", "tokens", "tokens", "count", lambda s: s.published.get("tokens")),
    Row("published run", "tokens_per_parameter", "tokens per parameter", "count", _per_parameter),
    Row("published run", "hardware", "hardware", "text", lambda s: s.published.get("hardware")),
    Row("published run", "device_hours", "device hours", "count", lambda s: s.model.run.hours if s.published else None),
    Row("training run", "run_tokens", "tokens", "count", lambda s: s.run.tokens),
    Row("training run", "run_flops", "FLOPs of the run", "flops", _cost("flops")),
    Row("training run", "six_nd", "by 6·N·tokens", "flops", lambda s: s.run.six_nd.flops),
    Row("training run", "chinchilla_tokens", "Chinchilla's tokens", "count", _chinchilla),
    Row("training run", "tokens_to_chinchilla", "tokens to Chinchilla's", "number", _to_chinchilla),
)
ON_DEVICE = (  # where one is given
    Row("training run", "run_devices", "devices", "count", lambda s: s.run.terms.devices),
    Row("training run", "run_time", "its time is", "text", _time),
    Row("training run", "run_device_hours", "device-hours", "number", _cost("device_hours")),
    Row("training run", "run_days", "days", "number", _cost("days")),
    Row("training run", "run_usd", "dollars", "usd", _cost("usd")),
    Row("training run", "run_mwh", "energy, MWh", "number", _mwh),
    Row("training run", "run_tco2e", "carbon, t CO2e", "number", _cost("tco2e")),
    Row("training run", "run_tokens_per_second", "tokens per second", "number", _cost("tokens_per_second")),
    Row("training run", "run_step_seconds", "a step", "seconds", _cost("step_seconds")),
    Row("training run", "run_mfu", "MFU", "share", _cost("mfu")),
    Row("serving", "ttft_seconds", "time to first token", "seconds", _served("ttft_seconds")),
    Row("serving", "tpot_seconds", "time per output token", "seconds", _served("tpot_seconds")),
    Row("serving", "tokens_per_second", "tokens per second", "number", _served("tokens_per_second")),
    Row("serving", "usd_per_million_tokens", "dollars per million tokens", "usd", _served("usd_per_million_tokens")),
    Row("serving", "bound", "waits for", "text", _served("bound")),
    Row("serving", "largest_batch", "largest batch in memory", "count", lambda s: s.served and s.served.largest_batch),
    Row("serving", "fits", "fits", "text", lambda s: s.served and s.served.fits),
    Row("serving", "fewest_devices", "fewest devices that hold it", "count", lambda s: s.fewest),
)


# --- the report -----------------------------------------------------------------------------------------------


def build(
    models: Sequence[Transformer], asked: Mapping[str, int], *, diff: bool = False, terms: Terms = NOWHERE
) -> Report:
    """Each row's values in the order of the models, whether they are the same, and their ratios to the first.

    asked:  the sizes of the workload that were given; they hold for all models
    diff:  only the rows that differ
    terms:  what they are served and trained on
    """
    if len(models) < 2:
        given = f"only {models[0].spec.name} is given" if models else "none is given"
        raise InputError(f"compare takes two models or more, but {given}", "tcalc compare gpt3 llama-3-8b")
    terms.check()
    runs = workloads(models, asked)
    subjects = [Subject(model, run, asked, terms) for model, run in zip(models, runs, strict=True)]
    names = _names(models)
    rows = (*ROWS, *ON_DEVICE) if terms.device else ROWS
    found = [_line(row, [row.of(subject) for subject in subjects]) for row in rows]
    for subject in subjects:
        if subject.refused:
            subject.model.notes.append(f"serving is left out: {as_options(subject.refused)}")
    differing = sum(not line["same"] for line in found)
    lines = [line for line in found if not line["same"]] if diff else found
    stored = {
        f"checkpoint of {name}": text
        for name, model in zip(names, models, strict=True)
        for text in stored_beside(SERVED, model.checkpoint, None).values()
    }
    assumptions, basis = rests_on(stored | ASSUMPTIONS)
    data = {
        "compare": {
            "models": names,
            "rows": lines,
            "described": [in_options(model.describe()) for model in models],
            "workloads": [run.to_dict() if run else None for run in runs],
        },
        "assumptions": assumptions,
    }
    said = [basis]
    if terms.device:
        data |= _on_device(terms, names, subjects)
        said += _rests(names, subjects)
    workload = next((run.to_dict() for run in runs if run), dict(asked))
    sections: tuple[Section, ...] = (
        Text(_title(names, models, runs)),
        *_tables(names, lines, _places(terms)),
        Text("\n".join([_counted(names, differing, len(found)), *(_lacking(names, subjects) if terms.device else ())])),
        *said,
    )
    return Report("compare", models[0].describe(), workload, data, sections, _raw(names, lines))


def workloads(models: Sequence[Transformer], asked: Mapping[str, int]) -> list[Workload | None]:
    """What each model is run with: what was asked for, and else the least batch and length that are usual for them.

    Images have lengths of their own; target tokens are for encoder-decoders, a context for models with a cache.
    """
    context, target, length = asked.get("context", 0), asked.get("target_seq"), asked.get("seq")
    takes_target = [model for model in models if model.spec.kind == "encoder-decoder"]
    caches = [model for model in models if "cached" in model.graph.axes]
    texts = [model for model in models if isinstance(model.spec.stacks[0].embedding, Tokens | Vectors)]
    for given, takes in ((context, caches), (target, takes_target), (length, texts)):
        if given is not None and given and not takes:
            models[0].workload(**asked)  # it says what is wrong
    usual = [model.workload(batch=asked.get("batch")) for model in models]
    batch = min(run.batch for run in usual)
    shortest = min((run.seq for model, run in zip(models, usual, strict=True) if model in texts), default=None)
    runs: list[Workload | None] = []
    for model in models:
        if context and model not in caches:
            model.notes.append("it keeps no cache: what depends on the context is left out")
            runs.append(None)
            continue
        seq = (length or (None if context else shortest)) if model in texts else None
        if isinstance(model.spec.stacks[0].embedding, Audio):
            seq = length
        to = target if model in takes_target else None
        runs.append(model.workload(batch=batch, seq=seq, target_seq=to, context=context))
        if length not in (None, runs[-1].seq):  # type: ignore[union-attr]
            model.notes.append(f"its images are {runs[-1].seq:,} tokens, whatever seq is")  # type: ignore[union-attr]
    return runs


def _on_device(terms: Terms, names: Sequence[str], subjects: Sequence[Subject]) -> dict[str, Any]:
    """For JSON: on what they are served and trained, and what that rests on."""
    of = dict(zip(names, subjects, strict=True))
    return {
        "device": terms.device and {"name": terms.device.name},
        "devices": terms.devices or 1,
        "served": {name: s.served and {"assumptions": rests_on(s.served.assumptions)[0]} for name, s in of.items()},
        "trained": {
            name: {
                "assumptions": _of_run(s),
                "unknown": {key: as_options(one.text) for key, one in s.run.unknown.items()},
            }
            for name, s in of.items()
        },
    }


def _of_run(s: Subject) -> dict[str, Any]:
    return rests_on(s.run.assumptions)[0]


LISTED = (
    "batch",
    "sequence",
    "time",
    "plan",
    "device",
    "peak",
    "precision",
    "price",
    "power",
    "PUE",
    "carbon",
)  # of a run's assumptions


def _rests(names: Sequence[str], subjects: Sequence[Subject]) -> Iterator[Facts]:
    """For people: what serving and training rest on, each said once of all models that it holds for."""
    served = [
        {name: as_options(one.text) for name, one in s.served.assumptions.items()} if s.served else {} for s in subjects
    ]
    trained = [
        {name: as_options(one.text) for name, one in s.run.assumptions.items() if name in LISTED} for s in subjects
    ]
    for what, found in (("training", trained), ("serving", served)):
        lines: list[tuple[str, str, Kind]] = []
        for name in dict.fromkeys(name for said in found for name in said):
            texts: dict[str, list[str]] = {}
            for model, said in zip(names, found, strict=True):
                if name in said:
                    texts.setdefault(said[name], []).append(model)
            for text, models in texts.items():
                of = "" if len(models) == len(names) else f"{_and(models)}: "
                lines.append((name, f"{of}{text}", "text"))
        if lines:
            yield Facts(f"assumptions of {what}", tuple(lines))


def _lacking(names: Sequence[str], subjects: Sequence[Subject]) -> Iterator[str]:
    """Which options would make known what is not known of training."""
    lacking: dict[str, list[str]] = {}
    for model, s in zip(names, subjects, strict=True):
        flags = {
            flag: None
            for key in ("usd", "days", "mfu", "step_seconds")
            if _cost(key)(s) is None
            for flag in s.run.needs(key)
        }
        known = [f"--{flag}" for flag in flags if flag in OPTIONS]
        if known:
            lacking.setdefault(_and(known), []).append(model)
    for options, models in lacking.items():
        yield f"what is not known of training {_and(models)} needs {options}"


OPTIONS = ("tokens", "devices", "mfu", "price", "batch")


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _places(terms: Terms) -> dict[str, str]:
    """What stands behind the name of a group."""
    if terms.device is None:
        return {}
    title, count = terms.device.title or terms.device.name, terms.devices or 1
    return {"serving": f" on {count:,} × {title}" if count > 1 else f" on {title}", "training run": f" on {title}"}


def _names(models: Sequence[Transformer]) -> list[str]:
    """A name for each model that no other has, nor another column."""
    plain = [model.spec.name for model in models]
    names: list[str] = []
    for model, name in zip(models, plain, strict=True):
        if plain.count(name) > 1 and not model.source.startswith("preset "):
            name = model.source
        number, unique = 1, name
        while unique in (*names, *KEYS):
            number += 1
            unique = f"{name} ({number})"
        names.append(unique)
    return names


def _line(row: Row, values: list[Any]) -> dict[str, Any]:
    """A row as JSON has it."""
    same = all(_alike(value, values[0]) for value in values)
    return {
        "group": row.group,
        "key": row.key,
        "label": row.label,
        "kind": row.kind,
        "values": values,
        "same": same,
        "ratios": [_ratio(value, values[0]) for value in values],
    }


def _ratio(value: Any, base: Any) -> float | None:
    numbers = all(isinstance(n, int | float) and not isinstance(n, bool) for n in (value, base))
    if numbers and base:
        return 1.0 if _alike(value, base) else value / base
    return None


def _alike(value: Any, other: Any) -> bool:
    """Whether they are the same, but for how the last digits of what is not a count are rounded."""
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=1e-12)
    return bool(value == other)


def _title(names: Sequence[str], models: Sequence[Transformer], runs: Sequence[Workload | None]) -> str:
    """What is compared, and on which workload."""
    changes = f" with {', '.join(models[0].changes)}" if models[0].changes else ""
    words = {"batch": "batch", "seq": "tokens", "target_seq": "target tokens", "context": "tokens in the cache"}
    told: list[str] = []
    for key, word in words.items():
        of = [(name, run.to_dict().get(key)) for name, run in zip(names, runs, strict=True) if run]
        value = _told(of)
        if value and key != "batch" and isinstance(value, int):
            told.append(f"{value:,} {word if value > 1 else word.replace('tokens', 'token')}")
        elif value:
            told.append(f"{word} {_plain(value)}")
    return f"{', '.join(names)}{changes}: {', '.join(told)}"


def _counted(names: Sequence[str], differing: int, total: int) -> str:
    return f"{OTHER} {differing} of {total} rows differ; a ratio is to {names[0]}"


SHOWN_AS: dict[str, Kind] = {  # to people, of what is exact for machines
    "tokens": "rounded",
    "run_tokens": "rounded",
    "chinchilla_tokens": "rounded",
    "tokens_per_parameter": "number",
}
KEYS = ("group", "key", "label", "kind", "same", "mark")


def _tables(names: Sequence[str], lines: Sequence[Mapping[str, Any]], places: Mapping[str, str]) -> Iterator[Table]:
    """A table for each group, without what applies to none of the models."""
    columns = [Column("mark", "", "text"), Column("label", "", "text")]
    for number, name in enumerate(names):
        columns.append(Column(name, name, "mixed"))
        if number:
            columns.append(Column(f"ratio {name}", "ratio", "text", 1))
    for group in dict.fromkeys(line["group"] for line in lines):
        rows = [
            {"mark": "" if line["same"] else OTHER, "label": line["label"]}
            | {
                name: (_plain(value), SHOWN_AS.get(line["key"], line["kind"]))
                for name, value in zip(names, line["values"], strict=True)
            }
            | {f"ratio {name}": _times(ratio) for name, ratio in zip(names, line["ratios"], strict=True)}
            for line in lines
            if line["group"] == group and any(value is not None for value in line["values"])
        ]
        if rows:
            yield Table(group + places.get(group, ""), tuple(columns), tuple(rows), stacks=True)


def _times(ratio: float | None) -> str:
    """A ratio with three digits, or as many as show that it is not 1."""
    if ratio is None or ratio == 1:
        return ""
    if ratio >= 100 or ratio == 0:
        return f"×{ratio:,.0f}"
    return next((f"×{text}" for n in range(3, 17) if float(text := f"{ratio:#.{n}g}") != 1), "×1")


def _raw(names: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> Table:
    """The table of CSV: every row whole."""
    ratios = [f"{name} / {names[0]}" for name in names[1:]]
    columns = [Column(key, key, "text") for key in ("group", "key", "label", *names, "same", *ratios)]
    rows = [
        {key: line[key] for key in ("group", "key", "label", "same")}
        | dict(zip(names, map(_plain, line["values"]), strict=True))
        | dict(zip(ratios, line["ratios"][1:], strict=True))
        for line in lines
    ]
    return Table("compare", tuple(columns), tuple(rows))

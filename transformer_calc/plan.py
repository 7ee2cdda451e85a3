"""How a model is run: its mesh of devices, how it is served, how it is trained. What is asked for, as records.

A field says all that there is to say of it: what it takes, its usual value, what it is, in which group people look for
it. The options of the command line, their checks and completion, and the reference are made from that.

Messages name fields between backticks: `tp`, or with a value, `zero=3`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, field
from typing import Any, ClassVar, TypedDict, TypeVar, dataclass_transform

from transformer_calc.errors import InputError
from transformer_calc.record import LARGEST, Record, Rule, record
from transformer_calc.tuples import NamedTuple

T = TypeVar("T")

# The groups in which people look for a field.
PARALLEL = "Parallelism"
SERVING = "Serving"
TRAINING = "Training (--mode train)"
BUFFERS = "Training: buffers of communication"
TUNING = "Training: adapters and frozen parts"

BUCKET = 500_000_000  # elements; DeepSpeed's reduce_bucket_size


class Asked(NamedTuple):
    """What a field is to those who are to give it: an option, a row of the reference, an axis of a search."""

    help: str
    panel: str = ""
    choices: tuple[Any, ...] = ()  # all values that it takes, where these are few
    least: int | None = None  # of a count
    names: str = ""  # what its values are names of: storage, precision, optimizer
    metavar: str = ""
    option: str = ""  # its option's name, where that is not its own
    unit: str = ""  # length: k and M are powers of two; bytes


def count(
    help: str, panel: str = "", *, default: Any = MISSING, least: int = 1, option: str = "", unit: str = ""
) -> Any:
    """A whole number."""
    said = f"at least {least:,}"
    rule = Rule(lambda value: least <= value <= LARGEST, said)
    return _field(default, rule, Asked(help, panel, least=least, metavar="N", option=option, unit=unit))


def part(help: str, panel: str = "", *, default: float, option: str = "") -> Any:
    """A probability that is not certain."""
    rule = Rule(lambda value: 0 <= value < 1, "at least 0 and less than 1")
    return _field(default, rule, Asked(help, panel, metavar="P", option=option))


def choice(help: str, panel: str = "", *, of: tuple[Any, ...], default: Any, metavar: str = "") -> Any:
    """One of a few values, the usual one among them."""
    rule = Rule(of.__contains__, f"one of {', '.join(map(str, of))}")
    return _field(default, rule, Asked(help, panel, choices=of, metavar=metavar))


def name_of(kind: str, help: str, panel: str = "", *, default: str, metavar: str) -> Any:
    """The name of a storage type, a precision or an optimizer, which `storage` knows."""
    return _field(default, None, Asked(help, panel, names=kind, metavar=metavar))


def switch(help: str, panel: str = "", *, default: bool) -> Any:
    """On or off."""
    return _field(default, None, Asked(help, panel))


def words(help: str, panel: str = "", *, default: Any, metavar: str, option: str = "") -> Any:
    """Several words, or pairs."""
    return _field(default, None, Asked(help, panel, metavar=metavar, option=option))


def inner(*, default: Any) -> Any:
    """A record of its own."""
    return _field(default, None, None)


def _field(default: Any, rule: Rule | None, asked: Asked | None) -> Any:
    return field(default=default, metadata={"rule": rule, "asked": asked, "option": asked and asked.option})


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(count, part, choice, name_of, switch, words, inner)
)
def plan(cls: type[T]) -> type[T]:
    """A record of fields that are asked for."""
    return record(cls)


class Plan(Record):
    """What all of them share."""

    NAMED: ClassVar[str] = "`{}`"


@plan
class Mesh(Plan):
    """How many ways each kind of parallelism splits the work; devices = dp · tp · pp · cp, ep within dp · cp."""

    dp: int = count("copies of the model, which share the batch", PARALLEL, default=1)
    tp: int = count("devices that share each matrix", PARALLEL, default=1)
    pp: int = count("stages of layers", PARALLEL, default=1)
    cp: int = count("devices that share each sequence", PARALLEL, default=1)
    ep: int = count("devices that share the experts", PARALLEL, default=1)
    # Korthikanti et al. 2022, arXiv 2205.05198, §4.2
    sp: bool = switch("in training, norms and dropouts split the sequence over --tp", PARALLEL, default=False)

    @property
    def devices(self) -> int:
        """All of them."""
        return self.dp * self.tp * self.pp * self.cp


WAYS = ("dp", "tp", "pp", "cp", "ep")


@plan
class Serving(Plan):
    """How a model is served."""

    # of the layers' matrices; with a plain type, of everything
    weights: str = name_of(
        "storage", "how weights are stored: bf16, fp8, int8, int4, nf4, q4_k …", default="bf16", metavar="TYPE"
    )
    rest: str = inner(default="bf16")  # of tables, norms, biases, routers and heads beside quantised matrices
    kv_dtype: str = name_of(
        "storage", "how the cache is stored: bf16, fp8, int8 …", SERVING, default="bf16", metavar="TYPE"
    )
    activations: str = inner(default="bf16")
    attention: str = choice("flash keeps no score matrix", of=("flash", "eager"), default="flash")
    # the last page is reserved whole
    block_size: int = count("tokens of a page of the cache", SERVING, default=1, unit="length")
    kv_split: str = choice(
        "what ranks beyond the key/value heads do: hold copies, or split the batch",
        SERVING,
        of=("heads", "batch"),
        default="heads",
    )
    logits: str = choice("computed of the last position, or of all", SERVING, of=("last", "all"), default="last")
    mesh: Mesh = inner(default=Mesh())


@plan
class Adapters(Plan):
    """Which matrices have low-rank adapters (LoRA), and of which rank."""

    rank: int = count("adapters of this rank, on frozen --weights", TUNING, option="lora_rank")
    targets: tuple[str, ...] = words(
        "matrices with adapters: q,k,v,o,gate,up,down; all",
        TUNING,
        default=("q", "v"),
        metavar="NAMES",
        option="lora_targets",
    )
    # of what goes into A, of each adapter's own
    dropout: float = part("dropout of what goes into the adapters", TUNING, default=0.0, option="lora_dropout")


@plan
class Training(Plan):
    """How a model is trained."""

    precision: str = name_of(
        "precision", "fp32, bf16-mixed, fp16-mixed, bf16, fp8 …", TRAINING, default="bf16-mixed", metavar="RECIPE"
    )
    optimizer: str = name_of(
        "optimizer", "adamw, adam8bit, sgd, lion, muon, adafactor …", TRAINING, default="adamw", metavar="NAME"
    )
    zero: int = choice(
        "what the data-parallel ranks share (ZeRO, FSDP: 3)", TRAINING, of=(0, 1, 2, 3), default=0, metavar="0..3"
    )
    # None: all that a device has, or one in a pipeline
    micro_batch: int | None = count("sequences of one pass of a device", TRAINING, default=None)
    schedule: str = choice(
        "order of the pipeline's micro-batches", TRAINING, of=("1f1b", "gpipe", "interleaved"), default="1f1b"
    )
    virtual: int = count("groups of layers of a stage, if interleaved", TRAINING, default=1)
    recompute: str = choice(
        "which activations are computed again", TRAINING, of=("none", "selective", "full"), default="none"
    )
    recompute_every: int = count("the input of every n-th layer is kept, if full", TRAINING, default=1)
    attention: str = choice("flash keeps no score matrix", of=("flash", "eager"), default="flash")
    kernels: str = choice(
        "norms, activations and dropout: fused ones keep less", TRAINING, of=("fused", "eager"), default="fused"
    )
    outputs: str = choice(
        "whether the loop has the model's output, its logits, through the backward pass",
        TRAINING,
        of=("held", "released"),
        default="held",
    )
    mesh: Mesh = inner(default=Mesh())
    adapters: Adapters | None = inner(default=None)
    weights: str = name_of("storage", "how frozen weights are stored", default="bf16", metavar="TYPE")
    freeze: tuple[str, ...] = words(
        "what does not learn: embedding,0-11,attn,head …", TUNING, default=(), metavar="PARTS"
    )
    # without ZeRO: gradients are views of the buckets that are reduced, or copied there
    ddp_buckets: str = choice(
        "whether gradients are copied to be reduced, with --zero 0", BUFFERS, of=("views", "copies"), default="views"
    )
    bucket_size: int = count("gradients reduced at a time, with --zero 1 or 2", BUFFERS, default=BUCKET, least=0)
    prefetch: int = count("layers gathered ahead, with --zero 3", BUFFERS, default=1, least=0)
    buffers: tuple[tuple[str, int], ...] = words(
        "the size of a buffer, where it is another (repeatable)",
        BUFFERS,
        default=(),
        metavar="NAME=BYTES",
        option="buffer",
    )


MODES = ("infer", "train")


def asked(*classes: type[Plan]) -> dict[str, Asked]:
    """The fields of records that are asked for, by the names of their options."""
    found = {}
    for cls in classes:
        for name, f in cls.__dataclass_fields__.items():
            if said := f.metadata.get("asked"):
                found[said.option or name] = said
    return found


def usual(*classes: type[Plan]) -> dict[str, Any]:
    """The values of those fields where nothing is asked for."""
    found = {}
    for cls in classes:
        for name, f in cls.__dataclass_fields__.items():
            if said := f.metadata.get("asked"):
                found[said.option or name] = None if f.default is MISSING else f.default
    return found


class How(TypedDict, total=False):
    """How a model is run, as keyword arguments: the fields of the records above, flat."""

    mode: str
    dp: int
    tp: int
    pp: int
    cp: int
    ep: int
    sp: bool
    attention: str
    weights: str
    kv_dtype: str
    kv_split: str
    block_size: int
    logits: str
    precision: str
    optimizer: str
    zero: int
    micro_batch: int | None
    schedule: str
    virtual: int
    recompute: str
    recompute_every: int
    kernels: str
    outputs: str
    ddp_buckets: str
    bucket_size: int
    prefetch: int
    buffer: Mapping[str, int]
    lora_rank: int | None
    lora_targets: str | Iterable[str]
    lora_dropout: float
    freeze: str | Iterable[str]


def made(how: How, *, open_precision: bool = False) -> Serving | Training:
    """The plan that is asked for; what has no use in its mode is refused, unless it is as usual.

    open_precision:  where none is given, leave it to what the device is usually trained in
    """
    asks: dict[str, Any] = {name: value for name, value in how.items() if value is not None}
    mode = asks.pop("mode", MODES[0])
    if mode not in MODES:
        raise InputError(f"`mode` is {mode!r}; it must be one of {', '.join(MODES)}")
    if unknown := asks.keys() - How.__annotations__.keys():
        raise TypeError(f"a plan has no {', '.join(sorted(unknown))}")
    serves, trains = asked(Serving), asked(Training, Adapters) | {"sp": None}
    for name in asks.keys() & ((serves if mode == "train" else trains).keys() - (serves.keys() & trains.keys())):
        value = asks.pop(name)
        if value != USUAL[name] and (name, value) not in ANYWAY:
            raise _of_the_other(mode, name, value)
    ways = {name: asks.pop(name) for name in asked(Mesh) if name in asks}
    if mode == "infer":
        return Serving(mesh=Mesh(**ways), **asks)
    rank, dropout = asks.pop("lora_rank", None), asks.pop("lora_dropout", 0.0)
    targets = _names(asks.pop("lora_targets", ()))
    if rank is None and (targets or dropout):
        raise InputError(f"`lora_{'targets' if targets else 'dropout'}` is given, but not `lora_rank`")
    if rank is None and asks.get("weights", "bf16") != "bf16":
        raise InputError("`weights` says how frozen weights are stored; in training there are none", "`lora_rank=N`")
    if rank is not None:
        asks["adapters"] = Adapters(rank=rank, dropout=dropout, **({"targets": targets} if targets else {}))
    if open_precision:
        asks.setdefault("precision", "")
    asks["buffers"] = tuple(dict(asks.pop("buffer", {})).items())
    asks["freeze"] = _names(asks.pop("freeze", "") or ())
    return Training(mesh=Mesh(**ways), **asks)


USUAL = usual(Mesh, Serving, Training, Adapters)
ANYWAY = (("precision", "bf16"), ("freeze", ""))  # what says nothing else in the other mode


def _of_the_other(mode: str, name: str, value: Any) -> InputError:
    """That something says nothing in this mode: what was meant would not be what is answered."""
    said = "given" if value is True or not isinstance(value, int | float | str) else value
    said = repr(value) if name == "precision" else said
    hint = "`weights=TYPE`" if name == "precision" else f"`mode={'infer' if mode == 'train' else 'train'}`"
    other = "training" if mode == "infer" else "serving"
    return InputError(f"`{name}` is {said}, but `mode` is {mode}: it is of {other}", hint)


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    """Names, each once; in a text, commas separate them."""
    return tuple(dict.fromkeys((name.strip() for name in given.split(",")) if isinstance(given, str) else given))

"""Options of the command line: those of a plan are made from its fields, the others are declared with their commands.

What is read arrives typed: a parser knows its option's name, so that what is wrong is told of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter
from typing import Annotated, Any, Literal

import typer

from transformer_calc import units
from transformer_calc.errors import InputError, shown
from transformer_calc.output import FORMATS
from transformer_calc.plan import BUFFERS, MODES, TRAINING, TUNING, USUAL, Adapters, Asked, Mesh, Serving, Training
from transformer_calc.plan import asked as fields_of
from transformer_calc.tuples import NamedTuple

# The groups of options in a command's help.
MODEL = "Model"
SIZES = "Sizes (of a new model, or changes to the chosen one)"
WORKLOAD = "Workload"
OUTPUT = "Output"
DEVICE = "Device"
HOW = "How it is trained or served (what is not given is chosen for the devices)"

# --- reading values -----------------------------------------------------------------------------------------


def flag_of(name: str) -> str:
    """The option of a field."""
    return "--" + name.replace("_", "-")


def read(parse: Callable[..., Any], flag: str, **limits: Any) -> Callable[[Any], Any]:
    """A parser for Typer, which hands over defaults, too; what is wrong is told of the option."""

    def parser(value: Any) -> Any:
        return parse(value, field=flag, **limits) if isinstance(value, str) else value

    return parser


def count(flag: str, help: str, panel: str | None = None, *, least: int = 1, length: bool = False, **more: Any) -> Any:
    """An option that takes a whole number; `length`: of tokens in a row."""
    parse = units.parse_length if length else units.parse_count
    return _valued(flag, help, panel, parse, {"minimum": least}, **{"metavar": "N", **more})


def amount(flag: str, metavar: str, help: str, panel: str | None = None, **limits: Any) -> Any:
    """An option that takes a measure."""
    return _valued(flag, help, panel, units.parse_amount, limits, metavar=metavar)


def share(flag: str, help: str, panel: str | None = None) -> Any:
    """An option that takes a part of a whole."""
    return _valued(flag, help, panel, units.parse_share, {}, metavar="PART")


def _valued(
    flag: str, help: str, panel: str | None, parse: Callable[..., Any], limits: dict[str, Any], **more: Any
) -> Any:
    short = more.pop("short", ())
    return typer.Option(flag, *short, help=help, rich_help_panel=panel, parser=read(parse, flag, **limits), **more)


def sizes_of_buffers(given: Iterable[str]) -> dict[str, int]:
    """Read NAME=BYTES, as often as it is given."""
    sizes = {}
    for setting in given:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--buffer is {setting!r}, expected NAME=BYTES")
        field = name.strip().replace("-", "_")
        if field in sizes:
            raise InputError(f"--buffer {shown(field)} is given twice; give it once")
        sizes[field] = units.parse_count(value, field=f"--buffer {field}", minimum=0)
    return sizes


# --- names that a shell completes ---------------------------------------------------------------------------


def names(kind: str) -> Callable[[str], Iterable[str]]:
    """What completes a name of this kind."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in _known(kind) if name.startswith(incomplete)]

    return complete


def _known(kind: str) -> Iterable[str]:
    if kind in ("preset", "device"):
        from transformer_calc.sources.catalogue import DEVICES, MODELS

        return (MODELS if kind == "preset" else DEVICES).names()
    from transformer_calc import storage

    return {"storage": storage.STORAGE, "precision": storage.PRECISIONS, "optimizer": storage.OPTIMIZERS}[kind]


# --- options that several commands share --------------------------------------------------------------------


def keyword(name: str, annotation: Any, option: Any, default: Any = None) -> Parameter:
    """A parameter of a command's function."""
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, option])


def _text(name: str, metavar: str, help: str, *, flag: str = "", many: bool = False, **more: Any) -> Parameter:
    option = typer.Option(flag or flag_of(name), metavar=metavar, help=help, rich_help_panel=MODEL, **more)
    return keyword(name, list[str] | None if many else str | None, option)


class Size(NamedTuple):
    """A size that has a flag of its own."""

    help: str
    least: int = 1
    length: bool = False  # tokens in a row
    short: tuple[str, ...] = ()


FIELDS: dict[str, Size] = {
    "layers": Size("number of layers"),
    "d_model": Size("width of the residual stream"),
    "heads": Size("query heads"),
    "kv_heads": Size("key/value heads (fewer than heads: grouped; 1: multi-query)"),
    "d_head": Size("width of a head"),
    "d_ff": Size("width of the feed-forward part"),
    "vocab": Size("tokens in the vocabulary"),
    "max_positions": Size("learned positions", length=True),
    "experts": Size("experts per layer (mixture of experts)"),
    "experts_per_token": Size("experts that a token goes to"),
    "d_expert": Size("width of an expert"),
    "shared_experts": Size("experts that every token goes to", 0),
    "window": Size("width of the attention window", length=True),
}
WORKLOAD_FIELDS: dict[str, Size] = {
    "batch": Size("sequences", short=("-b",)),
    "seq": Size("tokens in a sequence (encoder-decoder: of the source)", length=True, short=("-s",)),
    "target_seq": Size("tokens in a target sequence (encoder-decoder)", length=True),
    "context": Size("tokens that are already in the KV cache", 0, length=True),
}


def _sizes(fields: Mapping[str, Size], panel: str, **more: Any) -> tuple[Parameter, ...]:
    return tuple(
        keyword(
            name,
            int | None,
            count(flag_of(name), size.help, panel, least=size.least, length=size.length, short=size.short, **more),
        )
        for name, size in fields.items()
    )


_SETTINGS = (
    _text("sets", "PATH=VALUE", "change any field, as in attention.window=4k (repeatable)", flag="--set", many=True),
    _text(
        "ignore",
        "KEY",
        "pass over a key of config.json that is not understood (repeatable)",
        flag="--ignore-key",
        many=True,
    ),
    keyword(
        "mtp",
        bool,
        typer.Option(
            "--mtp",
            help="count layers that predict further tokens, too: weights, cache, and a pass of each in every step",
            rich_help_panel=MODEL,
        ),
        False,
    ),
)


def _argument(name: str, annotation: Any, metavar: str, help: str) -> Parameter:
    complete = names("preset")
    return keyword(
        name, annotation, typer.Argument(metavar=metavar, help=help, autocompletion=complete, rich_help_panel=MODEL)
    )


def of_a_model() -> tuple[Parameter, ...]:
    """The options of a command that asks about one model."""
    return (
        _argument("model", str | None, "MODEL", "a preset's name, or a config.json or the folder that holds one"),
        _text("preset", "NAME", "a preset's name (see tcalc presets)", autocompletion=names("preset")),
        _text("config", "PATH", "a Hugging Face config.json or its folder"),
        *_SETTINGS,
        *_sizes(FIELDS, SIZES),
        *_sizes(WORKLOAD_FIELDS, WORKLOAD),
    )


def of_several_models() -> tuple[Parameter, ...]:
    """The options of a command that takes several; what changes the size of one is refused."""
    help = "presets' names, config.json files or the folders that hold them"
    return (
        _argument("models", list[str] | None, "MODEL...", help),
        _text("preset", "NAME", "a preset's name (repeatable)", many=True, autocompletion=names("preset")),
        _text("config", "PATH", "a Hugging Face config.json or its folder (repeatable)", many=True),
        *_SETTINGS,
        *_sizes(WORKLOAD_FIELDS, WORKLOAD),
        *_sizes(FIELDS, SIZES, hidden=True),
    )


def of_output() -> tuple[Parameter, ...]:
    """How the answer is printed."""
    format_ = typer.Option("--format", "-f", help="how to print the answer", rich_help_panel=OUTPUT)
    return (
        keyword("format_", Literal[FORMATS], format_, FORMATS[0]),
        keyword("json", bool, typer.Option("--json", help="short for --format json", rich_help_panel=OUTPUT), False),
    )


# --- a plan's -----------------------------------------------------------------------------------------------

MODE = Asked("to serve, or to train", choices=MODES)
Plans = Literal["all", "serving", "chosen"]


def of_a_plan(which: Plans, found: tuple[str, ...] = ()) -> tuple[Parameter, ...]:
    """The options of a plan: none has a default of its own, so that what was asked for is known.

    which:  all, with their usual values in the help; serving: those of training hidden, to be refused by name; chosen:
        without usual values, since what is not given is looked for
    found:  those that are looked for although the others are not
    """
    fields = {"mode": MODE, **fields_of(Serving, Mesh, Training, Adapters)}
    fields["weights"] = fields["weights"]._replace(help=fields_of(Serving)["weights"].help)
    if which != "serving":
        fields["weights"] = fields["weights"]._replace(help=fields["weights"].help + " (training: frozen ones)")
    if which == "chosen":
        fields["mode"] = MODE._replace(help="what the cost is of")
    first = [name for name, asked in fields.items() if not asked.panel]
    every = [*first, *fields_of(Mesh), *(name for name in fields if name not in first)]
    return tuple(
        _of_field(name, fields[name], which, usual=which != "chosen" and name not in found)
        for name in dict.fromkeys(every)
    )


def _of_field(name: str, asked: Asked, which: Plans, *, usual: bool) -> Parameter:
    flag, value = flag_of(name), USUAL.get(name, MODES[0] if name == "mode" else None)
    panel = asked.panel or (HOW if which == "chosen" else None)
    more: dict[str, Any] = {"help": asked.help, "panel": panel}
    if usual and value not in (None, ()) and name != "lora_targets":
        more["help"] += f"  [default: {_said(name, value)}]"
    if which == "serving":
        more["hidden"] = name in ("mode", "sp") or asked.panel in (TRAINING, BUFFERS, TUNING)
    if asked.names:
        more["autocompletion"] = names(asked.names)
    if asked.metavar:
        more["metavar"] = asked.metavar
    if asked.least is not None:
        return keyword(name, int | None, count(flag, least=asked.least, length=asked.unit == "length", **more))
    more["rich_help_panel"] = more.pop("panel")
    if isinstance(value, bool):
        return keyword(name, bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", **more))
    if asked.choices and isinstance(asked.choices[0], str):
        return keyword(name, Literal[asked.choices] | None, typer.Option(flag, **more))
    kind: Any = list[str] if name == "buffer" else int if asked.choices else float if isinstance(value, float) else str
    return keyword(name, kind | None, typer.Option(flag, **more))


def _said(name: str, value: Any) -> str:
    """A usual value in a help text."""
    if isinstance(value, bool):
        return name if value else f"no-{name}"
    return f"{value // 10**6}M" if isinstance(value, int) and value >= 10**6 and value % 10**6 == 0 else str(value)

"""Options of the command line: those of a plan are made from its fields, the others are declared with their commands.

What is read arrives typed: a parser knows its option's name, so that what is wrong is told of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter
from typing import Annotated, Any, Literal

import typer

from transformer_calc import units
from transformer_calc.output import FORMATS
from transformer_calc.tuples import NamedTuple

# The groups of options in a command's help.
MODEL = "Model"
SIZES = "Sizes (of a new model, or changes to the chosen one)"
WORKLOAD = "Workload"
OUTPUT = "Output"
DEVICE = "Device"

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

"""The command line: parse, call, render, exit status. It does no arithmetic.

A command's function takes the model, the workload and its own options, and returns a report. `answering` adds the
options that all commands share, so that they are written once. What a command needs is imported in its body:
`tcalc --version` must not wait for NumPy.
"""

# Typer reads the annotations at run time, so they stay objects here (no `from __future__ import annotations`).
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from functools import partial
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import typer.main

# Typer's own Click. What `typer` itself exports of it differs between the versions that are allowed.
from typer._click.exceptions import NoArgsIsHelpError, UsageError
from typer.core import TyperCommand, TyperGroup

from . import __version__, streams, units
from .errors import InputError, TcalcError, as_options, shown

if TYPE_CHECKING:
    from .output import Format
    from .report import Report

# Exit statuses beside those of an answer (0, or 1 where it is no) and of wrong input (2).
FAULT = 70  # of this program itself: EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # and what a shell reports of programs that SIGINT and SIGPIPE ended
READER_LEFT = 141

# The groups of options in a command's help.
MODEL = "Model"
SIZES = "Sizes (of a new model, or changes to the chosen one)"
WORKLOAD = "Workload"
OUTPUT = "Output"
DEVICE = "Device"
PARALLEL = "Parallelism"
SERVING = "Serving"
TRAINING = "Training (--mode train)"
BUFFERS = "Training: buffers of communication"
TUNING = "Training: adapters and frozen parts"
OF_FROZEN = " (training: frozen ones)"


class Command(TyperCommand):
    """A command whose help shows its options in groups; Typer has those only with Rich, at twice the time."""

    def get_help(self, ctx: Any) -> str:
        """Return the help as standard output can show it."""
        return streams.fitting(super().get_help(ctx), sys.stdout)

    def make_parser(self, ctx: Any) -> Any:
        """Return the parser of the options, where those that take one value take it once."""
        parser: Any = super().make_parser(ctx)
        for option in {*parser._long_opt.values(), *parser._short_opt.values()}:
            if option.action == "store" and not ctx.resilient_parsing:
                option.process = partial(_once, option, option.process)
        return parser

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each panel, in the order in which the options are declared, own options first."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(record)
        own = panels.get("Options", ())
        titles = (
            sorted(panels, key=lambda title: title != "Options") if len(own) > 1 else panels
        )  # those, then the rest
        for title in titles:
            records = panels[title]
            with formatter.section(title):
                formatter.write_dl(records, col_max=34)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples like the other sections."""
        _write_examples(self.epilog, formatter)


def _once(option: Any, process: Callable[[Any, Any], None], value: Any, state: Any) -> None:
    """Take an option's value, and refuse a second one: which of them would count is not for the tool to guess."""
    if option.dest in state.opts:
        name = max(option.obj.opts, key=len)
        before, again = (shown(str(one), 60) for one in (state.opts[option.dest], value))
        raise InputError(f"{name} is given twice, as {before} and as {again}; give it once")
    process(value, state)


class Group(TyperGroup):
    """A group of commands with its examples written like the other sections."""

    def get_help(self, ctx: Any) -> str:
        """Return the help as standard output can show it."""
        return streams.fitting(super().get_help(ctx), sys.stdout)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples like the other sections."""
        _write_examples(self.epilog, formatter)


class DefaultsToList(Group):
    """A group in which whatever is not a command's name is an argument of `list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` in front unless a command, or help, is asked for."""
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        if not named and not ctx.resilient_parsing:
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Offer what `list` takes beside the commands."""
        return [
            *super().shell_complete(ctx, incomplete),
            *self.commands["list"].params[0].shell_complete(ctx, incomplete),
        ]


def _write_examples(lines: str | None, formatter: Any) -> None:
    if lines:
        with formatter.section("Examples"):
            for line in inspect.cleandoc(lines).split("\n"):
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")  # whole, to be copied


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

app = typer.Typer(
    cls=Group,
    help="A transformer calculator: every shape, parameter, FLOP and byte of a model, and what it takes to run.",
    epilog="""
      tcalc shapes --preset gpt3
      tcalc params llama-3-8b --by layer
      tcalc params --layers 12 --d-model 768 --heads 12 --vocab 50257 --json
      tcalc memory llama-3-70b --device h100-sxm --tp 4 --context 8k
      tcalc cost --preset gpt3
      tcalc serve llama-3-8b --device h100-sxm --context 8k --batch 16
      tcalc compare llama-3-8b mixtral-8x7b
      tcalc walk exercise
      tcalc presets llama""",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help is twice as fast, and brackets need no escaping
    context_settings=_SETTINGS,
)


def _catalogue(name: str, help: str, short_help: str, epilog: str) -> typer.Typer:
    """Make a group of commands of which `list` is meant where none is named."""
    group = typer.Typer(
        cls=DefaultsToList,
        help=help,
        short_help=short_help,
        epilog=epilog,
        invoke_without_command=True,
        rich_markup_mode=None,
        context_settings=_SETTINGS,
    )
    app.add_typer(group, name=name)
    return group


presets_app = _catalogue(
    "presets",
    help="List the presets (tcalc presets [FILTER]), or show one with its sources (tcalc presets show NAME).",
    short_help="List the models that are known by name.",
    epilog="""
      tcalc presets
      tcalc presets llama --json
      tcalc presets show gpt3""",
)
hardware_app = _catalogue(
    "hardware",
    help="List the devices (tcalc hardware [FILTER]), or show one with its sources (tcalc hardware show NAME).",
    short_help="List the devices that are known by name.",
    epilog="""
      tcalc hardware
      tcalc hardware tpu --json
      tcalc hardware show h100""",
)


# --- options that several commands share --------------------------------------------------------------------


def _preset_names(incomplete: str) -> Iterable[str]:
    from .sources import presets

    return [name for name in presets.names() if name.startswith(incomplete)]


def _device_names(incomplete: str) -> Iterable[str]:
    from .sources import hardware

    return [name for name in hardware.names() if name.startswith(incomplete)]


def _option(name: str, panel: str, type_: Any, default: Any, *flags: str, **settings: Any) -> Parameter:
    option = typer.Option(*flags, rich_help_panel=panel, **settings)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[type_, option])


def _text(name: str, metavar: str, help: str, *, flag: str = "", many: bool = False, **settings: Any) -> Parameter:
    type_ = list[str] | None if many else str | None
    flag = flag or _flag(name)
    return _option(name, MODEL, type_, None, flag, metavar=metavar, help=help, **settings)


def _count(name: str, panel: str, help: str, *short: str) -> Parameter:
    # Counts arrive as text: what 3.2M or -1 means is for `units` to say, not for Typer.
    return _option(name, panel, str | None, None, _flag(name), *short, metavar="N", help=help)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


# Fields that have a flag of their own: what they are, the least value, and short flags.
FIELDS: dict[str, tuple[str, int]] = {
    "layers": ("number of layers", 1),
    "d_model": ("width of the residual stream", 1),
    "heads": ("query heads", 1),
    "kv_heads": ("key/value heads (fewer than heads: grouped; 1: multi-query)", 1),
    "d_head": ("width of a head", 1),
    "d_ff": ("width of the feed-forward part", 1),
    "vocab": ("tokens in the vocabulary", 1),
    "max_positions": ("learned positions", 1),
    "experts": ("experts per layer (mixture of experts)", 1),
    "experts_per_token": ("experts that a token goes to", 1),
    "d_expert": ("width of an expert", 1),
    "shared_experts": ("experts that every token goes to", 0),
    "window": ("width of the attention window", 1),
}
WORKLOAD_FIELDS: dict[str, tuple[str, int, *tuple[str, ...]]] = {
    "batch": ("sequences", 1, "-b"),
    "seq": ("tokens in a sequence (encoder-decoder: of the source)", 1, "-s"),
    "target_seq": ("tokens in a target sequence (encoder-decoder)", 1),
    "context": ("tokens that are already in the KV cache", 0),
}
_FORMATS = Literal["table", "json", "csv", "md"]

_MODEL_ARGUMENT = typer.Argument(
    metavar="MODEL",
    help="a preset's name, or a config.json or the folder that holds one",
    autocompletion=_preset_names,
    rich_help_panel=MODEL,
)
_MODEL_OPTIONS = (
    Parameter("model", Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, _MODEL_ARGUMENT]),
    _text("preset", "NAME", "a preset's name (see tcalc presets)", autocompletion=_preset_names),
    _text("config", "PATH", "a Hugging Face config.json or its folder"),
    _text("sets", "PATH=VALUE", "change any field, as in attention.window=4k (repeatable)", flag="--set", many=True),
    _text(
        "ignore",
        "KEY",
        "pass over a key of config.json that is not understood (repeatable)",
        flag="--ignore-key",
        many=True,
    ),
    _option(
        "mtp",
        MODEL,
        bool,
        False,
        "--mtp",
        help="count layers that predict further tokens, too: weights, cache, and a pass of each in every step",
    ),
    *(_count(name, SIZES, help) for name, (help, _) in FIELDS.items()),
    *(_count(name, WORKLOAD, help, *short) for name, (help, _, *short) in WORKLOAD_FIELDS.items()),
)
_MODELS_ARGUMENT = typer.Argument(
    metavar="MODEL...",
    help="presets' names, config.json files or the folders that hold them",
    autocompletion=_preset_names,
    rich_help_panel=MODEL,
)
_OF_ALL_MODELS = ("sets", "ignore", "mtp", *WORKLOAD_FIELDS)
_MODELS_OPTIONS = (  # of a command that takes several models; what changes the size of one is refused
    Parameter("models", Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[list[str] | None, _MODELS_ARGUMENT]),
    _text("preset", "NAME", "a preset's name (repeatable)", many=True, autocompletion=_preset_names),
    _text("config", "PATH", "a Hugging Face config.json or its folder (repeatable)", many=True),
    *(option for option in _MODEL_OPTIONS if option.name in _OF_ALL_MODELS),
    *(_option(name, SIZES, str | None, None, _flag(name), hidden=True) for name in FIELDS),
)
_OUTPUT_OPTIONS = (
    _option("format_", OUTPUT, _FORMATS, "table", "--format", "-f", help="how to print the answer"),
    _option("json", OUTPUT, bool, False, "--json", help="short for --format json"),
)


_COMMANDS: list[tuple[typer.Typer, str, Callable[[], None]]] = []  # those not added yet: where, name, how
_BUILT: dict[str, Any] = {}  # the Click command, and how many were not added yet


# In which help lists them.
_ORDER = ("shapes", "params", "flops", "memory", "fit", "cost", "serve", "compare", "verify", "walk")


def _add_commands(args: list[str]) -> None:
    """Add the command that is asked for alone: building the options of all takes a tenth of the time of an answer."""
    asked = [entry for entry in _COMMANDS if entry[0] is app and args[:1] == [entry[1]]]
    _COMMANDS.sort(key=lambda entry: _ORDER.index(entry[1]) if entry[1] in _ORDER else len(_ORDER))
    added = {command.name for command in app.registered_commands}
    for entry in asked or ([] if args[:1] and args[0] in added else list(_COMMANDS)):
        _COMMANDS.remove(entry)
        entry[2]()


def answering(
    to: typer.Typer,
    *,
    examples: str,
    with_model: bool = True,
    with_models: bool = False,
    name: str | None = None,
    default: str | None = None,
    plan: Callable[..., Any] | None = None,
    own_workload: bool = False,
) -> Callable[[Callable[..., "Report"]], Callable[..., "Report"]]:
    """Make a function that returns a report a command; `with_model` gives it a model and a workload first.

    `with_models`: instead, several models and the sizes of a workload that were given.
    `default`: the preset for a command line that describes no model, where it is not every command's.
    `plan`: a function of further options, whose result is handed over after the workload.
    `own_workload`: in place of the workload only those of its sizes that were given are handed over.
    """

    def register(body: Callable[..., "Report"]) -> Callable[..., "Report"]:
        handed = (2 if with_model or with_models else 0) + (1 if plan else 0)
        own = list(inspect.signature(body).parameters.values())[handed:]
        of_plan = list(inspect.signature(plan).parameters.values()) if plan else []
        choosing = _MODELS_OPTIONS if with_models else _MODEL_OPTIONS if with_model else ()
        shared = (*choosing, *_OUTPUT_OPTIONS)

        def run_command(**given: Any) -> None:
            format = _format(given.pop("format_"), given.pop("json"))
            options = {parameter.name: given[parameter.name] for parameter in own}
            if with_models:
                models = _load_all(given)
                report = body(models, _counts(given, WORKLOAD_FIELDS), **options)
                for model in models:
                    for note in model.notes:
                        streams.say("note", f"{model.spec.name}: {note}")
                for note in _of_checkpoint(report):
                    streams.say("note", note)
            elif with_model:
                sizes = _counts(given, WORKLOAD_FIELDS)
                model = _load(given, default)
                workload = sizes if own_workload else model.workload(**sizes)
                for note in (said := list(model.notes)):
                    streams.say("note", note)
                plans = [plan(**{parameter.name: given[parameter.name] for parameter in of_plan})] if plan else []
                report = body(model, workload, *plans, **options)
                noted: Any = report.model.get("notes", ())
                for note in (*(note for note in noted if note not in said), *_of_checkpoint(report)):
                    streams.say("note", note)
            else:
                report = body(**options)
            _print(report, format)

        def add() -> None:
            # Typer reads the options from the signature: positional arguments, own options, shared ones.
            run_command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
                [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in (*own, *of_plan, *shared)]
            )
            run_command.__annotations__ = {}
            to.command(
                name or body.__name__,
                cls=Command,
                help=inspect.getdoc(body),
                epilog=examples,
                context_settings=_SETTINGS,
            )(run_command)

        _COMMANDS.append((to, name or body.__name__, add))
        return body

    return register


def _of_checkpoint(report: "Report") -> list[str]:
    """What the answer says of a checkpoint that is stored otherwise than it was counted."""
    assumptions = report.data.get("assumptions")
    found = assumptions if isinstance(assumptions, dict) else {}
    return [f"{name}: {text}" for name, text in found.items() if name.startswith("checkpoint")]


def _load(given: Mapping[str, Any], default: str | None = None) -> Any:
    """Load the model that the shared options describe."""
    import transformer_calc

    sources = {"MODEL": given["model"], "--preset": given["preset"], "--config": given["config"]}
    chosen = {option: value for option, value in sources.items() if value is not None}
    for option, value in chosen.items():
        if not value.strip():
            raise InputError(f"{option} is empty, expected the name of a preset or the path of a config.json")
    if len(chosen) > 1:
        listed = " and ".join(f"{option} {value!r}" for option, value in chosen.items())
        raise InputError(f"{listed} are given, expected one of them", "tcalc COMMAND MODEL needs no --preset")
    for setting in given["sets"] or ():
        if not setting.partition("=")[0].strip() or "=" not in setting:
            raise InputError(f"--set is {setting!r}, expected path=value")
    if not all(key.strip() for key in given["ignore"] or ()):
        raise InputError("--ignore-key is empty, expected a key of config.json")

    return transformer_calc.load(
        given["model"],
        preset=given["preset"],
        config=given["config"],
        fields=_counts(given, FIELDS),
        sets=tuple(given["sets"] or ()),
        ignore=tuple(given["ignore"] or ()),
        **({"default": default} if default else {}),
        mtp=bool(given.get("mtp")),
    )


def _load_all(given: Mapping[str, Any]) -> list[Any]:
    """Load the models of a command that takes several, in the order: MODELs, --preset, --config."""
    for name in FIELDS:
        if given[name] is not None:
            message = f"{_flag(name)} changes one model, but compare takes several as they are"
            raise InputError(message, "--set PATH=VALUE changes all of them; a config.json describes a changed one")
    one = dict.fromkeys(("model", "preset", "config")) | {key: given[key] for key in ("sets", "ignore", "mtp", *FIELDS)}
    chosen = [("model", name) for name in given["models"] or ()]
    chosen += [(option, name) for option in ("preset", "config") for name in given[option] or ()]
    loaded = []
    for option, name in chosen:
        try:
            model = _load({**one, option: name, "mtp": False})
            loaded.append(_load({**one, option: name}) if one["mtp"] and model.further else model)
        except InputError as error:
            if name in error.message:
                raise
            raise InputError(f"{name}: {error.message}", error.hint) from None
    if given["mtp"] and loaded and not any(model.further for model in loaded):
        raise InputError("--mtp is given, but no layers that predict further tokens are known of these models")
    return loaded


def _counts(given: Mapping[str, Any], fields: Mapping[str, tuple[str, int, *tuple[str, ...]]]) -> dict[str, int]:
    """Read the counts that were given, each with the least value that its field can have."""
    return {
        name: units.parse_count(given[name], field=_flag(name), minimum=least)
        for name, (_, least, *_) in fields.items()
        if given[name] is not None
    }


def _format(format: "Format", json: bool) -> "Format":
    if json and format not in ("table", "json"):
        raise InputError(f"--json and --format {format} are given, expected one of them")
    return "json" if json else format


def _print(report: "Report", format: "Format") -> None:
    from .output import render

    try:
        render(report, format, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        raise typer.Exit(READER_LEFT) from None
    if not report.ok:
        raise typer.Exit(1)


# --- commands -----------------------------------------------------------------------------------------------


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tcalc {__version__}")
        raise typer.Exit


@app.callback()
def _tcalc(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit"),
    ] = False,
) -> None:
    pass


@answering(
    app,
    own_workload=True,
    examples="""
      tcalc shapes --preset gpt3
      tcalc shapes llama-3-8b --batch 8 --seq 8k
      tcalc shapes --config ./config.json --layer 0 --json""",
)
def shapes(
    model: Any,
    sizes: Any,
    expand: Annotated[bool, typer.Option("--expand", help="show every layer of a repeated block")] = False,
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="KIND|N", help="only this kind of layer, or the layer with this number"),
    ] = None,
) -> "Report":
    """Show the shapes on the way from token ids to logits."""
    from .report.shapes import build

    return build(model.shapes(**sizes, expand=expand, layer=layer))


@answering(
    app,
    own_workload=True,
    examples="""
      tcalc params gpt3
      tcalc params --preset mixtral-8x7b --by layer
      tcalc params --layers 12 --d-model 768 --heads 12 --vocab 50257 --format md""",
)
def params(
    model: Any,
    sizes: Any,
    by: Annotated[
        Literal["layer", "component", "tensor"], typer.Option("--by", help="what a line of the table is")
    ] = "component",
    notation: Annotated[
        Literal["unicode", "ascii", "latex"], typer.Option("--notation", help="how formulas are written")
    ] = "unicode",
) -> "Report":
    """Count the parameters, and give their formula."""
    from .report.params import build

    return build(model.params(**sizes, by=by), notation=notation)


@answering(
    app,
    own_workload=True,
    examples="""
      tcalc flops gpt3
      tcalc flops llama-3-8b --batch 8 --seq 8k --recompute selective
      tcalc flops deepseek-v3 --context 8k --latent absorbed --needed --json""",
)
def flops(
    model: Any,
    sizes: Any,
    needed: Annotated[bool, typer.Option("--needed", help="count only what the mask lets through")] = False,
    recompute: Annotated[
        Literal["none", "selective", "full"],
        typer.Option("--recompute", help="what the backward pass computes again"),
    ] = "none",
    latent: Annotated[
        Literal["naive", "absorbed"], typer.Option("--latent", help="the form of latent attention")
    ] = "naive",
    compare: Annotated[bool, typer.Option("--compare", help="hold 2·N and 6·N per token against the count")] = False,
    notation: Annotated[
        Literal["unicode", "ascii", "latex"], typer.Option("--notation", help="how formulas are written")
    ] = "unicode",
) -> "Report":
    """Count the FLOPs of a forward pass and a training step."""
    from .report.flops import build

    answer = model.flops(**sizes, needed=needed, recompute=recompute, latent=latent)
    return build(answer, compare=compare, notation=notation)


@answering(
    app,
    with_model=False,
    with_models=True,
    examples="""
      tcalc compare gpt3 llama-3-8b
      tcalc compare llama-3-70b deepseek-v3 mixtral-8x7b --context 32k --diff
      tcalc compare llama-3-8b mistral-7b-v0.1 --device h100 --batch 16
      tcalc compare gpt3 llama-3-70b --device h100 --devices 8 --tokens 1T --mfu 40% --price 2.5
      tcalc compare gpt2 ./config.json --batch 8 --seq 512 --format csv""",
)
def compare(
    models: Any,
    workload: Any,
    diff: Annotated[bool, typer.Option("--diff", help="only the rows that differ")] = False,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME",
            help="and what serving and training on it take (see tcalc hardware)",
            autocompletion=_device_names,
        ),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option("--devices", metavar="N", help="how many; else one to serve, and the published run's to train"),
    ] = None,
    price: Annotated[
        str | None,
        typer.Option("--price", metavar="USD", help="dollars of an hour of a device, if not the device's own"),
    ] = None,
    tokens: Annotated[
        str | None, typer.Option("--tokens", metavar="N", help="that each is trained on; else the published run's")
    ] = None,
    mfu: Annotated[
        str | None,
        typer.Option("--mfu", metavar="PART", help="of training: 0.4; else a step is predicted where all is known"),
    ] = None,
) -> "Report":
    """Hold models side by side, with what differs marked."""
    from .report.compare import Terms, build
    from .report.memory import plan
    from .sources import hardware

    terms = Terms(
        device=None if device is None else hardware.load(device),
        devices=_given(devices, units.parse_count, "--devices"),
        plan=_spread(plan({}), devices),
        price=_given(price, units.parse_amount, "--price", inclusive=True),
        tokens=_given(tokens, units.parse_count, "--tokens"),
        mfu=_given(mfu, units.parse_share, "--mfu"),
    )
    return build(models, workload, diff=diff, terms=terms)


@answering(
    app,
    own_workload=True,
    examples="""
      tcalc verify deepseek-v3
      tcalc verify gpt2 --size full --seq 128
      tcalc verify --config ./config.json --weights model.safetensors --reference reference.npz""",
)
def verify(
    model: Any,
    workload: Any,
    size: Annotated[
        Literal["small", "full"], typer.Option("--size", help="a tiny model of the same structure, or the model itself")
    ] = "small",
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="of the random weights and inputs")] = 0,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="PATH", help="a safetensors file, index or folder to hold against the graph"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="PATH", help="an .npz file of inputs and logits to compare with"),
    ] = None,
    rtol: Annotated[float, typer.Option("--rtol", metavar="X", help="relative tolerance of the comparison")] = 1e-4,
    atol: Annotated[float, typer.Option("--atol", metavar="X", help="absolute tolerance of the comparison")] = 1e-5,
) -> "Report":
    """Run the model in NumPy and compare it with what was predicted."""
    from .output.progress import progress
    from .report.verify import build

    with progress("running") as update:
        return build(
            model,
            workload,
            size=size,
            seed=seed,
            weights=weights,
            reference=reference,
            rtol=rtol,
            atol=atol,
            progress=update,
            say=lambda message: streams.say("note", message),
        )


@answering(
    app,
    default="walk",
    examples="""
      tcalc walk
      tcalc walk exercise
      tcalc walk --until layers.0.attn --seed 7
      tcalc walk exercise --input my.toml --step layers.0.ffn
      tcalc walk llama-3-8b --shrink --step layers.0.attn.softmax""",
)
def walk(
    model: Any,
    workload: Any,
    step: Annotated[
        str | None, typer.Option("--step", metavar="PATH", help="only this operation, or those whose paths begin so")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="PATH", help="stop after this operation")] = None,
    input: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="x, token_ids, A and weights by their paths (.toml, .json, .npz), or weights (.safetensors)",
        ),
    ] = None,
    weights: Annotated[
        Literal["integers", "random"], typer.Option("--weights", help="the numbers of what is not given")
    ] = "integers",
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="of the numbers that are not given")] = 0,
    decimals: Annotated[
        int, typer.Option("--decimals", metavar="N", min=0, max=15, help="at most so many are shown")
    ] = 3,
    whole: Annotated[bool, typer.Option("--all", help="whole matrices, and every sequence of the batch")] = False,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="walk a tiny model of the same structure, with weights of its own")
    ] = False,
) -> "Report":
    """Show the forward pass by hand, matrix by matrix."""
    from .report.walk import build

    return build(
        model,
        workload,
        step=step,
        until=until,
        input=input,
        weights=weights,
        seed=seed,
        decimals=decimals,
        whole=whole,
        shrink=shrink,
    )


def _plan(
    mode: Annotated[Literal["train", "infer"], typer.Option("--mode", help="to serve, or to train")] = "infer",
    attention: Annotated[
        Literal["flash", "eager"], typer.Option("--attention", help="flash keeps no score matrix")
    ] = "flash",
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="TYPE",
            help="how weights are stored: bf16, fp8, int8, int4, nf4, q4_k …" + OF_FROZEN,
        ),
    ] = "bf16",
    dp: Annotated[
        str,
        typer.Option("--dp", metavar="N", help="copies of the model, which share the batch", rich_help_panel=PARALLEL),
    ] = "1",
    tp: Annotated[
        str, typer.Option("--tp", metavar="N", help="devices that share each matrix", rich_help_panel=PARALLEL)
    ] = "1",
    pp: Annotated[str, typer.Option("--pp", metavar="N", help="stages of layers", rich_help_panel=PARALLEL)] = "1",
    cp: Annotated[
        str, typer.Option("--cp", metavar="N", help="devices that share each sequence", rich_help_panel=PARALLEL)
    ] = "1",
    ep: Annotated[
        str, typer.Option("--ep", metavar="N", help="devices that share the experts", rich_help_panel=PARALLEL)
    ] = "1",
    sp: Annotated[
        bool,
        typer.Option(
            "--sp/--no-sp",
            help="in training, norms and dropouts split the sequence over --tp",
            rich_help_panel=PARALLEL,
        ),
    ] = False,
    kv_dtype: Annotated[
        str,
        typer.Option(
            "--kv-dtype", metavar="TYPE", help="how the cache is stored: bf16, fp8, int8 …", rich_help_panel=SERVING
        ),
    ] = "bf16",
    kv_split: Annotated[
        Literal["heads", "batch"],
        typer.Option(
            "--kv-split",
            help="what ranks beyond the key/value heads do: hold copies, or split the batch",
            rich_help_panel=SERVING,
        ),
    ] = "heads",
    block_size: Annotated[
        str, typer.Option("--block-size", metavar="N", help="tokens of a page of the cache", rich_help_panel=SERVING)
    ] = "1",
    logits: Annotated[
        Literal["last", "all"],
        typer.Option("--logits", help="computed of the last position, or of all", rich_help_panel=SERVING),
    ] = "last",
    precision: Annotated[
        str,
        typer.Option(
            "--precision", metavar="RECIPE", help="fp32, bf16-mixed, fp16-mixed, bf16, fp8 …", rich_help_panel=TRAINING
        ),
    ] = "bf16-mixed",
    optimizer: Annotated[
        str,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            help="adamw, adam8bit, sgd, lion, muon, adafactor …",
            rich_help_panel=TRAINING,
        ),
    ] = "adamw",
    zero: Annotated[
        int,
        typer.Option(
            "--zero",
            metavar="0..3",
            help="what the data-parallel ranks share (ZeRO, FSDP: 3)",
            rich_help_panel=TRAINING,
        ),
    ] = 0,
    micro_batch: Annotated[
        str | None,
        typer.Option("--micro-batch", metavar="N", help="sequences of one pass of a device", rich_help_panel=TRAINING),
    ] = None,
    schedule: Annotated[
        Literal["1f1b", "gpipe", "interleaved"],
        typer.Option("--schedule", help="order of the pipeline's micro-batches", rich_help_panel=TRAINING),
    ] = "1f1b",
    virtual: Annotated[
        str,
        typer.Option(
            "--virtual", metavar="N", help="groups of layers of a stage, if interleaved", rich_help_panel=TRAINING
        ),
    ] = "1",
    recompute: Annotated[
        Literal["none", "selective", "full"],
        typer.Option("--recompute", help="which activations are computed again", rich_help_panel=TRAINING),
    ] = "none",
    recompute_every: Annotated[
        str,
        typer.Option(
            "--recompute-every",
            metavar="N",
            help="the input of every n-th layer is kept, if full",
            rich_help_panel=TRAINING,
        ),
    ] = "1",
    kernels: Annotated[
        Literal["fused", "eager"],
        typer.Option(
            "--kernels", help="norms, activations and dropout: fused ones keep less", rich_help_panel=TRAINING
        ),
    ] = "fused",
    outputs: Annotated[
        Literal["held", "released"],
        typer.Option(
            "--outputs",
            help="whether the loop has the model's output, its logits, through the backward pass",
            rich_help_panel=TRAINING,
        ),
    ] = "held",
    bucket_size: Annotated[
        str,
        typer.Option(
            "--bucket-size",
            metavar="N",
            help="gradients reduced at a time, with --zero 1 or 2",
            rich_help_panel=BUFFERS,
        ),
    ] = "500M",
    prefetch: Annotated[
        str,
        typer.Option("--prefetch", metavar="N", help="layers gathered ahead, with --zero 3", rich_help_panel=BUFFERS),
    ] = "1",
    ddp_buckets: Annotated[
        Literal["views", "copies"],
        typer.Option(
            "--ddp-buckets", help="whether gradients are copied to be reduced, with --zero 0", rich_help_panel=BUFFERS
        ),
    ] = "views",
    buffer: Annotated[
        list[str] | None,
        typer.Option(
            "--buffer",
            metavar="NAME=BYTES",
            help="the size of a buffer, where it is another (repeatable)",
            rich_help_panel=BUFFERS,
        ),
    ] = None,
    lora_rank: Annotated[
        str | None,
        typer.Option(
            "--lora-rank", metavar="N", help="adapters of this rank, on frozen --weights", rich_help_panel=TUNING
        ),
    ] = None,
    lora_targets: Annotated[
        str | None,
        typer.Option(
            "--lora-targets",
            metavar="NAMES",
            help="matrices with adapters: q,k,v,o,gate,up,down; all",
            rich_help_panel=TUNING,
        ),
    ] = None,
    lora_dropout: Annotated[
        float,
        typer.Option(
            "--lora-dropout", metavar="P", help="dropout of what goes into the adapters", rich_help_panel=TUNING
        ),
    ] = 0.0,
    freeze: Annotated[
        str,
        typer.Option(
            "--freeze", metavar="PARTS", help="what does not learn: embedding,0-11,attn,head …", rich_help_panel=TUNING
        ),
    ] = "",
) -> Any:
    """How a model is served or trained: the options that `memory` and `fit` share."""
    from .report.memory import plan, training

    serving = {"kv_dtype": kv_dtype, "kv_split": kv_split, "logits": logits, "block_size": block_size}
    learning = {"optimizer": optimizer, "zero": zero, "sp": sp, "micro_batch": micro_batch, "schedule": schedule}
    learning |= {"virtual": virtual, "recompute": recompute, "recompute_every": recompute_every, "kernels": kernels}
    learning |= {"bucket_size": bucket_size, "prefetch": prefetch, "ddp_buckets": ddp_buckets, "buffer": buffer}
    learning |= {"outputs": outputs}
    _check_mode(mode, learning if mode == "infer" else serving)
    if mode == "infer" and precision not in ("bf16", "bf16-mixed"):
        raise InputError(f"--precision is {precision!r}, but --mode is infer: it is of training", "--weights TYPE")
    counts = {"dp": dp, "tp": tp, "pp": pp, "cp": cp, "ep": ep, "block-size": block_size, "virtual": virtual}
    counts |= {"recompute-every": recompute_every}
    sizes = {name: units.parse_count(value, field=f"--{name}") for name, value in counts.items()}
    ways: dict[str, Any] = {name: sizes[name] for name in ("dp", "tp", "pp", "cp", "ep")}
    if mode == "infer":
        if lora_rank is not None or lora_targets is not None:
            raise InputError("--lora-rank and --lora-targets are of training", "--mode train")
        if freeze or lora_dropout:
            raise InputError(f"--{'freeze' if freeze else 'lora-dropout'} is of training", "--mode train")
        how = {"weights": weights, "kv_dtype": kv_dtype, "attention": attention, "logits": logits}
        how["kv_split"] = kv_split
        return plan(ways, block_size=sizes["block-size"], **how)
    if lora_rank is None and weights != "bf16":
        raise InputError("--weights says how frozen weights are stored; in training there are none", "--lora-rank N")
    return training(
        {**ways, "sp": sp},
        precision=precision,
        optimizer=optimizer,
        zero=zero,
        bucket_size=units.parse_count(bucket_size, field="--bucket-size", minimum=0),
        prefetch=units.parse_count(prefetch, field="--prefetch", minimum=0),
        ddp_buckets=ddp_buckets,
        buffers=_buffer_sizes(buffer or ()),
        micro_batch=None if micro_batch is None else units.parse_count(micro_batch, field="--micro-batch"),
        schedule=schedule,
        virtual=sizes["virtual"],
        recompute=recompute,
        recompute_every=sizes["recompute-every"],
        attention=attention,
        kernels=kernels,
        outputs=outputs,
        lora_rank=None if lora_rank is None else units.parse_count(lora_rank, field="--lora-rank"),
        lora_targets=lora_targets,
        lora_dropout=lora_dropout,
        freeze=freeze,
        weights=weights,
    )


def _buffer_sizes(given: Iterable[str]) -> dict[str, int]:
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


_DEVICE = typer.Option(
    "--device",
    metavar="NAME",
    help="a device (see tcalc hardware)",
    autocompletion=_device_names,
    rich_help_panel=DEVICE,
)
_DEVICE_SET = typer.Option(
    "--device-set",
    metavar="KEY=VALUE",
    help="a figure of the device, as in bandwidth=4e12 or peaks.bf16=500T (repeatable)",
    rich_help_panel=DEVICE,
)


def _check_mode(mode: str, other: Mapping[str, Any]) -> None:
    """Refuse options that say nothing in this mode: what was meant would not be what is answered."""
    usual = inspect.signature(_plan).parameters
    for name, value in other.items():
        if value not in (None, usual[name].default):
            what = f"{_flag(name)} is {'given' if value is True else value}"
            raise InputError(f"{what}, but --mode is {mode}: it is of {'training' if mode == 'infer' else 'serving'}")


_OVERHEAD = typer.Option(
    "--overhead", metavar="BYTES", help="of framework and allocator on each device", rich_help_panel=DEVICE
)


@answering(
    app,
    plan=_plan,
    examples="""
      tcalc memory llama-3-70b --device h100-sxm --tp 8 --batch 16 --context 8k
      tcalc memory deepseek-v3 --weights fp8 --ep 16 --dp 16 --batch 16 --context 32k
      tcalc memory llama-3-8b --weights int4 --device rtx-4090 --context 32k --check
      tcalc memory gpt3 --mode train --tp 8 --sp --pp 8 --batch 64 --micro-batch 1 --recompute selective""",
)
def memory(
    model: Any,
    workload: Any,
    plan: Any,
    device: Annotated[str | None, _DEVICE] = None,
    device_set: Annotated[list[str] | None, _DEVICE_SET] = None,
    check: Annotated[bool, typer.Option("--check", help="exit with status 1 if it does not fit")] = False,
    overhead: Annotated[str, _OVERHEAD] = "0",
    formula: Annotated[bool, typer.Option("--formula", help="each part as a formula, too")] = False,
) -> "Report":
    """Say what serving or training needs on each device."""
    from .report.memory import build
    from .sources import hardware

    known = hardware.load(device, device_set or ()) if device is not None or device_set else None
    if check and known is None:
        raise InputError("--check asks whether it fits, but no device is given", "--device NAME")
    return build(
        model,
        workload,
        plan,
        overhead=units.parse_count(overhead, field="--overhead", minimum=0),
        device=known,
        fit=check,
        formula=formula,
    )


def _fit_plan(**given: Any) -> tuple[Any, frozenset[str]]:
    """The same options, and which ways of the mesh are given: those stay where the others are looked for."""
    stay = frozenset(name for name in FOUND if given[name] is not None)
    return _plan(**given | {name: given[name] or "1" for name in FOUND}), stay


FOUND = ("tp", "pp", "dp")  # what --solve devices looks for
_fit_plan.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        option.replace(default=None, annotation=Annotated[str | None, *option.annotation.__metadata__])
        if option.name in FOUND
        else option
        for option in inspect.signature(_plan).parameters.values()
    ]
)


@answering(
    app,
    plan=_fit_plan,
    own_workload=True,
    examples="""
      tcalc fit llama-3-8b --device h100-sxm --context 8k
      tcalc fit llama-3-8b --device h100-sxm --context 8k --batch 16
      tcalc fit llama-3-70b --device h100-sxm --tp 4 --solve context
      tcalc fit deepseek-v3 --device h200-sxm --weights fp8 --solve devices --context 4k
      tcalc fit llama-3-8b --mode train --dp 8 --zero 3 --recompute full --seq 8k --device h100-sxm""",
)
def fit(
    model: Any,
    sizes: Any,
    plan: Any,
    device: Annotated[str | None, _DEVICE] = None,
    device_set: Annotated[list[str] | None, _DEVICE_SET] = None,
    solve: Annotated[
        Literal["batch", "context", "devices"] | None,
        typer.Option(
            "--solve",
            help="what to look for, the most or the fewest; else whichever of --batch and the length is not given, "
            "and of both whether they fit",
        ),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices", metavar="N", help="short for --tp N, or for copies beside a given --tp", rich_help_panel=DEVICE
        ),
    ] = None,
    overhead: Annotated[str, _OVERHEAD] = "0",
) -> "Report":
    """Find the largest batch or context, or the fewest devices."""
    from .report.fit import build

    plan, given = plan
    if devices is not None and solve == "devices":
        raise InputError(f"--devices is {devices}, but --solve devices is to find how many; give one of them")
    most = units.parse_count(overhead, field="--overhead", minimum=0)
    with _spreading(plan, devices) as plan:
        return build(model, sizes, plan, device=_device(device, device_set), solve=solve, overhead=most, given=given)


HOW = "How it is trained or served (what is not given is chosen for the devices)"


def _or_none(name: str, annotation: Any) -> Any:
    """The annotation of an option of `_plan` where it need not be given."""
    option = copy(annotation.__metadata__[0])
    option.rich_help_panel = option.rich_help_panel or HOW
    option.help = "what the cost is of" if name == "mode" else option.help
    return Annotated[annotation.__origin__ | None, option]


def _run_plan(**given: Any) -> tuple[Any, frozenset[str]]:
    """The same options for a run, of which it matters which were given: the others are chosen for the devices."""
    chosen = {name: value for name, value in given.items() if value is not None}
    usual = {name: option.default for name, option in inspect.signature(_plan).parameters.items()}
    # The precision that is usual depends on the device: without one it stays open.
    of_run = {"mode": "train", **({} if "precision" in chosen or chosen.get("mode") == "infer" else {"precision": ""})}
    return _plan(**{**usual, **of_run, **chosen}), frozenset(chosen)


_run_plan.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        option.replace(default=None, annotation=_or_none(option.name, option.annotation))
        for option in inspect.signature(_plan).parameters.values()
    ]
)

RUN = "Run"
RATE = "Learning rate"
TIME = "Time (one of them: what is assumed or was observed; the others follow)"
MONEY = "Money, energy, carbon"


@answering(
    app,
    plan=_run_plan,
    own_workload=True,
    examples="""
      tcalc cost --preset gpt3 --mfu 0.3
      tcalc cost llama-3-70b --device h100 --devices 2048 --mfu 40% --tokens 15T --price 2.5
      tcalc cost llama-2-70b --device-hours 1720320 --carbon 385 --json
      tcalc cost gpt3 --device a100 --devices 1024 --recompute full --tflops 140
      tcalc cost llama-3-8b --lora-rank 16 --tokens 100M --batch 64 --device h100 --devices 8 --mfu 0.35""",
)
def cost(
    model: Any,
    sizes: Any,
    plan: Any,
    tokens: Annotated[
        str | None, typer.Option("--tokens", metavar="N", help="that the whole run sees", rich_help_panel=RUN)
    ] = None,
    batch_tokens: Annotated[
        str | None,
        typer.Option("--batch-tokens", metavar="N", help="tokens of a step, in place of --batch", rich_help_panel=RUN),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME",
            help="a device (see tcalc hardware); else the published run's",
            autocompletion=_device_names,
            rich_help_panel=DEVICE,
        ),
    ] = None,
    device_set: Annotated[list[str] | None, _DEVICE_SET] = None,
    devices: Annotated[
        str | None,
        typer.Option("--devices", metavar="N", help="how many; else the published run's", rich_help_panel=DEVICE),
    ] = None,
    needed: Annotated[
        bool, typer.Option("--needed", help="count of score matrices what the mask lets through", rich_help_panel=RUN)
    ] = False,
    serve_tokens: Annotated[
        str | None,
        typer.Option("--serve-tokens", metavar="N", help="what serving so many tokens costs, too", rich_help_panel=RUN),
    ] = None,
    lr: Annotated[
        str | None, typer.Option("--lr", metavar="RATE", help="the learning rate at its peak", rich_help_panel=RATE)
    ] = None,
    lr_schedule: Annotated[
        Literal["constant", "linear", "cosine", "wsd", "inverse-sqrt"] | None,
        typer.Option("--lr-schedule", help="how the learning rate changes", rich_help_panel=RATE),
    ] = None,
    min_lr: Annotated[
        str | None, typer.Option("--min-lr", metavar="RATE", help="what it falls to", rich_help_panel=RATE)
    ] = None,
    warmup: Annotated[
        str | None,
        typer.Option(
            "--warmup", metavar="SPAN", help="it rises for so long: 375M tokens, or 2000steps", rich_help_panel=RATE
        ),
    ] = None,
    decay: Annotated[
        str | None,
        typer.Option(
            "--decay", metavar="SPAN", help="it has fallen after so long (wsd: in so long)", rich_help_panel=RATE
        ),
    ] = None,
    mfu: Annotated[
        str | None, typer.Option("--mfu", metavar="PART", help="model FLOPs, of the peak: 0.4", rich_help_panel=TIME)
    ] = None,
    hfu: Annotated[
        str | None, typer.Option("--hfu", metavar="PART", help="the same with recomputed ones", rich_help_panel=TIME)
    ] = None,
    tflops: Annotated[
        str | None,
        typer.Option("--tflops", metavar="X", help="TFLOP/s of a device, with recomputed ones", rich_help_panel=TIME),
    ] = None,
    step_seconds: Annotated[
        str | None, typer.Option("--step-seconds", metavar="S", help="of the full batch", rich_help_panel=TIME)
    ] = None,
    tokens_per_second: Annotated[
        str | None, typer.Option("--tokens-per-second", metavar="N", help="of all devices", rich_help_panel=TIME)
    ] = None,
    device_hours: Annotated[
        str | None, typer.Option("--device-hours", metavar="H", help="of the whole run", rich_help_panel=TIME)
    ] = None,
    days: Annotated[
        str | None, typer.Option("--days", metavar="DAYS", help="of the whole run", rich_help_panel=TIME)
    ] = None,
    price: Annotated[
        str | None, typer.Option("--price", metavar="USD", help="dollars of an hour of a device", rich_help_panel=MONEY)
    ] = None,
    amortize: Annotated[
        str | None,
        typer.Option(
            "--amortize",
            metavar="YEARS",
            help="over which a device with a price to buy is paid off (4)",
            rich_help_panel=MONEY,
        ),
    ] = None,
    power: Annotated[
        str | None, typer.Option("--power", metavar="W", help="watts of a device, on average", rich_help_panel=MONEY)
    ] = None,
    pue: Annotated[
        str | None,
        typer.Option(
            "--pue",
            metavar="X",
            help="power of the whole data centre, as a multiple of the devices'",
            rich_help_panel=MONEY,
        ),
    ] = None,
    carbon: Annotated[
        str | None,
        typer.Option(
            "--carbon",
            metavar="G",
            help="g CO₂e for a kWh (up to 1.5: kg), or a place: USA, FRA …",
            rich_help_panel=MONEY,
        ),
    ] = None,
) -> "Report":
    """Say what training costs: days, dollars, energy, carbon."""
    from .report.cost import build

    plan, given = plan
    paces = {"step_seconds": step_seconds, "tokens_per_second": tokens_per_second, "tflops": tflops}
    paces |= {"device_hours": device_hours, "days": days}
    terms = {
        **{name: _given(text, units.parse_amount, _flag(name)) for name, text in paces.items()},
        "price": _given(price, units.parse_amount, "--price", inclusive=True),
        "amortize": _given(amortize, units.parse_amount, "--amortize", minimum=0.01, maximum=100, inclusive=True),
        "power": _given(power, units.parse_amount, "--power"),
        **{name: _given(text, units.parse_share, f"--{name}") for name, text in (("mfu", mfu), ("hfu", hfu))},
        "pue": _given(pue, units.parse_amount, "--pue", minimum=1, maximum=10, inclusive=True),
        "carbon": _carbon(carbon),
        "learning_rate": _given(lr, units.parse_amount, "--lr", maximum=100),
        "min_learning_rate": _given(min_lr, units.parse_amount, "--min-lr", maximum=100, inclusive=True),
    }
    counts = {"tokens": tokens, "batch_tokens": batch_tokens, "devices": devices, "serve_tokens": serve_tokens}
    return build(
        model,
        sizes,
        plan,
        given,
        device=_device(device or model.run.hardware or None, device_set) if device_set else device,
        needed=needed,
        schedule=lr_schedule,
        warmup=_span(warmup, "--warmup"),
        decay=_span(decay, "--decay"),
        **{name: _given(text, units.parse_count, _flag(name)) for name, text in counts.items()},
        **terms,
    )


def _given(text: str | None, parse: Callable[..., Any], field: str, **limits: Any) -> Any:
    """Read an option that need not be given."""
    return None if text is None else parse(text, field=field, **limits)


def _carbon(text: str | None) -> str | float | None:
    """Read g CO₂e for a kWh. No grid has 1.5 g or 1,500: up to that a number is meant in kg."""
    if text is None or not text.strip().lstrip("+-.")[:1].isdigit():
        return text
    grams = units.parse_amount(text, field="--carbon", maximum=2000, inclusive=True)
    return grams * 1000 if grams <= 1.5 else grams


def _span(text: str | None, field: str) -> tuple[int, str] | None:
    """Read a stretch of a run: tokens, or steps where it says so."""
    if text is None:
        return None
    stripped = text.strip().lower()
    for word in ("steps", "step", "tokens"):
        if stripped.endswith(word):
            unit = "tokens" if word == "tokens" else "steps"
            return units.parse_count(stripped.removesuffix(word), field=field), unit
    return units.parse_count(stripped, field=field), "tokens"


def _to_serve(**given: Any) -> Any:
    """The same options for serving alone, whose help leaves out those of training."""
    return _plan(**given)


def _hidden_in_serving(option: Parameter) -> Parameter:
    told = copy(option.annotation.__metadata__[0])
    told.help = told.help.removesuffix(OF_FROZEN)
    told.hidden = option.name in ("mode", "sp") or told.rich_help_panel in (TRAINING, BUFFERS, TUNING)
    return option.replace(annotation=Annotated[option.annotation.__origin__, told])


_to_serve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [_hidden_in_serving(option) for option in inspect.signature(_plan).parameters.values()]
)


@answering(
    app,
    plan=_to_serve,
    own_workload=True,
    examples="""
      tcalc serve llama-3-8b --device h100-sxm --seq 2k --batch 16
      tcalc serve llama-3-70b --device h100-sxm --tp 4 --weights fp8 --context 8k --batch 64
      tcalc serve deepseek-v3 --device h200-sxm --tp 8 --weights fp8 --context 4k --price 3.5 --json
      tcalc serve llama-2-13b --device tpu-v5e --tp 8 --context 8k --batch 16 --ideal""",
)
def serve(
    model: Any,
    sizes: Any,
    plan: Any,
    device: Annotated[str | None, _DEVICE] = None,
    device_set: Annotated[list[str] | None, _DEVICE_SET] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices", metavar="N", help="short for --tp N, or for copies beside a given --tp", rich_help_panel=DEVICE
        ),
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(
            "--price",
            metavar="USD",
            help="dollars of an hour of a device, if not the device's own",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    amortize: Annotated[
        str | None,
        typer.Option(
            "--amortize",
            metavar="YEARS",
            help="over which a device with a price to buy is paid off (4)",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="N", help="tokens of an answer: how long it takes whole")
    ] = None,
    compute: Annotated[
        str | None, typer.Option("--compute", metavar="TYPE", help="the precision of the matmuls: bf16, fp8, int8 …")
    ] = None,
    ideal: Annotated[bool, typer.Option("--ideal", help="the roofline itself: peaks without any loss")] = False,
    overhead: Annotated[str, _OVERHEAD] = "0",
) -> "Report":
    """Say how fast a model answers, and what its tokens cost."""
    from .report.serve import build

    with _spreading(plan, devices) as plan:
        return build(
            model,
            model.unremarked(**sizes),  # prompt and context are not one sequence here
            plan,
            device=_device(device, device_set),
            price=_given(price, units.parse_amount, "--price", inclusive=True),
            amortize=_given(amortize, units.parse_amount, "--amortize", minimum=0.01, maximum=100, inclusive=True),
            output=None if output is None else units.parse_count(output, field="--output"),
            compute=compute,
            ideal=ideal,
            overhead=units.parse_count(overhead, field="--overhead", minimum=0),
        )


def _device(name: str | None, sets: list[str] | None) -> Any:
    """The device that is named, with the figures that are set."""
    from .sources import hardware

    if name is None and not sets:
        raise InputError("--device is missing, expected the name of a device", "tcalc hardware lists them")
    return hardware.load(name, sets or ())


def _spread(plan: Any, devices: str | None) -> Any:
    """A plan on so many devices: they share each matrix, or where that is given, hold copies."""
    if devices is None:
        return plan
    count, mesh = units.parse_count(devices, field="--devices"), plan.mesh
    if mesh.devices == 1:
        return plan._replace(mesh=mesh._replace(tp=count))
    if mesh.devices == count:
        return plan
    if mesh.dp > 1 or count % mesh.devices:
        raise InputError(
            f"--devices is {count:,}, but --dp, --tp, --pp and --cp make {mesh.devices:,}; give one of them"
        )
    return plan._replace(mesh=mesh._replace(dp=count // mesh.devices))


@contextmanager
def _spreading(plan: Any, devices: str | None) -> Iterator[Any]:
    """A plan on so many devices; what is refused of a way that --devices made is said of --devices."""
    spread = _spread(plan, devices)
    try:
        yield spread
    except InputError as error:
        for way, hint in (
            ("tp", "--tp N beside it: the other devices hold copies"),
            ("dp", "--batch N, a multiple of it"),
        ):
            made = getattr(spread.mesh, way)
            if made != getattr(plan.mesh, way) and (said := error.message).startswith(f"--{way} is {made};"):
                said = said.replace(f"--{way} is {made}", f"--devices is {devices}, short for --{way} {made} here", 1)
                raise InputError(said, error.hint or hint) from error
        raise


@answering(presets_app, with_model=False, name="list", examples="tcalc presets list llama")
def list_presets(
    filter: Annotated[
        str | None,
        typer.Argument(metavar="FILTER", help="part of a name or family", autocompletion=_preset_names),
    ] = None,
) -> "Report":
    """List the presets, all of them or those that match the filter."""
    from .report.presets import build

    return build(filter)


@answering(presets_app, with_model=False, name="show", examples="tcalc presets show gpt3 --json")
def show_preset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the preset's name", autocompletion=_preset_names)],
) -> "Report":
    """Show one preset whole, with the sources of its figures."""
    from .report.presets import show

    return show(name)


@answering(hardware_app, with_model=False, name="list", examples="tcalc hardware list nvidia")
def list_hardware(
    filter: Annotated[
        str | None,
        typer.Argument(metavar="FILTER", help="part of a name, vendor or kind", autocompletion=_device_names),
    ] = None,
) -> "Report":
    """List the devices, all of them or those that match the filter."""
    from .report.hardware import build

    return build(filter)


@answering(hardware_app, with_model=False, name="show", examples="tcalc hardware show a100-80gb --json")
def show_hardware(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="the device's name, or a file's", autocompletion=_device_names)
    ],
) -> "Report":
    """Show one device whole, with the sources of its figures."""
    from .report.hardware import show

    return show(name)


# --- running ------------------------------------------------------------------------------------------------


def command() -> Any:
    """The Click command, with all subcommands loaded: what is declared can be looked through."""
    _add_commands([])
    return _built()


def _built() -> Any:
    """The Click command of those that are added, built once: a process may answer many command lines."""
    if _BUILT.get("left") != len(_COMMANDS):
        _BUILT.update(left=len(_COMMANDS), command=typer.main.get_command(app))
    return _BUILT["command"]


def run(args: list[str] | None = None) -> int:
    """Run a command line and return the exit status; what is wrong with the input becomes a message."""
    with streams.speaking():
        try:
            return _answer(sys.argv[1:] if args is None else args)
        except KeyboardInterrupt:
            return INTERRUPTED
        except MemoryError:
            return _fail(
                "there is not enough memory for this", "smaller sizes, or a smaller file", TcalcError.exit_code
            )
        except Exception as error:
            return _fault(error)


def _answer(args: list[str]) -> int:
    if sys.stdout is None:
        return _fail("the answer cannot be written: standard output is closed", None, TcalcError.exit_code)
    try:
        _add_commands(args)
        status = _built().main(args, prog_name="tcalc", standalone_mode=False)
        sys.stdout.flush()
    except TcalcError as error:
        hint = error.hint and as_options(error.hint)
        return _fail(as_options(error.message), hint, error.exit_code)
    except NoArgsIsHelpError as error:
        streams.tell(f"{error.message}\n")
        return error.exit_code
    except UsageError as error:
        hint = f"{error.ctx.command_path} --help" if error.ctx else None
        return _fail(error.format_message().rstrip("."), hint, error.exit_code)
    except typer.Abort:
        return INTERRUPTED
    except SystemExit as end:  # how Click ends when a reader has left, and after completing a word
        if isinstance(end.__context__, BrokenPipeError):
            sys.stdout, sys.stderr = _unwrapped(sys.stdout), _unwrapped(sys.stderr)
            return READER_LEFT
        return end.code if isinstance(end.code, int) else 0
    except BrokenPipeError:
        return READER_LEFT
    except OSError as error:  # of reading files, all are messages already: this is a full disk
        return _fail(f"the answer cannot be written: {error.strerror}", None, TcalcError.exit_code)
    except UnicodeEncodeError as error:  # of a stream that takes no other forms of characters
        return _fail(f"the answer cannot be written in {error.encoding}", "--json", TcalcError.exit_code)
    return status if isinstance(status, int) else 0


def _unwrapped(stream: Any) -> Any:
    """The stream that Click has wrapped, so that it fails no more."""
    return getattr(stream, "wrapped", stream)


def _fail(message: str, hint: str | None, status: int) -> int:
    streams.say("error", message)
    if hint:
        streams.say("hint", hint)
    return status


def _fault(error: Exception) -> int:
    """Tell of what must not happen: it is this program's fault, not the input's."""
    if os.environ.get("TCALC_DEBUG", "") not in ("", "0"):
        import traceback

        streams.tell("".join(traceback.format_exception(error)))
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return _fail(
        f"internal error, a fault of tcalc and not of the input: {streams.short(what)[:300]}",
        "please report it with the command line; TCALC_DEBUG=1 adds where it happened",
        FAULT,
    )

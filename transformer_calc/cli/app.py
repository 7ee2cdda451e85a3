"""The command `tcalc`: its groups, its help, and how a function that returns a report becomes a command.

A command's function takes the model, the sizes that were given and its own options, and returns a report. `command`
adds the options that all commands share, so that they are written once. A command is a module beside these, and what
it needs is imported in its body: `tcalc --version` must not wait for NumPy.
"""

# Typer reads the annotations at run time, so they stay objects here (no `from __future__ import annotations`).
import inspect
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from transformer_calc import __version__, streams
from transformer_calc.cli import options
from transformer_calc.cli.options import FIELDS, WORKLOAD_FIELDS, flag_of
from transformer_calc.errors import InputError, as_options, shown

if TYPE_CHECKING:
    from transformer_calc.report import Report

READER_LEFT = 141  # what a shell reports of programs that SIGPIPE ended
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

# In which help lists them; a command of that name is made by the module of that name in `commands`.
COMMANDS = (
    "shapes",
    "params",
    "flops",
    "memory",
    "fit",
    "cost",
    "serve",
    "compare",
    "verify",
    "walk",
    "presets",
    "hardware",
)


class Command(TyperCommand):
    """A command whose help shows its options in groups; Typer has those only with Rich, at twice the time."""

    def get_help(self, ctx: Any) -> str:
        """Return the help as standard output can show it."""
        return streams.fitting(super().get_help(ctx), sys.stdout)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an option that takes one value and is given twice: which would count is not for the tool to guess."""
        if not ctx.resilient_parsing:
            self._check_once(args)
        return super().parse_args(ctx, args)

    def _check_once(self, args: list[str]) -> None:
        flags: dict[str, Any] = {flag: option for option in self.params for flag in option.opts}
        given: dict[str, str] = {}
        rest = iter(args)
        for word in rest:
            if word == "--":
                return
            flag, equals, value = word.partition("=")
            if not word.startswith("--") and word not in flags:
                flag, equals, value = word[:2], word[2:], word[2:]  # -b4
            option = flags.get(flag)
            if option is None or getattr(option, "is_flag", True) or not flag.startswith("-"):
                continue
            value = value if equals else next(rest, "")
            name = max(option.opts, key=len)
            if name in given and not option.multiple:
                before, again = (shown(one, 60) for one in (given[name], value))
                raise InputError(f"{name} is given twice, as {before} and as {again}; give it once")
            given[name] = value

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
            with formatter.section(title):
                formatter.write_dl(panels[title], col_max=34)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples like the other sections."""
        _write_examples(self.epilog, formatter)


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
    context_settings=SETTINGS,
)


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


def catalogue(name: str, help: str, short_help: str, epilog: str) -> typer.Typer:
    """Make a group of commands of which `list` is meant where none is named."""
    group = typer.Typer(
        cls=DefaultsToList,
        help=help,
        short_help=short_help,
        epilog=epilog,
        invoke_without_command=True,
        rich_markup_mode=None,
        context_settings=SETTINGS,
    )
    app.add_typer(group, name=name)
    return group


# --- from a function to a command ---------------------------------------------------------------------------


def command(
    *,
    examples: str,
    to: typer.Typer = app,
    takes: Literal["model", "models", "nothing"] = "model",
    plan: Literal["all", "serving", "chosen"] | None = None,
    found: tuple[str, ...] = (),
    name: str | None = None,
    default: str | None = None,
) -> Callable[[Callable[..., "Report"]], Callable[..., "Report"]]:
    """Make a function that returns a report a command.

    takes:  what it is handed first: a model, or several, and the sizes of the workload that were given
    plan:  whether, and how, it is then handed what was asked of the plan; see `plans.of_a_plan`, also for `found`
    default:  the preset for a command line that describes no model, where it is not every command's
    """

    def register(body: Callable[..., "Report"]) -> Callable[..., "Report"]:
        handed = (2 if takes != "nothing" else 0) + bool(plan)
        own = list(inspect.signature(body).parameters.values())[handed:]
        of_plan = _of_a_plan(plan, found) if plan else ()
        models = {"model": options.of_a_model, "models": options.of_several_models, "nothing": tuple}[takes]()

        def run_command(**given: Any) -> None:
            format = _format(given.pop("format_"), given.pop("json"))
            chosen = {parameter.name: given[parameter.name] for parameter in own}
            if takes == "nothing":
                _print(body(**chosen), format)
                return
            sizes = {name: given[name] for name in WORKLOAD_FIELDS if given[name] is not None}
            loaded = _load_all(given) if takes == "models" else [_load(given, default)]
            several = takes == "models"
            for model in () if several else loaded:
                for note in (said := list(model.notes)):
                    _note(note)
            hows = [_plan_of(given, of_plan)] if plan else []
            report = body(loaded if several else loaded[0], sizes, *hows, **chosen)
            noted: Any = () if several else report.model.get("notes", ())
            for note in (note for note in noted if note not in said):
                _note(note)
            for about in report.models:
                for note in about["notes"]:
                    _note(f"{about['name']}: {note}")
            for note in _of_checkpoint(report):
                _note(note)
            _print(report, format)

        # Typer reads the options from the signature: own options, the plan's, shared ones.
        every = (*own, *of_plan, *models, *options.of_output())
        run_command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in every]
        )
        run_command.__annotations__ = {}
        to.command(
            name or body.__name__, cls=Command, help=inspect.getdoc(body), epilog=examples, context_settings=SETTINGS
        )(run_command)
        return body

    return register


def _note(text: str) -> None:
    streams.say("note", as_options(text))


def _of_a_plan(which: Literal["all", "serving", "chosen"], found: tuple[str, ...]) -> tuple[Parameter, ...]:
    from transformer_calc.cli.plans import of_a_plan  # which records few commands need

    return of_a_plan(which, found)


def _plan_of(given: Mapping[str, Any], of_plan: tuple[Parameter, ...]) -> dict[str, Any]:
    """What was asked of the plan."""
    how = {option.name: given[option.name] for option in of_plan if given[option.name] is not None}
    if "buffer" in how:
        from transformer_calc.cli.plans import sizes_of_buffers

        how["buffer"] = sizes_of_buffers(how["buffer"])
    return how


def _of_checkpoint(report: "Report") -> list[str]:
    """What the answer says of a checkpoint that is stored otherwise than it was counted."""
    found: Any = report.data.get("assumptions", {})
    return [f"{name}: {one['text']}" for name, one in found.items() if name.startswith("checkpoint")]


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
        fields={name: given[name] for name in FIELDS if given[name] is not None},
        sets=tuple(given["sets"] or ()),
        ignore=tuple(given["ignore"] or ()),
        **({"default": default} if default else {}),
        mtp=bool(given.get("mtp")),
    )


def _load_all(given: Mapping[str, Any]) -> list[Any]:
    """Load the models of a command that takes several, in the order: MODELs, --preset, --config."""
    for name in FIELDS:
        if given[name] is not None:
            message = f"{flag_of(name)} changes one model, but compare takes several as they are"
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


def _format(format: str, json: bool) -> str:
    if json and format not in ("table", "json"):
        raise InputError(f"--json and --format {format} are given, expected one of them")
    return "json" if json else format


def _print(report: "Report", format: str) -> None:
    from transformer_calc.output import render

    try:
        render(report, format, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        raise typer.Exit(READER_LEFT) from None
    if not report.ok:
        raise typer.Exit(1)


# --- the commands, made when they are asked for -------------------------------------------------------------

_MADE: list[str] = []
_BUILT: dict[int, Any] = {}  # how many are made -> the Click command: a process may answer many command lines


def built(args: list[str]) -> Any:
    """The Click command with the command that is asked for, or with all.

    Building the options of all takes a tenth of the time of an answer.
    """
    for name in [args[0]] if args[:1] and args[0] in COMMANDS else COMMANDS:
        if name not in _MADE:
            import_module(f"transformer_calc.cli.commands.{name}")
            _MADE.append(name)
    if len(_MADE) not in _BUILT:
        _BUILT.clear()
        app.registered_commands.sort(key=lambda made: COMMANDS.index(str(made.name)))
        app.registered_groups.sort(key=lambda made: COMMANDS.index(str(made.name)))
        _BUILT[len(_MADE)] = typer.main.get_command(app)
    return _BUILT[len(_MADE)]

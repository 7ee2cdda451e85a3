"""The options of a plan, made from its fields."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import Parameter
from typing import Any, Literal

import typer

from transformer_calc import units
from transformer_calc.cli.options import count, flag_of, keyword, names
from transformer_calc.errors import InputError, shown
from transformer_calc.plan import BUFFERS, MODES, TRAINING, TUNING, USUAL, Adapters, Asked, Mesh, Serving, Training
from transformer_calc.plan import asked as fields_of

HOW = "How it is trained or served (what is not given is chosen for the devices)"
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

"""The pages of the reference that are made from the code: commands, fields, families, presets, devices, and so on.

`pages()` has each as Markdown (MyST) under its path below `docs/reference/generated/`; `conf.py` writes them before
Sphinx reads the others. Nothing is said here that the code does not say: help texts, docstrings, comments beside fields
and the sources in the files of `presets/` are all that there is to read.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import re
import sys
import textwrap
import tokenize
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import transformer_calc
from transformer_calc import cli, plan, spec, storage, units
from transformer_calc.record import fields
from transformer_calc.sources import families

ROOT = Path(__file__).parent.parent
GENERATED = Path(__file__).parent / "reference" / "generated"
PACKAGE = "transformer_calc"


def pages() -> dict[str, str]:
    """Every page: its path without suffix, and its text."""
    made = {
        "fields": field_page(),
        "plans": plan_page(),
        "families": family_page(),
        "presets": preset_page(),
        "devices": device_page(),
        "grids": grid_page(),
        "storage": storage_page(),
        "python": python_page(),
    }
    commands = dict(sorted(cli.command().commands.items()))
    made |= {f"commands/{name}": command_page(name, command) for name, command in commands.items()}
    listed = [[f"[tcalc {name}]({name}.md)", plain(_first(command.help))] for name, command in commands.items()]
    tree = "\n".join(commands)
    made["commands/index"] = (
        f"# Commands\n\n{table(('command', 'what it does'), listed)}\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    )
    return made


def write(folder: Path = GENERATED) -> None:
    """Write the pages, those that changed alone, and remove what is no longer one."""
    made = {folder / f"{path}.md": text for path, text in pages().items()}
    for path in set(folder.rglob("*.md")) - made.keys():
        path.unlink()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


# --- Markdown -----------------------------------------------------------------------------------------------


def plain(text: object) -> str:
    """A text in which nothing is markup, but for what stands between backticks."""
    parts = re.split(r"(`[^`\n]+`)", " ".join(str(text).split()))
    return "".join(
        part.replace("|", r"\|") if i % 2 else re.sub(r"([\\*_\[\]<>|#~$^{}])", r"\\\1", part)
        for i, part in enumerate(parts)
    )


def code(text: object) -> str:
    """A text as code, in a cell of a table too."""
    return f"`{str(text).replace('|', chr(92) + '|')}`" if str(text) else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, whose columns that are empty in all rows are left out."""
    rows = [list(row) for row in rows]
    kept = [i for i, _ in enumerate(heads) if any(row[i] for row in rows)]
    lines = [[heads[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def prose(docstring: str | None) -> str:
    """A docstring as Markdown: its paragraphs as they are, examples as code."""
    made = []
    for paragraph in inspect.cleandoc(docstring or "").split("\n\n"):
        example = paragraph.lstrip().startswith(">>>")
        made.append(f"```pycon\n{inspect.cleandoc(paragraph)}\n```" if example else _lines(paragraph))
    return "\n\n".join(made)


def _lines(paragraph: str) -> str:
    """The lines of a paragraph; what is set apart with spaces (`name:  what it is`) becomes a list."""
    if re.search(r"^\S+:  ", paragraph, re.MULTILINE):
        items = re.split(r"\n(?=\S)", paragraph)
        return "\n".join(f"- {plain(item)}" for item in items)
    return "\n".join(plain(line) for line in paragraph.split("\n"))


def described(docstring: str | None, names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """A docstring without the paragraphs that go through names (`name, other: what they are; third: …`), and these."""
    known = rf"(?:{'|'.join(map(re.escape, names)) or '(?!)'})(?: \([^)]*\))?"
    one = re.compile(rf"(?:^|(?<=[;,.] ))((?:{known}, )*{known}): ")
    kept: list[str] = []
    found: dict[str, str] = {}
    for paragraph in inspect.cleandoc(docstring or "").split("\n\n"):
        lines = re.split(r"\n(?=\S)", paragraph) if re.search(r"^\S+:  ", paragraph, re.MULTILINE) else [paragraph]
        for text in (" ".join(line.split()) for line in lines):
            if not one.match(text):
                kept.append(paragraph if lines == [paragraph] else text)
                continue
            _, *pieces = one.split(text)
            for called, what in zip(pieces[::2], pieces[1::2], strict=True):
                for name, aside in re.findall(r"(\w+)(?: \(([^)]*)\))?(?:, |$)", called):
                    said = what.strip().rstrip(";,.")
                    found[name] = f"{aside}; {said}" if aside else said
    return prose("\n\n".join(kept)), found


def _first(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0]


# --- commands -----------------------------------------------------------------------------------------------


def command_page(name: str, command: Any) -> str:
    """A command with all its options, or a group with those of each of its commands."""
    parts = [f"# tcalc {name}", *_command(f"tcalc {name}", command)]
    for inner, one in sorted(getattr(command, "commands", None or {}).items()):
        called = f"tcalc {name} {inner}"
        parts += [f"## {called}", *_command(called, one, level=3)]
    return "\n\n".join(parts) + "\n"


def _command(called: str, command: Any, level: int = 2) -> Iterator[str]:
    yield prose(command.help)
    params = [param for param in command.params if not getattr(param, "hidden", False)]
    arguments = [param.metavar or param.name.upper() for param in params if param.param_type_name == "argument"]
    usage = " ".join([called, *(f"[{name}]" for name in arguments), "[options]"])
    if not hasattr(command, "commands"):
        yield f"```text\n{usage}\n```"
    if command.epilog:
        yield "```console\n" + "\n".join(f"$ {line}" for line in inspect.cleandoc(command.epilog).split("\n")) + "\n```"
    panels: dict[str, list[Any]] = {}
    for param in params:
        panels.setdefault(getattr(param, "rich_help_panel", None) or "Options", []).append(param)
    for title in sorted(panels, key=lambda title: title != "Options"):
        yield f"{'#' * level} {plain(title)}"
        yield table(("option", "takes", "default", "what it is"), map(_option, panels[title]))


def _option(param: Any) -> list[str]:
    if param.param_type_name == "argument":
        names = [param.metavar or param.name.upper()]
    else:
        names = sorted([*param.opts, *param.secondary_opts], key=lambda name: name.startswith("--"))
    choices = getattr(param.type, "choices", None)
    takes = ", ".join(map(code, choices)) if choices else code(param.metavar or "") if not _is_flag(param) else ""
    default = param.default
    usual = "" if default in (None, False, "", ()) or callable(default) else code(default)
    return [", ".join(map(code, names)), takes, usual, plain(getattr(param, "help", None) or "")]


def _is_flag(param: Any) -> bool:
    return bool(getattr(param, "is_flag", False)) or param.param_type_name == "argument"


# --- fields of a model --------------------------------------------------------------------------------------


def comments(cls: type) -> dict[str, str]:
    """What is written beside each field of a class, or in the lines before it, or as a text after it."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    body = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)).body
    said: dict[int, tuple[str, bool]] = {}  # line -> its comment, and whether it stands alone
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            said[token.start[0]] = token.string.lstrip("#: "), alone
    found = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        words: list[str] = []
        line = node.lineno - 1
        while line in said and said[line][1]:
            words.insert(0, said[line][0])
            line -= 1
        words += [said[at][0] for at in range(node.lineno, (node.end_lineno or node.lineno) + 1) if at in said]
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            words.append(after.value.value)
        found[node.target.id] = " ".join(words)
    return found


def hints(thing: Any) -> dict[str, Any]:
    """The types of a class's fields, or of a function's parameters, with those that only a type checker imports."""
    names: dict[str, Any] = {}
    for one in reversed(getattr(thing, "__mro__", [thing])):
        if one.__module__.startswith(PACKAGE):
            names |= _for_checkers(sys.modules[one.__module__])
    while True:
        try:
            return typing.get_type_hints(thing, None, names)
        except NameError as error:  # of a name for a type that another module has in quotes
            modules = [vars(module) for name, module in sys.modules.items() if name.startswith(PACKAGE)]
            missing = str(error.name)
            names[missing] = next((module[missing] for module in modules if missing in module), object)


def _for_checkers(module: Any) -> dict[str, Any]:
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for one in (inner for inner in ast.walk(node) if isinstance(inner, ast.ImportFrom)):
                name = "." * one.level + (one.module or "")
                source = importlib.import_module(name, module.__package__)
                for alias in one.names:
                    found[alias.asname or alias.name] = getattr(source, alias.name, None)
    return found


def _inside(kind: Any) -> Iterator[type]:
    """Every class in a type."""
    if arguments := typing.get_args(kind):
        for inner in arguments:
            yield from _inside(inner)
    elif isinstance(kind, type):
        yield kind


def reached(first: Iterable[Any]) -> list[type]:
    """The records of this package that these types, and the fields of those found, are made of."""
    found: list[type] = []
    waiting = [cls for kind in first for cls in _inside(kind)]
    while waiting:
        cls = waiting.pop(0)
        if cls in found or not cls.__module__.startswith(PACKAGE) or not _is_record(cls):
            continue
        found.append(cls)
        waiting += [one for name, kind in hints(cls).items() if name in _fields(cls) for one in _inside(kind)]
    return found


def _is_record(cls: type) -> bool:
    return is_dataclass(cls) or hasattr(cls, "_fields")


def _fields(cls: type) -> list[str]:
    return [f.name for f in fields(cls)] if is_dataclass(cls) else list(getattr(cls, "_fields", ()))


PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _takes(kind: Any, rule: Any, here: Iterable[type]) -> str:
    """What a field takes, for people."""
    kinds = list(kind.__args__) if isinstance(kind, UnionType) else [kind]
    optional = type(None) in kinds
    kinds = [one for one in kinds if one is not type(None)]
    said = getattr(rule, "said", "")
    if said.startswith("one of "):
        words = ", ".join(code(word) for word in said.removeprefix("one of ").split(", "))
    elif all(one in PLAIN for one in kinds):
        limits = re.sub(r"between (-?\d+) and 1e\+15", r"at least \1", said).replace(" and at most 1e+09", "")
        limits = limits.replace("at least 1e-09", "") if kinds == [float] else limits
        called = "" if limits.startswith("a ") else " or ".join(PLAIN[one] for one in kinds)
        words = ", ".join(filter(None, [called, plain(limits)]))
    elif any(one in here for one in kinds):
        words = " or ".join(f"[{one.__name__}](#{one.__name__.lower()})" for one in kinds)
    else:
        words = "a list"
    return f"{words}, or none" if optional else words


def field_page() -> str:
    """The records that a model is made of, and the fields of each."""
    records = reached([spec.Model])
    parts = [
        "# Fields of a model",
        "`--set path=value` changes any of these fields. A path is names of fields with dots: `decoder.d_model`, "
        "`ffn.d_ff`, `local.attention.window`, `embedding.vocab`. A stack, a kind of layer or a head is picked by its "
        "own name; where none is named, all that have the field are changed, and `attention` is another word for "
        "`mixer`. Lists, and parts that a model does not have, are described by a configuration, not by `--set`.",
    ]
    return "\n\n".join([*parts, *(section(cls, records) for cls in records)]) + "\n"


def plan_page() -> str:
    """The records that say how a model is run."""
    found = [cls for cls in vars(plan).values() if is_dataclass(cls) and cls.__module__ == plan.__name__]
    records = [cls for cls in found if isinstance(cls, type) and _fields(cls)]
    parts = [
        "# Fields of a plan",
        "How a model is served or trained is said with these records in Python, and with the options of the same names "
        "on the command line.",
    ]
    return "\n\n".join([*parts, *(section(cls, records) for cls in records)]) + "\n"


PLACES = {"storage": "storage-types", "precision": "precisions", "optimizer": "optimizers"}  # in that page


def section(cls: Any, records: Sequence[type]) -> str:
    """A record with what each of its fields takes, is usually, and is."""
    about, said = said_of(cls)
    types, rows = hints(cls), []
    for f in fields(cls):
        usual = "" if f.default is MISSING or f.default in (None, ()) else f.default
        shown = code(str(usual).lower() if isinstance(usual, bool) else usual)
        takes = _takes(types[f.name], f.metadata.get("rule"), records)
        if names := next((one.names for one in f.metadata.values() if getattr(one, "names", "")), ""):
            takes = f"[a name](storage.md#{PLACES.get(names, '')})"
        name = code(f.name)
        if (option := f.metadata.get("option")) and option != f.name:
            name += f", as an option `{option}`"
        rows.append([name, takes, "as below" if is_dataclass(usual) else shown, plain(said.get(f.name, ""))])
    body = table(("field", "takes", "default", "what it is"), rows) if rows else "It has no fields."
    return f"## {cls.__name__}\n\n{about}\n\n{body}"


def said_of(cls: type) -> tuple[str, dict[str, str]]:
    """What a record is, and what each of its fields: by its help, by what stands beside it, by the docstring."""
    about, of_docstring = described(cls.__doc__, _fields(cls))
    beside: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        beside |= comments(one) if one.__module__.startswith(PACKAGE) else {}
    helps = {
        f.name: next((one.help for one in f.metadata.values() if hasattr(one, "help")), "")
        for f in (fields(cls) if is_dataclass(cls) else ())
    }
    each = ((name, [said.get(name, "") for said in (helps, beside, of_docstring)]) for name in _fields(cls))
    return about, {name: "; ".join(dict.fromkeys(filter(None, said))) for name, said in each}


# --- what is known by name ----------------------------------------------------------------------------------


def _files(kind: str) -> dict[str, dict[str, Any]]:
    """Every file of a kind in `presets/`, by its name."""
    found = sorted((ROOT / "presets" / kind).glob("*.toml"))
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in found}


def family_page() -> str:
    """The model types that are understood, with the presets of each."""
    presets: dict[str, list[str]] = {}
    for name, data in _files("models").items():
        model_type = data.get("config", {}).get("model_type") or data.get("family", "")
        presets.setdefault(model_type, []).append(name)
    rows = [[code(name), ", ".join(map(code, presets.get(name, ())))] for name in families.known()]
    return (
        "# Families\n\n"
        f"The {len(rows)} values of `model_type` in a Hugging Face `config.json` that are understood. Any other is "
        "refused by name, and so is a key that looks structural and is not understood.\n\n"
        f"{table(('model type', 'presets'), rows)}\n"
    )


def preset_page() -> str:
    """The presets, by family, with their sources."""
    files = _files("models")
    by_family: dict[str, list[str]] = {}
    for name, data in files.items():
        by_family.setdefault(data.get("family") or data.get("config", {}).get("model_type", "others"), []).append(name)
    parts = [
        "# Presets",
        f"{len(files)} models that are known by name. Counts are those that the program must find, which a test "
        "checks; `tcalc presets show NAME` prints one whole.",
    ]
    for family, names in sorted(by_family.items()):
        rows = []
        for name in names:
            data = files[name]
            others = ", ".join(map(code, data.get("aliases", ())))
            params = data.get("expected", {}).get("params")
            rows.append(
                [
                    code(name) + (f" ({others})" if others else ""),
                    plain(data.get("title", "")),
                    str(data.get("year", "")),
                    f"{params:,}" if isinstance(params, int) else "",
                    plain(data.get("source", "")) + (f" *{plain(data['note'])}*" if data.get("note") else ""),
                ]
            )
        parts += [f"## {plain(family)}", table(("preset", "title", "year", "parameters", "source"), rows)]
    return "\n\n".join(parts) + "\n"


def device_page() -> str:
    """The devices, each with the source of its figures."""
    files = _files("hardware")
    parts = [
        "# Devices",
        f"{len(files)} accelerators that are known by name. Peaks are dense, links are both directions together, "
        "memory is what programs get where that is known. A question mark: no source was found for the figure. "
        "`tcalc hardware show NAME` prints one whole.",
    ]
    for name, data in sorted(files.items()):
        doubtful = set(data.get("unconfirmed", ()))

        def rate(key: str, value: Any, unit: str, doubtful: set[str] = doubtful) -> str:
            return f"{units.format_number(value)} {unit}{'?' if key in doubtful else ''}"

        rows = [["other names", ", ".join(map(code, data.get("aliases", ())))]]
        if "memory_bytes" in data:
            memory = f"{units.format_bytes(data['memory_bytes'])}{'?' if 'memory_bytes' in doubtful else ''}"
            note = plain(data.get("memory_note") or data.get("memory_kind", ""))
            rows.append(["memory", f"{memory} ({note})" if note else memory])
        if "memory_gb" in data:
            rows.append(["memory, as sold", rate("memory_gb", data["memory_gb"], "GB")])
        if "bandwidth" in data:
            rows.append(["its bandwidth", rate("bandwidth", data["bandwidth"] / 1e9, "GB/s")])
        for precision, peak in data.get("peaks", {}).items():
            unit = "TOP/s" if precision.startswith("int") else "TFLOP/s"
            rows.append([f"peak of {precision}", rate(f"peaks.{precision}", peak / 1e12, unit)])
        if "interconnect" in data:
            kind = data.get("interconnect_kind", "")
            joins = f", {data['node']} devices" if "node" in data else ""
            rows.append(["links", f"{rate('interconnect', data['interconnect'] / 1e9, 'GB/s')} {plain(kind)}{joins}"])
        if "network" in data:
            kind = plain(data.get("network_kind", ""))
            rows.append(["between nodes", f"{rate('network', data['network'] / 1e9, 'GB/s')} {kind}"])
        if "power" in data:
            rows.append(["power", rate("power", data["power"], "W")])
        reached_ = ", ".join(f"{what} {part:.0%}" for what, part in data.get("efficiency", {}).items())
        rows.append(["measured parts of the peaks", reached_])
        for provider, price in data.get("prices", {}).items():
            usd = f"${price['usd_per_hour']} an hour" if "usd_per_hour" in price else f"${price['usd']:,} to buy"
            said = ", ".join(str(price[key]) for key in ("terms", "date", "source") if price.get(key))
            rows.append([f"price, {plain(provider)}", plain(f"{usd}: {said}")])
        for key, what in (
            ("source", "source"),
            ("memory_source", "source of its memory"),
            ("efficiency_source", "source of the measured parts"),
            ("note", "note"),
        ):
            rows.append([what, plain(data.get(key, ""))])
        parts += [f"## {name}", plain(data.get("title", "")), table(("", ""), [row for row in rows if row[1]])]
    return "\n\n".join(parts) + "\n"


def grid_page() -> str:
    """How much carbon dioxide a kilowatt-hour stands for, by place."""
    data = tomllib.loads((ROOT / "presets" / "grid.toml").read_text(encoding="utf-8"))
    parts = ["# Grids", "Grams of CO₂ equivalent for a kilowatt-hour, by the name that `--carbon` takes."]
    for section, entries in data.items():
        rows = [
            [code(name), plain(one.get("title", "")), str(one.get("g_per_kwh", ""))]
            for name, one in entries.items()
            if isinstance(one, Mapping)
        ]
        year = f" ({entries['year']})" if entries.get("year") else ""
        source = f"Source: {plain(entries.get('source', ''))}{year}."
        parts += [f"## {section}", source, table(("name", "place", "g CO₂e/kWh"), rows)]
    return "\n\n".join(parts) + "\n"


def storage_page() -> str:
    """Storage types, precisions and optimizers, each with its source."""
    types = []
    for name, one in storage.STORAGE.items():
        bits = one.bits
        others = ", ".join(code(other) for other, of in storage.ALIASES.items() if of == name)
        each = f"{bits[0]}" if bits[1] == 1 else f"{bits[0] / bits[1]:.4g}"
        block = f"{one.elements:,} in {one.bytes:,} bytes"
        types.append([code(name), others, each, block, plain(one.note), plain(one.source)])
    recipes = [
        [
            code(name),
            ", ".join(code(other) for other, of in storage.PRECISION_ALIASES.items() if of == name),
            *map(code, (one.weights, one.gradients, one.master or "none", one.states, one.activations, one.compute)),
            plain(f"{one.source}{'. ' + one.note if one.note else ''}"),
        ]
        for name, one in storage.PRECISIONS.items()
    ]
    optimizers = [
        [
            code(name),
            ", ".join(code(other) for other, of in storage.OPTIMIZER_ALIASES.items() if of == name),
            "sums of rows and columns" if one.factored else str(one.states),
            code(one.type) or "of the recipe",
            plain(f"{one.source}{'. ' + one.note if one.note else ''}"),
        ]
        for name, one in storage.OPTIMIZERS.items()
    ]
    return (
        "\n\n".join(
            [
                "# Storage types, precisions, optimizers",
                "Names are read in upper or lower case. A name that is not known is answered with the nearest, or "
                "with all that are.",
                "## Storage types",
                "`--weights` and `--kv-dtype` take these. Bits are of an element, the scales of its block included.",
                table(("type", "other names", "bits", "a block", "what comes with it", "source"), types),
                "## Precisions",
                "`--precision` takes these: in which types training keeps what it keeps.",
                table(
                    (
                        "recipe",
                        "other names",
                        "weights",
                        "gradients",
                        "master copy",
                        "states",
                        "activations",
                        "multiplied in",
                        "source",
                    ),
                    recipes,
                ),
                "## Optimizers",
                "`--optimizer` takes these. States are of a tensor's own size, each.",
                table(("optimizer", "other names", "states", "in", "source"), optimizers),
            ]
        )
        + "\n"
    )


# --- the library --------------------------------------------------------------------------------------------


def python_page() -> str:
    """What the package exports, and the records that its answers are made of."""
    parts = [
        "# The library",
        "A method that takes `**how` takes the [fields of a plan](plans.md) by their names, and `mode`.",
    ]
    answers: list[Any] = []
    names = sorted(transformer_calc.__all__, key=lambda name: (name != "load", name != "Transformer", name))
    for name in names:
        thing = getattr(transformer_calc, name)
        if name.startswith("__"):
            continue
        if not inspect.isclass(thing):
            parts += [f"## {name}", directive("function", f"{name}{signature(thing)}", function(thing))]
        elif _fields(thing):
            answers.append(thing)
        else:
            bases = [base.__name__ for base in thing.__bases__ if base not in (object, Exception)]
            about = prose(thing.__doc__) + (f"\n\nA kind of {', '.join(map(code, bases))}." if bases else "")
            inner, returned = members(thing)
            answers += returned
            called = name if issubclass(thing, Exception) else f"{name}{signature(thing)}" if not inner else name
            kind = "exception" if issubclass(thing, Exception) else "class"
            parts += [f"## {name}", directive(kind, called, "\n\n".join([about, *inner]), fence=4)]
    parts += [
        "## Records",
        "What the methods return, and what these are made of.",
    ]
    for cls in sorted(reached(answers), key=lambda cls: cls.__name__):
        parts += [f"### {cls.__name__}", directive("class", cls.__name__, _record(cls), fence=4, module=cls.__module__)]
    return "\n\n".join(parts) + "\n"


def directive(kind: str, called: str, text: str, fence: int = 3, module: str = PACKAGE) -> str:
    """An entry of the Python domain, which the index and a search find."""
    marks = ":" * fence
    return f"{marks}{{py:{kind}}} {called}\n:module: {module}\n\n{text}\n{marks}"


def signature(thing: Any) -> str:
    """Its parameters with their types as they are written."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return "()"
    names = [p.replace(annotation=Written(p.annotation)) for p in found.parameters.values() if p.name != "self"]
    return str(found.replace(parameters=names, return_annotation=Written(found.return_annotation)))


class Written:
    """A type as it is written in the code."""

    def __new__(cls, annotation: Any) -> Any:
        """What there is none of stays so."""
        return annotation if annotation is inspect.Signature.empty else super().__new__(cls)

    def __init__(self, annotation: Any) -> None:
        self.text = annotation

    def __repr__(self) -> str:
        if isinstance(self.text, str):
            return self.text
        if isinstance(self.text, typing.ForwardRef):
            return self.text.__forward_arg__
        return inspect.formatannotation(self.text)


def members(cls: type) -> tuple[list[str], list[Any]]:
    """A class's own public methods and properties, and the types that they return."""
    made, returned = [], []
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        inner = getattr(member, "func", None) or getattr(member, "fget", None) or getattr(member, "__func__", member)
        if not inspect.isfunction(inner):
            continue
        returned.append(hints(inner).get("return"))
        if inspect.isfunction(member) or isinstance(member, classmethod | staticmethod):
            made.append(directive("method", f"{name}{signature(inner)}", function(inner)))
        else:
            made.append(directive("property", name, prose(inner.__doc__)))
    return made, returned


def function(thing: Any) -> str:
    """What it does, and what its parameters are."""
    parameters = [name for name in inspect.signature(thing).parameters if name != "self"]
    about, said = described(thing.__doc__, parameters)
    rows = [[code(name), plain(said[name])] for name in parameters if name in said]
    return f"{about}\n\n{table(('parameter', 'what it is'), rows)}" if rows else about


def _record(cls: type) -> str:
    about, said = said_of(cls)
    annotations: dict[str, Any] = {}
    for one in reversed(cls.__mro__):
        annotations |= vars(one).get("__annotations__", {})
    rows = [[code(name), code(repr(Written(annotations[name]))), plain(said.get(name, ""))] for name in _fields(cls)]
    worked_out = [
        directive("property", name, prose(one.__doc__))
        for name, one in vars(cls).items()
        if isinstance(one, property) and not name.startswith("_") and one.__doc__
    ]
    return "\n\n".join([about, table(("field", "type", "what it is"), rows), *worked_out])

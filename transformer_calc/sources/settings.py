"""`--set path=value`: change any field of a spec.

A path is field names with dots: `decoder.d_model`, `ffn.d_ff`, `local.attention.window`, `embedding.vocab`. A
stack, a kind of layer or a head is picked by its name; where none is named, all that have the field are changed.
A bare word that is a hyperparameter (`layers`, `vocab`, `heads`) means the same as its flag, where the model's source
takes it. Several settings are taken together: only what they make in the end has to be consistent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import is_dataclass, replace
from textwrap import shorten
from typing import Any

from transformer_calc import units
from transformer_calc.errors import InputError, did_you_mean, shown
from transformer_calc.record import Record, fields, settle
from transformer_calc.sources.hyperparameters import WORDS, ZERO
from transformer_calc.spec import Dense, Layers, Model, Stack
from transformer_calc.tuples import NamedTuple

ALIASES = {"attention": "mixer"}
OF_SEVERAL = ("activation", "bias", "dropout")  # hyperparameters of a whole model, and fields of many of its parts
TRANSPARENT = (
    "stacks",
    "heads",
    "layers",
    "kinds",
    "steps",
    "mtp",
    "layer",
)  # looked through where a path does not name them


class Setting(NamedTuple):
    """One `path=value`."""

    path: str
    value: str

    @property
    def words(self) -> list[str]:
        """The path's parts, under the names of the spec's fields."""
        return [ALIASES.get(word, word) for word in self.path.split(".")]

    @property
    def is_hyperparameter(self) -> bool:
        """Whether it is a bare word that a flag, or a preset's [model] table, has too."""
        return self.path in WORDS

    def taken(self) -> bool:
        """Whether a hyperparameter of that name takes the value; a field of the spec may take others."""
        try:
            return self.is_hyperparameter and self.hyperparameter() is not None
        except InputError:
            return False

    def hyperparameter(self) -> Any:
        """The value as the hyperparameter of that name takes it."""
        takes = WORDS[self.path]
        if isinstance(takes, tuple):
            return self.value
        if takes is int:
            return _count(self.value, self.path, minimum=int(self.path not in ZERO))
        return _parse(self.value, takes.__name__, self.path)

    def __str__(self) -> str:
        return f"--set {self.path}={self.value}"


def read(sets: Iterable[str]) -> list[Setting]:
    """Each `path=value`; no path twice."""
    found: dict[tuple[str, ...], Setting] = {}
    for text in sets:
        path, equals, value = text.partition("=")
        setting = Setting(path.strip(), value.strip())
        if not equals or not all(setting.words):
            raise InputError(
                f"--set is {shown(text, 100)}; it must be path=value", hint="for example --set attention.window=4096"
            )
        before = found.setdefault(tuple(setting.words), setting)
        if before is not setting:
            raise InputError(
                f"--set {shown(setting.path, 100)} is given twice, as {shown(before.value)} and as "
                f"{shown(setting.value)}; give it once"
            )
    return list(found.values())


def apply(model: Model, settings: Iterable[Setting]) -> Model:
    """The model with each of them set."""
    settings = list(settings)
    for setting in settings:
        changed, seen = _set(model, setting.words, setting.value, setting.path)
        if changed is None:
            if setting.is_hyperparameter:
                setting.hyperparameter()  # raises what is wrong with the value, if that is why it is looked for here
            hint = did_you_mean(setting.words[-1], seen) or shorten(
                f"fields: {', '.join(sorted(seen))}", 440, placeholder=" …"
            )
            raise InputError(f"--set {shown(setting.path, 100)}: there is no such field in this model", hint=hint)
        model = changed
    if settings:
        settle(model)
    return model


def settled(before: Model, after: Model, settings: Iterable[Setting]) -> tuple[Model, list[str]]:
    """The changed model with the norm at the end of its stacks that its layers need, and what is to be said of it.

    Layers whose norms come first leave the sum of all parts bare, so that a norm follows the last one; after a sum, the
    last layer's own norm is the end (Xiong et al. 2020, arXiv 2002.04745, figure 1). Who sets final_norm has it so.
    """
    paths = [setting.words for setting in settings]
    if not any(path[-1] == "place" for path in paths) or any("final_norm" in path for path in paths):
        return after, []
    stacks, notes = [], []
    for old, new in zip(before.stacks, after.stacks, strict=True):
        bare, was = _ends_bare(new), _ends_bare(old)
        whose = f"the {new.name}'s " if len(after.stacks) > 1 else "the "
        if was and not bare and new.final_norm:
            notes.append(
                f"{whose}final norm is left out: with place={new.layers.kinds[-1].place} no norm follows the layers"
            )
            new = replace(new, final_norm=None)
        elif bare and not was and not new.final_norm:
            place = new.layers.kinds[-1].place
            notes.append(f"{whose}layers are followed by a final norm, as place={place} needs (--set final_norm=none)")
            new = replace(new, final_norm=new.layers.kinds[-1].norm)
        stacks.append(new)
    return replace(after, stacks=tuple(stacks)), notes


def _ends_bare(stack: Stack) -> bool:
    """Whether what a stack's layers hand on is a sum that no norm has seen, though they have norms."""
    return any(layer.place not in ("post", "none") for layer in stack.layers.kinds)


def _set(node: Any, words: list[str], value: str, path: str) -> tuple[Any, set[str]]:
    """(the node with the field set, or None where it has no such field; names seen on the way)."""
    seen: set[str] = set()
    if isinstance(node, tuple):
        named = [item for item in node if getattr(item, "name", None) == words[0]]
        rest = words[1:] if named and len(words) > 1 else words
        results = [_set(i, rest, value, path) if not named or i in named else (None, set[str]()) for i in node]
        seen |= {name for _, names in results for name in names}
        if all(changed is None for changed, _ in results):
            return None, seen
        return tuple(old if new is None else new for old, (new, _) in zip(node, results, strict=True)), seen
    if isinstance(node, Layers) and words == ["n_layers"]:
        return node.resized(units.parse_count(value, field=f"--set {path}")), seen
    if not isinstance(node, Record):
        return None, seen
    types = {field.name: str(field.type) for field in fields(node)}
    name = words[0]
    if name in types and len(words) == 1 and name not in TRANSPARENT:
        now = getattr(node, name)
        if is_dataclass(now) and value.lower() not in ("none", "null"):
            raise _group(path, now, value)
        return _changed(node, path, name, _parse(value, types[name], path)), seen
    if name in types and len(words) > 1:
        inner, found = _set(getattr(node, name), words[1:], value, path)
        return (None if inner is None else node.changed(**{name: inner})), seen | found
    seen |= {n for n in types if n not in TRANSPARENT} | ({"n_layers"} if isinstance(node, Layers) else set())
    changes = {}
    for field in TRANSPARENT:
        if field in types:
            inner, found = _set(getattr(node, field), words, value, path)
            seen |= found
            if inner is not None:
                changes[field] = inner
    return (node.changed(**changes) if changes else None), seen


def _changed(node: Any, path: str, name: str, value: Any) -> Any:
    """The record with a field set; what the field does not take is told under the path."""
    if isinstance(node, Dense) and name == "width" and node.width is None:
        raise InputError(
            f"--set {path}: {node.name} gives logits, and is as wide as the vocabulary", hint=f"--set vocab={value}"
        )
    try:
        return node.changed(**{name: value})
    except InputError as error:
        raise InputError(f"--set {path}: {error.message}", error.hint) from None


def _parse(value: str, kind: str, path: str) -> Any:
    """The text as the field's type wants it."""
    kinds = _kinds(kind)
    if value.lower() in ("none", "null"):
        if "None" in kinds:
            return None
        if "str" in kinds:  # of some words it is one
            return value.lower()
        raise InputError(f"--set {path} is {value}; it cannot be left out")
    if "bool" in kinds:
        if value.lower() not in ("true", "false"):
            raise InputError(f"--set {path} is {shown(value)}; it must be true or false")
        return value.lower() == "true"
    if "int" in kinds:
        return _count(value, path)
    if "float" in kinds:
        try:
            number = float(value) if value.isascii() else float("nan")
        except ValueError:
            number = float("nan")
        if not abs(number) < float("inf"):
            raise InputError(f"--set {path} is {shown(value)}; it must be a number")
        return number
    if "str" in kinds:
        return value
    if kind.startswith("tuple"):
        raise InputError(f"--set {path}: this is a list, which --set does not change", hint="a config.json can say it")
    word = path.rpartition(".")[2]
    takes = WORDS.get(word, ())
    whole = isinstance(takes, tuple) and value in takes  # a hyperparameter of models that are built from sizes
    hint = f"of a model that is built from sizes, --set {word}={value}; else a config.json can say it"
    raise InputError(
        f"--set {path}: this model has none, and --set cannot add one",
        hint=hint if whole else "a config.json can say it",
    )


# fields that are tokens in a row, of which k and M are powers of two
LENGTHS = ("window", "chunk", "count", "positions", "max_positions", "max_distance", "log_distance")


def _count(value: str, path: str, minimum: int = 0) -> int:
    """The text as a whole number."""
    read = units.parse_length if path.rpartition(".")[2] in LENGTHS else units.parse_count
    return read(value, field=f"--set {path}", minimum=minimum)


def _group(path: str, record: Any, value: str) -> InputError:
    """The refusal of a value for a whole record, with the fields that a path can name."""
    names = [field.name for field in fields(record) if {"int", "float", "bool", "str"} & _kinds(str(field.type))]
    if not names:
        return InputError(f"--set {path} is {shown(value)}; what is there has no fields, and --set cannot put another")
    hint = next((f"{path}.{name}={value}" for name in names if _is_word_of(record, name, value)), None)
    counts = [field.name for field in fields(record) if "int" in _kinds(str(field.type))]
    if hint is None and counts and value.isdecimal() and _is_taken(record, counts[0], value):
        hint = f"{path}.{counts[0]}={value}"
    if hint is None:
        name = next((name for name in names if getattr(record, name) is not None), names[0])
        now = getattr(record, name)
        hint = f"{path}.{name}={str(now).lower() if isinstance(now, bool | None) else now}"
    return InputError(
        f"--set {path}: this is a group of fields; set one of {', '.join(names)}", hint=f"for example {hint}"
    )


def _is_taken(record: Any, name: str, value: str) -> bool:
    """Whether a field takes this count."""
    try:
        return bool(record.changed(**{name: units.parse_count(value, field=name, minimum=0)}))
    except InputError:
        return False


def _is_word_of(record: Any, name: str, value: str) -> bool:
    """Whether a field takes this of a few words."""
    taken = []
    for word in (value, "no such word"):
        try:
            taken.append(isinstance(getattr(record, name), str) and bool(replace(record, **{name: word})))
        except InputError:
            taken.append(False)
    return taken == [True, False]


def _kinds(written: str) -> set[str]:
    return {kind.strip() for kind in written.split("|")}

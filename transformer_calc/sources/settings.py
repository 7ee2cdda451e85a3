"""`--set path=value`: change any field of a spec.

A path is field names with dots: `decoder.d_model`, `ffn.d_ff`, `local.attention.window`, `embedding.vocab`. A
stack, a kind of layer or a head is picked by its name; where none is named, all that have the field are changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from transformer_calc import units
from transformer_calc.errors import InputError, did_you_mean
from transformer_calc.spec import Layers, Model, Stack

ALIASES = {"attention": "mixer"}
TRANSPARENT = ("stacks", "heads", "layers", "kinds", "steps")  # looked through where a path does not name them


def apply(model: Model, sets: Iterable[str]) -> Model:
    """The model with each `path=value` set."""
    for text in sets:
        path, equals, value = text.partition("=")
        words = [ALIASES.get(word, word) for word in path.strip().split(".")]
        if not equals or not all(words):
            raise InputError(
                f"--set is {text!r}; it must be path=value", hint="for example --set attention.window=4096"
            )
        changed, seen = _set(model, words, value.strip(), path.strip())
        if changed is None:
            hint = did_you_mean(words[-1], seen) or f"fields: {', '.join(sorted(seen))}"
            raise InputError(f"--set {path.strip()}: there is no such field in this model", hint=hint)
        model = changed
    return model


def settled(before: Model, after: Model, sets: Iterable[str]) -> tuple[Model, list[str]]:
    """The changed model with the norm at the end of its stacks that its layers need, and what is to be said of it.

    Layers whose norms come first leave the sum of all parts bare, so that a norm follows the last one; after a sum, the
    last layer's own norm is the end (Xiong et al. 2020, arXiv 2002.04745, figure 1). Who sets final_norm has it so.
    """
    paths = [text.partition("=")[0].strip().split(".") for text in sets]
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
    if not is_dataclass(node) or isinstance(node, type):
        return None, seen
    types = {field.name: str(field.type) for field in fields(node)}
    name = words[0]
    if name in types and len(words) == 1 and not isinstance(getattr(node, name), tuple | Layers):
        now = getattr(node, name)
        if is_dataclass(now) and value.lower() not in ("none", "null"):
            raise _group(path, now, value)
        return replace(node, **{name: _parse(value, types[name], path)}), seen
    if name in types and len(words) > 1:
        inner, found = _set(getattr(node, name), words[1:], value, path)
        return (None if inner is None else replace(node, **{name: inner})), seen | found
    seen |= {n for n in types if n not in TRANSPARENT} | ({"n_layers"} if isinstance(node, Layers) else set())
    changes = {}
    for field in TRANSPARENT:
        if field in types:
            inner, found = _set(getattr(node, field), words, value, path)
            seen |= found
            if inner is not None:
                changes[field] = inner
    return (replace(node, **changes) if changes else None), seen


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
            raise InputError(f"--set {path} is {value!r}; it must be true or false")
        return value.lower() == "true"
    if "int" in kinds:
        return units.parse_count(value, field=f"--set {path}", minimum=0)
    if "float" in kinds:
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not abs(number) < float("inf"):
            raise InputError(f"--set {path} is {value!r}; it must be a number")
        return number
    if "str" in kinds:
        return value
    raise InputError(f"--set {path}: this model has none, and --set cannot add one", hint="a config.json can say it")


def _group(path: str, record: Any, value: str) -> InputError:
    """The refusal of a value for a whole record, with the fields that a path can name."""
    names = [field.name for field in fields(record) if {"int", "float", "bool", "str"} & _kinds(str(field.type))]
    hint = next((f"{path}.{name}={value}" for name in names if _is_word_of(record, name, value)), None)
    counts = [field.name for field in fields(record) if "int" in _kinds(str(field.type))]
    if hint is None and counts and value.isdecimal():
        hint = f"{path}.{counts[0]}={value}"
    if hint is None:
        name = next((name for name in names if getattr(record, name) is not None), names[0])
        now = getattr(record, name)
        hint = f"{path}.{name}={str(now).lower() if isinstance(now, bool | None) else now}"
    return InputError(
        f"--set {path}: this is a group of fields; set one of {', '.join(names)}", hint=f"for example {hint}"
    )


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

"""Random settings of models, for tests: which paths a model has, and values that a field may take or not."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from transformer_calc.record import Record, fields
from transformer_calc.spec import Model

WORDS = (
    "pre post output sandwich none no shared separate both mixer ffn sum gelu silu relu2 identity bogus layernorm "
    "rmsnorm softmax softmax-topk sigmoid sigmoid-input sparsemixer top2 max out_in in_out rows head heads inner "
    "learned sinusoidal fixed all kept ids first second last mean kept_mean end patches patch_mean "
    "first_and_patch_mean decoder encoder text vision wide flat alternating halves x lm embed layers"
).split()
COUNTS = (
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "12",
    "16",
    "24",
    "32",
    "48",
    "64",
    "97",
    "128",
    "-1",
    "1e15",
    "1e16",
)
REALS = (
    "0",
    "1",
    "-1",
    "0.5",
    "0.1",
    "1e-9",
    "1e-5",
    "2",
    "8",
    "100",
    "1e4",
    "1e9",
    "1e308",
    "-5",
    "nan",
    "inf",
    "1e-310",
)


def paths(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(path, type) of every field that `--set` may name in a model, each stack, kind and head by its name."""
    if isinstance(node, Model):
        yield "layers", "int"
        yield "n_layers", "int"
    if isinstance(node, tuple):
        for item in node:
            if isinstance(item, Record):
                name = getattr(item, "name", "")
                yield from paths(item, f"{prefix}{name}." if name else prefix)
        return
    for field in fields(node):
        value, kind = getattr(node, field.name), str(field.type)
        yield f"{prefix}{field.name}", kind
        if isinstance(value, Record | tuple):
            through = field.name in ("stacks", "heads", "layers", "kinds", "steps")
            yield from paths(value, prefix if through else f"{prefix}{field.name}.")


def value(rng: Random, kind: str, now: Any = None) -> str:
    """A value for a field of a type: mostly one that it can take."""
    if "None" in kind and rng.random() < 0.15:
        return "none"
    if rng.random() < 0.05:
        return rng.choice((*WORDS, *REALS, "", "٣", "true"))
    if "bool" in kind:
        return rng.choice(("true", "false"))
    if "int" in kind and "tuple" not in kind:
        return rng.choice(COUNTS)
    if "float" in kind and "tuple" not in kind:
        return rng.choice(REALS)
    return rng.choice((*WORDS, "none"))


def settings(rng: Random, model: Model, most: int = 3) -> list[str]:
    """A few random settings of a model; paths are shortened at random, as people write them."""
    known = sorted(set(paths(model)))
    found = []
    for _ in range(rng.randint(1, most)):
        path, kind = rng.choice(known)
        words = path.split(".")
        if len(words) > 1 and rng.random() < 0.5:
            words = words[rng.randint(0, len(words) - 1) :]
        found.append(f"{'.'.join(words)}={value(rng, kind)}")
    return found

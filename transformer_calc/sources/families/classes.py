"""Which classes belong to a family: what `architectures` may name beside its model_type.

transformers picks a class by model_type, and `architectures` says which head it has. A name that begins as another
family's classes do says that the file is of something else, or of code that came with it: that is not counted as if it
were the plain model.
"""

from __future__ import annotations

import re

from transformer_calc.errors import InputError, shown
from transformer_calc.sources.families.base import Config

# What follows: a task, or one of the names of models that have none.
REST = re.compile(
    r"(for[a-z].*|model|lmheadmodel|withlmheadmodel|doubleheadsmodel|mtmodel|encodermodel|modelwithprojection"
    r"|encoder|decoder|decoderwrapper|stack|backbone)"
)
DRAFT = re.compile(r"eagle|medusa|speculator|hydra|draft|mtp|hass|dflash")


def check(c: Config) -> None:
    """Refuse a class of another family."""
    family = c.family.model_type
    begins = c.family.classes.split() or [re.sub("[^a-z0-9]", "", family)]
    c.architecture  # noqa: B018  (says what is wrong where it is no list of names)
    for name in c.raw("architectures", None) or ():
        if not isinstance(name, str) or not name:
            raise InputError(f"{c.where}architectures names {shown(str(name))}; it must be a list of class names")
        spelt = re.sub(r"[^a-z0-9]", "", name.lower())
        if DRAFT.search(spelt):
            raise InputError(
                f"{c.where}architectures names {shown(name, 60)}, a draft model that guesses tokens for another one "
                f"(speculative decoding); tcalc does not know it, and a plain {family} is something else"
            )
        spelt = re.sub("^(tf|flax)(?=[a-z])", "", spelt) if not _is_of(spelt, begins) else spelt
        if not _is_of(spelt, begins):
            raise InputError(
                f"{c.where}architectures names {shown(name, 60)}, which is no class of model_type {family!r}",
                hint=f"if it is a plain {family} all the same, pass --ignore-key architectures",
            )


def _is_of(spelt: str, begins: list[str]) -> bool:
    return any(spelt.startswith(begin) and REST.fullmatch(spelt[len(begin) :]) for begin in begins)

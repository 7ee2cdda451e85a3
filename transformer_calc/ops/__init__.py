"""Kinds of operations: one record each, with every rule (`kind.Kind`), found in the modules of this package.

A module that holds records adds its kinds by being there. They are imported when a rule is first asked for, which
building a graph and counting its parameters do not.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformer_calc.ops.core import Op
    from transformer_calc.ops.kind import Kind


@cache
def kinds() -> dict[str, Kind]:
    """Every kind by its name."""
    import os
    from importlib import import_module

    from transformer_calc.ops.kind import Kind

    found: dict[str, Kind] = {}
    files = sorted(file for folder in __path__ for file in os.listdir(folder))
    for module in (file.removesuffix(".py") for file in files if file.endswith(".py") and file != "__init__.py"):
        for held in vars(import_module(f"{__name__}.{module}")).values():
            if isinstance(held, Kind):
                if found.get(held.name, held) is not held:
                    raise ImportError(f"two kinds of operations are called {held.name}: one is in ops.{module}")
                found[held.name] = held
    return found


def rules(op: Op) -> Kind:
    """The record of an operation's kind."""
    return kinds()[op.kind]

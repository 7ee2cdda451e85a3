"""tcalc: shapes, parameters, FLOPs, memory and cost of transformers, derived from one graph.

>>> from transformer_calc import load
>>> load("gpt3").params().total
174604259328
"""

from __future__ import annotations

TYPE_CHECKING = False  # not imported from typing: it is not needed to start
if TYPE_CHECKING:
    from transformer_calc.api import Transformer, compare, load
    from transformer_calc.errors import InputError, TcalcError
    from transformer_calc.spec import Workload

__version__ = "0.1.0"
__all__ = ["InputError", "TcalcError", "Transformer", "Workload", "__version__", "compare", "load"]

_HOMES = {
    "load": "api",
    "compare": "api",
    "Transformer": "api",
    "Workload": "spec",
    "InputError": "errors",
    "TcalcError": "errors",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that importing the package costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

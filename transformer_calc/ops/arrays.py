"""NumPy, imported when a kernel first asks for something of it: counting needs no arrays, and starts without them."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    import numpy

    found = globals()[name] = getattr(numpy, name)
    return found

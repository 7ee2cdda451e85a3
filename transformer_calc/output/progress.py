"""A progress bar on standard error, for a person who has waited a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 1.0  # seconds before the bar appears


@contextmanager
def progress(label: str) -> Iterator[Callable[[float], None] | None]:
    """A function to call with the done share of the work; None where nobody watches."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    start, shown = time.monotonic(), list[Any]()

    def update(share: float) -> None:
        if not shown and time.monotonic() - start > PATIENCE:
            from rich.console import Console
            from rich.progress import Progress

            bar = Progress(console=Console(stderr=True), transient=True)
            bar.start()
            shown.extend((bar, bar.add_task(label, total=1.0)))
        if shown:
            shown[0].update(shown[1], completed=share)

    try:
        yield update
    finally:
        if shown:
            shown[0].stop()

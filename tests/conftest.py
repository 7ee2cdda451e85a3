"""What several test modules share."""

from __future__ import annotations

import gc
import os

import pytest
from shell import Shell

# Before NumPy is imported: what is multiplied here is small, and threads that wait for work cost more than the work.
for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """Golden data and thousands of collected tests are looked through by no garbage collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture
def tcalc(capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell in this process, with what it prints captured."""
    return Shell(capsys)

"""What several test modules share."""

from __future__ import annotations

import pytest
from shell import Shell


@pytest.fixture
def tcalc(capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell in this process, with what it prints captured."""
    return Shell(capsys)

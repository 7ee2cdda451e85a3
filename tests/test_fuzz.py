"""A seeded part of the fuzzer: 3,000 command lines and files, of which none breaks a promise (see `fuzz`)."""

from __future__ import annotations

from pathlib import Path

import fuzz
import pytest
from fuzz import broken, lines, of_files

EACH = 250


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 3 * fuzz.SECONDS)  # of the processor, which a busy machine shares out


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.filterwarnings("ignore::RuntimeWarning:fuzz")
def test_any_command_line_is_answered_or_refused(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not broken(lines(EACH, seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.filterwarnings("ignore::RuntimeWarning:fuzz")
def test_any_file_is_read_or_refused(seed: int, tmp_path: Path) -> None:
    assert not broken(of_files(EACH, seed, tmp_path))

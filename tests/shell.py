"""Command lines, run in this process."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from transformer_calc.cli import run


class Shell:
    """Runs command lines in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, line: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        status = run(shlex.split(line))
        return (status, *self.capsys.readouterr())

    def answer(self, line: str) -> str:
        status, out, err = self(line)
        assert status == 0, err
        return out

    def json(self, line: str) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.answer(f"{line} --json"))
        return data

    def refusal(self, line: str) -> str:
        """The error and the hint of a refused command line, without their marks."""
        status, out, err = self(line)
        lines = [text for text in err.splitlines() if not text.startswith("note: ")]
        assert (status, out) == (2, "")
        assert [text.partition(": ")[0] for text in lines] in (["error"], ["error", "hint"])
        return "\n".join(text.partition(": ")[2] for text in lines)

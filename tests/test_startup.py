"""Start-up is kept short by what is not imported; a clock on a shared machine would lie."""

import subprocess
import sys

import pytest

HEAVY = {"numpy", "rich", "pydantic", "importlib.metadata", "importlib.resources", "asyncio", "fractions"}


def imported(*command: str) -> set[str]:
    """The modules that a command imports, besides those that this Python imports for nothing."""

    def modules(*args: str) -> set[str]:
        run = subprocess.run(
            [sys.executable, "-X", "importtime", *args],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
        )
        lines = (line for line in run.stderr.splitlines() if line.startswith("import time:"))
        return {line.rpartition("|")[2].strip() for line in lines}

    return modules(*command) - modules("-c", "pass")


@pytest.mark.parametrize(
    "arguments", [["params", "--preset", "gpt3"], ["compare", "gpt3", "llama-3-8b"], ["cost", "gpt3", "--mfu", "0.3"]]
)
def test_json_needs_no_heavy_module(arguments: list[str]) -> None:
    modules = imported("-m", "transformer_calc", *arguments, "--json")
    assert not modules & HEAVY
    assert len({name for name in modules if not name.startswith("transformer_calc")}) < 130


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["params", "--help"]])
def test_help_needs_neither_heavy_modules_nor_the_graph(arguments: list[str]) -> None:
    modules = imported("-m", "transformer_calc", *arguments)
    assert not modules & HEAVY
    assert not [name for name in modules if name.startswith(("transformer_calc.graph", "transformer_calc.output."))]


def test_this_test_would_notice() -> None:
    assert {"numpy", "importlib.metadata"} <= imported("-c", "import numpy, importlib.metadata")
    assert "rich" in imported("-m", "transformer_calc", "params", "--preset", "gpt3")

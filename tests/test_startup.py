"""Start-up is kept short by what is not imported; a clock on a shared machine would lie."""

import subprocess
import sys

import pytest

from transformer_calc import cli
from transformer_calc.graph import model as graph_model
from transformer_calc.graph.model import build
from transformer_calc.readings.count import frozen

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


def test_the_version_needs_no_command_line() -> None:
    assert not [name for name in imported("-m", "transformer_calc", "--version") if name.startswith("typer")]


@pytest.mark.parametrize(
    ("command", "graphs"),
    [
        ("params gpt3", 1),
        ("fit llama-3-8b --device h100-sxm", 1),
        ("serve llama-3-8b --device h100-sxm", 1),
        ("serve deepseek-v2-lite --device h100-sxm", 2),  # latent attention decodes in a form of its own
        ("compare gpt2 llama-3-8b --device h100-sxm", 2),
        ("memory gpt2 --mode train --batch 8 --freeze 0-5", 2),  # layers that are frozen are a kind of their own
    ],
)
def test_a_graph_is_built_once(
    command: str, graphs: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built = []

    def counted(*args: object, **how: object) -> object:
        built.append(args)
        return build(*args, **how)  # type: ignore[arg-type]

    for module in (graph_model, frozen):
        monkeypatch.setattr(module, "build", counted)
    assert cli.run([*command.split(), "--json"]) == 0
    assert len(built) == graphs


def test_this_test_would_notice() -> None:
    assert {"numpy", "importlib.metadata"} <= imported("-c", "import numpy, importlib.metadata")
    assert "rich" in imported("-m", "transformer_calc", "params", "--preset", "gpt3")

"""A kind of operation is one record in one file: what is added there every command answers, and nothing is guessed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shell import Shell

import transformer_calc
from transformer_calc import load, ops
from transformer_calc.graph import layer
from transformer_calc.graph.core import AXES, Builder, Param, Tensor
from transformer_calc.ops.kind import Kind

PACKAGE = Path(transformer_calc.__file__).parent
MADE_UP = "made_up_decay"

# h[t] = a ⊙ h[t-1] + x[t], a row for each token: a recurrence with one learned number for each channel
RULES = {
    "name": '"decay"',
    "word": '"decaying sum"',
    "forward": "lambda op, sizes: Work(scan=FMA * product(op.output.dims, sizes))",
    "backward": "twice",
    "fused": "the_output",
    "eager": 'lambda op, how: (made(), own(op, "decays", op.params[0].dims, how.bytes))',
    "memory": "OWN",
    "kernel": "PASS",
    "traffic": "MOVED",
    "algebra": 'Algebra(lambda op, w: f"{w.weights[0]} ⊙ h + {w.x}", NEW, MATRICES)',
    "mesh": "always(WHOLE)",
    "run": "run",
    "copies": "always(2.0)",
    "traits": "NONE",
}
HEAD = """
from transformer_calc.ops import arrays as np
from transformer_calc.ops.core import FMA, Work, product
from transformer_calc.ops.kept import made, own, the_output
from transformer_calc.ops.kind import MOVED, NONE, OWN, PASS, WHOLE, Kind, always, twice
from transformer_calc.ops.notation import MATRICES, NEW, Algebra

def run(op, inputs, params, machine):
    (x,), (a,) = inputs, params
    y = np.zeros_like(x)
    for t in range(x.shape[-2]):
        y[..., t, :] = x[..., t, :] + (a * y[..., t - 1, :] if t else 0)
        machine.multiply_adds += x[..., t, :].size
    return y
"""


def file_of(rules: dict[str, str]) -> str:
    """The text of a file that adds the kind."""
    return f"{HEAD}\nDECAY = Kind({', '.join(f'{name}={rule}' for name, rule in rules.items())})\n"


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], None]]:
    """Adds a file to the package, and puts the kind behind the feed-forward part of every layer."""
    mlp = vars(layer)["mlp"]

    def behind(b: Builder, *rest: Any) -> Tensor:
        y = mlp(b, *rest)
        return b.emit("decay", "decay", (y,), y.dims, (Param("decay", (y.dims[-1],)),), note="")

    def added(rules: dict[str, str]) -> None:
        (tmp_path / f"{MADE_UP}.py").write_text(file_of(rules), encoding="utf-8")
        monkeypatch.setattr(ops, "__path__", [*ops.__path__, str(tmp_path)])
        monkeypatch.setattr(layer, "mlp", behind)
        ops.kinds.cache_clear()

    yield added
    sys.modules.pop(f"{ops.__name__}.{MADE_UP}", None)
    ops.kinds.cache_clear()


def test_a_kind_that_is_one_file_is_answered_by_every_command(
    add: Callable[[dict[str, str]], None], tcalc: Shell
) -> None:
    batch, seq, layers, width = 2, 128, 12, 768
    device = "--device h100-sxm"
    of = f"gpt2 --batch {batch} --seq {seq}"
    lines = {
        "params": "params gpt2",
        "flops": f"flops {of}",
        "training": f"memory {of} --mode train",
        "eager": f"memory {of} --mode train --kernels eager --attention eager",
        "inference": f"memory {of}",
        "cost": f"cost gpt2 {device} --tokens 1B",
        "serve": f"serve gpt2 {device}",
    }
    before = {name: tcalc.json(line) for name, line in lines.items()}
    add(RULES)
    after = {name: tcalc.json(line) for name, line in lines.items()}

    assert after["params"]["params"]["total"] == before["params"]["params"]["total"] + layers * width
    scan = 2 * batch * seq * width * layers
    for work, times in (("forward", 1), ("backward", 2), ("train", 3)):
        was, now = before["flops"]["flops"][work], after["flops"]["flops"][work]
        assert now == {**was, "scan": times * scan, "total": was["total"] + times * scan}
    more = 3 * scan // (batch * seq)
    assert after["flops"]["per_token"]["train"] == before["flops"]["per_token"]["train"] + more
    kept = {name: after[name]["memory"]["saved"] - before[name]["memory"]["saved"] for name in ("training", "eager")}
    output = layers * batch * seq * width * 2
    assert kept == {"training": output, "eager": output + layers * width * 2}
    was, now = (found["inference"]["memory"]["per_device"]["weights"] for found in (before, after))
    assert now == was + layers * width * 2
    assert after["cost"]["cost"]["flops"] == before["cost"]["cost"]["flops"] + more * 10**9
    for seconds in ("ttft_seconds", "tpot_seconds"):
        assert after["serve"]["serve"][seconds] > before["serve"]["serve"][seconds]

    (row,) = (op for op in tcalc.json(f"shapes {of}")["ops"] if op["op"] == "decay")
    assert (row["flops"], row["what"]) == (scan // layers, "decaying sum")
    assert row["output"]["shape"] == [batch, seq, width]
    assert tcalc.json(f"fit gpt2 {device}")["fit"]["fits"]
    assert tcalc.json("verify gpt2")["ok"]
    steps = [step for step in tcalc.json("walk gpt2 --shrink")["steps"] if step["op"] == "decay"]
    assert steps
    assert all("⊙ h + " in step["algebra"] for step in steps)


@pytest.mark.parametrize("rule", Kind._fields)
def test_a_kind_without_a_rule_cannot_be_imported(add: Callable[[dict[str, str]], None], rule: str) -> None:
    add({name: text for name, text in RULES.items() if name != rule})
    with pytest.raises(TypeError, match=f"'{rule}'"):
        ops.kinds()


def test_the_rules_of_the_made_up_kind_are_all_that_there_are() -> None:
    assert tuple(RULES) == Kind._fields


def test_two_kinds_of_one_name_are_refused(add: Callable[[dict[str, str]], None]) -> None:
    add({**RULES, "name": '"linear"'})
    with pytest.raises(ImportError, match="two kinds of operations are called linear"):
        ops.kinds()


def test_every_operation_of_every_kind_has_its_record() -> None:
    for name in ("gpt2", "t5-base", "deepseek-v3", "mixtral-8x7b", "whisper-tiny", "clip-vit-base-patch32"):
        for block in load(name).graph.blocks:
            assert {op.kind for op in block.ops} <= ops.kinds().keys()


def test_kinds_are_found_without_arrays() -> None:
    import subprocess

    script = "import sys; from transformer_calc import ops; ops.kinds(); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


# --- nobody else knows kinds --------------------------------------------------------------------------------------


def asked(text: str, kinds: frozenset[str]) -> Iterator[str]:
    """Comparisons of something's `kind` with the name of a kind of operation."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Match) and isinstance(node.subject, ast.Attribute) and node.subject.attr == "kind":
            yield ast.unparse(node.subject)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            words = {n.value for side in sides for n in ast.walk(side) if isinstance(n, ast.Constant)}
            names = {n.attr for side in sides for n in ast.walk(side) if isinstance(n, ast.Attribute)}
            if "kind" in names and words & kinds:
                yield ast.unparse(node)


@pytest.mark.parametrize("stage", ["readings", "report", "output", "cli"])
def test_no_stage_after_the_graph_asks_for_a_kind_by_name(stage: str) -> None:
    kinds = frozenset(ops.kinds())
    files = [*(PACKAGE / stage).rglob("*.py")]
    found = {path.name: [*asked(path.read_text(encoding="utf-8"), kinds)] for path in files}
    assert files
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_what_asks_for_a_kind_is_found() -> None:
    assert [*asked('if op.kind == "linear" or o.kind in ("mask", "view"): pass', frozenset(ops.kinds()))] == [
        "op.kind == 'linear'",
        "o.kind in ('mask', 'view')",
    ]


def guessed(text: str) -> Iterator[str]:
    """Beginnings and ends of names that are asked for in place of what an axis or a tensor says of itself."""
    names = {*AXES, ".output"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            words = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
            if node.func.attr in ("startswith", "endswith") and {word.rstrip("_") for word in words} & names:
                yield ast.unparse(node)


def test_no_reading_takes_a_name_apart() -> None:
    """`plain` says what an axis counts, `Tensor.given` and `Tensor.handed` where a tensor is from."""
    found = {path.name: [*guessed(path.read_text(encoding="utf-8"))] for path in (PACKAGE / "readings").rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_what_takes_a_name_apart_is_found() -> None:
    text = 'axis.startswith(("context", "keys")) or name.endswith(".output") or path.endswith(".json")'
    assert len([*guessed(text)]) == 2

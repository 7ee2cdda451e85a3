"""The plan that `tcalc cost` times: what was tried for it is said, none next to it is faster, what is given stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from reports import bytes_of
from shell import Shell

from transformer_calc import load
from transformer_calc.plan import Mesh, Training
from transformer_calc.sources import presets


@pytest.fixture
def tcalc(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


RUNS = [  # a run, and ways to give what is else looked for
    ("llama-3.1-70b --device h100-sxm --devices 512 --tokens 1T --batch 512 --seq 8192", "pp", (1, 2, 4, 5, 8, 10)),
    ("llama-3.1-70b --device h100-sxm --devices 512 --tokens 1T --batch 512 --seq 8192", "tp", (1, 2, 4, 8)),
    ("llama-2-70b --device a100 --devices 1024 --tokens 1T --batch 1024", "pp", (1, 2, 4, 8, 16)),
    ("llama-2-13b --device a100 --devices 128 --tokens 1T --batch 512", "zero", (0, 1, 2, 3)),
    ("mixtral-8x7b --device h100 --devices 128 --tokens 1T --batch 256 --seq 4096", "pp", (1, 2, 4, 8)),
    ("gpt3 --device a100 --devices 1024", "tp", (1, 2, 4, 8)),
    ("gpt3 --device a100 --devices 1024", "micro-batch", (1, 2, 4, 8)),
    ("llama-3.1-405b --device h100-sxm --devices 1024 --tokens 1T --batch 512 --seq 8192", "pp", (8, 9, 14, 16, 18)),
    (
        "llama-3.1-405b --device h100-sxm --devices 1024 --tokens 1T --batch 512 --seq 8192",
        "recompute",
        ("none", "full"),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "option", "values"), RUNS)
def test_no_value_of_an_option_that_was_looked_for_is_faster(
    tcalc: Shell, line: str, option: str, values: tuple[Any, ...]
) -> None:
    """To a hundredth: groups of layers that do not divide them are not tried."""
    found = tcalc.json(f"cost {line}")
    for value in values:
        given = tcalc.json(f"cost {line} --{option} {value}")
        if given["fits"]:
            assert given["plan"][option.replace("-", "_")] in (value, 0)  # ZeRO of a single copy is none
            assert given["cost"]["step_seconds"] >= 0.99 * found["cost"]["step_seconds"]


def test_what_was_tried_is_said(tcalc: Shell) -> None:
    line = "cost llama-2-13b --device a100 --devices 128 --tokens 1T --batch 512"
    found = tcalc.json(line)
    plan, assumed = found["plan"], found["assumptions"]["plan"]["text"]
    assert found["fits"] is found["memory"]["fits"] is True
    assert found["searched"] > 10
    assert 0 < found["fitting"] <= found["searched"]
    assert f"the fastest that fits of {found['searched']} plans tried" in assumed
    assert "tp 1, 2, 4, 8" in assumed
    assert plan["tp"] * plan["pp"] * plan["dp"] * plan["cp"] == 128
    model = load("llama-2-13b")
    mesh = Mesh(**{name: plan[name] for name in ("dp", "tp", "pp", "cp", "ep", "sp")})
    how = Training(mesh=mesh, **{name: plan[name] for name in Training.__dataclass_fields__ if name in plan})
    held = bytes_of(model, model.workload(batch=found["step"]["sequences"], seq=4096), how)
    assert found["memory"]["per_device"] == held
    shown = " ".join(tcalc.answer(line).split())
    assert f"the fastest of {found['searched']} tried that fits" in shown
    assert "usual ones" not in shown


def test_a_plan_that_is_given_is_timed_though_it_does_not_fit(tcalc: Shell) -> None:
    line = "cost llama-3-70b --device h100-sxm --devices 8 --tokens 1T --batch 64 --tp 8 --pp 1 --recompute full"
    found = tcalc.json(line)  # exit status 0
    assert found["fits"] is found["memory"]["fits"] is False
    assert found["cost"]["step_seconds"] > 0
    assert found["memory"]["per_device"]["total"] > 80 * 10**9
    assert "where nothing fits" in found["assumptions"]["plan"]["text"]
    assert "does not fit: the time is what it would be" in " ".join(tcalc.answer(line).split())
    left = tcalc.json("cost llama-3-70b --device h100-sxm --devices 8 --tokens 1T --batch 64")  # no plan to be timed
    assert left["plan"] is left["memory"] is left["fits"] is left["cost"]["step_seconds"] is None
    assert "no way to spread the model" in left["unknown"]["time"]


def test_a_plan_that_is_given_whole_is_timed_as_given(tcalc: Shell) -> None:
    line = (
        "cost llama-3-8b --device h100 --devices 16 --tokens 1T --batch 64 --tp 2 --pp 2 --dp 4 --zero 1 --sp "
        "--micro-batch 2 --schedule 1f1b --recompute none"
    )
    found = tcalc.json(line)
    assert found["searched"] == 1
    assert found["assumptions"]["plan"]["text"].endswith(": as given")
    assert (found["plan"]["micro_batch"], found["plan"]["virtual"]) == (2, 1)


SELECTIVE = "selective recomputation changes nothing here: flash attention keeps no score matrix"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("memory gpt3 --mode train --recompute selective", True),
        ("memory gpt3 --mode train --recompute selective --attention eager", False),
        ("memory gpt3 --mode train --recompute selective --kernels eager", False),  # operator by operator more is kept
        ("memory gpt3 --mode train --recompute full", False),
        ("fit gpt2 --mode train --recompute selective --device h100", True),
        ("cost gpt3 --recompute selective", True),
        ("cost gpt3 --recompute selective --attention eager", False),
        ("cost gpt3 --recompute selective --mfu 0.3", False),  # the time is given, and says nothing of kernels
    ],
)
def test_selective_recomputation_that_changes_nothing_is_said_to(tcalc: Shell, line: str, said: bool) -> None:
    status, out, err = tcalc(f"{line} --json")
    assert status == 0
    assert (SELECTIVE in err) is said
    data = json.loads(out)
    if data["command"] != "fit":
        assert ("selective recomputation" in data["assumptions"]) is said
    shown = " ".join(tcalc.answer(line).split())
    assert ("changes nothing here: flash attention" in shown) is said


@pytest.mark.parametrize("name", [name for name in presets.names() if name != "exercise"])
def test_selective_recomputation_does_change_nothing_there(name: str) -> None:
    """The exercise is so small that the input of its core is more than what is kept of it."""
    model = load(name)
    run = model.workload(batch=2, seq=None)
    none, selective = (bytes_of(model, run, Training(recompute=how)) for how in ("none", "selective"))
    assert none == selective


def test_what_changes_memory_alone_is_said_to(tcalc: Shell) -> None:
    line = "cost llama-3-8b --device h100 --devices 64 --tokens 1T --batch 512 --zero 3 --tp 1 --recompute none"
    plain, other = (tcalc.json(f"{line} {more}") for more in ("", "--kernels eager --prefetch 2"))
    assert plain["cost"]["step_seconds"] == other["cost"]["step_seconds"]
    said = "--kernels and --prefetch change what memory holds, not the time of a step"
    assert other["assumptions"]["memory alone"]["text"] == said
    assert "memory alone" not in plain["assumptions"]
    assert said in tcalc(f"{line} --kernels eager --prefetch 2")[2]
    assert "--kernels is eager, but --mode is infer" in tcalc.refusal("serve gpt2 --device h100 --kernels eager")

"""Published runs: what each takes for granted, and that what is claimed of them is what the command line gives."""

from __future__ import annotations

import json
from typing import Any

import predictions
import pytest
from test_readme import PREDICTED, PREDICTIONS

DATA: dict[str, Any] = json.loads((predictions.GOLDEN / "training_runs.json").read_text())
FIELDS = "model devices seq batch micro_batch tp pp cp ep virtual zero recompute attention sp precision counts".split()
RATES = {"step_seconds", "tokens_per_second", "tokens_per_second_per_device"}  # which count no FLOPs


def applying(run: dict[str, Any]) -> set[str]:
    """The fields of a run's configuration that change its time, or what its published rate means."""
    fields = {"model", "devices", "seq", "batch", "micro_batch", "recompute", "attention", "precision"}
    fields |= {name for name in ("tp", "pp", "cp", "ep") if run[name] > 1}
    fields |= {"virtual"} if run["pp"] > 1 else set()
    fields |= {"sp"} if run["tp"] > 1 else set()
    fields |= {"zero"} if run["dp"] * run["cp"] > 1 else set()
    return fields | (set() if RATES & run["reported"].keys() else {"counts"})


def sources(runs: list[dict[str, Any]]) -> list[str]:
    """What published some runs."""
    return sorted({run["id"].partition("/")[0] for run in runs})


@pytest.mark.parametrize("source", sources(DATA["runs"]))
def test_what_a_training_run_takes_for_granted_is_listed(source: str) -> None:
    """Every field that applies is printed by the source, or taken for granted for a reason that is given."""
    printed = set(DATA["printed"][source])
    assert printed <= set(FIELDS)
    for run in (run for run in DATA["runs"] if run["id"].startswith(f"{source}/")):
        assert applying(run) <= printed | run["assumed"].keys(), run["id"]
        assert run["assumed"].keys() <= applying(run), run["id"]
        assert all(isinstance(why, str) and len(why) > 10 for why in run["assumed"].values()), run["id"]
        assert run["micro_batch"] is not None or "micro_batch" in run["assumed"], run["id"]
        assert run["devices"] == run["dp"] * run["tp"] * run["pp"] * run["cp"], run["id"]


@pytest.mark.parametrize("source", sources(predictions.runs("inference")))
def test_what_an_inference_run_takes_for_granted_is_listed(source: str) -> None:
    for run in (run for run in predictions.runs("inference") if run["id"].startswith(f"{source}/")):
        assumed = run.get("assumed", {})
        assert isinstance(assumed, dict), run["id"]
        assert assumed.keys() <= run.keys(), run["id"]
        assert all(isinstance(why, str) and len(why) > 10 for why in assumed.values()), run["id"]


def test_what_the_paper_says_is_interleaved_is() -> None:
    """Llama 3 405B: a chunk is a layer, 126 and two without (arXiv 2407.21783, §3.3.2); Nemotron-4: by its recipe."""
    for run in DATA["runs"]:
        if run["id"].startswith("llama-3-405b/"):
            assert run["pp"] * run["virtual"] == 126 + 2
        if run["id"].startswith("nemotron-4-340b/"):
            assert run["pp"] * run["virtual"] == 96


# The command line takes none of these: experts split over tensor parallelism too, 4 bits, and tensor parallelism that
# splits heads; and it prices no batch that memory does not hold at once.
WITHOUT = {
    "training": {
        "nemo/25.11/h100/qwen3-235b-a22b-256": "--ep is 32; it must divide --dp times --cp (16)",
        "nemo/26.02/h100/qwen3-235b-a22b-256": "--ep is 32; it must divide --dp times --cp (16)",
        "nemo/26.02/gb300/llama-3-70b-64-nvfp4": "'fp4' is not a precision",
    },
    "inference": {
        "trt-llm/h100/180b-1024-128-128": "memory holds at once",
        "trt-llm/h100/180b-64-2048-128": "memory holds at once",
        "trt-llm/h100/180b-64-2048-2048": "memory holds at once",
        "trt-llm/a100/180b-1024-128-128": "memory holds at once",
        "pope/palm-540b-prefill-1": "--tp is 64; it must divide the 48 query heads",
        "pope/palm-540b-decode-64": "--tp is 64; it must divide the 48 query heads",
        "pope/palm-540b-prefill-512": "--tp is 64; it must divide the 48 query heads",
        "pope/palm-540b-decode-512": "--tp is 64; it must divide the 48 query heads",
    },
}


@predictions.once
@pytest.mark.parametrize("kind", ["training", "inference"])
def test_every_run_is_answered_by_the_command_line_or_named(kind: str) -> None:
    found, without = predictions.predicted_training() if kind == "training" else predictions.predicted_inference()
    assert {one.id for one in without} == WITHOUT[kind].keys()
    for one in without:
        assert WITHOUT[kind][one.id] in one.why
    assert len(found) + len(without) == len(predictions.runs(kind))
    assert all(one.predicted > 0 for one in found)


@predictions.once
def test_the_plan_that_is_timed_is_the_one_that_was_published() -> None:
    """Nothing of a run's configuration is left to be looked for, whether memory holds it or not."""
    for run in DATA["runs"][::12]:
        data, error = predictions.ask(predictions.training_line(run))
        if error:
            continue
        plan = data["plan"]
        assert {name: plan[name] for name in ("tp", "pp", "dp", "cp", "ep", "virtual", "recompute", "attention")} == {
            name: run[name] for name in ("tp", "pp", "dp", "cp", "ep", "virtual", "recompute", "attention")
        }
        assert plan["micro_batch"] == (run["micro_batch"] or 1)
        assert plan["sp"] == (run["sp"] and run["tp"] > 1)
        assert plan["zero"] == (run["zero"] if run["dp"] * run["cp"] > 1 else 0)
        assert data["searched"] == 1
    beyond = [one.fits is False for one in predictions.training()]
    assert 0.05 < sum(beyond) / len(beyond) < 0.35  # the page says: about one in six


@predictions.once
def test_errors_of_the_estimates_are_listed() -> None:
    found = PREDICTIONS.search(PREDICTED.read_text(encoding="utf-8"))
    assert found
    assert found[2].strip() == predictions.table()
    text = " ".join(PREDICTED.read_text(encoding="utf-8").split())
    assert predictions.counts() in text
    unanswered = (*predictions.predicted_training()[1], *predictions.predicted_inference()[1])
    assert all(f"`{one.id}`" in text for one in unanswered)

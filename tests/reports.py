"""Reports of plans as records, with what they rest on in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformer_calc import Transformer
from transformer_calc.errors import as_options
from transformer_calc.facts import Device
from transformer_calc.plan import Serving, Training
from transformer_calc.report import Report, fit, memory, serve
from transformer_calc.spec import Workload

Plan = Serving | Training


def memory_report(
    model: Transformer,
    run: Workload,
    plan: Plan,
    *,
    device: Device | None = None,
    check: bool = False,
    **asked: Any,
) -> Report:
    """What `tcalc memory` says."""
    return memory.build(model.memory(**_sizes(run), plan=plan, device=device, **asked), check=check)


def fit_report(model: Transformer, sizes: Mapping[str, int], plan: Plan, *, device: Device, **asked: Any) -> Report:
    """What `tcalc fit` says."""
    return fit.build(model.fit(**sizes, plan=plan, device=device, **asked))  # type: ignore[arg-type]


def serve_report(model: Transformer, run: Workload, plan: Plan, *, device: Device, **asked: Any) -> Report:
    """What `tcalc serve` says."""
    answer = model.serve(**_sizes(run), plan=plan, device=device, **asked)
    return serve.build(answer, ideal=bool(asked.get("ideal")))


def bytes_of(model: Transformer, run: Workload, plan: Plan) -> dict[str, int]:
    """Bytes of each kind on the fullest device."""
    return model.held(run, plan).fullest.bytes.to_dict()


def texts(data: Mapping[str, Any]) -> dict[str, str]:
    """What an answer rests on, in words."""
    return {name: one["text"] for name, one in data["assumptions"].items()}


def said(error: Exception) -> str:
    """A message in the command line's words."""
    return as_options(str(error))


def _sizes(run: Workload) -> dict[str, Any]:
    return dict(run.to_dict())

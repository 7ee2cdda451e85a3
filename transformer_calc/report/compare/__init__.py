"""The report of `tcalc compare`: what the other commands say of each model, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from transformer_calc.errors import as_options
from transformer_calc.report import Facts, Kind, Report, Section, Text, in_options
from transformer_calc.report.common import rests_on
from transformer_calc.report.compare import tables

if TYPE_CHECKING:
    from transformer_calc.readings.cost.compare import Comparison

LISTED = "batch sequence time plan device peak precision price power PUE carbon".split()  # of what training rests on
FIELDS = ("tokens", "devices", "mfu", "price", "batch")  # that the command takes


def build(answer: Comparison, *, diff: bool = False) -> Report:
    """Each fact's values in the order of the models, whether they are the same, and their ratios to the first.

    diff:  only the rows that differ
    """
    rows = answer.differing if diff else answer.rows
    models = list(map(in_options, answer.models))
    assumptions, basis = rests_on(answer.assumptions)
    compared = {
        "models": answer.names,
        "rows": [row._asdict() for row in rows],
        "described": models,
        "workloads": answer.workloads,
    }
    data: dict[str, Any] = {"compare": compared, "assumptions": assumptions}
    differ = f"{tables.OTHER} {len(answer.differing)} of {len(answer.rows)} rows differ"
    ends, said = [f"{differ}; a ratio is to {answer.names[0]}"], [basis]
    if answer.device:
        data |= {
            "device": {"name": answer.device.name},
            "devices": answer.devices,
            "served": {
                name: one and {"assumptions": rests_on(one.assumptions)[0]} for name, one in answer.served.items()
            },
            "trained": {
                name: {
                    "assumptions": rests_on(run.assumptions)[0],
                    "unknown": {key: as_options(one.text) for key, one in run.unknown.items()},
                }
                for name, run in answer.trained.items()
            },
        }
        ends += _lacking(answer)
        said += _rests(answer)
    sections: tuple[Section, ...] = (
        Text(tables.title(answer)),
        *tables.of_groups(answer, rows),
        Text("\n".join(ends)),
        *said,
    )
    main = tables.whole(answer, rows)
    return Report("compare", models[0], answer.workload, data, sections, main, models=tuple(models))


def _rests(answer: Comparison) -> Iterator[Facts]:
    """For people: what training and serving rest on, each said once of all models that it holds for."""
    trained = {
        name: {key: one for key, one in run.assumptions.items() if key in LISTED}
        for name, run in answer.trained.items()
    }
    served = {name: one.assumptions if one else {} for name, one in answer.served.items()}
    for what, found in (("training", trained), ("serving", served)):
        lines: list[tuple[str, str, Kind]] = []
        for key in dict.fromkeys(key for said in found.values() for key in said):
            texts: dict[str, list[str]] = {}
            for name, said in found.items():
                if key in said:
                    texts.setdefault(as_options(said[key].text), []).append(name)
            for text, names in texts.items():
                of = "" if len(names) == len(answer.names) else f"{_and(names)}: "
                lines.append((key, f"{of}{text}", "text"))
        if lines:
            yield Facts(f"assumptions of {what}", tuple(lines))


def _lacking(answer: Comparison) -> Iterator[str]:
    """Which options would make known what is not known of training."""
    lacking: dict[str, list[str]] = {}
    for name, run in answer.trained.items():
        unknown = [key for key in ("usd", "days", "mfu", "step_seconds") if getattr(run.cost, key) is None]
        fields = dict.fromkeys(f"--{field}" for key in unknown for field in run.needs(key) if field in FIELDS)
        if fields:
            lacking.setdefault(_and(list(fields)), []).append(name)
    for options, names in lacking.items():
        yield f"what is not known of training {_and(names)} needs {options}"


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))

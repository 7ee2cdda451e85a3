"""The library's front door: `load` a model and take readings of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformer_calc.errors import InputError
from transformer_calc.graph.core import Graph
from transformer_calc.spec import Audio, Model, Patches, Tokens, Workload

if TYPE_CHECKING:
    from transformer_calc.readings.params import Params

DEFAULT_PRESET = "gpt2"


class Transformer:
    """A loaded model: its spec, its graph, and the readings of it."""

    def __init__(self, spec: Model, source: str, notes: Iterable[str] = ()) -> None:
        self.spec, self.source, self.notes = spec, source, tuple(notes)

    @cached_property
    def graph(self) -> Graph:
        """What the model computes."""
        from transformer_calc.graph.model import build

        return build(self.spec)

    def workload(
        self, batch: int = 1, seq: int | None = None, target_seq: int | None = None, context: int | None = None
    ) -> Workload:
        """A workload on this model; what is left out is what the model is usually run with."""
        decoding = self.spec.kind == "encoder-decoder"
        first = self.spec.stacks[0].embedding
        if isinstance(first, Patches):
            fixed = first.count + first.extra_tokens
            if seq not in (None, fixed):
                raise InputError(f"seq is {seq}; this model's images are {fixed} tokens", hint="change image_size instead")
            seq = fixed
        if target_seq is not None and not decoding:
            raise InputError(f"target_seq is {target_seq}, but {self.spec.name} has no decoder beside an encoder")
        limit = self.max_positions
        if seq is None:
            seq = first.positions.count if isinstance(first, Audio) else min(limit or 2048, 2048)
        if decoding and target_seq is None:
            last = self.spec.stacks[-1].embedding
            count = last.positions.count if isinstance(last, Tokens) and last.positions else 2048
            target_seq = min(seq, count)
        return Workload(batch=batch, seq=seq, target=target_seq, context=context or 0)

    @property
    def max_positions(self) -> int | None:
        """The longest sequence that the token embedding has positions for, if it has a table."""
        first = self.spec.stacks[0].embedding
        positions = getattr(first, "positions", None)
        return getattr(positions, "count", None)

    def params(self) -> Params:
        """Parameter counts: total, active, embedding, non_embedding.

        >>> load("gpt3").params().total
        174604259328
        """
        from transformer_calc.readings.params import params

        return params(self.graph, self.graph.sizes(Workload()))

    def describe(self) -> dict[str, Any]:
        """For reports: what the model is."""
        return {
            "name": self.spec.name,
            "family": self.spec.family,
            "kind": self.spec.kind,
            "source": self.source,
        }


def load(
    model: str | Path | None = None,
    *,
    preset: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
    sets: Iterable[str] = (),
    ignore: Iterable[str] = (),
) -> Transformer:
    """Load a model.

    model:  a preset's name, or a path to a config.json or to a folder that holds one
    preset, config:  the same explicitly; `config` may also be the parsed object
    fields:  hyperparameters that override the source's, or with no source describe a model from nothing
    sets:  `path=value` settings of any field of the spec
    ignore:  keys of the config to pass over although they are not understood
    Raises InputError, with one clear sentence, if the description is wrong.
    """
    from transformer_calc.sources import settings

    given = [name for name, value in (("MODEL", model), ("--preset", preset), ("--config", config)) if value is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} both name a model; give one")
    fields = dict(fields or {})
    if model is not None:
        text = str(model)
        if not text:
            raise InputError("the model's name is empty", hint="see tcalc presets")
        looks_like_path = isinstance(model, Path) or "/" in text or text.endswith(".json") or Path(text).is_dir()
        preset, config = (None, model) if looks_like_path else (text, None)
    if config is not None:
        from transformer_calc.sources import huggingface

        if isinstance(config, Mapping):
            data, where, source = dict(config), "", "config"
        else:
            path = Path(config)
            data, where, source = huggingface.read(path), f"{path}: ", str(path)
        spec, notes = huggingface.load(data, fields=fields, ignore=ignore, where=where)
    elif preset is None and fields:
        from transformer_calc.sources import hyperparameters

        spec, notes, source = hyperparameters.load(fields, name="model"), [], "hyperparameters"
    else:
        from transformer_calc.sources import presets

        notes = [] if preset is not None else [f"no model given: this is the preset {DEFAULT_PRESET}"]
        preset = preset if preset is not None else DEFAULT_PRESET
        spec, more = presets.load(preset, fields=fields)
        notes, source = notes + more, f"preset {preset}"
    return Transformer(settings.apply(spec, sets), source, notes)

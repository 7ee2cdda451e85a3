"""Measures tests/golden/reference.json again: published models as their classes build, cache and compute them.

    python tests/oracle/reference.py [--out FILE] [NAME ...]

Needs transformers 5.24 and torch 2.13 CPU, no network and little memory: every model is built on torch.device("meta").
The published config.json files stand in the file itself, and with each the sizes that it is measured at. Of each model:

    total      every parameter once (tied ones too), buffers excluded
    embedding  the weights of all nn.Embedding modules
    active     the total without the experts that a token does not go to; null where there are none
    tensors    the parameters' names with layer numbers as *, their shapes, and how many are alike
    kv         elements of the cache after a forward pass; windowed layers with their whole window, of which
               transformers' class keeps one token less
    flops      what PyTorch's FlopCounterMode counts, with eager attention; experts by `batched_mm`, which multiplies
               those that a token goes to and no others

Llama 4's class multiplies every token with every expert: here with those that it goes to. T5-family configs with
tie_word_embeddings false have two matrices, as their checkpoints do. A model that says `later` is of an architecture
that tcalc refuses; of state-space models the FLOPs are those of the class's plain loop, scan and padding included.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import published
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.llama4 import modeling_llama4

transformers.logging.set_verbosity_error()
warnings.simplefilter("ignore")  # of names that a later version calls otherwise
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "reference.json"
TOP_K = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "top_k")


def class_of(config: dict[str, Any]) -> str:
    """The class that a config is built as."""
    (name,) = config["architectures"]
    return published.NOW.get(name, name)


def built(config: dict[str, Any]) -> Any:
    """The model on the meta device."""
    kind = config["model_type"]
    made = CONFIG_MAPPING[kind].from_dict(json.loads(json.dumps(config)))
    with torch.device("meta"):
        model = getattr(transformers, class_of(config))._from_config(made, attn_implementation="eager")
        if kind in ("t5", "mt5", "umt5") and config.get("tie_word_embeddings") is False:
            model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("batched_mm")
    return model.eval()


def routed(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Llama 4's experts for as many tokens as go to one, in place of all tokens in each."""
    each = x.shape[0] // self.num_experts
    x = x[: each * self.top_k].view(self.top_k, each, self.hidden_size)
    gate, up = torch.bmm(x, self.gate_up_proj[: self.top_k]).chunk(2, dim=-1)
    out = torch.bmm(up * self.act_fn(gate), self.down_proj[: self.top_k])
    return out.view(-1, self.hidden_size).repeat(self.num_experts // self.top_k, 1)


def inputs(model: Any, row: dict[str, Any]) -> dict[str, torch.Tensor]:
    """What the class takes, of the sizes that a row has."""
    config, batch, made = model.config, row["batch"], {}
    vision = getattr(config, "vision_config", config)
    if hasattr(vision, "image_size"):
        made["pixel_values"] = torch.zeros(batch, vision.num_channels, vision.image_size, vision.image_size)
    if config.model_type == "whisper":
        made["input_features"] = torch.zeros(batch, config.num_mel_bins, 2 * config.max_source_positions)
    if seq := row.get("src", row.get("seq")):
        made["input_ids"] = torch.zeros(batch, seq, dtype=torch.long)
        if config.model_type == "deberta-v2":  # whose class looks into ids that come without one
            made["attention_mask"] = torch.ones(batch, seq, dtype=torch.long)
    if "tgt" in row:
        made["decoder_input_ids"] = torch.zeros(batch, row["tgt"], dtype=torch.long)
    dtype = model.dtype
    return {key: (x.to(dtype) if x.is_floating_point() else x).to("meta") for key, x in made.items()}


def flops(model: Any, row: dict[str, Any]) -> int:
    """What is counted of a pass."""
    backward = row["pass"] == "forward+backward"
    given = inputs(model, row)
    if row["pass"] == "decode":
        given |= {"cache": filled(model, {"batch": row["batch"], "seq": row["past"]}), "use_cache": True}
    counter = FlopCounterMode(display=False)
    with torch.set_grad_enabled(backward), counter:
        out = model(**given)
        if backward:
            out[0].sum().backward()
    return counter.get_total_flops()


def filled(model: Any, row: dict[str, Any]) -> Any:
    """The cache after a pass: not every class returns it, so a decoder is given one to fill."""
    given = inputs(model, row)
    if not model.config.is_encoder_decoder:
        given["cache"] = transformers.DynamicCache(config=model.config)
    with torch.no_grad():
        out = model(**given, use_cache=True)
    return given["cache"] if "cache" in given else out["cache"]


def cached(model: Any, row: dict[str, Any]) -> int:
    """Elements of keys and values after a pass, windowed layers with their whole window."""
    cache, total = filled(model, row), 0
    for part in (cache.self_attention_cache, cache.cross_attention_cache) if hasattr(cache, "is_updated") else (cache,):
        for layer in part.layers:
            for tensor in (layer.keys, layer.values) if getattr(layer, "keys", None) is not None else ():
                kept, short = tensor.numel(), tensor.shape[-2] < row.get("seq", 0)
                total += kept + (kept // tensor.shape[-2] if "SlidingWindow" in type(layer).__name__ and short else 0)
    return total


def measured(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry, anew."""
    model = built(entry["config"])
    parameters = dict(model.named_parameters())
    names = [re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) for name in parameters]
    shapes = Counter(zip(names, (tuple(p.shape) for p in parameters.values()), strict=True))
    tables = {id(m.weight): m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    total = sum(p.numel() for p in parameters.values())
    experts = [p for name, p in parameters.items() if ".experts." in name and p.ndim >= 2]
    top_k = next((value for key in TOP_K if (value := getattr(model.config, key, None))), 0)
    idle = sum(p.numel() * (p.shape[0] - top_k) // p.shape[0] for p in experts)
    return {
        **{key: entry[key] for key in ("config", "later")},
        "total": total,
        "embedding": sum(tables.values()),
        "active": total - idle if experts else None,
        "tensors": [[name, list(shape), count] for (name, shape), count in sorted(shapes.items())],
        "kv": [{**row, "elements": cached(model, row)} for row in entry["kv"]],
        "flops": [{**row, "total": flops(model, row)} for row in entry["flops"]],
    }


def main() -> None:
    """Measure all models, or those that are named, and say what has become another."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=GOLDEN)
    asked = parser.parse_args()
    modeling_llama4.Llama4TextExperts.forward = routed
    init = modeling_llama4.Llama4TextExperts.__init__
    modeling_llama4.Llama4TextExperts.__init__ = lambda self, config: (
        init(self, config),
        setattr(self, "top_k", config.num_experts_per_tok),
    )[-1]
    models = json.loads(GOLDEN.read_text())
    for name in asked.names or models:
        print(name, flush=True)
        try:
            now = measured(models[name])
        except Exception as error:
            print(f"    {type(error).__name__}: {error}; what stood there stays")
            continue
        for key, value in now.items():
            if value != models[name][key]:
                print(f"    {key}: {str(models[name][key])[:300]} -> {str(value)[:300]}", flush=True)
        models[name] = now
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in models.items()]
    asked.out.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(asked.names or models)} models measured, {asked.out.stat().st_size:,} bytes in {asked.out}")


if __name__ == "__main__":
    main()

"""Measures what autograd keeps of models that are partly frozen: tests/golden/activations_frozen.json.

    python tests/oracle/measure_frozen.py

Needs transformers 5.24 and torch 2.13 CPU, no network. Counted is every storage that autograd saves, once, with all its
bytes; parameters, buffers and ids are not. A part is frozen by switching off the gradients of parameters by their names.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import transformers
from torch.multiprocessing.reductions import StorageWeakRef
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

OUT = Path(__file__).resolve().parents[1] / "golden" / "activations_frozen.json"
BATCH, SEQ, TARGET = 3, 24, 16
CONFIGS = {
    "llama": {
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 160,
        "vocab_size": 96,
        "max_position_embeddings": 64,
    },
    "gpt2": {
        "n_embd": 64,
        "n_layer": 4,
        "n_head": 4,
        "vocab_size": 96,
        "n_positions": 64,
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.0,
    },
    "t5": {
        "d_model": 64,
        "num_layers": 2,
        "num_heads": 4,
        "d_kv": 16,
        "d_ff": 160,
        "vocab_size": 96,
        "dropout_rate": 0.0,
    },
}
DECODER_LAYER = "0.SelfAttention.q 0.SelfAttention.k 0.SelfAttention.v 0.SelfAttention.o 0.layer_norm 1. 2.".split()
# what is frozen, as --freeze says it -> parts of the parameters' names
CASES = {
    "llama": {
        "embedding,0-1": "embed_tokens layers.0. layers.1.",
        "1,2": "layers.1. layers.2.",
        "embedding,attn*": "embed_tokens self_attn input_layernorm",
        "attn": "self_attn",
        "embedding,layers": "embed_tokens layers.",
    },
    "gpt2": {
        "embedding": "wte wpe",
        "embedding,0-1": "wte wpe h.0. h.1.",
        "1,2": "h.1. h.2.",
        "embedding,attn*": "wte wpe .attn. ln_1",
        "ffn": ".mlp.",
    },
    "t5": {
        "encoder": "encoder. shared",
        "decoder.0": " ".join(f"decoder.block.0.layer.{part}" for part in DECODER_LAYER),
        "cross": ".EncDecAttention.",
    },
}


def measured(name: str, attention: str, words: list[str]) -> int:
    """Bytes of the storages that autograd saves, where parameters with one of these words in their names are frozen."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[name](**CONFIGS[name])
    config._attn_implementation = attention
    auto = transformers.AutoModelForSeq2SeqLM if name == "t5" else transformers.AutoModelForCausalLM
    model = auto.from_config(config).train()
    model.config.use_cache = False
    for path, parameter in model.named_parameters():
        if any(word in path for word in words):
            parameter.requires_grad_(False)
    ids = torch.randint(0, 96, (BATCH, SEQ))
    labels = torch.randint(0, 96, (BATCH, TARGET)) if name == "t5" else ids.clone()
    extra = {"decoder_input_ids": labels.clone()} if name == "t5" else {}
    given = [ids, labels, *extra.values(), *model.parameters(), *model.buffers()]
    own = {StorageWeakRef(tensor.untyped_storage()) for tensor in given}
    found, alive = {}, []

    def pack(tensor):
        storage = StorageWeakRef(tensor.untyped_storage())
        if storage not in own and storage not in found:
            found[storage] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(input_ids=ids, labels=labels, **extra)
    return sum(found.values())


def main() -> None:
    cases = []
    for name, parts in CASES.items():
        for attention in ("eager", "sdpa"):
            if name == "t5" and attention == "sdpa":
                continue
            for part, words in {"": "", **parts}.items():
                size = measured(name, attention, words.split())
                cases.append({"name": name, "attention": attention, "freeze": part, "bytes": size})
    made = {"configs": CONFIGS, "batch": BATCH, "seq": SEQ, "target": TARGET, "cases": cases}
    OUT.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Measures tests/golden/activations.json again: what autograd keeps of four families, point by point.

    python tests/oracle/activations.py [output.json]

The points stand in the file itself: small GPT-2-, Llama-, BERT- and T5-like models in training mode, and of each how it
is run. Measured are the bytes of the storages that autograd keeps (each once, without parameters and the ids handed in),
and the bytes that are alive after the forward pass, with the loss in them: under gradient checkpointing the only number
that means anything. Where `dropout_mask` is bool, dropout is `native_dropout`, which keeps a mask of one byte as CUDA
does; that of the CPU keeps one in the activations' type.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import measure_activations as by_family
import torch
import transformers

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "activations.json"
CLASSES = {
    ("gpt2", "lm"): "GPT2LMHeadModel",
    ("gpt2", "none"): "GPT2Model",
    ("llama", "lm"): "LlamaForCausalLM",
    ("llama", "none"): "LlamaModel",
    ("bert", "lm"): "BertForMaskedLM",
    ("bert", "none"): "BertModel",
    ("t5", "lm"): "T5ForConditionalGeneration",
    ("t5", "none"): "T5Model",
}


def config(point: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a point's model."""
    hidden, heads, layers, inner = (point[key] for key in ("hidden", "heads", "layers", "intermediate"))
    drop, act, vocab = point["dropout"], point["activation"], point["vocab"]
    if point["family"] == "gpt2":
        sizes = {"n_embd": hidden, "n_head": heads, "n_layer": layers, "n_inner": inner, "n_positions": 1024}
        drops = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), drop)
        return {**sizes, **drops, "vocab_size": vocab, "activation_function": act, **by_family.IDS}
    if point["family"] == "t5":
        sizes = {"d_model": hidden, "d_kv": hidden // heads, "num_heads": heads, "num_layers": layers, "d_ff": inner}
        drops = {"dropout_rate": drop, "decoder_start_token_id": 0}
        return {**sizes, **drops, "vocab_size": vocab, "feed_forward_proj": act, **by_family.IDS}
    sizes = {"hidden_size": hidden, "num_attention_heads": heads, "num_hidden_layers": layers}
    sizes |= {"intermediate_size": inner, "vocab_size": vocab, "max_position_embeddings": 1024, **by_family.IDS}
    if point["family"] == "llama":
        return {**sizes, "num_key_value_heads": point["kv_heads"], "attention_dropout": drop}
    return {**sizes, "hidden_act": act, "hidden_dropout_prob": drop, "attention_probs_dropout_prob": drop}


def native_dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Dropout as CUDA has it: what is kept is a mask of booleans."""
    return torch.native_dropout(x, p, training)[0] if p and training else x


def measure(point: dict[str, Any]) -> tuple[int, int]:
    """Bytes kept, and bytes alive."""
    torch.manual_seed(0)
    kind = transformers.models.auto.configuration_auto.CONFIG_MAPPING[point["family"]]
    cls = getattr(transformers, CLASSES[point["family"], point["head"]])
    dtype = by_family.DTYPES[point["dtype"]]
    model = cls._from_config(kind.from_dict(config(point)), attn_implementation=point["attn"], dtype=dtype).train()
    if point["checkpoint"]:
        reentrant = {"use_reentrant": point["checkpoint"] == "reentrant"}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=reentrant)
    inputs = {"input_ids": torch.randint(3, point["vocab"], (point["batch"], point["seq"]))}
    if point["family"] == "t5":
        inputs["decoder_input_ids"] = torch.randint(3, point["vocab"], (point["batch"], point["tgt"]))
    if point["head"] == "lm":
        inputs["labels"] = inputs.get("decoder_input_ids", inputs["input_ids"]).clone()
    known = {t.untyped_storage()._cdata for t in [*model.parameters(), *model.buffers(), *inputs.values()]}
    keeper = by_family.Keeper(model, inputs)
    masks = native_dropout if point["dropout_mask"] == "bool" else torch.nn.functional.dropout
    hooks = torch.autograd.graph.saved_tensors_hooks(keeper.pack, lambda tensor: tensor)
    with mock.patch("torch.nn.functional.dropout", masks), hooks, by_family.Alive() as found:
        out = model(**inputs, use_cache=False) if point["family"] != "bert" else model(**inputs)
        loss = out["loss"] if point["head"] == "lm" else out["last_hidden_state"].sum()
    kept = keeper.bytes
    del out, keeper  # the loss is held, and what it was made of
    gc.collect()
    held = {ref.cdata: size for ref, size in found.made if not ref.expired() and ref.cdata not in known}
    assert loss.requires_grad
    return kept, sum(held.values())


def main() -> None:
    old = json.loads(GOLDEN.read_text())
    rows = []
    for row in old["points"]:
        point = dict(zip(old["fields"], row, strict=True))
        kept, alive = measure(point)
        rows.append([*row[:-2], kept, alive])
        if rows[-1] != row:
            print(row, "->", kept, alive)
    head = {"torch": torch.__version__, "transformers": transformers.__version__, "device": "cpu"}
    text = json.dumps(head | {"fields": old["fields"]})[:-1] + ', "points": [\n'
    out = Path(sys.argv[1]) if sys.argv[1:] else GOLDEN
    out.write_text(text + ",\n".join(map(json.dumps, rows)) + "\n]}\n")
    print(f"{len(rows)} points in {out}, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

"""Measures the largest number of bytes alive in a training step, family by family: tests/golden/peaks.json.

    python tests/oracle/measure_peaks.py [NAME ...]

Needs transformers 5.24 and torch 2.13 CPU, no network. A loop of two micro-batches runs forward and backward: with its
output held, as `out = model(...); out.loss.backward()` holds it, and with the output released before the backward pass.
Counted is every storage that an operator makes, as long as it lives; parameters, their gradients (there before), buffers
and the inputs are not, nor are the loss and its gradient, two numbers. Models have few layers, narrow ones, and many
words, so that the peak is where the loss goes backward; `at` is the operator that reaches it.
"""

from __future__ import annotations

import json
import sys
import weakref
from pathlib import Path
from typing import Any

import measure_activations as small
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

OUT = Path(__file__).resolve().parents[1] / "golden" / "peaks.json"
SIZES = ((2, 192, 300), (1, 300, 500))  # batch, seq, target
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}
HALF = ("wide", "bert")  # which the CPU is slow in
OUTPUTS = ("held", "released")
WORDS = 4099
WIDE = {"vocab_size": 32768, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 1}
WIDE |= {"num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 1024, **small.IDS}
NAMES = """llama mistral_window gemma2 gemma3 cohere granite gpt2 gptj mixtral qwen3_moe falcon bert roberta distilbert
modernbert t5 flan-t5 bart marian whisper""".split()


def cases() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Those of the activations with more words and positions, and the logits of a wide vocabulary alone."""
    found: dict[str, tuple[str, str, dict[str, Any]]] = {
        "wide": ("LlamaForCausalLM", "llama", WIDE),
        "wide_tied": ("LlamaForCausalLM", "llama", {**WIDE, "tie_word_embeddings": True}),
        "wide_softcap": ("Gemma2ForCausalLM", "gemma2", {**WIDE, "head_dim": 16}),
    }
    for name in NAMES:
        cls, kind, given = small.CASES[name]
        longer = {
            key: 512 for key in ("n_positions", "max_position_embeddings", "max_target_positions") if key in given
        }
        words = {key: WORDS for key in ("vocab_size", "decoder_vocab_size") if key in given}
        found[name] = (cls, kind, {**given, **longer, **words})
    return found


class Peak(TorchDispatchMode):
    """Bytes of storages that are alive, and the most there were."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.known, self.alive = known, dict[int, int]()
        self.now = self.most = 0
        self.at = ""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self.known and key not in self.alive:
                    self.alive[key] = storage.nbytes()
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self.gone, key)
        if self.now > self.most:
            self.most, self.at = self.now, str(function)
        return out

    def gone(self, key: int) -> None:
        self.now -= self.alive.pop(key, 0)


def run(case: tuple[str, str, dict[str, Any]], attn: str, dtype: str, outputs: str, size: tuple[int, int, int]) -> Any:
    """The peak of two micro-batches, and the operator that reaches it."""
    cls, kind, given = case
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind].from_dict({**given})
    model = getattr(transformers, cls)._from_config(config, attn_implementation=attn, dtype=DTYPES[dtype]).train()
    inputs = small.inputs_of(model, *size)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    there = [*model.parameters(), *(p.grad for p in model.parameters()), *model.buffers(), *inputs.values()]
    with Peak({tensor.untyped_storage()._cdata for tensor in there if tensor is not None}) as found:
        for _ in range(2):
            out = model(**inputs, use_cache=False)
            loss = out.loss
            if outputs == "released":
                del out
            loss.backward()
    return found.most - 2 * loss.untyped_storage().nbytes(), found.at


def measure(name: str, case: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    """The bytes of both sizes, by attention, type and what becomes of the output."""
    found: dict[str, list[int]] = {}
    places = set()
    sizes = [(1, 1024, 0)] if name.startswith("wide") else SIZES
    for attn in small.ATTENTION:
        for dtype in DTYPES if name in HALF else list(DTYPES)[:2]:
            for outputs in OUTPUTS:
                try:
                    rows = [run(case, attn, dtype, outputs, size) for size in sizes]
                except ValueError as error:
                    if "does not support an attention implementation" not in str(error):
                        raise
                    continue
                found[f"{attn} {dtype} {outputs}"] = [most for most, _ in rows]
                places |= {at for _, at in rows}
    cls, kind, given = case
    config = {"architectures": [cls], "model_type": kind, **given}
    return {"config": config, "sizes": sizes, "at": sorted(places), "bytes": found}


def main() -> None:
    names = sys.argv[1:]
    old = json.loads(OUT.read_text())["models"] if OUT.exists() else {}
    rows = []
    for name, case in cases().items():
        found = old[name] if name in old and names and name not in names else measure(name, case)
        print(name, flush=True)
        rows.append(f"{json.dumps(name)}: {json.dumps(found)}")
    head = {"torch": torch.__version__, "transformers": transformers.__version__, "device": "cpu"}
    OUT.write_text(json.dumps(head)[:-1] + ', "models": {\n' + ",\n".join(rows) + "\n}}\n")
    print(f"{len(rows)} models in {OUT}, {OUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

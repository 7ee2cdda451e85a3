"""Folds the measured activation bytes into one small file: tests/golden/activations.json.

usage: python tests/oracle/fold_activations.py ACTIVATIONS_JSON

The input holds points: small GPT-2-, Llama-, BERT- and T5-like models of Hugging Face (transformers 5.23, torch 2.13, CPU)
whose forward pass ran under torch.autograd.graph.saved_tensors_hooks. Kept of each point: what was run, the bytes of the
storages that autograd keeps (each once, without parameters and the ids handed in), and the bytes that are alive
after the forward pass, with the loss in them: the only number that means anything under gradient checkpointing.
"""

import json
import sys
from pathlib import Path

FIELDS = """family head batch seq tgt layers hidden heads kv_heads intermediate vocab dtype attn dropout dropout_mask
checkpoint activation saved_bytes live_bytes""".split()

if __name__ == "__main__":
    measured = json.loads(Path(sys.argv[1]).read_text())
    target = Path(__file__).parent.parent / "golden" / "activations.json"
    lines = [json.dumps([point.get(field) for field in FIELDS]) for point in measured["points"]]
    head = {key: measured[key] for key in ("torch", "transformers", "device")} | {"fields": FIELDS}
    text = json.dumps(head)[:-1] + ', "points": [\n' + ",\n".join(lines) + "\n]}\n"
    target.write_text(text)
    print(f"{len(lines)} points in {target}, {target.stat().st_size:,} bytes")

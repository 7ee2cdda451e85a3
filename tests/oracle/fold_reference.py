"""Folds a folder of measured models into one small file: tests/golden/reference.json.

usage: python tests/oracle/fold_reference.py REFERENCE_FOLDER

The folder holds index.json, configs/NAME.json (published config.json files) and truth/NAME.json (what was read off the
instantiated Hugging Face model: transformers 5.23, torch 2.13, CPU, meta device). Kept of each model: its config, the
exact counts, its parameter tensors with layer numbers as *, and the FLOPs that PyTorch's FlopCounterMode counted.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path


def whole_windows(row: dict) -> int:
    """Elements of a cache whose windowed layers keep the whole window: transformers' class keeps one token less."""
    total = row["kv_elements"]
    for group in row.get("layers", []):
        if "SlidingWindow" in group["class"]:
            for (batch, heads, kept, width), _ in (group["tensors"][name] for name in ("keys", "values")):
                total += group["count"] * batch * heads * width if kept < row["seq"] else 0
    return total


def fold(folder: Path) -> dict:
    """One entry for each model of the folder's index."""
    models = {}
    for entry in json.loads((folder / "index.json").read_text()):
        name = entry["name"]
        truth = json.loads((folder / "truth" / f"{name}.json").read_text())
        shapes = Counter((re.sub(r"(?<=\.)\d+(?=\.|$)", "*", n), tuple(s)) for n, s, _ in truth["params"])
        flops = [
            {key: row[key] for key in ("batch", "seq", "src", "tgt", "past", "total", "experts") if key in row}
            | {"pass": row["pass"].split()[0].rstrip(",")}
            for row in truth.get("flops", [])
            if row.get("pass", "").startswith(("forward", "decode"))
            and "logits_to_keep" not in row["pass"]
            and "total" in row
            and row.get("attn", "eager") == "eager"
        ]
        models[name] = {
            "config": json.loads((folder / "configs" / f"{name}.json").read_text()),
            "later": entry["later"],
            "total": truth["total_params"],
            "embedding": sum(count for _, count in truth["embedding_tensors"]),
            "active": (truth.get("moe") or {}).get("active_params"),
            "tensors": [[n, list(shape), count] for (n, shape), count in sorted(shapes.items())],
            "kv": [
                {key: row[key] for key in ("batch", "seq", "src", "tgt") if key in row}
                | {"elements": whole_windows(row)}
                for row in truth.get("kv_cache", [])
                if "kv_elements" in row
            ],
            "flops": [row for row in flops if row.get("experts", "top-k") == "top-k"],
        }
    return models


if __name__ == "__main__":
    models = fold(Path(sys.argv[1]))
    target = Path(__file__).parent.parent / "golden" / "reference.json"
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in models.items()]
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(models)} models in {target}, {target.stat().st_size:,} bytes")

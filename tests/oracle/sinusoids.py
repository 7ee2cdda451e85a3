"""Writes tests/golden/sinusoids.json: the tables of sines and cosines that transformers' classes fill.

`python tests/oracle/sinusoids.py` (transformers 5.24, torch 2.13). Each row: the class, the width, and its first rows.
The rows of fairseq's layout begin at position 0 too; the row of the padding token, which the classes zero, is left out.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import torch

ROWS = 5
WIDTHS = (4, 5, 8, 12)


def table(family: str, name: str, width: int) -> list[list[float]]:
    module = import_module(f"transformers.models.{family}.modeling_{family}")
    if family in ("marian", "pegasus"):
        made = getattr(module, name)(ROWS, width)
        made = made.create_weight()
    elif family == "distilbert":
        made = torch.empty(ROWS, width)
        module.create_sinusoidal_embeddings(ROWS, width, made)
    elif family == "whisper":
        made = module.sinusoids(ROWS, width)
    else:  # fairseq's layout
        made = getattr(module, name).get_embedding(ROWS, width, None)
    return [[round(float(x), 6) for x in row] for row in made.detach()]


CLASSES = [
    ("marian", "MarianSinusoidalPositionalEmbedding"),
    ("pegasus", "PegasusSinusoidalPositionalEmbedding"),
    ("m2m_100", "M2M100SinusoidalPositionalEmbedding"),
    ("xglm", "XGLMSinusoidalPositionalEmbedding"),
    ("whisper", "sinusoids"),
    ("distilbert", "create_sinusoidal_embeddings"),
]

if __name__ == "__main__":
    found = []
    for family, name in CLASSES:
        for width in WIDTHS:
            if family == "whisper" and width % 2:
                continue  # refused by the class
            found.append({"family": family, "class": name, "width": width, "table": table(family, name, width)})
    text = ",\n".join(json.dumps(row) for row in found)
    Path(__file__).parent.parent.joinpath("golden", "sinusoids.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")

"""Every command's answer over all presets and three workloads, kept, and compared with those of another checkout.

    python tests/answers.py save before.jsonl.gz          # in the one checkout
    python tests/answers.py save after.jsonl.gz           # in the other
    python tests/answers.py compare before.jsonl.gz after.jsonl.gz

`save --every 10` takes each tenth preset, `--only params,flops` these commands. What differs is listed by command and
key, with the first example. A change that is meant to change no number has nothing listed.
"""

import argparse
import contextlib
import gzip
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORKLOADS = (("--batch", "2", "--seq", "128"), ("--batch", "8", "--seq", "2048"), ("--batch", "1", "--context", "300"))
TRAIN = ("--mode", "train", "--batch", "8")
# of each command: what stands after the model, for each workload (those of a training step have no context)
COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "params": (("--by", "layer"),),
    "shapes": WORKLOADS,
    "flops": (*WORKLOADS, ("--batch", "2", "--seq", "512", "--needed", "--recompute", "selective")),
    "memory": (
        *WORKLOADS,
        (*TRAIN, "--seq", "128"),
        (*TRAIN, "--seq", "512", "--kernels", "eager", "--attention", "eager", "--recompute", "full"),
        (*TRAIN, "--seq", "256", "--zero", "3", "--dp", "8", "--precision", "fp16-mixed", "--optimizer", "adafactor"),
        ("--batch", "4", "--context", "4096", "--weights", "q4_k", "--kv-dtype", "fp8", "--tp", "2"),
        (*TRAIN, "--seq", "128", "--lora-rank", "8", "--weights", "nf4"),
    ),
    "fit": (
        ("--device", "h100-sxm", "--context", "1000"),
        ("--device", "a100-80gb-sxm", "--devices", "4", "--tp", "4", "--batch", "4"),
        ("--device", "h200", *TRAIN, "--seq", "512", "--zero", "1", "--dp", "4"),
    ),
    "cost": (
        ("--device", "h100-sxm", "--tokens", "300B", "--mfu", "0.4"),
        ("--device", "a100-80gb-sxm", "--devices", "64", "--tokens", "1T", "--batch", "512", "--seq", "512"),
        ("--device", "h100-sxm", "--devices", "8", "--tokens", "1B", "--batch", "64", "--seq", "256", "--zero", "2"),
    ),
    "serve": (
        ("--device", "h100-sxm", "--context", "1000"),
        ("--device", "a100-80gb-sxm", "--tp", "2", "--batch", "8", "--context", "2000", "--seq", "500"),
        ("--device", "h200", "--batch", "32", "--weights", "fp8", "--context", "400"),
    ),
    "compare": (("gpt2",), ("llama-3-8b", "--device", "h100-sxm"), ("gpt3", "--context", "1000", "--batch", "2")),
    "verify": ((), ("--batch", "2", "--seq", "7")),
    "walk": (("--seq", "5", "--shrink"),),
}


def answer(arguments: list[str]) -> dict[str, Any]:
    """Exit status, JSON (or text, where it is none) and what was said."""
    from transformer_calc import cli

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.run(arguments)
    try:
        data = json.loads(out.getvalue())
    except ValueError:
        data = out.getvalue()
    return {"arguments": arguments, "status": status, "said": err.getvalue(), "answer": data}


def lines(only: set[str], every: int) -> Iterator[list[str]]:
    from transformer_calc.sources import presets

    for name in list(presets.names())[::every]:
        for command, workloads in COMMANDS.items():
            if not only or command in only:
                yield from ([command, name, *workload, "--json"] for workload in workloads)
    for command in ("presets", "hardware"):
        if not only or command in only:
            yield [command, "--json"]


def save(file: Path, only: set[str], every: int) -> None:
    start = time.perf_counter()
    with gzip.open(file, "wt", encoding="utf-8", compresslevel=3) as out:
        asked = list(lines(only, every))
        for arguments in asked:
            out.write(json.dumps(answer(arguments), sort_keys=True) + "\n")
    print(f"{len(asked):,} answers in {time.perf_counter() - start:,.0f} s: {file}")


def read(file: str) -> dict[str, dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as rows:
        return {" ".join(row["arguments"]): row for row in map(json.loads, rows)}


def differences(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, one, other) wherever they differ; the members of lists are all called []."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            yield from differences(a.get(key, "(absent)"), b.get(key, "(absent)"), f"{path}.{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for one, other in zip(a, b, strict=True):
            yield from differences(one, other, f"{path}[]")
    elif isinstance(a, float) and isinstance(b, float) and abs(a - b) <= 1e-12 * max(abs(a), abs(b)):
        return  # sums in another order
    elif a != b or type(a) is not type(b):
        yield path, a, b


def compare(before: str, after: str) -> int:
    old, new = read(before), read(after)
    shared = [line for line in old if line in new]
    counts: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], tuple[str, Any, Any]] = {}
    for line in shared:
        for path, a, b in differences(old[line], new[line]):
            key = line.split()[0], path
            counts[key] += 1
            example.setdefault(key, (line, a, b))
    for (command, path), n in sorted(counts.items()):
        line, a, b = example[command, path]
        print(f"{command} {path}: {n:,} times, as in\n  tcalc {line}\n    {str(a)[:300]}\n    {str(b)[:300]}")
    print(f"{len(shared):,} answers compared, {len(old) + len(new) - 2 * len(shared):,} are in one file only")
    return bool(counts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("save", "compare"))
    parser.add_argument("files", nargs="+")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    if given.what == "compare":
        return compare(*given.files)
    save(Path(given.files[0]), set(filter(None, given.only.split(","))), given.every)
    return 0


if __name__ == "__main__":
    sys.exit(main())

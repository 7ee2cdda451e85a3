"""Command lines and files as nobody means them, made from what the commands themselves declare.

`python tests/fuzz.py --lines 20000 --files 20000 --seed 1` runs so many in this process and says what broke a promise:
an exit status other than 0, 1 and 2, a message of another form, more than 2 s, or more than 500 MiB.
`tests/test_fuzz.py` runs a seeded part of it.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import random
import resource
import shlex
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tiny import safetensors

from transformer_calc import cli
from transformer_calc.sources import files, hardware, presets

SECONDS, MEGABYTES = 2.0, 500
STUCK = 20  # seconds after which a line is given up
NOT_FUZZED = ("verify",)  # at full size runs what is asked for, as long as it takes

NUMBERS = """
    0 1 2 3 7 8 16 100 1000 4096 1e6 1e9 1e12 1e15 1e18 1e19 1e300 1e-300 1e999999 -1 -0 +5 0.5 .5 5. 1.5k 2k
    8Ki 3.2M 300B 1e3.5 1,000 1_000 50% 0% 100% 101% 0x10 nan inf -inf NaN None null true 1/3 ٣ ² ½ 1e308
    2.2250738585072014e-308 999999999999999999 --1
""".split()
WORDS = (
    *(
        "",
        " ",
        "\t",
        "a",
        "=",
        ".",
        "..",
        "/",
        "-",
        "--",
        "None",
        "bf16",
        "fp8",
        "q4_k",
        "gpt3",
        "h100-sxm",
        "0..3",
        "%",
        "\\",
    ),
    *(
        "ffn",
        "layers.0.attn",
        "x" * 300,
        "é" * 50,
        "\x00",
        "\x1b[31m",
        "√²·",
        "不",
        "\udcff",
        "a,b,,c",
        "1,2,3",
        "a=b=c",
        "*",
    ),
)
SETS = """
    width d_model layers n_layers vocab heads kv_heads attention.window attention.rotary.theta
    attention.rotary.dims norm.eps ffn.d_ff ffn.layout ffn.router.groups ffn.router.scoring mixer ffn stack
    embedding.vocab embedding.positions lm.width mixer.d_head place parallel embedding.d_embed tie
    attention.scale ffn.activation
""".split()
DEVICES = """
    memory_gb bandwidth interconnect node network units power peaks.bf16 peaks.fp8 efficiency.matmul efficiency.memory
    efficiency.attention memory_bytes year
""".split()


class Broken(NamedTuple):
    """A command line that broke a promise, and which."""

    args: list[str]
    why: str


# --- command lines --------------------------------------------------------------------------------------------------


class Lines:
    """Random command lines from the options that each command declares."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        root = cli.command()
        self.commands: dict[str, Any] = {}
        for name, command in root.commands.items():
            inner = getattr(command, "commands", None)
            if inner:
                self.commands |= {f"{name} {word}": one for word, one in inner.items()}
            else:
                self.commands[name] = command
        self.models = [*presets.names(), "no-such-model", "./nowhere.json"]
        self.devices = [*hardware.names(), "no-such-device"]
        small = ("gpt2", "lesson", "exercise", "walk", "t5-small", "bert-base-uncased", "whisper-tiny")
        self.small = [name for name in small if name in self.models]

    def line(self) -> list[str]:
        """One command line."""
        pick = self.random
        one_word = [name for name in self.commands if " " not in name]
        name = pick.choice(one_word if pick.random() < 0.93 else list(self.commands))
        args = name.split()
        if args[-1] == "show" and pick.random() < 0.9:
            args.append(pick.choice(self.models if args[0] == "presets" else self.devices))
        options = [p for p in self.commands[name].params if getattr(p, "opts", ())]
        takes_model = any(p.name in ("model", "models") for p in options)
        if takes_model and pick.random() < 0.85:
            runs = args[0] in ("walk", "verify")
            args.append(pick.choice(self.small if runs and pick.random() < 0.8 else self.models))
            if args[0] == "compare":
                args.append(pick.choice(self.models))
        flags = [
            p
            for p in options
            if p.opts[0].startswith("-") and p.name not in ("help", "input", "weights_file", "reference")
        ]
        for option in pick.sample(flags, min(len(flags), pick.choice((0, 1, 1, 2, 2, 3, 4, 6)))):
            args += self._given(args[0], option)
        if "--device" not in args and any(p.name == "device" for p in flags) and pick.random() < 0.7:
            args += ["--device", pick.choice(self.devices)]
        if pick.random() < 0.02:
            args.append(self._junk())
        return args

    def _given(self, command: str, option: Any) -> list[str]:
        flag, pick = self.random.choice(option.opts), self.random
        if option.hidden and pick.random() < 0.8:
            return []
        if getattr(option, "is_flag", False):
            return [flag]
        if command in NOT_FUZZED and option.name in ("size", "weights"):
            return []
        choices = getattr(option.type, "choices", None)
        if choices and pick.random() < 0.85:
            return [flag, str(pick.choice(list(choices)))]
        if option.name == "sets":
            return [flag, f"{pick.choice(SETS)}={pick.choice((*NUMBERS, *WORDS))}"]
        if option.name == "device_set":
            return [flag, f"{pick.choice(DEVICES)}={pick.choice(NUMBERS)}"]
        if option.name == "device":
            return [flag, pick.choice(self.devices)]
        if option.name in ("preset", "model"):
            return [flag, pick.choice(self.models)]
        if pick.random() < 0.05:
            return [flag, self._junk()]
        usual = ("1", "2", "4", "8", "16", "64", "128", "1k", "2k", "0.4")
        return [flag, pick.choice(usual if pick.random() < 0.7 else NUMBERS)]

    def _junk(self) -> str:
        return self.random.choice((*NUMBERS, *WORDS))


# --- files ----------------------------------------------------------------------------------------------------------

LEAVES: tuple[Any, ...] = (
    *(
        0,
        1,
        -1,
        2,
        3,
        7,
        1e-310,
        1e308,
        -1e308,
        10**18,
        10**30,
        0.5,
        1e-9,
        True,
        False,
        None,
        "",
        "x",
        "gelu",
        "yarn",
        "9" * 400,
    ),
    *([], {}, [1], [None], {"type": [1]}, {"a": {"b": []}}, ["x"] * 50, [[1, 2], [3]], "\ud800", "\x00", -(10**18)),
)


def mutated(data: Any, pick: random.Random) -> Any:
    """The data with one to three of its values, keys or lists changed."""
    data = copy.deepcopy(data)
    for _ in range(pick.choice((1, 1, 1, 2, 3))):
        places = list(_places(data))
        if not places:
            return pick.choice(LEAVES)
        node, key = pick.choice(places)
        how = pick.random()
        if how < 0.12:
            del node[key]
        elif how < 0.2 and isinstance(node, dict):
            node[pick.choice(("type", "layers", "x" * 200, "", "a.b", "é", "#0"))] = node.pop(key)
        elif how < 0.3 and isinstance(node[key], int | float) and not isinstance(node[key], bool):
            node[key] = node[key] * pick.choice((-1, 0, 2, 10**6, 10**15, 0.5))
        elif how < 0.4:
            other, name = pick.choice(places)
            node[key] = copy.deepcopy(other[name])
        else:
            node[key] = copy.deepcopy(pick.choice(LEAVES))
    return data


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    keys: Sequence[Any] = list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    for key in keys:
        yield data, key
        yield from _places(data[key])


def scrambled(content: bytes, pick: random.Random) -> bytes:
    """Bytes with some of them changed, cut off, doubled or put in."""
    how = pick.random()
    if how < 0.2:
        return content[: pick.randrange(len(content) + 1)]
    if how < 0.3:
        at = pick.randrange(len(content) + 1)
        return (
            content[:at]
            + pick.choice((b"\x00", b"\xff\xfe", b"[" * 5000, b'{"a":' * 3000, b"\n" * 100, b"="))
            + content[at:]
        )
    changed = bytearray(content)
    for _ in range(pick.choice((1, 2, 8))):
        changed[pick.randrange(len(changed))] = pick.randrange(256)
    return bytes(changed)


def toml(data: Any, prefix: str = "") -> str:
    """Data as TOML; what TOML cannot say is left out."""
    lines, tables = [], []
    for key, value in data.items():
        name = json.dumps(str(key))
        if isinstance(value, dict):
            tables.append(f"\n[{prefix}{name}]\n{toml(value, f'{prefix}{name}.')}")
        elif value is not None:
            text = json.dumps(value) if not isinstance(value, float) or abs(value) < float("inf") else "inf"
            lines.append(f"{name} = {text.replace('null', '0')}")
    return "\n".join(lines) + "\n" + "".join(tables)


class Files:
    """Mutated files of every kind that is read, each with a command that reads it."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random, self.folder = random.Random(seed), folder
        self.configs, self.devices, self.presets = _read()
        self.kinds: list[Callable[[], list[str]]] = [
            *[self.config] * 4, self.device, self.preset, self.inputs, self.checkpoint, self.index, self.reference
        ]  # fmt: skip
        self.small = folder / "small.json"
        self.small.write_text(json.dumps(SMALL))
        self.tensors = _tensors(folder)

    def line(self) -> list[str]:
        """A file, and the command line that reads it."""
        return self.random.choice(self.kinds)()

    def _put(self, name: str, content: bytes | str) -> str:
        if isinstance(content, str):
            content = content.encode("utf-8", "surrogatepass")
        if self.random.random() < 0.06:
            content = scrambled(content, self.random)
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def config(self) -> list[str]:
        path = self._put("config.json", json.dumps(mutated(self.random.choice(self.configs), self.random)))
        lines = (
            ["params"],
            ["flops"],
            ["shapes"],
            ["memory"],
            ["memory", "--mode", "train"],
            ["fit", "--device", "h100-sxm"],
        )
        more = (
            ["serve", "--device", "h100-sxm"],
            ["cost", "--device", "h100-sxm", "--tokens", "1B"],
            ["verify"],
            ["walk", "--shrink"],
        )
        command, *rest = self.random.choice((*lines, *more))
        return [command, path, *rest]

    def device(self) -> list[str]:
        path = self._put("device.toml", toml(mutated(self.random.choice(self.devices), self.random)))
        command = self.random.choice(
            ("serve llama-3-8b", "cost gpt2 --tokens 1B", "fit llama-3-8b", "memory gpt2", "compare gpt2 bloom-176b")
        )
        return self.random.choice(([*command.split(), "--device", path], ["hardware", "show", path]))

    def preset(self) -> list[str]:
        path = self._put("preset.toml", toml(mutated(self.random.choice(self.presets), self.random)))
        command = self.random.choice(("params", "cost --device h100-sxm", "memory", "compare gpt2", "walk --shrink"))
        return [*command.split(), path]

    def inputs(self) -> list[str]:
        pick = self.random
        data = mutated(
            {"x": [[1, 0, 2], [0, 1, 1]], "token_ids": [[1, 2]], "A": [[1, 1], [0, 1]], "layers": {"ffn": 3}}, pick
        )
        kind = pick.choice(("toml", "json", "npz"))
        if kind == "npz":
            return ["walk", "exercise", "--input", self._put("in.npz", _npz(data, pick))]
        data = data if isinstance(data, dict) else {"x": data}
        return [
            "walk",
            "exercise",
            "--input",
            self._put(f"in.{kind}", toml(data) if kind == "toml" else json.dumps(data)),
        ]

    def checkpoint(self) -> list[str]:
        header = mutated({name: entry for name, (entry, _) in self.tensors.items()}, self.random)
        body = b"".join(body for _, body in self.tensors.values())
        path = self._put("model.safetensors", safetensors(header, body))
        return self.random.choice(
            (["verify", str(self.small), "--weights", path], ["walk", str(self.small), "--input", path])
        )

    def index(self) -> list[str]:
        whole = dict.fromkeys(self.tensors, "whole.safetensors")
        index = mutated({"metadata": {"total_size": 1}, "weight_map": whole}, self.random)
        path = self._put("model.safetensors.index.json", json.dumps(index))
        return ["verify", str(self.small), "--weights", path]

    def reference(self) -> list[str]:
        data = mutated(
            {"input_ids": [[1, 2, 3]], "attention_mask": [[1, 1, 1]], "logits": [[[0.5] * 16] * 3]}, self.random
        )
        path = self._put("reference.npz", _npz(data, self.random))
        return ["verify", str(self.small), "--weights", str(self.folder / "whole.safetensors"), "--reference", path]


SMALL = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "n_layer": 1,
    "n_embd": 8,
    "n_head": 2,
    "vocab_size": 16,
    "n_positions": 8,
}


def _toml(text: str) -> Any:
    import tomllib

    return tomllib.loads(text)


@cache
def _read() -> tuple[list[Any], list[Any], list[Any]]:
    """Configs, devices and presets that there are; mutated are copies of them."""
    models = [files.read(presets.MODELS.path(name), "TOML", _toml) for name in presets.names()]
    devices = [files.read(hardware.DEVICES.path(name), "TOML", _toml) for name in hardware.names()]
    return [config for data in models if (config := data.get("config"))], devices, models


def _tensors(folder: Path) -> dict[str, tuple[Any, bytes]]:
    """The tensors of the small model, as entries of a header and as bytes; the whole file stands in the folder."""
    import transformer_calc
    from transformer_calc.readings.run.weights import expected
    from transformer_calc.spec import Workload

    model = transformer_calc.load(config=SMALL)
    sizes, at, found = model.graph.sizes(Workload()), 0, dict[str, tuple[Any, bytes]]()
    for stored in expected(model.graph, sizes):
        body = np.zeros(stored.shape, "<f4").tobytes()
        entry = {"dtype": "F32", "shape": list(stored.shape), "data_offsets": [at, at + len(body)]}
        found[stored.name], at = (entry, body), at + len(body)
    header = {name: entry for name, (entry, _) in found.items()}
    (folder / "whole.safetensors").write_bytes(safetensors(header, b"".join(body for _, body in found.values())))
    return found


def _npz(data: Any, pick: random.Random) -> bytes:
    """An .npz file of what are arrays in the data, some of types, sizes and headers that nobody expects."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", pick.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)), compresslevel=1) as packed:
        for name, value in (data if isinstance(data, dict) else {"x": data}).items():
            member = io.BytesIO()
            try:
                array = np.asarray(value, pick.choice((None, None, None, "f2", "c16", "U3", "i1", "?")))
                np.lib.format.write_array(member, array, allow_pickle=True)
            except Exception:  # no array at all: some bytes
                member.write(repr(value).encode("utf-8", "replace"))
            content = member.getvalue()
            if pick.random() < 0.1:
                content = content.replace(
                    b"'shape': (", b"'shape': (" + pick.choice((b"99999999999, ", b"-1, ", b"'a', "))
                )
            if pick.random() < 0.05:
                content += bytes(64 * 2**20)
            packed.writestr(f"{name}.npy", content)
    return raw.getvalue()


# --- running --------------------------------------------------------------------------------------------------------


def run(args: list[str]) -> str | None:
    """Which promise a command line breaks, run in this process; None where it keeps all."""
    out, err = io.StringIO(), io.StringIO()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    try:
        status: Any = cli.run(args)
    except BaseException as error:  # the last-resort guard must leave none
        status = f"{type(error).__name__}: {error}"
    finally:
        sys.stdout, sys.stderr = streams
    seconds = time.process_time() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    said = err.getvalue()
    lines = said.splitlines()
    if status not in (0, 1, 2):
        return f"exit status {status}: {said[-700:]}"
    if status == 2 and [line for line in lines if line.startswith("error: ")] == [] and "Usage" not in said:
        return f"no message: {said[:200]}"
    if any(not line.startswith(("error: ", "hint: ", "note: ")) for line in lines) and "Usage" not in said:
        return f"another message: {said[:300]}"
    if max(map(len, lines), default=0) > 620 and "Usage" not in said:
        return f"a message of {max(map(len, lines))} characters"
    if "Traceback" in said + out.getvalue():
        return "a traceback"
    if status == 0 and "--json" in args and not _is_json(out.getvalue()):
        return "no JSON"
    if seconds > SECONDS:
        return f"{seconds:.1f} s"
    return f"{grown:.0f} MiB" if grown > MEGABYTES else None


def _is_json(text: str) -> bool:
    def refused(name: str) -> Any:
        raise ValueError(name)

    try:
        json.loads(text, parse_constant=refused)
    except ValueError:
        return not text  # --help and the like beside it
    return True


def broken(lines: Iterator[list[str]], say: Callable[[str], None] = lambda text: None) -> list[Broken]:
    """The command lines that break a promise."""
    found = []

    def stuck(*_: object) -> None:
        raise TimeoutError(f"more than {STUCK} s")

    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, stuck)
    for args in lines:
        if hasattr(signal, "SIGALRM"):
            signal.alarm(STUCK)
        why = run(args)
        if hasattr(signal, "SIGALRM"):
            signal.alarm(0)
        if why:
            found.append(Broken(args, why))
            say(f"{shlex.join(args)}\n    {why}")
    return found


def lines(count: int, seed: int) -> Iterator[list[str]]:
    """So many random command lines."""
    made = Lines(seed)
    return (made.line() for _ in range(count))


def of_files(count: int, seed: int, folder: Path) -> Iterator[list[str]]:
    """So many command lines that read a mutated file, which is there when its turn comes."""
    made = Files(seed, folder)
    return (made.line() for _ in range(count))


def main() -> None:
    """Run as many as are asked for, and say what broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=0)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        say = lambda text: print(text, flush=True)  # noqa: E731
        bad = broken(lines(given.lines, given.seed), say) + broken(of_files(given.files, given.seed, Path(folder)), say)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{given.lines:,} lines and {given.files:,} files (seed {given.seed}): {len(bad)} broken, peak {peak:.0f} MiB"
    )


if __name__ == "__main__":
    main()

"""What is neither right nor wrong input: files that are none, streams that fail, interrupts, faults of the program."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import SMALL, _tensors
from shell import Shell
from tiny import safetensors

import transformer_calc
from transformer_calc import cli, streams
from transformer_calc.readings.memory.training import interleaved
from transformer_calc.report import params as params_report
from transformer_calc.sources import files

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="pipes, devices and signals of Unix")


def process(line: str) -> subprocess.CompletedProcess[str]:
    """A command line of a shell, in which tcalc is this one."""
    whole = line.replace("tcalc", f"{shlex.quote(sys.executable)} -m transformer_calc")
    return subprocess.run(["bash", "-c", whole], capture_output=True, text=True, timeout=60)


# --- streams ----------------------------------------------------------------------------------------------------------


@UNIX
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("tcalc params zzz 2>/dev/full", 2),
        ("tcalc params zzz 2>&-", 2),
        ("tcalc params gpt2 --json 2>/dev/full", 0),
        ("tcalc 2>/dev/full", 2),
        ("tcalc params gpt2 --window 3 --zzz 2>&-", 2),
        ("tcalc --help >/dev/full 2>&-", 2),
        ("tcalc --help | true; exit ${PIPESTATUS[0]}", 141),  # as of programs that SIGPIPE ended
        ("tcalc params --help | true; exit ${PIPESTATUS[0]}", 141),
        ("tcalc presets | true; exit ${PIPESTATUS[0]}", 141),
        ("tcalc --help >&-", 2),
    ],
)
def test_a_stream_that_fails_does_not_change_the_status(line: str, status: int) -> None:
    run = process(line)
    assert run.returncode == status
    assert "Traceback" not in run.stderr


@UNIX
@pytest.mark.parametrize("where", ["/dev/full", "&-", "/dev/null"])
def test_an_answer_does_not_need_standard_error(where: str) -> None:
    assert process(f"tcalc walk 2>{where}").stdout == process("tcalc walk").stdout != ""


@UNIX
@pytest.mark.parametrize("seconds", [0.25, 0.5, 1.0])
def test_an_interrupt_ends_a_run(seconds: float) -> None:
    command = [sys.executable, "-m", "transformer_calc", "verify", "gpt2", "--size", "full"]

    def listens() -> None:  # test runners may ignore interrupts, and children inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=listens) as child:
        time.sleep(seconds)
        child.send_signal(signal.SIGINT)
        try:
            child.wait(10)
        finally:
            child.kill()
        # before its first line of Python runs, an interpreter ends by the signal; a shell says 130 of both
        assert child.returncode in (130, -signal.SIGINT)


def test_an_interrupt_of_the_first_imports_is_no_traceback() -> None:
    program = """
import sys

class Interrupted:
    def find_spec(self, name, *_):
        if name == "signal":
            raise KeyboardInterrupt

sys.modules.pop("signal", None)
sys.meta_path.insert(0, Interrupted())
import transformer_calc.__main__
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (130, "")


# --- faults of the program --------------------------------------------------------------------------------------------


def fails(error: BaseException) -> Any:
    def build(*_: object, **__: object) -> None:
        raise error

    return build


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError("deep"), ZeroDivisionError(), AssertionError()])
def test_a_fault_of_the_program_is_one_sentence(
    tcalc: Shell, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(params_report, "build", fails(error))
    monkeypatch.delenv("TCALC_DEBUG", raising=False)
    status, out, err = tcalc("params gpt2")
    assert (status, out) == (70, "")
    assert err.startswith(f"error: internal error, a fault of tcalc and not of the input: {type(error).__name__}")
    assert [line.partition(":")[0] for line in err.splitlines()] == ["error", "hint"]
    monkeypatch.setenv("TCALC_DEBUG", "1")
    status, _, err = tcalc("params gpt2")
    assert status == 70
    assert "Traceback (most recent call last)" in err


@pytest.mark.parametrize(("error", "expected"), [(MemoryError(), 2), (KeyboardInterrupt(), 130)])
def test_what_ends_a_run_otherwise(
    tcalc: Shell, monkeypatch: pytest.MonkeyPatch, error: BaseException, expected: int
) -> None:
    monkeypatch.setattr(params_report, "build", fails(error))
    status, out, err = tcalc("params gpt2")
    assert (status, out) == (expected, "")
    assert ("there is not enough memory" in err) == (expected == 2)


def test_commands_are_declared_whole() -> None:
    commands = cli.command().commands
    assert {"shapes", "params", "flops", "memory", "fit", "cost", "serve", "compare", "verify", "walk"} <= set(commands)
    assert {"list", "show"} <= set(commands["presets"].commands)
    assert all(command.params for name, command in commands.items() if not hasattr(command, "commands"))


# --- messages ---------------------------------------------------------------------------------------------------------

LONG = "x" * 5000


@pytest.mark.parametrize(
    "line",
    [
        f"params {LONG}",
        f"params gpt2 --set {LONG}",
        f"params gpt2 --set lm.width={LONG}",
        f"params gpt2 --seq {'9' * 5000}",
        f"params gpt2 --{LONG}",
        f"params --format {LONG}",
        LONG,
        f"serve gpt2 --device {LONG}",
        f"serve gpt2 --device {'/x' * 2500}",
        f"params {'/x' * 2500}",
        f"walk exercise --step {'x.' * 2500}",
        f"verify gpt2 --weights {LONG}",
        f"cost gpt2 --carbon {LONG}",
        f"params gpt2 --ignore-key {'k ' * 2000}=",
    ],
)
def test_a_message_is_short_whatever_it_is_about(tcalc: Shell, line: str) -> None:
    status, _, err = tcalc(line)
    assert max(map(len, err.splitlines()), default=0) <= 610
    assert status in (0, 2)


def test_a_note_is_short(tcalc: Shell, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SMALL | {f"key_{i}": i for i in range(2000)}))
    status, _, err = tcalc(f"params {config}")
    assert status == 0
    assert max(map(len, err.splitlines())) <= 610


def test_what_is_shortened_keeps_its_ends() -> None:
    said = streams.short("--seq is " + "9" * 3000 + " and " + "b c " * 400 + "expected a whole number")
    assert said.startswith("--seq is 999")
    assert said.endswith("expected a whole number")
    path = "/" + "folder/" * 20 + "config.json"
    assert path in streams.short(f"there is no file {path}")


# --- files ------------------------------------------------------------------------------------------------------------


@UNIX
def test_no_file_that_is_none_is_waited_for(tcalc: Shell, tmp_path: Path) -> None:
    small = tmp_path / "config.json"
    small.write_text(json.dumps(SMALL))
    _tensors(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("v.NPZ", "v.npz", "v.safetensors", "folder/model.safetensors"):
        os.mkfifo(tmp_path / name)
    whole = tmp_path / "whole.safetensors"
    for name, line in {
        "v.NPZ": f"walk exercise --input {tmp_path / 'v.NPZ'}",
        "v.npz": f"verify {small} --weights {whole} --reference {tmp_path / 'v.npz'}",
        "v.safetensors": f"walk {small} --input {tmp_path / 'v.safetensors'}",
        "model.safetensors": f"verify {small} --weights {folder}",
        "/dev/zero": f"verify {small} --weights /dev/zero",
    }.items():
        said = tcalc.refusal(line)
        assert name in said
        assert "neither a file nor a folder" in said
    for line in ("params /dev/zero", "serve gpt2 --device /dev/zero", f"walk exercise --input {folder}"):
        assert tcalc.refusal(line)
    link = tmp_path / "endless.json"
    link.symlink_to("/dev/zero")
    assert "has more than" in tcalc.refusal(f"walk exercise --input {link}")


@UNIX
def test_a_pipe_that_is_held_open_and_silent_is_given_up(
    tcalc: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    writer = os.open(pipe, os.O_RDWR)
    try:
        assert f"nothing has come through the pipe {pipe}" in tcalc.refusal(f"params {pipe}")
    finally:
        os.close(writer)


def bomb(path: Path, name: str, shape: tuple[int, ...], held: int | None = None) -> None:
    """An .npz file of zeros: so many that unpacking them would take gigabytes, in a file of a few megabytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
        packed.open(f"{name}.npy", "w") as m,
    ):
        m.write(header.getvalue())
        for _ in range((8 * int(np.prod(shape)) if held is None else held) // 2**20):
            m.write(bytes(2**20))


@pytest.mark.parametrize(("name", "shape"), [("input_ids", (1, 2**26)), ("logits", (2**5, 2**21))])
def test_what_unpacks_to_gigabytes_is_not_unpacked(
    tcalc: Shell, tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    _tensors(tmp_path)
    whole, packed = tmp_path / "whole.safetensors", tmp_path / "bomb.npz"
    bomb(packed, name, shape)
    if name == "logits":
        with zipfile.ZipFile(packed, "a") as file, file.open("input_ids.npy", "w") as member:
            np.lib.format.write_array(member, np.array([[1, 2, 3]]))
    line = f"verify {tmp_path / 'config.json'} --weights {whole} --reference {packed}"
    assert "once they are unpacked" in tcalc.refusal(line)
    assert "once they are unpacked" in tcalc.refusal(f"walk exercise --input {packed}")


def test_an_array_cannot_claim_to_be_more_than_it_is(tcalc: Shell, tmp_path: Path) -> None:
    bomb(tmp_path / "x.npz", "x", (2**40,), held=0)
    assert "as many entries as it says" in tcalc.refusal(f"walk exercise --input {tmp_path / 'x.npz'}")
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as packed:
        packed.writestr("x.npy", b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b" " * 100)
    assert "has a header of" in tcalc.refusal(f"walk exercise --input {tmp_path / 'y.npz'}")


def test_a_header_or_an_index_that_is_too_large_is_not_read(tcalc: Shell, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    for name, start in (("model.safetensors.index.json", b"{"), ("model.safetensors", (2**30).to_bytes(8, "little"))):
        path = tmp_path / name
        with path.open("wb") as file:
            file.write(start)
            file.truncate(2**31)  # takes no room on the disk
        said = tcalc.refusal(f"verify {tmp_path / 'config.json'} --weights {path}")
        assert "bytes, expected" in said


def test_a_name_of_a_tensor_may_hold_any_character(tcalc: Shell, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    tensors = _tensors(tmp_path)
    for name in ("#", "wte#0", "transformer.h.0.mlp.weights_in.weight#1", "a#b#c", "\0"):
        header = {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        path = tmp_path / "one.safetensors"
        path.write_bytes(safetensors(header, bytes(4)))
        status, _, err = tcalc(f"verify {tmp_path / 'config.json'} --weights {path} --json")
        assert (status, err.count("error")) == (1, 0)
    assert tensors


def test_names_of_files_that_are_too_long_are_no_files(tcalc: Shell, tmp_path: Path) -> None:
    index = tmp_path / "i.json"
    index.write_text(json.dumps({"weight_map": {"a": "x" * 300}}))
    assert "is not a file beside it" in tcalc.refusal(f"verify gpt2 --weights {index}")


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "cost gpt3 --layers 10000",
        "cost llama-3-8b --layers 10000 --device h100-sxm --devices 1024 --tokens 1T",
        "memory llama-3-8b --layers 1000 --pp 1000",
        "memory llama-3-8b --layers 1000 --pp 1000 --mode train",
        "memory llama-3-8b --layers 2000 --pp 1000 --mode train --schedule interleaved --virtual 2 --batch 1000",
        "serve llama-3-8b --layers 1000 --pp 1000 --device h100-sxm",
        "fit gpt3 --layers 1e6 --solve devices --device h100-sxm --mode train",
        "shapes gpt2 --layers 1000 --expand",
        "shapes gpt2 --layers 1000 --expand --json",
        "shapes gpt2 --layers 1e9",
        "params gpt2 --layers 1e9",
        "flops gpt2 --layers 1e9",
        "walk lesson --d-model 2",
    ],
)
def test_the_time_of_an_answer_does_not_grow_with_the_layers(tcalc: Shell, line: str) -> None:
    start = time.process_time()
    status, _, _ = tcalc(line)
    assert time.process_time() - start < 4  # on a busy machine; alone, a tenth of that to a quarter
    assert status in (0, 1)


def test_stages_that_hold_the_same_are_counted_the_same(tcalc: Shell) -> None:
    """Worked out once for all, or each for itself in a pipeline of its own length: the middle is the middle."""
    data = tcalc.json("memory llama-3-8b --layers 64 --pp 32 --batch 32")
    stages = data["stages"]
    assert len({json.dumps({**stage, "stage": 0}) for stage in stages[1:-1]}) == 1
    train = tcalc.json("memory llama-3-8b --layers 64 --pp 32 --batch 32 --mode train")["stages"]
    kept = [stage["activations"] for stage in train[1:-1]]
    each = {first - second for first, second in pairwise(kept)}
    assert len(each) == 1  # a micro-batch fewer from stage to stage (1F1B)


def test_interleaved_groups_are_kept_as_step_by_step() -> None:
    def step_by_step(kept: list[int], running: int, passes: int, pp: int) -> list[int]:
        total, turn = len(kept) * passes, pp * len(kept)
        counts = [0] * len(kept)
        for k in range(running):
            counts[k % turn // pp] += 1
        held = most = sum(n * size for n, size in zip(counts, kept, strict=True))
        found = list(counts)
        for k in range(min(total - running, turn)):
            one, other = (running + k) % turn // pp, -1 - k % turn // pp
            counts[one] += 1
            counts[other] -= 1
            held += kept[one] - kept[other]
            if held > most:
                most, found = held, list(counts)
        return found

    rng = np.random.default_rng(0)
    for _ in range(2000):
        pp, passes = int(rng.integers(2, 7)), 0
        passes = pp * int(rng.integers(1, 4))
        kept = rng.integers(0, 5, int(rng.integers(2, 5))).tolist()
        running = int(rng.integers(1, passes * len(kept) + 1))
        assert interleaved(kept, running, passes, pp) == step_by_step(kept, running, passes, pp)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says how much memory a program has had")
@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "lesson",
        "--layers 2 --d-model 512 --heads 8 --vocab 32000 -s 512",
        "--layers 2 --d-model 256 --heads 8 --vocab 1000 --experts 8 --experts-per-token 2 -s 512",
        "gemma-2-2b --layers 2 --d-model 256 --heads 4 --kv-heads 2 --d-head 64 --d-ff 1024 --vocab 32000 -s 512",
    ],
)
def test_a_run_takes_no_more_than_it_says(line: str) -> None:
    code = (  # VmHWM is of this program alone; ru_maxrss begins with what the process was before it was this program
        "import sys; from transformer_calc.cli import run; status = run(sys.argv[1:]); "
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "verify", *shlex.split(line), "--size", "full", "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    took = int(run.stderr.split()[-1]) * 1024
    said = json.loads(run.stdout)["bytes_needed"]
    assert took <= said <= 2.5 * took


def test_a_tiny_model_is_run_on_what_is_tiny(tcalc: Shell) -> None:
    assert tcalc("verify t5-small --seq 256")[0] == 0
    for line in ("verify t5-small --seq 4k", "verify llama-3-8b --seq 8k", "verify llama-3-8b --seq 64 --batch 100k"):
        said = tcalc.refusal(line)
        assert "too many for a tiny model" in said
        assert "at most 480.0 MiB" in said


def test_the_whole_is_said_before_a_run(tcalc: Shell) -> None:
    assert "the run needs" in tcalc("verify lesson --size full")[2]


def test_numbers_that_overflow_are_said_to() -> None:
    from transformer_calc.readings.run.verify import random_inputs, verify

    model = transformer_calc.load(config=SMALL)
    workload = model.workload(seq=4)
    sizes = model.graph.sizes(workload)

    def huge(path: str, copy: int) -> Any:
        from transformer_calc.readings.run.machine import random_weights

        return 1e300 * random_weights(model.graph, sizes, 0)(path, copy)

    found = verify(model.graph, sizes, huge, random_inputs(model.spec, workload, 0))  # and warns of nothing
    assert [check.what for check in found.checks if not check.ok] == ["head: finite numbers"]


@pytest.mark.parametrize("command", ["compare gpt2", "cost --device h100-sxm"])
def test_a_run_in_a_file_is_checked_by_all_that_read_it(tcalc: Shell, tmp_path: Path, command: str) -> None:
    file = tmp_path / "x.toml"
    model = "[model]\nlayers = 2\nd_model = 64\nheads = 4\nvocab = 100\n"
    file.write_text(f"{model}[training]\ntokens = [1]\n")
    assert "tokens is [1]; it must be a whole number" in tcalc.refusal(f"{command} {file}")

"""Bad input gets one clear sentence that names the field, exit status 2, and never a traceback."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transformer_calc import InputError, load
from transformer_calc.cli import run
from transformer_calc.sources import families, huggingface

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 100,
}


def tcalc(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    status = run(list(args))
    out, err = capsys.readouterr()
    return status, out, err


def one_message(status: int, out: str, err: str) -> str:
    """What every refusal looks like: status 2, nothing on standard output, one error and perhaps a hint."""
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert status == 2
    assert out == ""
    assert lines[0].startswith("error: ")
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert len(lines) <= 2
    assert "Traceback" not in err
    return lines[0].removeprefix("error: ")


# the arguments after `tcalc params`, and what the message has to name
COMMAND_LINES = [
    (["gpt33"], ["'gpt33'", "not a preset"]),
    (["--preset", "no-such-model-at-all"], ["no-such-model-at-all"]),
    (["--preset", ""], ["--preset"]),
    (["gpt3", "--preset", "gpt2"], ["gpt3", "gpt2"]),
    (["./nowhere/config.json"], ["nowhere/config.json"]),
    (["--layers", "0", "--d-model", "8", "--heads", "2"], ["--layers", "'0'"]),
    (["--layers", "-3", "--d-model", "8", "--heads", "2"], ["--layers", "'-3'"]),
    (["--layers", "1.5", "--d-model", "8", "--heads", "2"], ["--layers", "'1.5'"]),
    (["--layers", "twelve", "--d-model", "8", "--heads", "2"], ["--layers", "'twelve'"]),
    (["--layers", "1e300", "--d-model", "8", "--heads", "2"], ["--layers", "'1e300'"]),
    (["--layers", "nan", "--d-model", "8", "--heads", "2"], ["--layers", "'nan'"]),
    (["--layers", "2", "--heads", "2"], ["d_model is missing"]),
    (["--layers", "2", "--d-model", "8"], ["heads is missing"]),
    (["--d-model", "8", "--heads", "2"], ["layers is missing"]),
    (["--layers", "2", "--d-model", "10", "--heads", "3"], ["d_model (10)", "heads (3)"]),
    (["--layers", "2", "--d-model", "8", "--heads", "4", "--kv-heads", "3"], ["n_heads (4)", "n_kv_heads (3)"]),
    (["--layers", "2", "--d-model", "8", "--heads", "4", "--kv-heads", "8"], ["n_kv_heads (8)", "n_heads (4)"]),
    (["--layers", "2", "--d-model", "8", "--heads", "4", "--experts", "4"], ["experts_per_token is missing"]),
    (
        ["--layers", "2", "--d-model", "8", "--heads", "4", "--experts", "4", "--experts-per-token", "5"],
        ["top_k (5)", "n_experts (4)"],
    ),
    (["gpt2", "--set", "attention.windw=4"], ["attention.windw"]),
    (["gpt2", "--set", "attention.window"], ["attention.window", "path=value"]),
    (["gpt2", "--set", "attention.window=wide"], ["attention.window", "'wide'"]),
    (["gpt2", "--set", "attention.alibi=7"], ["attention.alibi", "true or false"]),
    (["gpt2", "--by", "colour"], ["--by", "colour"]),
    (["gpt2", "--format", "xml"], ["--format", "xml"]),
    (["gpt2", "--batch", "0"], ["--batch"]),
    (["gpt2", "--target-seq", "5"], ["target_seq is 5"]),
    (["gpt2", "--seq", "2.0005k"], ["--seq", "'2.0005k'", "whole number"]),
    (["gpt2", "--seq", "٣"], ["--seq", "'٣'"]),
    (["gpt2", "--seq", "1e999999999999"], ["--seq", "at most"]),
    (["gpt2", "--context", "-1"], ["--context", "at least 0"]),
    (["bert-base-uncased", "--context", "5"], ["context is 5", "no cache"]),
    (["x" * 5000], ["is not a preset"]),
    (["x/" * 5000], ["there is no file or folder"]),
    (["a\0b"], ["is not a preset"]),
    (["./a\0b"], ["there is no file or folder"]),
    (["--config", "./a\0b"], ["a?b"]),
    (["\udcff"], ["'\\udcff'"]),
    (["../../presets/gpt3"], ["there is no file or folder"]),
    (["--preset", "../models/gpt3"], ["'../models/gpt3' is not a preset"]),
    (["--preset", "gpt3.toml"], ["'gpt3.toml' is not a preset"]),
    (["gpt2", "--set", "=5"], ["'=5'", "path=value"]),
    (["gpt2", "--set", ".window=5"], ["path=value"]),
    (["gpt2", "--set", "d_model=768=3"], ["d_model", "'768=3'"]),
    (["gpt2", "--set", "__class__=3"], ["__class__"]),
]


@pytest.mark.parametrize(("args", "named"), COMMAND_LINES)
def test_command_line(capsys: pytest.CaptureFixture[str], args: list[str], named: list[str]) -> None:
    message = one_message(*tcalc(capsys, "params", *args))
    assert all(part in message for part in named), message


def test_a_misspelt_preset_gets_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "hint: did you mean gpt3?" in tcalc(capsys, "params", "gpt33")[2]


# what is wrong in an otherwise right config.json, and what the message has to name
CONFIGS: list[tuple[dict[str, Any], list[str]]] = [
    ({"model_type": None}, ["model_type is missing"]),
    ({"model_type": "llamma"}, ["'llamma'"]),
    ({"model_type": 3}, ["model_type is 3"]),
    ({"hidden_size": 0}, ["hidden_size is 0"]),
    ({"hidden_size": -64}, ["hidden_size is -64"]),
    ({"hidden_size": 64.5}, ["hidden_size is 64.5"]),
    ({"hidden_size": "64"}, ['hidden_size is "64"']),
    ({"hidden_size": None}, ["hidden_size is null"]),
    ({"hidden_size": True}, ["hidden_size is true"]),
    ({"hidden_size": 10**40}, ["hidden_size is a number of more than 30 digits"]),
    ({"hidden_size": [64]}, ["hidden_size is a list"]),
    ({"num_attention_heads": 7}, ["hidden_size (64)", "num_attention_heads (7)"]),
    ({"num_key_value_heads": 3}, ["n_heads (8)", "n_kv_heads (3)"]),
    ({"num_hidden_layers": 0}, ["num_hidden_layers is 0"]),
    ({"hidden_act": "gellu"}, ["hidden_act is 'gellu'"]),
    ({"architectures": "LlamaForCausalLM"}, ["architectures"]),
    ({"architectures": ["LlamaForPoetry"]}, ["'LlamaForPoetry'"]),
    ({"num_experts_somewhere": 8}, ["num_experts_somewhere (8)"]),
    ({"cross_attention_layers": [1, 2]}, ["cross_attention_layers"]),
    ({"rope_theta": "big"}, ["rope_theta"]),
    ({"rope_scaling": {"type": "spiral"}}, ['"spiral"']),
    ({"rms_norm_eps": "small"}, ["rms_norm_eps"]),
    ({"tie_word_embeddings": "yes"}, ["tie_word_embeddings"]),
]


@pytest.mark.parametrize(("changes", "named"), CONFIGS)
def test_config(tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], named: list[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({k: v for k, v in {**LLAMA, **changes}.items() if k != "model_type" or v is not None}))
    message = one_message(*tcalc(capsys, "params", "--config", str(path)))
    assert all(part in message for part in named), message


def test_a_key_that_is_not_understood_can_be_passed_over_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**LLAMA, "num_experts_somewhere": 8}))
    assert tcalc(capsys, "params", "--config", str(path), "--ignore-key", "num_experts_somewhere")[0] == 0


# a file's content, and what the message has to say; {} is its path
FILES = [
    ("config.json", b"", "{} is empty"),
    ("config.json", b"   \n", "{} is empty"),
    ("config.json", b"{", "{} is not JSON"),
    ("config.json", b"[1, 2]", "{} holds a list"),
    ("config.json", b"null", "{} holds null"),
    ("config.json", b"a\0b", "{} is not JSON"),
    ("config.json", b'{"vocab_size": 1, "vocab_size": 2}', "{} holds the key 'vocab_size' twice"),
    ("config.json", b'{"model_type": "llama"} x', "{} is not JSON"),
    ("config.json", b"\xff\xfe\x00", "{} is not a text file"),
    ("config.json", b"[" * 100_000, "{} is nested too deeply"),
    ("config.json", b'{"a": ' * 100_000, "{} is nested too deeply"),
    ("config.json", b'{"hidden_size": ' + b"9" * 5000 + b"}", "{} is not JSON"),
    ("config.json", b'"' + b"x" * (50 * 2**20) + b'"', "{} has more than 4,194,304 bytes"),
    ("model.toml", b"", "{} is empty"),
    ("model.toml", b"layers = ", "{} is not TOML"),
    ("model.toml", b"[model]\nlayers = 2\n[config]\n", "model.toml: there must be one table"),
    ("model.toml", b"[model]\nlayer = 2\n", "model.toml: layer is not a hyperparameter"),
    ("model.toml", b"[model]\nlayers = 'two'\nheads = 2\nd_model = 4", "model.toml: layers is 'two'"),
    ("model.toml", b"[model]\nlayers = 2\nlayers = 3", "{} is not TOML"),
    ("model.toml", b"[[model]]\nlayers = 2", "model.toml: model is [{{'layers': 2}}]; it must be a table"),
    ("model.toml", b"[models]\nlayers = 2", "model.toml: [models] is not a table of a preset"),
    ("model.toml", b"workload = 3\n[model]\n", "model.toml: workload is 3; it must be a table"),
    ("model.toml", b"[model]\n[workload]\nseq = 'x'", "model.toml: [workload] seq is 'x'"),
    ("model.toml", b"[model]\n[workload]\nsek = 5", "model.toml: [workload] sek is not one of batch, seq"),
    ("model.toml", b"name = 5\n[model]\n", "model.toml: name is 5"),
    ("model.toml", b"x = " + b"[" * 100_000, "{} is nested too deeply"),
]


@pytest.mark.parametrize(("name", "content", "says"), FILES, ids=lambda v: str(v)[:30])
def test_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert says.format(path) in one_message(*tcalc(capsys, "params", str(path)))


def test_folder_without_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = one_message(*tcalc(capsys, "params", "--config", str(tmp_path)))
    assert message == f"{tmp_path} is a folder without a config.json"


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA), encoding="utf-8-sig")
    assert tcalc(capsys, "params", str(path))[0] == 0


@pytest.mark.parametrize("model_type", "mamba jamba qwen3_next recurrent_gemma bamba zamba2 falcon_mamba rwkv".split())
def test_state_space_and_linear_attention_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model_type: str
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": model_type}))
    message = one_message(*tcalc(capsys, "params", str(path)))
    assert message.endswith(
        f"model_type is '{model_type}'; state-space and linear-attention layers are not supported yet"
    )


def test_an_unknown_family_gets_a_short_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "zzz"}))
    status, out, err = tcalc(capsys, "params", str(path))
    assert "model_type is 'zzz'" in one_message(status, out, err)
    assert "such as llama" in err
    assert all(name in families.known() for name in re.findall(r"[a-z0-9_]+", huggingface.SOME) if name != "and")
    assert not set(huggingface.LATER.split()) & set(families.known())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_read_and_one_that_nobody_writes_to_is_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert one_message(*tcalc(capsys, "params", str(pipe))) == f"{pipe} is empty"
    command = f"cat {shlex.quote(str(tmp_path / 'config.json'))} > {shlex.quote(str(pipe))}"
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    with subprocess.Popen(["sh", "-c", command]) as writer:
        for _ in range(100):  # until the writer is there
            status, out, _ = tcalc(capsys, "params", str(pipe), "--json")
            if status == 0:
                break
            time.sleep(0.05)
        writer.kill()
    assert json.loads(out)["params"]["total"] == 86_848


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_a_link_to_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be read" in one_message(*tcalc(capsys, "params", str(tmp_path / "loop")))
    (tmp_path / "config.json").symlink_to("config.json")
    assert "cannot be read" in one_message(*tcalc(capsys, "params", str(tmp_path)))


def test_a_folder_with_the_name_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.toml").mkdir()
    assert "cannot be read" in one_message(*tcalc(capsys, "params", str(tmp_path / "x.toml")))


@pytest.mark.parametrize("layer", ["12", "-1", "1.5", "²", "layer", "", "9" * 5000])
def test_a_layer_that_is_not_there(capsys: pytest.CaptureFixture[str], layer: str) -> None:
    message = one_message(*tcalc(capsys, "shapes", "gpt2", f"--layer={layer}"))
    assert message.startswith("--layer is ")
    assert "0 to 11" in message
    assert len(message) < 120


def test_folder_with_a_config_is_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert tcalc(capsys, "params", str(tmp_path), "--json")[0] == 0


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def answers_or_refuses(config: dict[str, Any]) -> None:
    """A config either gives a count that is a positive int, or an InputError: nothing else."""
    try:
        total = load(config=config).params().total
    except InputError as error:
        assert "\n" not in error.message
        assert len(error.message) < 500
    else:
        assert isinstance(total, int)
        assert total > 0


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
@pytest.mark.parametrize("model_type", families.known())
def test_any_value_of_any_key_is_answered_or_refused(model_type: str, data: st.DataObject) -> None:
    from transformer_calc.sources.huggingface import family

    keys = st.sampled_from([*family({"model_type": model_type}).defaults, "architectures", "num_labels", "id2label"])
    answers_or_refuses({"model_type": model_type, **data.draw(st.dictionaries(keys, anything, max_size=4))})


@settings(max_examples=300, deadline=None)
@given(anything | st.dictionaries(st.sampled_from(["model_type", *LLAMA]), anything))
def test_any_json_is_answered_or_refused(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("any") / "config.json"
    path.write_text(json.dumps(value))
    try:
        load(config=path)
    except InputError as error:
        assert "\n" not in error.message


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["--layers", "--d-model", "--heads", "--kv-heads", "--d-ff", "--experts", "--window", "--batch"]
        ),
        st.text(max_size=12) | st.integers().map(str) | st.floats().map(str),
    )
)
def test_any_flag_is_answered_or_refused(flags: dict[str, str]) -> None:
    words = [word for name, value in flags.items() for word in (f"{name}={value}",)]
    assert run(["params", *words, "--json"]) in (0, 2)


def test_floats_of_a_config_are_checked() -> None:
    with pytest.raises(InputError, match="rms_norm_eps"):
        load(config={**LLAMA, "rms_norm_eps": math.nan})


# a command line in which an option that takes one value has two, and what the message says
TWICE = [
    ("params --layers 2 --layers 3 --d-model 8 --heads 2", "--layers is given twice, as '2' and as '3'"),
    ("params gpt2 -b 2 --batch 3", "--batch is given twice, as '2' and as '3'"),
    ("params gpt2 --seq=8 --seq=8", "--seq is given twice, as '8' and as '8'"),
    ("params --preset gpt2 --preset gpt3", "--preset is given twice, as 'gpt2' and as 'gpt3'"),
    ("shapes gpt2 --layer 0 --layer 1", "--layer is given twice"),
    ("flops gpt2 --latent naive --latent absorbed", "--latent is given twice"),
    ("memory gpt2 --device t4 --device a100", "--device is given twice, as 't4' and as 'a100'"),
    ("fit gpt2 --device t4 --solve batch --solve context", "--solve is given twice"),
    ("cost gpt2 --mfu 0.3 --mfu 0.4", "--mfu is given twice"),
    ("serve gpt2 --device t4 --tp 1 --tp 2", "--tp is given twice"),
    ("compare gpt2 gpt3 --device t4 --device a100", "--device is given twice"),
    ("verify gpt2 --seed 1 --seed 2", "--seed is given twice"),
    ("walk --step a --step b", "--step is given twice"),
    ("presets -f json -f csv", "--format is given twice"),
    ("hardware show t4 --format json --format csv", "--format is given twice"),
    ("serve gpt2 --device t4 --device-set power=1 --device-set power=2", "--device-set 'power' is given twice"),
    ("memory gpt2 --mode train --buffer grads=1 --buffer grads=2", "--buffer 'grads' is given twice"),
]


@pytest.mark.parametrize(("line", "said"), TWICE)
def test_an_option_of_one_value_takes_one(capsys: pytest.CaptureFixture[str], line: str, said: str) -> None:
    assert one_message(*tcalc(capsys, *line.split())).startswith(said)


def test_an_option_that_is_repeatable_is_repeated_and_a_flag_says_the_same_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "params gpt2 --set layers=2 --set vocab=100 --ignore-key x --ignore-key y --json --json"
    assert json.loads(tcalc(capsys, *line.split())[1])["model"]["changes"] == ["layers=2", "vocab=100"]
    assert tcalc(capsys, *"compare --preset gpt2 --preset gpt3".split())[0] == 0


def test_a_key_that_stands_twice_in_any_json_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, values = tmp_path / "config.json", tmp_path / "values.json"
    index, weights = tmp_path / "model.safetensors.index.json", tmp_path / "model.safetensors"
    config.write_text('{"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2, "factor": 4}}')
    assert one_message(
        *tcalc(capsys, "params", str(config))
    ) == f"{config} holds the key 'factor' twice; it must stand " + ("there once")
    values.write_text('{"values": {"x": [[1, 2]], "x": [[1, 3]]}}')
    assert "holds the key 'x' twice" in one_message(*tcalc(capsys, "walk", "exercise", "--input", str(values)))
    index.write_text('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}')
    assert "holds the key 'a' twice" in one_message(*tcalc(capsys, "verify", "gpt2", "--weights", str(index)))
    entry = '{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    header = f'{{"a": {entry}, "a": {entry}}}'.encode()
    weights.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "holds the key 'a' twice" in one_message(*tcalc(capsys, "verify", "gpt2", "--weights", str(weights)))


def test_an_array_that_stands_twice_in_an_npz_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import io
    import zipfile

    import numpy as np

    array = io.BytesIO()
    np.save(array, np.ones((2, 2)))
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("x.npy", array.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            packed.writestr("x.npy", array.getvalue())
    assert "holds 'x' twice" in one_message(*tcalc(capsys, "walk", "exercise", "--input", str(path)))

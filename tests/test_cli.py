"""What the command line promises: formats that agree, one JSON envelope, exit statuses, completion, help that runs."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Shell

from transformer_calc import __version__
from transformer_calc.cli import FIELDS, WORKLOAD_FIELDS

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 100,
}
SIZES = "--layers 2 --d-model 64 --heads 4 --vocab 100 --max-positions 16"


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def process(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m transformer_calc` as a process of its own."""
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    return subprocess.run(
        [sys.executable, "-m", "transformer_calc", *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**plain, "PYTHONIOENCODING": "utf-8", **environment},
    )


# --- choosing a model ---------------------------------------------------------------------------------------


def test_a_model_is_a_preset_a_file_a_folder_or_flags(tcalc: Shell, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    total = {line: tcalc.json(f"params {line}")["params"]["total"] for line in ("gpt3", "--preset gpt3", "GPT-3")}
    assert set(total.values()) == {174_604_259_328}
    lines = (str(path), str(tmp_path), f"--config {path}", f"--config {tmp_path}")
    assert {tcalc.json(f"params {line}")["params"]["total"] for line in lines} == {86_848}
    assert tcalc.json(f"params {SIZES}")["model"]["name"] == "custom"


def test_without_a_model_the_default_is_named(tcalc: Shell) -> None:
    status, out, err = tcalc("shapes --json")
    assert (status, json.loads(out)["model"]["name"]) == (0, "gpt2")
    assert err == "note: no model given: this is the preset gpt2\n"


def test_flags_and_set_change_a_model_and_the_answer_says_so(tcalc: Shell, tmp_path: Path) -> None:
    changed = tcalc.json("params gpt3 --layers 48 --set attention.window=4k")
    assert changed["params"]["total"] == 87_623_503_872
    assert changed["model"]["changes"] == ["layers=48", "attention.window=4k"]
    heading = tcalc.answer("params gpt3 --layers 48").splitlines()[0]
    assert heading == "gpt3 with layers=48: 87.6B parameters"

    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    ours = tcalc.json(f"params {tmp_path} --layers 3 --kv-heads 2 --vocab 1k")
    theirs = tmp_path / "other.json"
    theirs.write_text(json.dumps({**LLAMA, "num_hidden_layers": 3, "num_key_value_heads": 2, "vocab_size": 1000}))
    assert ours["params"] == tcalc.json(f"params {theirs}")["params"]


@pytest.mark.parametrize("command", ["params", "compare lesson", "shapes", "memory"])
@pytest.mark.parametrize("kind", ["folder", "model", "file", "link"])
def test_a_bare_word_is_the_preset_whatever_lies_about(
    tcalc: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "gpt3"
    if kind in ("folder", "model"):
        here.mkdir()
    if kind == "model":
        (here / "config.json").write_text(json.dumps(LLAMA))
    if kind == "file":
        here.write_text(json.dumps(LLAMA))
    if kind == "link":
        here.symlink_to("nowhere")
    _, out, err = tcalc(f"{command} gpt3 --json")
    if command.startswith("compare"):
        assert json.loads(out)["compare"]["models"] == ["lesson", "gpt3"]
    else:
        assert json.loads(out)["model"]["source"] == "preset gpt3"
    assert "gpt3 is the preset of that name; the file or folder here is ./gpt3\n" in err
    if kind in ("model", "file"):  # and both spellings of the path mean the path
        for written in ("./gpt3", str(here), "--config gpt3"):
            assert tcalc.json(f"params {written}")["model"]["family"] == "llama"
    assert tcalc(f"{command} --preset gpt3 --json")[2] == ""  # nothing to be told apart


def test_a_device_is_not_hidden_by_a_file_of_its_name(
    tcalc: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h100-sxm").write_text('name = "mine"\nmemory_gb = 1\n')
    assert tcalc.json("memory gpt2 --device h100-sxm")["device"]["name"] == "h100-sxm"


@pytest.mark.parametrize(
    ("line", "name", "changes"),
    [
        ("walk --vocab 3", "walk", ["vocab=3"]),
        ("walk --layers 2 --heads 4", "walk", ["layers=2", "heads=4"]),
        ("walk --layers 1 --d-model 2 --heads 1 --vocab 5", "custom", []),  # enough for a model of its own
        ("params --vocab 1k --max-positions 8", "gpt2", ["vocab=1000", "max_positions=8"]),
        ("shapes --d-ff 5", "gpt2", ["d_ff=5"]),
        ("memory --vocab 3 --set norm.eps=1e-6", "gpt2", ["vocab=3", "norm.eps=1e-6"]),
        ("params --layers 2 --d-model 8 --heads 2", "custom", []),
    ],
)
def test_flags_that_describe_no_model_change_the_default_one(
    tcalc: Shell, line: str, name: str, changes: list[str]
) -> None:
    status, out, err = tcalc(f"{line} --json")
    model = json.loads(out)["model"]
    assert (status, model["name"], model["changes"]) == (0, name, changes)
    if name != "custom":
        sizes = ", ".join(change for change in changes if "." not in change)
        assert f"note: no model given: this is the preset {name} with {sizes}\n" in err
        assert tcalc.answer(line).startswith(f"{name} with {', '.join(changes)}")


def test_what_the_default_model_refuses_says_that_it_is_the_default(tcalc: Shell) -> None:
    refusal = "no model given, so it is the preset gpt2: window cannot be set on a gpt2 model"
    assert tcalc.refusal("params --window 4").startswith(refusal)
    assert tcalc.refusal("params gpt2 --window 4").startswith("window cannot be set on a gpt2 model")
    assert tcalc.refusal("walk --experts 4").startswith("no model given, so it is the preset walk: ")


@pytest.mark.parametrize("written", ["2048", "2_048", "2,048", "2k", "2K", "2Ki", "0.001953125M", "2048e0", " 2048 "])
def test_numbers_are_read_as_people_write_them(tcalc: Shell, written: str) -> None:
    assert tcalc.json(f"shapes lesson --seq '{written}' --layer 0")["workload"]["seq"] == 2048


def test_large_numbers_stay_exact(tcalc: Shell) -> None:
    data = tcalc.json("params --layers 10k --d-model 1e6 --heads 1k --vocab 300B --max-positions 3200e3")
    d, v, p = 10**6, 300 * 10**9, 3_200_000
    assert data["params"]["total"] == 10_000 * (12 * d * d + 13 * d) + (v + p + 2) * d


def test_the_workload_of_an_encoder_decoder(tcalc: Shell) -> None:
    data = tcalc.json("shapes t5-small -b 2 -s 7 --target-seq 1 --context 30")
    assert data["workload"] == {"batch": 2, "seq": 7, "target_seq": 1, "context": 30}
    shapes = {op["path"]: op["output"]["shape"] for op in data["ops"]}
    assert shapes["encoder.layers.attn.scores"] == [2, 8, 7, 7]
    assert shapes["decoder.layers.attn.scores"] == [2, 8, 1, 31]
    assert shapes["decoder.layers.cross.scores"] == [2, 8, 1, 7]
    assert shapes["head.lm"] == [2, 1, 32128]


# --- what every answer has ----------------------------------------------------------------------------------

COMMANDS = ["shapes lesson", "params lesson", "compare lesson walk", "presets", "presets lesson", "presets show lesson"]
COMMANDS += ["hardware", "hardware h100", "hardware show h100"]


@pytest.mark.parametrize("line", COMMANDS)
def test_json_is_all_of_standard_output_and_begins_alike(tcalc: Shell, line: str) -> None:
    data = tcalc.json(line)
    assert list(data)[:4] == ["schema", "command", "model", "workload"]
    assert data["schema"] == "tcalc/1"
    assert line.startswith(data["command"])
    assert tcalc.answer(f"{line} --format json") == tcalc.answer(f"{line} --json")


@pytest.mark.parametrize("format", ["table", "json", "csv", "md"])
@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_has_every_format(tcalc: Shell, line: str, format: str) -> None:
    status, out, err = tcalc(f"{line} --format {format}")
    assert (status, err) == (0, "")
    assert out.endswith("\n")
    assert "\x1b" not in out


@pytest.mark.parametrize("by", ["component", "layer", "tensor"])
@pytest.mark.parametrize("model", ["gpt3", "lesson-translation", "deepseek-v3", "gemma-2-2b", "bert-base-uncased"])
def test_the_formats_of_params_agree(tcalc: Shell, model: str, by: str) -> None:
    line = f"params {model} --by {by}"
    data = tcalc.json(line)
    total, rows = data["params"]["total"], data["components"]
    assert data["params"]["embedding"] + data["params"]["non_embedding"] == total >= data["params"]["active"]
    assert sum(row["repeat"] * row["params"] for row in rows) == total

    from_csv = list(csv.DictReader(io.StringIO(tcalc.answer(f"{line} --format csv"))))
    assert [int(row["total"]) for row in from_csv] == [row["repeat"] * row["params"] for row in rows]
    for format in ("table", "md"):
        text = tcalc.answer(f"{line} --format {format}")
        assert all(f"{row['total']:,}" in text for row in rows)
        assert f"{total:,}" in text.splitlines()[-1]


@pytest.mark.parametrize("model", ["lesson", "lesson-translation", "mixtral-8x7b", "deepseek-v2-lite", "roberta-base"])
def test_what_an_operation_of_shapes_has(tcalc: Shell, model: str) -> None:
    data = tcalc.json(f"shapes {model}")
    assert all(isinstance(value, int) for value in data["symbols"].values())
    for op in data["ops"]:
        assert {"path", "op", "inputs", "output", "repeat", "params", "flops"} <= op.keys()
        assert all(type(op[key]) is int for key in ("repeat", "params", "flops"))
        assert op["output"].keys() == {"axes", "symbols", "shape"}
        for value in op["inputs"]:
            assert value.keys() >= {"name", "axes", "symbols", "shape"}
        for value in [*op["inputs"], *op["weights"], op["output"]]:
            assert len(value["axes"]) == len(value["symbols"]) == len(value["shape"])
            for symbols, size in zip(value["symbols"], value["shape"], strict=True):
                named = [data["symbols"].get(letter) for letter in symbols.split("·")]
                if None not in named:
                    product = 1
                    for factor in named:
                        product *= factor
                    assert product == size
    total = tcalc.json(f"params {model}")["params"]["total"]
    assert sum(op["repeat"] * op["params"] for op in data["ops"]) == total


def test_the_formula_in_each_notation(tcalc: Shell) -> None:
    def formula(notation: str) -> tuple[str, list[str]]:
        data = tcalc.json(f"params gpt3 --notation {notation}")
        return data["formula"], data["identities"]

    assert formula("unicode") == ("12·L·D² + 13·L·D + (V + P + 2)·D", ["H·E = D", "F = 4·D"])
    assert formula("ascii") == ("12*L*D^2 + 13*L*D + (V + P + 2)*D", ["H*E = D", "F = 4*D"])
    assert formula("latex") == ("12 L D^{2} + 13 L D + (V + P + 2) D", ["H E = D", "F = 4 D"])


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
@pytest.mark.parametrize(
    "line",
    [
        "params gpt3",
        "params deepseek-v3 --by layer",
        "compare gpt3 gpt2 t5-small",
        "presets",
        "presets show gpt3",
        "hardware",
    ],
)
def test_tables_fit_the_terminal(tcalc: Shell, monkeypatch: pytest.MonkeyPatch, line: str, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    wide = [text for text in tcalc.answer(line).splitlines() if len(text) > width]
    assert not [text for text in wide if not re.search(r"[\d,]{12,}", text)]  # a number that is cut would be wrong


def test_the_lesson_fits_80_columns(tcalc: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = tcalc.answer("shapes lesson --layer 0")
    assert max(map(len, text.splitlines())) <= 80
    for shown in ("Q = X·W_q", "[768, 512]", "[B, H, S, E]", "[5, 8, 12, 64]", "[5, 8, 12, 12]", "mask [12, 12]:"):
        assert shown in text


def test_cross_attention_says_where_its_keys_are_from(tcalc: Shell) -> None:
    rows = csv.DictReader(io.StringIO(tcalc.answer("shapes lesson-translation --format csv")))
    notes = {row["path"]: row["note"] for row in rows}
    assert notes["decoder.layers.cross.k"] == "K = X·W_k, X = encoder.output"
    assert notes["decoder.layers.attn.k"] == "K = X·W_k"


# --- exit statuses and messages -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("gpt-3-175bn", "'gpt-3-175bn' is not a preset\ndid you mean gpt3?"),  # not its other name
        ("llama", "'llama' is not a preset\ntcalc presets llama lists those whose names begin so"),
        (
            "meta-llama/Llama-3.1-8B",
            "there is no file or folder 'meta-llama/Llama-3.1-8B'\ndid you mean llama-3.1-8b?",
        ),
        ("../gpt3", "there is no file or folder '../gpt3'\ndid you mean gpt3?"),
        ("--preset ../gpt3", "'../gpt3' is not a preset"),
        ("gpt3 gpt2", "Got unexpected extra argument(s) (gpt2)"),
        ("gpt3 --layrs 3", "No such option: --layrs (Possible options: --layers)"),
        ("gpt3 --json --format md", "--json and --format md are given, expected one of them"),
    ],
)
def test_a_refusal_says_what_would_be_right(tcalc: Shell, line: str, says: str) -> None:
    assert tcalc.refusal(f"params {line}").startswith(says)


def test_an_unknown_command_gets_the_nearest(tcalc: Shell) -> None:
    assert tcalc.refusal("parms gpt3").startswith("No such command 'parms'. Did you mean 'params'?")


def test_without_a_command_there_is_help(tcalc: Shell) -> None:
    status, out, err = tcalc("")
    assert (status, out) == (2, "")
    assert err.startswith("Usage: tcalc")


def test_the_version(tcalc: Shell) -> None:
    assert tcalc.answer("--version") == f"tcalc {__version__}\n"


def test_notes_go_to_standard_error(tcalc: Shell) -> None:
    status, out, err = tcalc(f"shapes {SIZES} --seq 20 --json")
    assert (status, json.loads(out)["command"]) == (0, "shapes")
    assert err == "note: 20 tokens are more than the model's 16 positions\n"


def test_what_is_left_out_of_the_workload_fits_the_model(tcalc: Shell) -> None:
    status, out, err = tcalc(f"shapes {SIZES} --context 10 --json")
    assert (status, json.loads(out)["workload"]["seq"], err) == (0, 1, "")  # one step of decoding


def test_a_message_cannot_steer_the_terminal(tcalc: Shell, tmp_path: Path) -> None:
    path = tmp_path / "\x1b[31mred\n.json"
    path.write_text("{")
    assert "\x1b" not in tcalc.refusal(f"params '{path}'")


@pytest.mark.skipif(sys.platform == "win32", reason="a Unix shell")
@pytest.mark.parametrize(
    ("shell", "status", "says"),
    [
        ("params gpt3 | head -1", 0, ""),
        ("params gpt3 > /dev/full", 2, "error: the answer cannot be written: No space left on device\n"),
        ("--help > /dev/full", 2, "error: the answer cannot be written: No space left on device\n"),
        ("params gpt3 >&-", 2, "error: the answer cannot be written: standard output is closed\n"),
    ],
)
def test_output_that_is_not_read_or_cannot_be_written(shell: str, status: int, says: str) -> None:
    if "/dev/full" in shell and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    line = f"{shlex.quote(sys.executable)} -m transformer_calc {shell}"
    run = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (status, says)


def test_an_ascii_locale_gets_ascii(tcalc: Shell) -> None:
    text = process("shapes", "lesson", PYTHONIOENCODING="ascii").stdout
    assert text.isascii()
    assert "Q*K^T / sqrt E" in text
    assert "?" not in text
    assert "H\\u00b7E" in process("params", "gpt3", "--json", PYTHONIOENCODING="ascii").stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(
    ("environment", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_only_on_a_terminal(environment: dict[str, str], colored: bool) -> None:
    import pty

    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    command = [sys.executable, "-m", "transformer_calc", "params", "lesson", "--by", "layer"]
    with subprocess.Popen(command, stdout=theirs, env={**plain, "TERM": "xterm", **environment}) as child:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # Linux: the child has closed its end
            pass
    os.close(ours)
    assert child.returncode == 0
    assert (b"\x1b[" in shown) == colored
    assert b"\x1b" not in process("params", "lesson", **environment).stdout.encode()


# --- help and completion ------------------------------------------------------------------------------------

HELPS = ["", "shapes", "params", "compare", "presets", "presets list", "presets show"]
HELPS += ["hardware", "hardware list", "hardware show"]


@pytest.mark.parametrize("command", HELPS)
def test_examples_in_the_help_run(tcalc: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    text = tcalc.answer(f"{command} --help")
    examples = re.findall(r"^  tcalc (.+)$", text.partition("\nExamples:\n")[2], re.MULTILINE)
    assert examples
    for example in examples:
        assert tcalc.answer(example)


@pytest.mark.parametrize("command", ["shapes", "params"])
def test_every_flag_is_in_the_help_and_none_is_cut(tcalc: Shell, command: str) -> None:
    text = tcalc.answer(f"{command} --help")
    for name in (*FIELDS, *WORKLOAD_FIELDS, "preset", "config", "set", "format", "json"):
        assert re.search(rf"--{name.replace('_', '-')}\b", text)
    assert "..." not in text.replace("[OPTIONS]...", "")
    assert "..." not in tcalc.answer("--help").replace("[ARGS]...", "")


def groups_of(help: str) -> dict[str, list[str]]:
    """The flags of each group of a help text."""
    found: dict[str, list[str]] = {}
    for line in help.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            title = line[:-1]
        elif flag := re.match(r"  (?:-\w, )?(--[a-z-]+)", line):
            found.setdefault(title, []).append(flag[1])
    return found


def test_options_stand_in_groups(tcalc: Shell) -> None:
    memory, cost, serve = (groups_of(tcalc.answer(f"{name} --help")) for name in ("memory", "cost", "serve"))
    for groups in (memory, cost):
        assert groups["Parallelism"] == ["--dp", "--tp", "--pp", "--cp", "--ep", "--sp"]
        assert {"--precision", "--optimizer", "--zero", "--micro-batch"} <= {*groups["Training (--mode train)"]}
        assert "--kv-dtype" in groups["Serving"]
        assert {"--device", "--device-set"} <= {*groups["Device"]}
    assert next(iter(memory)) == "Options"
    assert "--lr" in cost["Learning rate"]
    assert not any("Training" in title for title in serve)


def test_serving_refuses_what_its_help_leaves_out(tcalc: Shell) -> None:
    status, _, err = tcalc("serve gpt2 --device h100 --zero 3")
    assert (status, "--zero is 3" in err) == (2, True)
    status, _, err = tcalc("cost llama-3-70b --mode infer --serve-tokens 1B --device h100")
    assert (status, "--tokens" in err) == (2, True)


def test_commands_are_listed_from_shapes_to_devices() -> None:
    listed = re.findall(r"^  ([a-z]+)  ", process("--help").stdout.partition("Commands:")[2], re.MULTILINE)
    assert listed[:4] == ["shapes", "params", "flops", "memory"]
    assert listed[-2:] == ["presets", "hardware"]


def test_every_sign_of_a_walk_has_an_ascii_form() -> None:
    text = process("walk", PYTHONIOENCODING="ascii").stdout
    assert "N1 = LayerNorm(X0) = (X0 - mu) / sqrt (sigma^2 + eps) * gamma + beta" in text
    assert "?" not in text


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("par", ["params"]),
        ("params gpt3-x", ["gpt3-xl"]),
        ("compare gpt2 gpt3-x", ["gpt3-xl"]),
        ("shapes --preset lesson-", ["lesson-ffn", "lesson-translation"]),
        ("presets show gpt-j", ["gpt-j-6b"]),
        ("presets mixtral", ["mixtral-8x22b", "mixtral-8x7b"]),
        ("hardware show h100-", ["h100-pcie", "h100-sxm"]),
        ("hardware gaudi", ["gaudi2", "gaudi3"]),
        ("params --format ", ["table", "json", "csv", "md"]),
        ("params --by l", ["layer"]),
        ("params --experts", ["--experts", "--experts-per-token"]),
    ],
)
def test_the_shell_completes(typed: str, offered: list[str]) -> None:
    words = f"tcalc {typed}"
    answer = process(_TCALC_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    assert sorted(answer.stdout.split()) == sorted(offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_set_up(shell: str) -> None:
    answer = process(_TCALC_COMPLETE=f"source_{shell}")
    assert answer.returncode == 0
    assert "_TCALC_COMPLETE" in answer.stdout


FIGURES = ("memory_gb=40", "peaks.bf16=100T", "bandwidth=1e12")


@pytest.mark.parametrize("command", ["memory", "fit", "serve", "cost"])
def test_a_figure_of_the_device_may_be_set(tcalc: Shell, command: str) -> None:
    line = f"{command} llama-3-8b --device h100-sxm"
    line += " --tokens 1T --devices 8 --batch 64" if command == "cost" else ""
    changed = " ".join([line, *(f"--device-set {figure}" for figure in FIGURES)])
    assert tcalc.json(line) != tcalc.json(changed)


@pytest.mark.parametrize("command", ["fit", "serve"])
def test_a_device_is_asked_for(tcalc: Shell, command: str) -> None:
    assert tcalc.refusal(f"{command} llama-3-8b").startswith("--device is missing")

"""`tcalc walk`: the forward pass by hand, held against the same sums done in plain Python."""

from __future__ import annotations

import json
import math
import os
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transformer_calc import InputError, load
from transformer_calc.cli import run
from transformer_calc.graph.model import build as build_graph
from transformer_calc.readings.run.given import seeded_inputs, seeded_weights
from transformer_calc.readings.run.shrink import shrink
from transformer_calc.readings.run.walk import walk
from transformer_calc.report.walk import build
from transformer_calc.sources import presets
from transformer_calc.spec import Model, Patches, Workload

Rows = list[list[float]]

X: Rows = [[1, 0, 2], [3, 2, 0], [0, 4, 2], [4, 2, 0], [2, 1, 3]]
A: Rows = [
    [1, 0, 0, 0, 0],
    [0.5, 0.5, 0, 0, 0],
    [0.25, 0.25, 0.5, 0, 0],
    [0.25, 0.25, 0.25, 0.25, 0],
    [0.1, 0.2, 0.3, 0.2, 0.2],
]
W1: Rows = [[1, 0, -1, 2], [0, 1, 1, -1], [1, -1, 0, 1]]
B1: list[float] = [0, 1, -1, 0]
W2: Rows = [[1, 0, 1], [0, 2, -1], [-1, 1, 0], [1, -1, 0]]
B2: list[float] = [1, 0, -1]
SEEDED: Rows = [[1, 0, 0, 0], [1, 0, 1, 0], [0, -1, 0, 0], [-1, 0, 1, 1]]  # the preset's W_q, seed 0


def product(a: Rows, b: Rows) -> Rows:
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a]


def plus(a: Rows, b: list[float]) -> Rows:
    return [[x + y for x, y in zip(row, b, strict=True)] for row in a]


def exercise(x: Rows, a: Rows, w1: Rows, b1: list[float], w2: Rows, b2: list[float]) -> tuple[Rows, Rows, Rows]:
    """(Z, ReLU(Z·W₁ + b₁), and what comes out)."""
    z = product(a, x)
    inner = [[max(entry, 0) for entry in row] for row in plus(product(z, w1), b1)]
    return z, inner, plus(product(inner, w2), b2)


def steps(model: Any, *, on: dict[str, int] | None = None, **options: Any) -> dict[str, dict[str, Any]]:
    """The steps of a walk by their paths."""
    report = build(model.walk(**(on or {}), **options))
    return {step["path"]: step for step in report.to_dict()["steps"]}  # type: ignore[attr-defined]


def values(step: dict[str, Any]) -> Any:
    return np.array(step["output"]["values"])


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert run(["walk", *args]) == 0
    return capsys.readouterr().out


class TestTheClassicExercise:
    def test_is_worked_out_as_by_hand(self) -> None:
        found = steps(load("exercise"))
        z, inner, y = exercise(X, A, W1, B1, W2, B2)
        assert list(found) == [
            "embed.vectors",
            "layers.0.attn.mix",
            "layers.0.ffn.up",
            "layers.0.ffn.act",
            "layers.0.ffn.down",
        ]
        assert found["embed.vectors"]["output"]["values"] == [X]
        for path, wanted in (("attn.mix", z), ("ffn.act", inner), ("ffn.down", y)):
            assert values(found[f"layers.0.{path}"])[0] == pytest.approx(np.array(wanted), abs=1e-12)
        assert y[1] == [8, -2, 1]  # the second row, on paper

    def test_says_the_algebra(self) -> None:
        found = steps(load("exercise"))
        assert [step["algebra"] for step in found.values()] == [
            "X, the input matrix",
            "Z = A·X",
            "U = Z·W₁ + b₁",
            "U′ = ReLU(U) = ReLU(Z·W₁ + b₁)",
            "Y = U′·W₂ + b₂",
        ]

    def test_has_the_shapes_of_the_exercise(self) -> None:
        found = steps(load("exercise"))
        weights = [(w["letter"], w["shape"]) for step in found.values() for w in step["weights"]]
        assert weights == [("W₁", [3, 4]), ("b₁", [4]), ("W₂", [4, 3]), ("b₂", [3])]
        a, x = found["layers.0.attn.mix"]["inputs"]
        assert (a["name"], a["shape"], a["symbols"], x["shape"]) == ("A", [5, 5], ["S", "S"], [1, 5, 3])
        assert [sum(row) for row in a["values"]] == pytest.approx([1] * 5)

    def test_is_printed_whole(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = printed(capsys, "exercise")
        assert "  row 2, column 1: 0.5·1 + 0.5·3 + 0·0 + 0·4 + 0·2 = 2\n" in out
        assert "  0.50  0.50     ·     ·     ·  │ Σ = 1    2.0  1.0  1.0\n" in out
        assert out.count("Σ = 1") == 5
        assert "  0   1   1  −1 " in out

    def test_with_other_numbers_from_a_file(self, tmp_path: Path) -> None:
        rng = random.Random(1)

        def matrix(rows: int, columns: int) -> Rows:
            return [[rng.randint(-3, 3) for _ in range(columns)] for _ in range(rows)]

        x, w1, w2 = matrix(5, 3), matrix(3, 4), matrix(4, 3)
        b1, b2 = matrix(1, 4)[0], matrix(1, 3)[0]
        a = [[w / sum(row) for w in row] for row in [[1 + rng.random() for _ in range(5)] for _ in range(5)]]
        file = tmp_path / "mine.json"
        own = {"x": x, "A": a, "layers": {"ffn": {"up": {"weight": w1, "bias": b1}}}}
        file.write_text(json.dumps({**own, "layers.0.ffn.down.weight": w2, "layers.0.ffn.down.bias": b2}))
        found = steps(load("exercise"), input=str(file))
        for path, wanted in zip(("attn.mix", "ffn.act", "ffn.down"), exercise(x, a, w1, b1, w2, b2), strict=True):
            assert values(found[f"layers.0.{path}"])[0] == pytest.approx(np.array(wanted), abs=1e-12)

    def test_has_the_readings_of_every_model(self) -> None:
        model = load("exercise")
        assert model.params().total == 3 * 4 + 4 + 4 * 3 + 3
        flops = {op.path: op.flops for op in model.shapes()}
        assert flops["layers.attn.mix"] == 2 * 5 * 5 * 3
        assert flops["layers.ffn.up"] == flops["layers.ffn.down"] == 2 * 5 * 3 * 4
        for command in ("shapes", "params", "flops", "verify"):
            assert run([command, "exercise", "--json"]) == 0


class TestAttention:
    def test_rows_sum_to_1_and_the_upper_triangle_is_masked(self) -> None:
        found = steps(load("walk"))
        scores, weights = values(found["layers.0.attn.mask"]), values(found["layers.0.attn.softmax"])
        assert weights.shape == (1, 2, 3, 3)
        above = np.triu(np.ones((3, 3), bool), 1)
        assert (scores[..., above] == np.finfo(float).min).all()
        assert (weights[..., above] == 0).all()
        assert (weights[..., ~above] > 0).all()
        assert weights.sum(-1) == pytest.approx(np.ones((1, 2, 3)))

    def test_both_are_seen(self, capsys: pytest.CaptureFixture[str]) -> None:
        masked = printed(capsys, "--step", "layers.0.attn.mask")
        assert masked.count("−∞") == 1 + 2 * 3  # the algebra's, and three of each head
        assert "scores, head 2" in masked
        out = printed(capsys, "--step", "layers.0.attn.softmax")
        assert out.count("1.000      ·      ·  │ Σ = 1") == 2
        assert out.count("Σ = 1") == 6
        assert "A, head 1 (rows sum to 1)" in out

    def test_is_softmax_of_the_scores_times_the_values(self) -> None:
        found = {path.removeprefix("layers.0.attn."): step for path, step in steps(load("walk")).items()}
        n = values(steps(load("walk"))["layers.0.attn_norm"])[0].tolist()
        q, k, v = (product(n, found[name]["weights"][0]["values"]) for name in "qkv")
        heads = []
        for head in (0, 1):
            part = slice(2 * head, 2 * head + 2)
            rows = []
            for i in range(3):
                scores = [
                    sum(a * b for a, b in zip(q[i][part], k[j][part], strict=True)) / 2**0.5 for j in range(i + 1)
                ]
                powers = [math.exp(score) for score in scores]
                rows.append([sum(p * v[j][c] for j, p in enumerate(powers)) / sum(powers) for c in range(4)[part]])
            heads.append(rows)
        assert values(found["mix"])[0] == pytest.approx(np.array(heads))

    def test_letters_follow_the_text_books(self) -> None:
        found = {path: step["algebra"] for path, step in steps(load("walk")).items()}
        assert found["embed.add_positions"] == "X₀ = tok + pos"
        assert found["layers.0.attn.q"] == "Q = N₁·W_q"
        assert found["layers.0.attn.scores"] == "scores = Q·Kᵀ / √E"
        assert found["layers.0.attn.softmax"] == "A = softmax(scores), over the keys"
        assert found["layers.0.attn.mix"] == "Z = A·V"
        assert found["layers.0.attn_residual"] == "X₁ = X₀ + O"
        assert found["head.lm"] == "logits = N₃·W_Eᵀ"


class TestWhichSteps:
    def test_one(self) -> None:
        assert list(steps(load("walk"), step="layers.0.ffn.up")) == ["layers.0.ffn.up"]

    def test_those_whose_paths_begin_so(self) -> None:
        found = steps(load("walk"), step="layers.0.ffn")
        assert list(found) == ["layers.0.ffn.up", "layers.0.ffn.act", "layers.0.ffn.down"]

    def test_of_every_layer_where_none_is_numbered(self) -> None:
        model = load("walk", fields={"layers": 2})
        assert list(steps(model, step="layers.ffn.up")) == ["layers.0.ffn.up", "layers.1.ffn.up"]

    @pytest.mark.parametrize("until", ["layers.0.attn.scores", "layers.attn.scores"])
    def test_until(self, until: str) -> None:
        found = list(steps(load("walk", fields={"layers": 2}), until=until))
        assert (found[0], found[-1]) == ("embed.tokens", "layers.0.attn.scores")

    def test_until_the_end_of_a_part(self) -> None:
        assert list(steps(load("walk"), until="layers.0.attn"))[-1] == "layers.0.attn.o"

    def test_a_step_alone_shows_what_it_uses(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = printed(capsys, "exercise", "--step", "layers.0.ffn.down")
        assert "  U′                    W₂ [4, 3]     b₂ [3]      Y\n" in out
        assert "W₂ [4, 3]" in out

    @pytest.mark.parametrize("option", ["step", "until"])
    def test_a_misspelt_one_gets_the_nearest_name(self, option: str) -> None:
        with pytest.raises(InputError, match=f"`{option}` is 'layers.0.attn.softmx'") as caught:
            load("walk").walk(**{option: "layers.0.attn.softmx"})  # type: ignore[arg-type]
        assert caught.value.hint == "did you mean layers.0.attn.softmax?"

    def test_not_both(self) -> None:
        with pytest.raises(InputError, match="`step` and `until`"):
            steps(load("walk"), step="head", until="head")


class TestWhatIsGiven:
    def walk(self, tmp_path: Path, model: str = "walk", **given: Any) -> dict[str, dict[str, Any]]:
        file = tmp_path / "values.json"
        file.write_text(json.dumps(given))
        return steps(load(model), input=str(file))

    def test_token_ids(self, tmp_path: Path) -> None:
        found = self.walk(tmp_path, token_ids=[4, 4])
        assert values(found["embed.tokens"]).shape == (1, 2, 4)
        table = found["embed.tokens"]["weights"][0]["values"]
        assert found["embed.tokens"]["output"]["values"] == [[table[4], table[4]]]

    def test_a_matrix_in_place_of_the_embedding(self, tmp_path: Path) -> None:
        x = [[1, 2, 3, 4], [0, 0, 1, 1]]
        found = self.walk(tmp_path, x=x)
        assert list(found)[:2] == ["embed.add_positions", "layers.0.attn_norm"]
        assert found["embed.add_positions"]["output"]["values"] == [x]
        assert values(found["head.lm"]).shape == (1, 2, 5)

    def test_weights_of_all_layers_and_of_one(self, tmp_path: Path) -> None:
        one, other = np.eye(4).tolist(), (2 * np.eye(4)).tolist()
        file = tmp_path / "values.json"
        file.write_text(json.dumps({"layers.1.attn.q.weight": other, "layers.attn.q.weight": one}))
        found = steps(load("walk", fields={"layers": 3}), input=str(file))
        used = [found[f"layers.{i}.attn.q"]["weights"][0]["values"] for i in range(3)]
        assert used == [one, other, one]

    def test_from_toml_and_npz(self, tmp_path: Path) -> None:
        (tmp_path / "v.toml").write_text("[layers.0.attn.q]\nweight = [[0,0,0,1],[0,0,1,0],[0,1,0,0],[1,0,0,0]]\n")
        np.savez(tmp_path / "v.npz", **{"layers.0.attn.q.weight": np.eye(4)[::-1]})  # type: ignore[arg-type]
        both = [steps(load("walk"), input=str(tmp_path / f"v.{kind}")) for kind in ("toml", "npz")]
        assert both[0] == both[1]
        assert both[0]["layers.0.attn.q"]["weights"][0]["values"] == np.eye(4)[::-1].tolist()

    def test_what_is_missing_stays_seeded(self, tmp_path: Path) -> None:
        assert self.walk(tmp_path)["layers.0.ffn.up"] == steps(load("walk"))["layers.0.ffn.up"]

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            (
                {"layers.attn.q.weight": [[1, 2]]},
                r"layers.attn.q.weight has the shape \[1, 2\]; it must be \[4, 4\], as",
            ),
            ({"layers.atn.q.weight": [[1]]}, "'layers.atn.q.weight' is neither an input nor a weight"),
            ({"head.lm.weight": [[1]]}, "head.lm.weight is tied: it is embed.tokens.weight"),
            ({"layers.attn.q.weight": [[1, "a"]]}, r"layers.attn.q.weight\[1\]\[2\] is 'a'; it must be a number"),
            ({"layers.attn.q.weight": [[1, 2], [3]]}, r"layers.attn.q.weight\[2\] has 1 entry, but .* has 2 entries"),
            ({"layers.attn.q.weight": []}, "layers.attn.q.weight is empty"),
            ({"layers.attn.q.weight": True}, "layers.attn.q.weight is True; it must be a number"),
            ({"token_ids": [0, 5]}, "token_ids holds 5; its entries must be whole numbers from 0 to 4"),
            ({"token_ids": [0.5]}, "token_ids holds 0.5"),
            ({"token_ids": 3}, r"token_ids has the shape \[\]"),
            ({"x": [[1, 2, 3]]}, r"x has the shape \[1, 1, 3\]; it must be \[1, 1, 4\], as \[B, S, D\]"),
            ({"A": [[1]]}, "'A' is neither an input nor a weight"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, given: dict[str, Any], says: str) -> None:
        with pytest.raises(InputError, match=says):
            self.walk(tmp_path, **given)

    def test_lengths_that_do_not_fit(self, tmp_path: Path) -> None:
        file = tmp_path / "values.json"
        file.write_text(json.dumps({"x": X[:4]}))
        with pytest.raises(InputError, match=r"A has the shape \[5, 5\]; it must be \[4, 4\]"):
            steps(load("exercise"), input=str(file))
        with pytest.raises(InputError, match=r"x has the shape \[1, 5, 3\]; it must be \[1, 2, 3\]"):
            steps(load("exercise"), on={"seq": 2})

    @pytest.mark.parametrize("name", ["v.txt", "none.json", "v.npz"])
    def test_files_that_are_none(self, tmp_path: Path, name: str) -> None:
        if name == "v.npz":
            (tmp_path / name).write_bytes(b"PK no")
        with pytest.raises(InputError, match=name):
            steps(load("walk"), input=str(tmp_path / name))

    def test_a_checkpoint_of_another_model(self, tmp_path: Path) -> None:
        safetensors = pytest.importorskip("safetensors.numpy")
        safetensors.save_file({"a": np.eye(2)}, tmp_path / "m.safetensors")
        with pytest.raises(InputError, match="more do not fit"):
            steps(load("walk"), input=str(tmp_path / "m.safetensors"))


class TestSmallModels:
    def test_the_user_s_own(self) -> None:
        fields = {"layers": 2, "d_model": 6, "heads": 3, "kv_heads": 1, "d_ff": 8, "vocab": 9, "gated": True}
        model = load(fields={**fields, "activation": "silu", "norm": "rmsnorm", "positions": "rotary"})
        found = steps(model)
        assert found["layers.1.attn.softmax"]["output"]["shape"] == [1, 3, 4, 4]
        assert found["layers.0.ffn.product"]["algebra"] == "M = G′ ⊙ U"

    def test_large_ones_are_refused_with_the_way_out(self) -> None:
        with pytest.raises(InputError, match="gpt2 has 124,439,808 parameters") as caught:
            steps(load("gpt2"))
        assert "`shrink`" in (caught.value.hint or "")

    def test_long_ones_too(self) -> None:
        with pytest.raises(InputError, match="`seq` is 65; a walk takes at most 64 tokens"):
            steps(load("walk"), on={"seq": 65})

    def test_a_cache_is_refused(self) -> None:
        with pytest.raises(InputError, match="`context` is 2"):
            steps(load("walk"), on={"context": 2})

    @pytest.mark.parametrize("preset", ["llama-3-8b", "deepseek-v3", "t5-small", "bert-base-uncased", "mixtral-8x7b"])
    def test_shrunk_ones_are_walked(self, preset: str, capsys: pytest.CaptureFixture[str]) -> None:
        out = printed(capsys, preset, "--shrink")
        assert "a tiny model of the same structure" in out
        assert "…" in out

    def test_a_large_matrix_is_shown_by_its_corner_or_whole(self, capsys: pytest.CaptureFixture[str]) -> None:
        fields = ("--layers", "1", "--d-model", "14", "--heads", "2", "--vocab", "5", "--step", "embed.tokens")
        cut, whole = printed(capsys, *fields), printed(capsys, *fields, "--all")
        assert "…" in cut
        assert "…" not in whole
        assert "W_E [5, 14]" in cut

    def test_only_the_first_sequence_unless_asked(self, capsys: pytest.CaptureFixture[str]) -> None:
        fields = ("--batch", "2", "--step", "embed.add_positions")
        assert "sequence 2" not in printed(capsys, *fields)
        assert "sequence 2" in printed(capsys, *fields, "--all")


class TestNumbers:
    def test_the_seed_decides(self) -> None:
        assert steps(load("walk")) == steps(load("walk"))
        assert steps(load("walk")) != steps(load("walk"), seed=1)

    def test_seeded_weights_are_the_same_on_every_machine(self) -> None:
        weight = steps(load("walk"), step="layers.0.attn.q")["layers.0.attn.q"]["weights"][0]["values"]
        assert weight == SEEDED

    def test_integers_are_whole_and_random_ones_have_two_decimals(self) -> None:
        for style, scale in (("integers", 1), ("random", 100)):
            for step in steps(load("walk"), weights=style).values():
                for weight in step["weights"]:
                    entries = scale * np.array(weight["values"])
                    assert entries == pytest.approx(entries.round())

    def test_json_has_every_digit(self) -> None:
        model = load("walk")
        written = json.loads(json.dumps(build(model.walk()).to_dict()))
        assert [step["path"] for step in written["steps"]] == list(steps(model))
        entry = written["steps"][-1]["output"]["values"][0][0][0]
        assert len(repr(entry)) > 10

    @pytest.mark.parametrize("width", [40, 80, 120])
    def test_nothing_is_wider_than_the_page(
        self, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("COLUMNS", str(width))
        for args in (["exercise"], [], ["gemma-2-2b", "--shrink"]):
            assert max(map(len, printed(capsys, *args).splitlines())) <= width

    @pytest.mark.parametrize("format", ["md", "csv"])
    def test_other_formats(self, format: str, capsys: pytest.CaptureFixture[str]) -> None:
        out = printed(capsys, "exercise", "--format", format)
        if format == "csv":
            assert "layers.0.attn.mix,Z = A·X,0x1x0,2.0\n" in out
        else:
            assert "### layers.0.attn.mix" in out
            assert "```text\nZ = A·X" in out


class TestWhatIsSaidOfNumbers:
    """Every sentence beside a matrix follows from the matrix."""

    def exercise(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], a: Rows) -> str:
        file = tmp_path / "mine.json"
        file.write_text(json.dumps({"A": a}))
        return printed(capsys, "exercise", "--input", str(file), "--step", "layers.0.attn.mix")

    @pytest.mark.parametrize(
        ("a", "words"),
        [
            (A, "A [5, 5] (rows sum to 1)"),
            # X1 := X1 + X2, X2 := X2 + X3 and so on, the last one around
            ([[float(j in (i, (i + 1) % 5)) for j in range(5)] for i in range(5)], "A [5, 5] (rows sum to 2)"),
            ([[1, 0, 0, 0, 0], *([[0, 0.5, 0, 0, 0]] * 4)], "A [5, 5] (not all rows sum to 1)"),
            ([[0] * 5, *([[1, 1, 1, 1, -1]] * 4)], "A [5, 5] (no row sums to 1)"),
            ([[-1, 0, 0, 0, 2]] * 5, "A [5, 5] (rows sum to 1)"),
            ([[0] * 5] * 5, "A [5, 5] (rows sum to 0)"),
            ([[0.25, 0, 0, 0, 0]] * 5, "A [5, 5] (rows sum to 0.25)"),
            ([[1 / 3, 0, 0, 0, 0]] * 5, "A [5, 5] (no row sums to 1)"),
        ],
    )
    def test_sums_of_given_rows(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], a: Rows, words: str) -> None:
        out = self.exercise(tmp_path, capsys, a)
        assert words in out
        assert out.count("Σ = 1 ") + out.count("Σ = 1\n") == sum(abs(sum(row) - 1) < 1e-9 for row in a)

    def test_a_sink_takes_its_part_of_each_row(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = printed(capsys, "gpt-oss-20b", "--shrink", "--step", "layers.0.attn.softmax")
        assert "(rows sum to 1)" not in out
        assert "(no row sums to 1)" in out

    def test_a_row_that_is_masked_everywhere(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "mine.json"
        file.write_text(json.dumps({"attention_mask": [0, 1, 1]}))
        args = ("--input", str(file))
        assert "−∞ above the diagonal and at padding" in printed(capsys, *args, "--step", "layers.0.attn.mask")
        out = printed(capsys, *args, "--step", "layers.0.attn.softmax")
        assert "a row that is masked everywhere looks at all alike" in out
        assert "looks at all alike" not in printed(capsys, "--step", "layers.0.attn.softmax")

    def test_a_mask_that_hides_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = printed(capsys, "walk-translation", "--until", "encoder.layers.0.attn.mask")
        assert "scores, −∞ at padding: none here" in out
        assert out.endswith("  the same numbers\n")

    def test_weights_too_small_for_a_number(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "mine.json"
        big = (1000 * np.eye(4)).tolist()
        file.write_text(json.dumps({"layers.attn.q.weight": big, "layers.attn.k.weight": big}))
        out = printed(capsys, "--input", str(file), "--step", "layers.0.attn.softmax")
        assert "some are 0 because e to that power is smaller than any number here" in out

    @pytest.mark.parametrize("path", ["layers.0.attn.dropout", "layers.0.attn_dropout", "embed.dropout"])
    def test_dropout_changes_nothing_here(self, path: str, capsys: pytest.CaptureFixture[str]) -> None:
        out = printed(capsys, "gpt2", "--shrink", "--step", path)
        said = "dropout 0.1: in training only (there, what is kept is ÷ 0.9)"
        assert said in " ".join(out.split())
        assert "the same numbers" in out
        grids = [line for line in out.splitlines() if line in ("  A", "  O", "  X₀", "  emb", "  A, head 1")]
        assert len(grids) == 1  # not the same matrix twice

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({}, "inputs and weights: seeded small whole numbers (seed 0)"),
            ({"token_ids": [1, 2, 3]}, "inputs as given, weights: seeded small whole numbers (seed 0)"),
            (
                {"layers.attn.q.weight": np.eye(4).tolist()},
                "some weights as given; what is not given: seeded small whole numbers (seed 0)",
            ),
        ],
    )
    def test_where_numbers_are_from(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: dict[str, Any], said: str
    ) -> None:
        file = tmp_path / "mine.json"
        file.write_text(json.dumps(given))
        assert said in printed(capsys, "--input", str(file))

    def test_seeded_numbers_are_as_whole_as_is_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "seeded small multiples of 1/16 (seed 0)" in printed(capsys, "gpt2", "--shrink")
        for step in steps(load("gpt2"), shrink=True).values():
            for weight in step["weights"]:
                entries = 16 * np.array(weight["values"])
                assert entries == pytest.approx(entries.round())

    def test_random_ones_have_two_decimals_in_tiny_models_too(self) -> None:
        for step in steps(load("t5-small"), shrink=True, weights="random").values():
            for weight in step["weights"]:
                entries = 100 * np.array(weight["values"])
                assert entries == pytest.approx(entries.round())


SEQ2SEQ = {"model_type": "m2m_100", "d_model": 8} | {
    f"{side}_{what}": size
    for side in ("encoder", "decoder")
    for what, size in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 8))
}


class TestSines:
    def test_the_formula_and_an_entry_are_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = printed(capsys, "walk-translation", "--step", "encoder.embed.positions")
        formula = "PE[p, 2i] = sin(p / 10000^(2i/D)), PE[p, 2i+1] = cos(p / 10000^(2i/D))"
        assert formula in " ".join(out.split())
        assert "row 2, column 3: PE[1, 2] = sin(1 / 10000^(2/4)) ≈ 0.010" in out
        assert "0.841   0.540  0.010  1.000" in out

    @pytest.mark.parametrize(
        ("config", "entry"),
        [
            (SEQ2SEQ, "PE[3, 1] = sin(3 / 10000^(1/(4 − 1)))"),  # the rows before are padding's and one that is unused
            (
                {"model_type": "xglm", "num_layers": 1, "attention_heads": 2, "ffn_dim": 8, "d_model": 8},
                "PE[3, 1] = sin(3",
            ),
        ],
    )
    def test_of_families_that_store_halves(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any], entry: str
    ) -> None:
        file = tmp_path / "config.json"
        file.write_text(json.dumps({**config, "vocab_size": 11}))
        path = "encoder.embed.positions" if config["model_type"] == "m2m_100" else "embed.positions"
        out = printed(capsys, str(file), "--until", path)
        assert entry in out

    @pytest.mark.parametrize("family", ["marian", "whisper"])
    def test_a_stored_table_is_filled_as_its_class_fills_it(self, family: str) -> None:
        config = {"model_type": family, "encoder_layers": 1, "decoder_layers": 1}
        found = steps(load(config=config), shrink=True)["encoder.embed.positions"]
        row = np.array(found["output"]["values"])[1]
        half = len(row) // 2
        wide = half if family == "marian" else half - 1
        wanted = [f(1 / 10000 ** (i / wide)) for f in (math.sin, math.cos) for i in range(half)]
        assert row == pytest.approx(np.array(wanted))


class TestWhereNormsStand:
    @pytest.mark.parametrize(
        "model", ["lesson", "lesson-ffn", "lesson-translation", "walk-translation", "transformer-base"]
    )
    def test_lessons_add_then_norm(self, model: str) -> None:
        for stack in load(model).spec.stacks:
            assert {layer.place for layer in stack.layers.kinds} == {"post"}
            assert stack.final_norm is None

    def test_a_post_norm_stack_normalises_once(self) -> None:
        model = load("walk", sets=["place=post"])
        assert model.notes == ["the final norm is left out: with place=post no norm follows the layers"]
        found = steps(model)
        assert found["layers.0.ffn_norm"]["algebra"].startswith("N₂ = LayerNorm(X₂)")
        assert found["head.lm"]["algebra"] == "logits = N₂·W_Eᵀ"

    @pytest.mark.parametrize(
        ("model", "sets", "ends", "note"),
        [
            ("gpt2", ["place=post"], [False], "the final norm is left out"),
            ("gpt2", ["place=post", "final_norm=none"], [False], ""),
            ("gpt2", ["place=post", "final_norm.eps=1e-6"], [True], ""),  # whoever sets it keeps it
            ("gpt2", ["place=sandwich"], [True], ""),
            ("bert-base-uncased", ["place=pre"], [True], "the layers are followed by a final norm, as place=pre needs"),
            ("bert-base-uncased", ["place=pre", "final_norm=none"], [False], ""),
            ("t5-small", ["decoder.place=post"], [True, False], "the decoder's final norm is left out"),
            ("transformer-base", ["encoder.place=pre"], [True, False], "the encoder's layers are followed by"),
            ("walk", ["place=none"], [False], "the final norm is left out"),
        ],
    )
    def test_the_final_norm_follows_the_place(self, model: str, sets: list[str], ends: list[bool], note: str) -> None:
        changed = load(model, sets=sets)
        assert [stack.final_norm is not None for stack in changed.spec.stacks] == ends
        assert "; ".join(changed.notes).startswith(note) if note else not changed.notes

    def test_parallel_parts_have_their_norm_before_them(self) -> None:
        with pytest.raises(InputError, match="place must be 'pre'"):
            load("gpt-j-6b", sets=["place=post"])


def tiny_models() -> dict[str, Model]:
    """The tiny models of all presets, each structure once, under the name of its first preset."""
    seen: dict[str, tuple[str, Model]] = {}
    for name in presets.names():
        tiny = shrink(load(name).spec)
        same = replace(tiny, name="any", family="any", tensor_names=())
        seen.setdefault(repr(same), (name, tiny))
    small = {f"{name} itself": load(name).spec for name in ("walk", "walk-translation", "lesson-ffn")}
    return dict(seen.values()) | small


@pytest.mark.parametrize("style", ["integers", "random"])
@pytest.mark.parametrize(
    ("name", "model"), tiny_models().items(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_softmax_has_something_to_choose_from(name: str, model: Model, style: str) -> None:
    """Tiny models of all presets: half of the rows give no key nearly all, and no score runs far off."""
    e = model.stacks[0].embedding
    tokens = e.count + e.extra_tokens if isinstance(e, Patches) else 4 if not name.endswith("itself") else 3
    graph = build_graph(model)
    sizes = graph.sizes(Workload(batch=1, seq=tokens, target=3 if model.kind == "encoder-decoder" else None))
    inputs = seeded_inputs(model, graph, sizes, {}, 0)
    largest: list[float] = []
    for step in walk(graph, sizes, seeded_weights(graph, sizes, {}, 0, style), inputs):
        if step.path.endswith(".softmax"):
            scores = step.inputs[0].values
            several = (scores > -1e300).sum(-1) > 1
            largest += step.output.values.max(-1)[several].tolist()
            assert np.abs(scores[scores > -1e300]).max() < 60
    assert np.median(largest) < 0.95 if largest else model.family == "lesson"


@pytest.mark.parametrize(
    ("name", "read", "wanted"),
    [
        ("lesson-translation", lambda m: m.stacks[0].embedding.scale, lambda m: m.stacks[0].d_model ** 0.5),
        ("gemma-2b", lambda m: m.stacks[0].embedding.scale, lambda m: m.stacks[0].d_model ** 0.5),
        ("gemma-2-27b", lambda m: m.stacks[0].layers.kinds[0].mixer.scale, lambda m: 3**-0.5),  # 20 / 6 heads
        ("deberta-v3-base", lambda m: m.stacks[0].layers.kinds[0].mixer.scale, lambda m: 24**-0.5),  # 3 · 8
        ("t5-small", lambda m: m.heads[0].scale, lambda m: m.stacks[-1].d_model ** -0.5),
        ("t5-small", lambda m: m.stacks[0].layers.kinds[0].mixer.scale, lambda m: 1.0),  # of no width
        ("command-r-35b", lambda m: m.heads[0].steps[0].scale, lambda m: 1 / 16),
    ],
)
def test_factors_made_of_a_width_shrink_with_it(name: str, read: Any, wanted: Any) -> None:
    tiny = shrink(load(name).spec)
    assert read(tiny) == pytest.approx(wanted(tiny))


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--step", "layers.0.attn.scores"], ") / √2 ≈ "),
        (["walk", "--set", "attention.scale=0.125", "--step", "layers.0.attn.scores"], ") / 8 "),
        (["walk", "--set", "attention.scale=0.3", "--step", "layers.0.attn.scores"], ") · 0.3 "),
        (["walk", "--set", "attention.scale=1", "--step", "layers.0.attn.scores"], "scores = Q·Kᵀ    ["),
    ],
)
def test_factors_of_scores_are_written_as_what_they_are(
    args: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line in printed(capsys, *args)


def test_scores_that_are_divided_by_the_layer_s_number_are_worked_out_so(capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--layers", "2", "--set", "attention.scale_by_layer=true", "--step", "layers.1.attn.scores")
    assert ") / √2 / 2 ≈" in printed(capsys, *args)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mixer": "averaging", "heads": 2}, "heads is 2, but mixer is 'averaging'"),
        ({"mixer": "averaging", "input": "vectors", "vocab": 9}, "vocab is 9, but input is 'vectors'"),
        ({"mixer": "averaging", "input": "vectors", "head": "lm"}, "head is 'lm', but input is 'vectors'"),
    ],
)
def test_words_of_a_part_that_is_not_there(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        load(fields={"layers": 1, "d_model": 4, **fields})


def test_averaging_beside_tokens_norms_and_a_head() -> None:
    found = steps(load(fields={"layers": 2, "d_model": 4, "mixer": "averaging", "vocab": 7}), on={"seq": 3})
    a = np.array(found["layers.1.attn.mix"]["inputs"][0]["values"])
    assert a == pytest.approx(np.array([[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]]))
    assert found["layers.1.attn_residual"]["algebra"] == "X₃ = X₂ + Z"
    assert found["head.lm"]["output"]["shape"] == [1, 3, 7]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--seq", "4"], "4 tokens are too many to run: walk has a table of 3 positions"),
        (["gpt2", "--shrink", "--seq", "5000"], "a walk takes at most 64 tokens"),
        (["--batch", "1e9"], "a walk takes at most 64 sequences"),
        (["--input", ""], "--input is empty"),
        (["--input", "pipe.npz"], "neither a file nor a folder"),
    ],
)
def test_what_cannot_be_walked_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.npz")
    assert run(["walk", *args]) == 2
    shown = capsys.readouterr()
    assert says in shown.err
    assert not shown.out


@pytest.mark.parametrize(
    ("name", "on", "sizes"),
    [
        ("gpt2", {"batch": 2}, (2, 4, None)),
        ("gpt2", {"seq": 6}, (1, 6, None)),
        ("t5-small", {"batch": 2}, (2, 4, 3)),
        ("t5-small", {"target_seq": 5}, (1, 4, 5)),
        ("whisper-tiny", {"target_seq": 5}, (1, 4, 5)),
        ("clip-vit-b-32", {"batch": 2}, (2, 4, None)),
        ("lesson-translation", {"batch": 2}, (2, 12, 9)),  # whose own lengths are small enough to show
    ],
)
def test_sizes_that_are_not_asked_for_stay_small(
    name: str, on: dict[str, int], sizes: tuple[int, int, int | None]
) -> None:
    model = load(name)
    ran = model.walk(**on, shrink=True).workload  # type: ignore[arg-type]
    assert (ran["batch"], ran["seq"], ran.get("target_seq")) == sizes


def test_rows_of_a_file_count_though_a_batch_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("x = [[1, 2, 3], [4, 5, 6]]\nA = [[1, 0], [0, 1]]")
    found = steps(load("exercise"), on={"batch": 3}, input=str(path))
    assert found["layers.0.attn.mix"]["output"]["values"] == [[[1, 2, 3], [4, 5, 6]]] * 3


@pytest.mark.parametrize(("args", "said"), [(["-b", "3"], True), (["-b", "3", "--all"], False), ([], False)])
def test_matrices_of_one_sequence_are_said_to_be(
    args: list[str], said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["walk", "exercise", *args]) == 0
    assert ("\nmatrices are those of the first of the 3 sequences (" in capsys.readouterr().out) == said


@pytest.mark.parametrize(
    ("row", "sum_of"),
    [
        ([0.3333, 0.3333, 0.3333], "0.9999"),
        ([0.5, 0.5, 0.0000001], "1.0000001"),
        ([0.1, 0.2, 0.7], "1"),  # 0.1 + 0.2 + 0.7 is 1 but for the last bit
        ([1, 1, 0], "2"),
        ([0.1111, 0, 0], "0.111"),
        ([0, 0, 0], "0"),
    ],
)
def test_a_sum_that_is_not_1_is_not_rounded_to_1(
    row: list[float], sum_of: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f"x = {[[1, 2, 3]] * 3}\nA = {[row, [0, 2, 0], [0, 0, 2]]}")
    assert run(["walk", "exercise", "--input", str(path), "--step", "layers.0.attn.mix"]) == 0
    text = capsys.readouterr().out
    assert text.partition("Σ = ")[2].split()[0] == sum_of
    assert ("(no row sums to 1)" in text, "(not all rows sum to 1)" in text) == (
        (sum_of != "1", sum_of == "1") if sum_of != "2" else (False, False)
    )


@pytest.mark.parametrize(
    ("name", "what"), [("vit-base", "the image"), ("clip-vit-b-32", "the image"), ("whisper-tiny", "the spectrogram")]
)
def test_inputs_that_are_no_whole_numbers_are_said_to_be(
    name: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["walk", name, "--shrink"]) == 0
    told = f"inputs and weights: seeded small multiples of 1/16 (seed 0); {what}: random numbers of two decimals"
    assert told in " ".join(capsys.readouterr().out.split())  # however wide the page is


def test_cosines_are_multiplied_with_e_to_the_learned_scale() -> None:
    """Radford et al. 2021, arXiv 2103.00020, figure 3: `logits = np.dot(I_e, T_e.T) * np.exp(t)`."""
    found = steps(load("clip-vit-b-32"), shrink=True, weights="random", on={"batch": 2})
    cosines, scale, out = (np.array(found[path]["output"]["values"]) for path in ("logits", "logit_scale", "scaled"))
    assert found["scale"]["algebra"] == "scale = exp(logit_scale)"
    assert found["scaled"]["algebra"] == "logits = logits ⊙ scale"
    assert out == pytest.approx(cosines * np.exp(scale))


@pytest.mark.parametrize(
    ("scaling", "factor"),
    [
        (None, None),
        ({"rope_type": "linear", "factor": 4.0}, None),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, "1.139"),  # 0.1 · ln 4 + 1
        ({"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.5}, "1.5"),
    ],
)
def test_a_rotation_that_stretches_says_so(scaling: Any, factor: str | None) -> None:
    """Peng et al. 2023, arXiv 2309.00071, section 3.4: queries and keys are multiplied with √(1/t) = 0.1 · ln s + 1."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = {"model_type": "llama", **sizes, "vocab_size": 9, "rope_scaling": scaling}
    found = steps(load(config=config))
    for letter in "QK":
        step = found[f"layers.0.attn.{letter.lower()}_rotated"]
        assert step["algebra"] == f"{letter}, rotate 8 of each head" + (
            f", and multiply these with {factor}" if factor else ""
        )
        before, after = (np.linalg.norm(np.array(x["values"])) for x in (step["inputs"][0], step["output"]))
        assert after / before == pytest.approx(float(factor or 1), rel=1e-3)


@pytest.mark.parametrize(
    ("x", "decimals", "says"),
    [
        ([2, 0, 4, 0], 3, "row 1: μ = 1.5, σ² = 2.75"),
        ([2, 0, 4, 0], 1, "row 1: μ = 1.5, σ² ≈ 2.8"),
        ([2, 0, 4, 0], 0, "row 1: μ ≈ 2, σ² ≈ 3"),
        ([1, 1, 2, 1.3333333], 3, "row 1: μ ≈ 1.333, σ² ≈ 0.167"),
    ],
)
def test_what_is_rounded_of_a_norm_is_said_to_be(
    x: list[float], decimals: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.toml"
    path.write_text(f"x = [{x}]")
    args = ["--input", str(path), "--decimals", str(decimals), "--step", "layers.0.attn_norm"]
    assert run(["walk", "walk", *args]) == 0
    assert f"  {says}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("mixtral-8x7b", "Y = Σ over k of g ⊙ Y: weighted sum over its experts"),
        ("llama-4-scout", "Y = Σ over k of Y: sum over its experts"),  # whose inputs are weighted, before
    ],
)
def test_experts_that_are_weighted_before_are_only_summed(name: str, line: str) -> None:
    assert next(op.note for op in load(name).shapes() if op.path.endswith("ffn.combine")) == line


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            "attention_mask = [1, 1, 0]",
            "attention_mask as given; what is not given: seeded small whole numbers (seed 0)",
        ),
        (
            "attention_mask = [1, 1, 0]\ntoken_ids = [1, 2, 0]",
            "inputs as given, weights: seeded small whole numbers (seed 0)",
        ),
    ],
)
def test_a_mask_that_is_given_is_said_to_be(
    values: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mask.toml"
    path.write_text(values)
    assert run(["walk", "walk", "--input", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[1] == told


@pytest.mark.parametrize("size", ["--d-ff", "--d-model"])
def test_a_preset_s_own_numbers_that_do_not_fit_are_said_to_be_its_own(
    size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["walk", "exercise", size, "2"]) == 2
    said = capsys.readouterr().err
    assert " has the shape [" in said
    assert "own numbers do not fit; --input gives others" in said


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mixtral-8x7b", "2 best experts, weighed by a softmax over all ÷ their sum"),
        ("gpt-oss-20b", "4 best experts, weighed by a softmax over these"),
        ("qwen3-30b-a3b", "8 best experts, weighed by a softmax over all ÷ their sum"),
        ("llama-4-scout", "1 best expert, weighed by σ of each score"),
        ("deepseek-v2-lite", "6 best experts, weighed by a softmax over all"),
        (
            "deepseek-v3",
            "8 best experts of the 4 best of 8 groups, ranked with the correction added, "
            "weighed by σ of each score ÷ their sum · 2.5",
        ),
    ],
)
def test_a_router_says_how_it_weighs(name: str, says: str) -> None:
    assert next(op.note for op in load(name).shapes() if op.path.endswith("ffn.route")).endswith(f": {says}")


@pytest.mark.parametrize("name", ["mixtral-8x7b", "gpt-oss-20b", "deepseek-v2-lite", "deepseek-v3", "llama-4-scout"])
def test_a_router_weighs_as_it_says(name: str) -> None:
    step = next(s for path, s in steps(load(name), shrink=True, weights="random").items() if path.endswith("ffn.route"))
    line, scores, g = step["algebra"], np.array(step["inputs"][0]["values"]), np.array(step["output"]["values"])
    for row, weights in zip(scores.reshape(-1, scores.shape[-1]), g.reshape(-1, g.shape[-1]), strict=True):
        each = 1 / (1 + np.exp(-row)) if "σ of each" in line else np.exp(row) / np.exp(row).sum()
        some = "over these" in line or "÷ their sum" in line
        factor = float(line.rpartition(" · ")[2]) if " · " in line else 1.0
        if some:  # shares of what was chosen: their ratios are those of the scores, and their sum is the factor
            assert weights.sum() == pytest.approx(factor)
            assert all(
                any(math.isclose(a / b, x / y, rel_tol=1e-6) for x in each for y in each) for a, b in pairwise(weights)
            )
        else:
            assert all(any(math.isclose(w, x * factor, rel_tol=1e-9) for x in each) for w in weights)

"""Symbolic sizes: how they print, that they are exact, and that every way to a number gives the same number."""

from __future__ import annotations

import copy
import doctest
import pickle
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_calc import expr as module
from transformer_calc.expr import (
    Expr,
    Pair,
    UnboundSymbolError,
    as_size,
    ceil_div,
    ceil_to,
    divide,
    evaluate,
    formula_of,
    indexed,
    largest,
    layer_sum,
    maximum,
    minimum,
    number_of,
    parse,
    settled,
    substitute,
    symbol,
    to_text,
)

# Any, as a Size may be an int: mypy cannot know that a product of symbols is an Expr
sized: Any = symbol
L, B, S, T, C, V, P, D, F, H, K, E, X, W = map(sized, "LBSTCVPDFHKEXW")
per_layer: Any = indexed
F_l, W_l, H_l = map(per_layer, "FWH")
HALF = Fraction(1, 2)

gpt: Any = L * (12 * D**2 + 13 * D) + (V + P) * D + 2 * D
llama: Any = L * (2 * H * E + 2 * K * E + 3 * F + 2) * D + 2 * V * D + D


# ---- Numbers that know their formulas

READINGS: list[Callable[[Any, Any], Any]] = [
    lambda d, s: 3 * d + s * d - 2 * s + 1,
    lambda d, s: (7 - d) * s**2 - -d,
    lambda d, s: divide(d * s, 6) + divide(d, 4),
    lambda d, s: ceil_div(d * s, 7) * ceil_to(s + 1, 16),
    lambda d, s: minimum(d, s, 40) + maximum(d, 2 * s),
    lambda d, s: max(d, s) * min(d, s, 9),
    lambda d, s: largest([d, 2 * s, 30]) + largest([]),
    lambda d, s: sum(size for size in (d, s, 0) if size) + (d if d >= s else s * 5),
]


@pytest.mark.parametrize("reading", READINGS)
@given(st.integers(1, 99), st.integers(0, 99))
def test_one_reading_gives_the_number_and_its_formula(reading: Callable[[Any, Any], Any], d: int, s: int) -> None:
    both = reading(Pair(d, D), Pair(s, S))
    assert number_of(both) == both == reading(d, s)
    assert evaluate(formula_of(both), {"D": d, "S": s}) == reading(d, s)


def test_a_pair_is_its_number_and_prints_its_formula() -> None:
    wide, high = Pair(8, D), Pair(8, S)
    assert wide == high == 8
    assert wide <= high < 9
    assert hash(wide) == hash(8)
    assert [bool(wide), bool(0 * wide)] == [True, False]
    assert to_text(3 * wide + 1) == "3·D + 1"
    assert type(wide - wide) is int  # a formula without a symbol is its number
    assert max(wide, high) is wide  # of two that are alike the first, with its own formula
    assert largest(np.array([n, 5]) for n in (3, 7)).tolist() == [7, 5]
    with pytest.raises(TypeError, match=r"0\.5 cannot enter an exact expression"):
        wide * 0.5


# ---- Roundings that are none


def test_roundings_that_are_exact_are_settled() -> None:
    size = 3 * D * ceil_div(V, 8) + ceil_to(S, 16) ** 2 + ceil_div(V, 7)
    assert settled(size, {"V": 64, "S": 32, "D": 5}) == 3 * D * V / 8 + S**2 + ceil_div(V, 7)
    assert settled(ceil_div(D * V / 4, 3), {"V": 4, "D": 5}) == ceil_div(D * V, 12)
    assert settled(7, {}) == 7


@given(st.integers(1, 99), st.integers(1, 9), st.integers(1, 9))
def test_what_is_settled_has_the_same_value(v: int, a: int, b: int) -> None:
    size = ceil_div(ceil_div(V, a) * D, b) + ceil_to(V * D / 2, a)
    values = {"V": v, "D": 6}
    assert evaluate(settled(size, values), values) == evaluate(size, values)


# ---- Text

# expression, Unicode, ASCII, LaTeX
PRINTED: list[tuple[Any, str, str, str]] = [
    (7, "7", "7", "7"),
    (-HALF, "-1/2", "-1/2", r"-\frac{1}{2}"),
    (D, "D", "D", "D"),
    (-D, "-D", "-D", "-D"),
    (2 * D**12, "2·D¹²", "2*D^12", "2 D^{12}"),
    (
        gpt,
        "12·L·D² + 13·L·D + V·D + P·D + 2·D",
        "12*L*D^2 + 13*L*D + V*D + P*D + 2*D",
        "12 L D^{2} + 13 L D + V D + P D + 2 D",
    ),
    (3 - D, "-D + 3", "-D + 3", "-D + 3"),
    (D - 3, "D - 3", "D - 3", "D - 3"),
    (S * (S + 1) / 2, "1/2·S² + 1/2·S", "1/2*S^2 + 1/2*S", r"\frac{1}{2} S^{2} + \frac{1}{2} S"),
    (symbol("F_e") * symbol("L_local"), "L_local·F_e", "L_local*F_e", r"L_{\mathrm{local}} F_{e}"),
    (symbol("tp") * symbol("D_12_kv"), "D_12_kv·tp", "D_12_kv*tp", r"D_{12,\mathrm{kv}} \mathrm{tp}"),
    (2 * S * minimum(W, C), "2·S·min(C, W)", "2*S*min(C, W)", r"2 S \min(C, W)"),
    (maximum(S, 1) ** 2, "max(S, 1)²", "max(S, 1)^2", r"\max(S, 1)^{2}"),
    (D * ceil_to(V, 128), "D·ceil_to(V, 128)", "D*ceil_to(V, 128)", r"D \lceil V \rceil_{128}"),
    (ceil_div(S, 64), "ceil_div(S, 64)", "ceil_div(S, 64)", r"\left\lceil \frac{S}{64} \right\rceil"),
    (layer_sum(F_l), "Σₗ F_l", "sum_l(F_l)", r"\sum_{l=1}^{L} F_{l}"),
    (layer_sum(F_l**2), "Σₗ F_l²", "sum_l(F_l^2)", r"\sum_{l=1}^{L} F_{l}^{2}"),
    (layer_sum(F_l) ** 2, "(Σₗ F_l)²", "sum_l(F_l)^2", r"(\sum_{l=1}^{L} F_{l})^{2}"),
    (layer_sum(F_l * H_l), "Σₗ (F_l·H_l)", "sum_l(F_l*H_l)", r"\sum_{l=1}^{L} F_{l} H_{l}"),
    (layer_sum(F_l, 5), "sum_l(F_l, 5)", "sum_l(F_l, 5)", r"\sum_{l=1}^{5} F_{l}"),
    (
        layer_sum(F_l) * layer_sum(H_l),
        "(Σₗ F_l)·Σₗ H_l",
        "sum_l(F_l)*sum_l(H_l)",
        r"(\sum_{l=1}^{L} F_{l}) \sum_{l=1}^{L} H_{l}",
    ),
]


@pytest.mark.parametrize(("size", "unicode", "ascii_", "latex"), PRINTED, ids=[row[1] for row in PRINTED])
def test_printed_forms_and_back(size: Any, unicode: str, ascii_: str, latex: str) -> None:
    assert [to_text(size, style) for style in ("unicode", "ascii", "latex")] == [unicode, ascii_, latex]
    assert parse(unicode) == parse(ascii_) == size


# expression, collected symbols, text
COLLECTED: list[tuple[Any, tuple[str, ...], str]] = [
    (gpt, ("L", "D"), "12·L·D² + 13·L·D + (V + P + 2)·D"),
    (gpt, ("D",), "12·L·D² + (13·L + V + P + 2)·D"),
    (llama, ("L", "D"), "(2·H·E + 2·K·E + 3·F + 2)·L·D + (2·V + 1)·D"),
    (3 * L * D * F, ("L", "D"), "3·L·D·F"),
    (V - P + L * D, ("L", "D"), "L·D + V - P"),
    ((P - V) * D, ("D",), "-(V - P)·D"),
    ((layer_sum(F_l) + F) * D * 3, ("D",), "(3·F + 3·Σₗ F_l)·D"),
    (D + 1, ("V",), "D + 1"),
]


@pytest.mark.parametrize(("size", "collect", "text"), COLLECTED, ids=[row[2] for row in COLLECTED])
def test_collected_print(size: Expr, collect: tuple[str, ...], text: str) -> None:
    assert size.format(collect=collect) == text
    assert parse(text) == parse(size.format("ascii", collect)) == size


def test_llama_total_in_latex() -> None:
    assert llama.format("latex", "LD") == llama.format("latex", ("LD",))  # one string is one name
    assert llama.format("latex", ("L", "D")) == "(2 H E + 2 K E + 3 F + 2) L D + (2 V + 1) D"


def test_symbols_have_a_fixed_order_in_a_product() -> None:
    printed = "L*L_local*B*S*T*C*V*P*D*D_kv*F*F_e*H*K*E*X*k*W*a_b*tp*z"
    product: Any = 1
    for name in reversed(printed.split("*")):
        product = product * symbol(name)
    assert product.format("ascii") == printed


# What people may type: text and the form it is printed in
TYPED = [
    ("  2*3 + 4 ", "10"),
    ("D**2*12", "12·D²"),
    ("(V + P)·D − 2 × D", "V·D + P·D - 2·D"),
    ("S*(S + 1)/2", "1/2·S² + 1/2·S"),
    ("-(D - 1)^2", "-D² + 2·D - 1"),
    ("+D/1", "D"),
    ("min(min(W, C), 8, 9)", "min(C, W, 8)"),
    ("ceil_to(50257, 128)*D", "50304·D"),
    ("Σₗ (3·D·F_l + 2·D)", "2·L·D + 3·D·Σₗ F_l"),
    ("sum_l(F_l, L)", "Σₗ F_l"),
]


@pytest.mark.parametrize(("text", "printed"), TYPED)
def test_parse_reads_what_people_type(text: str, printed: str) -> None:
    assert to_text(parse(text)) == printed


MALFORMED = [
    ("", "'', character 1: expected a number, a symbol, a function or '(', found the end"),
    ("2*", "'2*', character 3: expected a number, a symbol, a function or '(', found the end"),
    ("2 D", "'2 D', character 3: expected an operator or the end, found 'D'"),
    ("(D + 1", "'(D + 1', character 7: expected an operator or ')', found the end"),
    ("D^x", "'D^x', character 3: expected a whole number as exponent, found 'x'"),
    ("D^101", "'D^101', character 3: expected an exponent up to 100, found '101'"),
    ("1.5*D", "'1.5*D', character 2: expected an operator or the end, found '.'"),
    ("1/D", "'1/D', character 3: expected a number other than 0 to divide by, found 'D'"),
    ("D/0", "'D/0', character 3: expected a number other than 0 to divide by, found '0'"),
    ("D__x", "'D__x', character 1: expected a symbol such as D, F_e or L_local, found 'D__x'"),
    ("min", "'min', character 1: expected a symbol such as D, F_e or L_local, found 'min'"),
    (
        "eval(D)",
        "'eval(D)', character 1: expected min, max, ceil_to, ceil_div, sum_l or an operator before '(', found 'eval'",
    ),
    ("min(C, W", "'min(C, W', character 9: expected an operator, ',' or ')', found the end"),
    (
        "ceil_to(V, 0)",
        "'ceil_to(V, 0)', character 1: expected valid arguments (ceil_to needs a positive divisor, not 0), "
        "found 'ceil_to'",
    ),
]


@pytest.mark.parametrize(("text", "message"), MALFORMED)
def test_malformed_text_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("opening", ["(", "min(", "Σₗ"])
def test_deep_nesting_is_a_value_error(opening: str) -> None:
    with pytest.raises(ValueError, match="at most 50 levels of nesting"):
        parse(opening * 100_000)


def test_too_few_or_too_many_arguments_are_a_value_error() -> None:
    for text in ("ceil_to(V)", "ceil_div(V, 2, 3)", "sum_l(F_l, L, 2)"):
        with pytest.raises(ValueError, match="valid arguments"):
            parse(text)


@pytest.mark.parametrize("name", ["", "1D", "_D", "D_", "D__x", "D x", "D²", "λ", "min", "sum_l"])
def test_names_that_could_not_be_parsed_back_are_no_symbols(name: str) -> None:
    with pytest.raises(ValueError, match="is not a symbol's name"):
        symbol(name)


def test_unknown_style_is_refused() -> None:
    with pytest.raises(ValueError, match="'html' is not one of unicode, ascii, latex"):
        D.format("html")


def test_repr_evaluates_to_the_same() -> None:
    assert repr(gpt) == "parse('12*L*D^2 + 13*L*D + V*D + P*D + 2*D')"
    assert eval(repr(gpt)) == gpt


def test_docstring_examples() -> None:
    assert doctest.testmod(module).failed == 0


# ---- Canonical form


def test_constants_are_plain_numbers() -> None:
    for constant in (D - D, 0 * D, D**0, (D + 1) - D, 2 * (D / 2) - D + 5, layer_sum(F_l, 0)):
        assert type(constant) is int
    assert (D + HALF) - D == HALF
    assert type(D + HALF - D) is Fraction
    assert type(substitute(D * E, {"D": 2, "E": 3})) is int


def test_whole_coefficients_are_ints() -> None:
    half: Any = D / 2
    assert str(half + half) == "D"
    assert repr(half * 2 + Fraction(4, 2)) == "parse('D + 2')"
    assert divide(7, 2) == Fraction(7, 2)
    assert type(divide(6, 2)) is int
    assert divide(D, 2) == half
    assert divide(np.array([6, 10**18]), 2).tolist() == [3, 5 * 10**17]
    assert divide(1.5, 2) == 0.75


def test_equal_expressions_are_equal_however_built() -> None:
    assert (D + V) ** 2 == D * D + 2 * V * D + V**2
    assert hash((D + V) ** 2) == hash(V**2 + D**2 + D * V * 2)
    assert D != V
    assert D != 1
    assert len({D * V, V * D}) == 1
    assert sum([D, D, V]) == 2 * D + V


def test_minimum_and_maximum_have_one_form() -> None:
    assert minimum(C, W, 8, 4) == minimum(4, minimum(W, C), W)
    assert str(minimum(W, 4, C, 8)) == "min(C, W, 4)"
    assert minimum(C, C) == C
    assert minimum(C) == C
    assert maximum(minimum(C, W), 1) != minimum(maximum(C, W), 1)
    assert minimum(2 * minimum(C, W), S) != minimum(2 * C, 2 * W, S)  # only a bare call is flattened


def test_expressions_are_copied_and_pickled_whole() -> None:
    size = 3 * minimum(C, W_l) * layer_sum(F_l)
    assert copy.deepcopy(size) == size
    assert pickle.loads(pickle.dumps(size)).evaluate({"C": 1, "W_l": 2, "F_l": (1, 2), "L": 2}) == 9


def test_expressions_have_no_order_and_no_truth_value() -> None:
    with pytest.raises(TypeError):
        D < V  # noqa: B015
    with pytest.raises(TypeError, match="neither zero nor non-zero"):
        bool(D)


@pytest.mark.parametrize("bad", [0.5, True, "D", np.float64(2), np.array([1, 2]), np.bool_(True)])
def test_only_exact_numbers_enter(bad: Any) -> None:
    combinations: list[Callable[[], Any]] = [
        lambda: D + bad,
        lambda: bad + D,
        lambda: D * bad,
        lambda: bad * D,
        lambda: D - bad,
        lambda: bad - D,
        lambda: D / bad,
        lambda: D**bad,
        lambda: minimum(D, bad),
        lambda: ceil_to(D, bad),
        lambda: layer_sum(D, bad),
    ]
    for combine in combinations:
        with pytest.raises(TypeError):
            combine()


def test_numpy_integers_are_ints() -> None:
    assert np.int64(3) * D == D * np.uint8(3) == 3 * D
    assert D ** np.int32(2) == D**2
    assert type((D + np.int64(3)) - D) is int


def test_division_is_by_numbers_only() -> None:
    with pytest.raises(TypeError, match="by an int or a Fraction"):
        D / V
    with pytest.raises(TypeError):
        1 / D
    with pytest.raises(ZeroDivisionError):
        D / 0
    with pytest.raises(TypeError, match="non-negative int"):
        D**-1


def test_degree_counts_powers_and_refuses_what_is_no_polynomial() -> None:
    assert (gpt.degree("D"), gpt.degree("L"), gpt.degree("W")) == (2, 1, 0)
    with pytest.raises(ValueError, match=r"no degree in W: it stands inside min\(C, W\)"):
        (S * minimum(C, W)).degree("W")


def test_symbols_include_those_inside_functions() -> None:
    assert (S * minimum(C, W) + layer_sum(F_l)).symbols() == {"S", "C", "W", "F_l", "L"}


# ---- Substitution


def test_substitution_divides_a_product_out_and_leaves_its_factors_alone() -> None:
    assert (4 * D * H * E).substitute({H * E: D}) == 4 * D**2
    assert (B * S**2 * H).substitute({H * E: D}) == B * S**2 * H
    assert ((H * E) ** 2 * E).substitute({H * E: D}) == D**2 * E
    assert (H**3).substitute({H**2: D}) == H * D
    assert substitute(minimum(H * E, W) + layer_sum(H * F_l), {"H*E": D, "H": 2}) == minimum(D, W) + 2 * layer_sum(F_l)


def test_substitution_of_symbols_is_simultaneous_and_reaches_into_functions() -> None:
    assert (D + 2 * V).substitute({D: V, V: D}) == V + 2 * D
    assert minimum(C, W).substitute({"W": C}) == C
    assert ceil_to(V, 128).substitute({"V": 50257}) == 50304
    assert layer_sum(F_l).substitute({"F_l": F}) == L * F  # the same in all layers
    assert layer_sum(F_l).substitute({"L": 5}) == layer_sum(F_l, 5)
    assert substitute(3, {"D": 4}) == 3


def test_products_are_rewritten_in_the_given_order_then_symbols() -> None:
    assert (H * E * K).substitute({H * E: D, D * K: V, "V": 7}) == 7
    assert (H * E * K).substitute({D * K: V, H * E: D}) == D * K


@pytest.mark.parametrize("left", [D + V, 2 * D, "2", "D + 1"])
def test_only_symbols_and_products_can_be_substituted(left: Any) -> None:
    with pytest.raises(ValueError, match="is not a symbol or a product of symbols"):
        D.substitute({left: V})


# ---- Sums over layers


def test_a_layer_sum_pulls_out_what_all_layers_share() -> None:
    assert layer_sum(3 * D * F_l + 2 * D) == 3 * D * layer_sum(F_l) + 2 * L * D
    assert layer_sum(F_l + H_l) == layer_sum(F_l) + layer_sum(H_l)
    assert layer_sum(2 * D, 5) == 10 * D
    assert layer_sum(7, 5) == 35
    assert layer_sum(layer_sum(F_l)) == L * layer_sum(F_l)


def test_a_layer_sum_is_the_explicit_sum() -> None:
    f, w, layers = (3, 5, 8), (128, 4096, 128), range(3)
    total = layer_sum(3 * D * F_l**2 + 2 * D + S * minimum(C, W_l))
    env: dict[str, Any] = {"D": 4, "S": 7, "C": 1000, "F_l": f, "W_l": w, "L": 3}
    expected = sum(3 * 4 * f[i] ** 2 + 2 * 4 + 7 * min(1000, w[i]) for i in layers)
    assert evaluate(total, env) == expected
    for first in env:  # in two steps, whichever symbol comes first
        rest = {name: value for name, value in env.items() if name != first}
        if first != "L" and not first.endswith("_l"):
            assert evaluate(evaluate(total, {first: env[first]}), rest) == expected
    assert evaluate(total, env | {"C": np.array([100, 1000])}).tolist() == [
        sum(3 * 4 * f[i] ** 2 + 2 * 4 + 7 * min(c, w[i]) for i in layers) for c in (100, 1000)
    ]


def test_a_layer_sum_waits_until_its_layers_are_known() -> None:
    total = layer_sum(F_l * D)
    assert evaluate(total, {"F_l": [1, 2], "D": 5}) == 5 * layer_sum(F_l)
    assert evaluate(layer_sum(F_l * H_l), {"F_l": [1, 2], "L": 2}) == layer_sum(F_l * H_l, 2)
    assert evaluate(total, {"F_l": [K, 2 * H], "L": 2}) == D * K + 2 * D * H


def test_a_layer_sum_checks_the_number_of_layers() -> None:
    with pytest.raises(ValueError, match="F_l has 2 values, one for each layer, but layers = 3"):
        evaluate(layer_sum(F_l), {"F_l": [1, 2], "L": 3})
    with pytest.raises(ValueError, match="F_l has 2 values"):
        evaluate(layer_sum(F_l), {"F_l": [1, 2], "L": np.array([2, 2])})
    with pytest.raises(ValueError, match="one non-negative number"):
        layer_sum(F_l, -1)
    with pytest.raises(ValueError, match="one non-negative number"):
        layer_sum(D, F_l)


def test_per_layer_values_are_not_confused_with_a_sweep() -> None:
    with pytest.raises(TypeError, match="F_l: an array could mean a sweep"):
        evaluate(layer_sum(F_l), {"F_l": np.array([1, 2]), "L": 2})
    with pytest.raises(TypeError, match="F_l has one value per layer, so it needs a layer_sum"):
        F_l.evaluate({"F_l": [1, 2]})
    with pytest.raises(TypeError, match=r"D: .* is no int"):
        D.evaluate({"D": [1, 2]})


# ---- Evaluation and exactness


def test_partial_evaluation_leaves_the_rest_symbolic() -> None:
    assert str(gpt.evaluate({"L": 96, "V": 50257})) == "P·D + 1152·D² + 51507·D"
    assert gpt({"L": 96})({"D": 12288})({"V": 50257, "P": 2048}) == 174_604_259_328
    assert gpt({"D": 2 * H}) == gpt.substitute({"D": 2 * H})


def test_training_flops_of_gpt3_are_exact_on_int64_arrays() -> None:
    """Three times the forward matmuls of 96 layers and the head, for 300 billion tokens."""
    per_token = 3 * (L * (24 * D**2 + 4 * S * D) + 2 * V * D)
    tokens = symbol("N")
    env = {"L": 96, "D": 12288, "S": 2048, "V": 50257, "N": 300_000_000_000}
    expected = 322_912_029_081_600_000_000_000
    assert evaluate(per_token * tokens, env) == expected
    arrays = {name: np.array([value], dtype=np.int64) for name, value in env.items()}
    result = evaluate(per_token * tokens, arrays)
    assert result.tolist() == [expected]
    assert type(result[0]) is int


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64", "object"])
def test_integer_arrays_do_not_overflow(dtype: str) -> None:
    values = [99_999_999, 2**31 - 1]
    size = 2 * D**3 * S  # near 10**25 for S = 5
    expected = [2 * value**3 * 5 for value in values]
    assert expected[0] == pytest.approx(1e25)
    assert evaluate(size, {"D": np.array(values, dtype), "S": np.array(5, "int8")}).tolist() == expected


def test_small_integer_arrays_do_not_wrap() -> None:
    assert evaluate(D**12, {"D": np.array([127, 255], "uint8")}).tolist() == [127**12, 255**12]
    assert ceil_to(np.array([120, 250], "uint8"), 128).tolist() == [128, 256]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_float_arrays_are_float64(dtype: str) -> None:
    values = np.array([1000, 2000], dtype)
    result = evaluate(10**16 * D**3 + S + D / 3, {"D": values, "S": np.array([[1], [2]])})
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, [[1e25, 8e25]] * 2, rtol=1e-15)
    assert minimum(values, 10**25, np.array([3, 5])).tolist() == [3.0, 5.0]
    assert evaluate(D / 2, {"D": 3.0}) == 1.5


@pytest.mark.parametrize("value", [np.array([True]), np.array(["8"]), np.array([1j]), np.array([None]), True, "8"])
def test_values_that_are_no_numbers_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="D: "):
        D.evaluate({"D": value})


def test_arrays_broadcast() -> None:
    rows, columns = np.array([[1], [2], [3]]), np.array([[10, 20, 30, 40]], "int32")
    size = 2 * S * D + minimum(S, D, 2) + ceil_to(D, 16) * HALF + 1
    result = evaluate(size, {"S": rows, "D": columns})
    assert result.shape == (3, 4)
    assert result.tolist() == [
        [evaluate(size, {"S": s, "D": d}) for d in columns.ravel().tolist()] for s in rows.ravel().tolist()
    ]
    assert all(type(entry) is int for entry in result.flat)


def test_numpy_scalars_and_zero_dimensional_arrays_are_plain_numbers() -> None:
    for value in (np.int64(7), np.array(7), np.uint8(7)):
        assert type(D.evaluate({"D": value})) is int
    assert type(D.evaluate({"D": np.float32(7)})) is float
    assert type(as_size(np.uint8(7))) is int
    assert as_size(np.array([2**62], "int64") ** 1).dtype == object


@pytest.mark.parametrize("env", [{"D": np.array([1])}, {"D": 1.5}, {"D": np.array([1]), "V": L}])
def test_with_arrays_every_symbol_needs_a_number(env: dict[str, Any]) -> None:
    with pytest.raises(UnboundSymbolError, match=r"^no value for (V|L), needed beside floats or arrays$") as caught:
        (D * V).evaluate(env)
    assert isinstance(caught.value, KeyError)


def test_functions_agree_on_ints_symbols_and_arrays() -> None:
    for function in (minimum, maximum, ceil_to, ceil_div):
        pairs = [(50257, 128), (128, 128), (1, 3), (10**24 + 1, 7)]
        ints = [function(a, b) for a, b in pairs]
        assert all(type(value) is int for value in ints)
        left, right = (np.array(column, object) for column in zip(*pairs, strict=True))
        assert function(left, right).tolist() == ints
        assert [function(V, S)({"V": a, "S": b}) for a, b in pairs] == ints
        assert [function(V, b)({"V": a}) for a, b in pairs] == ints
        assert function(V, S)({"V": left, "S": right}).tolist() == ints


def test_rounding_up_needs_a_positive_divisor() -> None:
    for divisor in (0, -8, np.array([1, 0])):
        with pytest.raises(ValueError, match="needs a positive divisor"):
            ceil_to(V, divisor)


# ---- Laws, on random expressions

numbers = st.integers(-9, 9) | st.fractions(-3, 3, max_denominator=6)
values = st.integers(1, 50)
environments = st.fixed_dictionaries(dict.fromkeys("LSDVH", values) | {"F_e": values})


def _combined(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.tuples(children, children)
    return st.one_of(
        pairs.map(lambda ab: ab[0] + ab[1]),
        pairs.map(lambda ab: ab[0] - ab[1]),
        pairs.map(lambda ab: ab[0] * ab[1]),
        pairs.map(lambda ab: minimum(*ab)),
        pairs.map(lambda ab: maximum(*ab)),
        st.tuples(children, st.integers(1, 9)).map(lambda ab: ceil_to(*ab)),
        st.tuples(children, st.integers(1, 9)).map(lambda ab: ceil_div(*ab)),
        st.tuples(children, st.integers(0, 3)).map(lambda ab: ab[0] ** ab[1]),
        children.map(lambda a: layer_sum(a * F_l)),
    )


sizes = st.recursive(numbers | st.sampled_from([L, S, D, V, H, symbol("F_e")]), _combined, max_leaves=6)


@given(sizes, sizes, sizes)
def test_ring_laws(a: Any, b: Any, c: Any) -> None:
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) + c == a + (b + c)
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a - a == 0
    assert a + 0 == a * 1 == a
    assert hash(a * (b + c)) == hash(a * b + a * c)
    assert divide(a, 3) * 3 == a


@given(sizes, sizes, environments)
def test_evaluation_commutes_with_arithmetic(a: Any, b: Any, env: dict[str, Any]) -> None:
    env = env | {"F_l": list(range(env["L"]))}
    left, right = evaluate(a, env), evaluate(b, env)
    assert evaluate(a + b, env) == left + right
    assert evaluate(a * b, env) == left * right
    assert evaluate(a - b, env) == left - right
    assert evaluate(minimum(a, b), env) == min(left, right)
    assert evaluate(maximum(a, b), env) == max(left, right)
    assert evaluate(layer_sum(a * F_l + b), env) == left * sum(env["F_l"]) + right * env["L"]


@given(sizes, environments)
def test_arrays_give_what_ints_give(size: Any, env: dict[str, Any]) -> None:
    shared = {"F_l": (2,) * env["L"]}
    arrays = {name: np.array([value, 3]) for name, value in env.items() if name != "L"}
    expected = [
        evaluate(size, {**env, **shared}),
        evaluate(size, dict.fromkeys(env, 3) | {"L": env["L"]} | shared),
    ]
    result = evaluate(size, {"L": env["L"], **arrays, **shared})
    if isinstance(result, np.ndarray):
        assert result.tolist() == expected
        assert [type(x) for x in result] == [type(x) for x in expected]
    else:
        assert [result, result] == expected


@given(sizes, sizes, environments)
def test_substituting_then_evaluating_is_evaluating_the_substituted(a: Any, b: Any, env: dict[str, Any]) -> None:
    env = env | {"F_l": list(range(env["L"]))}
    assert evaluate(substitute(a, {"D": b}), env) == evaluate(a, env | {"D": evaluate(b, env)})
    identity = env | {"V": env["D"] * env["H"]}
    assert evaluate(substitute(a, {D * H: V}), identity) == evaluate(a, identity)


@given(sizes, st.sampled_from(["unicode", "ascii"]), st.sets(st.sampled_from(["L", "D", "V", "F_e"])))
def test_printed_text_parses_back(size: Any, style: str, collect: set[str]) -> None:
    assert parse(to_text(size, style, collect)) == size


@given(sizes)
def test_latex_braces_balance(size: Any) -> None:
    text = to_text(size, "latex")
    assert text.count("{") == text.count("}")


@given(sizes, sizes)
def test_expressions_are_equal_exactly_if_they_print_alike(a: Any, b: Any) -> None:
    assert (a == b) == (to_text(a) == to_text(b))
    assert type(a) in (int, Fraction, Expr)


@given(st.text(alphabet="DV_l23+-*/^()·²Σₗ, min.", max_size=12))
def test_any_text_parses_or_is_a_value_error(text: str) -> None:
    try:
        size = parse(text)
    except ValueError:
        return
    assert parse(to_text(size)) == size


# ---- Cost


def test_symbols_cost_no_import() -> None:
    code = (
        "import sys; from transformer_calc.expr import *; D = symbol('D'); str(12 * D**2 + minimum(D, 3));"
        "(D * 6 / 2).evaluate({'D': 4}); "
        "print(*sorted({'numpy', 'sympy', 'fractions', 're', 'typing'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""

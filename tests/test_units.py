"""Numbers in and out: exact, and wrong input is told in one sentence."""

import contextlib
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_calc import units
from transformer_calc.errors import InputError

EXAMPLES = "a whole number such as 2048, 2k, 3.2M or 1e12"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2048", 2048),
        (" 2048 ", 2048),
        ("50_257", 50257),
        ("50,257", 50257),
        ("1,000,000", 10**6),
        ("2k", 2000),
        ("2K", 2000),
        ("3.2M", 3_200_000),
        ("300B", 300 * 10**9),
        ("300 G", 300 * 10**9),
        ("1.5T", 1_500_000_000_000),
        ("1e12", 10**12),
        ("1.2E+3", 1200),
        ("1200e-2", 12),
        ("2.0", 2),
        (".5k", 500),
        ("+7", 7),
        ("0.1234567890123456B", None),
        ("0.123456789B", 123_456_789),
        # As floats these two would be 1 off.
        ("999999999999999999", 999_999_999_999_999_999),
        ("9007199.254740993B", 9_007_199_254_740_993),
    ],
)
def test_a_count_is_read_exactly(text: str, value: int | None) -> None:
    if value is None:
        with pytest.raises(InputError, match="not a whole number"):
            units.parse_count(text, field="--vocab")
    else:
        assert units.parse_count(text, field="--vocab") == value


@pytest.mark.parametrize(
    ("text", "count", "length"),
    [
        ("8k", 8000, 8192),
        ("128K", 128_000, 131_072),
        ("1M", 10**6, 2**20),
        ("0.5k", 500, 512),
        ("8Ki", 8192, 8192),
        ("1.5Mi", 3 * 2**19, 3 * 2**19),
        ("2Gi", 2**31, 2**31),
        ("8192", 8192, 8192),
        ("1e3", 1000, 1000),
        ("2B", 2 * 10**9, 2 * 10**9),
    ],
)
def test_k_and_m_are_powers_of_two_in_lengths(text: str, count: int, length: int) -> None:
    assert units.parse_count(text, field="--tokens") == count
    assert units.parse_length(text, field="--seq") == length
    assert units.parse_amount(text, field="--tokens") == count


def test_a_length_that_is_no_whole_number_says_why() -> None:
    with pytest.raises(InputError, match=r"not a whole number \(k is a power of two in a length\)"):
        units.parse_length("2.048k", field="--seq")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", f"'', expected {EXAMPLES}"),
        ("many", f"'many', expected {EXAMPLES}"),
        ("nan", f"'nan', expected {EXAMPLES}"),
        ("inf", f"'inf', expected {EXAMPLES}"),
        ("0x10", f"'0x10', expected {EXAMPLES}"),
        ("1,5", f"'1,5', expected {EXAMPLES}"),
        ("1__0", f"'1__0', expected {EXAMPLES}"),
        ("5kk", f"'5kk', expected {EXAMPLES}"),
        ("٣", f"'٣', expected {EXAMPLES}"),
        ("1.5", f"'1.5', which is not a whole number; expected {EXAMPLES}"),
        ("1e-999999999", f"'1e-999999999', which is not a whole number; expected {EXAMPLES}"),
        ("0", "'0', expected at least 1"),
        ("0e999999999", "'0e999999999', expected at least 1"),
        ("-5", "'-5', expected at least 1"),
        ("-1e999999999", "'-1e999999999', expected at least 1"),
        ("1e999999", "'1e999999', expected at most 1,000,000,000,000,000,000"),
        ("1000000000000000001", "'1000000000000000001', expected at most 1,000,000,000,000,000,000"),
        ("9" * 100_000, f"'{'9' * 39}…', expected {EXAMPLES}"),
    ],
)
def test_a_wrong_count_is_one_sentence_at_once(text: str, complaint: str) -> None:
    start = time.perf_counter()
    with pytest.raises(InputError) as error:
        units.parse_count(text, field="--d-model")
    assert error.value.message == f"--d-model is {complaint}"
    assert time.perf_counter() - start < 0.5


def test_the_bounds_are_the_callers() -> None:
    assert units.parse_count("0", field="--context", minimum=0) == 0
    with pytest.raises(InputError, match="--heads is '9', expected at most 8"):
        units.parse_count("9", field="--heads", maximum=8)


@given(st.integers(min_value=0, max_value=10**18))
def test_what_is_written_exactly_is_read_back(n: int) -> None:
    assert units.parse_count(units.format_exact(n), field="n", minimum=0) == n
    assert units.parse_count(f"{n:_}", field="n", minimum=0) == n
    assert units.parse_count(str(n), field="n", minimum=0) == n


@given(st.text(max_size=70) | st.from_regex(r"[-+]?[0-9,_.]{1,30}([eE][-+]?[0-9]{1,9})?[kMBGT]?", fullmatch=True))
def test_any_text_is_a_count_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert 1 <= units.parse_count(text, field="n") <= 10**18


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0K"),
        (999_949, "999.9K"),
        (999_950, "1.0M"),
        (999_999, "1.0M"),
        (124_439_808, "124.4M"),
        (174_604_259_328, "174.6B"),
        (15 * 10**12, "15.0T"),
        (10**15, "1,000.0T"),
        (-1500, "-1.5K"),
    ],
)
def test_counts_keep_their_unit_borders(n: int, text: str) -> None:
    assert units.format_count(n) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (80 * 2**30, "80.0 GiB"),
        (0.5, "0.5 B"),
        (0.004, "0.004 B"),
    ],
)
def test_bytes_are_powers_of_1024(n: float, text: str) -> None:
    assert units.format_bytes(n) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (734_804_261_732_352, "734.8 TFLOP"),
        (322_912_029_081_600_000_000_000, "322.9 ZFLOP"),
        (3.14e23, "314.0 ZFLOP"),
        (999.96, "1.0 KFLOP"),
        (float("inf"), "inf FLOP"),
    ],
)
def test_flops_go_as_far_as_training_runs_do(n: float, text: str) -> None:
    assert units.format_flops(n) == text


@given(st.integers(min_value=1000, max_value=10**15))
def test_a_rounded_count_is_within_half_of_its_last_digit(n: int) -> None:
    text = units.format_count(n)
    unit = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}[text[-1]]
    tenths = int(text[:-1].replace(",", "").replace(".", ""))
    assert abs(10 * n - tenths * unit) * 2 <= unit


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0%"), (1e-9, "<0.1%"), (1 / 3, "33.3%"), (0.9999, ">99.9%"), (1, "100.0%")],
)
def test_a_share_is_nothing_or_all_only_if_it_is(share: float, text: str) -> None:
    assert units.format_share(share) == text


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (units.format_number, 7, "7.00"),
        (units.format_number, 12.96, "13.0"),
        (units.format_number, 99.95, "100"),
        (units.format_number, 0, "0"),
        (units.format_seconds, 0.007, "7.00 ms"),
        (units.format_seconds, 0.0394, "39.4 ms"),
        (units.format_seconds, 13, "13.0 s"),
        (units.format_usd, 0, "$0.00"),
        (units.format_usd, 0.00834, "$0.0083"),
        (units.format_usd, 0.0996, "$0.10"),
        (units.format_usd, 124.6, "$124.60"),
        (units.format_usd, 844_779, "$844,779"),
    ],
)
def test_measures_of_a_column_have_as_many_digits(write: Callable[[float], str], value: float, text: str) -> None:
    assert write(value) == text

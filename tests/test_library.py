"""Answers in the library: typed, short to look at, with their notes, and refusing what they do not take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from transformer_calc import InputError, Transformer, load

ASK: dict[str, Callable[[Transformer], Any]] = {
    "params": lambda model: model.params(),
    "shapes": lambda model: model.shapes(seq=3),
    "flops": lambda model: model.flops(seq=3),
    "verify": lambda model: model.verify(),
    "walk": lambda model: model.walk(),
}
SEEN = {
    "params": "<Params title=walk, total=178, active=178, embedding=32",
    "shapes": "<Shapes title=walk, ops=",
    "flops": "<Flops title=walk, forward.matmul=",
    "verify": "<Verification title=walk, ok=yes, checks=",
    "walk": "<Walk title=walk, steps=",
}


@pytest.mark.parametrize("name", ASK)
def test_an_answer_is_short_to_look_at(name: str) -> None:
    answer = ASK[name](load("walk"))
    assert repr(answer).startswith(SEEN[name])
    assert len(repr(answer)) < 300
    assert answer._repr_html_().startswith(f"<table><caption>{type(answer).__name__}</caption>")


def test_a_model_is_short_to_look_at() -> None:
    said = "gpt2, decoder, 124,439,808 parameters, 1,024 tokens (positions)"
    assert repr(load("gpt2")) == f"<Transformer {said}>"
    html = load("gpt2")._repr_html_()
    assert all(f">{text}</td>" in html for text in ("gpt2", "decoder", "124,439,808 parameters"))


def test_notes_are_returned_and_not_collected() -> None:
    model = load("gpt2")
    long = "5,000 tokens are more than the model's 1,024 positions"
    answers: list[Any] = [model.params(seq=5000), model.shapes(seq=5000), model.flops(seq=5000)]
    assert [answer.notes for answer in answers] == [(long,)] * 3
    assert [answer.model["notes"] for answer in answers] == [[long]] * 3
    assert model.notes == []
    assert model.flops(seq=10).notes == ()


def test_an_answer_says_of_what_it_is() -> None:
    answer = load("t5-small").flops(batch=2, seq=7, target_seq=3)
    assert answer.workload == {"batch": 2, "seq": 7, "target_seq": 3, "context": 0}
    assert answer.tokens == 2 * 3
    assert answer.model["family"] == "t5"


def test_shapes_are_a_sequence_of_operations() -> None:
    shapes = load("lesson").shapes(batch=5, seq=12)
    assert shapes[4].output.shape == [5, 12, 512]
    assert len(shapes) == len(list(shapes)) == len(shapes.ops)
    assert [op.path for op in shapes[:2]] == [op.path for op in shapes.ops[:2]]
    assert {op.path.partition(".")[0] for op in load("gpt2").shapes(layer=3)} == {"layers"}


def test_params_are_cut_three_ways() -> None:
    model = load("mixtral-8x7b")
    for by in ("component", "layer", "tensor"):
        answer = model.params(by=by)
        assert sum(part.total for part in answer.components) == answer.total == model.params().total


def test_a_verification_says_what_it_measured() -> None:
    answer = load("mixtral-8x7b").verify(seed=3)
    assert answer.ok
    assert not answer.failed
    assert sum(block.checks for block in answer.blocks) == len(answer.checks)
    assert answer.bytes_needed


def test_a_misspelt_argument_is_an_error_of_types() -> None:
    """`mypy` reads the tests, and complains of an exception that nothing needs."""
    model = load("walk")
    for ask in (
        lambda: model.params(byy="layer"),  # type: ignore[call-arg]
        lambda: model.shapes(batchh=1),  # type: ignore[call-arg]
        lambda: model.flops(batchh=1),  # type: ignore[call-arg]
        lambda: model.verify(sizee="full"),  # type: ignore[call-arg]
        lambda: model.walk(sed=1),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError):
            ask()


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda model: model.params(by="row"), "`by` is 'row'; it must be one of component, layer, tensor"),
        (lambda model: model.flops(recompute="some"), "`recompute` is 'some'; it must be one of none, selective, full"),
        (lambda model: model.flops(latent="absorbed"), "`latent` is absorbed, but walk has no latent attention"),
        (lambda model: model.shapes(layer=9), "`layer` is '9'; this model's layers are 0 to 0"),
        (lambda model: model.verify(size="huge"), "`size` is 'huge'; it must be one of small, full"),
        (lambda model: model.verify(reference="x.npz"), "`reference` needs the weights that it was made with"),
        (lambda model: model.verify(weights="x", seq=3), "`seq` is 3, but weights alone are not run; leave it out"),
        (lambda model: model.walk(weights="zeros"), "`weights` is 'zeros'; it must be one of integers, random"),
        (lambda model: model.walk(step="x", until="y"), "`step` and `until` are both given, expected one of them"),
        (lambda model: model.walk(input=" "), "`input` is empty, expected the path of a file"),
    ],
)
def test_what_is_refused_is_said_of_the_field(ask: Callable[[Transformer], Any], says: str) -> None:
    with pytest.raises(InputError) as refused:
        ask(load("walk"))
    assert refused.value.message == says

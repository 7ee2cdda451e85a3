"""`--set`: what a field takes, what fits together, what has an effect; every change that is reported can be set."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from random_settings import settings as random_settings
from shell import Shell

from transformer_calc import InputError, Transformer, load
from transformer_calc.api import apply_settings
from transformer_calc.readings.run.shrink import shrink
from transformer_calc.readings.run.verify import too_long
from transformer_calc.report import flops, memory, params, serve, shapes
from transformer_calc.sources import hardware, presets, settings

# a preset, settings, and what the message says of them; all of them once were answered, or broke off
REFUSED = [
    ("deepseek-v3", "ffn.router.scoring=bogus", "scoring is 'bogus'; it must be one of softmax, softmax-topk, sigmoid"),
    ("deepseek-v3", "ffn.layout=bogus", "layout is 'bogus'; it must be one of out_in, in_out, rows"),
    ("deepseek-v3", "ffn.router.groups=7", "n_experts (256) is not divisible by groups (7)"),
    ("deepseek-v3", "ffn.router.top_groups=9", "top_groups (9) is larger than groups (8)"),
    ("deepseek-v3", "ffn.router.top_groups=1 ffn.top_k=64", "top_k (64) is larger than the 32 experts of top_groups"),
    ("mixtral-8x7b", "ffn.router.scoring=sparsemixer ffn.top_k=3", "top_k is 3; it must be 2"),
    ("llama-3-8b", "norm.eps=-5", "eps is -5.0; it must be more than 0 and at most 1"),
    ("llama-3-8b", "attention.rotary.theta=-3", "theta is -3.0; it must be more than 1"),
    ("llama-3-8b", "attention.rotary.dims=1000", "the rotary dimensions are 1000; they must be at most d_head, 128"),
    ("llama-3-8b", "attention.rotary.dims=3", "the rotary dimensions are 3; they come in pairs"),
    ("deepseek-v3", "dense.attention.d_rope=32", "the rotary dimensions are 64; they must be at most d_rope, 32"),
    ("llama-3-8b", "attention.scale=1e308", "scale is 1e+308; it must be at least 1e-09 and at most 1e+09"),
    ("gemma-2-2b", "lm.softcap=0", "softcap is 0.0; it must be at least 1e-09"),
    ("gpt2", "lm.width=100", "lm gives logits, and is as wide as the vocabulary"),
    ("llama-3-8b", "head.lm.width=100", "lm gives logits, and is as wide as the vocabulary"),
    ("gpt2", "lm.width=0", "lm gives logits, and is as wide as the vocabulary"),
    ("bert-base-uncased", "transform.width=0", "width is 0; it must be between 1"),
    ("bert-base-uncased", "transform.width=100", "lm is tied to the token table, whose rows have 768 numbers"),
    (
        "gpt2",
        "embedding.d_embed=64",
        "head.lm is tied to the token table, whose rows have 64 numbers, but gets vectors",
    ),
    ("t5-small", "decoder.embedding.vocab=10", "which is the same table, 32128"),
    ("t5-small", "encoder.attention.causal=true", "an encoder beside a decoder sees all tokens at once"),
    ("t5-small", "attention.relative_bias.buckets=3", "buckets is 3; it must be at least"),
    ("t5-small", "attention.relative_bias.max_distance=4", "max_distance is 4; it must be more than"),
    ("gpt2", "stack=x", "stack is 'x'; it must be one of decoder, encoder, text, vision"),
    ("gpt2", "stack=encoder", "head's stack is encoder; there is decoder"),
    ("gpt2", "decoder.name=tower", "name is 'tower'; it must be one of decoder, encoder, text, vision"),
    ("gpt2", "lm.name=", "name is ''; it must be a name"),
    ("gpt2", "head.name=layers", "a head is called 'layers', which is the name of another part"),
    ("gpt2", "name=", "name is ''; it must be a text"),
    ("gpt-j-6b", "mixer=none", "mixer is none, but parallel is shared: it needs both parts"),
    ("gpt-j-6b", "ffn=none", "ffn is none, but parallel is shared: it needs both parts"),
    ("gpt-j-6b", "place=sandwich", "place is 'sandwich', but parallel is 'shared'"),
    ("gpt2", "mixer=none ffn=none", "mixer and ffn are none; a layer needs one of them"),
    ("gemma-2-2b", "parallel=shared", "place is 'sandwich', but parallel is 'shared'"),
    ("gpt2", "dropped=sum", "dropped is sum, but parallel is no"),
    ("gpt2", "take=patches", "take is patches, but the decoder has no patches"),
    ("gpt2", "contrastive=true", "contrastive is true, but there is only the decoder"),
    ("clip-vit-b-32", "average=true", "average is true, but the heads read different stacks"),
    ("gemma-3-1b", "local.name=a-b", "name is 'a-b'; it must be a name of letters, digits and _"),
    ("albert-base-v2", "share_layers=13", "share_layers is 13; it must be at most n_layers, 12"),
    ("vit-base", "embedding.extra_tokens=2", "extra_tokens is 2; it must be 1"),
    ("whisper-tiny", "encoder.embedding.kernel=4", "kernel is 4; it must be odd"),
    ("olmoe-1b-7b", "attention.qk_norm_after_rotary=true", "qk_norm_over is inner"),
    ("deberta-v3-base", "attention.n_kv_heads=4", "n_kv_heads is 4; positions that share the content's projections"),
    ("gpt2", "attention.window=5 mixer.window=6", "'mixer.window' is given twice, as '5' and as '6'; give it once"),
    ("gpt2", "layers=3 layers=3", "'layers' is given twice, as '3' and as '3'; give it once"),
    ("llama-3-8b", "attention.rotary.scaling=3", "this is a list, which --set does not change"),
    ("exercise", "embedding=x", "what is there has no fields, and --set cannot put another"),
    # fields that nothing depends on in this model: its heading would say what is not so
    ("llama-3-8b", "norm.bias=false", "norm.bias=false changes nothing"),
    ("gpt2", "embedding.project_bias=true", "changes nothing"),
    ("gpt2", "attention.alibi_scale=0.5", "changes nothing"),
    ("gpt2", "layer.name=first", "changes nothing"),
    ("gpt2", "family=bert", "changes nothing"),
    ("gpt2", "attention.cache_all=true", "changes nothing"),
    ("mixtral-8x7b", "ffn.router.group_score=max", "changes nothing"),
    ("mixtral-8x7b", "ffn.shared_gate=true", "changes nothing"),
    ("t5-small", "cross.causal=true", "changes nothing"),
    ("whisper-tiny", "encoder.embedding.positions.kind=sinusoidal", "changes nothing"),
]


@pytest.mark.parametrize(("preset", "sets", "said"), REFUSED, ids=lambda v: str(v)[:40])
@pytest.mark.parametrize("command", ["params", "serve --device h100-sxm", "verify"])
def test_what_cannot_be_is_refused_by_every_command(
    tcalc: Shell, command: str, preset: str, sets: str, said: str
) -> None:
    message = tcalc.refusal(f"{command} {preset} {' '.join(f'--set {text}' for text in sets.split())}")
    assert said in message
    assert message.startswith("--set ")


# a preset, settings that are consistent only together, or reach one of several parts, and the parameters then
ANSWERED = [
    (
        "llama-3-8b",
        "attention.n_heads=12 attention.n_kv_heads=3",
        8_030_261_248 - 32 * 2 * 4096 * 128 * (32 + 8 - 12 - 3),
    ),
    ("deepseek-v2-lite", "ffn.router.groups=4 ffn.router.top_groups=2", 15_706_484_224),
    ("gpt2", "embedding.d_embed=64 lm.tied=false", 124_439_808 - 50257 * (768 - 64) + 64 * 768 + 768 * 50257),
    ("gpt2", "vocab=49954", 124_439_808 - 768 * (50257 - 49954)),
    ("gpt2", "embedding.vocab=49954", 124_439_808 - 768 * (50257 - 49954)),
    ("gpt2", "layers=2", 124_439_808 - 10 * 7_087_872),
    ("gpt2", "n_layers=2", 124_439_808 - 10 * 7_087_872),
    ("gpt2", "lm.tied=false", 124_439_808 + 768 * 50257),
    # expert counts that differ between kinds of layers: 8 experts fewer, of 3 matrices, in one of 24 layers of the kind
    ("gpt-oss-20b", "local.ffn.n_experts=16", 20_914_757_184 - 12 * 16 * (3 * 2880 * 2880 + 3 * 2880 + 2880 + 1)),
]


@pytest.mark.parametrize(("preset", "sets", "total"), ANSWERED, ids=lambda v: str(v)[:40])
def test_settings_are_taken_together(tcalc: Shell, preset: str, sets: str, total: int) -> None:
    line = f"{preset} {' '.join(f'--set {text}' for text in sets.split())}"
    assert tcalc.json(f"params {line}")["params"]["total"] == total
    assert tcalc.json(f"verify {line}")["ok"]


def test_kinds_of_layers_may_differ_in_what_their_sizes_are_made_of() -> None:
    """Windows, and widths of heads that are sums of parts, are each kind's own: in the cache, too."""
    model = load("gemma-3-1b", sets=["local.attention.window=64", "global.attention.window=128"])
    kept = {
        name: model.graph.sizes(model.workload(context=1000))[name] for name in model.graph.axes if "context" in name
    }
    assert sorted(kept.values()) == [64, 128, 1001]  # type: ignore[type-var]
    model = load("deepseek-v2-lite", sets=["dense.attention.d_nope=64"])
    sizes = model.graph.sizes(model.workload())
    assert sorted(size for name, size in sizes.items() if name.startswith("d_head")) == [128, 192]  # type: ignore[type-var]


# a source, and hyperparameters that it takes
CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"preset": "gpt3"}, {"layers": 4, "d_model": 1024, "heads": 16, "d_ff": 100, "vocab": 49954, "max_positions": 64}),
    ({"preset": "gpt3"}, {"kv_heads": 8, "d_head": 32, "window": 16, "experts": 4, "experts_per_token": 2}),
    ({"preset": "gpt3"}, {"positions": "rotary", "norm": "rmsnorm", "gated": True, "dropout": 0.1, "tied": False}),
    ({"preset": "gpt2"}, {"layers": 4, "d_model": 768, "heads": 16, "d_ff": 100, "vocab": 49954, "max_positions": 64}),
    ({"preset": "llama-3-8b"}, {"layers": 2, "kv_heads": 4, "d_head": 64, "vocab": 1000, "max_positions": 4096}),
    ({"preset": "mistral-7b-v0.1"}, {"window": 128, "heads": 16}),
    ({"preset": "mixtral-8x7b"}, {"experts": 4, "experts_per_token": 1, "d_ff": 64}),
    ({"preset": "deepseek-v3"}, {"experts": 64, "experts_per_token": 4, "d_expert": 64}),
    ({"preset": "t5-small"}, {"layers": 2, "d_model": 64, "heads": 4, "vocab": 100}),
    ({"preset": "lesson-translation"}, {"layers": 2, "heads": 8}),
    ({"preset": "vit-base"}, {"layers": 2, "heads": 6, "d_ff": 64}),
    ({"config": {"model_type": "llama", "vocab_size": 100}}, {"layers": 2, "heads": 4, "kv_heads": 2}),
    ({"config": "PRESET.toml"}, {"layers": 2, "heads": 4, "vocab": 77}),
    ({"config": "config.json"}, {"layers": 2, "heads": 4, "vocab": 77}),
]


@pytest.mark.parametrize(("source", "fields"), CHANGES, ids=lambda v: str(v)[:40])
def test_every_change_that_is_reported_can_be_set(
    tmp_path: Path, source: dict[str, Any], fields: dict[str, Any]
) -> None:
    (tmp_path / "PRESET.toml").write_bytes(presets.find("gpt3-small").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    source = {
        key: tmp_path / value if str(value).endswith((".toml", ".json")) else value for key, value in source.items()
    }
    changed = load(**source, fields=fields)
    reported = changed.describe()["changes"]
    assert len(reported) == len(fields)
    again = load(**source, sets=[text.replace("True", "true").replace("False", "false") for text in reported])
    assert again.spec == changed.spec
    assert [name.partition("=")[0] for name in again.describe()["changes"]] == list(fields)
    assert (again.max_positions, again.made_for) == (changed.max_positions, changed.made_for)


def test_a_hyperparameter_is_given_as_a_flag_or_as_a_setting(tcalc: Shell) -> None:
    assert tcalc.refusal("params gpt2 --layers 3 --set layers=4").startswith("--layers and --set layers are given")
    assert "'x'" in tcalc.refusal("params gpt2 --set layers=x")
    assert "'rmsnorms'" in tcalc.refusal("params gpt3 --set norm=rmsnorms")
    # what a family's config has no key for is the field of that name, where there is one
    assert tcalc.json("params gpt2 --set attention.window=16")["params"]["total"] == 124_439_808
    assert "group of fields" in tcalc.refusal("params gpt2 --set norm=rmsnorm")


DEVICE = hardware.load("h100-sxm")


def answers(model: Transformer) -> None:
    """Every command answers, and the run in NumPy measures what was predicted."""
    run = model.workload(batch=2)
    assert model.params().total > 0
    flops.build(model.flops(batch=2))
    shapes.build(model.shapes(batch=2))
    params.build(model.params(by="layer"))
    sizes: Any = run.to_dict()
    memory.build(model.memory(**sizes))
    serve.build(model.serve(**sizes, device=DEVICE))
    memory.build(model.memory(**sizes, mode="train"))
    assert model.verify().ok
    every = model.graph.sizes(run).values()
    if model.params().total < 10**6 and all(isinstance(size, int) and size < 10**4 for size in every):
        short = model.workload(batch=2, seq=None if model.spec.kind in ("vision", "dual") else min(run.seq, 13))
        if not too_long(model.spec, short):
            assert model.verify(**short.to_dict(), size="full").ok  # type: ignore[arg-type]


NAMES = presets.names()


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(12))
def test_any_settings_are_refused_in_a_sentence_or_every_command_answers(seed: int) -> None:
    """A few hundred here; of 20,000 in other seeds all were one or the other."""
    for number in range(30):
        rng = Random(1000 * seed + number)
        name = rng.choice(NAMES)
        small = shrink(load(name).spec)
        chosen = random_settings(rng, small, rng.choice((1, 1, 2, 3)))
        try:
            model = Transformer(small, name)
            apply_settings(model, settings.read(chosen))
        except InputError as error:
            assert "\n" not in error.message
            assert len(error.message) < 600
        else:
            try:
                answers(model)
            except (InputError, AssertionError) as error:
                raise AssertionError(f"{name} {chosen}: {error}") from error


def test_the_fields_of_a_model_are_named_in_a_hint_of_readable_length(tcalc: Shell) -> None:
    for line in ("params gpt2", "compare deepseek-v3 gpt2"):
        said = tcalc.refusal(f"{line} --set {'z' * 999}=1")
        assert "there is no such field in this model\nfields: activation, " in said
        assert len(said) <= 600

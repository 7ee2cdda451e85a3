"""Images: ViT and its relatives, and the dual encoders that compare them with text."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from transformer_calc import spec
from transformer_calc.errors import InputError
from transformer_calc.record import LARGEST
from transformer_calc.sources.families import parts
from transformer_calc.sources.families.base import Config, Family

# --- ViT ------------------------------------------------------------------------------------------------------------


def _pair(c: Config, key: str) -> tuple[int, int]:
    """A side in pixels, or [height, width]."""
    if not isinstance(c.raw(key), list):
        return (c.int(key), c.int(key))
    pair = c.numbers(key) or []
    if len(pair) != 2 or not 1 <= min(pair) <= max(pair) <= LARGEST:
        raise InputError(f"{c.where}{key} is {pair!s:.60}; it must be a whole number of pixels, or [height, width]")
    return (pair[0], pair[1])


def _task(c: Config, tasks: str, usual: str) -> str:
    """What follows the family's name in the class's."""
    name = c.architecture
    task = next((t for t in tasks.split() if name.endswith(t)), "" if name else usual)
    if not task:
        raise parts.unknown_architecture(c, ", ".join(f"…{t}" for t in tasks.split()))
    return task


def _labels(c: Config) -> tuple[spec.Dense, ...]:
    """The map to labels; with no labels there is none."""
    return () if c.raw("num_labels", None) == 0 else (spec.Dense(name="classifier", width=c.n_labels),)


def _image_attention(c: Config) -> spec.Attention:
    default = c.int("head_dim") if "head_dim" in c.given else None
    return parts.attention(c, causal=False, o=True, default=default)


def _image(c: Config) -> spec.Patches:
    (height, width), (p_height, p_width) = _pair(c, "image_size"), _pair(c, "patch_size")
    if "Masked" in c.architecture and height // p_height != width // p_width:
        grid = (height // p_height, width // p_width)
        raise InputError(f"{c.where}{c.architecture} needs as many patches down as across, not {grid}")
    more: dict[str, Any] = {"channels": c.int("num_channels"), "dropout": c.num("dropout")} | c.settled(c.family.tokens)
    more.setdefault("extra_tokens", len(more.get("extra_names", ("class_token",))))
    return spec.Patches(height=height, width=width, patch_height=p_height, patch_width=p_width, **more)


def _vit_task(c: Config) -> str:
    teacher = "ForImageClassificationWithTeacher" if c.family.model_type == "deit" else ""
    return _task(c, f"{teacher} ForImageClassification ForMaskedImageModeling Model", "ForImageClassification")


def _vit_heads(c: Config) -> tuple[spec.Head, ...]:
    task = _vit_task(c)
    if task == "Model":
        width = c.maybe_int("pooler_output_size", minimum=0) or c.int("d_model")
        return (
            spec.Head(
                take="first", steps=(spec.Dense(name="pooler", width=width, activation=c.activation("pooler_act")),)
            ),
        )
    if task == "ForMaskedImageModeling":
        stride = c.int("encoder_stride")
        decoder = spec.Dense(name="decoder", width=stride**2 * c.int("num_channels"), pixels=stride)
        return (spec.Head(take="patches", steps=(decoder,)),)
    if task == "ForImageClassification":
        return (spec.Head(take="first", steps=_labels(c)),)
    # with a teacher: the average of what two tokens say
    takes = (("class_head", "first"), ("distillation_head", "second"))
    return tuple(spec.Head(name=name, take=take, steps=_labels(c)) for name, take in takes)


def _dino_ffn(c: Config) -> spec.Mlp:
    """SwiGLU in the largest size: two thirds as wide, as a multiple of 8."""
    wide = c.int("d_model") * c.int("mlp_ratio")
    if c.flag("use_swiglu_ffn"):
        return spec.Mlp(d_ff=(wide * 2 // 3 + 7) // 8 * 8, activation="silu", gated=True)
    return spec.Mlp(d_ff=wide, activation=c.activation())


def _dino_heads(c: Config) -> tuple[spec.Head, ...]:
    if _task(c, "ForImageClassification Model", "ForImageClassification") == "Model":
        return (spec.Head(take="first"),)
    return (spec.Head(take="first_and_patch_mean", steps=_labels(c)),)


VIT = parts.DECODER.but(
    base="vit.",
    mixer=_image_attention,
    ffn=partial(parts.plain, bias=True),
    layers=parts.uniform,
    embedding=_image,
    heads=_vit_heads,
    stack={"name": "vision"},
    tokens={"mask_token": lambda c: _vit_task(c) == "ForMaskedImageModeling"},
    names={
        "embed.{class,distillation,mask}_token.weight": "~embeddings.{cls,distillation,mask}_token",
        "embed.positions.weight": "~embeddings.position_embeddings",
        "embed.patches": "~embeddings.patch_embeddings.projection",
        "layers": "~layers.*",
        "attn.{q,k,v,o}": "attention.{}_proj",
        "{attn,ffn}_norm": "layernorm_{before,after}",
        "ffn.{up,down}": "mlp.fc{1,2}",
        "final_norm": "~layernorm",
        "head.{pooler,classifier,decoder}": "{pooler.dense,classifier,decoder.0}",
        "{class,distillation}_head.classifier": "{cls,distillation}_classifier",
    },
    model={"average": lambda c: c.architecture.endswith("WithTeacher")},
    execution={"softmax": "float32"},
)

# --- CLIP -----------------------------------------------------------------------------------------------------------

TOWER_NAMES = {
    "layers": "encoder.layers.*",
    "{attn,ffn}_norm": "layer_norm{1,2}",
    "attn.{q,k,v,o}": "self_attn.{q_proj,k_proj,v_proj,out_proj}",
    "ffn.{up,down}": "mlp.fc{1,2}",
}
TEXT_NAMES = {"embed.{tokens,positions}": "embeddings.{token,position}_embedding", "final_norm": "final_layer_norm"}
VISION_NAMES = {
    "embed.{patches,class_token.weight,positions}": "embeddings.{patch_embedding,class_embedding,position_embedding}",
    "embed.norm": "pre_layrnorm",  # the class's own spelling
    "pooled.post_norm": "post_layernorm",
    "final_norm": "post_layernorm",
    "pooled.probe.query.weight": "head.probe",
    "pooled.probe.attn.o": "head.attention.out_proj",
    "pooled.probe.norm": "head.layernorm",
    "pooled.probe.ffn.{up,down}": "head.mlp.fc{1,2}",
    **{
        " + ".join(f"pooled.probe.attn.{letter}.{kind}" for letter in "qkv"): f"head.attention.in_proj_{kind}"
        for kind in ("weight", "bias")
    },
}


def _tower(
    c: Config, name: str, embedding: spec.Tokens | spec.Patches, *, causal: bool = False, **more: Any
) -> spec.Stack:
    """A pre-norm stack of CLIP's: biases everywhere, no dropout but the attention's."""
    mixer = parts.attention(c, qkv=True, causal=causal)
    layers = parts.uniform(c, spec.Layer(mixer=mixer, ffn=parts.plain(c, bias=True), norm=parts.norm(c)))
    return spec.Stack(name=name, d_model=c.int("d_model"), embedding=embedding, layers=layers, **more)


def _text(c: Config, *, causal: bool = True) -> spec.Stack:
    table = spec.Tokens(vocab=c.int("vocab"), positions=parts.positions(c))
    return _tower(c, "text", table, causal=causal, final_norm=parts.norm(c))


def _squares(c: Config, **more: Any) -> spec.Patches:
    side, patch, n = c.int("image_size"), c.int("patch_size"), c.int("num_channels")
    sizes = {"height": side, "width": side, "patch_height": patch, "patch_width": patch, "channels": n}
    return spec.Patches(**sizes, positions_rank=2, **more)  # type: ignore[arg-type]


def _projection(width: int | None) -> tuple[spec.Dense, ...]:
    return (spec.Dense(name="projection", width=width, bias=False),) if width else ()


def _clip_text(c: Config, width: int | None) -> tuple[spec.Stack, tuple[spec.Head, ...]]:
    """The vector of the end token; with an id of 2 (a mistake in old configs) that of the largest id is meant."""
    end = c.int("eos_token_id", minimum=0)
    token = None if end == 2 else end
    return _text(c), (spec.Head(name="pooled", stack="text", take="end", end_token=token, steps=_projection(width)),)


def _clip_vision(c: Config, width: int | None) -> tuple[spec.Stack, tuple[spec.Head, ...]]:
    stack = _tower(c, "vision", _squares(c, bias=False, token_shape="flat", norm=parts.norm(c)))
    steps: tuple[Any, ...] = (spec.NormStep(name="post_norm", norm=parts.norm(c)), *_projection(width))
    return stack, (spec.Head(name="pooled", stack="vision", take="first", steps=steps),)


def _siglip_text(c: Config) -> tuple[spec.Stack, tuple[spec.Head, ...]]:
    """SigLIP: both towers see everything, and text is what stands last."""
    width = c.maybe_int("projection_size") or c.int("d_model")
    steps = (spec.Dense(name="projection", width=width),)
    return _text(c, causal=False), (spec.Head(name="pooled", stack="text", take="last", steps=steps),)


def _siglip_vision(c: Config) -> tuple[spec.Stack, tuple[spec.Head, ...]]:
    """A learned query pools the image."""
    stack = _tower(c, "vision", _squares(c, extra_tokens=0, extra_names=()), final_norm=parts.norm(c))
    layer = stack.layers.kinds[0]
    assert isinstance(layer.mixer, spec.Attention)
    assert isinstance(layer.ffn, spec.Mlp)
    probe = spec.Probe(attention=replace(layer.mixer, dropout=0.0), norm=parts.norm(c), ffn=layer.ffn)
    heads = (spec.Head(name="pooled", stack="vision", steps=(probe,)),)
    return stack, heads if c.flag("vision_use_head") else ()


def _towers(
    c: Config,
    *several: tuple[spec.Stack, tuple[spec.Head, ...]],
    bare: bool = False,
    bias: bool = False,
    labels: Any = (),
) -> spec.Model:
    """One tower or two, with Hugging Face's names; `bare`: a tower's class on its own, without a prefix.

    `bias`: as SigLIP compares; `labels`: a head of labels behind the others.
    """
    names = {"logit_{scale,bias}.weight": "logit_{scale,bias}", "head.classifier": "classifier"}
    names, stacks = dict(parts.spread(names)), tuple(stack for stack, _ in several)
    for stack in stacks:
        name, path = stack.name, f"{stack.name}." if len(stacks) > 1 else ""
        prefix, outer = "" if bare else f"{name}_model.", ("layers", "embed.", "final_norm", "pooled.")
        own = parts.spread(TOWER_NAMES | (TEXT_NAMES if name == "text" else VISION_NAMES))
        names |= {k if "+" in k else path + k: prefix + v if k.startswith(outer) else v for k, v in own}
        projection = "text_projection" if name == "text" else "visual_projection"
        names[f"{path}pooled.projection"] = f"{prefix}head" if bias else projection
    return spec.Model(
        name=c.family.model_type,
        family=c.family.model_type,
        stacks=stacks,
        heads=(*(head for _, heads in several for head in heads), *labels),
        contrastive=len(stacks) > 1,
        contrast_bias=bias,
        layout="out_in",
        tensor_names=tuple(names.items()),
        execution=spec.Execution(**c.family.execution),
    )


def _clip_half(c: Config, half: str, task: str, whole: Config) -> spec.Model:
    """One tower's own class, with its projection or without."""
    width = c.int("projection_dim") if task.endswith("WithProjection") else None
    part = _clip_text(c, width) if half == "text" else _clip_vision(c, width)
    return _towers(whole, part, bare=width is None)


def _clip_tower(c: Config, *, half: str) -> spec.Model:
    name = f"{half.capitalize()}Model"
    return _clip_half(c, half, _task(c, f"{name}WithProjection {name}", name), c)


def _clip(c: Config) -> spec.Model:
    """CLIP (arXiv 2103.00020): a text and an image tower, projected to one width and compared."""
    halves = "TextModelWithProjection VisionModelWithProjection TextModel VisionModel"
    task = _task(c, f"ForImageClassification {halves} CLIPModel", "CLIPModel")
    later = {half: c.raw(f"{half}_config_dict", None) is not None for half in ("text", "vision")}
    several = {half: c.part(f"{half}_config{'_dict' * later[half]}", f"clip_{half}_model") for half in later}
    text, vision = several["text"], several["vision"]
    if task == "ForImageClassification":
        # the tower pools an image, too, although labels follow from the mean of its patches
        return _towers(c, _clip_vision(vision, None), labels=(spec.Head(take="patch_mean", steps=_labels(c)),))
    if task != "CLIPModel":
        half = "text" if task.startswith("Text") else "vision"
        return _clip_half(several[half], half, task, c)
    width = c.int("projection_dim")
    return _towers(c, _clip_text(text, width), _clip_vision(vision, width))


def _siglip_tower(c: Config, *, half: str) -> spec.Model:
    name = f"{half.capitalize()}Model"
    _task(c, name, name)
    return _towers(c, (_siglip_text if half == "text" else _siglip_vision)(c), bare=True, bias=half == "text")


def _siglip(c: Config) -> spec.Model:
    """SigLIP (arXiv 2303.15343): as CLIP, with every pair of text and image judged on its own."""
    task = _task(c, "ForImageClassification TextModel VisionModel SiglipModel", "SiglipModel")
    text, vision = (c.part(f"{half}_config", f"siglip_{half}_model") for half in ("text", "vision"))
    if task == "ForImageClassification":  # by the mean of all patches; the tower pools the image, too
        return _towers(c, _siglip_vision(vision), labels=(spec.Head(take="mean", steps=_labels(c)),))
    if task == "TextModel":
        return _towers(c, _siglip_text(text), bare=True, bias=True)
    if task == "VisionModel":
        return _towers(c, _siglip_vision(vision), bare=True)
    return _towers(c, _siglip_text(text), _siglip_vision(vision), bias=True)


# --- the types ------------------------------------------------------------------------------------------------------

CLIP = Family(
    build=_clip,
    execution={"softmax": "float32", "positions": "buffer", "lengths": 2},
    # nothing is tied, no dropout is applied but the attention's, and the towers' own widths do not count in the whole
    inert="tie_word_embeddings tie_encoder_decoder dropout initializer_factor is_decoder add_cross_attention",
)
SIGLIP = CLIP.but(build=_siglip, execution={"lengths": 1, "probe_written_out": True})

TYPES = {
    "vit": VIT,
    "deit": VIT.but(base="deit.", tokens={"extra_names": ("class_token", "distillation_token")}),
    "dinov2": VIT.but(  # arXiv 2304.07193: each part's output is scaled by a learned vector
        base="dinov2.",
        mixer=partial(parts.attention, causal=False, o=True),
        ffn=_dino_ffn,
        layer={"dropout": 0.0, "scaled": True},
        tokens={"mask_token": lambda c: c.flag("use_mask_token"), "mask_rank": 2},
        heads=_dino_heads,
        names={
            "layers": "~encoder.layer.*",
            "{attn,ffn}_norm": "norm{1,2}",
            "{attn,ffn}_layer_scale.weight": "layer_scale{1,2}.lambda1",
            "ffn.gate": lambda c: "mlp.gate_proj" if c.flag("use_swiglu_ffn") else "",
            "ffn.up": lambda c: "mlp.up_proj" if c.flag("use_swiglu_ffn") else "mlp.fc1",
            "ffn.down": lambda c: "mlp.down_proj" if c.flag("use_swiglu_ffn") else "mlp.fc2",
        },
        execution={"softmax": ""},
        inert="layerscale_value drop_path_rate out_features out_indices stage_names apply_layernorm "
        "reshape_hidden_states pooler_output_size pooler_act",
    ),
    "clip": CLIP.but(inert="logit_scale_init_value text_config vision_config text_config_dict vision_config_dict"),
    "clip_text_model": CLIP.but(build=partial(_clip_tower, half="text"), classes="cliptext"),
    "clip_vision_model": CLIP.but(build=partial(_clip_tower, half="vision"), classes="clipvision"),
    "siglip": SIGLIP,
    "siglip_text_model": SIGLIP.but(
        build=partial(_siglip_tower, half="text"), classes="sigliptext", inert="projection_dim"
    ),
    "siglip_vision_model": SIGLIP.but(
        build=partial(_siglip_tower, half="vision"), classes="siglipvision", inert="projection_dim"
    ),
}

"""Images: ViT and its relatives, and the dual encoders that compare them with text."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from transformer_calc.record import LARGEST
from transformer_calc.sources.families.legacy import (
    Attention,
    Config,
    Dense,
    Entry,
    Head,
    InputError,
    Layer,
    Layers,
    Mlp,
    Model,
    Norm,
    NormStep,
    Positions,
    Stack,
    Tokens,
    divide,
    unknown_architecture,
)
from transformer_calc.spec import Patches, Probe

# --- ViT ----------------------------------------------------------------------------------------------------

VIT_NAMES = {
    "embed.class_token.weight": "~embeddings.cls_token",
    "embed.distillation_token.weight": "~embeddings.distillation_token",
    "embed.mask_token.weight": "~embeddings.mask_token",
    "embed.positions.weight": "~embeddings.position_embeddings",
    "embed.patches": "~embeddings.patch_embeddings.projection",
    "layers": "~layers.*",
    "attn.q": "attention.q_proj",
    "attn.k": "attention.k_proj",
    "attn.v": "attention.v_proj",
    "attn.o": "attention.o_proj",
    "attn_norm": "layernorm_before",
    "ffn_norm": "layernorm_after",
    "ffn.up": "mlp.fc1",
    "ffn.down": "mlp.fc2",
    "final_norm": "~layernorm",
    "head.pooler": "pooler.dense",
    "head.classifier": "classifier",
    "head.decoder": "decoder.0",
    "class_head.classifier": "cls_classifier",
    "distillation_head.classifier": "distillation_classifier",
}
DINO_NAMES = VIT_NAMES | {
    "layers": "~encoder.layer.*",
    "attn_norm": "norm1",
    "attn_layer_scale.weight": "layer_scale1.lambda1",
    "ffn_norm": "norm2",
    "ffn_layer_scale.weight": "layer_scale2.lambda1",
}
DINO_GATED = {"ffn.gate": "mlp.gate_proj", "ffn.up": "mlp.up_proj", "ffn.down": "mlp.down_proj"}


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
        raise unknown_architecture(c, ", ".join(f"…{t}" for t in tasks.split()))
    return task


def _labels(c: Config, name: str = "classifier") -> tuple[Dense, ...]:
    """The map to labels; with no labels there is none."""
    return () if c.raw("num_labels", None) == 0 else (Dense(name=name, width=c.n_labels),)


def _image_layer(c: Config, d_head: int | None = None, **more: Any) -> Layer:
    n_heads, eps = c.int("num_attention_heads"), c.num("layer_norm_eps")
    width = d_head or divide("hidden_size", c.int("hidden_size"), "num_attention_heads", n_heads)
    qkv = c.flag("qkv_bias")
    mixer = Attention(
        n_heads=n_heads,
        d_head=width,
        causal=False,
        bias_q=qkv,
        bias_k=qkv,
        bias_v=qkv,
        bias_o=True,
        dropout=c.num("attention_probs_dropout_prob"),
    )
    return Layer(mixer=mixer, norm=Norm(eps=eps), **more)


def _image_model(
    c: Config,
    layer: Layer,
    heads: tuple[Head, ...],
    base: str,
    names: dict[str, str] = VIT_NAMES,
    **more: Any,
) -> Model:
    """A stack over an image's patches; `more` goes to `Patches`."""
    (height, width), (p_height, p_width) = _pair(c, "image_size"), _pair(c, "patch_size")
    patches: dict[str, Any] = {"extra_tokens": len(more.get("extra_names", ("class_token",)))} | more
    embedding = Patches(
        height=height,
        width=width,
        patch_height=p_height,
        patch_width=p_width,
        channels=c.int("num_channels"),
        dropout=c.num("hidden_dropout_prob"),
        **patches,
    )
    grid = (height // p_height, width // p_width)
    painted = any(isinstance(step, Dense) and step.pixels for head in heads for step in head.steps)
    if painted and grid[0] != grid[1]:
        raise InputError(f"{c.where}{c.architecture} needs as many patches down as across, not {grid}")
    stack = Stack(
        name="vision",
        d_model=c.int("hidden_size"),
        embedding=embedding,
        layers=Layers.uniform(layer, c.int("num_hidden_layers")),
        final_norm=layer.norm,
    )
    base = "" if c.architecture.endswith("Model") else base
    return Model(
        name=c.family.model_type,
        family=c.family.model_type,
        stacks=(stack,),
        heads=heads,
        average=len(heads) > 1,
        layout="out_in",
        tensor_names=tuple((part, name.replace("~", base)) for part, name in names.items()),
    )


def _vit(c: Config, *, extra: tuple[str, ...] = ("class_token",), base: str = "vit.", tasks: str = "") -> Model:
    """ViT (arXiv 2010.11929), and DeiT with one more token (arXiv 2012.12877)."""
    task = _task(c, f"{tasks} ForImageClassification ForMaskedImageModeling Model", "ForImageClassification")
    drop, masked = c.num("hidden_dropout_prob"), task == "ForMaskedImageModeling"
    layer = _image_layer(
        c,
        c.int("head_dim") if "head_dim" in c.given else None,
        ffn=Mlp(d_ff=c.int("intermediate_size"), activation=c.activation()),
        dropout=drop,
    )
    if task == "Model":
        width = c.maybe_int("pooler_output_size", minimum=0) or c.int("hidden_size")
        heads = [
            Head(
                take="first",
                steps=(Dense(name="pooler", width=width, activation=c.activation("pooler_act")),),
            )
        ]
    elif masked:
        stride = c.int("encoder_stride")
        decoder = Dense(name="decoder", width=stride**2 * c.int("num_channels"), pixels=stride)
        heads = [Head(take="patches", steps=(decoder,))]
    elif task == "ForImageClassification":
        heads = [Head(take="first", steps=_labels(c))]
    else:  # with a teacher: the average of what two tokens say
        takes = (("class_head", "first"), ("distillation_head", "second"))
        heads = [Head(name=name, take=take, steps=_labels(c)) for name, take in takes]
    return _image_model(c, layer, tuple(heads), base, extra_names=extra, mask_token=masked)


def _dinov2(c: Config) -> Model:
    """DINOv2 (arXiv 2304.07193): each part's output is scaled by a learned vector; SwiGLU in the largest size."""
    task = _task(c, "ForImageClassification Model", "ForImageClassification")
    wide = c.int("hidden_size") * c.int("mlp_ratio")
    names = DINO_NAMES
    if c.flag("use_swiglu_ffn"):  # two thirds as wide, as a multiple of 8
        names = DINO_NAMES | DINO_GATED
        ffn = Mlp(d_ff=(wide * 2 // 3 + 7) // 8 * 8, activation="silu", gated=True)
    else:
        ffn = Mlp(d_ff=wide, activation=c.activation())
    heads = (Head(take="first"),)
    if task == "ForImageClassification":
        heads = (Head(take="first_and_patch_mean", steps=_labels(c)),)
    layer = _image_layer(c, ffn=ffn, scaled=True)
    return _image_model(c, layer, heads, "dinov2.", names, mask_token=c.flag("use_mask_token"), mask_rank=2)


VIT: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "layer_norm_eps": 1e-12,
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "qkv_bias": True,
    "encoder_stride": 16,
    "pooler_output_size": None,
    "pooler_act": "tanh",
}
DINO: dict[str, Any] = {k: v for k, v in VIT.items() if k not in ("intermediate_size", "encoder_stride")} | {
    "layer_norm_eps": 1e-6,
    "patch_size": 14,
    "mlp_ratio": 4,
    "use_swiglu_ffn": False,
    "use_mask_token": True,
}

# --- CLIP ---------------------------------------------------------------------------------------------------

TOWER_NAMES = {
    "layers": "encoder.layers.*",
    "attn_norm": "layer_norm1",
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.out_proj",
    "ffn_norm": "layer_norm2",
    "ffn.up": "mlp.fc1",
    "ffn.down": "mlp.fc2",
}
TEXT_NAMES = {
    "embed.tokens": "embeddings.token_embedding",
    "embed.positions": "embeddings.position_embedding",
    "final_norm": "final_layer_norm",
}
VISION_NAMES = {
    "embed.patches": "embeddings.patch_embedding",
    "embed.class_token.weight": "embeddings.class_embedding",
    "embed.positions": "embeddings.position_embedding",
    "embed.norm": "pre_layrnorm",  # the class's own spelling
    "pooled.post_norm": "post_layernorm",
    "final_norm": "post_layernorm",
    "pooled.probe.query.weight": "head.probe",
    "pooled.probe.attn.o": "head.attention.out_proj",
    "pooled.probe.norm": "head.layernorm",
    "pooled.probe.ffn.up": "head.mlp.fc1",
    "pooled.probe.ffn.down": "head.mlp.fc2",
}
VISION_NAMES |= {
    " + ".join(f"pooled.probe.attn.{letter}.{kind}" for letter in "qkv"): f"head.attention.in_proj_{kind}"
    for kind in ("weight", "bias")
}


def _tower(c: Config, name: str, embedding: Tokens | Patches, **more: Any) -> Stack:
    """A pre-norm stack of CLIP's: biases everywhere, no dropout but the attention's."""
    d_model, n_heads = c.int("hidden_size"), c.int("num_attention_heads")
    layer = Layer(
        mixer=Attention(
            n_heads=n_heads,
            d_head=divide("hidden_size", d_model, "num_attention_heads", n_heads),
            causal=more.pop("causal", False),
            bias_q=True,
            bias_k=True,
            bias_v=True,
            bias_o=True,
            dropout=c.maybe_num("attention_dropout") or 0.0,
        ),
        ffn=Mlp(d_ff=c.int("intermediate_size"), activation=c.activation()),
        norm=Norm(eps=c.num("layer_norm_eps")),
    )
    layers = Layers.uniform(layer, c.int("num_hidden_layers"))
    return Stack(name=name, d_model=d_model, embedding=embedding, layers=layers, **more)


def _text(c: Config, *, causal: bool = True) -> Stack:
    positions = Positions(count=c.int("max_position_embeddings"))
    norm = Norm(eps=c.num("layer_norm_eps"))
    return _tower(c, "text", Tokens(vocab=c.int("vocab_size"), positions=positions), causal=causal, final_norm=norm)


def _squares(c: Config, **more: Any) -> Patches:
    side, patch = c.int("image_size"), c.int("patch_size")
    return Patches(
        height=side,
        width=side,
        patch_height=patch,
        patch_width=patch,
        channels=c.int("num_channels"),
        positions_rank=2,
        **more,
    )


def _clip_vision(c: Config) -> Stack:
    norm = Norm(eps=c.num("layer_norm_eps"))
    return _tower(c, "vision", _squares(c, bias=False, token_shape="flat", norm=norm))


def _text_head(c: Config, width: int | None = None) -> Head:
    """The vector of the end token; with an id of 2 (a mistake in old configs) that of the largest id is meant."""
    end = c.int("eos_token_id", minimum=0)
    return Head(name="pooled", stack="text", take="end", end_token=None if end == 2 else end, steps=_projection(width))


def _vision_head(c: Config, width: int | None = None) -> Head:
    norm = NormStep(name="post_norm", norm=Norm(eps=c.num("layer_norm_eps")))
    return Head(name="pooled", stack="vision", take="first", steps=(norm, *_projection(width)))


def _projection(width: int | None) -> tuple[Dense, ...]:
    return (Dense(name="projection", width=width, bias=False),) if width else ()


def _towers(
    c: Config, stacks: tuple[Stack, ...], heads: tuple[Head, ...], *, bare: bool = False, bias: bool = False
) -> Model:
    """One tower or two, with Hugging Face's names; `bare`: a tower's class on its own, without a prefix."""
    names = {f"logit_{k}.weight": f"logit_{k}" for k in ("scale", "bias")} | {"head.classifier": "classifier"}
    for stack in stacks:
        name, path = stack.name, f"{stack.name}." if len(stacks) > 1 else ""
        own = TOWER_NAMES | (TEXT_NAMES if name == "text" else VISION_NAMES)
        prefix = "" if bare else f"{name}_model."
        outer = ("layers", "embed.", "final_norm", "pooled.")
        names |= {k if "+" in k else path + k: prefix + v if k.startswith(outer) else v for k, v in own.items()}
        projection = "text_projection" if name == "text" else "visual_projection"
        names[f"{path}pooled.projection"] = f"{prefix}head" if bias else projection
    return Model(
        name=c.family.model_type,
        family=c.family.model_type,
        stacks=stacks,
        heads=heads,
        contrastive=len(stacks) > 1,
        contrast_bias=bias,
        layout="out_in",
        tensor_names=tuple(names.items()),
    )


def _clip_half(c: Config, half: str, task: str, whole: Config) -> Model:
    """One tower's own class, with its projection or without."""
    stack, head = (_text(c), _text_head) if half == "text" else (_clip_vision(c), _vision_head)
    width = c.int("projection_dim") if task.endswith("WithProjection") else None
    return _towers(whole, (stack,), (head(c, width),), bare=width is None)


def _clip_tower(c: Config, *, half: str) -> Model:
    name = f"{half.capitalize()}Model"
    return _clip_half(c, half, _task(c, f"{name}WithProjection {name}", name), c)


def _clip(c: Config) -> Model:
    """CLIP (arXiv 2103.00020): a text and an image tower, projected to one width and compared."""
    halves = "TextModelWithProjection VisionModelWithProjection TextModel VisionModel"
    task = _task(c, f"ForImageClassification {halves} CLIPModel", "CLIPModel")
    parts = {
        half: c.part(key if c.raw(key, None) is not None else f"{half}_config", family)
        for half, key, family in (
            ("text", "text_config_dict", CLIP_TEXT),
            ("vision", "vision_config_dict", CLIP_VISION),
        )
    }
    text, vision = parts["text"], parts["vision"]
    if task == "ForImageClassification":
        # the tower pools an image, too, although labels follow from the mean of its patches
        heads = (_vision_head(vision), Head(take="patch_mean", steps=_labels(c)))
        return _towers(c, (_clip_vision(vision),), heads)
    if task != "CLIPModel":
        half = "text" if task.startswith("Text") else "vision"
        return _clip_half(parts[half], half, task, c)
    width = c.int("projection_dim")
    return _towers(c, (_text(text), _clip_vision(vision)), (_text_head(text, width), _vision_head(vision, width)))


# SigLIP: both towers see everything, text is what stands last, and a learned query pools the image


def _siglip_text(c: Config) -> tuple[Stack, Head]:
    width = c.maybe_int("projection_size") or c.int("hidden_size")
    head = Head(name="pooled", stack="text", take="last", steps=(Dense(name="projection", width=width),))
    return _text(c, causal=False), head


def _siglip_vision(c: Config) -> tuple[Stack, tuple[Head, ...]]:
    norm = Norm(eps=c.num("layer_norm_eps"))
    stack = _tower(c, "vision", _squares(c, extra_tokens=0, extra_names=()), final_norm=norm)
    layer = stack.layers.kinds[0]
    assert isinstance(layer.mixer, Attention)
    assert isinstance(layer.ffn, Mlp)
    probe = Probe(attention=replace(layer.mixer, dropout=0.0), norm=norm, ffn=layer.ffn)
    heads = (Head(name="pooled", stack="vision", steps=(probe,)),)
    return stack, heads if c.flag("vision_use_head") else ()


def _siglip_tower(c: Config, *, half: str) -> Model:
    name = f"{half.capitalize()}Model"
    _task(c, name, name)
    if half == "text":
        stack, head = _siglip_text(c)
        return _towers(c, (stack,), (head,), bare=True, bias=True)
    stack, heads = _siglip_vision(c)
    return _towers(c, (stack,), heads, bare=True)


def _siglip(c: Config) -> Model:
    """SigLIP (arXiv 2303.15343): as CLIP, with every pair of text and image judged on its own."""
    task = _task(c, "ForImageClassification TextModel VisionModel SiglipModel", "SiglipModel")
    text, vision = c.part("text_config", SIGLIP_TEXT), c.part("vision_config", SIGLIP_VISION)
    if task == "ForImageClassification":  # by the mean of all patches; the tower pools the image, too
        stack, heads = _siglip_vision(vision)
        return _towers(c, (stack,), (*heads, Head(take="mean", steps=_labels(c))))
    first, head = _siglip_text(text)
    if task == "TextModel":
        return _towers(c, (first,), (head,), bare=True, bias=True)
    second, heads = _siglip_vision(vision)
    if task == "VisionModel":
        return _towers(c, (second,), heads, bare=True)
    return _towers(c, (first, second), (head, *heads), bias=True)


TOWER: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "attention_dropout": 0.0,
    "projection_dim": 512,
}
# nothing is tied, no dropout is applied but the attention's, and the towers' own widths do not count in the whole
CLIP_INERT = "tie_word_embeddings tie_encoder_decoder dropout initializer_factor is_decoder add_cross_attention"
CLIP_TEXT = Entry(
    "clip_text_model",
    TOWER | {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 49407},
    partial(_clip_tower, half="text"),
    inert=CLIP_INERT,
)
CLIP_VISION = Entry(
    "clip_vision_model",
    TOWER
    | {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 32,
        "num_channels": 3,
    },
    partial(_clip_tower, half="vision"),
    inert=CLIP_INERT,
)
SIGLIP: dict[str, Any] = {k: v for k, v in TOWER.items() if k != "projection_dim"} | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
SIGLIP_TEXT = Entry(
    "siglip_text_model",
    SIGLIP | {"vocab_size": 32000, "max_position_embeddings": 64, "projection_size": None},
    partial(_siglip_tower, half="text"),
    inert=f"{CLIP_INERT} projection_dim",
)
SIGLIP_VISION = Entry(
    "siglip_vision_model",
    SIGLIP | {"image_size": 224, "patch_size": 16, "num_channels": 3, "vision_use_head": True},
    partial(_siglip_tower, half="vision"),
    inert=f"{CLIP_INERT} projection_dim",
)
FAMILIES = [
    Entry("vit", VIT, _vit),
    Entry(
        "deit",
        VIT,
        partial(
            _vit,
            extra=("class_token", "distillation_token"),
            base="deit.",
            tasks="ForImageClassificationWithTeacher",
        ),
    ),
    Entry(
        "dinov2",
        DINO,
        _dinov2,
        inert="layerscale_value drop_path_rate out_features out_indices stage_names apply_layernorm "
        "reshape_hidden_states",
    ),
    Entry(
        "clip",
        {"projection_dim": 512, "text_config": None, "vision_config": None},
        _clip,
        inert=f"{CLIP_INERT} logit_scale_init_value text_config vision_config text_config_dict vision_config_dict",
    ),
    CLIP_TEXT,
    CLIP_VISION,
    Entry("siglip", {"text_config": None, "vision_config": None}, _siglip, inert=CLIP_INERT),
    SIGLIP_TEXT,
    SIGLIP_VISION,
]

"""What the records of a model must be together, so that every command can answer: widths that meet, names that differ.

Each record checks itself when it is made. What is checked here reaches over several of them; it is checked once for a
whole model, wherever its description came from, and what passes can be counted as well as run.
"""

from __future__ import annotations

from transformer_calc.errors import InputError
from transformer_calc.spec import Attention, Dense, Head, Model, NormStep, Patches, Pool, Probe, Stack, Tokens

TOWERS = (("decoder",), ("encoder",), ("text",), ("vision",), ("encoder", "decoder"), ("text", "vision"))
TAKEN = ("embed", "layers", "final_norm", "final_dropout", "relative", "relative_bias", "relative_table", "average")


def check(model: Model) -> None:
    """Refuse a model whose parts do not fit together, with one sentence."""
    names = tuple(stack.name for stack in model.stacks)
    if names not in TOWERS:
        right = "; ".join(", ".join(one) for one in TOWERS)
        raise InputError(f"the stacks are called {', '.join(names)}; they must be one of: {right}")
    stacks = {stack.name: stack for stack in model.stacks}
    for stack in model.stacks:
        _check_stack(stack, stacks)
    results = [_check_head(head, stacks[_stack_of(head, model)], model) for head in model.heads]
    several = [_stack_of(head, model) if model.contrastive else "" for head in model.heads]
    if len({*zip(several, (head.name for head in model.heads), strict=True)}) < len(model.heads):
        raise InputError(f"heads are called {', '.join(h.name for h in model.heads)}; each needs a name of its own")
    if model.contrastive and names != ("text", "vision"):
        raise InputError(
            f"contrastive is true, but there is only the {', '.join(names)}: texts and images are compared"
        )
    if model.contrastive and len(results) > 1:
        projected = all(isinstance(step, Dense) for head in model.heads for step in head.steps[-1:])
        if len(results) != 2 or any(tokens for _, tokens in results) or (projected and len(set(results)) > 1):
            raise InputError(
                f"the heads give {' and '.join(map(_text, results))}; texts and images are compared by one vector "
                "each, of one width"
            )
    if model.average and len({_stack_of(head, model) for head in model.heads}) > 1:
        raise InputError("average is true, but the heads read different stacks; what is averaged must be of one")
    if model.average and len(set(results)) != 1:
        raise InputError(f"the heads give {' and '.join(map(_text, results))}; what is averaged must be alike")


def _stack_of(head: Head, model: Model) -> str:
    """The name of the stack that a head reads."""
    name = head.stack or model.stacks[-1].name
    if name not in (stack.name for stack in model.stacks):
        raise InputError(f"{head.name}'s stack is {name}; there is {', '.join(s.name for s in model.stacks)}")
    return name


def _check_stack(stack: Stack, stacks: dict[str, Stack]) -> None:
    e, kinds = stack.embedding, stack.layers.kinds
    if isinstance(e, Tokens):
        _check_table(stack, e, stacks)
    table = None if isinstance(e, Patches) else e.positions
    width = (e.d_embed or stack.d_model) if isinstance(e, Tokens) and e.norm else stack.d_model
    if table and table.kind == "sinusoidal" and table.spread and table.spread >= width // 2:
        raise InputError(f"spread is {table.spread}; it must be less than half of the width, {width // 2}")
    if stack.name == "encoder" and "decoder" in stacks:
        for layer in kinds:
            if getattr(layer.mixer, "causal", False):
                raise InputError("encoder: causal is true, but an encoder beside a decoder sees all tokens at once")
    for layer in kinds:
        if layer.convolution and stack.d_model % layer.convolution.groups:
            groups = layer.convolution.groups
            raise InputError(f"convolution.groups is {groups}; it must divide d_model, {stack.d_model}")
    for field in ("relative_bias", "disentangled"):  # which read one table of the whole stack
        shared = {
            (a.n_heads if field == "relative_bias" else 0, getattr(a, field))
            for a in (layer.mixer for layer in kinds)
            if isinstance(a, Attention) and not getattr(getattr(a, field), "every_layer", getattr(a, field) is None)
        }
        if len(shared) > 1:
            raise InputError(f"kinds of layers of the {stack.name} differ in {field}, or in heads; they read one table")
    _check_shares(stack)


def _check_table(stack: Stack, e: Tokens, stacks: dict[str, Stack]) -> None:
    """A table of tokens that another stack owns must be there, and be what this one reads."""
    if not e.shared:
        return
    owner = stacks.get(e.shared)
    table = owner.embedding if owner else None
    if owner is None or owner is stack or not isinstance(table, Tokens) or table.shared:
        raise InputError(f"{stack.name}'s table of tokens is shared with {e.shared!r}, which has none of its own")
    for name, mine, theirs in (
        ("vocab", e.vocab, table.vocab),
        ("pad_to", e.pad_to, table.pad_to),
        ("width", e.d_embed or stack.d_model, table.d_embed or owner.d_model),
    ):
        if mine != theirs:
            raise InputError(
                f"{name} of the {stack.name}'s table of tokens is {mine}, and of the {owner.name}'s, which is the same "
                f"table, {theirs}"
            )


def _check_shares(stack: Stack) -> None:
    """Layers that share sets of weights are of one kind, and use each set."""
    shares, inner, n = stack.share_layers, stack.share_inner, stack.layers.n_layers
    if shares is None:
        return
    if len(stack.layers.kinds) > 1:
        raise InputError(f"share_layers is {shares}, but there are several kinds of layers")
    if shares > n:
        raise InputError(f"share_layers is {shares}; it must be at most n_layers, {n}")
    if shares % inner or n % inner:
        raise InputError(f"share_inner is {inner}; it must divide share_layers, {shares}, and n_layers, {n}")


# --- heads --------------------------------------------------------------------------------------------------

Result = tuple[int | None, bool]  # (width; None: the vocabulary, whether there is one for each token)


def _text(result: Result) -> str:
    width, tokens = result
    return f"{'logits' if width is None else f'vectors of {width}'}{' for each token' if tokens else ''}"


def _check_head(head: Head, stack: Stack, model: Model) -> Result:
    """Follow the widths through a head's steps; what comes out of it."""
    e, steps = stack.embedding, [step.name for step in head.steps]
    if head.name in TAKEN:
        raise InputError(f"a head is called {head.name!r}, which is the name of another part")
    if len(set(steps)) < len(steps):
        raise InputError(f"{head.name}'s steps are called {', '.join(steps)}; each needs a name of its own")
    if "patch" in head.take and not isinstance(e, Patches):
        raise InputError(f"{head.name}.take is {head.take}, but the {stack.name} has no patches of an image")
    reads_ids = head.take == "end" or (head.take == "last" and head.pad is not None)
    read = stack
    if head.take == "end" and stack.name == "decoder":  # whose own tokens are the source's, shifted
        read = next((other for other in model.stacks if other.name == "encoder"), stack)
    if reads_ids and not isinstance(read.embedding, Tokens):
        raise InputError(f"{head.name}.take is {head.take}, but the {read.name} has no tokens to look for one in")
    width: int | None = stack.d_model * (2 if head.take == "first_and_patch_mean" else 1)
    tokens = head.take in ("all", "patches")
    for step in head.steps:
        where = f"{head.name}.{step.name}"
        if isinstance(step, Pool | Probe):
            if head.take != "all" or not tokens:
                raise InputError(f"{where} takes all positions, but gets one vector: {head.name}.take is {head.take}")
            tokens = False
        if isinstance(step, Dense):
            _check_dense(where, step, width, stack, head)
            width = step.width
        elif width is None and isinstance(step, NormStep | Probe):
            raise InputError(f"{where} comes after the logits; nothing but a function can")
    return width, tokens


def _check_dense(where: str, step: Dense, width: int | None, stack: Stack, head: Head) -> None:
    e = stack.embedding
    if width is None:
        raise InputError(f"{where} comes after the logits; nothing but a function can")
    if step.pixels and (not isinstance(e, Patches) or head.take != "patches" or step is not head.steps[0]):
        raise InputError(f"{where}.pixels is {step.pixels}; it is of a first step, and of take patches")
    if step.width is not None:
        if step.tied:
            raise InputError(f"{where}.tied is true, but it gives {step.width} numbers: the token table gives logits")
        return
    if not isinstance(e, Tokens):
        raise InputError(f"{where} gives logits, but the {stack.name} has no vocabulary")
    table = e.d_embed or stack.d_model
    if step.tied and step.vocab not in (None, e.vocab):
        raise InputError(f"{where}.vocab is {step.vocab}, but it is tied to the token table, which has {e.vocab} rows")
    if step.tied and width != table:
        raise InputError(
            f"{where} is tied to the token table, whose rows have {table} numbers, but gets vectors of {width}",
            hint=f"set {where}.tied=false, or d_embed={width}",
        )

"""The library's front door: `load` a model and take readings of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from transformer_calc import consistency
from transformer_calc.answer import as_table
from transformer_calc.errors import InputError, NotSettable, shown
from transformer_calc.graph.core import Graph
from transformer_calc.sources.lengths import Length
from transformer_calc.spec import Audio, Model, Patches, Tokens, Workload

if TYPE_CHECKING:
    from transformer_calc.answer import Assumption
    from transformer_calc.expr import Size
    from transformer_calc.facts import Device, TrainingRun
    from transformer_calc.plan import How, Mesh, Serving, Training
    from transformer_calc.readings.cost.compare import Comparison, Portrait
    from transformer_calc.readings.cost.reckoning import Reckoning
    from transformer_calc.readings.cost.serve import Serve
    from transformer_calc.readings.count.further import Further
    from transformer_calc.readings.count.parameters import Params
    from transformer_calc.readings.count.shapes import Shapes
    from transformer_calc.readings.count.work import Flops
    from transformer_calc.readings.memory.fit import Fit
    from transformer_calc.readings.memory.held import Held, Memory
    from transformer_calc.readings.run.verify import Verification
    from transformer_calc.readings.run.walk import Walk
    from transformer_calc.sources.published import Checkpoint
    from transformer_calc.sources.settings import Setting

DEFAULT_PRESET = "gpt2"
COUNTED = "mtp.counted=true"  # the setting that --mtp is
USUAL_LENGTH = 2048  # tokens of a sequence, unless the model takes fewer or is told otherwise


def compare(
    *models: Transformer | str | Path,
    batch: int | None = None,
    seq: int | None = None,
    target_seq: int | None = None,
    context: int | None = None,
    device: str | Device | None = None,
    devices: int | None = None,
    price: float | None = None,
    tokens: int | None = None,
    mfu: float | None = None,
) -> Comparison:
    """Models side by side, with what differs.

    models: loaded, or as `load` takes them; batch, seq, target_seq, context: as in `Transformer.workload`, else what is
    usual for all of them; device: on which they are served and trained, too; devices: how many; price: dollars of one
    for an hour; tokens: that each is trained on, else those of its published run; mfu: of training, a part of 1

    >>> load("gpt3").compare("llama-3-8b")["kv_heads"].values
    (96, 8)
    """
    from transformer_calc.readings.cost import compare as side

    loaded = [model if isinstance(model, Transformer) else load(model) for model in models]
    side.check([model.spec.name for model in loaded], device, devices=devices, price=price, mfu=mfu)
    sizes = {"batch": batch, "seq": seq, "target_seq": target_seq, "context": context}
    asked = {name: size for name, size in sizes.items() if size is not None}
    known = _device(device)
    terms = {"device": known, "devices": devices, "price": price, "tokens": tokens, "mfu": mfu}
    runs = side.workloads([side.Runnable(one.spec, one.graph, one.workload) for one in loaded], asked)
    found = [model._compared(*run, asked, terms) for model, run in zip(loaded, runs, strict=True)]
    return side.comparison(found, asked, known, devices)


class Transformer:
    """A loaded model: its spec, its graph, and the readings of it."""

    def __init__(
        self,
        spec: Model,
        source: str,
        notes: Iterable[str] = (),
        workload: Mapping[str, int] | None = None,
        changes: Iterable[str] = (),
        described: Mapping[str, Any] | None = None,
        made_for: Length | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        consistency.check(spec)
        self.spec, self.source, self.notes = spec, source, list(notes)
        self.changes = list(changes)
        self.described = described or {}  # the preset's file or the config.json, as it stands
        self.usual = dict(workload or {})
        self.made_for = made_for  # the length that is stated of it, where that is no table
        self.checkpoint = checkpoint  # how its config says that its numbers are stored

    def __repr__(self) -> str:
        return f"<Transformer {', '.join(self._first().values())}>"

    def _repr_html_(self) -> str:
        return as_table("Transformer", self._first())

    def _first(self) -> dict[str, str]:
        """What is seen first of a model."""
        from transformer_calc.readings.count.params import params

        total = params(self.graph, self.graph.sizes(Workload())).total
        longest = self.length and f"{self.length.tokens:,} tokens ({self.length.what})"
        return {
            "name": self.title,
            "kind": self.spec.kind,
            "size": f"{total:,} parameters",
            **({"made for": longest} if longest else {}),
        }

    def change(self, spec: Model) -> None:
        """Take another spec of the same model, before anything has been asked of it."""
        consistency.check(spec)
        self.spec = spec
        for name in ("graph", "absorbed", "further"):
            self.__dict__.pop(name, None)

    @cached_property
    def graph(self) -> Graph:
        """What the model computes."""
        from transformer_calc.graph.model import build

        return build(self.spec)

    @cached_property
    def absorbed(self) -> Graph:
        """The same in the form in which it decodes: latent attention looks at the latent itself."""
        from transformer_calc.graph.model import build
        from transformer_calc.spec import LatentAttention

        mixers = (layer.mixer for stack in self.spec.stacks for layer in stack.layers.kinds)
        latent = any(isinstance(mixer, LatentAttention) for mixer in mixers)
        return build(self.spec, absorbed=True) if latent else self.graph

    def workload(
        self,
        batch: int | None = None,
        seq: int | None = None,
        target_seq: int | None = None,
        context: int | None = None,
    ) -> Workload:
        """A workload on this model; what is left out is what the model is usually run with.

        With a context, tokens that are in the cache already, that is one new token: a step of decoding. What of it is
        longer than the model is made for, `beyond` says.
        """
        decoding = self.spec.kind == "encoder-decoder"
        if context:  # the new tokens, unless more are asked for, are one
            target_seq, seq = (target_seq or 1, seq) if decoding else (target_seq, seq or 1)
        if context and "cached" not in self.graph.axes:
            raise InputError(f"context is {context}, but {self.spec.name} keeps no cache: it sees all tokens at once")
        usual = self.usual
        batch = usual.get("batch", 1) if batch is None else batch
        seq = usual.get("seq") if seq is None else seq
        target_seq = usual.get("target_seq") if target_seq is None else target_seq
        first = self.spec.stacks[0].embedding
        if isinstance(first, Patches):
            fixed = first.count + first.extra_tokens
            if seq not in (None, fixed):
                raise InputError(
                    f"seq is {seq}; this model's images are {fixed} tokens", hint="change image_size instead"
                )
            seq = fixed
        if target_seq is not None and not decoding:
            raise InputError(f"target_seq is {target_seq}, but {self.spec.name} has no decoder beside an encoder")
        limit = self.max_positions
        if seq is None:
            whole = limit if isinstance(first, Audio) else None  # half a minute of speech, padded
            longest = limit if decoding or not self.length else self.length.tokens
            room = longest - (0 if decoding else context or 0) if longest else USUAL_LENGTH
            seq = whole or max(min(room, USUAL_LENGTH), 1)
        if decoding and target_seq is None:
            most = self.max_target_positions
            target_seq = max(min(seq, most - (context or 0) if most else seq), 1)
        return Workload(batch=batch, seq=seq, target=target_seq, context=context or 0)

    def beyond(self, run: Workload, more: int = 0) -> list[str]:
        """What of a workload is longer than the model is made for, in words; `more`: tokens that are to follow."""
        cached = run.context + more
        if self.spec.kind != "encoder-decoder":
            made = self.length
            last = (
                1 if run.seq == 1 and cached and made and made.what != "positions" else 0
            )  # what follows a full context
            return _beyond(run.seq + cached - last, made)
        source, target = (
            Length(tokens, "positions") if tokens else None
            for tokens in (self.max_positions, self.max_target_positions)
        )
        return _beyond(run.seq, source) + _beyond((run.target or 1) + cached, target, "target ")

    @cached_property
    def run(self) -> TrainingRun:
        """How the model was trained, as far as that is published: the preset's [training] table."""
        from transformer_calc.sources import runs

        table = self.described.get("training", {}) if {"model", "config"} & set(self.described) else {}
        return runs.parse(table, f"{self.spec.name}: ")

    @property
    def title(self) -> str:
        """The model's name for a heading, with where it is from if not from a preset, and what was changed."""
        name = self.spec.name
        title = name if self.source == f"preset {name}" else f"{name} ({self.source})"
        return f"{title} with {', '.join(self.changes)}" if self.changes else title

    @property
    def length(self) -> Length | None:
        """The longest sequence that the model is made for; of an encoder–decoder, its decoder's.

        Its positions, where it has a table of them; else what its config or its training says, which is no bound of
        the computation. None where nothing is stated, and where scores fall with the distance (ALiBi).
        """
        if self.spec.kind == "encoder-decoder":
            return Length(self.max_target_positions, "positions") if self.max_target_positions else None
        if self.max_positions:
            return Length(self.max_positions, "positions")
        images = isinstance(self.spec.stacks[0].embedding, Patches)
        return None if images or self._falls_with_distance else self.made_for

    @property
    def _falls_with_distance(self) -> bool:
        return any(getattr(kind.mixer, "alibi", False) for stack in self.spec.stacks for kind in stack.layers.kinds)

    @property
    def max_positions(self) -> int | None:
        """The longest sequence that the token embedding has positions for, if it has a table."""
        first = self.spec.stacks[0].embedding
        positions = None if isinstance(first, Patches) else first.positions
        return positions.count if positions else None

    @property
    def max_target_positions(self) -> int | None:
        """The longest sequence that the last stack has positions for, if it has a table: the decoder, where two are."""
        last = self.spec.stacks[-1].embedding
        table = last.positions if isinstance(last, Tokens) else None
        return table.count if table else None

    @cached_property
    def further(self) -> Further | None:
        """The layers that predict further tokens, if its config names some: how many, and their parameters."""
        if self.spec.mtp is None:
            return None
        from transformer_calc.readings.count.further import further

        return further(self.spec)

    def _of(self, run: Workload, beyond: Iterable[str] | None = None) -> dict[str, Any]:
        """What every answer on this workload says of the model; `beyond`: of it, where that is not one sequence."""
        notes = tuple(dict.fromkeys((*self.notes, *(self.beyond(run) if beyond is None else beyond))))
        about = {**self.describe(), "notes": list(notes)}
        return {"title": self.title, "model": about, "workload": run.to_dict(), "notes": notes}

    def params(
        self,
        *,
        by: str = "component",
        batch: int | None = None,
        seq: int | None = None,
        target_seq: int | None = None,
        context: int | None = None,
    ) -> Params:
        """Parameter counts: total, active, embedding, non_embedding, their formula, and where they are.

        by: component, layer or tensor; batch, seq, target_seq, context: as in `workload`, which change no count.

        >>> load("gpt3").params().total
        174604259328
        """
        from transformer_calc.readings.count.parameters import counted

        run = self.workload(batch, seq, target_seq, context)
        return counted(self.graph, self.graph.sizes(run), self._of(run), by=by)

    def formula(self) -> Size:
        """The total parameter count as an exact expression in the model's symbols.

        >>> print(load("gpt3").formula())
        12·L·D² + 13·L·D + V·D + P·D + 2·D
        """
        from transformer_calc.readings.count.formulas import total_params

        return total_params(self.graph, self.graph.sizes(Workload()))[1]

    def shapes(
        self,
        *,
        expand: bool = False,
        layer: int | str | None = None,
        batch: int | None = None,
        seq: int | None = None,
        target_seq: int | None = None,
        context: int | None = None,
    ) -> Shapes:
        """Every operation in order with its inputs, weights and output; a layer that repeats stands once.

        expand: each of them; layer: only that kind of layer, or the one with that number; batch, seq, target_seq,
        context: as in `workload`.

        >>> load("lesson").shapes(batch=5, seq=12)[4].output.shape
        [5, 12, 512]
        """
        from transformer_calc.readings.count.shapes import shapes

        run = self.workload(batch, seq, target_seq, context)
        return shapes(self.graph, self.graph.sizes(run), self._of(run), expand=expand, layer=layer)

    def flops(
        self,
        *,
        needed: bool = False,
        recompute: str = "none",
        latent: str = "naive",
        batch: int | None = None,
        seq: int | None = None,
        target_seq: int | None = None,
        context: int | None = None,
    ) -> Flops:
        """FLOPs of a batch: forward, backward, train and hardware, each with matmul, other and total.

        needed: of score matrices only what the mask lets through; recompute: none, selective or full; latent: the form
        of latent attention, naive or absorbed; batch, seq, target_seq, context: as in `workload`.

        >>> load("gpt3").flops(batch=1, seq=2048).forward.matmul
        734804261732352
        """
        from transformer_calc.readings.count.work import counted

        run = self.workload(batch, seq, target_seq, context)
        graph = self.absorbed if latent == "absorbed" else self.graph
        how: dict[str, Any] = {"needed": needed, "recompute": recompute, "latent": latent}
        return counted(graph, graph.sizes(run), self._of(run), tokens=run.batch * (run.target or run.seq), **how)

    def verify(
        self,
        *,
        size: str = "small",
        seed: int = 0,
        weights: str | Path | None = None,
        reference: str | Path | None = None,
        rtol: float = 1e-4,
        atol: float = 1e-5,
        batch: int | None = None,
        seq: int | None = None,
        target_seq: int | None = None,
        context: int | None = None,
        progress: Callable[[float], None] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Verification:
        """Run the model in NumPy and compare; with weights, hold a checkpoint's tensors against the graph instead.

        size: small runs a tiny model of the same structure, on a few tokens where no others are asked for, full the
        model itself; seed: of the weights and inputs; weights: a safetensors file, an index or a folder; reference: an
        .npz file of inputs and outputs, compared with rtol and atol; batch, seq, target_seq, context: of the run, as in
        `workload`; progress: is told the part that is done; say: what the run of a whole model takes, before it starts.

        >>> load("gpt2").verify().ok
        True
        """
        from transformer_calc.readings.run import shrink
        from transformer_calc.readings.run import verify as run

        asked = {"batch": batch, "seq": seq, "target_seq": target_seq, "context": context}
        given = {name: value for name, value in asked.items() if value is not None}
        run.check_options(given, size, rtol, atol, weights, reference)
        if weights:
            return self._with_weights(Path(weights), reference, rtol=rtol, atol=atol, progress=progress)
        on = self.workload(**given)
        ran, of = self, self._of(on)
        if size == "small":
            ran = Transformer(shrink.shrink(self.spec, given), self.source)
            on = ran.workload(**shrink.sizes(ran.spec, given))
            of = self._of(on, ())
        limits = self.spec if given else ran.spec
        how: dict[str, Any] = {"size": size, "seed": seed, "progress": progress, "say": say}
        return run.verification(ran.spec, ran.graph, on, of, limits=limits, **how)

    def walk(
        self,
        *,
        step: str | None = None,
        until: str | None = None,
        input: str | Path | None = None,
        seed: int = 0,
        weights: str = "integers",
        shrink: bool = False,
        batch: int | None = None,
        seq: int | None = None,
        target_seq: int | None = None,
        context: int | None = None,
    ) -> Walk:
        """Run a small model in NumPy, step by step: every matrix, and the line of algebra that makes it.

        step: only this operation, or those whose paths begin so; until: the last one; input: a file of x, token_ids, A
        and weights by their paths (.toml, .json, .npz), or of weights (.safetensors); seed: of the numbers that are not
        given, and weights, what these are like, integers or random; shrink: a tiny model of the same structure; batch,
        seq, target_seq: few tokens where none are asked for.

        >>> load("walk").walk(step="layers.0.attn.softmax").steps[0].algebra
        'A = softmax(scores), over the keys'
        """
        from transformer_calc.readings.run import shrink as small
        from transformer_calc.readings.run import walk
        from transformer_calc.readings.run.given import tokens_of
        from transformer_calc.sources import values

        if input is not None and not str(input).strip():
            raise InputError("`input` is empty, expected the path of a file")
        asked = {"batch": batch, "seq": seq, "target_seq": target_seq, "context": context}
        given = [name for name, size in asked.items() if size is not None]
        run = self.workload(**asked)
        ran = Transformer(small.shrink(self.spec), self.source) if shrink else self
        checkpoint = Path(input) if input is not None and str(input).lower().endswith(".safetensors") else None
        found = {} if shrink else values.flat(self.described.get("values", {}))
        if input is not None and not checkpoint:
            found |= values.read(Path(input))
        on = walk.workload(ran.spec, given, run, self.workload(), tokens_of(ran.spec, found))
        how: dict[str, Any] = {"step": step, "until": until, "seed": seed, "weights": weights, "shrunk": shrink}
        how |= {"own": input is None, "checkpoint": checkpoint}
        return walk.walked(ran.spec, ran.graph, on, self._of(on, self.beyond(run)), found, **how)

    def _with_weights(
        self, weights: Path, reference: str | Path | None, *, rtol: float, atol: float, progress: Any
    ) -> Verification:
        from transformer_calc.readings.run.reference import Reference, held_against
        from transformer_calc.readings.run.weights import Checkpoint
        from transformer_calc.sources import files, values

        checkpoint, made = Checkpoint(weights), None
        if reference:
            files.regular(path := Path(reference), "an .npz file")
            made = Reference(self.spec, values.Arrays(path))
        on = self.workload(**made.sizes() if made else {})
        of = self._of(on)
        return held_against(self.graph, on, of, checkpoint, made, rtol=rtol, atol=atol, progress=progress)

    def memory(
        self,
        *,
        batch: int | None = None,
        seq: int | None = None,
        target_seq: int | None = None,
        context: int | None = None,
        device: str | Device | None = None,
        devices: int | None = None,
        overhead: int = 0,
        formula: bool = False,
        plan: Serving | Training | None = None,
        **how: Unpack[How],
    ) -> Memory:
        """Bytes that serving, or with mode="train" training, needs on each device, and whether a device has them.

        batch, seq, target_seq, context: as in `workload`; device: its name; devices: of the whole machine, over which
        the ways that are not given are found; overhead: bytes of framework and allocator on each; formula: each part
        as a formula, too; how: the fields of `plan.How`: mode, tp, weights, zero, …; plan: all of them as one record,
        in their place

        >>> load("llama-3-70b").memory(device="h100-sxm", tp=4, context=8192).total
        35950048512
        """
        from transformer_calc.plan import Training
        from transformer_calc.readings.memory import assumed, held

        run = self.workload(batch, seq, target_seq, context)
        known = _device(device)
        plan = self._spread(_planned(plan, how), devices, how, known, run, overhead)
        if run.context and isinstance(plan, Training):
            raise InputError(f"`context` is {run.context:,}, but `mode` is train: it keeps no cache", "`seq=N`")
        found = self.held(run, plan, overhead)
        stored = assumed.stored_beside(plan, self.checkpoint, self.further)
        said = stored | assumed.of_memory(found, overhead, known) | self._too_long(run)
        about = self._of(run)
        if why := assumed.idle(plan):
            about = noted(about, f"selective recomputation {why}")
        answer = held.memory(found, about, workload=run, device=known, assumptions=said)
        if not formula:
            return answer
        from transformer_calc.readings.memory.written import formulas

        return answer.changed(formulas=formulas(found))

    def fit(
        self,
        *,
        device: str | Device,
        solve: str | None = None,
        batch: int | None = None,
        seq: int | None = None,
        target_seq: int | None = None,
        context: int | None = None,
        devices: int | None = None,
        overhead: int = 0,
        plan: Serving | Training | None = None,
        **how: Unpack[How],
    ) -> Fit:
        """The largest batch, the longest context or the fewest devices that memory allows.

        device: its name; solve: batch, context or devices, else whichever of batch and length is not given, and where
        both are, whether they fit; the others: as in `memory`.

        >>> load("llama-3-8b").fit(device="h100-sxm", context=8192).batch
        64
        """
        from transformer_calc.readings.memory import assumed
        from transformer_calc.readings.memory.fit import Fit, fit

        if devices is not None and solve == "devices":
            raise InputError(f"`devices` is {devices}, but `solve=devices` is to find how many; give one of them")
        sizes = {"batch": batch, "seq": seq, "target_seq": target_seq, "context": context}
        given = {name: size for name, size in sizes.items() if size is not None}
        known, plan, subject = _device(device), _planned(plan, how), self.subject(overhead)
        assert known
        run = subject.workload(**given)
        plan = self._spread(plan, devices, how, known, run, overhead, free_batch=batch is None)
        found = fit(subject, given, plan, known, solve, frozenset(how))
        about = self._of(run)
        idle = f"selective recomputation {why}" if (why := assumed.idle(plan)) else ""
        about = noted(about, idle) if idle else about
        if found["beyond"] and found["solved_for"] in ("batch", "context"):
            about = noted(about, f"of memory alone: the model {found['made_for'].said}")
        said = assumed.stored_beside(plan, self.checkpoint, self.further)
        return Fit(**about, **found, idle=idle, assumptions=said)

    def serve(
        self,
        *,
        device: str | Device,
        batch: int | None = None,
        seq: int | None = None,
        target_seq: int | None = None,
        context: int | None = None,
        devices: int | None = None,
        price: float | None = None,
        amortize: float | None = None,
        output: int | None = None,
        compute: str | None = None,
        ideal: bool = False,
        overhead: int = 0,
        whole: bool = True,
        plan: Serving | Training | None = None,
        **how: Unpack[How],
    ) -> Serve:
        """Time to the first token and of each after it, in seconds, and what a million tokens cost, in dollars.

        seq: tokens of the prompt; context: of the cache at which a token is timed, else the prompt's; price: dollars of
        a device for an hour; amortize: years over which a price to buy is spread; output: tokens of an answer, whose
        time is then given; compute: the precision of the matmuls; ideal: the roofline itself; whole: other batches and
        where bounds change, too; the others: as in `memory`.

        >>> load("llama-3-8b").serve(device="h100-sxm", seq=2048, batch=16).fits
        True
        """
        from transformer_calc.plan import Serving, Training
        from transformer_calc.readings.cost import serve
        from transformer_calc.readings.memory import assumed

        known, plan = _device(device), _planned(plan, how)
        assert known
        if isinstance(plan, Training):
            raise InputError("`mode` is train, but serving is inference; it must be infer")
        run = self.workload(batch, seq, target_seq, context)  # prompt and context are not one sequence here
        plan = self._spread(plan, devices, how, known, run, overhead)
        assert isinstance(plan, Serving)
        subject = serve.Subject(
            self.spec.name,
            self.graph,
            self.absorbed,
            lambda run: self.held(run, plan, overhead).fullest.bytes.total,
        )
        found = serve.serve(
            subject,
            run,
            plan,
            known,
            price=price,
            amortize=amortize,
            overhead=overhead,
            output=output,
            compute=compute,
            ideal=ideal,
            whole=whole,
        )
        longest = serve.decoding(run, run.batch, run.context) if run.context else run
        long = self._too_long(longest, output or 0)
        stored = assumed.stored_beside(plan, self.checkpoint, self.further)
        about = self._of(run, self.beyond(longest, output or 0))
        return serve.Serve(**about, **found | {"assumptions": stored | found["assumptions"] | long})

    def held(self, run: Workload, plan: Serving | Training, overhead: int = 0) -> Held:
        """What one device of each stage holds."""
        from transformer_calc.plan import Training
        from transformer_calc.readings.memory.held import held

        graph = self.absorbed if run.context else self.graph
        if isinstance(plan, Training) and plan.freeze:
            from transformer_calc.readings.count.frozen import freeze

            _, graph = freeze(self.spec, self.graph, plan.freeze, eager=plan.kernels == "eager")
        return held(graph, run, plan, overhead=overhead)

    def subject(self, overhead: int = 0) -> Any:
        """What is asked about where workloads and plans are tried."""
        from transformer_calc.readings.memory.fit import Subject

        return Subject(
            name=self.spec.name,
            graph=self.graph,
            workload=self.workload,
            held=lambda run, plan: self.held(run, plan, overhead),
            images=isinstance(self.spec.stacks[0].embedding, Patches),
            decodes=self.spec.kind == "encoder-decoder",
            length=self.length,
            source=Length(self.max_positions, "positions") if self.max_positions else None,
        )

    def _spread(
        self,
        plan: Serving | Training,
        devices: int | None,
        how: How,
        device: Device | None,
        run: Workload,
        overhead: int,
        *,
        free_batch: bool = False,
    ) -> Serving | Training:
        """The plan over a whole machine; free_batch: a multiple of the copies, whatever it is."""
        if devices is None:
            return plan
        from transformer_calc.readings.memory.spread import over

        def need(mesh: Mesh) -> int:
            tried = replace(run, batch=mesh.dp) if free_batch else run
            return self.held(tried, plan.changed(mesh=mesh), overhead).fullest.bytes.total

        room, node = (device.memory_bytes, device.node) if device else (None, None)
        given = frozenset(how)
        mesh = over(devices, plan, given, graph=self.graph, node=node, room=room, need=need)
        return plan.changed(mesh=mesh)

    def _too_long(self, run: Workload, more: int = 0) -> dict[str, Assumption]:
        """What of a workload is longer than the model is made for; `more`: tokens that are to follow."""
        from transformer_calc.answer import Assumption

        said = "; ".join(self.beyond(run, more))
        return {"length": Assumption(said, self.length and self.length.tokens, "tokens")} if said else {}

    def cost(
        self,
        *,
        batch: int | None = None,
        seq: int | None = None,
        target_seq: int | None = None,
        context: int | None = None,
        tokens: int | None = None,
        batch_tokens: int | None = None,
        serve_tokens: int | None = None,
        device: str | Device | None = None,
        devices: int | None = None,
        needed: bool = False,
        mfu: float | None = None,
        hfu: float | None = None,
        tflops: float | None = None,
        step_seconds: float | None = None,
        tokens_per_second: float | None = None,
        device_hours: float | None = None,
        days: float | None = None,
        price: float | None = None,
        amortize: float | None = None,
        power: float | None = None,
        pue: float | None = None,
        carbon: str | float | None = None,
        lr: float | None = None,
        lr_schedule: str | None = None,
        min_lr: float | None = None,
        warmup: tuple[int, str] | None = None,
        decay: tuple[int, str] | None = None,
        predict: bool = True,
        plan: Training | Serving | None = None,
        **how: Unpack[How],
    ) -> Reckoning:
        """What training costs: time, money, energy and carbon, with everything that they rest on.

        batch, seq, target_seq, batch_tokens: of a step, in place of the published run's; tokens: of the run;
        serve_tokens: that are served afterwards; device: its name; devices: of the whole machine; needed: count of
        score matrices what the mask lets through; mfu, hfu, tflops, step_seconds, tokens_per_second, device_hours,
        days: one of them, the others follow; price: dollars of a device for an hour; amortize: years over which a price
        to buy is spread; power: watts of a device; pue: of the data centre; carbon: a place, or g CO2e for a kWh; lr,
        lr_schedule, min_lr, warmup, decay: of the learning rate, the last two an amount and tokens or steps; predict:
        time a step where no time is given; how, plan: how it is trained, or with mode="infer" served, as in `memory`,
        of which what is not given is chosen for the devices.

        >>> f"{load('gpt3').cost(mfu=0.3, device='a100', devices=1024).cost.days:.1f}"
        '39.0'
        """
        from transformer_calc.facts import Grid, TrainingRun
        from transformer_calc.plan import Serving, Training, made
        from transformer_calc.readings.cost import reckoning
        from transformer_calc.readings.cost.budget import chosen
        from transformer_calc.readings.cost.schedules import Span
        from transformer_calc.readings.memory import assumed
        from transformer_calc.readings.memory.fit import least_bytes
        from transformer_calc.sources import grid, hardware

        given = frozenset(how) if plan is None else chosen(plan)
        if plan is None:
            plan = made({"mode": "train"} | how, open_precision=True)
        elif how:
            plan = _planned(plan, how)
        paces = {"mfu": mfu, "hfu": hfu, "tflops": tflops, "step_seconds": step_seconds}
        paces |= {"tokens_per_second": tokens_per_second, "device_hours": device_hours, "days": days}
        pace = [(kind, float(value)) for kind, value in paces.items() if value is not None]
        if len(pace) > 1:
            fields = " and ".join(f"`{kind}`" for kind, _ in pace)
            raise InputError(f"{fields} are given, which all say how fast it runs; give one of them")
        if batch is not None and batch_tokens is not None:
            raise InputError("`batch` and `batch_tokens` are given; give one of them")
        if serve_tokens and isinstance(plan, Serving):
            message = f"`serve_tokens` is {serve_tokens:,}, but `mode` is infer: there it is `tokens`"
            raise InputError(message, "`tokens=N`")
        run = self.run if isinstance(plan, Training) else TrainingRun()
        if context and isinstance(plan, Training):
            raise InputError(f"`context` is {context:,}, but training has no cache", "`mode=infer`")
        length = seq or run.seq or (None if context else self.max_positions)
        targets = target_seq or run.target_seq
        workload = self.workload(batch, length, targets, context)
        if batch is None and (wanted := batch_tokens or run.batch_tokens):
            workload = self.workload(max(round(wanted / workload.seq), 1), length, targets, context)
        known = run.hardware if hardware.exists(run.hardware) else None
        place = grid.load(carbon) if isinstance(carbon, str) else None
        if isinstance(carbon, int | float):
            place = Grid(name="given", title="`carbon`", g_per_kwh=carbon)
        found = reckoning.reckon(
            self.graph,
            workload,
            run,
            reckoning.Asked(
                tokens=tokens,
                batch=batch,
                batch_tokens=batch_tokens,
                seq=seq,
                device=_device(device),
                devices=devices,
                carbon=place,
                pace=pace[0] if pace else None,
                needed=needed,
                serve_tokens=serve_tokens,
                price=price,
                amortize=amortize,
                power=power,
                pue=pue,
                learning_rate=lr,
                schedule=lr_schedule,
                min_learning_rate=min_lr,
                warmup=Span(*warmup) if warmup else None,
                decay=Span(*decay) if decay else None,
            ),
            plan,
            given=given,
            grid=grid.load(grid.WORLD),
            published_device=hardware.load(known) if known else None,
            name=self.spec.name,
            predict=predict,
            changed=bool(self.changes),
            need=lambda run, plan: self.held(run, plan).fullest.bytes,
            least=lambda plan: least_bytes(self.subject(), plan),
        )
        about = self._of(workload)
        for note in found.pop("notes"):
            about = noted(about, note)
        said = assumed.stored_beside(found["plan"], self.checkpoint, self.further)
        said |= found.pop("assumptions") | self._too_long(workload)
        return reckoning.Reckoning(**about, **found, assumptions=said)

    compare = compare  # with others

    def _compared(
        self, run: Workload | None, notes: Iterable[str], asked: Mapping[str, int], terms: Mapping[str, Any]
    ) -> Portrait:
        """What is known of it beside others; asked: sizes that were given; terms: of the device and of training."""
        from transformer_calc.facts import TrainingRun
        from transformer_calc.readings.cost.compare import Portrait, passes
        from transformer_calc.readings.count.cache import cached
        from transformer_calc.readings.count.params import params

        known: TrainingRun = self.run
        sizes: dict[str, Any] = run.to_dict() if run else {}
        whole = run if run and not run.context else None  # sequences; a run keeps what it is known to have had
        of_run: dict[str, Any] = {
            "batch": None if known.batch_tokens else asked.get("batch"),
            "seq": whole.seq if whole and "seq" in asked and not known.seq else None,
            "target_seq": whole.target if whole and "target_seq" in asked and not known.target_seq else None,
        }
        said = [*self.notes, *notes, *(self.beyond(run) if run else ())]
        served = fewest = None
        device = terms["device"]
        try:
            trained = self.cost(**of_run, **terms, predict=device is not None)
        except InputError as error:
            raise InputError(f"{self.spec.name}: {error.message}", error.hint) from None
        if device and run:
            on = {name: terms[name] for name in ("device", "devices", "price")}
            try:
                served = self.serve(**sizes, **on, whole=False)
            except InputError as error:
                said.append(f"serving is left out: {error.message}")
            if device.memory_bytes is not None:
                fewest = self.fit(**sizes, device=device, solve="devices").devices
        serving = self.memory(**sizes)
        return Portrait(
            spec=self.spec,
            about={**self.describe(), "notes": list(dict.fromkeys(said))},
            workload=run,
            graph=self.graph,
            params=params(self.graph, self.graph.sizes(Workload())),
            passes=passes(self.graph, run) if run else None,
            serving=serving,
            cache=serving.kv_cache if run and cached(self.graph) else None,
            training=self.memory(**{**sizes, "context": 0}, mode="train"),
            run=trained,
            published=TrainingRun() if self.changes else known,
            served=served,
            fewest=fewest,
        )

    def describe(self) -> dict[str, Any]:
        """For reports: what the model is."""
        return {
            "name": self.spec.name,
            "family": self.spec.family,
            "kind": self.spec.kind,
            "source": self.source,
            "changes": self.changes,
            "length": self.length and self.length._asdict(),
            "mtp": self.further and self.further._asdict(),
            "checkpoint": self.checkpoint and self.checkpoint.to_dict(),
            "notes": list(self.notes),
        }


def noted(about: dict[str, Any], note: str) -> dict[str, Any]:
    """What an answer says of the model, with one note more."""
    notes = tuple(dict.fromkeys((*about["notes"], note)))
    return {**about, "notes": notes, "model": {**about["model"], "notes": list(notes)}}


def _planned(plan: Serving | Training | None, how: How) -> Serving | Training:
    """The plan that is given, or that its fields make."""
    from transformer_calc.plan import made

    if plan is not None and how:
        raise InputError(f"`plan` and {', '.join(f'`{name}`' for name in how)} are given; give one of them")
    return made(how) if plan is None else plan


def _device(device: str | Device | None) -> Device | None:
    """A device by its name."""
    if device is None or not isinstance(device, str):
        return device
    from transformer_calc.sources import hardware

    return hardware.load(device)


def _beyond(tokens: int, length: Length | None, of: str = "") -> list[str]:
    """That so many tokens are too many, if they are."""
    if length is None or tokens <= length.tokens:
        return []
    more = f"{tokens:,} {of}tokens are more than the"
    if length.what == "positions":
        return [f"{more} model's {length.tokens:,} positions"]
    made = "was trained on" if length.what == "trained on" else f"is made for ({length.what})"
    return [f"{more} {length.tokens:,} that the model {made}"]


def load(
    model: str | Path | None = None,
    *,
    preset: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
    sets: Iterable[str] = (),
    ignore: Iterable[str] = (),
    default: str = DEFAULT_PRESET,
    mtp: bool = False,
) -> Transformer:
    """Load a model.

    model:  a preset's name, or a path to a config.json or to a folder that holds one
    preset, config:  the same explicitly; `config` may also be the parsed object
    fields:  hyperparameters that override the source's; with no source those with layers, d_model or heads describe a
        model from nothing, and others change the default preset
    sets:  `path=value` settings of any field of the spec
    ignore:  keys of the config to pass over although they are not understood
    default:  the preset where nothing says which model is meant
    mtp:  count the layers that predict further tokens, too
    Raises InputError, with one clear sentence, if the description is wrong.
    """
    from transformer_calc.sources import further, lengths, published

    given = [
        name for name, value in (("MODEL", model), ("--preset", preset), ("--config", config)) if value is not None
    ]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} both name a model; give one")
    fields = dict(fields or {})
    if model is not None:
        text = str(model)
        if not text:
            raise InputError("the model's name is empty", hint="see tcalc presets")
        preset, config = (None, model) if _is_path(model) else (text, None)
        if config and not text.endswith((".json", ".toml")) and not os.path.lexists(text):
            from transformer_calc.sources import presets

            last = text.rstrip("/").rpartition("/")[2]  # of meta-llama/Llama-3.1-8B
            raise InputError(f"there is no file or folder {shown(text, 100)}", hint=presets.suggestion(last))
    first: list[str] = []
    if model is not None and preset is not None and os.path.lexists(preset):
        first = [f"{preset} is the preset of that name; the file or folder here is ./{preset}"]
    assumed = preset is None and config is None and not _is_new(fields, default)
    if assumed:
        preset = default
        changed = f" with {', '.join(f'{k}={v}' for k, v in fields.items())}" if fields else ""
        first = [f"no model given: this is the preset {default}{changed}"]

    def described_with(fields: Mapping[str, Any]) -> Transformer:
        """The model that its source describes, with other hyperparameters."""
        source, where, notes = "hyperparameters", "", list[str]()
        usual: Mapping[str, int] = {}
        described: Mapping[str, Any] = {}
        if isinstance(config, str | Path) and str(config).endswith(".toml"):
            from transformer_calc.sources import presets

            path = Path(config)
            spec, notes, usual, described = presets.load(path, fields=fields, ignore=tuple(ignore))
            source = str(path)
        elif config is not None:
            from transformer_calc.sources import huggingface

            if isinstance(config, Mapping):
                described, source = dict(config), "config"
            else:
                path = Path(config)
                described, where, source = huggingface.read(path), f"{path}: ", str(path)
            spec, notes = huggingface.load(described, fields=fields, ignore=ignore, where=where)
        elif preset is None:
            from transformer_calc.sources import hyperparameters

            spec, notes = hyperparameters.load(fields, name="custom")
        else:
            from transformer_calc.sources import presets

            path = presets.find(preset)
            try:
                spec, notes, usual, described = presets.load(path, fields=fields, ignore=tuple(ignore))
            except InputError as error:
                if assumed and fields:  # nobody named that model
                    error.message = f"no model given, so it is the preset {default}: {error.message}"
                raise
            notes, source = first + notes, f"preset {path.stem}"
        changes = [] if source == "hyperparameters" else [f"{k}={v}" for k, v in fields.items()]
        length = lengths.stated(described, fields)
        config_of = described if "model_type" in described else described.get("config")
        stored = published.read(config_of, where) if config_of else None
        made = Transformer(spec, source, notes, usual, changes, described, length, stored)
        if mtp:
            made.change(further.counted(spec))
            made.changes.append(COUNTED)
        return made

    sets = tuple(sets)
    made = _with_settings(described_with, fields, sets) if sets else described_with(fields)
    made.notes += made.further.left_out if made.further else []
    return made


def _with_settings(
    described_with: Callable[[Mapping[str, Any]], Transformer], fields: Mapping[str, Any], sets: tuple[str, ...]
) -> Transformer:
    """A model with settings: hyperparameters where its source takes them as such, else fields of the spec."""
    from transformer_calc.sources import settings

    given = settings.read(sets)
    words = {setting.path: setting.hyperparameter() for setting in given if setting.taken()}
    for name in words:
        if name in fields:
            raise InputError(f"--{name.replace('_', '-')} and --set {name} are given; give one of them")
    while True:
        try:
            model = described_with({**fields, **words})
            break
        except NotSettable as error:
            if error.field not in words:
                raise
            if error.field in settings.OF_SEVERAL:
                raise InputError(
                    f"--set {error.field}: several parts of this model have one; name the part",
                    hint=f"for example --set ffn.{error.field}={words[error.field]}",
                ) from None
            del words[error.field]
    paths = [setting for setting in given if setting.path not in words]
    if paths:
        apply_settings(model, paths)
    unset = [] if model.source == "hyperparameters" else [f"{name}={value}" for name, value in fields.items()]
    model.changes = [*unset, *sets, *(change for change in model.changes if change == COUNTED)]
    return model


def apply_settings(model: Transformer, paths: Sequence[Setting]) -> None:
    """Set fields of a model's spec; what nothing depends on is refused, since it says what is not so."""
    from transformer_calc.sources import settings

    before = model.spec
    try:
        spec, said = settings.settled(before, settings.apply(before, paths), paths)
        model.change(spec)
        model.notes += said
    except InputError as error:
        if error.message.startswith("--set "):
            raise
        raise InputError(f"{shown(' '.join(map(str, paths)), 200)[1:-1]}: {error.message}", error.hint) from None
    for setting in paths:
        others = [other for other in paths if other is not setting]
        try:
            without, _ = settings.settled(before, settings.apply(before, others), others)
            idle = without != model.spec and _alike(without, model)
        except InputError:  # the others alone are not consistent
            continue
        if idle:
            raise InputError(f"{setting} changes nothing: nothing that is counted or run in this model depends on it")


def _alike(spec: Model, model: Transformer) -> bool:
    """Whether two models compute the same, with the same lengths."""
    from transformer_calc.graph.core import same

    other = Transformer(spec, model.source)
    lengths = [(one.max_positions, one.max_target_positions, one.spec.start_token) for one in (other, model)]
    return lengths[0] == lengths[1] and same(other.graph, model.graph)


def _is_new(fields: Mapping[str, Any], default: str) -> bool:
    """Whether hyperparameters describe a model of their own, and do not change the default one.

    They do where one of those is given that no model can do without; so that the teaching model of `walk` can be varied
    in those too, there all of them must be.
    """
    given = [name in fields for name in ("layers", "d_model", "heads")]
    return any(given) if default == DEFAULT_PRESET else all(given)


def _is_path(model: str | Path) -> bool:
    """Whether a model is named by a path: a bare word that is a preset's name means the preset, whatever lies about."""
    from transformer_calc.sources import presets

    text = str(model)
    if isinstance(model, Path) or "/" in text or os.sep in text or text.endswith((".json", ".toml")):
        return True
    return os.path.lexists(text) and not presets.exists(text)

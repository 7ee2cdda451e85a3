"""How fast a model answers on its devices, and what a million tokens cost: the answer of serving it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from transformer_calc import units
from transformer_calc.answer import Assumption, Assumptions, OfModel
from transformer_calc.errors import InputError, check_choice
from transformer_calc.facts import Device
from transformer_calc.graph.core import Graph
from transformer_calc.plan import Serving
from transformer_calc.readings.cost.prices import Paid, paid
from transformer_calc.readings.count.cache import cached
from transformer_calc.readings.memory.fit import largest
from transformer_calc.readings.memory.serving import check
from transformer_calc.readings.shard import check as check_mesh
from transformer_calc.readings.time import communication, roofline
from transformer_calc.readings.time.latency import WAITS, Pass, Server
from transformer_calc.spec import Workload
from transformer_calc.storage import COMPUTE, storage
from transformer_calc.tuples import NamedTuple

MOST_BATCH = 4096  # of the batches that are looked at


class Step(NamedTuple):
    """A step of decoding a batch: a token of each sequence."""

    batch: int
    tpot_seconds: float
    tokens_per_second: float
    per_device: float  # of these
    usd_per_million_tokens: float | None
    bound: str  # what it waits for
    parts: Pass  # seconds


class Row(NamedTuple):
    """A step of another batch, with what it takes."""

    step: Step
    memory: int  # bytes of the fullest device


class Serve(OfModel):
    """How fast a model answers, and what that costs.

    batch: sequences; prompt, context: tokens of each, in the prompt and in the cache; devices: of the mesh;
    start: seconds of the pass over the prompts, by what they go to; step: a step of decoding, None of a model that
    generates nothing; fits: whether memory holds the batch, None where that is unknown; largest_batch: that it holds;
    needs, room: bytes of the fullest device, and of the device; price: of a device for an hour, and who says so;
    output_tokens, request_seconds: of a whole answer, where its length is given; ideal_ttft_seconds,
    ideal_tpot_seconds: of the roofline itself; critical_batch, critical_batch_experts: sequences at which matmuls, and
    those of experts, turn compute-bound; turning_batch: at which the whole step does; batches: steps of other batches
    """

    plan: Serving
    device: Device
    batch: int
    prompt: int
    context: int
    devices: int
    generates: bool
    start: Pass
    prefill_bound: str
    step: Step | None
    fits: bool | None
    largest_batch: int | None
    needs: int
    room: int | None
    price: Paid | None
    output_tokens: int | None
    request_seconds: float | None
    ideal_ttft_seconds: float | None
    ideal_tpot_seconds: float | None
    critical_batch: float | None
    critical_batch_experts: float | None
    turning_batch: float | None
    batches: tuple[Row, ...]
    assumptions: Assumptions

    FIRST: ClassVar[Mapping[str, str]] = {
        "title": "text",
        "fits": "text",
        "ttft_seconds": "seconds",
        "tpot_seconds": "seconds",
        "tokens_per_second": "number",
        "usd_per_million_tokens": "usd",
        "bound": "text",
        "largest_batch": "count",
    }

    @property
    def ttft_seconds(self) -> float | None:
        """Seconds to the first token; None where memory does not hold the batch."""
        return None if self.fits is False else self.start.seconds

    @property
    def tpot_seconds(self) -> float | None:
        """Seconds of each token after it; None where memory does not hold the batch."""
        return None if self.fits is False or self.step is None else self.step.tpot_seconds

    @property
    def tokens_per_second(self) -> float | None:
        """Of all devices; None where memory does not hold the batch."""
        return None if self.fits is False or self.step is None else self.step.tokens_per_second

    @property
    def usd_per_million_tokens(self) -> float | None:
        """Dollars; None where memory does not hold the batch, or no price is known."""
        return None if self.fits is False or self.step is None else self.step.usd_per_million_tokens

    @property
    def prefill_tokens_per_second(self) -> float | None:
        """Tokens of prompts, of all devices; None where memory does not hold the batch."""
        return None if self.fits is False else self.batch * self.prompt / self.start.seconds

    @property
    def bound(self) -> str:
        """What a token waits for."""
        if self.fits is False:
            return "memory capacity"
        return self.step.bound if self.step else self.prefill_bound


class Subject(NamedTuple):
    """The model that is asked about."""

    name: str
    graph: Graph
    absorbed: Graph  # with latent attention as it decodes
    needs: Callable[[Workload], int]  # bytes of the fullest device


def serve(
    subject: Subject,
    workload: Workload,
    plan: Serving,
    device: Device,
    *,
    price: float | None = None,
    amortize: float | None = None,
    overhead: int = 0,
    output: int | None = None,
    compute: str | None = None,
    ideal: bool = False,
    whole: bool = True,
) -> dict[str, Any]:
    """Time to first token, time per output token, and what follows from them: the fields of the answer.

    The prompt is the sequence, the cache the context, or else the prompt.
    price:  dollars of a device for an hour; None: the device's own, if that is known
    amortize:  years over which a price to buy is spread; None: as usual
    overhead:  bytes on each device that are counted beside
    output:  tokens that each sequence answers with; None: one step is looked at
    compute:  the precision of the matmuls, if not the plan's own
    ideal:  the roofline itself: peaks without any loss
    whole:  other batches, the roofline and where bounds change, too
    """
    if compute is not None:
        check_choice("compute", compute, COMPUTE)
    generates = bool(cached(subject.graph))
    if output is not None and not generates:
        raise InputError(f"`output` is {output:,}, but {subject.name} generates nothing: it sees all tokens at once")
    prompt = workload.seq if workload.seq > 1 or not workload.context else workload.context
    context = workload.context or workload.target or prompt
    sizes = subject.graph.sizes(workload)
    check_mesh(plan.mesh, subject.graph, sizes)
    check(plan, sizes)
    first = Server(subject.graph, plan, device, compute=compute, ideal=ideal)
    then = Server(subject.absorbed, plan, device, compute=compute, ideal=ideal) if generates else None
    batch, devices = workload.batch, plan.mesh.devices
    start = _prompt(first, batch, prompt, workload)
    bill = paid(device, price, amortize)
    usd = bill.usd_per_hour if bill else None
    step = _step(then, batch, context, usd, devices, workload) if then else None
    passes = replace(workload, seq=workload.seq if workload.target else prompt, context=0)
    if workload.target and generates:  # the prompt's pass makes the first token
        passes = replace(passes, target=1)
    told = decoding(workload, batch, context) if generates else passes
    room, said = device.memory_bytes, _assumptions(plan, device, first, bill, overhead, ideal=ideal)
    dp = plan.mesh.dp
    most = None if room is None else _largest(subject, told, dp, room)
    if room is not None and most is not None and generates and batch <= most and subject.needs(passes) > room:
        at_once = _largest(subject, passes, dp, room)
        text = f"{batch:,} do not fit in memory in one pass, {at_once:,} do; timed as one"
        said["prompts"] = Assumption(text, at_once, "sequences")
    fits = None if most is None else batch <= most
    found: dict[str, Any] = {
        "plan": plan,
        "device": device,
        "batch": batch,
        "prompt": prompt,
        "context": context if generates else 0,
        "devices": devices,
        "generates": generates,
        "start": start,
        "prefill_bound": WAITS[start.bound],
        "step": step,
        "fits": fits,
        "largest_batch": most,
        "needs": subject.needs(told),
        "room": room,
        "price": bill,
        "output_tokens": None,
        "request_seconds": None,
        "ideal_ttft_seconds": None,
        "ideal_tpot_seconds": None,
        "critical_batch": None,
        "critical_batch_experts": None,
        "turning_batch": None,
        "batches": (),
        "assumptions": said,
    }
    if not whole or not then or not step:
        return found
    found["batches"] = tuple(
        Row(one, subject.needs(decoding(workload, n, context)))
        for n in _batches(batch, most, dp)
        for one in (_step(then, n, context, usd, devices, workload),)
    )
    if fits is False:
        return found
    if not ideal:
        floor = Server(subject.absorbed, plan, device, compute=compute, ideal=True)
        of_prompt = Server(subject.graph, plan, device, compute=compute, ideal=True)
        found["ideal_ttft_seconds"] = _prompt(of_prompt, batch, prompt, workload).seconds
        found["ideal_tpot_seconds"] = floor.run(batch, tokens=1, cached=context, source=workload.seq).seconds
    if output is not None:
        before = workload.context if workload.target else context
        middle = then.run(batch, tokens=1, cached=max(before + output // 2, 1), source=workload.seq).seconds
        found |= {"output_tokens": output, "request_seconds": start.seconds + output * middle}
    found |= {"critical_batch": then.critical(), "critical_batch_experts": then.critical_experts()}
    return found | {"turning_batch": then.turning(context)}


def _prompt(server: Server, batch: int, prompt: int, workload: Workload) -> Pass:
    """The pass that makes the first token; of an encoder–decoder, the whole source and one token of the answer."""
    return server.run(batch, tokens=1 if workload.target else prompt, cached=0, source=workload.seq)


def _step(server: Server, batch: int, context: int, usd: float | None, devices: int, workload: Workload) -> Step:
    """A decoding step of a batch."""
    one = server.run(batch, tokens=1, cached=context, source=workload.seq)
    rate = batch / one.seconds
    money = None if usd is None else usd * devices / 3600 / rate * 10**6
    return Step(batch, one.seconds, rate, rate / devices, money, WAITS[one.bound], one)


def decoding(workload: Workload, batch: int, context: int) -> Workload:
    """A step of decoding with so much in the cache."""
    encoded = workload.target is not None
    return Workload(batch=batch, seq=workload.seq if encoded else 1, target=1 if encoded else None, context=context)


def _largest(subject: Subject, run: Workload, dp: int, room: int) -> int:
    """The largest batch that memory holds in such a pass."""
    return dp * largest(lambda n: subject.needs(replace(run, batch=n * dp)) <= room)


def _batches(batch: int, most: int | None, dp: int) -> list[int]:
    """Powers of two up to what memory holds, with the batch that is asked for, if it does."""
    end = MOST_BATCH if most is None else min(most, MOST_BATCH)
    powers = {dp * 2**i for i in range(13) if dp * 2**i <= end}
    asked = {batch} if most is None or batch <= most else set()
    return sorted(powers | asked | ({end} if most and most <= MOST_BATCH else set()))


def _assumptions(
    plan: Serving, device: Device, server: Server, bill: Paid | None, overhead: int, *, ideal: bool
) -> dict[str, Assumption]:
    weights, cache = storage(plan.weights).name, storage(plan.kv_dtype).name
    said = {"weights": Assumption(f"{weights}, cache {cache}; multiplied in {server.compute}", weights)}
    if plan.mesh.tp > 1:
        held = "split its batch (`kv_split=batch`)" if plan.kv_split == "batch" else "hold copies (`kv_split=heads`)"
        said["cache"] = Assumption(f"ranks beyond the key/value heads {held}", plan.kv_split)
    if ideal:
        said["rates"] = Assumption("the peaks themselves (`ideal`): no losses, no latency", 1.0)
    else:
        said |= {name: Assumption(text) for name, text in roofline.said(device).items()}
        if plan.mesh.devices > 1:
            said |= {name: Assumption(text) for name, text in communication.said(device).items()}
    positions = "the last position" if plan.logits == "last" else "all positions"
    said["attention"] = Assumption(f"{plan.attention}; logits of {positions}", plan.attention)
    text = f"{overhead:,} bytes of framework and allocator on each device (`overhead`)"
    said["overhead"] = Assumption(text, overhead, "bytes", "as given")
    if device.memory_bytes:
        said["device memory"] = Assumption(device.memory_said, device.memory_bytes, "bytes", device.memory_basis)
    said["steps"] = Assumption("every sequence of the batch decodes; prompts of others do not interrupt")
    if bill is None:
        return said | {"price": Assumption(f"unknown: the file of {device.name} has none (`price`)", None, "USD/h")}
    text = f"{units.format_usd(bill.usd_per_hour)} an hour of a device ({bill.said})"
    return said | {"price": Assumption(text, bill.usd_per_hour, "USD/h", bill.said)}

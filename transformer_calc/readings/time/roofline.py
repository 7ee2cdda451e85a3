"""How long each operation takes on one device: its FLOPs against the peak rate, its bytes against the bandwidth.

The roofline (Williams et al. 2009, doi 10.1145/1498765.1498785): a kernel takes the longer of the two. Matmuls reach
the part of the peak that large ones have been measured to reach, less what whole tiles and whole waves of tiles lose
(NVIDIA, "Matrix Multiplication Background User's Guide": tiles of 256 × 128 down to 64 × 64, one on a multiprocessor at
a time). What frameworks fuse is one kernel: elementwise operations that hand a tensor only to each other, mask and
softmax, linear layers of one input, and with flash attention everything between Q, K, V and its output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import chain
from typing import Any

from transformer_calc.errors import InputError
from transformer_calc.facts import Device
from transformer_calc.graph.core import KEPT, Block, Dim, Dims, Op, Sizes, Tensor, axes_of
from transformer_calc.ops import rules
from transformer_calc.ops.core import FMA
from transformer_calc.ops.kind import (
    CONTRACTIONS,
    CONVOLUTION,
    DROPS,
    END,
    FREE,
    GROWN,
    MAP,
    MATMUL,
    MATRIX,
    PRODUCT,
    SPREAD,
    VIEW,
    dims_of,
)
from transformer_calc.plan import Mesh
from transformer_calc.readings.count.flops import visible_pairs
from transformer_calc.readings.count.gradients import Flow, flow, learns
from transformer_calc.readings.shard import copies, splits
from transformer_calc.tuples import NamedTuple

# rows × columns of a tile, and its rate against the largest: a smaller tile reads its operands more often
TILES = (
    (256, 128, 1.0),
    (128, 256, 1.0),
    (128, 128, 0.95),
    (256, 64, 0.86),
    (64, 256, 0.86),
    (128, 64, 0.82),
    (64, 64, 0.68),
)
SPLITS = (1, 2, 4)  # of the inner dimension, where there are too few tiles for the device
FILL = 256  # of the inner dimension, in 16 bits: what a tile takes to load its first operands and to write its result
SKINNY = 64  # rows up to which a matmul has kernels of its own, in steps of 16 rows
SYSTOLIC = 128  # rows and columns of a TPU's matrix unit
FLASH_FORWARD, FLASH_BACKWARD = 1.1, 0.96  # of what both together reach (arXiv 2307.08691, section 4.1: 73 % and 63 %)
FLASH_FILL = 512  # of the keys: what a row of queries takes to start and to end (the same, figures 4 to 6)
FLASH_AGAIN = 2.5  # backward over forward: five matmuls over two (the same, section 3.1)
SUSTAINED = 0.92  # of what single matmuls reach, over hours: clocks fall where power and heat are at their limits
GAP = {"GPU": 5e-6, "TPU": 1e-6}  # seconds from the end of a kernel to the work of the next one
USUAL_GAP = 5e-6
# of a device whose file has no measurement
REACHED = {"matmul": 0.80, "attention": 0.45, "memory": 0.85, "interconnect": 0.75, "network": 0.85}


class Gemm(NamedTuple):
    """So many matmuls of [m, k] by [k, n]; `weight` is the size of a right-hand entry in bytes, where it is its own."""

    batch: float
    m: float
    n: float
    k: float
    weight: float | None = None

    @property
    def flops(self) -> float:
        """A multiply-add is 2."""
        return FMA * self.batch * self.m * self.n * self.k


class Kernel(NamedTuple):
    """What runs at once on one device: matmuls, or a pass over tensors, forward and backward."""

    path: str
    kind: str  # matmul, attention, memory
    forward: tuple[Gemm, ...] = ()
    backward: tuple[Gemm, ...] = ()
    read: float = 0  # bytes that the forward pass moves, beside those of its matmuls
    reread: float = 0  # the backward pass
    core: bool = False  # works on a score matrix: what selective recomputation runs again
    times: float = 1  # kernels that it stands for


class Spent(NamedTuple):
    """Seconds of a kernel forward, by what it waits for."""

    compute: float = 0.0
    memory: float = 0.0
    launch: float = 0.0


class Rates(NamedTuple):
    """What one device reaches, per second."""

    matmul: float  # FLOPs of matmuls with weights
    scores: float  # FLOPs of matmuls of activations
    flash: float  # FLOPs of flash attention, forward and backward together, of long sequences
    memory: float  # bytes
    units: int | None
    kind: str
    gap: float  # seconds between kernels
    fill: float = FILL


def rates(device: Device, compute: str = "bf16", *, ideal: bool = False) -> Rates:
    """The rates of a device in a precision; `ideal`: its peaks, without any loss."""
    peak, memory = device.peak(compute), device.bandwidth
    if peak is None or memory is None:
        raise unknown(device, f"its {compute} rate" if peak is None else "its memory bandwidth")
    scores = device.peak("bf16") or device.peak("fp16") if compute in ("fp8", "fp4", "int8", "int4") else peak
    if ideal:
        return Rates(peak, scores or peak, scores or peak, memory, None, "ideal", 0.0)
    part = sustained(device)
    units = device.units if device.kind == "GPU" else None
    return Rates(
        part * peak,
        part * (scores or peak),
        reached(device, "attention") * (scores or peak),
        reached(device, "memory") * memory,
        units,
        device.kind,
        gap(device),
        FILL * peak / (scores or peak),
    )


def reached(device: Device, what: str) -> float:
    """The part of a peak that is reached: as measured, else the usual part."""
    return device.reached(what) or REACHED[what]


def unknown(device: Device, what: str) -> InputError:
    """What a device's file does not say."""
    return InputError(f"{what} is unknown: {device.name}", hint="a TOML file of your own may say it")


def sustained(device: Device) -> float:
    """The part of the peak that matmuls reach over hours."""
    return reached(device, "matmul") * (SUSTAINED if device.kind == "GPU" else 1.0)


def gap(device: Device) -> float:
    """Seconds from the end of a kernel to the work of the next one."""
    return GAP.get(device.kind, USUAL_GAP)


def said(device: Device) -> dict[str, str]:
    """What times on a device rest on, in words."""
    parts = {what: reached(device, what) for what in REACHED} | {"matmul": sustained(device)}
    source = f"tcalc hardware show {device.name}" if device.efficiency else "usual parts: none was measured"
    single = reached(device, "matmul")
    heat = f"; single matmuls have been measured to reach {single:.0%}" if parts["matmul"] < single else ""
    start = f"{gap(device) * 1e6:g} µs each to start"
    return {
        "of the peaks": f"{', '.join(f'{what} {part:.0%}' for what, part in parts.items())} ({source}){heat}",
        "matmuls": "less what whole tiles, whole waves of them and their first and last steps lose",
        "kernels": f"{start}; elementwise operations in a row are one, mask and softmax too",
    }


def seconds(g: Gemm, rate: float, r: Rates, size: float) -> tuple[float, float]:
    """(computing, moving) one matmul, of entries of `size` bytes; it takes the longer of the two."""
    weight = size if g.weight is None else g.weight
    moving = g.batch * (size * (g.m * g.k + g.m * g.n) + weight * g.k * g.n) / r.memory
    if r.kind == "TPU":
        n, k = (-(-x // SYSTOLIC) * SYSTOLIC for x in (g.n, g.k))
        return FMA * g.batch * g.m * n * k / rate, moving
    if r.units is None:
        return g.flops / rate, moving
    if g.m <= SKINNY:  # split along the inner dimension over all multiprocessors
        rows = -(-g.m // 16) * 16
        return FMA * g.batch * rows * g.n * g.k / rate, moving
    best = math.inf, math.inf
    for rows, columns, part in TILES:
        tiles = g.batch * -(-g.m // rows) * -(-g.n // columns)
        for split in SPLITS:
            waves = math.ceil(tiles * split / r.units)
            work = waves * FMA * rows * columns * (g.k / split + r.fill) * r.units / (rate * part)
            extra = 0.0 if split == 1 else 4.0 * 2 * split * g.batch * g.m * g.n  # partial sums in fp32, there and back
            best = min(best, (work, moving + extra / r.memory), key=max)
    return best


def flash(gemms: tuple[Gemm, ...], r: Rates, part: float) -> float:
    """Seconds that flash attention computes."""
    if r.kind == "ideal":
        return sum([g.flops for g in gemms]) / r.scores
    return sum([g.flops * (1 + FLASH_FILL / max(g.n, g.k)) / (r.flash * part) for g in gemms])


def spent(kernel: Kernel, r: Rates, size: float) -> Spent:
    """The forward pass of a kernel, by what it waits for."""
    if kernel.kind == "attention":
        times = [(flash(kernel.forward, r, FLASH_FORWARD), kernel.read / r.memory)]
    else:
        rate = r.scores if kernel.core else r.matmul
        times = [seconds(g, rate, r, size) for g in kernel.forward]
        times += [(0.0, kernel.read / r.memory)] if kernel.read else []
    compute = sum([a for a, b in times if a >= b])
    memory = sum([b for a, b in times if b > a])
    return Spent(compute, memory, r.gap * len(times) * (kernel.times if not kernel.forward else 1))


def backward(kernel: Kernel, r: Rates, size: float) -> float:
    """Seconds of the backward pass of a kernel."""
    if kernel.kind == "attention":
        work = FLASH_AGAIN * flash(kernel.backward, r, FLASH_BACKWARD)
        return max(work, kernel.reread / r.memory) + r.gap if kernel.backward else 0.0
    rate = r.scores if kernel.core else r.matmul
    matmuls = sum([max(seconds(g, rate, r, size)) + r.gap for g in kernel.backward])
    return matmuls + (kernel.reread / r.memory + r.gap * kernel.times if kernel.reread else 0.0)


class How(NamedTuple):
    """What a pass is run with."""

    mesh: Mesh = Mesh()
    size: float = 2  # bytes of an entry of an activation
    cache: float | None = None  # bytes of an entry of the cache, if not size
    kv_split: bool = False  # ranks beyond the key/value heads split the batch of the cache
    attention: str = "flash"
    training: bool = True
    near: int = 1  # devices of a node that share experts
    keys: int = 1  # devices that share a sequence: each meets the keys of all
    trainable: Callable[[str], bool] = lambda path: True  # whether an operation's weight learns
    weight: Callable[[Op, Block], float | None] = lambda op, block: None  # bytes of an entry of its weight, if not size
    narrow: float | None = None  # bytes of an operand of a matmul, where it is cast down for it (fp8)
    tokens: int | None = None  # of one device that choose experts (to count those that they touch); None: all touched
    last_only: bool = False  # logits of the last position alone
    adapted: frozenset[str] = frozenset()  # paths of the linear maps with adapters
    rank: int = 0  # of the adapters
    stored: float | None = None  # bytes of an entry of a layer's matrix that is dequantised before it is multiplied


def kernels(block: Block, sizes: Sizes, how: How) -> list[Kernel]:
    """The kernels of one block on one device. sizes: of one pass of it, batch and sequence already divided."""
    return Reader(block, sizes, how).read()


class Reader:
    """Reads a block's operations as kernels, with sizes of one device."""

    def __init__(self, block: Block, sizes: Sizes, how: How) -> None:
        self.block, self.sizes, self.how = block, sizes, how
        self.made = {op.path: op for op in block.ops}
        self.users: dict[str, list[Op]] = {}
        for op in block.ops:
            for t in op.inputs:
                self.users.setdefault(t.name, []).append(op)

    @cached_property
    def flow(self) -> Flow:
        """Where a gradient flows."""
        return flow(self.block, lambda op: learns(op) and self.how.trainable(op.path))

    # --- sizes ----------------------------------------------------------------------------------------------

    def parts(self, axes: Dim) -> tuple[list[int], bool]:
        """One device's part of each axis of a tensor, and whether tensor parallelism splits one of them."""
        split = splits((axes,), self.how.mesh, self.sizes, local=True)
        one = ("seq", "target") if self.how.last_only and self.block.role == "head" else ()
        whole: list[Any] = [1 if axis in one else self.sizes[axis] for axis in axes]
        held = [-(-size // ways) for size, (_, ways) in zip(whole, split, strict=True)]
        return held, ("tp" in [dimension for dimension, _ in split])

    def entries(self, dims: Dims, *, whole: bool = False) -> float:
        """Entries of one device's share of an activation; `whole`: as a matmul takes it, gathered over the sequence."""
        axes = tuple(chain.from_iterable(dims))
        held, divided = self.parts(axes)
        between = self.how.mesh.sp and not (divided or whole) and ("seq" in axes or "target" in axes)
        return math.prod(held) / (self.how.mesh.tp if between else 1)

    def bytes(self, tensor: Tensor | Dims) -> float:
        """Bytes of one device's share of an activation, or of a cache."""
        if isinstance(tensor, Tensor):
            kept = tensor.name in self.made and rules(self.made[tensor.name]).memory == GROWN
            size = self.how.cache if kept and self.how.cache is not None else self.how.size
            alike = copies(tensor.dims, self.how.mesh, self.sizes) if kept and self.how.kv_split else 1
            batch: Any = self.sizes.get("batch", 1)
            return size * self.entries(tensor.dims) * float(math.ceil(batch / alike) / batch)
        return self.how.size * self.entries(tensor)

    def root(self, t: Tensor) -> Tensor:
        """The tensor in memory that this one is a view of."""
        op = self.made.get(t.name)
        while op is not None and rules(op).memory in (VIEW, SPREAD):
            t = op.inputs[0]
            op = self.made.get(t.name)
        return t

    # --- kernels --------------------------------------------------------------------------------------------

    def read(self) -> list[Kernel]:
        """The kernels, forward and backward."""
        flash = self.how.attention == "flash"
        found: list[Kernel] = []
        core: dict[str, list[Op]] = {}
        regions: dict[str, list[Op]] = {}  # of the last operation's path
        together: dict[tuple[str, int], list[Op]] = {}
        for op in self.block.ops:
            kernel = rules(op).kernel
            if kernel == FREE:
                continue  # other kernels read its input through it
            if op.on_scores and flash:
                core.setdefault(op.scope, []).append(op)
            elif kernel == MATMUL:
                together.setdefault((op.inputs[0].name, len(op.params[0].dims)), []).append(op)
            elif kernel in CONTRACTIONS:
                found.append(self.contraction(op))
            else:
                regions[op.path] = [*self.joined(op, regions), op]
        found += [self.linears(group) for group in together.values()]
        found += [self.flash(scope, group) for scope, group in core.items()]
        found += [self.region(group) for group in regions.values()]
        found += self.sums()
        for op in (op for group in together.values() for op in group):
            if self.block.full(op.path) in self.how.adapted:
                found += self.adapter(op)
        if self.how.stored is not None and self.block.repeat:
            found += [self.dequantised(group) for group in together.values()]
        if self.how.narrow is not None:
            found += [self.casts(group) for group in together.values()]
        return found

    def casts(self, group: list[Op]) -> Kernel:
        """Operands in a narrow type: written with their transposes, which the weights' gradients multiply."""
        narrow = self.how.narrow or 0.0
        written = 2 if self.how.training else 1
        read = self.entries(group[0].inputs[0].dims, whole=True) * (self.how.size + written * narrow)
        back = sum(self.entries(op.output.dims, whole=True) for op in group) * (self.how.size + written * narrow)
        return Kernel(f"{group[0].path}.cast", "memory", read=read, reread=back if self.how.training else 0)

    def adapter(self, op: Op) -> list[Kernel]:
        """X·A and (X·A)·B of a frozen matrix, and what adds them to its output, and the gradients of X."""
        g, rank = self.gemm(op)._replace(weight=None), self.how.rank
        thin = (g._replace(n=rank), g._replace(k=rank))
        needs = self.flow.needs(op.inputs[0])
        back = [Gemm(g.batch, rank, g.n, g.m), Gemm(g.batch, g.m, rank, g.n), Gemm(g.batch, g.k, rank, g.m)]
        back += [Gemm(g.batch, g.m, g.k, rank)] if needs else []
        out, into = (3 * self.how.size * g.batch * g.m * width for width in (g.n, g.k))
        sums = Kernel(f"{op.path}.lora", "memory", read=out, reread=into if needs else 0)
        return [Kernel(f"{op.path}.lora", "matmul", thin, tuple(back)), sums]

    def dequantised(self, group: list[Op]) -> Kernel:
        """Weights that are stored in few bits, written out to be multiplied, in the forward and the backward pass."""
        gemms = [self.gemm(op) for op in group]
        moved = sum(g.batch * g.n * g.k for g in gemms) * ((self.how.stored or 0.0) + self.how.size)
        return Kernel(f"{group[0].path}.dequantised", "memory", read=moved, reread=moved)

    def joined(self, op: Op, regions: dict[str, list[Op]]) -> list[Op]:
        """The operations before it that it is fused with: those that hand their output to it alone."""
        if rules(op).kernel not in (MAP, END):
            return []
        before: list[Op] = []
        for t in op.inputs:
            source = self.root(t)
            group = regions.get(source.name)
            if group and rules(group[-1]).kernel == MAP and len(self.users[t.name]) == 1 and source.name == t.name:
                before += regions.pop(source.name)
        return before

    def gemm(self, op: Op) -> Gemm:
        """One contraction: axes of both operands and the output are counted, the others are rows, columns, inner."""
        a, b, out = (axes_of(dims).keys() for dims in dims_of(op))
        routed = bool(op.params) and op.params[0].routed
        if routed:  # a token meets the experts that it chose, which its own axis counts
            b = axes_of(op.params[0].dims[1:]).keys()
        axes = tuple(sorted(a | b))
        held, divided = self.parts(axes)
        sizes = dict(zip(axes, held, strict=True))
        if op.on_scores:
            for axis in axes_of((op.output if op.output.scores else op.inputs[0]).dims[-1:]):
                sizes[axis] *= self.how.keys

        def of(axes: Iterable[str]) -> int:
            return int(math.prod([sizes[axis] for axis in axes]))

        m, n = of(a - b), of(b - a)
        times, k = of(a & b & out), of((a & b) - out)
        if op.params and self.how.mesh.sp and not divided:
            m = -(-m // self.how.mesh.tp)
        weight = self.how.weight(op, self.block) if op.params else None
        if not routed:
            return Gemm(times, m, n, k, weight)
        touched = self.touched(op)
        return Gemm(touched, m / touched, n, k, weight)

    def touched(self, op: Op) -> float:
        """Of the experts that a device holds, those that some token goes to, if all are equally likely."""
        (axis,), (chosen,) = op.params[0].dims[0], op.inputs[1].dims[-1]
        experts: Any = self.sizes[axis]
        top_k: Any = self.sizes[chosen]
        held: float = math.ceil(experts / self.how.mesh.ep)
        if self.how.tokens is not None:
            held *= 1 - (1 - top_k / experts) ** self.how.tokens
        return max(held, 1.0)

    def backward(self, op: Op, g: Gemm) -> tuple[Gemm, ...]:
        """The contractions of the gradients of both operands."""
        if not self.how.training:
            return ()
        found = []
        needs = self.flow.of(op)
        if needs[0]:
            found.append(Gemm(g.batch, g.m, g.k, g.n, g.weight))
        if (op.params and self.how.trainable(op.path)) or (not op.params and len(needs) > 1 and needs[1]):
            found.append(Gemm(g.batch, g.k, g.n, g.m))
        return tuple(found)

    def linears(self, group: list[Op]) -> Kernel:
        """Linear layers of one input: one matmul of all their columns."""
        gemms = [self.gemm(op) for op in group]
        like = [
            [g for g in gemms if (g.batch, g.m, g.k, g.weight) == key]
            for key in dict.fromkeys((g.batch, g.m, g.k, g.weight) for g in gemms)
        ]
        merged = tuple(
            Gemm(same[0].batch, same[0].m, sum(g.n for g in same), same[0].k, same[0].weight) for same in like
        )
        back = tuple(g for one in merged for g in self.backward(group[0], one))
        return Kernel(group[0].path, "matmul", merged, back)

    def contraction(self, op: Op) -> Kernel:
        """A convolution, or a matmul of activations."""
        if rules(op).kernel == CONVOLUTION:
            rows = (
                self.entries(op.output.dims[:1])
                * self.entries(op.output.dims[1:])
                / self.entries(op.params[0].dims[:1])
            )
            g = Gemm(
                1, max(int(rows), 1), int(self.entries(op.params[0].dims[:1])), int(self.entries(op.params[0].dims[1:]))
            )
        else:
            g = self.gemm(op)
        return Kernel(op.path, "matmul", (g,), self.backward(op, g), core=op.on_scores)

    def flash(self, scope: str, group: list[Op]) -> Kernel:
        """Attention without its score matrix in memory: of the scores, what the mask lets through."""
        mask, part = self.block.masks.get(scope), 1.0
        if mask is not None:
            (queries,), (keys,) = mask.output.dims[-2:]
            n: Any = self.sizes[queries]
            whole: Any = self.sizes[keys]
            n, whole = n * self.how.keys, whole * self.how.keys
            pairs = visible_pairs(mask, n, whole)
            part = 1.0 if pairs is None else float(pairs) / (n * whole)
        products = [op for op in group if rules(op).kernel == PRODUCT]
        gemms = tuple(self.gemm(op) for op in products)
        gemms = tuple(g._replace(batch=g.batch * part) for g in gemms)
        inside = {op.path for op in group}
        moved: dict[str, float] = {}
        for op in group:
            for t in op.inputs if op in products else ():
                source = self.root(t)
                if source.name not in inside and not t.scores:
                    moved[source.name] = self.bytes(source)
            if not op.output.scores:
                moved[op.path] = self.bytes(op.output)
        total = sum(moved.values())
        if not self.how.training:  # a window's cache, or what the mask shows of a longer one
            return Kernel(scope or group[0].path, "attention", gemms, (), total, 0, core=True)
        return Kernel(scope or group[0].path, "attention", gemms, gemms, total, 2 * total, core=True)

    def region(self, group: list[Op]) -> Kernel:
        """A pass over tensors: it reads what comes from outside and writes what others use."""
        inside = {op.path for op in group}
        last = group[-1]
        core = any(op.on_scores for op in group)
        if last.attrs.get("after_output"):  # the loss: softmax over the vocabulary in float32
            if not self.how.training:
                return Kernel(last.path, "memory")
            n = self.entries(last.output.dims)
            # cast; maximum; exponential in place; sum  |  gradient in place; cast back
            return Kernel(
                last.path,
                "memory",
                read=n * (self.how.size + 4 + 4 + 8 + 4),
                reread=n * (4 + 4 + self.how.size),
                times=4,
            )
        outside = {self.root(t).name: self.root(t) for op in group for t in op.inputs if t.name not in inside}
        inputs = sum(self.bytes(t) for t in outside.values() if t.given in ("", KEPT))
        output = self.bytes(last.output)
        moves = [rules(op).traffic(op) for op in group]
        if moves[-1].reads == "rows":
            inputs = output
        again = {move.again for move in moves}
        masks = sum(self.entries(op.output.dims) for op in group if DROPS in rules(op).traits)  # one byte an entry
        forward = inputs + output + (masks if self.how.training else 0)
        backward = 0.0
        if self.how.training and self.flow.made[last.path]:
            if moves[-1].again == "output":
                backward = 3 * output
            elif again & {"inputs", "output"}:  # the output's gradient and the inputs come, the inputs' gradients go
                backward = output + 2 * inputs + masks
            elif "mask" in again:
                backward = 2 * output + masks
        return Kernel(last.path, "memory", read=forward, reread=backward, core=core)

    def sums(self) -> list[Kernel]:
        """Gradients of a tensor that goes several ways are added."""
        if not self.how.training:
            return []
        found = []
        for name, users in self.users.items():
            op = self.made.get(name)
            tensor = op.output if op else next(t for t in users[0].inputs if t.name == name)
            if tensor.scores or not self.flow.needs(tensor):
                continue
            ways = len({"matrix" if rules(u).mesh(u) == MATRIX else u.path for u in users})
            if ways > 1:
                found.append(Kernel(f"{name}.gradients", "memory", reread=3.0 * (ways - 1) * self.bytes(tensor.dims)))
        return found

"""Layers, and which of them follow each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache

from transformer_calc.errors import InputError
from transformer_calc.record import LARGEST, Record, factor, integer, named, one_of, rate, record
from transformer_calc.spec.attention import Attention, Averaging, LatentAttention
from transformer_calc.spec.feedforward import Mlp, Moe
from transformer_calc.spec.words import ACTIVATIONS, Norm


@record
class Convolution(Record):
    """A convolution of a layer's input along the sequence; the layer becomes norm(layer + act(convolution)).

    DeBERTa-v2's first layer has one (He et al. 2020, arXiv 2006.03654, appendix A.5, nGiE).
    """

    kernel: int = integer()
    groups: int = integer(default=1)
    activation: str = one_of(*ACTIVATIONS, default="tanh")
    norm: Norm = Norm()
    dropout: float = rate(default=0.0)

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise InputError(f"kernel is {self.kernel}; it must be odd, so that the sequence keeps its length")


# what layers whose parts read the same input do not have
SEQUENTIAL: dict[str, object] = {
    "cross": None,
    "place": "pre",
    "mixer_norm": True,
    "residual_from_norm": False,
    "convolution": None,
    "residual": True,
    "residual_scale": 1.0,
    "scaled": False,
}


@record
class Layer(Record):
    """One layer: x + mixer(norm(x)), then x + ffn(norm(x)), with the norms where `place` says.

    pre: before each part. post: after each residual sum. output: on each part's output, before the sum.
    sandwich: pre and output. none: no norms.
    `parallel`: mixer and ffn read the same input, with one norm (shared) or two.
    """

    name: str = named(default="layer")
    mixer: Attention | LatentAttention | Averaging | None
    cross: Attention | None = None
    ffn: Mlp | Moe | None
    norm: Norm = Norm()
    place: str = one_of("pre", "post", "output", "sandwich", "none", default="pre")
    parallel: str = one_of("no", "shared", "separate", default="no")
    mixer_norm: bool = True  # ModernBERT's first layer goes without
    residual_from_norm: bool = False  # the residual starts at the norm's output
    convolution: Convolution | None = None
    residual: bool = True  # each part's output is added to what it was given, not put in its place
    residual_scale: float = factor(default=1.0)
    scaled: bool = False  # each part's output is multiplied by a learned vector (LayerScale, arXiv 2103.17239)
    dropout: float = rate(default=0.0)  # on each part's output
    # parts whose output it is on; sum: on that of parallel ones, once
    dropped: str = one_of("both", "mixer", "ffn", "sum", default="both")

    def __post_init__(self) -> None:
        if self.parallel != "no" and self.place != "pre":
            raise InputError(
                f"place is {self.place!r}, but parallel is {self.parallel!r}: parallel parts have their norm before "
                "them, so place must be 'pre'"
            )
        if not (self.mixer or self.ffn):
            raise InputError("mixer and ffn are none; a layer needs one of them")
        if self.parallel == "no":
            if self.dropped == "sum":
                raise InputError("dropped is sum, but parallel is no: there is no sum of two parts")
            return
        for field in ("mixer", "ffn"):
            if getattr(self, field) is None:
                raise InputError(f"{field} is none, but parallel is {self.parallel}: it needs both parts")
        for field, usual in SEQUENTIAL.items():
            if getattr(self, field) != usual:
                value = getattr(self, field)
                held = "given" if isinstance(value, Record) else str(value).lower()
                raise InputError(f"{field} is {held}, but parallel is {self.parallel}: that is of parts in turn")
        if self.dropped not in ("both", "sum"):
            raise InputError(f"dropped is {self.dropped}, but parallel is {self.parallel}: it must be both or sum")


@record
class Layers(Record):
    """Layer kinds and their order, as (cycle of kind numbers, times) runs: its size does not grow with depth.

    Kinds (local, full) and runs (((0, 0, 0, 0, 0, 1), 4), ((0, 0), 1)) are Gemma 3's 26 layers.
    """

    kinds: tuple[Layer, ...]
    runs: tuple[tuple[tuple[int, ...], int], ...]

    def __post_init__(self) -> None:
        if not 1 <= self.n_layers <= LARGEST:
            raise InputError(f"n_layers is {self.n_layers}; it must be between 1 and {LARGEST:.0e}")
        names = [kind.name for kind in self.kinds]
        if len(set(names)) < len(names):
            raise InputError(f"kinds of layers are called {', '.join(names)}; each needs a name of its own")

    @classmethod
    def uniform(cls, layer: Layer, n: int) -> Layers:
        """N equal layers."""
        return cls(kinds=(layer,), runs=(((0,), n),))

    @classmethod
    def cycle(cls, kinds: Sequence[Layer], pattern: Iterable[int], n: int, head: Iterable[int] = ()) -> Layers:
        """`head` once, then `pattern` over and over, n layers in all; equal and unused kinds are merged."""
        first, body = tuple(head)[:n], tuple(pattern)
        times, rest = divmod(n - len(first), len(body))
        runs = [(first, 1), (body, times), (body[:rest], 1)]
        return cls._merged(tuple(kinds), [(_run_length(c), t) for c, t in runs if c and t])

    @classmethod
    def spans(cls, kinds: Sequence[Layer], *spans: tuple[Sequence[int], int]) -> Layers:
        """Cycles of kind numbers, each so many times, one after the other; equal and unused kinds are merged."""
        return cls._merged(tuple(kinds), [(_run_length(cycle), times) for cycle, times in spans if cycle and times > 0])

    @classmethod
    def listed(cls, kinds: Sequence[Layer], order: Sequence[int]) -> Layers:
        """Layers in an explicit order; a repeating pattern in it is found, so that the result is small."""
        n = len(order)
        for period in range(1, min(n, 64) + 1):
            if all(a == b for a, b in zip(order, order[period:], strict=False)):
                return cls.cycle(kinds, order[:period], n)
        return cls._merged(tuple(kinds), [(_run_length(order), 1)])

    @classmethod
    def _merged(cls, kinds: tuple[Layer, ...], parts: Iterable[tuple[list[tuple[int, int]], int]]) -> Layers:
        """Runs of run-length coded cycles, flattened where a cycle is a single kind."""
        runs: list[tuple[tuple[int, ...], int]] = []
        numbers: dict[Layer, int] = {}
        names: dict[int, Layer] = {}

        @cache
        def number(kind: int) -> int:
            bare = replace(kinds[kind], name="layer")
            if bare not in numbers:
                numbers[bare] = len(numbers)
                names[numbers[bare]] = kinds[kind]
            return numbers[bare]

        def push(cycle: tuple[int, ...], times: int) -> None:
            if len(set(cycle)) == 1:
                cycle, times = cycle[:1], times * len(cycle)
            if runs and runs[-1][0] == cycle:
                cycle, times = cycle, times + runs.pop()[1]
            runs.append((cycle, times))

        for coded, times in parts:
            if times == 1 or len(coded) == 1 or len(coded) * times < sum(count for _, count in coded) // 64:
                for kind, count in coded:
                    push((number(kind),), count * times)
            else:
                push(tuple(number(kind) for kind, count in coded for _ in range(count)), times)
        ordered = tuple(names[i] for i in range(len(names)))
        if len(ordered) == 1:
            ordered = (replace(ordered[0], name="layer"),)
        return cls(kinds=ordered, runs=tuple(runs))

    @property
    def n_layers(self) -> int:
        """All layers."""
        return sum(len(cycle) * times for cycle, times in self.runs)

    def count(self, kind: int) -> int:
        """Layers of one kind."""
        return sum(cycle.count(kind) * times for cycle, times in self.runs)

    def __iter__(self) -> Iterator[int]:
        """The kind of each layer, in order."""
        for cycle, times in self.runs:
            for _ in range(times):
                yield from cycle

    def where(self, kind: int, most: int = 4) -> str:
        """The numbers of a kind's layers, for people: `3–60`, `5, 11, 17, 23`, or `5, 11, 17, … 59`."""
        start, spans = 0, list[tuple[int, int]]()
        for cycle, times in self.runs:
            size = len(cycle)
            shown = [i for i, k in enumerate(cycle) if k == kind]
            if len(shown) == size:
                spans.append((start, start + size * times - 1))
            else:
                repeats = range(times) if times <= most + 1 else (*range(most), times - 1)
                spans += [(start + r * size + i,) * 2 for r in repeats for i in shown]
            start += size * times
        merged: list[tuple[int, int]] = []
        for low, high in spans:
            if merged and merged[-1][1] == low - 1:
                merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        text = [str(a) if a == b else f"{a}–{b}" for a, b in merged]
        return ", ".join(text if len(text) <= most + 1 else [*text[:most], f"… {text[-1]}"])

    def resized(self, n: int) -> Layers:
        """The same pattern with n layers: cut at the end, or the last run goes on."""
        runs: list[tuple[tuple[int, ...], int]] = []
        left = n
        longest = max(self.runs, key=lambda run: (len(run[0]) * run[1], run[1]))
        for run in self.runs[: self.runs.index(longest)]:
            take = min(left, len(run[0]) * run[1])
            runs.append((run[0], take // len(run[0])))
            left -= take
        times, rest = divmod(left, len(longest[0]))
        runs += [(longest[0], times), (longest[0][:rest], 1)]
        parts = [(_run_length(cycle), t) for cycle, t in runs if cycle and t]
        return self._merged(self.kinds, parts)


def _run_length(order: Sequence[int]) -> list[tuple[int, int]]:
    coded: list[tuple[int, int]] = []
    for kind in order:
        if coded and coded[-1][0] == kind:
            coded[-1] = (kind, coded[-1][1] + 1)
        else:
            coded.append((kind, 1))
    return coded

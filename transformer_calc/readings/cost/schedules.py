"""How a run goes from step to step: the growth of the batch, and the learning rate.

Where something happens is given in tokens or in steps, as papers do; while the batch grows they are not proportional,
so each is worked out from the other here and nowhere else.
"""

from __future__ import annotations

import math

from transformer_calc.errors import InputError
from transformer_calc.facts import SCHEDULES
from transformer_calc.tuples import NamedTuple

POINTS = 64  # of a curve, beside those where it bends
WSD_DECAY = 0.1  # of the run: Hu et al. 2024, arXiv 2404.06395 (MiniCPM), section 4


class Ramp(NamedTuple):
    """The batch in tokens: at `points` of (tokens seen, tokens of a batch); after the last it stays.

    linear: between points it grows in proportion to the tokens seen (Brown et al. 2020, arXiv 2005.14165, appendix B);
    steps: it stays as it is until the next point.
    """

    points: tuple[tuple[int, int], ...]
    growth: str = "linear"

    def batch(self, tokens: float) -> float:
        """Tokens of a batch when so many have been seen."""
        before, after = self._around(tokens)
        if after is None or self.growth == "steps":
            return before[1]
        part = (tokens - before[0]) / (after[0] - before[0])
        return before[1] + part * (after[1] - before[1])

    def steps(self, tokens: float) -> float:
        """Steps until so many tokens have been seen: the integral of 1 / batch."""
        total = 0.0
        for number, (start, batch) in enumerate(self.points):
            if tokens <= start and number:
                break
            end, larger = self.points[number + 1] if number + 1 < len(self.points) else (math.inf, batch)
            seen = min(tokens, end) - start
            if self.growth == "steps" or end == math.inf or larger == batch:
                total += seen / batch
            else:
                slope = (larger - batch) / (end - start)  # tokens of a batch for each token seen
                total += math.log1p(slope * seen / batch) / slope
        return total

    def tokens(self, steps: float) -> float:
        """Tokens that have been seen after so many steps: the inverse of `steps`."""
        for number, (start, batch) in enumerate(self.points):
            last = number + 1 == len(self.points)
            end, larger = (math.inf, batch) if last else self.points[number + 1]
            before = self.steps(start)
            if not last and self.steps(end) < steps:
                continue
            if self.growth == "steps" or last or larger == batch:
                return start + (steps - before) * batch
            slope = (larger - batch) / (end - start)
            return start + batch * math.expm1((steps - before) * slope) / slope
        raise AssertionError("a ramp has at least one point")

    def _around(self, tokens: float) -> tuple[tuple[int, int], tuple[int, int] | None]:
        before, after = self.points[0], None
        for point in self.points[1:]:
            if tokens < point[0]:
                after = point
                break
            before = point
        return before, after


class Span(NamedTuple):
    """A stretch of a run, in tokens or in steps."""

    amount: float
    unit: str  # tokens, steps


class LearningRate(NamedTuple):
    """A learning rate's way: up to its peak in `warmup`, then as the schedule says.

    constant: it stays. linear, cosine: it falls until `decay` after the start (Loshchilov and Hutter 2016, arXiv
    1608.03983) and stays at the floor. wsd: it stays, and falls in a line during `decay` at the end (Hu et al. 2024,
    arXiv 2404.06395). inverse-sqrt: after `hold`, or the warm-up, it falls as step^-0.5 (Vaswani et al. 2017, arXiv
    1706.03762, section 5.3; Raffel et al. 2019, arXiv 1910.10683, section 3.1.2).
    """

    schedule: str
    peak: float
    floor: float = 0.0
    warmup: Span | None = None
    decay: Span | None = None
    hold: int = 0  # steps at the peak before it falls, of inverse-sqrt

    def at(self, step: float, ramp: Ramp, tokens: int) -> float:
        """The rate at a step of a run of so many tokens."""
        seen = {"steps": step, "tokens": ramp.tokens(step)}
        whole = {"steps": ramp.steps(tokens), "tokens": float(tokens)}
        if self.warmup and seen[self.warmup.unit] < self.warmup.amount:
            return self.peak * seen[self.warmup.unit] / self.warmup.amount
        if self.schedule == "inverse-sqrt":
            start = max(self.hold, _in(self.warmup, "steps", ramp), 1.0)
            return self.peak * math.sqrt(start / max(step, start))
        if self.schedule == "constant":
            return self.peak
        unit = self.decay.unit if self.decay else "tokens"
        amount = self.decay.amount if self.decay else whole[unit] * (WSD_DECAY if self.schedule == "wsd" else 1)
        begin, end = _in(self.warmup, unit, ramp), amount
        if self.schedule == "wsd":
            begin, end = max(whole[unit] - amount, begin), whole[unit]
        part = min(max((seen[unit] - begin) / (end - begin), 0.0), 1.0) if end > begin else 1.0
        falls = (1 + math.cos(math.pi * part)) / 2 if self.schedule == "cosine" else 1 - part
        return self.floor + (self.peak - self.floor) * falls


class Point(NamedTuple):
    """A moment of a run."""

    step: int
    tokens: int  # seen before it
    batch_tokens: int
    learning_rate: float | None


def check(rate: LearningRate) -> None:
    """Refuse what is no schedule."""
    if rate.schedule not in SCHEDULES:
        raise InputError(f"`lr_schedule` is {rate.schedule!r}; it must be one of {', '.join(SCHEDULES)}")
    if rate.floor > rate.peak:
        raise InputError(f"`min_lr` is {rate.floor:g}; it must be at most the peak, {rate.peak:g}")


def points(ramp: Ramp, rate: LearningRate | None, tokens: int) -> list[Point]:
    """The curve of a run: evenly spaced steps, and those where it bends."""
    last = ramp.steps(tokens)
    bends = [ramp.steps(seen) for seen, _ in ramp.points]
    if rate:
        bends += [_in(rate.warmup, "steps", ramp), float(rate.hold)]
        if rate.decay and rate.schedule in ("linear", "cosine"):
            bends.append(_in(rate.decay, "steps", ramp))
    marks = {round(last * n / POINTS) for n in range(POINTS + 1)} | {math.ceil(b) for b in bends if b <= last}
    found = []
    for step in sorted(marks):
        seen = min(ramp.tokens(step), tokens)
        found.append(Point(step, round(seen), round(ramp.batch(seen)), rate and rate.at(step, ramp, tokens)))
    return found


def _in(span: Span | None, unit: str, ramp: Ramp) -> float:
    """A stretch from the start, in tokens or in steps."""
    if span is None:
        return 0.0
    if span.unit == unit:
        return span.amount
    return ramp.steps(span.amount) if unit == "steps" else ramp.tokens(span.amount)

"""How many tokens a model should see: rules of thumb from published fits, all of which count 6·N·D FLOPs.

N counts every parameter, as Hoffmann et al. do (of a mixture of experts those that a token meets; the fits are of
dense models). C = 6·N·D is their count, not the graph's.
"""

from __future__ import annotations

from transformer_calc.tuples import NamedTuple

PF_DAY = 10**15 * 86_400  # FLOPs: Brown et al. 2020, arXiv 2005.14165, appendix D
HOFFMANN = "Hoffmann et al. 2022, arXiv 2203.15556"
BESIROGLU = "Besiroglu et al. 2024, arXiv 2404.10102"


def six_nd(params: int, tokens: int, passes: int = 3, *, halved: bool = False) -> int:
    """Two FLOPs a parameter and token and pass; three passes are forward and backward.

    halved: of an encoder-decoder half of the parameters see each token (Brown et al. 2020, arXiv 2005.14165, D.1).

    >>> six_nd(11 * 10**9, 10**12, halved=True)
    33000000000000000000000
    """
    return (1 if halved else 2) * passes * params * tokens


class Frontier(NamedTuple):
    """The best size for a compute, N = N_0 · C^a, and so the best tokens, D = C / 6N."""

    name: str
    scale: float  # N_0
    exponent: float  # a
    source: str

    def params(self, flops: float) -> float:
        """The best number of parameters for so many FLOPs."""
        return float(self.scale * flops**self.exponent)

    def tokens(self, params: float) -> float:
        """The tokens at which a model of this size is the best for its compute."""
        return float((params / self.scale) ** (1 / self.exponent) / (6 * params))


class Loss(NamedTuple):
    """The loss in nats a token as a function of size and tokens: L = E + A / N^alpha + B / D^beta."""

    name: str
    e: float
    a: float
    b: float
    alpha: float
    beta: float
    source: str

    def of(self, params: float, tokens: float) -> float:
        """The predicted loss."""
        return float(self.e + self.a / params**self.alpha + self.b / tokens**self.beta)

    def frontier(self) -> Frontier:
        """The least loss for a compute: where dL/dN = 0 along 6·N·D = C (equation 4 of Hoffmann et al.)."""
        both = self.alpha + self.beta
        exponent = self.beta / both
        scale = (self.alpha * self.a / (self.beta * self.b)) ** (1 / both) / 6**exponent
        return Frontier(self.name, scale, exponent, self.source)


# Lines through the logarithms of the paper's own tables of optimal tokens, which it gives from 400M to 10T parameters.
# The exponents are its 0.50, 0.49 and 0.46 (Table 2) before rounding.
FRONTIERS = (
    Frontier("approach 1: the least over training curves", 0.09916, 0.49810, f"{HOFFMANN}, Table 3"),
    Frontier("approach 2: IsoFLOP profiles", 0.1486, 0.48942, f"{HOFFMANN}, Table A3"),
    Frontier("approach 3: parametric loss", 0.5490, 0.45811, f"{HOFFMANN}, Table A3"),
)
# Hoffmann et al.'s constants have the digits of the paper's source, as the replication quotes them: those that are
# printed, rounded to 0.34 and 0.28, miss the paper's own Table A3 by a factor of 1.8.
LOSSES = (
    Loss("Hoffmann et al.", 1.6934, 406.4, 410.7, 0.3392, 0.2849, f"{HOFFMANN}, equation 10"),
    Loss("the replication of approach 3", 1.8172, 482.01, 2085.43, 0.3478, 0.3658, BESIROGLU),
)


class Optimum(NamedTuple):
    """What one fit says of a run."""

    name: str
    tokens: int  # the best for a model of this size
    params: int  # the best size for the run's compute
    params_tokens: int  # and its tokens
    ratio: float  # the run's tokens to the best
    source: str


class Predicted(NamedTuple):
    """What one loss function says of a run, in nats a token."""

    name: str
    loss: float
    best: float  # of the best size for the same compute
    source: str

    @property
    def above(self) -> float:
        """How far it is above the best."""
        return self.loss - self.best


def optima(params: int, tokens: int) -> list[Optimum]:
    """How far a run is from the best, by each fit; its compute is 6·N·D."""
    found = []
    for fit in (*FRONTIERS, LOSSES[1].frontier()):
        best = fit.tokens(params)
        size = fit.params(six_nd(params, tokens))
        found.append(
            Optimum(fit.name, round(best), round(size), round(params * tokens / size), tokens / best, fit.source)
        )
    return found


def predicted(params: int, tokens: int) -> list[Predicted]:
    """The predicted loss of a run, and of the best way to spend its compute."""
    found = []
    for law in LOSSES:
        size = law.frontier().params(six_nd(params, tokens))
        best = law.of(size, params * tokens / size)
        found.append(Predicted(law.name, law.of(params, tokens), best, law.source))
    return found

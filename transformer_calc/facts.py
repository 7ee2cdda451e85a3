"""What is known of the world: devices, what they cost, grids, and runs that were published."""

from __future__ import annotations

from transformer_calc import units
from transformer_calc.errors import InputError
from transformer_calc.record import Record, integer, one_of, real, record, text


@record
class Price(Record):
    """What somebody asks, or assumes, for an hour of a device, or what it costs to buy; one of the two."""

    provider: str = text()
    usd_per_hour: float | None = real(default=None, above=0, below=1e6)
    usd: float | None = real(default=None, above=0, below=1e9)  # of the device alone, once
    terms: str = ""  # on demand, reserved, an assumption of a paper
    date: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if (self.usd_per_hour is None) == (self.usd is None):
            both = "has both" if self.usd else "has neither"
            raise InputError(f"a price is usd_per_hour, to rent, or usd, to buy; {self.provider} {both}")

    @property
    def said(self) -> str:
        """Who asks it, on which terms, when."""
        return ", ".join(filter(None, (self.provider, self.terms, self.date)))


# What the bytes of a device's memory are. Programs get what the runtime hands out; a driver's figure (nvidia-smi) or a
# vendor's holds what these keep for themselves, too.
MEMORY_KINDS = {
    "runtime": "what {runtime} hands out",
    "driver": "what its driver reports; {runtime} hands out less",
    "vendor": "the vendor's figure; {runtime} hands out less",
    "given": "as given",
    "": "as its file has it",
}
RUNTIMES = {"NVIDIA": "CUDA", "AMD": "ROCm", "Google": "XLA", "Apple": "Metal"}


@record
class Device(Record):
    """What a model runs on: one accelerator, as its datasheet has it. None is unknown.

    Rates are per second: bytes, and FLOPs without structured sparsity, where a multiply-add is 2.
    """

    name: str = text()
    title: str = ""
    vendor: str = ""
    kind: str = ""
    year: int | None = integer(default=None)
    source: str = ""
    note: str = ""
    memory_gb: float | None = real(default=None, above=0, most=1e9)  # as the vendor prints it, in the vendor's units
    memory_bytes: int | None = integer(default=None)  # what programs can use of it, as far as `memory_kind` knows
    memory_kind: str = one_of(*MEMORY_KINDS, default="")  # what the bytes are
    memory_note: str = ""
    memory_source: str = ""
    bandwidth: int | None = integer(default=None)  # of the memory
    peaks: tuple[tuple[str, int], ...] = ()  # precision -> rate of the matrix units (fp32: of the vector units)
    interconnect: int | None = integer(default=None)  # to the other devices, both directions together
    interconnect_kind: str = ""
    node: int | None = integer(default=None)  # devices that the interconnect joins
    network: int | None = integer(default=None)  # to the devices of other nodes, both directions together
    network_kind: str = ""
    units: int | None = integer(default=None)  # multiprocessors, each of which works on one tile of a matmul at a time
    efficiency: tuple[tuple[str, float], ...] = ()  # of a peak: how much of it programs have been measured to reach
    efficiency_source: str = ""
    power: int | None = integer(default=None)  # W, the most that it draws by design
    prices: tuple[Price, ...] = ()  # the first is the one to reckon with
    unconfirmed: tuple[str, ...] = ()  # figures that no source was found for: bandwidth, peaks.fp8, …

    def __post_init__(self) -> None:
        for name, part in self.efficiency:
            if not 1e-6 <= part <= 1:
                raise InputError(f"efficiency.{name} is {part}; it must be at least 1e-06 and at most 1")
        for precision, peak in self.peaks:
            if not 0 < peak < 10**21:
                raise InputError(f"peaks.{precision} is {peak}; it must be a whole number between 1 and 1e+21")

    def peak(self, precision: str) -> int | None:
        """FLOPs (of integers: operations) per second in a precision; None where it is unknown or there is none."""
        return dict(self.peaks).get(precision)

    def reached(self, what: str) -> float | None:
        """The part of a peak that is reached: of matmul, memory, interconnect, network; None where it is unknown."""
        return dict(self.efficiency).get(what)

    @property
    def memory_said(self) -> str:
        """How much memory it has, and what that figure is."""
        return f"{units.format_bytes(self.memory_bytes or 0)}, {self.memory_basis}"

    @property
    def memory_basis(self) -> str:
        """What its memory's bytes are, in a few words."""
        return MEMORY_KINDS[self.memory_kind].format(runtime=RUNTIMES.get(self.vendor, "its runtime"))

    @property
    def network_each_way(self) -> float | None:
        """Bytes per second to the devices of other nodes in one direction."""
        return None if self.network is None else self.network / 2

    @property
    def interconnect_each_way(self) -> float | None:
        """Bytes per second to the other devices in one direction."""
        return None if self.interconnect is None else self.interconnect / 2

    @property
    def price(self) -> Price | None:
        """The price to reckon with, if one is known."""
        return self.prices[0] if self.prices else None


SCHEDULES = ("constant", "linear", "cosine", "wsd", "inverse-sqrt")  # of a learning rate
GROWTHS = ("linear", "steps")  # of a batch: all the time, or at once where a number of tokens is reached


@record
class TrainingRun(Record):
    """How a model was trained, as it was published. None is unknown; sizes and times are of the whole run.

    `warmup_*`: the learning rate rises to its peak; `hold_steps`: it stays there before it falls; `decay_*`: where it
    has fallen to `min_learning_rate_ratio` of its peak (wsd: how long that takes, at the end); None: the whole run.
    """

    tokens: int | None = integer(default=None, most=10**18)
    # how many different ones there are, where that is not how many are seen
    corpus_tokens: int | None = integer(default=None, most=10**18)
    batch_tokens: int | None = integer(default=None)  # in full
    batch_ramp: tuple[tuple[int, int], ...] = ()  # (tokens seen, tokens of a batch then), the first at 0
    batch_growth: str = one_of(*GROWTHS, default="linear")  # between the points of the ramp
    batch_note: str = ""  # what the ramp does not say
    seq: int | None = integer(default=None)
    target_seq: int | None = integer(default=None)
    steps: int | None = integer(default=None)
    learning_rate: float | None = real(default=None, above=0, below=1e6)
    schedule: str = one_of("", *SCHEDULES, default="")
    schedule_note: str = ""  # what the schedule does not say
    min_learning_rate_ratio: float | None = real(default=None, least=0, most=1)
    warmup_tokens: int | None = integer(default=None, most=10**18)
    warmup_steps: int | None = integer(default=None)
    hold_steps: int | None = integer(default=None)
    decay_tokens: int | None = integer(default=None, most=10**18)
    decay_steps: int | None = integer(default=None)
    hardware: str = ""
    devices: int | None = integer(default=None, most=10**12)
    days: float | None = real(default=None, above=0, below=1e6)
    device_hours: int | None = integer(default=None, most=10**12)
    tflops_per_device: float | None = real(default=None, above=0, below=1e6)  # achieved, with what was recomputed
    recompute: str = one_of("", "none", "selective", "full", default="")  # what that was
    plan: tuple[tuple[str, int | str], ...] = ()  # how it was spread over the devices: tp, pp, micro_batch …
    source: str = ""

    def __post_init__(self) -> None:
        for one, other in (("warmup_tokens", "warmup_steps"), ("decay_tokens", "decay_steps")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise InputError(f"{one} and {other} are given; it must be one of them")
        if self.batch_ramp:
            seen, batches = zip(*self.batch_ramp, strict=True)
            if seen[0] != 0 or list(seen) != sorted(set(seen)) or min(batches) < 1:
                raise InputError("batch_ramp must begin at 0 tokens, go up in tokens, and have batches of at least 1")
            if batches[-1] != self.batch_tokens:
                raise InputError(f"batch_ramp ends at {batches[-1]}; it must end at batch_tokens, {self.batch_tokens}")

    @property
    def whole(self) -> int | None:
        """Tokens of the whole run: as published, or those of its steps."""
        if self.tokens is not None or self.steps is None or self.batch_tokens is None or self.batch_ramp:
            return self.tokens
        return self.steps * self.batch_tokens

    @property
    def hours(self) -> int | None:
        """Device-hours of the whole run: as published, or those of its devices on its days."""
        if self.device_hours is not None or self.devices is None or self.days is None:
            return self.device_hours
        return round(self.devices * self.days * 24)


@record
class Grid(Record):
    """How much carbon dioxide, and what counts as much, the electricity of a place stands for."""

    name: str = text()
    title: str = ""
    g_per_kwh: float = real(least=0, below=1e4)
    year: str = ""
    source: str = ""

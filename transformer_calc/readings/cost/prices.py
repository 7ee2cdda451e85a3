"""What an hour of a device costs: what is asked to rent it, or what it costs to buy, over the years that it is used.

A price of a device that is bought is of the device alone and once. It becomes one of an hour by an assumption that is
always named: so many years, in every hour of which the device is in use. Hosts, network, rooms and people are not in
it, nor is power, which is counted apart.
"""

from __future__ import annotations

from typing import Any

from transformer_calc.errors import InputError
from transformer_calc.facts import Device, Price
from transformer_calc.tuples import NamedTuple

YEARS = 4.0  # that a bought device is used: an assumption (`amortize`); clouds write servers off over 4 to 6
HOURS = 8766  # of a year of 365.25 days


class Paid(NamedTuple):
    """What an hour of a device costs, and who says so; without a price it was given."""

    usd_per_hour: float
    price: Price | None = None
    years: float | None = None  # over which a purchase is spread

    @property
    def said(self) -> str:
        """On what it rests."""
        if self.price is None:
            return "`price`"
        if self.years is None:
            return self.price.said
        return (
            f"bought for ${self.price.usd:,.0f} ({self.price.said}), spread over {self.years:g} years of {HOURS:,} "
            "hours, all of them in use (`amortize`); without host, network and power"
        )

    @property
    def briefly(self) -> str:
        """The same in a few words."""
        if self.price is None:
            return "`price`"
        where = ", ".join(filter(None, (self.price.provider, self.price.date)))
        return where if self.years is None else f"bought for ${self.price.usd:,.0f}, {where}, over {self.years:g} years"

    def to_dict(self) -> dict[str, Any]:
        """In JSON."""
        known = {name: getattr(self.price, name, None) for name in ("provider", "terms", "date", "source")}
        kind = "given" if self.price is None else "rent" if self.years is None else "purchase"
        bought = {"usd": self.price.usd if self.price else None, "years": self.years}
        return {"usd_per_hour": self.usd_per_hour, "kind": kind, **bought, **known}


def paid(device: Device | None, given: float | None = None, years: float | None = None) -> Paid | None:
    """What an hour of a device costs: as given, or by the first of its prices; None where none is known.

    years:  over which a purchase is spread; None: as usual
    """
    if years is not None and not 0.01 <= years <= 100:
        raise InputError(f"`amortize` is {years:g}; it must be at least 0.01 and at most 100 years")
    if given is not None:
        return Paid(given)
    price = device.price if device else None
    if price is None:
        return None
    if price.usd_per_hour is not None:
        return Paid(price.usd_per_hour, price)
    assert price.usd is not None
    years = YEARS if years is None else years
    return Paid(price.usd / (years * HOURS), price, years)

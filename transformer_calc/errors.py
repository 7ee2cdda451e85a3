"""What goes wrong because of the input, as opposed to a bug: one sentence, and a hint if there is one."""

from __future__ import annotations

from collections.abc import Iterable


class TcalcError(Exception):
    """An error that is told to the user instead of shown as a traceback."""

    exit_code = 2

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(TcalcError):
    """The input is wrong: the message names the field, its value and what would be right."""


def did_you_mean(name: str, choices: Iterable[str]) -> str | None:
    """Return the hint that names the nearest of `choices`, or None where nothing is near.

    >>> did_you_mean("gpt-3", ["gpt2", "gpt3"])
    'did you mean gpt3?'
    """
    near = nearest(name, choices)
    return f"did you mean {near}?" if near else None


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice that is most like the name, or None where nothing is near."""
    from difflib import get_close_matches  # only a mistake pays for it

    by_lower = {choice.lower(): choice for choice in choices}
    # difflib is quadratic; nothing of that length is a misspelt name.
    near = get_close_matches(name[:100].lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def shown(value: str, limit: int = 40) -> str:
    """Quote a value for a message, shortened so that a message stays one readable line."""
    return repr(value if len(value) <= limit else value[: limit - 1] + "…")

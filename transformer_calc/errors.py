"""What goes wrong because of the input, as opposed to a bug: one sentence, and a hint if there is one."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby


class TcalcError(Exception):
    """An error that is told to the user instead of shown as a traceback."""

    exit_code = 2

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(TcalcError):
    """The input is wrong: the message names the field, its value and what would be right."""


class NotSettable(InputError):
    """A hyperparameter that a model's family does not have."""

    def __init__(self, field: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.field = field


def check_choice(field: str, value: object, choices: Iterable[object]) -> None:
    """Refuse a value that is none of a field's choices."""
    if value not in (known := tuple(choices)):
        raise InputError(f"`{field}` is {value!r}; it must be one of {', '.join(map(str, known))}")


def as_options(text: str) -> str:
    """A message in the command line's words: fields, which stand between backticks, as options.

    >>> as_options("`micro_batch` is 3; give `zero=1`")
    '--micro-batch is 3; give --zero 1'
    """
    import re

    def option(found: re.Match[str]) -> str:
        name, equals, value = found[1].partition("=")
        return f"--{name.replace('_', '-')}{f' {value}' if equals else ''}"

    return re.sub(r"`([a-z][a-z0-9_]*(?:=[^`]*)?)`", option, text)


def did_you_mean(name: str, choices: Iterable[str]) -> str | None:
    """Return the hint that names what of `choices` the name is a misspelling of, or None where it is of none.

    >>> did_you_mean("gpt-3", ["gpt2", "gpt3"])
    'did you mean gpt3?'
    """
    near = misspelt(name, choices)
    return f"did you mean {either(near)}?" if near else None


def either(names: list[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def misspelt(name: str, choices: Iterable[str], most: int = 3) -> list[str]:
    """Return the choices that the name is a misspelling of, equally near ones all, but no more than `most`.

    A misspelling differs in upper and lower case, in separators, or in a letter: left out, put in, exchanged with its
    neighbour, or in words of more than three letters another one; in words of eight and more, in two. Of three letters
    one may be typed once instead of twice: h10 is h100, but gpt is not gptj. Digits are told apart: qwen4 is not qwen3.
    """
    wanted = _bare(name[:100])  # nothing of that length is a misspelt name
    found: dict[str, int] = {}
    for choice in choices:
        other = _bare(choice)
        if wanted and other and (edits := _edits(wanted, other)) is not None:
            found[choice] = edits
    least = min(found.values(), default=0)
    nearest = [choice for choice, edits in found.items() if edits == least]
    return nearest if len(nearest) <= most else []


def beginning(name: str, choices: Iterable[str]) -> list[str]:
    """Return the choices that begin as the name does, for at least two letters and half of it.

    >>> beginning("q4x", ["q4_0", "q4_k", "iq4_xs"])
    ['q4_0', 'q4_k']
    """
    wanted, every = _bare(name[:100]), list(choices)
    for length in range(len(wanted), max(2, (len(wanted) + 1) // 2) - 1, -1):
        if found := [choice for choice in every if _bare(choice).startswith(wanted[:length])]:
            return found
    return []


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _edits(wanted: str, other: str) -> int | None:
    """How many letters a misspelt name differs in, or None where it is another name."""
    shorter = min(len(wanted), len(other))
    allowed = 0 if shorter < 3 else 1 if shorter < 8 else 2
    if wanted == other:
        return 0
    if abs(len(wanted) - len(other)) > allowed or not _same_digits(wanted, other):
        return None
    if shorter < 5 and len(wanted) == len(other):  # one other letter, in so short a word, mostly makes another word
        differing = [i for i in range(shorter) if wanted[i] != other[i]]
        inner = shorter == 4 and differing in ([1], [2])
        if len(differing) == 1 and not inner:
            return None
    if shorter == 3 and len(wanted) != len(other) and _singly(wanted) != _singly(other):
        return None
    distance = _distance(wanted, other)
    return distance if distance <= allowed else None


def _singly(name: str) -> list[str]:
    return [letter for letter, _ in groupby(name)]


def _same_digits(wanted: str, other: str) -> bool:
    """Whether two names have the same digits but for one typed once or twice, or two that changed places."""
    ours, theirs = ("".join(letter for letter in name if letter.isdigit()) for name in (wanted, other))
    if len(ours) == len(theirs):
        return sorted(ours) == sorted(theirs)
    return _singly(ours) == _singly(theirs)


def _distance(wanted: str, other: str) -> int:
    """Letters left out, put in, replaced, or exchanged with their neighbours (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(wanted, 1):
        last, before, row = before, row, [i]
        for j, theirs in enumerate(other, 1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != theirs))
            if i > 1 and j > 1 and letter == other[j - 2] and theirs == wanted[i - 2]:
                least = min(least, last[j - 2] + 1)
            row.append(least)
    return row[-1]


def shown(value: str, limit: int = 40) -> str:
    """Quote a value for a message, shortened so that a message stays one readable line."""
    return repr(value if len(value) <= limit else value[: limit - 1] + "…")

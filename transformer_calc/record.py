"""Records: frozen, compared by value, and checked field by field from what is declared beside the field.

A field's annotation is its type; `integer`, `real`, `one_of`, `named` … say, where the default stands, which numbers,
words or names it takes. `Record.__init__` checks both, for every record; what several fields must be together is for a
record's own `__post_init__`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, field
from types import GenericAlias, NoneType, UnionType
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

from transformer_calc.errors import InputError, shown
from transformer_calc.tuples import NamedTuple

T = TypeVar("T")
LARGEST = 10**15  # no size of a real model comes near it; larger ones are typing errors

# --- what a field takes -------------------------------------------------------------------------------------


class Rule(NamedTuple):
    """The values that a field takes, besides none where its type has it, and what they are called."""

    allows: Callable[[Any], bool]
    said: str


def integer(*, default: Any = MISSING, least: int = 1, most: int = LARGEST) -> Any:
    """A whole number within limits."""
    said = f"between {least} and {most:.0e}" if most >= 10**6 else f"between {least} and {most}"
    return _field(default, lambda value: least <= value <= most, said)


def real(
    *,
    default: Any = MISSING,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> Any:
    """A finite number within limits, the limit itself left out (`above`, `below`) or not."""
    low, high = above if least is None else least, below if most is None else most
    assert low is not None
    assert high is not None  # both limits are named, so that no infinity and no overflow comes through
    from_ = f"more than {low:g}" if least is None else f"at least {low:g}"
    to = f"less than {high:g}" if most is None else f"at most {high:g}"

    def allows(value: float) -> bool:
        return low <= value <= high and not (value == low and least is None) and not (value == high and most is None)

    return _field(default, allows, f"{from_} and {to}")


def factor(*, default: Any = MISSING) -> Any:
    """A number that others are multiplied with, divided by or clamped to: nothing real comes near the limits."""
    return real(default=default, least=1e-9, most=1e9)


def rate(*, default: Any = MISSING) -> Any:
    """A part of 1 that is left out, or added as noise."""
    return real(default=default, least=0, below=1)


def one_of(*choices: str, default: Any = MISSING) -> Any:
    """One of a few words."""
    return _field(default, choices.__contains__, f"one of {', '.join(filter(None, choices))}")


NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")


def named(*, default: Any = MISSING) -> Any:
    """A name that paths are made of."""
    return _field(default, lambda value: NAME.fullmatch(value) is not None, "a name of letters, digits and _")


def text(*, default: Any = MISSING) -> Any:
    """A text that headings show."""
    return _field(default, lambda value: bool(value.strip()), "a text")


def _field(default: Any, allows: Callable[[Any], bool], said: str) -> Any:
    return field(default=default, metadata={"rule": Rule(allows, said)})


# --- records ------------------------------------------------------------------------------------------------


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(integer, real, factor, rate, one_of, named, text)
)
def record(cls: type[T]) -> type[T]:
    """A frozen dataclass of keyword fields, with its methods from `Record`.

    `dataclass` would write and compile them for each class at each start, a sixth of the time of a whole command, and
    takes apart what each annotation says, for which a class of this kind has no use.
    """
    made = dict(getattr(cls, "__dataclass_fields__", {}))
    for name, kind in cls.__annotations__.items():
        if kind.startswith("ClassVar"):
            continue
        default = cls.__dict__.get(name, MISSING)
        made[name] = one = default if isinstance(default, Field) else field(default=default)
        one.name, one.type = name, kind
        if one.default is not MISSING:
            setattr(cls, name, one.default)
        elif name in cls.__dict__:
            delattr(cls, name)
    cls.__dataclass_fields__ = made  # type: ignore[attr-defined]
    return cls


Check = Callable[[str, Any], None]
_FIELDS: dict[type, tuple[tuple[str, str, Any, Check], ...]] = {}  # of each class, made at first use: name, …


class Record:
    """What all records share: fields are checked once, then never changed; compared by value."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    NAMED: ClassVar[str] = "{}"  # how messages write a field's name

    def __init__(self, **values: Any) -> None:
        own = self.__dict__
        for name, called, default, check in _FIELDS.get(type(self)) or _fields(type(self)):
            value = values.pop(name, default)
            if value is not default:
                check(called, value)
            elif value is MISSING:
                raise TypeError(f"{type(self).__name__} needs {name}")
            own[name] = value
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check what the fields are together; records that have such rules override it."""

    def changed(self, **values: Any) -> Self:
        """A copy with other values, each checked for itself; what they are together, `settle` checks later."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        for name, called, _, check in _FIELDS.get(type(self)) or _fields(type(self)):
            if name in values:
                check(called, values[name])
        if unknown := values.keys() - self.__dataclass_fields__.keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(unknown)}")
        copy.__dict__.update(values)
        return copy

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set; dataclasses.replace makes a changed copy")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        shown = (
            f"{n}={getattr(self, n)!r}" for n, f in self.__dataclass_fields__.items() if getattr(self, n) != f.default
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def fields(of: Any) -> tuple[Field[Any], ...]:
    """The fields of a record or of its class, as `dataclasses.fields` has those of a dataclass."""
    return tuple(of.__dataclass_fields__.values())


def settle(value: Any) -> None:
    """Check what the fields of a record, and of those in it, are together: the innermost first."""
    for part in value if isinstance(value, tuple) else value.__dict__.values() if isinstance(value, Record) else ():
        settle(part)
    if isinstance(value, Record):
        value.__post_init__()


def _fields(cls: Any) -> tuple[tuple[str, str, Any, Check], ...]:
    """The fields of a class: name, what messages call it, default, check."""
    names = vars(sys.modules[cls.__module__])
    made = tuple(
        (
            name,
            cls.NAMED.format(f.metadata.get("option") or name),
            f.default,
            _check(f.type, names, f.metadata.get("rule")),
        )
        for name, f in cls.__dataclass_fields__.items()
    )
    _FIELDS[cls] = made
    return made


def _check(annotation: Any, names: dict[str, Any], rule: Rule | None) -> Check:
    """What refuses a value of another type than a field's, or one that its rule does not allow."""
    plain, nested = _types(annotation, names)
    allows = rule.allows if rule else None

    def check(name: str, value: Any) -> None:
        if type(value) not in plain and not any(_holds(value, one) for one in nested):
            raise InputError(f"{name} is {_short(value)}; it must be {_called(annotation)}")
        if allows is not None and value is not None and not allows(value):
            assert rule
            raise InputError(f"{name} is {_short(value)}; it must be {rule.said}")

    return check


_KINDS: dict[tuple[str, str], tuple[frozenset[type], tuple[Any, ...]]] = {}


def _types(annotation: str, names: dict[str, Any]) -> tuple[frozenset[type], tuple[Any, ...]]:
    """(plain types, tuples) of an annotation; a number may be whole."""
    key = (names["__name__"], annotation)
    if key not in _KINDS:
        kind = eval(annotation, names)
        kinds = kind.__args__ if isinstance(kind, UnionType) else (NoneType if kind is None else kind,)
        plain = {one for one in kinds if not isinstance(one, GenericAlias)}
        nested = tuple(one for one in kinds if isinstance(one, GenericAlias))
        _KINDS[key] = frozenset(plain | {int} if float in plain else plain), nested
    return _KINDS[key]


def _holds(value: Any, kind: Any) -> bool:
    """Whether a value is of a type such as tuple[tuple[str, int], ...], to its innermost part."""
    if isinstance(kind, UnionType):
        return any(_holds(value, one) for one in kind.__args__)
    if not isinstance(kind, GenericAlias):
        return kind is object or type(value) is kind or (kind is float and type(value) is int)
    if type(value) is not tuple:
        return False
    inner = kind.__args__
    if len(inner) == 2 and inner[1] is Ellipsis:
        return all(_holds(part, inner[0]) for part in value)
    return len(value) == len(inner) and all(map(_holds, value, inner))


_CALLED = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}


def _called(annotation: str) -> str:
    """A type for people."""
    kinds = [kind.strip() for kind in annotation.split(" | ") if kind.strip() != "None"]
    return " or ".join(_CALLED.get(kind, kind) for kind in kinds)


def _short(value: Any) -> str:
    return shown(value, 60) if isinstance(value, str) else str(value)[:60]

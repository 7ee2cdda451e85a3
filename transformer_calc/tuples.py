"""`NamedTuple` as `typing` has it, without the compiling of each annotation, which no program here reads.

A sixth of what a short command takes went there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    from collections import namedtuple

    class _Made(type):
        """Makes the class that `collections` has for the annotated fields, with the methods and properties."""

        def __new__(cls, name: str, bases: tuple[type, ...], own: dict[str, Any]) -> type:
            fields = own.get("__annotations__", {})
            defaults = [own[field] for field in fields if field in own]
            made = namedtuple(name, fields, defaults=defaults, module=own["__module__"])
            made.__annotations__ = made.__new__.__annotations__ = fields
            for key, value in own.items():
                if key not in fields and key not in ("__module__", "__annotations__"):
                    setattr(made, key, value)
                    if hasattr(value, "__set_name__"):
                        value.__set_name__(made, key)
            return made

    class _Base:
        """What a class statement names as its base."""

        def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type]:
            return (type.__new__(_Made, "NamedTuple", (), {}),)

    NamedTuple = _Base()

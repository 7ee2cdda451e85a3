"""The two streams of a command line: what can go wrong with one does not change what the other is told, nor the status.

A character that an encoding lacks is written in another form; standard error may be full or closed; a reader may leave.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

HANDLER = "transformer_calc.signs"  # of codecs: an ASCII form of what the encoding lacks
LONGEST_WORD, LONGEST_PATH, LONGEST = 100, 200, 600  # characters of a message, which stays one that can be read


def _instead(error: UnicodeError) -> tuple[str, int]:
    """Handle characters that an encoding lacks, as codecs wants it: (what to write, where to go on)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    from .output.signs import plain

    return plain(error.object[error.start : error.end]), error.end


@contextmanager
def speaking() -> Iterator[None]:
    """Let both streams take every text, and leave them afterwards as they were."""
    codecs.register_error(HANDLER, _instead)
    changed: list[tuple[Any, str]] = []
    for stream in (sys.stdout, sys.stderr):
        errors = getattr(stream, "errors", None)
        if errors and errors != HANDLER and hasattr(stream, "reconfigure"):
            with suppress(OSError, ValueError):  # closed, or full
                stream.reconfigure(errors=HANDLER)
                changed.append((stream, errors))
    try:
        yield
    finally:
        for stream, errors in changed:
            with suppress(OSError, ValueError):
                stream.reconfigure(errors=errors)


def fitting(text: str, stream: Any) -> str:
    """The text as the stream can show it."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeError:
        from .output.signs import written

        return written(text, encoding)
    return text


def say(what: str, message: str) -> None:
    """Write a line to standard error; what somebody's file or folder is called must not steer the terminal."""
    if not message.isprintable():
        message = "".join(c if c.isprintable() else "?" for c in message)
    tell(f"{what}: {short(message)}\n")


def tell(text: str) -> None:
    """Write to standard error, if anybody listens: that nobody does is no reason to answer otherwise."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(fitting(text, sys.stderr))
            sys.stderr.flush()


def short(message: str) -> str:
    """A message in a length that can be read: the middle of what somebody's input makes long is left out.

    >>> short("--seq is " + "9" * 500 + ", expected a whole number")
    '--seq is 9999999999999999999999999999999999999999…9999999999999999999, expected a whole number'
    """
    if len(message) > LONGEST_WORD:
        message = re.sub(rf"\S{{{LONGEST_WORD},}}", _shortened, message)
    return message if len(message) <= LONGEST else f"{message[: LONGEST - 202]} … {message[-199:]}"


def _shortened(word: re.Match[str]) -> str:
    """A word with its middle left out; a path is worth more."""
    return word[0] if "/" in word[0] and len(word[0]) <= LONGEST_PATH else f"{word[0][:40]}…{word[0][-20:]}"


def settle() -> None:
    """End with the streams: what cannot be written must not fail once more, and change the status, when Python ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

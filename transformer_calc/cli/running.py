"""Running a command line: whatever goes wrong becomes a message and an exit status."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from transformer_calc import streams
from transformer_calc.cli.app import READER_LEFT, built
from transformer_calc.errors import TcalcError, as_options

# Exit statuses beside those of an answer (0, or 1 where it is no) and of wrong input (2).
FAULT = 70  # of this program itself: EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # what a shell reports of programs that SIGINT ended


def command() -> Any:
    """The Click command, with all subcommands loaded: what is declared can be looked through."""
    return built([])


def run(args: list[str] | None = None) -> int:
    """Run a command line and return the exit status; what is wrong with the input becomes a message."""
    with streams.speaking():
        try:
            return _answer(sys.argv[1:] if args is None else args)
        except KeyboardInterrupt:
            return INTERRUPTED
        except MemoryError:
            return _fail(
                "there is not enough memory for this", "smaller sizes, or a smaller file", TcalcError.exit_code
            )
        except Exception as error:
            return _fault(error)


def _answer(args: list[str]) -> int:
    if sys.stdout is None:
        return _fail("the answer cannot be written: standard output is closed", None, TcalcError.exit_code)
    try:
        status = built(_before_completed() or args).main(args, prog_name="tcalc", standalone_mode=False)
        sys.stdout.flush()
    except TcalcError as error:
        hint = error.hint and as_options(error.hint)
        return _fail(as_options(error.message), hint, error.exit_code)
    except typer.TyperException as error:
        return _misused(error)
    except typer.Abort:
        return INTERRUPTED
    except SystemExit as end:  # how Click ends when a reader has left, and after completing a word
        if isinstance(end.__context__, BrokenPipeError):
            sys.stdout, sys.stderr = _unwrapped(sys.stdout), _unwrapped(sys.stderr)
            return READER_LEFT
        return end.code if isinstance(end.code, int) else 0
    except BrokenPipeError:
        return READER_LEFT
    except OSError as error:  # of reading files, all are messages already: this is a full disk
        return _fail(f"the answer cannot be written: {error.strerror}", None, TcalcError.exit_code)
    except UnicodeEncodeError as error:  # of a stream that takes no other forms of characters
        return _fail(f"the answer cannot be written in {error.encoding}", "--json", TcalcError.exit_code)
    return status if isinstance(status, int) else 0


def _before_completed() -> list[str]:
    """The words of a line that a shell completes, which say of which command the options are."""
    words = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    return words.split()[1:] if "_TCALC_COMPLETE" in os.environ else []


def _misused(error: Any) -> int:
    """Tell what Click refuses; where nothing is asked for, its message is the help."""
    context = getattr(error, "ctx", None)
    if context and not context.args and error.message == context.get_help():
        streams.tell(f"{error.message}\n")
        return int(error.exit_code)
    hint = f"{context.command_path} --help" if context else None
    return _fail(error.format_message().rstrip("."), hint, error.exit_code)


def _unwrapped(stream: Any) -> Any:
    """The stream that Click has wrapped, so that it fails no more."""
    return getattr(stream, "wrapped", stream)


def _fail(message: str, hint: str | None, status: int) -> int:
    streams.say("error", message)
    if hint:
        streams.say("hint", hint)
    return status


def _fault(error: Exception) -> int:
    """Tell of what must not happen: it is this program's fault, not the input's."""
    if os.environ.get("TCALC_DEBUG", "") not in ("", "0"):
        import traceback

        streams.tell("".join(traceback.format_exception(error)))
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return _fail(
        f"internal error, a fault of tcalc and not of the input: {streams.short(what)[:300]}",
        "please report it with the command line; TCALC_DEBUG=1 adds where it happened",
        FAULT,
    )

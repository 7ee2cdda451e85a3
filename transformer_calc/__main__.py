"""The command `tcalc`, also as `python -m transformer_calc`."""

import gc
import os
import sys

try:
    import signal
except KeyboardInterrupt:  # an import of files, before interrupts are listened to
    os._exit(130)


def main() -> int:
    """Run the command line and return the exit status: 0 done, 1 the answer is no, 2 the input is wrong; see `cli`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where interrupts are ignored
        signal.signal(signal.SIGINT, _interrupted)
    if sys.argv[1:] == ["--version"] and _told_version():
        return 0
    gc.disable()  # it would run dozens of times during the imports, in a process that lives a tenth of a second
    if not sys.warnoptions:
        import warnings

        warnings.simplefilter("ignore")  # they speak of this program's lines, not of the input
    from .cli import run
    from .streams import settle

    status = run()
    settle()
    return status


def _told_version() -> bool:
    """Say which version this is, without the command line; where that cannot be written, it says so itself."""
    from transformer_calc import __version__

    if sys.stdout is None:
        return False
    try:
        sys.stdout.write(f"tcalc {__version__}\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        return False
    return True


def _interrupted(*_: object) -> None:
    """End at once: an exception in its place would be lost in whatever catches those, as imports do."""
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\033[?25h\n")  # a progress bar hides the cursor
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())

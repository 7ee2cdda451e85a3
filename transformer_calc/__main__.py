"""The command `tcalc`, also as `python -m transformer_calc`."""

import gc
import sys


def main() -> int:
    """Run the command line and return the exit status: 0 done, 1 the answer is no, 2 the input is wrong."""
    gc.disable()  # it would run dozens of times during the imports, in a process that lives a tenth of a second
    try:
        from .cli import run

        return run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

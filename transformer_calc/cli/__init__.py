"""The command line: parse, call, render, exit status. It does no arithmetic.

`run` answers one command line in this process, `command` returns the Click command with all subcommands.
"""

from transformer_calc.cli.app import COMMANDS
from transformer_calc.cli.options import FIELDS, WORKLOAD_FIELDS
from transformer_calc.cli.running import command, run

__all__ = ("COMMANDS", "FIELDS", "WORKLOAD_FIELDS", "command", "run")

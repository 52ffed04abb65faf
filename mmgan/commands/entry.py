"""Where a command starts. Little is imported before: an interrupt meanwhile ends like any other."""

import gc
import sys

from mmgan.commands.endings import ended_well, keep_interrupts


def start(command: str) -> None:
    """Run a command with the options of the command line."""

    def run() -> None:
        from mmgan.commands.job import run_command

        run_command(command, sys.argv[1:])

    gc.disable()  # until all is imported: a fifth of that time would go into looking for garbage in what stays
    keep_interrupts()
    ended_well(run)

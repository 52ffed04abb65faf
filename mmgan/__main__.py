"""Every command from any folder: python -m mmgan train [OPTIONS]."""

import sys

from mmgan.commands.entry import JOBS, start


def main() -> None:
    """Run the command that the command line names first, with the options behind it."""
    usage = f"give a command, python -m mmgan {'|'.join(JOBS)} [OPTIONS]; --help behind it lists the options."
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(usage)
        return
    if len(sys.argv) < 2 or sys.argv[1] not in JOBS:
        sys.exit(f"error: {usage}")
    start(sys.argv.pop(1))


if __name__ == "__main__":
    main()

"""Every command from any folder: mmgan train [OPTIONS], or python -m mmgan train [OPTIONS]."""

import difflib
import sys

from mmgan.commands import JOBS
from mmgan.commands.endings import ended_well
from mmgan.commands.entry import start


def main() -> None:
    """Run the command that the command line names first, with the options behind it."""
    if len(sys.argv) > 1 and sys.argv[1] in JOBS:
        start(sys.argv.pop(1))
    else:
        ended_well(lambda: _without_command(sys.argv[1:]))


def _without_command(words: list[str]) -> None:
    from mmgan.commands.help import options_text, usage, versions_text
    from mmgan.commands.job import told

    if words in (["--help"], ["-h"], ["help"]):
        print(usage())
    elif words in (["--version"], ["-V"], ["version"]):
        print(versions_text())
    elif words[:1] == ["options"]:
        told("train", lambda: print(options_text(words[1:])))
    else:
        near = difflib.get_close_matches(words[0], JOBS, n=1) if words else []
        meant = f"; did you mean {near[0]}" if near else ""
        sys.exit(f"error: give a command, one of {', '.join(JOBS)}{meant}; mmgan --help says what they do.")


if __name__ == "__main__":
    main()

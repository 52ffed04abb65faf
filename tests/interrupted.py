"""Run a command of mmgan again and again, each time interrupted, and then to its end.

    python interrupted.py kills N COMMAND FOLDER WORDS...     N SIGKILLs at random moments
    python interrupted.py writes COMMAND FOLDER WORDS...      no room left at the first write below FOLDER, at the second, ...
    python interrupted.py strikes COMMAND FOLDER WORDS...     SIGKILL at the first write below FOLDER, at the second, ...; of many at some

Prints as JSON how the last, undisturbed run ended, how often the command was interrupted, and what the interrupted runs said.
"""

import json
import os
import random
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def begun(command, words, said, nth=None, below="", what=None):
    """Fork a process that runs the command; with `nth`, it does `what` at its nth write below a folder. Return its id."""
    if child := os.fork():
        return child
    status = 70
    try:
        os.setsid()
        for path, number in ((os.devnull, 1), (said, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        if nth is not None:
            sys.addaudithook(at_write(nth, str(Path(below).resolve()), what))
        from mmgan.commands.endings import ended_well
        from mmgan.commands.job import run_command

        ended_well(lambda: run_command(command, words))
        status = 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr, flush=True)
        status = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(status)


def no_room(path):
    raise OSError(28, "No space left on device", path)


def struck(path):
    os.kill(os.getpid(), signal.SIGKILL)


def at_write(nth, below, what):
    """Return a hook of Python's that does `what` at the nth write below a folder, and at all that follow."""
    seen = 0

    def hook(event, args):
        nonlocal seen
        writes = (event == "open" and isinstance(args[0], str) and args[2] & WRITING) or event == "os.rename"
        if writes and os.path.abspath(args[0]).startswith(below):
            seen += 1
            if seen >= nth:
                what(args[0])

    return hook


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(times, command, folder, words):
    """Yield nothing where the command had ended before it could be killed, else a line of what it had said."""
    rng, said = random.Random(0), Path(folder, "said")
    start = time.perf_counter()
    assert ended(begun(command, [word.replace(folder, f"{folder}/whole") for word in words], said)) == 0, (
        said.read_text()
    )
    length = time.perf_counter() - start
    for number in range(times):
        child = begun(command, words, said)
        time.sleep(rng.uniform(0.05, 0.9) * length)
        (os.kill if number % 2 else os.killpg)(child, signal.SIGKILL)  # its workers notice by themselves, or die too
        if ended(child) == -signal.SIGKILL:
            yield "killed"


def at_each_write(what, command, folder, words):
    """Yield how the command ends and what it says, once for each write at which `what` is done, until there are no more."""
    said, out = Path(folder, "said"), Path(folder, "out")
    nth, step = 0, 1
    while nth < 1000:
        nth += step
        step = max(1, nth // 3) if what is struck else 1
        status = ended(begun(command, words, said, nth, str(out), what))
        text = said.read_text()
        if status == 0 or (what is struck and status != -signal.SIGKILL):
            return
        yield f"{status} {text.strip().splitlines()[-1] if text.strip() else ''}"


def main(kind, *words):
    times, words = (int(words[0]), words[1:]) if kind == "kills" else (0, words)
    command, folder, *options = words
    import_module(f"mmgan.commands.{command}")  # here, so that each process need not
    what = {"writes": no_room, "strikes": struck}
    how = (killed, times) if kind == "kills" else (at_each_write, what[kind])
    interrupted = list(how[0](how[1], command, folder, options))
    status = ended(begun(command, options, Path(folder, "said")))
    print(json.dumps({"status": status, "interrupted": interrupted, "said": Path(folder, "said").read_text()[-500:]}))


if __name__ == "__main__":
    main(*sys.argv[1:])

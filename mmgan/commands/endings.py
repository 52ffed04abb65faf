"""How a command ends: what the user can mend is one sentence and status 1, an interrupt 130, a fault 70 and a log file."""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

# All else is imported where it is used: an interrupt meanwhile ends like any other.
FAULT = 70  # exit status, EX_SOFTWARE of sysexits.h; that of a signal is its number above 128


def ended_well(run: Callable[[], Any]) -> None:
    """Run it, and end the process with one sentence on stderr where it fails."""
    open_streams()
    signal.signal(signal.SIGINT, leave_at_once)  # until the job begins there is nothing to save
    try:
        try:
            os.getcwd()
        except FileNotFoundError:
            end("error: the folder that this runs in has been removed; change to another one.", 1)
        try:
            run()
        finally:
            sys.stdout.flush()  # here: as Python ends, a reader that has gone would be an error
    except BrokenPipeError:  # whoever reads the output, such as `head`, has seen enough
        _print_nothing_more()
        sys.exit(1)
    except KeyboardInterrupt:
        leave_at_once()
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO) and error.filename is None:
            _print_nothing_more()
            end(f"error: the output cannot be written ({error.strerror}); make room where it goes.", 1)
        fault(error)


def _print_nothing_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes as it ends


def open_streams() -> None:
    """Give streams that are closed to the null device, whose numbers files would take, and let those of any encoding print any name."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process lives
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does


def fault(error: Exception, blamed: str = "") -> None:
    """End the process for the exception in hand, which nobody expected; `blamed`: what the user named that mmgan does not know."""
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("mmgan"):
        end(f"error: the package {error.name} is missing; install mmgan with what it needs (README, Install).", 1)
    if blamed:
        end(f"error: {blamed}: this does not serve here ({type(error).__name__}); {_logged()} says more.", 1)
    end(f"error: this is a fault of mmgan ({type(error).__name__}); {_logged()} says more.", FAULT)


def keep_interrupts() -> None:
    """Let an interrupt come again that falls into a callback or a destructor, where Python would show it and go on."""

    def shown(raised: Any) -> None:
        if not issubclass(raised.exc_type, KeyboardInterrupt):
            return sys.__unraisablehook__(raised)
        import _thread
        import time

        def again() -> None:
            time.sleep(0.1)  # not here, where it would be lost as well
            _thread.interrupt_main()

        _thread.start_new_thread(again, ())  # a Thread's start waits for it, and may wait for longer than it sleeps

    sys.unraisablehook = shown


def leave_at_once(number: int = signal.SIGINT, frame: Any = None) -> None:
    """End the process for an interrupt or another signal, with one line, and without anything that Python does as it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sys.stdout.flush()
        print(
            "\ninterrupted: a training goes on with resume=true, a sweep by the same command.",
            file=sys.stderr,
            flush=True,
        )
    finally:  # also where nobody reads any more
        os._exit(128 + number)


def end(sentence: str, status: int) -> None:
    """End the process with a sentence on stderr and this status."""
    print(sentence, file=sys.stderr)
    sys.exit(status)


def _logged() -> str:
    """Write what is known of the exception in hand into a file, and return where."""
    import tempfile
    import time
    import traceback

    name = f"{time.strftime('%Y-%m-%d-%H-%M-%S')}-{os.getpid()}.log"
    text = f"{' '.join(sys.argv)}\n\n{traceback.format_exc()}"
    path = os.path.join("runs", "errors", name)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(path, text)
    except OSError:  # a folder that takes no files
        path = os.path.join(tempfile.gettempdir(), f"mmgan-{name}")
        _write(path, text)
    return path


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text)

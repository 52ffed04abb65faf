"""Python in processes of their own: started anew, or forked from one that has the libraries loaded, which takes longer than a small run."""

import atexit
import os
import runpy
import subprocess
import sys
import threading
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from mmgan.training import class_pictures

LOADED = [
    "mmgan.commands.build",
    "mmgan.commands.evaluate",
    "mmgan.commands.tune",
    "mmgan.training.class_pictures",
    "scipy.stats",
]


def python(words: list[str], where: Path, *, anew: bool = False) -> str:
    """Run `python WORDS` in the folder `where`, words as of a command line; return what it prints, once it has ended well."""
    if anew:
        done = subprocess.run([sys.executable, *words], cwd=where, capture_output=True, text=True)
        status, said, errors = done.returncode, done.stdout, done.stderr
    else:
        status, said, errors = _forked(words, where)
    assert status == 0, f"{words}\n{said[-800:]}\n{errors[-2000:]}"
    return said


def _forked(words: list[str], where: Path) -> tuple[int, str, str]:
    context = get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    with TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("out", "err")]
        process = context.Process(target=_main, args=(words, where, files, dict(os.environ)))
        process.start()
        process.join()
        return process.exitcode, *(path.read_text(encoding="utf-8") for path in files)


def _main(words: list[str], where: Path, files: list[Path], environment: dict[str, str]) -> None:
    """Do what Python does with these words, as it starts and as it ends, without pictures of each class, which take longer than a small run."""
    for descriptor, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(where)
    class_pictures.class_figures = lambda *samples: ()
    try:
        if words[0] in ("-c", "-m"):
            sys.path.insert(0, str(where))
            sys.argv = [words[0], *words[2:]]
            if words[0] == "-c":
                exec(words[1], {"__name__": "__main__"})
            else:
                runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(words[0]).parent))
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    finally:
        threading._shutdown()  # by which joblib's workers end, which would otherwise wait for five minutes
        atexit._run_exitfuncs()

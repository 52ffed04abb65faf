"""What only Linux has is not needed: the commands run with it hidden, as on Windows and macOS."""

import os
import re
import subprocess
import sys

import pytest
from conftest import CONF

ROOT = CONF.parent
LINUX_ONLY = r"\bfcntl\b|sched_getaffinity|\bos\.fork|\bSIGKILL\b|\bSIGHUP\b|\bimport resource\b|get_context\(\"fork"

# Python runs it as it starts, in every process. What the two libraries use of the system is their own affair, as on Windows; Lightning
# asks for SIGKILL wherever the system is called Linux.
HIDE = """
import multiprocessing, os, signal, sys
import filelock, psutil
for name in ("fcntl", "resource"):
    sys.modules[name] = None
for module, names in ((os, ("fork", "forkpty", "sched_getaffinity", "sched_setaffinity")), (signal, ("SIGHUP",))):
    for name in names:
        delattr(module, name)
multiprocessing.set_start_method("spawn", force=True)
"""
TINY = ["data=pkl", "model=vae", "data.steps_per_epoch=2", "data.batch_size=16", "trainer.max_epochs=2"]


def test_nothing_of_mmgan_names_what_only_linux_has():
    files = [*(ROOT / "mmgan").rglob("*.py"), *ROOT.glob("*.py")]
    assert len(files) > 50
    assert not [path for path in files if re.search(LINUX_ONLY, path.read_text(encoding="utf-8"))]


@pytest.fixture
def hidden(tmp_path):
    """Run a script of the checkout in a process, and in all that it starts, without what only Linux has."""
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text(HIDE)

    def run(*command):
        path = os.pathsep.join([str(tmp_path / "hide"), str(ROOT), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


def test_it_is_hidden(hidden):
    told = hidden("-c", "import os, signal; print(hasattr(os, 'fork'), hasattr(signal, 'SIGHUP'))\ntry:\n import fcntl\nexcept ImportError:\n print('no fcntl')")  # fmt: skip
    assert told.split() == ["False", "False", "no", "fcntl"]


@pytest.mark.slow
def test_the_commands_run_without_it(hidden, tiny, tmp_path):
    hidden(f"{ROOT}/train.py", *TINY, f"data.path={tiny}", "out_dir=run", "final=true")
    search = ["search.epochs=1", "n_trials=3", "workers=2", "out_dir=sweep"]
    hidden(f"{ROOT}/tune.py", *TINY, f"data.path={tiny}", *search)
    assert (tmp_path / "sweep" / "summary.html").exists()
    assert "synthetic.pkl" in hidden(f"{ROOT}/synthesize.py", "ckpt=run")
    hidden(f"{ROOT}/evaluate.py", "synthetic=run/synthetic.pkl", "quick=true", "workers=2")
    assert (tmp_path / "run" / "synthetic-report" / "report.html").exists()

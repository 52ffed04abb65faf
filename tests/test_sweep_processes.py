"""Sweeps in several processes, and jobs of a launcher: what they share, and what they survive."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
from conftest import CONF, quick_judge
from optuna.trial import TrialState
from postgres import running_server
from sqlalchemy.exc import SQLAlchemyError
from test_tuning import begin, closed, config, study_of

from mmgan.tuning import storage
from mmgan.tuning.storage import Storage
from mmgan.tuning.study import RETRY_OF, WORKER

ROOT = CONF.parent
SMALL = ["data=linear2d", "model=gan", "data.steps_per_epoch=20", "trainer.max_epochs=2", "search.epochs=2", "fold=1"]
SMALLEST = [
    "data.steps_per_epoch=2",
    "data.n_train=160",
    "data.n_test=0",
    "trainer.max_epochs=1",
    "search.epochs=1",
    "callbacks.pictures=null",
    "model.n_calibration_samples=100",
]


def start(*words, log):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    given = {word.partition("=")[0] for word in words}
    small = [word for word in SMALL if word.partition("=")[0] not in given]
    command = [sys.executable, str(ROOT / "tune.py"), *small, *words]
    with log.open("w") as said:
        return subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)


@pytest.mark.slow
def test_workers_share_one_study_and_one_that_is_ended_is_replaced(tmp_path):
    sweep = start("workers=2", "n_trials=24", f"out_dir={tmp_path / 'sweep'}", log=tmp_path / "log")
    url = f"sqlite:///{tmp_path / 'sweep' / 'study.db'}"
    ended = set()
    for how, seen in ((signal.SIGKILL, 3), (signal.SIGTERM, 7)):  # the latter is Lightning's after a batch
        workers = {t.user_attrs[WORKER] for t in wait_for_trials(url, seen) if WORKER in t.user_attrs} - ended
        ended.add(worker := next(iter(workers)))
        os.kill(pid_of(worker), how)
    assert sweep.wait() == 0, (tmp_path / "log").read_text()
    trials = trials_at(url)
    check_whole(trials, 24)
    assert len({t.user_attrs[WORKER] for t in trials if WORKER in t.user_attrs}) == 4
    assert (tmp_path / "sweep" / "best.ckpt").exists()


@pytest.mark.slow
def test_processes_on_one_database_share_its_budget_through_a_kill_and_a_restart(tmp_path):
    with running_server() as server:
        words = ["n_trials=24", f"storage={server.url}", "study=shared", "data.steps_per_epoch=5", "search.epochs=1"]
        sweeps = [start(*words, f"out_dir={tmp_path / f'machine{k}'}", log=tmp_path / f"log{k}") for k in range(4)]
        wait_for_trials(server.url, 4, "shared-fold1")
        killed = struck(lambda: trials_at(server.url, "shared-fold1"), {sweep.pid for sweep in sweeps})
        server.restart(away=5)
        ended = {sweep.pid: sweep.wait() for sweep in sweeps}
        assert ended.pop(killed) == -signal.SIGKILL and set(ended.values()) == {0}, (tmp_path / "log1").read_text()
        trials = trials_at(server.url, "shared-fold1")
        # A server that restarts lets go of the lock: each of the three left may then begin the last trial.
        check_whole(trials, 24, most=26)
        assert any(t.user_attrs.get(RETRY_OF) is not None for t in trials)
        assert sum((tmp_path / f"machine{k}" / "best.ckpt").exists() for k in range(4)) == 3


def pid_of(worker):
    return int(worker.split("_")[1])


def trials_at(url, name="linear2d-gan-fold1"):
    """Return the trials of a study."""
    storage = Storage(url)  # which waits for whoever makes the tables
    try:
        return optuna.load_study(study_name=name, storage=storage).trials
    finally:
        closed(storage)


def wait_for_trials(url, count, name="linear2d-gan-fold1"):
    """Return the trials of a study once so many have ended."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        time.sleep(1)
        with contextlib.suppress(KeyError, SQLAlchemyError, RuntimeError):  # not yet there, or not yet whole
            trials = trials_at(url, name)
            if len([t for t in trials if t.state.is_finished()]) >= count:
                return trials
    raise AssertionError("no trials")


def struck(trials, pids):
    """Kill one of these processes while it runs a trial, and return which."""
    for _ in range(600):
        time.sleep(0.1)
        for trial in trials():
            mark = trial.user_attrs.get(WORKER)
            if trial.state == TrialState.RUNNING and mark and pid_of(mark) in pids:
                os.kill(pid_of(mark), signal.SIGSTOP)  # lest the trial ends just now
                if trials()[trial.number].state == TrialState.RUNNING:
                    os.kill(pid_of(mark), signal.SIGKILL)
                    return pid_of(mark)
                os.kill(pid_of(mark), signal.SIGCONT)
    raise AssertionError("no trial runs")


def check_whole(trials, n_trials, most=None):
    """Assert that so many trials count (or at most so many), that none is open, and that no two of the first, random ones are the same."""
    cut_off = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    counted = [trial for trial in trials if trial.number not in cut_off]
    assert n_trials <= len(counted) <= (most or n_trials) and all(trial.state.is_finished() for trial in trials)
    assert all(trials[number].state == TrialState.FAIL for number in cut_off - {None})  # nothing finished is repeated
    first = [str(trial.params) for trial in counted[:10]]
    assert len(set(first)) == len(first)


@pytest.mark.slow
def test_a_silent_trial_of_another_machine_is_run_again(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    monkeypatch.setattr(storage, "STALE_AFTER", 2)
    with running_server() as server, quick_judge():
        study = study_of(tiny, tmp_path, cfg=config(tiny, "n_trials=1"), storage=Storage(server.url))
        params = begin(study)
        trial = study.trials()[0]._trial_id
        study.study._storage.set_trial_user_attr(trial, WORKER, "elsewhere_1_1")
        study.study._storage.record_heartbeat(trial)
        assert not study.run_next()  # it may well be alive
        time.sleep(4)
        assert study.run_next()
        assert [t.state for t in study.trials()] == [TrialState.FAIL, TrialState.COMPLETE]
        assert study.trials()[1].params == params
        closed(study.storage)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (
            "of=kills kills=3 trials=1 within=3",
            ["| a worker | 1 |", "| all | 1 |", "| finished trials lost or changed | 0 |"],
        ),
        ("of=workers minutes=.6 turns=1 data=linear2d model=gan", ["| 2 |", "| ratio |"]),
        ("of=plain trials=1 data=linear2d model=gan", ["| 0 | ", "| median |"]),
    ],
)
def test_the_benchmark_of_sweeps_runs(words, shown, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "sweep.py"),
        *words.split(),
        f"overrides={' '.join(SMALLEST)}",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(text in done.stdout for text in shown), done.stdout


# -- launchers ----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["submitit_local", "ray"])  # joblib: by a command of docs/sweeps.md
def test_a_launcher_trains_folds_as_jobs(tmp_path, launcher):
    words = ["data=linear2d", "model=gan", *(word for word in SMALLEST if not word.startswith("search")), "fold=1,2"]
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        "-m",
        *words,
        f"launcher={launcher}",
        f"out_dir={tmp_path / 'folds'}",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all((tmp_path / "folds" / f"fold{k}" / "metrics.json").exists() for k in (1, 2))


def test_without_the_plug_ins_the_command_that_installs_them_is_told():
    from mmgan.commands.sentences import sentence

    message = "In 'hydra/config': Could not find 'hydra/launcher/submitit_slurm'\n\nAvailable options in 'hydra/launcher': basic"
    assert sentence(ValueError(message)) == (
        'launcher=slurm needs a plug-in of Hydra: python -m pip install -c constraints.txt -e ".[cluster]".'
    )

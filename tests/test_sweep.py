"""What a sweep's processes share and survive: the storage, the budget, dead workers, and the first trials."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import optuna
import pytest
import yaml
from conftest import CONF, quick_judge
from optuna.trial import TrialState
from postgres import running_server
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from test_tuning import begin, config, study_of

from mmgan.commands.tune import tune_folds
from mmgan.data.presence import worker_id
from mmgan.errors import MmganError
from mmgan.tuning import storage
from mmgan.tuning.space import suggest
from mmgan.tuning.storage import Storage, shown_url
from mmgan.tuning.study import MOST_RETRIES, RETRY_OF, WORKER, FoldStudy

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


@pytest.fixture(autouse=True)
def quiet(quick):
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def storage_in(path):
    return Storage(f"sqlite:///{path / 'study.db'}")


# -- the storage --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url",
    ["mysql://me@here/db", "nonsense", "postgresql://me@here/db", "sqlite://", "postgresql+psycopg://me@here:port/db"],
)
def test_a_storage_of_another_kind_is_refused(url):
    with pytest.raises(MmganError, match=r"give postgresql\+psycopg://"):
        Storage(url)


@pytest.mark.parametrize(
    "url",
    [
        "//me:secret@here/db",
        "//here/db?password=secret&user=me",
        "//me:secret@here:port/db",
        "/me:secret",
        "//me:a@secret@here/db",
        "//here/db?sslpassword=secret",
        "//here/db?PASSWORD=secret&passfile=secret",
    ],
)
def test_a_password_is_never_shown(url):
    assert "secret" not in shown_url(f"postgresql+psycopg:{url}")


def test_a_password_with_an_at_is_told_without_it():
    with pytest.raises(MmganError, match=r"^storage=\*\*\*: its password holds an @; write %40 for it\.$"):
        Storage("postgresql+psycopg://me:a@secret@here/db")


def test_a_file_that_is_no_study_is_told(tmp_path):
    (tmp_path / "study.db").write_text("this is no data base, but a text of some length\n" * 100)
    with pytest.raises(MmganError, match="not a database"):
        storage_in(tmp_path)


def test_a_folder_that_takes_no_files_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MmganError, match="cannot write there"):
        storage_in(tmp_path / "file")


def test_a_study_with_damaged_cells_is_told_and_left_as_it_is(tiny, tmp_path):
    study, file = study_of(tiny, tmp_path), tmp_path / "study.db"
    trial = study.study.ask()
    suggest(trial, study.settings.space)
    study.study.tell(trial, 0.5)
    closed(study.storage)
    whole = file.read_bytes()
    for damage in (
        "update study_user_attributes set value_json = '{'",
        "update trial_user_attributes set value_json = null",
        "update trial_params set distribution_json = 'x'",
        "update trials set state = 'GONE'",
        "update trials set number = 7",
        "drop table studies",
        "drop table trial_values",
    ):
        file.write_bytes(whole)
        with contextlib.closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(damage)
        damaged, store = file.read_bytes(), storage_in(tmp_path)
        with pytest.raises(MmganError, match=r"study\.db: the study there is damaged \(.+\); .* another out_dir="):
            FoldStudy(study.settings, 1, store, study.runner)
        closed(store)
        assert file.read_bytes() == damaged or damage.startswith("drop")  # Optuna makes tables that are not there


@pytest.mark.slow
def test_a_study_that_can_no_longer_be_written_ends_the_sweep_and_fails_no_trial(tiny, tmp_path, monkeypatch):
    study = study_of(tiny, tmp_path)
    run = FoldStudy._run
    monkeypatch.setattr(FoldStudy, "_run", lambda self, trial: (fill(), run(self, trial))[1])

    def fill():
        for name in (
            "set_trial_intermediate_value",
            "set_trial_state_values",
            "set_trial_user_attr",
            "_create_new_trial",
        ):
            monkeypatch.setattr(Storage, name, storage._patient(full))

    def full(self, *args, **kwargs):
        raise OperationalError("insert", {}, Exception("database or disk is full"))

    with pytest.raises(MmganError, match=r"study\.db: .*disk is full.* the same command goes on"):
        study.run_next()
    monkeypatch.undo()
    study.requeue_all()  # as the next call does
    assert not study.finished() and study.run_next()
    assert [trial.state for trial in study.finished()] == [TrialState.COMPLETE]


# -- which trials begin -------------------------------------------------------------------------------------------------
def test_the_first_trial_is_the_default_and_the_second_that_of_another_fold(tiny, tmp_path):
    (tmp_path / "other").mkdir()
    best = {"model.latent_dim": 3, "model.weights.generator.kl": 0.02, "model.critic.width": 8}
    (tmp_path / "other" / "best_params.yaml").write_text(yaml.safe_dump({**best, "model.gone": 1}))
    cfg = config(tiny, f"warm_start={tmp_path / 'other'}")
    study = study_of(tiny, tmp_path, cfg=cfg)
    first = begin(study)
    assert (first["model.latent_dim"], first["model.weights.generator.kl"]) == (4, 0.05)
    assert first["model.critic.width"] in (8, 12)  # the default, 16, is not in the space
    assert begin(study) == best
    again = study_of(tiny, tmp_path, cfg=cfg)  # opening it again queues nothing twice
    assert len(again.trials()) == 2


def test_a_default_outside_the_space_is_left_to_the_sampler(tiny, tmp_path):
    space = {"model.latent_dim": {"type": "int", "low": 40, "high": 50}}
    assert 40 <= begin(study_of(tiny, tmp_path, cfg=config(tiny, space=space)))["model.latent_dim"] <= 50


def test_a_warm_start_from_nowhere_is_refused_first(tiny, tmp_path):
    with pytest.raises(MmganError, match=r"warm_start=.*no best parameters"):
        tune_folds(config(tiny, f"warm_start={tmp_path}", f"out_dir={tmp_path / 'sweep'}"))
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_budget_of_epochs_or_of_time_ends_a_study(tiny, tmp_path):
    study = study_of(tiny, tmp_path, cfg=config(tiny, "max_epochs=2", "n_trials=9"))
    while study.run_next():
        pass
    assert sum(len(trial.intermediate_values) for trial in study.finished()) == 2
    late = study_of(tiny, tmp_path / "late", cfg=config(tiny, "timeout=0"))
    assert not late.more()


def test_a_sweep_without_time_for_a_trial_says_so(tiny, tmp_path):
    with pytest.raises(MmganError, match="time was over before a trial"):
        tune_folds(config(tiny, "timeout=0", "fold=1", f"out_dir={tmp_path / 'sweep'}"))


@pytest.mark.slow
def test_one_worker_s_sweep_repeats_itself(tiny, tmp_path):
    first, second = (study_of(tiny, tmp_path / name) for name in ("first", "second"))
    for study in (first, second):
        while study.run_next():
            pass
    assert [(t.params, t.value, t.state) for t in first.trials()] == [
        (t.params, t.value, t.state) for t in second.trials()
    ]
    assert len({str(t.params) for t in first.trials()}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["hyperband", "halving", "none"])
def test_every_pruner_runs(tiny, tmp_path, pruner):
    study = study_of(tiny, tmp_path, cfg=config(tiny, f"pruner={pruner}"))
    assert study.run_next() and study.finished()
    assert (
        type(study.study.pruner)
        .__name__.lower()
        .startswith({"halving": "successivehalving", "none": "nop"}.get(pruner, pruner))
    )


# -- dead workers -------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_trial_of_a_dead_process_is_run_again_by_whoever_is_next(tiny, tmp_path):
    study = study_of(tiny, tmp_path, cfg=config(tiny, "n_trials=1"))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    params = begin(study)
    study.study._storage.set_trial_user_attr(
        study.trials()[0]._trial_id, WORKER, f"{worker_id().split('_')[0]}_{gone.pid}_1"
    )
    assert study.run_next()
    lost, again = study.trials()
    assert lost.state == TrialState.FAIL and again.params == params and again.user_attrs[RETRY_OF] == 0


def test_the_trial_of_a_living_process_is_left_alone(tiny, tmp_path):
    study = study_of(tiny, tmp_path, cfg=config(tiny, "n_trials=1"))
    begin(study)
    study.study._storage.set_trial_user_attr(study.trials()[0]._trial_id, WORKER, worker_id())
    assert not study.run_next() and len(study.running()) == 1


def test_a_trial_that_ended_is_not_queued_again(tiny, tmp_path):
    study = study_of(tiny, tmp_path)
    study.run_next()
    study.requeue(study.trials())
    assert len(study.trials()) == 1 and len(study.finished()) == 1


def test_a_default_that_is_cut_off_at_once_stays_the_default(tiny, tmp_path):
    study = study_of(tiny, tmp_path)
    study.study.ask()  # and gone before it has suggested anything
    study.requeue_all()
    assert begin(study)["model.latent_dim"] == 4


def test_a_trial_that_others_gave_up_ends_quietly(tiny, tmp_path, monkeypatch):
    study = study_of(tiny, tmp_path)
    run = FoldStudy._run
    monkeypatch.setattr(FoldStudy, "_run", lambda self, trial: (self.requeue_all(), run(self, trial))[1])
    assert study.run_next()
    assert [trial.state for trial in study.trials()] == [TrialState.FAIL, TrialState.WAITING]


def test_an_interrupted_trial_is_queued_again_however_often(tiny, tmp_path, monkeypatch):
    study = study_of(tiny, tmp_path)
    monkeypatch.setattr(FoldStudy, "_run", lambda self, trial: (_ for _ in ()).throw(KeyboardInterrupt))
    for _ in range(MOST_RETRIES + 2):
        with pytest.raises(KeyboardInterrupt):
            study.run_next()
    states = [trial.state for trial in study.trials()]
    assert states == [TrialState.FAIL] * (MOST_RETRIES + 2) + [TrialState.WAITING] and not study.finished()


def test_a_trial_that_kills_its_process_each_time_counts_as_failed(tiny, tmp_path):
    study = study_of(tiny, tmp_path)
    for _ in range(MOST_RETRIES + 1):
        begin(study)
        study.requeue_all()
    assert not [t for t in study.trials() if t.state == TrialState.WAITING] and len(study.finished()) == 1


def test_a_trial_that_ends_while_it_is_given_up_counts_and_so_does_its_repetition(tiny, tmp_path):
    study = study_of(tiny, tmp_path)
    trial = study.study.ask()
    study._queue_again(study.trials()[0], killed=True)
    study.study.tell(trial, 0.5)
    study.requeue_all()
    assert [t.state for t in study.finished()] == [TrialState.COMPLETE]
    assert study.run_next() and len(study.finished()) == 2


def test_a_trial_that_others_gave_up_before_it_was_marked_is_left_to_them(tiny, tmp_path, monkeypatch):
    study, claimed = study_of(tiny, tmp_path), []
    lock = Storage.lock

    @contextlib.contextmanager
    def lost(self, name):
        with lock(self, name):
            claimed.append(name)
            yield lambda: len(claimed) > 1  # at first: no, a restart took it away

    monkeypatch.setattr(Storage, "lock", lost)
    assert study.run_next()
    first, again = study.trials()
    assert first.state == TrialState.FAIL and again.user_attrs[RETRY_OF] == 0 and again.state == TrialState.COMPLETE


def test_past_its_deadline_a_process_waits_for_its_own_machine_alone(tiny, tmp_path):
    study = study_of(tiny, tmp_path)
    begin(study)
    trial = study.trials()[0]._trial_id
    study.study._storage.set_trial_user_attr(trial, WORKER, "elsewhere:1:1")
    assert study.waits()
    study.settings = replace(study.settings, deadline=0.0)
    assert not study.waits()
    study.study._storage.set_trial_user_attr(trial, WORKER, worker_id())
    assert study.waits()


def test_who_only_looks_queues_nothing(tiny, tmp_path):
    study_of(tiny, tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "best_params.yaml").write_text("model.latent_dim: 3\n")
    cfg = config(tiny, f"warm_start={tmp_path / 'other'}")
    looking = study_of(tiny, tmp_path, cfg=cfg, create=False)
    assert len(looking.trials()) == 1


def test_a_trial_that_would_be_pruned_at_its_end_is_complete(tiny, tmp_path, monkeypatch):
    study = study_of(tiny, tmp_path)
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda self: True)
    study.run_next()
    assert [(t.state, t.value) for t in study.trials()] == [
        (TrialState.COMPLETE, study.trials()[0].intermediate_values[0])
    ]


# -- reports ------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_running_sweep_can_be_reported_on(tiny, tmp_path):
    words = [f"out_dir={tmp_path}", "fold=all", "n_trials=2"]
    with pytest.raises(MmganError, match="no sweep to report on"):
        tune_folds(config(tiny, *words, "report=true"))
    cfg = config(tiny, *words)
    storage = storage_in(tmp_path)
    studies = [study_of(tiny, tmp_path / f"fold{fold}", fold, cfg, storage) for fold in range(1, 6)]
    for study in studies[:2]:
        study.run_next()
    begin(study)
    tune_folds(config(tiny, *words, "report=true"))
    text = (tmp_path / "summary.md").read_text()
    assert "still running: 1" in text and "python -m mmgan synthesize ckpt=" in text and "| mean | 2 |" in text
    assert {"summary.html", "summary.json"} <= {path.name for path in tmp_path.iterdir()}


# -- processes ----------------------------------------------------------------------------------------------------------
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


def closed(storage):
    storage.remove_session()
    storage.engine.dispose()


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
        study.study._storage.set_trial_user_attr(trial, WORKER, "elsewhere:1:1")
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


def test_why_the_file_is_no_journal(tmp_path):
    """A journal whose writer was killed within a line cannot be gone on with; should that change, it is the quicker one."""
    journal = optuna.storages.journal.JournalFileBackend
    path = tmp_path / "journal.log"
    study = optuna.create_study(storage=optuna.storages.JournalStorage(journal(str(path))), study_name="torn")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Exception):  # noqa: B017 - of a kind that nobody promises
        again = optuna.load_study(storage=optuna.storages.JournalStorage(journal(str(path))), study_name="torn")
        again.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)

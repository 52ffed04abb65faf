"""A sweep: its storage, its budget, its first trials, and those of dead workers."""

import contextlib
import sqlite3
import subprocess
import sys
import warnings
from dataclasses import replace

import optuna
import pytest
import yaml
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError
from test_tuning import begin, closed, config, study_of

from mmgan.commands.tune import tune_folds
from mmgan.data.presence import worker_id
from mmgan.errors import MmganError
from mmgan.tuning import storage
from mmgan.tuning.space import suggest
from mmgan.tuning.storage import Storage, shown_url
from mmgan.tuning.study import MOST_RETRIES, RETRY_OF, WORKER, FoldStudy


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

"""The study of one fold: how long it is, what it survives, what it refuses, what it leaves."""

import warnings

import optuna
import pandas as pd
import pytest
import yaml
from conftest import compose, quick_judge
from omegaconf import OmegaConf
from optuna.trial import TrialState

import mmgan
from mmgan.commands.tune import ConfiguredTrials, run_sweep, sweep_settings, tune_folds, with_params
from mmgan.errors import MmganError
from mmgan.training.checkpoint import read_checkpoint
from mmgan.training.folder import RunFolder
from mmgan.tuning.space import suggest
from mmgan.tuning.storage import Storage
from mmgan.tuning.study import FoldStudy
from mmgan.tuning.sweep import Sweep

SPACE = {
    "model.latent_dim": {"type": "int", "low": 2, "high": 6},
    "model.weights.generator.kl": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
    "model.critic.width": {"type": "categorical", "choices": [8, 12]},
}


@pytest.fixture(autouse=True)
def quiet_optuna(quick):
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def config(path, *overrides, space=SPACE):
    small = ["search.epochs=1", "search.n_startup=2", "n_trials=3", "data.steps_per_epoch=1"]
    cfg = compose("tune", *small, *overrides, path=path)
    OmegaConf.set_struct(cfg, False)
    cfg.search.space = space
    OmegaConf.set_struct(cfg, True)
    return cfg


def states(path):
    return list(pd.read_csv(path / "trials.csv").state)


def sweep_of(cfg, path, fold=1):
    """Return the sweep of one fold, whose study is in its folder."""
    trials = ConfiguredTrials(cfg)
    return Sweep(sweep_settings(cfg, trials, {fold: path}, path), trials)


def study_of(data, path, fold=1, cfg=None, storage=None, create=True):
    """Return the study that a sweep of one fold has in its folder, or in another storage."""
    sweep = sweep_of(cfg or config(data), path, fold)
    return FoldStudy(sweep.settings, fold, storage or Storage(sweep.settings.url), sweep.trials, create)


def tune(cfg, fold, path):
    """Run the sweep of one fold in its folder."""
    return run_sweep(sweep_of(cfg, path, fold), path)[fold]


def closed(storage):
    storage.remove_session()
    storage.engine.dispose()


def begin(study):
    """Begin a trial in this process, as one does that is then killed."""
    return suggest(study.study.ask(), study.settings.space)


def params_of(study):
    return [trial.params for trial in study.trials()]


@pytest.fixture(scope="module")
def swept(tiny, tmp_path_factory):
    """A study of three trials, and its folder."""
    path = tmp_path_factory.mktemp("sweep") / "fold3"
    with quick_judge(), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return tune(config(tiny), 3, path)


def test_a_sweep_leaves_its_files(swept):
    names = {path.name for path in swept.folder.iterdir()}
    assert {
        "best.ckpt",
        "last.ckpt",
        "best.pth",
        "best_params.yaml",
        "params.yaml",
        "metrics.json",
        "samples.png",
    } <= names
    assert {"trials.csv", "study.db", "history.png", "parameters.png", "importance.png"} <= names
    trials = sorted(path.name for path in (swept.folder / "trials").iterdir())
    assert trials == ["trial000", "trial001", "trial002"]  # none overwrites another's files
    assert len(states(swept.folder)) == 3 and set(states(swept.folder)) <= {"COMPLETE", "PRUNED"}
    assert not [name for name in names if "=" in name]


def test_the_best_parameters_are_refitted_on_all_training_rows(swept, tiny):
    study = study_of(tiny, swept.folder, 3)
    best = yaml.safe_load((swept.folder / "best_params.yaml").read_text())
    assert best == study.best().params and best.keys() == SPACE.keys()
    recipe = read_checkpoint(swept.folder / "best.pth")["recipe"]
    assert recipe["best_params"] == best and recipe["final"] is True and recipe["fold"] == 3
    assert recipe["model"]["latent_dim"] == best["model.latent_dim"]
    assert recipe["model"]["critic"]["width"] == best["model.critic.width"]
    assert swept.metrics["scores"]["score"] > 0
    mmgan.load(swept.folder / "best.ckpt").sample([0, 1])


def test_trials_run_the_search_s_epochs_and_see_no_validation_rows(swept, tiny):
    for trial in study_of(tiny, swept.folder, 3).trials():
        assert list(trial.intermediate_values) == [0]


def test_the_study_of_all_samples_is_named_so_and_goes_on_under_its_former_name(tiny, tmp_path):
    cfg = config(tiny, "fold=none")
    study = study_of(tiny, tmp_path, 0, cfg)
    assert study.name == "data-vacwgan-whole"
    storage = Storage(f"sqlite:///{tmp_path / 'former.db'}")
    optuna.copy_study(
        from_study_name=study.name, from_storage=study.storage, to_storage=storage, to_study_name="data-vacwgan-fold0"
    )
    former = study_of(tiny, tmp_path, 0, cfg, storage)
    assert former.name == "data-vacwgan-fold0" and len(former.trials()) == len(study.trials()) == 1
    assert optuna.get_all_study_names(storage) == ["data-vacwgan-fold0"]


@pytest.mark.slow
def test_n_trials_is_a_total_and_nothing_is_repeated(swept, tiny, tmp_path):
    path = tmp_path / "fold3"
    tune(config(tiny, "n_trials=2"), 3, path)
    first = params_of(study_of(tiny, path, 3))
    refitted = (path / "best.ckpt").stat().st_mtime_ns
    tune(config(tiny, "n_trials=2"), 3, path)
    assert (path / "best.ckpt").stat().st_mtime_ns == refitted  # nothing was left to do
    tune(config(tiny, "n_trials=3"), 3, path)
    study = study_of(tiny, path, 3)
    assert len(states(path)) == 3 and params_of(study)[:2] == first
    assert len({str(params) for params in params_of(study)}) == 3
    whole = study_of(tiny, swept.folder, 3)
    assert [t.value for t in study.trials()[:2]] == [t.value for t in whole.trials()[:2]]  # the same first trials


def test_folds_sample_different_trials(tiny, swept, tmp_path):
    study = study_of(tiny, tmp_path)
    begin(study)  # the default configuration, in every fold
    study.study.sampler = study._sampler(1)
    assert begin(study) != params_of(study_of(tiny, swept.folder, 3))[1]


@pytest.mark.slow
def test_a_trial_that_was_cut_off_is_run_again_and_not_counted(tiny, tmp_path):
    cfg = config(tiny, "n_trials=2")
    study = study_of(tiny, tmp_path, cfg=cfg)
    lost = begin(study)  # its process ends here
    assert study.trials()[0].state == TrialState.RUNNING
    tune(cfg, 1, tmp_path)
    trials = study.trials()
    assert trials[0].state == TrialState.FAIL
    assert len(trials) == 3 and len(study.finished()) == 2
    assert trials[1].params == lost and study.default().number == 1  # it stands for the default as the lost one did
    assert not [state for state in states(tmp_path) if state in ("RUNNING", "WAITING")]


@pytest.mark.slow
def test_a_retried_trial_that_is_cut_off_again_is_run_again(tiny, tmp_path):
    cfg = config(tiny, "n_trials=1")
    study = study_of(tiny, tmp_path, cfg=cfg)
    lost = begin(study)
    study.requeue_all()
    begin(study)  # the retry ends here, too
    tune(cfg, 1, tmp_path)
    assert params_of(study) == [lost] * 3
    assert [trial.state for trial in study.finished()] == [TrialState.COMPLETE]


def test_a_trial_that_kills_its_process_each_time_fails_in_the_end(tiny, tmp_path):
    cfg = config(tiny, "n_trials=1")
    study = study_of(tiny, tmp_path, cfg=cfg)
    for _ in range(4):
        assert study.more()
        begin(study)
        study.requeue_all()
    assert not study.more() and [trial.number for trial in study.finished()] == [3]


def test_another_configuration_is_refused_with_its_keys(swept, tiny):
    with pytest.raises(MmganError, match=r"another configuration \(.*seed: 0 -> 5") as refused:
        tune(config(tiny, "seed=5"), 3, swept.folder)
    assert "n_trials" not in str(refused.value) and "out_dir=" in str(refused.value)


def test_another_sweep_in_the_folder_is_refused(tiny, tmp_path):
    with RunFolder(tmp_path).locked("study.lock"), pytest.raises(MmganError, match=r"another .* out_dir="):
        tune(config(tiny), 1, tmp_path)


@pytest.mark.slow
def test_diverged_trials_fail_the_sweep_goes_on_and_none_complete_is_said(tiny, tmp_path):
    rate = {f"model.lr.{name}": {"type": "categorical", "choices": [1e30]} for name in ("generator", "critic")}
    cfg = config(tiny, "n_trials=2", "data.steps_per_epoch=2", space=rate)
    with pytest.raises(MmganError, match="no trial was completed"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns of each failed trial
        tune(cfg, 1, tmp_path)
    assert states(tmp_path) == ["FAIL", "FAIL"]
    assert not (tmp_path / "best.ckpt").exists()


@pytest.mark.slow
def test_a_trial_whose_samples_are_not_finite_fails_too(tiny, tmp_path):
    rate = {"model.lr.generator": {"type": "categorical", "choices": [1e30]}}
    with pytest.raises(MmganError, match="no trial was completed"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tune(config(tiny, "n_trials=1", space=rate), 1, tmp_path)
    assert states(tmp_path) == ["FAIL"]


def test_a_sweep_without_the_score_that_compares_trials_is_refused(tiny, tmp_path):
    with pytest.raises(
        MmganError, match=r"callbacks\.score=null: it computes what epochs and trials are compared by; leave it on"
    ):
        tune_folds(compose("tune", "model=gan", "callbacks.score=null", f"out_dir={tmp_path / 'sweep'}", path=tiny))
    assert not (tmp_path / "sweep").exists()


def test_too_few_rows_are_told_before_anything_is_written(write_data, tmp_path):
    path = write_data(rows=40)
    with pytest.raises(MmganError, match=r"has no inner split .* use train\.py"):
        tune_folds(config(path, f"out_dir={tmp_path / 'fold1'}"))
    assert not (tmp_path / "fold1").exists()


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({"model.latent_dmi": {"type": "int", "low": 1, "high": 2}}, "there is no key 'model.latent_dmi'"),
        (
            {"model.latent_dim": {"type": "integer", "low": 1, "high": 2}},
            "has type integer; expected one of int, float",
        ),
    ],
)
def test_a_wrong_search_space_is_told_first(tiny, tmp_path, space, sentence):
    with pytest.raises(MmganError, match=sentence):
        sweep_of(config(tiny, space=space), tmp_path)


@pytest.mark.parametrize(("gan_loss", "left_out"), [("wgan_gp", "r1"), ("r3gan", "gradient_penalty")])
def test_a_space_is_left_what_the_chosen_gan_loss_has(tiny, tmp_path, gan_loss, left_out):
    cfg = compose("tune", f"model/gan_loss={gan_loss}", path=tiny)
    removed = set(cfg.search.space) - set(sweep_of(cfg, tmp_path).settings.space)
    assert f"model.weights.critic.{left_out}" in removed and all("weights.critic" in key for key in removed)


def test_parameters_override_dotted_keys_of_a_copy(tiny):
    cfg = config(tiny)
    changed = with_params(cfg, {"model.latent_dim": 6, "model.critic.width": 24})
    assert (changed.model.latent_dim, changed.model.critic.width) == (6, 24)
    assert cfg.model.latent_dim == 4


@pytest.mark.slow
def test_all_folds_are_tuned_each_in_its_own_folder(write_data, tmp_path, capsys):
    path = write_data(rows=160)
    cfg = config(path, "fold=all", "data.n_splits=2", "data.split=stratified", "n_trials=2", f"out_dir={tmp_path}")
    results = tune_folds(cfg)
    assert [result.folder for result in results] == [tmp_path / "fold1", tmp_path / "fold2"]
    assert (tmp_path / "study.db").exists() and (tmp_path / "summary.html").exists()
    shown = capsys.readouterr().out
    assert "cpu, one thread; less than a minute\n" in shown and "mmgan synthesize ckpt=" in shown

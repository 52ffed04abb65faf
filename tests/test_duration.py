"""What a training and a sweep say of their own length before they begin."""

import math
from types import SimpleNamespace

import pytest
from conftest import compose

from mmgan.commands.build import check_run, fold_run, load_data
from mmgan.commands.train import train_folds
from mmgan.training.callbacks import TellEpoch
from mmgan.training.duration import PICTURE, SCORE, about, seconds_of_epoch, seconds_of_training, seconds_of_trials
from mmgan.training.folder import RunFolder
from mmgan.tuning.view import place

STEPS = ["data.steps_per_epoch=40", "trainer.max_epochs=3"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute"), (62, "about 1 minute"), (400, "about 7 minutes"), (1300, "about 20 minutes"),
        (3 * 3600, "about 3 hours"), (50 * 3600, "about 2 days"), (math.nan, ""),
    ],
)  # fmt: skip
def test_a_duration_in_words(seconds, words):
    assert about(seconds) == words


def test_a_few_batches_are_timed_and_the_rest_is_counted(tiny):
    cfg = compose("train", *STEPS, path=tiny)
    run = fold_run(cfg, load_data(cfg), 1)
    ready = check_run(cfg, run)
    epoch = seconds_of_epoch(ready.trainer, ready.model, ready.data)
    assert 0 < ready.trainer.global_step < 40 and 40 * 1e-4 < epoch < 60
    assert seconds_of_training(run, ready.data, 10.0) == pytest.approx(3 * (10.0 + SCORE))
    assert seconds_of_trials(8, 10.0) == pytest.approx(8 * (10.0 + SCORE))
    pictures = "+callbacks.pictures={_target_: mmgan.training.pictures.DrawSamples, every_n_epochs: 2}"
    cfg = compose(
        "train", *STEPS, pictures, path=tiny
    )  # after epochs 1, 2 and the last; and those beside the checkpoint
    seconds = seconds_of_training(fold_run(cfg, load_data(cfg), 1), ready.data, 10.0)
    assert seconds == pytest.approx(3 * (10.0 + SCORE) + 4 * PICTURE * 4 * (2 + 2))


def test_what_is_not_trained_by_batches_or_breaks_has_no_estimate(tiny):
    for model in ("smote", "vacwgan"):
        cfg = compose("train", f"model={model}", path=tiny)
        ready = check_run(cfg, fold_run(cfg, load_data(cfg), 1))
        ready.model.before_batch = lambda x, labels: 1 / 0
        assert math.isnan(seconds_of_epoch(ready.trainer, ready.model, ready.data))


def test_the_line_before_the_first_bar_ends_with_it_and_the_training_is_the_same(tiny, tmp_path, quick, capsys):
    cfg = compose("train", f"out_dir={tmp_path / 'told'}", path=tiny)
    train_folds(cfg)
    assert "cpu, one thread; less than a minute\n" in capsys.readouterr().out
    fold_run(cfg, load_data(cfg), 1).run(tmp_path / "untold")
    told, untold = (RunFolder(tmp_path / name).light.read_bytes() for name in ("told", "untold"))
    assert told == untold


def test_a_sweep_s_view_says_how_far_it_is_and_names_what_has_no_folds(tmp_path):
    settings = SimpleNamespace(n_trials=4, refit_epochs=6)
    study = SimpleNamespace(fold=0, path=tmp_path, settings=settings, finished=lambda: [1, 2, 3])
    assert place(study) == {"description": "all samples", "completed": 3, "total": 4}
    RunFolder(tmp_path).write_json(TellEpoch.file, {"epochs": 2})
    assert place(study) == {"description": "all samples refit", "completed": 2, "total": 6}
    study.fold = 3
    assert place(study)["description"] == "fold 3 refit"

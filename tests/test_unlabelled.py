"""Unlabelled samples: which a model may see, how it draws them, and what is said of them."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from conftest import TWO, compose, content, quick_judge, rows_of

from mmgan.commands.build import train_fold
from mmgan.commands.synthesize import synthesize
from mmgan.data import datamodule as module
from mmgan.data import synthetic_file
from mmgan.data.datamodule import EndlessBatches, FoldDataModule
from mmgan.data.files import read_archive, write_pickle
from mmgan.data.folds import make_folds
from mmgan.data.sources.pkl import pkl
from mmgan.data.unlabelled import unlabelled_pool
from mmgan.errors import MmganError
from mmgan.evaluation.evaluator import Evaluator
from mmgan.evaluation.files import judged_file
from mmgan.evaluation.novelty import TrainingDistance
from mmgan.labelling.teacher import Teacher

TEST = rows_of(TWO, np.arange(60) % 4, seed=5)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("unlabelled") / "data.pkl"
    write_pickle(path, content(rows=200, x_test=TEST, x_unlabelled=rows_of(TWO, np.arange(40) % 4, seed=6)))
    return path


@pytest.fixture
def dataset(path):
    return pkl(str(path))


def served(dataset, source, *, final=True):
    data = FoldDataModule(
        dataset, 1, rows_per_class=20, unlabelled=source, teacher=functools.partial(Teacher), final=final
    )
    data.setup()
    return data


def seen_by(data):
    """All that a model learns from, as bytes."""
    (x, y), weights = data.training_samples()
    batch = next(iter(data.train_dataloader()))
    arrays = [*x.values(), y, weights, *(each.numpy() for each in batch)]
    return b"".join(np.ascontiguousarray(each).tobytes() for each in arrays)


@pytest.mark.parametrize("final", [True, False], ids=["final", "inner split"])
def test_nothing_is_learnt_from_what_judges_nor_from_hidden_labels(dataset, monkeypatch, final):
    folds = make_folds(dataset, "stratified", rows_per_class=20)
    monkeypatch.setattr(module, "make_folds", lambda *args, **options: folds)  # the kept indices are fixed
    before = served(dataset, "rest", final=final)
    kept_back = np.concatenate([before.fold.val_indices, before.inner_val_indices])
    assert not np.isin(before.pool.indices, np.append(kept_back, before.training_indices)).any()
    changed = replace(
        dataset, x_train={n: v.copy() for n, v in dataset.x_train.items()}, y_train=dataset.y_train.copy()
    )
    for values in changed.x_train.values():
        values[kept_back] += 3
    changed.x_test = {name: 1.1 * values for name, values in dataset.x_test.items()}
    changed.y_train[before.pool.indices] = (changed.y_train[before.pool.indices] + 1) % 4
    assert seen_by(served(changed, "rest", final=final)) == seen_by(before)
    assert seen_by(served(changed, "x_test", final=final)) != seen_by(served(dataset, "x_test", final=final))
    changed.x_train["spec"][before.pool.indices[0]] += 1
    assert seen_by(served(changed, "rest", final=final)) != seen_by(before)


def test_every_source(dataset, path, tmp_path):
    fold = make_folds(dataset, "stratified", rows_per_class=20)[0]
    assert unlabelled_pool(dataset, fold, "none") is None
    write_pickle(tmp_path / "more.pkl", TEST)
    sizes = {"rest": 80, "x_test": 60, "x_unlabelled": 40, str(tmp_path / "more.pkl"): 60, str(path): 40}
    assert {source: len(unlabelled_pool(dataset, fold, source)) for source in sizes} == sizes


def test_samples_that_are_known_are_no_pool(dataset, tmp_path):
    mixed = {name: np.concatenate([values[:150], TEST[name][:5]]) for name, values in dataset.x_train.items()}
    write_pickle(tmp_path / "mixed.pkl", mixed)
    fold = make_folds(dataset, "stratified")[0]
    assert unlabelled_pool(dataset, fold, str(tmp_path / "mixed.pkl")).indices.tolist() == [150, 151, 152, 153, 154]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x_more", "data.unlabelled=x_more: .* has no such samples; give x_test, rest, a key"),
        ("rest", "data.unlabelled=rest: there are no unlabelled samples .*data.rows_per_class"),
        ("nowhere.pkl", "nowhere.pkl"),
    ],
)
def test_a_pool_that_is_not_there(dataset, source, said):
    with pytest.raises(MmganError, match=said):
        unlabelled_pool(dataset, make_folds(dataset, "stratified")[0], source)


def test_a_pool_of_other_shapes(dataset, tmp_path):
    write_pickle(tmp_path / "other.pkl", TEST | {"env": TEST["env"][..., :4]})
    with pytest.raises(MmganError, match=r"other.pkl has .* where x_train has .*; give the same to both"):
        unlabelled_pool(dataset, make_folds(dataset, "stratified")[0], str(tmp_path / "other.pkl"))


def test_batches_are_drawn_by_weight():
    batches = EndlessBatches(np.arange(4), 50, 40, seed=0, weights=np.array([3.0, 3.0, 1.0, 1.0]))
    batches.set_epoch(2)
    drawn = np.concatenate(list(batches))
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), [0.375, 0.375, 0.125, 0.125], atol=0.04)
    np.testing.assert_array_equal(drawn, np.concatenate(list(batches)))


def test_a_pool_stands_beside_the_labelled_samples(dataset):
    data = served(dataset, "x_test")
    (x, y), weights = data.training_samples()
    assert len(y) == len(weights) == 80 + 54 and (weights[:80] == 3).all() and (weights[80:] < 1).all()
    kept = data.pseudo_labels.kept
    np.testing.assert_array_equal(x["env"][80:], TEST["env"][kept])
    assert len(next(iter(data.train_dataloader()))[-1]) == data.batch_size


@pytest.mark.parametrize("model", ["smoothed_bootstrap", "vae"])
def test_from_the_option_to_the_exported_file(path, tmp_path, capsys, model):
    options = [f"model={model}", "data.unlabelled=x_test", "final=true", "trainer.max_epochs=1"]
    with quick_judge():
        folder = train_fold(compose("train", *options, path=path), pkl(str(path)), 1, tmp_path / "fold1").folder
    assert (folder / "pseudo_labels.csv").read_text().count("\n") == 61
    assert 2 <= (folder / "next_to_label.csv").read_text().count("\n") <= 21
    assert "unlabelled:\n  source: x_test\n  number: 60\n" in (folder / "params.yaml").read_text()
    out = synthesize(compose("synthesize", f"ckpt={folder}"))
    assert "learned from 60 unlabelled samples (x_test)" in capsys.readouterr().out
    [entry] = read_archive(out)["folds"]
    assert np.bincount(entry["y_synth"]).tolist() == [150] * 4
    assert entry["unlabelled_indices"].tolist() == list(range(60))
    said = entry["unlabelled"]
    assert said["teacher"] == "mmgan.labelling.teacher.Teacher" and said["share_dropped"] == pytest.approx(0.1)
    file = judged_file(synthetic_file.read(out), pkl(str(path)), compose("train", path=path).data)
    assert file.learnt == "learned from 60 unlabelled samples (x_test)"
    np.testing.assert_array_equal(file.folds[0].pool["env"], TEST["env"])


def test_what_was_learnt_from_cannot_judge(path, tmp_path):
    known = replace(pkl(str(path)), y_test=np.arange(60) % 4)
    entry = {"fold": 1, "x_synth": TEST, "y_synth": np.arange(60) % 4}
    claims = {"unlabelled_indices": np.arange(60), "unlabelled": {"source": "x_test", "number": 60}}
    options = compose("train", path=path).data
    for more, judging in (({}, 60), (claims, 40)):
        write_pickle(tmp_path / "s.pkl", {"folds": [entry | more]})
        file = judged_file(synthetic_file.read(tmp_path / "s.pkl"), known, options)
        assert len(file.folds[0].heldout[1]) == judging
    judge = Evaluator(file.folds, quick=True)
    assert judge.distances([file.folds[0].synthetic])["joint"].max() < 1e-6  # copies of the pool


def test_a_sample_of_the_pool_is_near_in_every_class():
    flat, y = np.arange(8.0).reshape(8, 1), np.arange(8) % 2
    far = np.array([[50.0]])
    assert TrainingDistance(flat, y).within_class(far, np.array([1]))[0] == 43 / 2
    known = TrainingDistance(flat, y, far)
    assert known.within_class(far, np.array([1]))[0] == known.to_any(far)[0] == 0

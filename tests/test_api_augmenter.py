"""The Augmenter: conventions of scikit-learn and imbalanced-learn, and a pipeline that augments what it is fitted on alone."""

import numpy as np
import pandas
import pytest
from imblearn.pipeline import make_pipeline
from imblearn.utils.estimator_checks import estimator_checks_generator as sampler_checks
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import estimator_checks_generator as estimator_checks

import mmgan
from mmgan.errors import MmganError

AUGMENTER = mmgan.Augmenter("smoothed_bootstrap", random_state=0)
DOES_NOT_APPLY = {
    "check_samplers_pandas_sparse": "generators take dense samples; sparse ones are refused with a sentence"
}


def checks(generator, **options):
    """Return the parametrisation of a library's checks, those that do not apply as expected failures."""
    cases = [
        case if hasattr(case, "values") else pytest.param(*case)
        for case in generator(AUGMENTER, mark="xfail", **options)
    ]
    names = [getattr(case.values[1], "func", case.values[1]).__name__ for case in cases]
    return pytest.mark.parametrize(("estimator", "check"), cases, ids=names)


@checks(estimator_checks)
def test_conventions_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.slow
@checks(sampler_checks, expected_failed_checks=DOES_NOT_APPLY)
def test_conventions_of_imbalanced_learn(estimator, check):
    check(estimator)


def imbalanced(n=60, features=4, seed=0):
    y = np.array(["rare", *["often"] * 3])[np.arange(n) % 4]
    return np.random.default_rng(seed).normal(size=(n, features)) + (y == "rare")[:, None], y


# -- no leak --------------------------------------------------------------------------------------------------------------
FITTED = []


class WatchedSVC(SVC):
    """Keeps what it is fitted on and what it is asked about."""

    def fit(self, X, y, sample_weight=None):
        FITTED.append((X.copy(), y.copy()))
        return super().fit(X, y, sample_weight)


def test_an_svc_in_cross_validation_learns_from_no_held_out_sample():
    """Column k tells the held-out samples of fold k; whatever is made from one of them carries the mark."""
    (X, y), folds = imbalanced(), StratifiedKFold(3)
    marked = np.hstack([X, np.zeros((60, 3))])
    for k, (_, heldout) in enumerate(folds.split(X, y)):
        marked[heldout, 4 + k] = 1000.0
    FITTED.clear()
    scores = cross_val_score(
        make_pipeline(AUGMENTER, WatchedSVC()), marked, y, cv=folds, scoring="f1_macro", error_score="raise"
    )
    assert len(scores) == len(FITTED) == 3 and np.isfinite(scores).all()
    for k, (seen, labels) in enumerate(FITTED):
        assert [(labels == name).sum() for name in ("often", "rare")] == [30, 30]  # 40 samples, 20 of them made up
        assert np.abs(seen[:, 4 + k]).max() < 1
        assert all(np.abs(seen[:, 4 + other]).max() > 500 for other in {0, 1, 2} - {k})
    leaking, _ = AUGMENTER.fit_resample(marked, y)  # before the split, which the test would notice
    assert np.abs(leaking[60:, 4:]).max(0).min() > 500


# -- what goes in and comes out -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["matrix", "float32", "integers", "signals", "frame", "dict"])
def test_every_form_of_samples_comes_back_as_it_was(form):
    X, y = imbalanced(n=24, features=6)
    given = {
        "float32": X.astype(np.float32),
        "integers": (10 * X).astype(int),
        "signals": X.reshape(24, 2, 3),
        "frame": pandas.DataFrame(X, columns=list("abcdef")),
        "dict": {"a": X[:, :2], "b": X.reshape(24, 2, 3)},
    }.get(form, X)
    more, labels = AUGMENTER.fit_resample(given, y)
    assert labels[:24].tolist() == y.tolist() and (labels[24:] == "rare").all() and len(labels) == 36
    for name in given if form == "dict" else [...]:
        before, after = (np.asarray(each[name] if form == "dict" else each) for each in (given, more))
        np.testing.assert_array_equal(after[:24], before)
        assert after.shape == (36, *before.shape[1:]) and after.dtype == before.dtype
    assert type(more) is type(given) and (form != "frame" or list(more.columns) == list("abcdef"))


def test_integers_and_truths_stay_within_their_types():
    X, y = imbalanced(n=24)
    bytes_ = np.where(X > 0, 255, [0, 100, 200, 0]).astype(np.uint8)
    jittered = clone(AUGMENTER).set_params(model="jitter").fit_resample(bytes_, y)[0][24:]
    assert (np.abs(jittered - bytes_[y == "rare"].mean(0)).max(0) < 200).all()  # 256 would be 0
    frame = pandas.DataFrame(
        {"b": X[:, 0] > 1, "B": X[:, 1] > 0, "i": bytes_[:, 0], "I": (9 * X[:, 3]).astype(int), "f": X[:, 2]}
    )
    frame = frame.astype({"B": "boolean", "I": "Int64"})
    more, _ = clone(AUGMENTER).set_params(model="smoothed_bootstrap").fit_resample(frame, y)
    assert more.dtypes.tolist() == frame.dtypes.tolist() and more[:24].equals(frame)
    assert 0 < more["b"][24:].mean() < 1 and len(more) == 36


def test_labels_of_dates_are_augmented_too():
    X, y = imbalanced(n=24)
    dates = np.where(y == "rare", 1, 2).astype("M8[D]")
    more, labels = clone(AUGMENTER).set_params(model="smote").fit_resample(X, dates)
    assert len(more) == 36 and (labels[24:] == dates[0]).all()


def test_columns_stand_for_modalities():
    X, y = imbalanced(features=6)
    augmenter = mmgan.Augmenter(
        "smote", shapes={"spec": (2, 2), "env": (2,)}, random_state=3, sampling_strategy={"rare": 20}
    )
    more, labels = augmenter.fit_resample(X, y)
    assert augmenter.generator_.schema.modalities == {"spec": (2, 2), "env": (2,)} and more.shape == (65, 6)
    assert augmenter.sampling_strategy_ == {"rare": 5} and (labels[60:] == "rare").all()
    modalities = {"spec": X[:, :4].reshape(60, 2, 2), "env": X[:, 4:]}
    model = mmgan.fit(modalities, (y == "rare").astype(int), "smote", seed=3)
    np.testing.assert_allclose(more[60:, :4], model.sample([1] * 5, seed=3)["spec"].reshape(5, 4))
    with pytest.raises(MmganError, match="they take 6 columns, but X has shape"):
        clone(augmenter).fit_resample(X[:, :5], y)


def test_numbers_of_samples_and_seeds():
    X, y = imbalanced()
    strategy = {"sampling_strategy": lambda y: {label: 2 * (y == label).sum() for label in np.unique(y)}}
    assert len(clone(AUGMENTER).set_params(**strategy).fit_resample(X, y)[1]) == 120
    once, again, other = (
        clone(AUGMENTER).set_params(random_state=seed).fit_resample(X, y)[0]
        for seed in (1, 1, np.random.RandomState(1))
    )
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)
    even = np.array(["a", "b"])[np.arange(60) % 2]
    same, labels = (augmenter := clone(AUGMENTER)).fit_resample(X, even)
    assert augmenter.generator_ is None and np.array_equal(same, X) and np.array_equal(labels, even)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "wgan"}, "model=wgan: there is no such choice"),
        ({"model": 3}, "'model' parameter of Augmenter must be"),
        ({"overrides": ["model.baseline.neighbours=0"]}, r"model\.baseline\.neighbours=0: expected"),
        ({"sampling_strategy": "best"}, "sampling_strategy"),
        ({"shapes": {"a": (-1,), "b": (5,)}}, r"shapes: 'a' has \(-1,\); give its lengths"),
        ({"shapes": {"a": 4}}, "shapes: 'a' has 4; give its lengths"),
    ],
    ids=str,
)
def test_options_that_cannot_be_used(options, said):
    with pytest.raises(ValueError, match=said):
        mmgan.Augmenter(**{"model": "smote"} | options).fit_resample(*imbalanced(n=24))

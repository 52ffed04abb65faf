import itertools

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from mmgan.data.dataset import Dataset
from mmgan.data.folds import Fold, inner_split, limit_samples, make_folds, read_splits, select_fold
from mmgan.errors import MmganError
from mmgan.evaluation.files import judging_samples
from mmgan.schema import DataSchema


def dataset(y, **more):
    y = np.asarray(y)
    names = tuple(f"class{k}" for k in range(y.max() + 1))
    x = {"x": np.arange(2 * len(y), dtype=np.float32).reshape(-1, 2)}
    return Dataset(DataSchema({"x": (2,)}, names, tuple(map(str, names))), x, y, source="file.pkl", **more)


def test_stratified_folds_are_the_seeds_own():
    data = dataset(np.arange(100) % 3)
    folds = make_folds(data, "stratified")
    expected = StratifiedKFold(5, shuffle=True, random_state=1024).split(data.y_train, data.y_train)
    for number, (fold, (train, val)) in enumerate(zip(folds, expected, strict=True), start=1):
        assert fold.fold == number
        np.testing.assert_array_equal(fold.train_indices, train)
        np.testing.assert_array_equal(fold.val_indices, val)


def test_group_folds_share_no_group():
    groups = np.repeat(np.arange(12), 10)
    folds = make_folds(dataset(np.arange(120) % 4, groups=groups), "group", n_splits=3)
    assert len(folds) == 3
    for fold in folds:
        assert not set(groups[fold.train_indices]) & set(groups[fold.val_indices])
        assert len(fold.train_indices) + len(fold.val_indices) == 120


def test_the_files_own_folds_are_honoured_and_without_them_file_is_stratified():
    y = np.arange(20) % 2
    splits = [{"fold": 4, "train_indices": np.arange(10), "val_indices": np.arange(10, 14)}]
    (fold,) = make_folds(dataset(y, splits=splits), "file")
    assert fold.fold == 4 and fold.val_indices.tolist() == [10, 11, 12, 13]
    assert len(make_folds(dataset(y, splits=splits), "stratified")) == 5
    fallback = make_folds(dataset(y), "file")
    for one, other in zip(fallback, make_folds(dataset(y), "stratified"), strict=True):
        np.testing.assert_array_equal(one.val_indices, other.val_indices)


def test_a_file_with_groups_and_without_folds_is_split_by_group():
    y, groups = np.arange(20) % 2, np.repeat(np.arange(5), 4)
    folds = make_folds(dataset(np.sort(y), groups=groups), "file")  # each class has two groups, and half of a third
    assert len(folds) == 3 and len(make_folds(dataset(y, groups=groups), "file")) == 5
    assert all(not set(groups[fold.train_indices]) & set(groups[fold.val_indices]) for fold in folds)


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        (dataset([0, 1] * 9), {"split": "random"}, "split=random: expected one of stratified, group, file"),
        (dataset([0, 1] * 9), {"split": "stratified", "n_splits": 1}, "n_splits=1: expected an integer >= 2"),
        (
            dataset([0] * 9 + [1] * 3),
            {"split": "stratified"},
            "'class1' has 3 .* 5 folds; give data.n_splits=3",
        ),
        (dataset([0] * 9 + [1]), {"split": "stratified"}, "'class1' has 1 .*add samples or remove the class"),
        (dataset([0, 1] * 9), {"split": "group"}, "file.pkl has no groups"),
        (
            dataset([0, 1] * 9, groups=np.zeros(18, int)),
            {"split": "group"},
            r"1 group.*folds; give data.split=stratified\.",
        ),
        (dataset([0, 1] * 9, groups=np.arange(18) // 9), {"split": "group"}, "2 group.*data.n_splits=2"),
        (
            dataset([0] * 9 + [1] * 9, groups=np.r_[np.arange(9), np.full(9, 9)]),
            {"split": "group"},
            "has no training sample of class 'class1'",
        ),
        (
            dataset([0, 1], splits=[{"fold": 1, "train_indices": np.array([0]), "val_indices": np.array([1])}]),
            {"split": "file"},
            "fold 1 has no training sample of class 'class1'",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_impossible_folds(data, options, sentence):
    with pytest.raises(MmganError, match=sentence):
        make_folds(data, **options)


@pytest.mark.parametrize("wanted", [9, 0, "1", True])
def test_select_fold_names_the_valid_ones(wanted):
    folds = make_folds(dataset(np.arange(20) % 2), "stratified")
    assert select_fold(folds, 3).fold == 3
    with pytest.raises(MmganError, match=rf"no fold={wanted}.*1, 2, 3, 4, 5"):
        select_fold(folds, wanted)


# -- fewer training samples ------------------------------------------------------------------------------------------------
SKEWED = np.repeat([0, 1, 2], [50, 30, 4])


def limited(y, rows_per_class=None, imbalance_ratio=None, number=1):
    """Limit a fold whose training samples are all but the last two of each class, in an order of their own."""
    val = np.concatenate([np.flatnonzero(y == label)[-2:] for label in np.unique(y)])
    train = np.random.default_rng(0).permutation(np.setdiff1d(np.arange(len(y)), val))
    fold = limit_samples(y, Fold(number, train, val), rows_per_class, imbalance_ratio)
    assert fold.fold == number and fold.val_indices.tolist() == val.tolist()
    assert fold.train_indices.dtype == fold.extra_indices.dtype == np.int64
    assert sorted([*fold.train_indices, *fold.extra_indices]) == sorted(train)  # none twice, none lost
    assert [row for row in train if row in set(fold.train_indices)] == fold.train_indices.tolist()
    return fold


def kept_of(y, fold):
    return np.bincount(y[fold.train_indices], minlength=y.max() + 1).tolist()


@pytest.mark.parametrize(
    ("rows", "kept"), [(1, [1, 1, 1]), (10, [10, 10, 2]), (30, [30, 28, 2]), (99, [48, 28, 2]), (None, [48, 28, 2])]
)
def test_rows_of_each_class(rows, kept):
    assert kept_of(SKEWED, limited(SKEWED, rows)) == kept


@pytest.mark.parametrize("limits", [[{"rows_per_class": k} for k in (5, 10, 20)],
                                    [{"imbalance_ratio": r} for r in (40, 10, 2.5, 1)]])  # fmt: skip
def test_the_rows_of_a_stricter_limit_are_among_those_of_a_laxer_one(limits):
    y = np.arange(200) % 4
    rows = [set(limited(y, **limit).train_indices.tolist()) for limit in limits]
    assert all(fewer < more for fewer, more in itertools.pairwise(rows))


def test_rows_are_random_and_other_ones_in_each_fold():
    y = np.arange(200) % 4
    first, second = (set(limited(y, 10, number=number).train_indices.tolist()) for number in (1, 2))
    assert first == set(limited(y, 10).train_indices.tolist()) != second
    assert 70 < np.mean([*first, *second]) < 130
    places = [np.flatnonzero(np.isin(np.flatnonzero(y == label), [*first])).tolist() for label in range(4)]
    assert len({tuple(each) for each in places}) == 4  # of each class, too


@pytest.mark.parametrize(
    ("ratio", "sizes"),
    [(10, [100, 46, 22, 10]), (100, [100, 22, 5, 1]), (1e6, [100, 1, 1, 1]), (2.5, [100, 74, 54, 40]), (1, [100] * 4)],
)
def test_long_tailed_sizes(ratio, sizes):
    y = np.arange(408) % 4
    orders = {tuple(kept_of(y, limited(y, None, ratio, number))) for number in range(1, 9)}
    assert {tuple(sorted(order, reverse=True)) for order in orders} == {tuple(sizes)}
    assert ratio == 1 or len(orders) > 1  # which class is rare depends on the fold


def test_both_limits_and_classes_that_are_rare_already():
    y = np.arange(408) % 4
    assert sorted(kept_of(y, limited(y, 20, 10))) == [2, 4, 9, 20]
    for number in range(1, 9):
        kept = kept_of(SKEWED, limited(SKEWED, None, 4, number))
        assert kept[0] in (48, 24, 12) and kept[1] in (28, 24, 12) and kept[2] == 2
    assert kept_of(y[::4], limited(y[::4], 20, 10)) == [20]  # one class has no imbalance


@pytest.mark.parametrize("split", ["stratified", "group", "file"])
def test_limits_leave_the_splits_as_they_are(split):
    data = dataset(np.arange(120) % 4, groups=np.arange(120) // 10)
    whole, fewer = make_folds(data, split), make_folds(data, split, rows_per_class=6)
    for one, other in zip(whole, fewer, strict=True):
        np.testing.assert_array_equal(one.val_indices, other.val_indices)
        np.testing.assert_array_equal(np.sort(np.r_[other.train_indices, other.extra_indices]), one.train_indices)
        assert kept_of(data.y_train, other) == [6] * 4 and not len(one.extra_indices)


@pytest.mark.parametrize(
    ("option", "value", "kind"),
    [("rows_per_class", value, "an integer >= 1") for value in (0, -3, 2.5, "ten", True, [5])]
    + [("imbalance_ratio", value, "a number >= 1") for value in (0.5, float("nan"), float("inf"), "x", True)],
)
def test_impossible_limits(option, value, kind):
    with pytest.raises(MmganError, match=f"^{option}=.*: expected {kind} or null"):
        make_folds(dataset(np.arange(20) % 2), "stratified", **{option: value})


# -- a file's own folds -------------------------------------------------------------------------------------------------
def entry(train=(0, 1, 2), val=(3, 4), fold=1):
    return {"train_indices": train, "val_indices": val, "fold": fold}


@pytest.mark.parametrize(
    ("splits", "sentence"),
    [
        ([], "cv_splits is not a list of folds"),
        (3, "cv_splits is not a list of folds"),
        ([((0, 1), (2, 3))], "cv_splits is not a list of folds"),
        ([{"train_indices": [0], "fold": 1}], "entry 1 of cv_splits has no val_indices"),
        ([{"train_indices": [0], "val_indices": [1]}], "has no fold"),
        ([entry(fold=0)], "has the number 0.*counted from 1"),
        ([entry(fold="1")], "has the number '1'"),
        ([entry(), entry()], r"fold numbers \[1, 1\]"),
        ([entry(), entry(val=(2, 3), fold=2)], "entry 2.*overlap in 1 sample.*such as 2"),
        ([entry(val=(3, 10))], r"val_indices points outside.*such as 10; give integers from 0 to 9"),
        ([entry(train=(-1, 2))], "train_indices points outside.*such as -1"),
        ([entry(val=())], "val_indices is not a non-empty list"),
        ([entry(train=(0.0, 1.0))], "not a non-empty list of sample numbers"),
        ([entry(train=([0], [1, 2]))], "ragged"),
        ([entry(train=(0, 0, 1))], "names a sample twice"),
        ([entry() | {"judge_indices": [2, 5]}], "entry 1.*judge_indices hold 1 sample.*such as 2"),
        ([entry() | {"judge_indices": [10]}], "judge_indices points outside"),
    ],
)
def test_unusable_cv_splits(splits, sentence):
    with pytest.raises(MmganError, match=sentence):
        read_splits(splits, 10)


def test_judge_indices_are_read_and_judge_what_is_unseen_of_the_training_groups():
    data = dataset(np.arange(10) % 2, splits=read_splits([entry() | {"judge_indices": [5, 6]}], 10))
    (fold,) = make_folds(data, "file")
    assert fold.judge_indices.tolist() == [5, 6]
    (_, judging), (_, unseen) = judging_samples(data, fold)
    assert judging.tolist() == [1, 0] and unseen.tolist() == [1, 0]
    plain = dataset(np.arange(10) % 2, splits=read_splits([entry()], 10))
    assert judging_samples(plain, make_folds(plain, "file")[0])[1] is None and plain.fingerprint() != data.fingerprint()


def test_read_splits_sorts_by_number():
    read = read_splits([entry(fold=np.int64(2)), entry(val=(5,), fold=1)], 10)
    assert [fold["fold"] for fold in read] == [1, 2]
    assert read[0]["val_indices"].dtype == np.int64


def test_inner_split_is_stratified_and_deterministic():
    y = np.repeat([0, 1, 2, 3], [100, 50, 10, 1])
    train = np.random.default_rng(0).permutation(161)[:150]
    train = np.union1d(train, [160])
    fit, monitor = inner_split(y, train, 0.2, seed=0)
    np.testing.assert_array_equal(np.sort(np.r_[fit, monitor]), train)
    for label in range(3):
        assert abs((y[monitor] == label).sum() - 0.2 * (y[train] == label).sum()) <= 0.5
    assert 160 in fit  # the only row of its class
    np.testing.assert_array_equal(monitor, inner_split(y, train, 0.2, seed=0)[1])
    assert monitor.tolist() != inner_split(y, train, 0.2, seed=1)[1].tolist()


def test_inner_split_needs_60_rows_and_a_fraction():
    y = np.arange(100) % 2
    for rows, fraction, expected in ((59, 0.2, 0), (60, 0.2, 12), (100, 0.0, 0)):
        fit, monitor = inner_split(y, np.arange(rows), fraction, seed=0)
        assert len(monitor) == expected and len(fit) == rows - expected
    with pytest.raises(MmganError, match=r"inner_val=1.0: expected a number >= 0 and < 1"):
        inner_split(y, np.arange(100), 1.0, seed=0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("one_class_a_group", [False, True])
def test_inner_split_by_groups(seed, one_class_a_group):
    groups = np.repeat(np.arange(40), 5)
    y = groups % 4 if one_class_a_group else np.arange(200) % 4
    train = np.flatnonzero(groups >= 8)
    fit, monitor = inner_split(y, train, 0.2, seed, groups)
    assert not set(groups[fit]) & set(groups[monitor])
    assert 0.1 <= len(monitor) / len(train) <= 0.3
    assert set(y[fit]) == set(y[monitor]) == {0, 1, 2, 3}


def test_inner_split_by_groups_keeps_every_class_to_fit():
    groups = np.repeat([0, 1, 2], 30)
    y = np.repeat([0, 0, 1], 30)
    fit, monitor = inner_split(y, np.arange(90), 0.2, 0, groups)
    assert set(y[fit]) == {0, 1} and set(y[monitor]) == {0}
    assert len(inner_split(y, np.arange(90), 0.2, 0, np.zeros(90, int))[1]) == 0

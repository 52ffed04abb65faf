"""The teacher of unlabelled samples: graphs, self-training, the gate, and what it says."""

import csv

import numpy as np
import pytest

from mmgan.errors import MmganError
from mmgan.labelling.graphs import neighbour_graph, spread_labels
from mmgan.labelling.next_labels import next_to_label
from mmgan.labelling.pseudo_labels import PseudoLabels, chosen
from mmgan.labelling.teacher import Teacher
from mmgan.schema import DataSchema

CENTRES = np.random.default_rng(0).standard_normal((3, 12)) * 1.5
SCHEMA = DataSchema({"a": (2, 4), "b": (4,)}, ("x", "y", "z"), ("x", "y", "z"))


def samples(y, seed, shift=0.0):
    flat = CENTRES[y] + np.random.default_rng(seed).standard_normal((len(y), 12)) + shift
    return {"a": flat[:, :8].reshape(-1, 2, 4).astype(np.float32), "b": flat[:, 8:].astype(np.float32)}


def taught(counts=(6, 6, 6), pool=(60, 60, 60), shift=0.0, **options):
    y, hidden = np.repeat(np.arange(3), counts), np.repeat(np.arange(3), pool)
    teacher = Teacher(**options)
    return teacher, teacher.label(samples(y, 1), y, samples(hidden, 2, shift)), hidden


def test_a_graph_is_that_of_its_definition():
    points = np.random.default_rng(0).standard_normal((30, 3))
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    reach = np.sort(distance, axis=1)[:, 4:5]
    directed = np.where((distance <= reach) & ~np.eye(30, dtype=bool), np.exp(-4 * (distance / reach) ** 2), 0)
    np.testing.assert_allclose(neighbour_graph(points, 4).toarray(), (directed + directed.T) / 2, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.8, 0.95])
def test_labels_spread_as_the_linear_system_says(alpha):
    graph = neighbour_graph(np.random.default_rng(1).standard_normal((40, 2)), 5)
    seeds = np.zeros((40, 3))
    seeds[np.arange(6), np.arange(6) % 3] = 1
    dense = graph.toarray()
    degree = dense.sum(0)
    wanted = np.linalg.solve(np.eye(40) - alpha * dense / np.sqrt(np.outer(degree, degree)), seeds)
    np.testing.assert_allclose(spread_labels(graph, seeds, alpha), wanted, atol=1e-3 * wanted.max())


def test_copies_make_a_graph_too():
    points = np.zeros((6, 2))
    assert np.isfinite(neighbour_graph(points, 3).toarray()).all()


@pytest.mark.parametrize("counts", [(6, 6, 6), (45, 45, 45)])
def test_the_teacher_finds_the_classes(counts):
    teacher, labels, hidden = taught(counts)
    found = teacher.predict_proba()
    assert found.shape == (180, 3)
    np.testing.assert_allclose(found.sum(1), 1)
    assert (labels.labels == hidden).mean() > 0.93
    assert labels.kept.mean() == pytest.approx(0.9) and labels.share_dropped == pytest.approx(0.1)
    assert (labels.labels == hidden)[labels.kept].mean() >= (labels.labels == hidden).mean()


def test_a_rare_class_is_filled_by_its_own_quota():
    _, labels, hidden = taught((30, 30, 3))
    assert (labels.labels == hidden)[hidden == 2].mean() > 0.85
    for k in range(3):
        own = labels.labels == k
        assert labels.kept[own].sum() == np.ceil(0.9 * own.sum() - 1e-9)


def test_the_gate_refuses_another_domain():
    with pytest.raises(MmganError, match=r"look like none of the labelled ones.*data.unlabelled=none"):
        taught(shift=15.0)


def test_the_gate_refuses_single_samples():
    y, hidden = np.repeat(np.arange(3), 20), np.repeat(np.arange(3), 20)
    pool = samples(hidden, 2)
    pool["b"][:4] += 30
    labels = Teacher().label(samples(y, 1), y, pool)
    assert labels.refused[:4].all() and not labels.refused[4:].any() and not labels.kept[:4].any()
    assert any("4 unlabelled samples look like none" in line for line in labels.summary(SCHEMA, "x_test"))


def test_a_pool_of_ten_and_of_other_shares_serves():
    assert len(taught(pool=(4, 3, 3))[1].labels) == 10
    lines = taught(pool=(150, 10, 0))[1].summary(SCHEMA, "rest")
    assert lines[0].startswith("unlabelled: 160 samples (rest), 90% kept; class shares (of labelled samples): x ")
    assert any("other class shares" in line for line in lines)


def test_the_most_confident_are_chosen():
    found = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.45, 0.55]])
    assert chosen(found, 0.4, by_class=False).tolist() == [True, True, False, False, False]
    assert chosen(found, 0.5, by_class=True).tolist() == [True, True, False, False, True]


def test_what_is_written(tmp_path):
    found = np.array([[0.1, 0.6, 0.3], [0.5, 0.1, 0.4]])
    labels = PseudoLabels.of(
        found, np.zeros(2, bool), np.arange(3), 0.5, labelled_weight=3.0, by_class=False, next_to_label=np.array([1])
    )
    labels.write(tmp_path, SCHEMA, np.array([7, 9]))
    assert [*csv.reader((tmp_path / "pseudo_labels.csv").read_text().splitlines())] == [
        ["index", "label", "confidence", "kept", "second_label"],
        ["7", "y", "0.600000", "1", "z"],
        ["9", "x", "0.500000", "0", "z"],
    ]
    assert (tmp_path / "next_to_label.csv").read_text().splitlines()[1:] == ["9,x,0.500000,0,z"]
    assert "no unlabelled sample was given the class z" in labels.summary(SCHEMA, "rest")[-1]


def test_what_to_label_next_is_uncertain_and_unlike_each_other():
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(300, 4)), rng.normal(loc=8.0, size=(300, 4))])
    found = np.tile([0.98, 0.01, 0.01], (600, 1))
    doubtful = np.r_[0:60, 300:360]  # in both places
    found[doubtful] = [0.4, 0.35, 0.25]
    places = next_to_label(found, features, 10)
    assert len(set(places)) == 10 and np.isin(places, doubtful).all()
    assert 3 <= (places < 300).sum() <= 7
    nearest = np.sort(np.linalg.norm(features[places][:, None] - features[places], axis=2), axis=1)[:, 1]
    by_chance = np.sort(np.linalg.norm(features[doubtful[:10]][:, None] - features[doubtful[:10]], axis=2), axis=1)[
        :, 1
    ]
    assert nearest.mean() > by_chance.mean()
    assert len(next_to_label(found[:3], features[:3])) == 3 and len(next_to_label(found[:0], features[:0])) == 0
    assert len(next_to_label(found, np.zeros((600, 4)))) == 1  # copies teach once

"""The teacher: labels unlabelled samples by what labelled ones, and the shape of all samples, tell."""

import hashlib
from typing import Annotated

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from mmgan.baselines import NormalSpace
from mmgan.data.arrays import flatten
from mmgan.errors import MmganError, Positive, Range, Seed, ShareBelowOne, Width, checked
from mmgan.evaluation.classifiers import fit, probabilities
from mmgan.labelling.gate import told_apart, unlike
from mmgan.labelling.graphs import neighbour_graph, spread_labels
from mmgan.labelling.next_labels import next_to_label
from mmgan.labelling.pseudo_labels import PseudoLabels, chosen
from mmgan.schema import Arrays

JOINT_DIMS, OWN_DIMS = 40, 20  # principal components of all modalities, and of each
MANY = 20  # labelled samples of the median class from which on an SVC is the better classifier
RARE = 1 / 3  # of the largest class: with a rarer one, classes are weighed
REMEMBERED = 8  # answers: a command builds a fold's model several times, a sweep for every trial
_ANSWERS: dict[bytes, PseudoLabels] = {}


class Teacher:
    """Label spreading over a neighbour graph of each view, averaged with two classifiers, and self-training.

    Nothing is assumed of the pool's class shares: forcing a class prior costs more where it is wrong than it brings where it is
    right. `fit` sees labelled samples {name: (n, *shape)} with class indices (n,), of which every class has some, and
    unlabelled ones.

    Parameters
    ----------
    neighbours : of each sample in each graph.
    rounds : of self-training; round r takes the most confident r / rounds of each predicted class.
    labelled_weight : of a labelled sample; a pseudo-labelled one has 1 here, and its confidence in a training.
    drop : share of the pool, the least confident, that no generator learns from.
    """

    @checked
    def __init__(
        self,
        *,
        neighbours: Width = 10,
        rounds: Annotated[int, Range(0, 100)] = 5,
        labelled_weight: Positive = 3.0,
        drop: ShareBelowOne = 0.1,
        seed: Seed = 0,
    ) -> None:
        self.neighbours, self.rounds, self.labelled_weight, self.drop, self.seed = (
            neighbours,
            rounds,
            labelled_weight,
            drop,
            seed,
        )

    def fit(self, x: Arrays, y: np.ndarray, unlabelled: Arrays) -> "Teacher":
        """Learn; raises MmganError where the unlabelled samples look like none of the labelled ones."""
        counts = np.bincount(y)
        self._y, self._few, self._weighed = y, np.median(counts) < MANY, counts.min() < RARE * counts.max()
        self._refused = unlike(x, unlabelled)
        seen = {name: np.concatenate([x[name], unlabelled[name][~self._refused]]) for name in x}
        normal = self._normal(seen)
        is_labelled = np.arange(len(normal)) < len(y)
        if self._refused.mean() > 0.5 or told_apart(normal, is_labelled, self.seed):
            raise MmganError(
                f"data.unlabelled: {len(self._refused)} samples were given that look like none of the labelled ones, and nothing would be"
                " learnt from them; give samples of the same kind, or data.unlabelled=none."
            )
        self._features, views = self._views(seen, normal)
        self._graph = sum(neighbour_graph(view, self.neighbours) for view in views)
        found = self._self_trained()
        self._found = np.full((len(self._refused), len(counts)), 1 / len(counts))
        self._found[~self._refused] = found
        return self

    def predict_proba(self) -> np.ndarray:
        """Return class probabilities (n, K) of the unlabelled samples; equal ones of those that the gate refused."""
        return self._found

    def label(self, x: Arrays, y: np.ndarray, unlabelled: Arrays) -> PseudoLabels:
        """Learn, and return the pseudo-labels with which a generator trains; the last answers are remembered."""
        key = self._digest(x, y, unlabelled)
        if key not in _ANSWERS:
            self.fit(x, y, unlabelled)
            while len(_ANSWERS) >= REMEMBERED:
                del _ANSWERS[next(iter(_ANSWERS))]
            options = {"labelled_weight": self.labelled_weight, "by_class": self._weighed}
            like = np.flatnonzero(~self._refused)
            options["next_to_label"] = like[next_to_label(self._found[like], self._features[len(y) :], seed=self.seed)]
            _ANSWERS[key] = PseudoLabels.of(self._found, self._refused, y, self.drop, **options)
        return _ANSWERS[key]

    def _digest(self, x: Arrays, y: np.ndarray, unlabelled: Arrays) -> bytes:
        options = (self.neighbours, self.rounds, self.labelled_weight, self.drop, self.seed)
        digest = hashlib.sha256(repr((options, list(x))).encode())
        for values in (y, *x.values(), *unlabelled.values()):
            digest.update(repr(values.shape).encode() + np.ascontiguousarray(values).tobytes())
        return digest.digest()

    def _normal(self, x: Arrays) -> np.ndarray:
        space = NormalSpace(x, np.random.default_rng(self.seed))
        return space.bounded(space.forward(x))

    def _views(self, x: Arrays, normal: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return features (N, D) for a classifier, and the spaces that have a graph."""
        ends = np.cumsum([flatten(x, (name,)).shape[1] for name in x])
        joint = self._reduced(normal, JOINT_DIMS)
        own = [self._reduced(part, OWN_DIMS) for part in np.split(normal, ends[:-1], axis=1)] if len(x) > 1 else []
        return joint, [joint, *own]

    def _reduced(self, normal: np.ndarray, dims: int) -> np.ndarray:
        return PCA(min(dims, *normal.shape), random_state=self.seed).fit_transform(normal)

    def _self_trained(self) -> np.ndarray:
        """Return the class probabilities of the unlabelled samples."""
        n = len(self._y)
        spread, trained, labels = self._spread(), np.arange(n), self._y
        weights = np.ones(n)
        found = (spread + self._classified(trained, labels, weights)) / 2
        for turn in range(1, self.rounds + 1):
            taken = np.flatnonzero(chosen(found[n:], turn / self.rounds, by_class=True))
            trained, labels = np.append(np.arange(n), n + taken), np.append(self._y, found[n + taken].argmax(1))
            weights = np.append(np.full(n, self.labelled_weight), np.ones(len(taken)))
            found = (spread + self._classified(trained, labels, weights)) / 2
        return found[n:]

    def _spread(self) -> np.ndarray:
        n, counts = self._graph.shape[0], np.bincount(self._y)
        seeds = np.zeros((n, len(counts)))
        seeds[np.arange(len(self._y)), self._y] = 1 / counts[self._y] if self._weighed else 1.0
        found = spread_labels(self._graph, seeds, 0.95 if self._few else 0.8)
        total = found.sum(axis=1, keepdims=True)  # 0 where no path leads to a label
        return np.where(total > 0, found / np.maximum(total, np.finfo(float).tiny), 1 / len(counts))

    def _classified(self, index: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the mean class probabilities (N, K) of two classifiers of these samples with these labels and weights."""
        repeated = np.repeat(index, weights.round().astype(int)), np.repeat(y, weights.round().astype(int))
        known = [(*repeated, None), (index, y, weights)]  # a covariance takes no weights
        fitted = [
            fit(each, self._features[i], labels, shares)
            for each, (i, labels, shares) in zip(self._classifiers(), known, strict=True)
        ]
        return np.mean([probabilities(each, self._features, self._y.max() + 1) for each in fitted], axis=0)

    def _classifiers(self) -> tuple[ClassifierMixin, ClassifierMixin]:
        classes, balance = self._y.max() + 1, "balanced" if self._weighed else None
        priors = np.full(classes, 1 / classes) if self._weighed else None
        shrunken = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=priors)
        if self._few:
            return shrunken, LogisticRegression(C=0.3, max_iter=200, class_weight=balance)
        return shrunken, SVC(C=10.0, class_weight=balance)

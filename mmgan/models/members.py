"""Classical classifiers that answer beside networks."""

import functools
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.svm import SVC

from mmgan.baselines import NormalSpace
from mmgan.data.arrays import n_samples_of
from mmgan.errors import Positive, Range, Width, checked
from mmgan.evaluation.classifiers import fit, probabilities
from mmgan.models.memory import SampleMemory
from mmgan.schema import Arrays, DataSchema

SVC_DIMS, JOINT_DIMS, OWN_DIMS = (
    512,
    40,
    20,
)  # principal components, at most: all, of neighbours, and of those in one modality
Answer = Callable[[Arrays], np.ndarray]


class ClassicalMembers(SampleMemory):
    """An SVC, and neighbours in the joint space and in that of each modality; with unlabelled samples, the graph over all of them.

    Features are made normal by their quantiles. The SVC's probabilities are calibrated out of fold (Platt 1999); the graph answers for
    other samples than its own by their neighbours in it (Delalleau et al. 2005, https://proceedings.mlr.press/r5/delalleau05a.html).
    Every choice of modalities has classifiers of its own, fitted when it is first asked for, from the labelled training samples: the
    checkpoint holds these, and the unlabelled ones.

    Parameters
    ----------
    schema : names and shapes of the modalities, and the classes.
    neighbours : of a sample.
    C : of the SVC.
    folds : for the calibration.
    """

    @checked
    def __init__(
        self,
        schema: DataSchema,
        *,
        neighbours: Width = 10,
        C: Positive = 10.0,
        folds: Annotated[int, Range(2, 100)] = 5,
    ):
        super().__init__(schema.modalities)
        self.schema, self.neighbours, self.C, self.folds = schema, neighbours, C, folds
        self.register_buffer("unlabelled", torch.zeros(0, sum(self.sizes)))
        self.register_buffer("soft_labels", torch.zeros(0, schema.n_classes))  # class probabilities of those
        self._fitted: dict[tuple[str, ...], dict[str, Answer]] = {}

    def take(
        self, x: Arrays, y: np.ndarray, unlabelled: Arrays | None = None, soft_labels: np.ndarray | None = None
    ) -> None:
        """Take in training samples with class indices (n,), and unlabelled ones with a teacher's class probabilities (m, K)."""
        kept = self.indices_of(y)
        self.fit_data([_tensors(x, kept)], torch.from_numpy(y[kept]))
        if unlabelled is not None and soft_labels is not None:
            some = self.indices_of(soft_labels.argmax(1))
            self.unlabelled = torch.cat([value.flatten(1) for value in _tensors(unlabelled, some).values()], dim=1)
            self.soft_labels = torch.from_numpy(soft_labels[some]).float()
        self._fitted.clear()

    def answers(self, x: Arrays) -> dict[str, np.ndarray]:
        """Return each member's class probabilities (n, K) of samples {name: (n, *shape)} of some modalities, in physical units."""
        names = tuple(name for name in self.schema.modalities if name in x)
        if names not in self._fitted:
            self._fitted[names] = self._members(names)
        return {name: answer({key: x[key] for key in names}) for name, answer in self._fitted[names].items()}

    def _members(self, names: tuple[str, ...]) -> dict[str, Answer]:
        x, y = self._physical(self.flat, names), self.labels.cpu().numpy()
        svc, fewest = SVC(C=self.C), np.unique(y, return_counts=True)[1].min()
        if fewest > 1:  # with a single sample of a class there is no other to calibrate by
            svc = CalibratedClassifierCV(svc, cv=min(self.folds, fewest), ensemble=False)
        members = {"svc": self._classifier(svc, x, y, SVC_DIMS)}
        nearest = functools.partial(KNeighborsClassifier, min(self.neighbours, len(y)), weights="distance")
        members["neighbours"] = self._classifier(nearest(), x, y, JOINT_DIMS)
        if len(names) > 1:
            for name in names:
                members[f"neighbours {name}"] = self._classifier(nearest(), {name: x[name]}, y, OWN_DIMS)
        if len(self.unlabelled):
            members["graph"] = self._graph(x, y, self._physical(self.unlabelled, names))
        return members

    def _classifier(
        self, classifier: SVC | CalibratedClassifierCV | KNeighborsClassifier, x: Arrays, y: np.ndarray, dims: int
    ) -> Answer:
        features, reduced = _reduced(x, dims)
        fitted, n_classes, names = fit(classifier, features, y), self.schema.n_classes, list(x)
        return lambda other: probabilities(fitted, reduced({name: other[name] for name in names}), n_classes)

    def _graph(self, x: Arrays, y: np.ndarray, unlabelled: Arrays) -> Answer:
        features, reduced = _reduced({name: np.concatenate([x[name], unlabelled[name]]) for name in x}, JOINT_DIMS)
        known = np.concatenate([np.eye(self.schema.n_classes)[y], self.soft_labels.cpu().numpy()])
        nearest = KNeighborsRegressor(min(self.neighbours, len(known)), weights="distance").fit(features, known)
        return lambda other: nearest.predict(reduced(other))

    def _physical(self, flat: torch.Tensor, names: Sequence[str]) -> Arrays:
        return {name: value.cpu().numpy() for name, value in self._shaped(flat).items() if name in names}


def _tensors(x: Arrays, kept: np.ndarray) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value[kept], np.float32)) for name, value in x.items()}


def _reduced(x: Arrays, dims: int) -> tuple[np.ndarray, Callable[[Arrays], np.ndarray]]:
    """Return the principal components (n, dims) of samples in normal space, and the function that finds those of others."""
    space = NormalSpace(x, np.random.default_rng(0))
    normal = space.bounded(space.forward(x))
    components = PCA(min(dims, n_samples_of(x), normal.shape[1]), random_state=0).fit(normal)
    return components.transform(normal), lambda other: components.transform(space.bounded(space.forward(other)))

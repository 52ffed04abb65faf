"""Two sets of samples side by side, as metrics see them: what is fitted on training samples, and what is computed once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

from mmgan.data.arrays import LabelledSamples
from mmgan.evaluation import classifiers, fidelity, utility
from mmgan.evaluation.axis import axis_classifier, axis_statistics
from mmgan.evaluation.coherence import Retrieval, retrieval_rank
from mmgan.evaluation.features import JOINT, FeatureSpace, nearest, nearest_within
from mmgan.evaluation.novelty import TrainingDistance, copies, novelty
from mmgan.evaluation.signal import SampleStatistics, SignalComparison, sample_statistics
from mmgan.schema import Arrays

NEIGHBOURS = 5
MAX_TRAINED = 3000  # samples that a classifier is trained on, for large data sets


@dataclass(frozen=True)
class View:
    """What the metrics need of some samples; each field is an array, or arrays or statistics by name, of n samples.

    `source` is the place of a sample's fold, `axis` are statistics along the axis, `axis_distance` is how far they are from
    those of the nearest training sample, in standard deviations; `within` and `any` are distances to the nearest training sample, of its class
    and of any, jointly and per modality; `probabilities` is what classifiers of training samples say, `partners` what a
    regression makes of one modality for another.
    """

    y: np.ndarray
    source: np.ndarray
    flat: dict[str, np.ndarray]
    embedded: dict[str, np.ndarray]
    axis: np.ndarray
    signal: dict[str, SampleStatistics]
    axis_distance: np.ndarray
    within: dict[str, np.ndarray]
    any: dict[str, np.ndarray]
    probabilities: np.ndarray
    partners: dict[tuple[str, str], np.ndarray]

    def take(self, index: np.ndarray) -> "View":
        """Return the view of the samples `index`."""
        return View(*(_taken(getattr(self, each.name), index) for each in fields(self)))

    @classmethod
    def joined(cls, views: Sequence["View"]) -> "View":
        """Return one view of the samples of several."""
        return cls(*(_joined([getattr(view, each.name) for view in views]) for each in fields(cls)))

    @cached_property
    def predicted(self) -> np.ndarray:
        """The labels (n,) that the classifiers of training samples vote for."""
        return self.probabilities.argmax(1)

    @cached_property
    def trained_on(self) -> dict[int, np.ndarray]:
        """The samples of each fold that a classifier is trained on, by the place of the fold."""
        rng = np.random.default_rng(0)
        of_source = {int(s): np.flatnonzero(self.source == s) for s in np.unique(self.source)}
        return {
            s: index if len(index) <= MAX_TRAINED else rng.permutation(index)[:MAX_TRAINED]
            for s, index in of_source.items()
        }


def _taken(value: Any, index: np.ndarray) -> Any:
    if isinstance(value, dict):
        return {name: _taken(each, index) for name, each in value.items()}
    return value.take(index) if isinstance(value, SampleStatistics) else value[index]


def _joined(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: _joined([each[name] for each in values]) for name in values[0]}
    return SampleStatistics.joined(values) if isinstance(values[0], SampleStatistics) else np.concatenate(values)


class Reference:
    """What is fitted on the training samples of one fold: distances, classifiers, regressions; `view` looks at samples with it.

    `space` is fitted on them too, or on the training samples of several folds that are judged together. `ordered` names the
    vectors whose values have an order, as signals and images always have. `pool` are samples without labels that the generator saw
    beside the training samples: they count for novelty, and teach no classifier.
    """

    def __init__(
        self,
        train: LabelledSamples,
        space: FeatureSpace,
        seed: int = 0,
        source: int = 0,
        n_classes: int | None = None,
        ordered: Sequence[str] = (),
        pool: Arrays | None = None,
    ) -> None:
        x, y = train[0], np.asarray(train[1])
        self.space, self.y, self._source, self._ordered = space, y, source, ordered
        self.flat = self.flat_parts(x)
        axis = self._axis(x)
        self._axis_scaler = StandardScaler().fit(axis) if axis.shape[1] else None
        self._axis_of_train = self._scaled(axis)
        unlabelled = {} if pool is None else self.flat_parts(pool)
        self._distance = {name: TrainingDistance(flat, y, unlabelled.get(name)) for name, flat in self.flat.items()}
        joint = self.flat[JOINT]
        self.seen = (
            np.concatenate([joint, unlabelled[JOINT]]) if unlabelled else joint
        )  # (n, F), all that the generator saw
        chosen = np.random.default_rng(seed).permutation(len(y))[:MAX_TRAINED]
        self.fitted = self.flat[JOINT][chosen], y[chosen]
        self.panel = utility.fit_panel(*self.fitted, seed=seed, n_classes=n_classes)
        self._retrieval = Retrieval(space, x, seed)

    @property
    def parts(self) -> tuple[str, ...]:
        """The joint samples, and each modality where there are several."""
        return (JOINT, *self.space.names) if len(self.space.names) > 1 else (JOINT,)

    def flat_parts(self, x: Arrays) -> dict[str, np.ndarray]:
        """Return standardised samples (n, F), joint and by modality."""
        return {name: self.space.flat(x, name) for name in self.parts}

    def view(self, x: Arrays, y: np.ndarray) -> View:
        """Return what metrics need of samples."""
        y, space = np.asarray(y), self.space
        flat, axis = self.flat_parts(x), self._axis(x)
        return View(
            y=y,
            source=np.full(len(y), self._source),
            flat=flat,
            embedded={name: space.embed(x, name) for name in self.parts},
            axis=axis,
            signal={name: sample_statistics(space.flat(x, name), space.in_units(x, name)) for name in space.names},
            axis_distance=nearest(self._axis_of_train, self._scaled(axis))[:, 0] if axis.shape[1] else np.zeros(len(y)),
            within={name: self._distance[name].within_class(each, y) for name, each in flat.items()},
            any={name: self._distance[name].to_any(each) for name, each in flat.items()},
            probabilities=self.panel.probabilities(flat[JOINT]),
            partners=self._retrieval.predict(x),
        )

    def _axis(self, x: Arrays) -> np.ndarray:
        found = [axis_statistics(self._with_axis(name, self.space.in_units(x, name))) for name in self.space.names]
        return np.concatenate(found, axis=1)

    def _scaled(self, axis: np.ndarray) -> np.ndarray:
        return axis if self._axis_scaler is None else self._axis_scaler.transform(axis)

    def _with_axis(self, name: str, values: np.ndarray) -> np.ndarray:
        return values[:, None] if values.ndim == 2 and name in self._ordered else values


@dataclass(frozen=True)
class Pair:
    """Held-out samples and as many others, and by cached properties what several metrics share."""

    heldout: View
    other: View
    references: Sequence[Reference]
    unseen: Mapping[str, np.ndarray]  # all held-out samples, by part, standardised
    others: Mapping[str, np.ndarray]  # real samples that neither judge nor are said to have been seen, by part
    bandwidth: float
    mmd_null: float
    signal_units: SignalComparison
    tested: View | None = None  # samples of unseen groups, which the utility columns are of
    draw: int = 0
    quick: bool = False

    def by_part(self, compute: Any, of: str) -> dict[str, Any]:
        """Return {"": joint value, "/modality": value} of `compute(held-out, other)` on one field of both views."""
        heldout, other = getattr(self.heldout, of), getattr(self.other, of)
        return {"" if name == JOINT else f"/{name}": compute(heldout[name], other[name]) for name in heldout}

    @cached_property
    def prdc(self) -> dict[str, float]:
        """Precision, recall, density and coverage, and clipped density and coverage."""
        real, other = self.heldout.embedded[JOINT], self.other.embedded[JOINT]
        return fidelity.prdc(real, other, NEIGHBOURS) | fidelity.clipped(real, other, NEIGHBOURS)

    @cached_property
    def novelty(self) -> dict[str, dict[str, float]]:
        """Novelty's percentiles, `close` and `far`, jointly and per modality."""
        return self.by_part(novelty, "within")

    @cached_property
    def class_novelty(self) -> dict[int, dict[str, float]]:
        """The same by class, of classes with samples on both sides."""
        pairs = {
            int(k): tuple(view.within[JOINT][view.y == k] for view in (self.heldout, self.other))
            for k in np.intersect1d(self.heldout.y, self.other.y)
        }
        return {k: novelty(*pair) for k, pair in pairs.items()}

    def far(self) -> dict[str, float]:
        """Return the share of samples farther from training samples than 99 % of held-out samples, by values and along the axis."""
        found = {"": self.novelty[""]["far"]}
        if self.heldout.axis.shape[1]:
            found["/axis"] = novelty(self.heldout.axis_distance, self.other.axis_distance)["far"]
        return found

    def c2st(self, part: str) -> dict[str, float]:
        """Return the AUC of each classifier that tells both sets apart: by {name: AUC}."""
        joint, pair = part == JOINT, (self.heldout.flat[part], self.other.flat[part])
        width = pair[0].shape[1]
        members = (
            classifiers.two_sample_classifiers(width, self.draw) if joint else classifiers.fast_classifiers(self.draw)
        )
        return fidelity.c2st_auc(*pair, members, 3 if self.quick or not joint else 5, seed=self.draw)

    def mmd(self) -> float:
        """Return the maximum mean discrepancy over the 95th percentile of real versus real."""
        real, other = self.heldout.embedded[JOINT], self.other.embedded[JOINT]
        return fidelity.mmd(real, other, self.bandwidth) / self.mmd_null if self.mmd_null > 0 else float("nan")

    @cached_property
    def signal(self) -> dict[str, float]:
        """Errors of signal statistics, by `signal_<statistic>` and `signal_<statistic>/<modality>`."""
        return self.signal_units(self.heldout.signal, self.other.signal)

    def axis_c2st(self) -> float:
        """Return the AUC by statistics along the axis; NaN where no modality has an axis."""
        if not self.heldout.axis.shape[1]:
            return float("nan")
        member = {"": axis_classifier()}
        return fidelity.c2st_auc(self.heldout.axis, self.other.axis, member, seed=self.draw)[""]

    def retrieval(self) -> dict[str, float]:
        """Return the rank of the true partner, {"": mean, "/spec_to_env": ...}; {} for one modality."""
        view = self.other
        found = {
            f"/{source}_to_{goal}": retrieval_rank(predicted, view.embedded[goal], view.y)
            for (source, goal), predicted in view.partners.items()
        }
        return {"": float(np.mean(list(found.values()))), **found} if found else {}

    def copies_of(self, real: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Return the share of samples that are copies of these real samples, which they should not know; jointly and per modality."""
        found = {}
        for name, unknown in real.items():
            usual = nearest_within(self.heldout.flat[name], 1)[:, 0]
            share = copies(usual, nearest(unknown, self.other.flat[name])[:, 0])
            found["" if name == JOINT else f"/{name}"] = share
        return found

    def repeated(self) -> float:
        """Return the share of samples that have a copy among themselves."""
        real, own = (nearest_within(view.flat[JOINT], 1)[:, 0] for view in (self.heldout, self.other))
        return copies(real, own)

    @property
    def test(self) -> View:
        """The samples that classifiers are tested on."""
        return self.heldout if self.tested is None else self.tested

    @cached_property
    def answers(self) -> np.ndarray:
        """Class probabilities (n, K) of the tested samples by classifiers that were trained on the other samples."""
        return self._answers(
            {s: (self.other.flat[JOINT][i], self.other.y[i]) for s, i in self.other.trained_on.items()}
        )

    def gains(self) -> dict[int, float]:
        """Return by fold what macro-F1 gains where the other samples stand beside the training samples."""
        both = {}
        for s, i in self.other.trained_on.items():
            flat, y = self.references[s].fitted
            both[s] = np.concatenate([flat, self.other.flat[JOINT][i]]), np.concatenate([y, self.other.y[i]])
        grown, test = self._answers(both).argmax(1), self.test
        return {
            s: classifiers.macro_f1(test.y[own], grown[own]) - classifiers.macro_f1(test.y[own], test.predicted[own])
            for s, own in ((s, test.source == s) for s in both)
            if own.any()
        }

    def _answers(self, trained: Mapping[int, LabelledSamples]) -> np.ndarray:
        """Return what each fold's classifiers say of its tested samples; where a fold has none, chance."""
        test, n_classes = self.test, self.test.probabilities.shape[1]
        found = np.full((len(test.y), n_classes), 1 / n_classes)
        for s, (flat, y) in trained.items():
            if (own := test.source == s).any():
                panel = utility.fit_panel(flat, y, self.draw, n_classes=n_classes)
                found[own] = panel.probabilities(test.flat[JOINT][own])
        return found

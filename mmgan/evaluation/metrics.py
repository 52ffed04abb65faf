"""Every metric in one place: its name, direction, source, how it is computed, and the values that pass.

A new metric is one more line of `METRICS`; tables of the docs and of reports follow.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mmgan.errors import MmganError
from mmgan.evaluation import fidelity, utility
from mmgan.evaluation.classifiers import macro_f1
from mmgan.evaluation.comparison import Pair
from mmgan.evaluation.features import JOINT
from mmgan.evaluation.novelty import copies, membership_auc

DEVIATIONS = 4.5  # of the real row between pairs of halves, which are always allowed: there are some 50 criteria
Question = Literal["faithful", "new"]
Found = float | Mapping[Any, float]  # a value, or {"": value, "/part": value}


@dataclass(frozen=True)
class Limit:
    """The values that pass: within `margin` of the real row, or from `low` to `high`; `fault` says what a failure means.

    4.5 standard deviations of the real row between pairs of halves are allowed where they are more: among so many criteria,
    chance is not held against synthetic samples.
    """

    question: Question
    fault: str
    margin: float | None = None
    relative: bool = False  # the margin is a share of the real row's value
    side: Literal["both", "below", "above"] = "both"  # on which side a value fails
    low: float | None = None
    high: float | None = None

    def bounds(self, real: float, deviation: float) -> tuple[float, float]:
        """Return the smallest and the largest value that pass, given the real row's mean and deviation."""
        reach = DEVIATIONS * deviation
        if self.margin is not None:
            reach = max(reach, self.margin * abs(real) if self.relative else self.margin)
            low, high = real - reach, real + reach
        else:
            low = -np.inf if self.low is None else min(self.low, real - reach)
            high = np.inf if self.high is None else max(self.high, real + reach)
        return (-np.inf if self.side == "above" else low), (np.inf if self.side == "below" else high)

    def __str__(self) -> str:
        if self.margin is None:
            return f"at most {number(self.high)}" if self.low is None else f"{number(self.low)}-{number(self.high)}"
        if not self.relative:
            words = {"above": "at most {} above", "below": "at most {} below", "both": "within {} of"}[self.side]
            return f"{words.format(number(self.margin))} the real row"
        least = number(1 - self.margin)
        return (
            f"{'at least ' + least if self.side == 'below' else least + '-' + number(1 + self.margin)} of the real row"
        )


@dataclass(frozen=True)
class Metric:
    """A column of the tables; the direction `target` means as the real row has it. `note` stands where there is no limit.

    `compute(pair)` returns a value, or {"": value, "/part": value}. `cost` is `cheap` where it fits no classifier (its
    deviation is then measured), `costly` where the quick report leaves it out. `by_class` says that its parts are classes,
    `share` that it is a share of samples, `uneven` that fresh samples differ more than halves of the same samples do, since
    those are never both low or both high: of metrics that look at the other samples alone, and of squared differences of means.
    """

    name: str
    family: str
    direction: Literal["max", "min", "target"]
    meaning: str
    compute: Callable[[Pair], Found]
    source: str
    limit: Limit | None = None
    note: str = "for information"
    cost: Literal["cheap", "usual", "costly"] = "cheap"
    uneven: bool = False
    share: bool = False
    by_class: bool = False

    @property
    def good(self) -> str:
        """Say which values are good."""
        return str(self.limit) if self.limit else self.note

    def of(self, pair: Pair) -> dict[str, float]:
        """Return the values of a pair by their keys, such as `c2st` and `c2st/spec`."""
        found = self.compute(pair)
        return {self.name + key: float(v) for key, v in (found if isinstance(found, Mapping) else {"": found}).items()}


_LOPEZ = "Lopez-Paz & Oquab 2017, https://arxiv.org/abs/1610.06545"
_NAEEM = "Naeem et al. 2020, https://arxiv.org/abs/2002.09797"
_SALVY = "Salvy et al. 2025, https://arxiv.org/abs/2507.01761"
_GRETTON = "Gretton et al. 2012, https://jmlr.org/papers/v13/gretton12a.html"
_ESTEBAN = "Esteban et al. 2017, https://arxiv.org/abs/1706.02633"
_RAVURI = "Ravuri & Vinyals 2019, https://arxiv.org/abs/1905.10887"
_MEEHAN = "Meehan et al. 2020, https://arxiv.org/abs/2004.05675"
_ALAA = "Alaa et al. 2022, https://arxiv.org/abs/2102.08921"
_HILPRECHT = "Hilprecht et al. 2019, https://doi.org/10.2478/popets-2019-0067"
_AXIS = "defined in mmgan.evaluation.axis"
_COHERENCE = "defined in mmgan.evaluation.coherence"
_NOVELTY = "defined in mmgan.evaluation.novelty"
_SIGNAL = "defined in mmgan.evaluation.signal"


def _like_real(fault: str, side: Literal["both", "below"] = "below", margin: float = 0.05) -> Limit:
    return Limit("faithful", fault, margin=margin, relative=True, side=side)


def _by_class(found: Mapping[int, float]) -> dict[str, float]:
    return {f"/{k}": value for k, value in found.items()}


def _c2st(pair: Pair) -> dict[str, float]:
    """Of each modality too, but in the quick report."""
    parts = [JOINT] if pair.quick else pair.heldout.flat
    return {
        f"{'' if part == JOINT else f'/{part}'}:{member}": auc
        for part in parts
        for member, auc in pair.c2st(part).items()
    }


def _spread(pair: Pair) -> float:
    ours, real = (fidelity.within_class_spread(view.embedded[JOINT], view.y) for view in (pair.other, pair.heldout))
    return ours / real if real else float("nan")


def _class_spread(pair: Pair) -> dict[str, float]:
    ours, real = (fidelity.class_variance(view.embedded[JOINT], view.y) for view in (pair.other, pair.heldout))
    return _by_class({k: ours[k] / real[k] for k in ours if real.get(k)})


def _membership(pair: Pair) -> float:
    """Mean over folds: what judges one trains another."""
    found = []
    for s, reference in enumerate(pair.references):
        heldout, other = (view.flat[JOINT][view.source == s] for view in (pair.heldout, pair.other))
        if len(heldout) and len(other):
            found.append(membership_auc(reference.seen, heldout, other, pair.draw))
    return float(np.mean(found)) if found else float("nan")


def _gain(pair: Pair) -> dict[str, float]:
    gains = pair.gains()
    return {"": float(np.mean(list(gains.values()))), **_by_class(gains)}


def _of_class(key: str) -> Callable[[Pair], Found]:
    return lambda pair: _by_class({k: found[key] for k, found in pair.class_novelty.items()})


def _novelty(percentile: int, part: str) -> Metric:
    key = f"novelty{percentile}"
    limit = Limit("new", f"{part} is too near to training samples, or too far", low=0.85, high=1.2)
    meaning = f"distance to the nearest training sample of the class, {percentile} % quantile, over held-out samples'"
    compute = lambda pair: {k: found[key] for k, found in pair.novelty.items()}  # noqa: E731
    return Metric(key, "novelty", "target", meaning, compute, _MEEHAN, limit)


def _signal(name: str, fault: str, meaning: str) -> Metric:
    def compute(pair: Pair) -> dict[str, float]:
        found = pair.signal
        return {key.removeprefix(name): value for key, value in found.items() if key.split("/")[0] == name}

    meaning = f"RMSE of the {meaning}, over that between halves of held-out samples"
    return Metric(name, "signal", "min", meaning, compute, _SIGNAL, Limit("faithful", fault, high=1.5), uneven=True)


_METRICS = (
    Metric(
        "c2st", "fidelity", "min", "AUC of the best of three classifiers that tell them from held-out samples", _c2st, _LOPEZ,
        Limit("faithful", "a classifier tells them from real samples (C2ST AUC)", margin=0.1, side="above"), cost="usual",
    ),
    Metric(
        "axis_c2st", "fidelity", "min", "AUC of a logistic regression on statistics along the axis of each single sample",
        Pair.axis_c2st, _AXIS,
        Limit("faithful", "signals are told from real ones along the axis (axis C2ST AUC)", high=0.8), cost="usual",
    ),
    Metric(
        "coverage", "fidelity", "max", "share of held-out samples with a synthetic one among their 5 nearest",
        lambda pair: pair.prdc["coverage"], _NAEEM, _like_real("kinds of real samples are missing (coverage)"),
    ),
    Metric(
        "precision", "fidelity", "max", "share of samples that lie where held-out samples do",
        lambda pair: pair.prdc["precision"], _NAEEM, _like_real("samples lie off the data (precision)"),
    ),
    Metric(
        "recall", "fidelity", "max", "share of held-out samples that lie where samples do",
        lambda pair: pair.prdc["recall"], _NAEEM, _like_real("the data's edges are not reached (recall)"),
    ),
    Metric(
        "density", "fidelity", "target", "how many held-out samples have a sample among their 5 nearest, over 5",
        lambda pair: pair.prdc["density"], _NAEEM, _like_real("samples crowd or thin out (density)", "both"),
    ),
    Metric(
        "clipped_density", "fidelity", "max", "share of samples that are good, by density",
        lambda pair: pair.prdc["clipped_density"], _SALVY, _like_real("samples lie off the data (clipped density)"),
    ),
    Metric(
        "clipped_coverage", "fidelity", "max", "share of samples that are good, by coverage",
        lambda pair: pair.prdc["clipped_coverage"], _SALVY,
        _like_real("kinds of real samples are missing (clipped coverage)", margin=0.1),
    ),
    Metric(
        "mmd", "fidelity", "min", "maximum mean discrepancy, over the 95th percentile of real versus real",
        Pair.mmd, _GRETTON, Limit("faithful", "distributions differ (MMD over its null)", high=2), uneven=True,
    ),
    Metric(
        "spread", "fidelity", "target", "median squared distance from the class mean, over held-out samples'", _spread, _ALAA,
        Limit("faithful", "classes vary too little or too much (spread)", margin=0.1),
    ),
    Metric("class_spread", "fidelity", "target", "variance within a class, over held-out samples'", _class_spread, _ALAA, by_class=True),
    Metric(
        "far", "fidelity", "min", "share much farther from training samples than 99 % of held-out samples, by values and along the axis",
        Pair.far, _NOVELTY, Limit("faithful", "samples lie far outside the data (share)", high=0.03), share=True,
    ),
    Metric(
        "trts", "labels", "target", "macro-F1 on the samples of classifiers trained on real ones",
        lambda pair: macro_f1(pair.other.y, pair.other.predicted), _ESTEBAN,
        Limit("faithful", "labels do not fit the samples as real labels do (TRTS)", margin=0.03), uneven=True,
    ),
    Metric(
        "label_recall", "labels", "target", "the same by class: share that is found",
        lambda pair: _by_class(utility.class_recall(pair.other.y, pair.other.predicted)), _ESTEBAN,
        Limit("faithful", "labels of a class do not fit its samples (recall)", margin=0.1), uneven=True, by_class=True, share=True
    ),
    Metric(
        "retrieval", "coherence", "target",
        "rank of the true partner among those of its class, by a regression from another modality (0 best, .5 chance)",
        Pair.retrieval, _COHERENCE,
        Limit("faithful", "modalities do not fit each other as they should (retrieval rank)", margin=0.05), uneven=True,
    ),
    Metric(
        "trtr", "utility", "max", "macro-F1 of classifiers trained on the training samples, on held-out samples",
        lambda pair: macro_f1(pair.test.y, pair.test.predicted), _ESTEBAN, note="the reference", cost="usual",
    ),
    Metric(
        "tstr", "utility", "max", "macro-F1 of classifiers trained on the samples alone, on held-out samples",
        lambda pair: macro_f1(pair.test.y, pair.answers.argmax(1)), _ESTEBAN, note="at least .97 of the real row", cost="usual",
    ),
    Metric(
        "chance", "utility", "max", "macro-F1 of always answering the most frequent class, and 2 standard errors",
        lambda pair: utility.chance_f1(pair.test.y), _ESTEBAN, cost="usual",
    ),
    Metric(
        "trtr_log_loss", "utility", "min", "log loss of classifiers trained on the training samples",
        lambda pair: utility.log_loss(pair.test.y, pair.test.probabilities), _ESTEBAN, cost="usual",
    ),
    Metric(
        "tstr_log_loss", "utility", "min", "log loss of classifiers trained on the samples alone",
        lambda pair: utility.log_loss(pair.test.y, pair.answers), _ESTEBAN, cost="usual",
    ),
    Metric(
        "class_recall", "utility", "max", "share of a class that classifiers trained on the samples alone find",
        lambda pair: _by_class(utility.class_recall(pair.test.y, pair.answers.argmax(1))), _RAVURI, cost="usual", by_class=True
    ),
    Metric(
        "gain", "utility", "max", "macro-F1 of classifiers trained on both, less that of the training samples alone", _gain,
        _RAVURI, note="an interval above 0", cost="costly",
    ),
    _novelty(10, "the nearest tenth"),
    _novelty(50, "the middle"),
    _novelty(90, "the farthest tenth"),
    Metric(
        "close", "novelty", "min", "share nearer to a training sample of the class than 99 % of held-out samples",
        lambda pair: {k: found["close"] for k, found in pair.novelty.items()}, _ALAA,
        Limit("new", "near-copies of training samples (share)", high=0.03),
    ),
    Metric(
        "class_novelty", "novelty", "target", "novelty at the 50 % quantile, by class", _of_class("novelty50"), _MEEHAN,
        Limit("new", "samples of a class are too near to training samples, or too far", low=0.7, high=1.4), by_class=True
    ),
    Metric(
        "class_close", "novelty", "min", "close, by class", _of_class("close"), _ALAA,
        Limit("new", "near-copies of training samples of a class (share)", high=0.2), by_class=True, share=True
    ),
    Metric(
        "copies", "novelty", "min", "share at less than half of the distance that 99 % of held-out samples keep, of any class",
        lambda pair: pair.by_part(copies, "any"), _NOVELTY, Limit("new", "copies of training samples (share)", high=0.01),
    ),
    Metric(
        "heldout_copies", "novelty", "min", "share of copies of the held-out samples that judge",
        lambda pair: pair.copies_of(pair.unseen), _NOVELTY, Limit("new", "copies of held-out samples (share)", high=0.01),
    ),
    Metric(
        "unlisted_copies", "novelty", "min", "share of copies of real samples that `train_indices` do not list",
        lambda pair: pair.copies_of(pair.others), _NOVELTY,
        Limit("new", "copies of real samples that train_indices do not list (share)", high=0.01),
    ),
    Metric(
        "repeated", "novelty", "min", "share of samples that stand in the set more than once", Pair.repeated, _NOVELTY,
        Limit("new", "samples repeat each other (share)", high=0.01),
    ),
    Metric(
        "membership", "novelty", "min", "AUC of an attacker who tells training from held-out samples by the synthetic ones",
        _membership, _HILPRECHT, note="for information: .5 says nothing of who was trained on", cost="usual",
    ),
    _signal("signal_mean", "channel means are off", "channel means"),
    _signal("signal_spread", "channel spreads are off", "channel standard deviations"),
    _signal("signal_autocorrelation", "signals are too rough or too smooth (autocorrelation)", "autocorrelation"),
    _signal("signal_cross", "channels do not vary together as they should (cross-correlation)", "correlation of channels"),
)  # fmt: skip
METRICS: dict[str, Metric] = {metric.name: metric for metric in _METRICS}


def metric_of(key: str) -> Metric:
    """Return the metric of a result's key, such as `c2st` or `retrieval/spec_to_env`; raises MmganError for an unknown one."""
    name = key.split("/")[0].split(":")[0]
    if name not in METRICS:
        raise MmganError(f"no metric is called '{name}'; known are {', '.join(METRICS)}.")
    return METRICS[name]


def number(value: float) -> str:
    """Return a figure in two or three digits, without the leading 0: .97, 1.02, 12.3."""
    if not np.isfinite(value):
        return "none" if np.isnan(value) else "infinite"
    text = f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    if float(text) == 0 and value:
        text = f"{value:.1g}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text

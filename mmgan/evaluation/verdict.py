"""The verdict in words: are synthetic samples faithful, new and useful, and if not, what is wrong with them?

Every figure is set against the real row's, which no generator can be asked to beat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmgan.evaluation.metrics import LIKE_REAL, METRICS, Limit, number
from mmgan.evaluation.statistics import Interval

Metrics = Mapping[str, float]

# Where a fault has a name of its own: shares of the real value, and for the first two of samples and of their distance.
MEMORISED, COPIED, SHRUNKEN, DENSE, MISLABELLED, UNLIKE = 0.06, 0.1, 0.75, 1.15, 0.6, 0.5


@dataclass(frozen=True)
class Criterion:
    """One line of the verdict, such as `faithful: no (C2ST AUC .97, real samples .51)`."""

    question: str
    answer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.question}: {self.answer} ({self.reason})"


@dataclass(frozen=True)
class Verdict:
    """The three lines of the verdict, and in `findings` what is wrong with the samples, as sentences."""

    criteria: tuple[Criterion, Criterion, Criterion]
    findings: tuple[str, ...]

    def answer(self, question: str) -> str:
        """Return the answer to `faithful`, `new` or `useful`."""
        return next(each.answer for each in self.criteria if each.question == question)


def verdict(
    ours: Metrics, real: Metrics, deviation: Metrics, gain: Interval | None, missing: Sequence[str] = ()
) -> Verdict:
    """Return the verdict on samples whose means are `ours`, beside the real row's means and deviations.

    `gain` is the interval over folds of what the samples add to real ones (None: not measured), `missing` names the classes
    that have no synthetic samples.
    """
    failed = {
        name: metric.limit for name, metric in METRICS.items() if metric.limit and _fails(name, ours, real, deviation)
    }
    if ours["mmd"] > max(ours["mmd_null"], LIKE_REAL * real["mmd"]):
        fault = f"distributions differ beyond the null of {number(ours['mmd_null'])} (MMD)"
        failed["mmd"] = Limit("faithful", fault)
    criteria = _faithful(failed, ours, real, missing), _new(failed, ours), _useful(ours, real, gain)
    return Verdict(criteria, tuple(_findings(ours, real, set(failed), missing)))


def _fails(name: str, ours: Metrics, real: Metrics, deviation: Metrics) -> bool:
    # A metric that is not defined for these samples decides nothing.
    if name not in ours or not np.isfinite([ours[name], real[name]]).all():
        return False
    null = ours.get(f"{name}_null", -np.inf)
    low, high = METRICS[name].limit.bounds(real[name], deviation.get(name, 0.0), null)
    return not low <= ours[name] <= high


def _faithful(failed: Mapping[str, Limit], ours: Metrics, real: Metrics, missing: Sequence[str]) -> Criterion:
    reasons = [f"no samples of {len(missing)} class(es)"] if missing else []
    reasons += [
        f"{limit.fault} {number(ours[name])}, real samples {number(real[name])}"
        for name, limit in failed.items()
        if limit.question == "faithful"
    ]
    if reasons:
        return Criterion("faithful", "no", "; ".join(reasons))
    return Criterion("faithful", "yes", "every metric is within the limits that the real row sets")


def _new(failed: Mapping[str, Limit], ours: Metrics) -> Criterion:
    off = [name for name, limit in failed.items() if limit.question == "new"]
    quantiles = " / ".join(number(ours[f"novelty{p}"]) for p in (10, 50, 90))
    reason = (
        f"distance to the nearest training sample {quantiles} of what unseen real samples have, at the 10 / 50 / 90 % quantiles;"
        f" {ours['close']:.1%} nearer than 99 % of those"
    )
    if not off:
        return Criterion("new", "yes", reason)
    near = any(name == "close" or ours[name] < 1 for name in off)
    return Criterion("new", "no" if near else "too far", reason)


def _useful(ours: Metrics, real: Metrics, gain: Interval | None) -> Criterion:
    share = number(ours["tstr"] / max(real["tstr"], 1e-9))
    alone = f"classifiers trained on them alone reach {share} of what as many real samples give"
    if gain is None:
        return Criterion("useful", "unknown", f"the gain was not measured; {alone}")
    points = f"{round(100 * gain.mean, 1) + 0.0:+.1f}"  # never -0.0
    if np.isnan(gain.low):
        return Criterion(
            "useful", "unknown", f"{points} points of macro-F1 on one fold, which has no interval; {alone}"
        )
    points += f" +- {50 * (gain.high - gain.low):.1f} points of macro-F1 beside the real samples"
    if gain.low > 0:
        return Criterion("useful", "yes", f"{points}; {alone}")
    if gain.high < 0:
        return Criterion("useful", "no", f"{points}: they do harm; {alone}")
    return Criterion("useful", "not shown", f"{points}, not distinguishable from 0; {alone}")


def _findings(ours: Metrics, real: Metrics, failed: set[str], missing: Sequence[str]) -> list[str]:
    """Say what kind of wrong the samples are; the rules are ordered from the plainest fault to the subtlest."""
    found = []
    shrunken = ours["spread"] < SHRUNKEN and ours["density"] > DENSE * real["density"]
    if missing:
        found.append(f"Classes without synthetic samples: {', '.join(missing)}.")
    # Samples near the middle of a class are near to training samples without copying them: then only "shrunken" is said.
    if ours["close"] > 0.5 and ours["novelty50"] < COPIED:
        found.append(f"Copies: {ours['close']:.0%} of the samples are training samples, or as good as.")
    elif "close" in failed and ours["close"] > 0.5:
        found.append(f"Near-copies: {ours['close']:.0%} of the samples lie beside or between training samples.")
    elif "novelty50" in failed and ours["novelty50"] < 1 and not shrunken:
        found.append(
            f"Too near: at {number(ours['novelty50'])} of the distance to training samples that unseen samples have."
        )
    elif ours["close"] > MEMORISED and "close" in failed and not shrunken:
        found.append(
            f"Memorised: {ours['close']:.0%} of the samples are nearer to a training sample than unseen samples are."
        )
    unlike = ours["precision"] < UNLIKE * real["precision"] or ours["coverage"] < UNLIKE * real["coverage"]
    mislabelled = ours["trts"] < MISLABELLED * ours["trtr"]
    if mislabelled and unlike:
        found.append("Noise: neither the samples nor their labels resemble the data.")
    elif mislabelled:
        found.append("Wrong labels: the samples do not carry the class that they are said to be of.")
    if shrunken:
        found.append(f"Shrunken: samples stay near their class means, with {ours['spread']:.0%} of the real spread.")
    if "retrieval" in failed and not (mislabelled and unlike) and ours["retrieval"] > real["retrieval"]:
        found.append(
            "Incoherent: the modalities of a sample do not belong to each other; the true partner ranks at "
            f"{number(ours['retrieval'])}, where real samples have {number(real['retrieval'])} and chance is .5."
        )
    return found

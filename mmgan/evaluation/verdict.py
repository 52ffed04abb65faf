"""The verdict in words: are synthetic samples faithful, new and useful, and if not, what is wrong with them?

Every figure is set against the real row's, which no generator can be asked to beat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmgan.evaluation.statistics import Interval

Metrics = Mapping[str, float]

LIKE_REAL = 1.2  # times what real samples have against the same half, where a null is known
# Where a fault has a name of its own: shares of the real value, and for the first two of samples and of their distance.
MEMORISED, COPIED, SHRUNKEN, DENSE, MISLABELLED, UNLIKE = 0.06, 0.1, 0.75, 1.15, 0.6, 0.5


@dataclass(frozen=True)
class Check:
    """What a metric has to meet: within `margin` of the real row, or between `low` and `high`.

    Where three standard deviations of the real row from one pair of halves to another are more, they are allowed, and so is
    what 99 % of such pairs reach: among so many checks, chance is not held against synthetic samples. `words` tells what failed.
    """

    question: Literal["faithful", "new"]
    metric: str
    words: str
    margin: float | None = None
    relative: bool = False  # margin as a share of the real row's value
    side: Literal["both", "below", "above"] = "both"  # on which side of the limits a value fails
    low: float | None = None
    high: float | None = None

    def limits(self, real: float, deviation: float, null: float = -np.inf) -> tuple[float, float]:
        """Return the smallest and the largest value that pass, given the real row's mean and deviation, and the null."""
        reach = 3 * deviation
        if self.margin is not None:
            reach = max(reach, self.margin * abs(real) if self.relative else self.margin)
            low, high = real - reach, real + reach
        else:
            low = -np.inf if self.low is None else min(self.low, real - reach)
            high = (
                np.inf if self.high is None else max(self.high, real + reach, LIKE_REAL * real if null > 0 else 0, null)
            )
        return (-np.inf if self.side == "above" else low), (np.inf if self.side == "below" else high)


CHECKS = (
    Check("faithful", "c2st", "a classifier tells them from real samples (C2ST AUC)", margin=0.1, side="above"),
    Check(
        "faithful", "coverage", "kinds of real samples are missing (coverage)", margin=0.05, relative=True, side="below"
    ),
    Check("faithful", "precision", "samples lie off the data (precision)", margin=0.05, relative=True, side="below"),
    Check("faithful", "recall", "the data's edges are not reached (recall)", margin=0.05, relative=True, side="below"),
    Check("faithful", "density", "samples crowd or thin out (density)", margin=0.05, relative=True),
    Check("faithful", "spread", "classes vary too little or too much (spread)", margin=0.1),
    Check("faithful", "retrieval", "modalities do not fit each other as they should (retrieval rank)", margin=0.05),
    Check("faithful", "signal_mean", "channel means are off", high=1.2),
    Check("faithful", "signal_spread", "channel spreads are off", high=1.2),
    Check("faithful", "signal_autocorrelation", "signals are too rough or too smooth (autocorrelation)", high=1.2),
    Check("faithful", "signal_cross", "channels do not vary together as they should (cross-correlation)", high=1.2),
    Check("new", "novelty10", "the nearest tenth is too near to training samples, or too far", low=0.85, high=1.2),
    Check("new", "novelty50", "the middle is too near to training samples, or too far", low=0.85, high=1.2),
    Check("new", "novelty90", "the farthest tenth is too near to training samples, or too far", low=0.85, high=1.2),
    Check("new", "close", "near-copies of training samples (share)", high=0.03),
)


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
    """The three words, and in `findings` what is wrong with the samples, as sentences."""

    words: tuple[Criterion, Criterion, Criterion]
    findings: tuple[str, ...]

    def answer(self, question: str) -> str:
        """Return the answer to `faithful`, `new` or `useful`."""
        return next(word.answer for word in self.words if word.question == question)


def verdict(
    ours: Metrics, real: Metrics, deviation: Metrics, gain: Interval | None, missing: Sequence[str] = ()
) -> Verdict:
    """Return the verdict on samples whose means are `ours`, beside the real row's means and deviations.

    `gain` is the interval over folds of what the samples add to real ones (None: not measured), `missing` names the classes
    that have no synthetic row.
    """
    failed = [
        (check, ours[check.metric]) for check in CHECKS if check.metric in ours and _fails(check, ours, real, deviation)
    ]
    if ours["mmd"] > max(ours["mmd_null"], LIKE_REAL * real["mmd"]):
        null = number(ours["mmd_null"])
        failed.append((Check("faithful", "mmd", f"distributions differ beyond the null of {null} (MMD)"), ours["mmd"]))
    words = _faithful(failed, real, missing), _new(failed, ours), _useful(ours, real, gain)
    return Verdict(words, tuple(_findings(ours, real, {check.metric for check, _ in failed}, missing)))


def _fails(check: Check, ours: Metrics, real: Metrics, deviation: Metrics) -> bool:
    value, reference = ours[check.metric], real[check.metric]
    if not np.isfinite([value, reference]).all():  # not defined for these samples
        return False
    low, high = check.limits(reference, deviation.get(check.metric, 0.0), ours.get(f"{check.metric}_null", -np.inf))
    return not low <= value <= high


def _faithful(failed: list[tuple[Check, float]], real: Metrics, missing: Sequence[str]) -> Criterion:
    off = [(check, value) for check, value in failed if check.question == "faithful"]
    reasons = [f"{check.words} {number(value)}, real samples {number(real[check.metric])}" for check, value in off]
    reasons = ([f"no samples of {len(missing)} class(es)"] if missing else []) + reasons
    if reasons:
        return Criterion("faithful", "no", "; ".join(reasons))
    return Criterion("faithful", "yes", "every check is within the limits that the real row sets")


def _new(failed: list[tuple[Check, float]], ours: Metrics) -> Criterion:
    off = [(check, value) for check, value in failed if check.question == "new"]
    quantiles = " / ".join(number(ours[f"novelty{p}"]) for p in (10, 50, 90))
    told = f"distance to the nearest training row {quantiles} of what unseen real samples have, at the 10 / 50 / 90 % quantiles"
    told += f"; {ours['close']:.1%} nearer than 99 % of those"
    if not off:
        return Criterion("new", "yes", told)
    near = any(check.metric == "close" or value < 1 for check, value in off)
    return Criterion("new", "no" if near else "too far", told)


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
        found.append(f"Classes without a synthetic row: {', '.join(missing)}.")
    # Arrays near the middle of a class are near to training samples without copying them: then only "shrunken" is said.
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
            f"Memorised: {ours['close']:.0%} of the samples are nearer to a training row than unseen samples are."
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
            "Incoherent: the modalities of a row do not belong to each other; the true partner ranks at "
            f"{number(ours['retrieval'])}, where real samples have {number(real['retrieval'])} and chance is .5."
        )
    return found


def number(value: float) -> str:
    """Return a figure in two or three digits, without the leading 0: .97, 1.02, 12.3."""
    if not np.isfinite(value):
        return "none" if np.isnan(value) else "infinite"
    text = f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    if float(text) == 0 and value:
        text = f"{value:.1g}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text

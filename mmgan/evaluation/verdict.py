"""The verdict: are synthetic samples faithful, new and useful, or are there too few samples to tell?

Every figure is set against the real row's, which no generator can be asked to beat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmgan.evaluation.metrics import METRICS, Limit, metric_of, number
from mmgan.evaluation.power import POWERFUL, power
from mmgan.evaluation.statistics import Interval
from mmgan.evaluation.utility import captured

Metrics = Mapping[str, float]
YES, NO, TOO_FEW = "yes", "no", "too few samples to tell"

# Where a fault has a name of its own: shares of the real value, and for the first two of samples and of their distance.
MEMORISED, COPIED, SHRUNKEN, DENSE, MISLABELLED, UNLIKE = 0.06, 0.1, 0.75, 1.15, 0.6, 0.5
WORTH = 0.01  # of macro-F1: a gain that is less for certain is none


@dataclass(frozen=True)
class Criterion:
    """One figure of the verdict with the values that pass: from `low` to `high`."""

    key: str
    value: float
    real: float
    low: float
    high: float
    limit: Limit
    part: str = ""  # the modality or class that it is of

    @property
    def met(self) -> bool:
        """Say whether the figure passes."""
        return self.low <= self.value <= self.high

    @property
    def fault(self) -> str:
        """Say what it means that it does not pass."""
        part = f" of {self.part}" if self.part else ""
        return f"{self.limit.fault}{part}: {number(self.value)}, real samples {number(self.real)}"

    @property
    def excess(self) -> float:
        """How far outside of its bounds the figure is, over what the bounds allow beside the real row."""
        beyond = max(self.low - self.value, self.value - self.high)
        bound = self.low if self.value < self.low else self.high
        return beyond / max(abs(bound - self.real), 1e-9)


@dataclass(frozen=True)
class Answer:
    """One question of the verdict: `yes`, `no` or `too few samples to tell`, why in one sentence, and the figures behind it."""

    question: str
    answer: str
    reason: str
    criteria: tuple[Criterion, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The three answers, and in `findings` what is wrong with the samples, as sentences."""

    answers: tuple[Answer, Answer, Answer]
    findings: tuple[str, ...]

    def answer(self, question: str) -> str:
        """Return the answer to `faithful`, `new` or `useful`."""
        return next(each.answer for each in self.answers if each.question == question)

    def as_dict(self) -> dict[str, Any]:
        """Return {question: {answer, reason, criteria}} and `findings`, as report.json has it."""
        found = {
            each.question: {
                "answer": each.answer,
                "reason": each.reason,
                "criteria": [
                    {
                        "metric": c.key,
                        "of": c.part,
                        "value": c.value,
                        "real": c.real,
                        "low": c.low,
                        "high": c.high,
                        "met": c.met,
                    }
                    for c in each.criteria
                ],
            }
            for each in self.answers
        }
        return {**found, "findings": list(self.findings)}


def verdict(
    ours: Metrics,
    real: Metrics,
    deviation: Metrics,
    gain: Interval | None,
    n: int,
    missing: Sequence[int] = (),
    class_names: Sequence[str] = (),
    real_gain: Interval | None = None,
) -> Verdict:
    """Return the verdict on samples whose means are `ours`, beside the real row's means and deviations.

    `gain` is the interval over folds of what the samples add to real ones (None: not measured), `real_gain` that of as many more
    real samples, `n` how many samples were compared, `missing` the classes without synthetic samples.
    """
    criteria = [_named(each, class_names) for each in criteria_of(ours, real, deviation)]
    lacking = [class_names[k] for k in missing]
    faithful = _answer("faithful", criteria, n, [f"no samples of {', '.join(lacking)}"] if lacking else [])
    failed = {criterion.key for criterion in criteria if not criterion.met}
    answers = faithful, _answer("new", criteria, n, []), _useful(ours, real, gain, real_gain)
    return Verdict(answers, tuple(_findings(ours, real, failed, lacking)))


def _named(criterion: Criterion, class_names: Sequence[str]) -> Criterion:
    part = criterion.key.partition("/")[2]
    of_class = metric_of(criterion.key).by_class and part.isdecimal() and int(part) < len(class_names)
    return replace(criterion, part=f"class {class_names[int(part)]}" if of_class else part)


def criteria_of(ours: Metrics, real: Metrics, deviation: Metrics) -> list[Criterion]:
    """Return each figure that has a limit; what is not defined for these samples decides nothing."""
    found = []
    for key, value in ours.items():
        limit = metric_of(key).limit
        if limit is None or ":" in key or key not in real or not np.isfinite([value, real[key]]).all():
            continue
        low, high = limit.bounds(real[key], deviation.get(key, 0.0))
        found.append(Criterion(key, value, real[key], low, high, limit))
    order = list(METRICS)
    return sorted(found, key=lambda criterion: order.index(metric_of(criterion.key).name))


def _answer(question: str, criteria: Sequence[Criterion], n: int, faults: list[str]) -> Answer:
    own = tuple(criterion for criterion in criteria if criterion.limit.question == question)
    failed = sorted((criterion for criterion in own if not criterion.met), key=lambda each: -each.excess)
    faults += [criterion.fault for criterion in failed]
    if faults:
        more = f" (and {len(faults) - 1} more below)" if len(faults) > 1 else ""
        return Answer(question, NO, f"{faults[0]}{more}", own)
    weak = {kind: share for kind, share in power(question, n).items() if share < POWERFUL}
    if weak:
        kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in weak.items())
        reason = f"no fault is seen, but of {n} samples these would be seen too seldom: {kinds}"
        return Answer(question, TOO_FEW, reason, own)
    return Answer(question, YES, f"all {len(own)} figures are within the limits that real samples set", own)


def _useful(ours: Metrics, real: Metrics, gain: Interval | None, real_gain: Interval | None) -> Answer:
    share = ratio(ours.get("tstr"), real.get("tstr"))
    alone = (
        "" if share is None else f"; alone they train classifiers to {number(share)} of what as many real samples do"
    )
    if gain is None:
        return Answer("useful", TOO_FEW, f"the gain was not measured: judge without quick=true{alone}")
    points = f"{round(100 * gain.mean, 1) + 0.0:+.1f}"  # never -0.0
    if np.isnan(gain.low):
        reason = f"{points} points of macro-F1 on one fold, which has no interval: judge a file of all folds (fold=all){alone}"
        return Answer("useful", TOO_FEW, reason)
    points += f" +- {50 * (gain.high - gain.low):.1f} points of macro-F1 beside the real samples"
    alone = _more_real_samples(gain, real_gain) + alone
    if gain.low > 0:
        return Answer("useful", YES, f"{points}{alone}")
    if gain.high < 0:
        return Answer("useful", NO, f"{points}: they do harm{alone}")
    if gain.high < WORTH:
        return Answer("useful", NO, f"{points}: less than one point{alone}")
    return Answer("useful", TOO_FEW, f"{points}, not distinguishable from 0{alone}")


def _more_real_samples(gain: Interval, real_gain: Interval | None) -> str:
    """Say what as many more real samples add, and which share of it was captured."""
    if real_gain is None or np.isnan(real_gain.low):
        return ""
    points = f"{round(100 * real_gain.mean, 1) + 0.0:+.1f}"
    share = captured(gain.mean, real_gain.mean, real_gain.error)
    if share is None:
        return f"; as many more real samples add {points}, which is not distinguishable from 0: the data are saturated"
    return f"; as many more real samples add {points}, of which {share:.0%} is captured"


def ratio(value: float | None, real: float | None, error: float = 0.0) -> float | None:
    """Return value over the real row's; None where that is within 2 standard errors of 0, or not known."""
    if value is None or real is None or not np.isfinite([value, real]).all() or real <= max(2 * error, 1e-9):
        return None
    return value / real


def _findings(ours: Metrics, real: Metrics, failed: set[str], missing: Sequence[str]) -> list[str]:
    """Say what kind of wrong the samples are; the rules are ordered from the plainest fault to the subtlest."""
    found = []
    shrunken = ours["spread"] < SHRUNKEN and ours["density"] > DENSE * real["density"]
    if missing:
        found.append(f"Classes without synthetic samples: {', '.join(missing)}.")
    if shrunken and ours["spread"] < COPIED:
        found.append(f"Collapse: samples stand at their class means, with {ours['spread']:.0%} of the real spread.")
    found += _too_near(ours, failed, shrunken)
    if "heldout_copies" in failed:
        found.append(
            f"Copies of held-out samples: {ours['heldout_copies']:.0%}. The generator saw the samples that judge it, so no figure counts."
        )
    if "unlisted_copies" in failed:
        found.append(
            f"Copies of real samples that the file does not list: {ours['unlisted_copies']:.0%}. Its train_indices are not what the generator saw."
        )
    if "repeated" in failed:
        found.append(f"Repeated: {ours['repeated']:.0%} of the samples stand in the set more than once.")
    unlike = ours["precision"] < UNLIKE * real["precision"] or ours["coverage"] < UNLIKE * real["coverage"]
    mislabelled = ours["trts"] < MISLABELLED * real["trts"]
    if mislabelled and unlike:
        found.append("Noise: neither the samples nor their labels resemble the data.")
    elif mislabelled:
        found.append("Wrong labels: the samples do not carry the class that they are said to be of.")
    elif "trts" in failed and ours["trts"] < real["trts"]:
        found.append(f"Labels: about {1 - ours['trts'] / real['trts']:.0%} of the samples seem to carry a wrong label.")
    if shrunken and ours["spread"] >= COPIED:
        found.append(f"Shrunken: samples stay near their class means, with {ours['spread']:.0%} of the real spread.")
    if "retrieval" in failed and not (mislabelled and unlike) and ours["retrieval"] > real["retrieval"]:
        found.append(
            "Incoherent: the modalities of a sample do not belong to each other; the true partner ranks at "
            f"{number(ours['retrieval'])}, where real samples have {number(real['retrieval'])} and chance is .5."
        )
    return found


def _too_near(ours: Metrics, failed: set[str], shrunken: bool) -> list[str]:
    # Samples near the middle of a class are near to training samples without copying them: then only "shrunken" is said.
    if "copies" in failed and (ours["novelty50"] < COPIED or not shrunken):
        return [f"Copies: {ours['copies']:.1%} of the samples are training samples, or as good as."]
    if "close" in failed and ours["close"] > 0.5 and ours["spread"] >= COPIED:
        return [f"Near-copies: {ours['close']:.0%} of the samples lie beside or between training samples."]
    if "novelty50" in failed and ours["novelty50"] < 1 and not shrunken:
        return [
            f"Too near: at {number(ours['novelty50'])} of the distance to training samples that unseen samples have."
        ]
    if ours["close"] > MEMORISED and "close" in failed and not shrunken:
        return [
            f"Memorised: {ours['close']:.0%} of the samples are nearer to a training sample than unseen samples are."
        ]
    copied = [key.split("/")[1] for key in failed if key.startswith("copies/")]
    return [f"Copies: the modality {name} is that of training samples." for name in sorted(copied)]

"""Every metric by name: its direction, the values that pass, and the paper that defines it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmgan.errors import MmganError

LIKE_REAL = 1.2  # times the real row's value, where a null is known


@dataclass(frozen=True)
class Limit:
    """The values that pass: within `margin` of the real row, or from `low` to `high`; `fault` says what a failure means.

    Three standard deviations of the real row between pairs of halves are allowed where they are more, and so is what 99 % of
    such pairs reach: among so many metrics, chance is not held against synthetic samples.
    """

    question: Literal["faithful", "new"]
    fault: str
    margin: float | None = None
    relative: bool = False  # the margin is a share of the real row's value
    side: Literal["both", "below", "above"] = "both"  # on which side a value fails
    low: float | None = None
    high: float | None = None

    def bounds(self, real: float, deviation: float, null: float = -np.inf) -> tuple[float, float]:
        """Return the smallest and the largest value that pass, given the real row's mean and deviation, and the null."""
        reach = 3 * deviation
        if self.margin is not None:
            reach = max(reach, self.margin * abs(real) if self.relative else self.margin)
            low, high = real - reach, real + reach
        else:
            low = -np.inf if self.low is None else min(self.low, real - reach)
            like_real = LIKE_REAL * real if null > 0 else 0
            high = np.inf if self.high is None else max(self.high, real + reach, like_real, null)
        return (-np.inf if self.side == "above" else low), (np.inf if self.side == "below" else high)

    def __str__(self) -> str:
        if self.margin is None:
            return f"at most {number(self.high)}" if self.low is None else f"{number(self.low)}-{number(self.high)}"
        if not self.relative:
            words = "at most {} above" if self.side == "above" else "within {} of"
            return f"{words.format(number(self.margin))} the real row"
        least = number(1 - self.margin)
        return (
            f"{'at least ' + least if self.side == 'below' else least + '-' + number(1 + self.margin)} of the real row"
        )


@dataclass(frozen=True)
class Metric:
    """A column of the tables; the direction `target` means as the real row has it. `advice` stands where there is no limit."""

    name: str
    family: str
    direction: Literal["max", "min", "target"]
    paper: str
    advice: str = ""
    limit: Limit | None = None

    @property
    def good(self) -> str:
        """Say which values are good."""
        return self.advice or str(self.limit)


_LOPEZ = "Lopez-Paz & Oquab 2017, https://arxiv.org/abs/1610.06545"
_NAEEM = "Naeem et al. 2020, https://arxiv.org/abs/2002.09797"
_GRETTON = "Gretton et al. 2012, https://jmlr.org/papers/v13/gretton12a.html"
_ESTEBAN = "Esteban et al. 2017, https://arxiv.org/abs/1706.02633"
_RAVURI = "Ravuri & Vinyals 2019, https://arxiv.org/abs/1905.10887"
_MEEHAN = "Meehan et al. 2020, https://arxiv.org/abs/2004.05675"
_ALAA = "Alaa et al. 2022, https://arxiv.org/abs/2102.08921"
_COHERENCE = "defined in mmgan.evaluation.coherence"
_SIGNAL = "defined in mmgan.evaluation.signal"


def _like_real(fault: str, side: Literal["both", "below"] = "below") -> Limit:
    return Limit("faithful", fault, margin=0.05, relative=True, side=side)


def _novelty(percentile: int, part: str) -> Metric:
    limit = Limit("new", f"{part} is too near to training samples, or too far", low=0.85, high=1.2)
    return Metric(f"novelty{percentile}", "novelty", "target", _MEEHAN, limit=limit)


_SIGNAL_FAULTS = {
    "mean": "channel means are off",
    "spread": "channel spreads are off",
    "autocorrelation": "signals are too rough or too smooth (autocorrelation)",
    "cross": "channels do not vary together as they should (cross-correlation)",
}

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "c2st", "fidelity", "min", _LOPEZ,
            limit=Limit("faithful", "a classifier tells them from real samples (C2ST AUC)", margin=0.1, side="above"),
        ),
        Metric("coverage", "fidelity", "max", _NAEEM, limit=_like_real("kinds of real samples are missing (coverage)")),
        Metric("precision", "fidelity", "max", _NAEEM, limit=_like_real("samples lie off the data (precision)")),
        Metric("recall", "fidelity", "max", _NAEEM, limit=_like_real("the data's edges are not reached (recall)")),
        Metric("density", "fidelity", "target", _NAEEM, limit=_like_real("samples crowd or thin out (density)", "both")),
        Metric("mmd", "fidelity", "min", _GRETTON, "at most mmd_null"),
        Metric("mmd_null", "fidelity", "min", _GRETTON, "95th percentile of real versus real"),
        Metric(
            "spread", "fidelity", "target", _ALAA,
            limit=Limit("faithful", "classes vary too little or too much (spread)", margin=0.1),
        ),
        Metric("class_spread", "fidelity", "target", _ALAA, "near the real row's"),
        Metric(
            "retrieval", "coherence", "target", _COHERENCE,
            limit=Limit("faithful", "modalities do not fit each other as they should (retrieval rank)", margin=0.05),
        ),
        Metric("trtr", "utility", "max", _ESTEBAN, "the reference"),
        Metric("tstr", "utility", "max", _ESTEBAN, "at least .97 of trtr"),
        Metric("trts", "utility", "max", _ESTEBAN, "near trtr"),
        Metric("gain", "utility", "max", _RAVURI, "an interval above 0"),
        Metric("class_recall", "utility", "max", _RAVURI, "the real row's"),
        _novelty(10, "the nearest tenth"),
        _novelty(50, "the middle"),
        _novelty(90, "the farthest tenth"),
        Metric("close", "novelty", "min", _ALAA, limit=Limit("new", "near-copies of training samples (share)", high=0.03)),
        *(
            Metric(f"signal_{name}", "signal", "min", _SIGNAL, limit=Limit("faithful", fault, high=1.2))
            for name, fault in _SIGNAL_FAULTS.items()
        ),
        *(
            Metric(f"signal_{name}_null", "signal", "min", _SIGNAL, "99th percentile of real versus real")
            for name in _SIGNAL_FAULTS
        ),
    )
}  # fmt: skip


def metric_of(key: str) -> Metric:
    """Return the metric of a result's key, such as `c2st` or `c2st/spec`; raises MmganError for an unknown one."""
    name = key.split("/")[0]
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

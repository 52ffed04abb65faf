"""Every metric by name: its direction, what is good, and the paper that defines it."""

from dataclasses import dataclass
from typing import Literal

from mmgan.errors import MmganError


@dataclass(frozen=True)
class Metric:
    """A column of the tables; where the direction is `target`, that is the value of a perfect generator (None: the real row's)."""

    name: str
    family: str
    direction: Literal["max", "min", "target"]
    good: str
    paper: str
    target: float | None = None


_LOPEZ = "Lopez-Paz & Oquab 2017, https://arxiv.org/abs/1610.06545"
_NAEEM = "Naeem et al. 2020, https://arxiv.org/abs/2002.09797"
_GRETTON = "Gretton et al. 2012, https://jmlr.org/papers/v13/gretton12a.html"
_ESTEBAN = "Esteban et al. 2017, https://arxiv.org/abs/1706.02633"
_RAVURI = "Ravuri & Vinyals 2019, https://arxiv.org/abs/1905.10887"
_MEEHAN = "Meehan et al. 2020, https://arxiv.org/abs/2004.05675"
_ALAA = "Alaa et al. 2022, https://arxiv.org/abs/2102.08921"
_COHERENCE = "defined in mmgan.evaluation.coherence"
_SIGNAL = "defined in mmgan.evaluation.signal"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("c2st", "fidelity", "min", "at most .10 above the real row", _LOPEZ),
        Metric("precision", "fidelity", "max", ".95-1.05 of the real row", _NAEEM),
        Metric("recall", "fidelity", "max", ".95-1.05 of the real row", _NAEEM),
        Metric("density", "fidelity", "target", ".95-1.05 of the real row", _NAEEM, 1.0),
        Metric("coverage", "fidelity", "max", ".95-1.05 of the real row", _NAEEM),
        Metric("mmd", "fidelity", "min", "at most mmd_null", _GRETTON),
        Metric("mmd_null", "fidelity", "min", "95th percentile of real versus real", _GRETTON),
        Metric("spread", "fidelity", "target", "within .10 of the real row", _ALAA, 1.0),
        Metric("class_spread", "fidelity", "target", "near the real row's", _ALAA, 1.0),
        Metric("retrieval", "coherence", "target", "within .05 of the real row", _COHERENCE),
        Metric("trtr", "utility", "max", "the reference", _ESTEBAN),
        Metric("tstr", "utility", "max", "at least .97 of trtr", _ESTEBAN),
        Metric("trts", "utility", "max", "near trtr", _ESTEBAN),
        Metric("gain", "utility", "max", "an interval above 0", _RAVURI),
        Metric("class_recall", "utility", "max", "the real row's", _RAVURI),
        Metric("novelty10", "novelty", "target", ".85-1.2", _MEEHAN, 1.0),
        Metric("novelty50", "novelty", "target", ".85-1.2", _MEEHAN, 1.0),
        Metric("novelty90", "novelty", "target", ".85-1.2", _MEEHAN, 1.0),
        Metric("close", "novelty", "min", "at most .03", _ALAA),
        Metric("signal_mean", "signal", "min", "at most 1.2", _SIGNAL),
        Metric("signal_spread", "signal", "min", "at most 1.2", _SIGNAL),
        Metric("signal_autocorrelation", "signal", "min", "at most 1.2", _SIGNAL),
        Metric("signal_cross", "signal", "min", "at most 1.2", _SIGNAL),
        *(
            Metric(f"signal_{name}_null", "signal", "min", "99th percentile of real versus real", _SIGNAL)
            for name in ("mean", "spread", "autocorrelation", "cross")
        ),
    )
}


def metric_of(key: str) -> Metric:
    """Return the metric of a result's key, such as `c2st` or `c2st/spec`; raises MmganError for an unknown one."""
    name = key.split("/")[0]
    if name not in METRICS:
        raise MmganError(f"no metric is called '{name}'; known are {', '.join(METRICS)}.")
    return METRICS[name]

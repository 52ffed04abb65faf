"""A measure of `python -m mmgan compare`: generators of few and of many training samples, `measure=benchmarks.sizes.Sizes`."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas

from mmgan.baselines import BASELINES
from mmgan.commands.cells import Work
from mmgan.commands.measures import Line, Measure
from mmgan.data.arrays import take
from mmgan.evaluation.features import FeatureSpace, nearest
from mmgan.evaluation.metrics import metric_of
from mmgan.evaluation.table import REAL
from mmgan.report.content import Table


class Sizes(Measure):
    """What `evaluate` says of generators of any number of training samples; the bootstraps with the h that leave-one-out chooses.

    As many samples of each class are drawn as are held out, or a multiple, so that there are 100 of each.
    """

    models = (REAL, "smoothed_bootstrap_8", "neighbour_bootstrap", "neighbour_combinations", "vacwgan")
    columns: ClassVar = {
        **{f"novelty {part} %": f"novelty{part}" for part in (10, 50, 90)},
        **{"close": "close", "coverage": "coverage", "recall": "recall", "C2ST": "c2st", "axis C2ST": "axis_c2st"},
        **{"TSTR": "tstr", "membership": "membership", "h": "h"},
    }

    def metrics(self, work: Work) -> dict[str, Any]:
        y = work.heldout[1]
        y = np.repeat(y, -(-100 // np.bincount(y).min()))
        real, h = work.cell.model == REAL, {}
        if "bootstrap" in work.cell.model or "combinations" in work.cell.model:
            h = {"h": leave_one_out_h(work)}
            x = bootstrapped(work, y, h["h"])
        else:
            x = take(work.train[0], np.resize(np.arange(len(work.train[1])), len(y))) if real else work.generated(y)
        judge = work.judge(synthetic=(x, y))
        wanted = [metric_of(key) for key in self.columns.values() if key != "h"]
        return (judge.real(wanted) if real else judge(metrics=wanted))["metrics"] | h

    def tables(self, lines: Sequence[Line], order: Sequence[str] = ()) -> list[Table]:
        """Return a table of all sizes: means and standard errors over folds and seeds."""
        found = by_size(lines)
        mean, error = found.mean(), found.sem()
        rows = [
            [*place, *(self._with_error(mean, error, place, key) for key in self.columns.values())]
            for place in mean.index
        ]
        return [Table("Means and standard errors", ["a class", "", *self.columns], rows)]

    @staticmethod
    def _with_error(mean: pandas.DataFrame, error: pandas.DataFrame, place: tuple[str, str], key: str) -> str:
        if key not in mean or np.isnan(value := mean.loc[place, key]):
            return ""
        return f"{value:.2f} ± {error.loc[place, key]:.2f}"


def by_size(lines: Sequence[Line]) -> Any:
    """Return the metrics grouped by the training samples of a class, few first (`all` last), and the model."""
    few_first = sorted(lines, key=lambda line: int(line["rows"]) if line["rows"].isdecimal() else np.inf)
    table = [
        {"a class": line["rows"].replace("full", "all"), "model": line["model"], **line["metrics"]}
        for line in few_first
    ]
    return pandas.DataFrame(table).groupby(["a class", "model"], sort=False)


def bootstrapped(work: Work, y: np.ndarray, h: float) -> dict[str, np.ndarray]:
    """Return samples of classes `y` of the cell's bootstrap with another h."""
    function, options = BASELINES[work.cell.model]
    rng = np.random.default_rng([work.cell.seed, work.cell.fold])
    return function(*work.train, y, rng, **{**options, "h": h})


def leave_one_out_h(work: Work) -> float:
    """Return the h for which samples lie as far from the nearest training sample of their class as training samples do from each other."""
    x, y = work.train
    space = FeatureSpace(x)
    flat = space.flat(x)

    def distance(samples: np.ndarray, others: int) -> float:
        own = [nearest(flat[y == k], samples[y == k], others)[:, others - 1] for k in np.unique(y)]
        return float(np.median(np.concatenate(own)))

    usual = distance(flat, 2)  # itself is the nearest
    tried = np.arange(0.3, 1.01, 0.05)
    return float(min(tried, key=lambda h: abs(distance(space.flat(bootstrapped(work, y, h)), 1) - usual)))

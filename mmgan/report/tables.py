"""Metrics over folds as tables: a mean and its interval in every cell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmgan.evaluation.metrics import metric_of, number
from mmgan.evaluation.statistics import Interval, compare, interval
from mmgan.evaluation.table import REAL, derived, mean_over
from mmgan.report.content import Table

Metrics = Mapping[str, float]
Folds = Mapping[int, Metrics]  # fold -> metrics

MAIN = {
    "TSTR": "tstr",
    "TSTR / TRTR": "tstr_ratio",
    "gain, points": "gain",
    "coverage": "coverage",
    "coverage / real": "coverage_ratio",
    "C2ST": "c2st",
    "novelty 10 %": "novelty10",
    "50 %": "novelty50",
    "90 %": "novelty90",
    "close": "close",
}
MORE = {
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "spread": "spread",
    "MMD / null": "mmd_ratio",
    "retrieval": "retrieval",
    "TRTR": "trtr",
    "TRTS": "trts",
    "mean": "signal_mean",
    "std": "signal_spread",
    "autocorr.": "signal_autocorrelation",
    "cross": "signal_cross",
}
SHORT = {
    "TSTR/TRTR": "tstr_ratio",
    "gain": "gain",
    "cover/real": "coverage_ratio",
    "C2ST": "c2st",
    "novelty50": "novelty50",
    "close": "close",
}
OF_CLASS = {"class_recall": "recall", "class_spread": "spread"}
OF_CLASS_NOTE = (
    "By the place of the class among the class names: the share of its real samples that classifiers trained on these samples"
    " find, and the variance within the class (trace of the covariance of principal components) over that of the real samples."
)
MAX_CLASSES = 12  # more make no table that anyone reads
COMPARED = {"TSTR": "tstr", "coverage": "coverage", "C2ST": "c2st", "gain, points": "gain"}


@dataclass(frozen=True)
class Correction:
    """The sizes of a fold's training and validation samples, which correct an interval over folds for their overlap."""

    n_train: int
    n_test: int

    def interval(self, values: Sequence[float]) -> Interval:
        """Return the 95 % interval of one value per fold."""
        return interval(values, self.n_train, self.n_test)


def with_derived(rows: Mapping[str, Folds]) -> dict[str, dict[int, dict[str, float]]]:
    """Return the rows of a table with their ratios to the real row of the same fold; folds that it lacks are left out."""
    return {
        name: {fold: derived(found, rows[REAL][fold]) for fold, found in folds.items() if fold in rows[REAL]}
        for name, folds in rows.items()
    }


def metric_tables(rows: Mapping[str, Folds], correction: Correction, marked: str | None = None) -> list[Table]:
    """Return the tables of a set of rows, {name: {fold: metrics}}: the main columns, the others, single modalities."""
    rows = with_derived(rows)
    note = "Mean over folds +- half of its 95 % interval, corrected for the overlap of the folds' training samples (Nadeau & Bengio 2003)."
    if all(len(folds) == 1 for folds in rows.values()):
        note = "One fold: no interval."
    keys = dict.fromkeys(key for folds in rows.values() for found in folds.values() for key in found)
    single = [key for key in keys if "/" in key and ":" not in key and metric_of(key).name not in OF_CLASS]
    parts = {key: key for key in single if metric_of(key).family in ("fidelity", "coherence", "novelty")}
    classes = {f"{OF_CLASS[name]} {label}": f"{name}/{label}" for name in OF_CLASS for label in range(MAX_CLASSES)}
    tables = [
        _table("Quality", rows, MAIN, correction, note, marked),
        _table("Further metrics", rows, MORE, correction, "", marked),
        _table("Single modalities", rows, parts, correction, "", marked),
        _table("Single classes", rows, classes, correction, OF_CLASS_NOTE, marked),
    ]
    return [table for table in tables if len(table.columns) > 1]


def _table(
    title: str,
    rows: Mapping[str, Folds],
    columns: Mapping[str, str],
    correction: Correction,
    note: str,
    marked: str | None,
) -> Table:
    present = {
        heading: key
        for heading, key in columns.items()
        if any(key in found for folds in rows.values() for found in folds.values())
    }
    cells = [[name, *[_cell(folds, key, correction) for key in present.values()]] for name, folds in rows.items()]
    return Table(title, ["", *present], cells, note, marked)


def _cell(folds: Folds, key: str, correction: Correction) -> str:
    values = [found[key] for found in folds.values() if key in found and np.isfinite(found[key])]
    if not values:
        return ""
    return (points if key == "gain" else plus_minus)(correction.interval(values))


def short_table(rows: Mapping[str, Folds], marked: str) -> Table:
    """Return the means of few columns, for a terminal's line."""
    rows = {name: {0: mean_over(folds.values())} for name, folds in with_derived(rows).items()}
    return _table("means over folds", rows, SHORT, Correction(1, 1), "", marked)


def plus_minus(found: Interval) -> str:
    """Return `.95 +- .02`, or without an interval `.95`."""
    reach = (found.high - found.low) / 2
    return three(found.mean) if np.isnan(reach) else f"{three(found.mean)} ± {three(reach)}"


def points(found: Interval) -> str:
    """Return a difference of shares in points: `+0.4 +- 0.6`."""
    reach = (found.high - found.low) / 2
    mean = round(100 * found.mean, 1) + 0.0  # never -0.0
    return f"{mean:+.1f}" + ("" if np.isnan(reach) else f" ± {100 * reach:.1f}")


def three(value: float) -> str:
    """Return three decimals of what is near 1, and fewer of larger figures, without the leading 0."""
    if abs(value) >= 9.995 or not np.isfinite(value):
        return number(value)
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def comparison_table(rows: Mapping[str, Folds], ours: str, correction: Correction) -> Table | None:
    """Return ours minus each other row, paired by fold, with win, tie or loss; None for fewer than two folds."""
    others = [name for name in rows if name not in (ours, REAL)]
    folds = sorted(rows[ours])
    if len(folds) < 2 or not others:
        return None
    columns = {heading: key for heading, key in COMPARED.items() if key in rows[ours][folds[0]]}
    lines = []
    for name in others:
        if set(folds) != set(rows[name]):
            continue
        outcomes = [
            _outcome(key, *([rows[row][fold][key] for fold in folds] for row in (ours, name)), correction)
            for key in columns.values()
        ]
        lines.append([name, *outcomes])
    note = f"{ours} minus the other, paired over {len(folds)} folds; corrected resampled t-test at the 5 % level."
    return Table(f"{ours} against", ["", *columns], lines, note) if lines else None


def _outcome(key: str, ours: Sequence[float], theirs: Sequence[float], correction: Correction) -> str:
    better = metric_of(key).direction == "max"
    found = compare(ours, theirs, correction.n_train, correction.n_test, higher_is_better=better)
    show: Callable[[Interval], str] = points if key == "gain" else plus_minus
    return f"{found.outcome} ({show(found.difference)})"

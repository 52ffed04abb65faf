"""Metrics over folds as tables: a mean and its interval in every cell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmgan.evaluation.metrics import METRICS, metric_of, number
from mmgan.evaluation.statistics import Interval, compare, interval
from mmgan.evaluation.table import REAL, derived, mean_over
from mmgan.report.content import Table

Metrics = Mapping[str, float]
Folds = Mapping[int, Metrics]  # fold -> metrics

HEADINGS = {
    "c2st": "C2ST",
    "axis_c2st": "axis C2ST",
    "mmd": "MMD / null",
    "trtr": "TRTR",
    "tstr": "TSTR",
    "trts": "TRTS",
    "trtr_log_loss": "log loss, TRTR",
    "tstr_log_loss": "log loss, TSTR",
    "gain": "gain, points",
    "novelty10": "novelty 10 %",
    "novelty50": "novelty 50 %",
    "novelty90": "novelty 90 %",
    "heldout_copies": "held-out copies",
    "signal_mean": "signal mean",
    "signal_spread": "signal std",
    "signal_autocorrelation": "autocorrelation",
    "signal_cross": "cross-correlation",
    "tstr_ratio": "TSTR / real",
    "coverage_ratio": "coverage / real",
}  # of other metrics the name, as words
RATIOS = {
    "tstr_ratio": "TSTR over that of as many real samples",
    "coverage_ratio": "coverage over that of real samples",
}  # to the real row, which are no metrics of their own


def heading(key: str) -> str:
    """Return the heading of a result's key: `C2ST env` of c2st/env."""
    name, _, part = key.partition("/")
    return f"{HEADINGS.get(name, name.replace('_', ' '))} {part}".strip()


def columns_of(*keys: str) -> dict[str, str]:
    """Return {heading: key}."""
    return {heading(key): key for key in keys}


MAIN = columns_of(
    *("tstr", "tstr_ratio", "gain", "coverage", "coverage_ratio", "c2st", "axis_c2st", "trts"),
    *("novelty10", "novelty50", "novelty90", "close"),
)
SHORT = {
    "TSTR/real": "tstr_ratio",
    "gain": "gain",
    "cov/real": "coverage_ratio",
    "C2ST": "c2st",
    "axis": "axis_c2st",
    "novelty": "novelty50",
    "close": "close",
}  # of a terminal's line
COMPARED = columns_of("tstr", "gain", "coverage", "c2st", "axis_c2st")
MAX_CLASSES = 12  # more make no table that anyone reads


def meaning(key: str) -> str:
    """Say what a result's key is, and which values are good."""
    if key in RATIOS:
        return RATIOS[key]
    metric = metric_of(key)
    return f"{metric.meaning} ({metric.good})"


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


def metric_tables(
    rows: Mapping[str, Folds], correction: Correction, marked: str | None = None, class_names: Sequence[str] = ()
) -> list[Table]:
    """Return the tables of a set of rows, {name: {fold: metrics}}: the main columns, the others by family, single classes."""
    rows = with_derived(rows)
    present = dict.fromkeys(key for folds in rows.values() for found in folds.values() for key in found)
    note = "Mean over folds ± half of its 95 % interval, corrected for the overlap of the folds' training samples (Nadeau & Bengio 2003)."
    if all(len(folds) == 1 for folds in rows.values()):
        note = f"One judgement: no interval{', but of the gain over folds' if 'gain/1' in present else ''}."
    families: dict[str, list[str]] = {"Quality": [key for key in MAIN.values() if key in present]}
    by_class: list[Table] = []
    for metric in METRICS.values():
        own = [key for key in present if ":" not in key and key.partition("/")[0] == metric.name]
        if metric.by_class:
            columns, title = _of_classes(own, class_names), heading(metric.name).capitalize()
            by_class.append(_table(title, rows, columns, correction, f"{meaning(metric.name)}.", marked))
        else:
            own = [key for key in own if key not in MAIN.values() and not key.startswith("gain/")]
            families.setdefault(metric.family.capitalize(), []).extend(own)
    tables = [_table(title, rows, columns_of(*keys), correction, "", marked) for title, keys in families.items()]
    return [replace(tables[0], note=note), *(table for table in tables[1:] + by_class if len(table.columns) > 1)]


def _of_classes(keys: Sequence[str], class_names: Sequence[str]) -> dict[str, str]:
    of_class = sorted((int(key.partition("/")[2]), key) for key in keys)[:MAX_CLASSES]
    named = len(set(class_names)) == len(class_names) > max((k for k, _ in of_class), default=0)  # no two alike
    return {class_names[k] if named else f"class {k}": key for k, key in of_class}


def _table(
    title: str,
    rows: Mapping[str, Folds],
    columns: Mapping[str, str],
    correction: Correction,
    note: str,
    marked: str | None,
) -> Table:
    cells = [[name, *[_cell(folds, key, correction) for key in columns.values()]] for name, folds in rows.items()]
    return Table(title, ["", *columns], cells, note, marked, {name: meaning(key) for name, key in columns.items()})


def _cell(folds: Folds, key: str, correction: Correction) -> str:
    # Folds that are judged together have a gain each: {"gain": mean, "gain/0": that of the first, ...}.
    values = [
        value
        for found in folds.values()
        for name, value in found.items()
        if np.isfinite(value) and (name.startswith("gain/") if key == "gain" and "gain/0" in found else name == key)
    ]
    if not values:
        return "none"
    return (points if key == "gain" else plus_minus)(correction.interval(values))


def short_table(rows: Mapping[str, Folds], marked: str) -> Table:
    """Return the means of few columns, for a terminal's line."""
    means = {name: mean_over(folds.values()) for name, folds in with_derived(rows).items()}
    known = {title: key for title, key in SHORT.items() if any(key in found for found in means.values())}
    short = {name: {0: {key: found[key] for key in known.values() if key in found}} for name, found in means.items()}
    return _table("means over folds", short, known, Correction(1, 1), "", marked)


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
    columns = {
        title: key for title, key in COMPARED.items() if all(np.isfinite(rows[ours][k].get(key, np.nan)) for k in folds)
    }
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
    meanings = {title: meaning(key) for title, key in columns.items()}
    return Table(f"{ours} against", ["", *columns], lines, note, meanings=meanings) if lines else None


def _outcome(key: str, ours: Sequence[float], theirs: Sequence[float], correction: Correction) -> str:
    better = metric_of(key).direction == "max"
    found = compare(ours, theirs, correction.n_train, correction.n_test, higher_is_better=better)
    show: Callable[[Interval], str] = points if key == "gain" else plus_minus
    return f"{found.outcome} ({show(found.difference)})"

"""The lines of `compare`: read, as the tables of its measure `quality`, and as the curve that a report can show."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmgan.baselines import BASELINES
from mmgan.errors import MmganError
from mmgan.evaluation.statistics import Interval
from mmgan.evaluation.table import REAL, mean_over
from mmgan.evaluation.utility import captured
from mmgan.report.content import Table
from mmgan.report.tables import Correction, comparison_table, metric_tables, points, three

FULL = "full"
CELL = ("data", "draw", "rows", "model", "fold", "seed")  # what a line tells of
WITHOUT_ROWS = ("class_weights", "mixup")  # what classifiers may do with the samples they have

Line = Mapping[str, Any]
Curve = dict[str, dict[str, Interval]]  # model -> setting -> gain in macro-F1


def quality_tables(lines: Sequence[Line]) -> list[Table]:
    """Return the tables of the lines of one data set: at full data, and the gain by training samples."""
    return [*full_tables(lines), *curve_tables(lines)]


def data_of(line: Line) -> str:
    """Return the data set of a line, as a report names it."""
    return line["data"] + ("" if line["draw"] is None else f", draw {line['draw']}")


def read_lines(path: str | Path, measure: str = "quality") -> list[dict[str, Any]]:
    """Return the finished lines of a result, of each cell and each variant the latest; raises MmganError for a file that is none.

    Lines of a model whose settings have changed since are left out, so that no table mixes them. Lines without a measure are
    of any.
    """
    try:
        lines = [
            {"variant": "", "measure": measure} | json.loads(text)
            for text in Path(path).read_text(encoding="utf-8").splitlines()
        ]
        known = all(set(line) >= {*CELL, "settings", "metrics", "n_fold", "n_val"} for line in lines)
    except (OSError, ValueError, TypeError):
        lines, known = [], False
    if not lines or not known:
        raise MmganError(f"{path} holds no result of python -m mmgan compare; give the .jsonl file that it wrote.")
    if other := [line["measure"] for line in lines if line["measure"] != measure]:
        raise MmganError(f"{path} holds lines of measure={other[0]}, not of {measure}; give those of {measure}.")
    settings = {_model_of(line): line["settings"] for line in lines}
    latest = {
        (*_model_of(line), line["fold"], line["seed"]): line
        for line in lines
        if settings[_model_of(line)] == line["settings"]
    }
    return sorted(latest.values(), key=lambda line: (line["data"], line["draw"] or 0, *_place(line)))


def _model_of(line: Line) -> tuple:
    return (*(line[key] for key in CELL[:4]), line["variant"])


def _place(line: Line) -> tuple:
    """Return the place of a line in a table: the real row, baselines, what makes no samples, models; few samples before many."""
    known = [REAL, *BASELINES, *WITHOUT_ROWS]
    model = known.index(line["model"]) if line["model"] in known else len(known)
    few = (0, int(line["rows"])) if line["rows"].isdecimal() else (1 if line["rows"] == FULL else 2, 0)
    return model, line["model"], *few, line["rows"], line["fold"], line["seed"]


def by_fold(lines: Sequence[Line]) -> dict[str, dict[int, dict[str, float]]]:
    """Return {model: {fold: metrics}}, seeds averaged within a fold: they are not independent samples."""
    found: dict[str, dict[int, list[Mapping[str, float]]]] = {}
    for line in lines:
        found.setdefault(line["model"], {}).setdefault(line["fold"], []).append(line["metrics"])
    return {model: {fold: mean_over(seeds) for fold, seeds in sorted(folds.items())} for model, folds in found.items()}


def correction_of(lines: Sequence[Line]) -> Correction:
    """Return the sizes that correct intervals; those of the whole fold, since limited training samples overlap the less."""
    return Correction(lines[0]["n_fold"], lines[0]["n_val"])


def full_tables(lines: Sequence[Line]) -> list[Table]:
    """Return the tables of all models that were judged at full data, and how each trained one compares."""
    judged = [line for line in lines if line["rows"] == FULL and "tstr" in line["metrics"]]
    rows = by_fold(judged)
    if REAL not in rows:
        return []
    correction = correction_of(judged)
    trained = [line["model"] for line in judged if line.get("trained")]
    compared = [comparison_table(rows, model, correction) for model in dict.fromkeys(trained)]
    return metric_tables(rows, correction) + [table for table in compared if table]


def curve_of(lines: Sequence[Line]) -> Curve:
    """Return the gain of every model at every number of samples, beside that of as many more real samples (`real`)."""
    curve: Curve = {}
    for rows in dict.fromkeys(line["rows"] for line in lines):
        own = [line for line in lines if line["rows"] == rows and "gain" in line["metrics"]]
        for model, folds in by_fold(own).items():
            gains = [metrics["gain"] for metrics in folds.values()]
            curve.setdefault(model, {})[rows] = correction_of(own).interval(gains)
    return curve


def curve_tables(lines: Sequence[Line]) -> list[Table]:
    """Return the gain of every model at every number of samples, and the share of the real samples' gain that it is."""
    settings = list(dict.fromkeys(line["rows"] for line in lines))
    curve = curve_of(lines)
    if REAL not in curve or settings == [FULL]:
        return []
    baseline = {
        rows: [line["metrics"].get("trtr", line["metrics"].get("baseline")) for line in lines if line["rows"] == rows]
        for rows in settings
    }
    cells = [["none: macro-F1", *[three(float(np.mean(baseline[rows]))) for rows in settings]]]
    cells += [[model, *[_gain(curve, model, rows) for rows in settings]] for model in curve]
    note = (
        "Points of macro-F1 that the samples add to the training samples, +- half of the 95 % interval over folds; in brackets the share"
        " of what as many more real samples add (row real), where that is more than 2 standard errors. Few samples and long-tailed classes"
        " are judged on all test samples, the generators of the column full on random halves of them."
    )
    return [Table("Utility: gain by training samples per class", ["training samples", *settings], cells, note)]


def _gain(curve: Curve, model: str, rows: str) -> str:
    if rows not in curve[model]:
        return ""
    gain, real = curve[model][rows], curve[REAL].get(rows)
    share = None if model == REAL or real is None else captured(gain.mean, real.mean, real.error)
    return points(gain) + ("" if share is None else f" ({round(100 * share) + 0} %)")

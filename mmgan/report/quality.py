"""The lines of `compare`: read, as the tables of its measure `quality`, and as the curve that a report can show."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmgan.baselines import BASELINES
from mmgan.errors import MmganError
from mmgan.evaluation.statistics import Interval
from mmgan.evaluation.table import REAL, mean_over
from mmgan.evaluation.utility import captured
from mmgan.report.content import Table
from mmgan.report.tables import Correction, comparison_table, metric_tables, plus_minus, points, three

FULL = "full"
CELL = ("data", "draw", "rows", "model", "fold", "seed")  # what a line tells of
PSEUDO_LABELS = "pseudo_labels"
WITHOUT_SAMPLES = ("class_weights", "mixup", PSEUDO_LABELS)  # what classifiers may do with the samples there are

Line = Mapping[str, Any]
Curve = dict[str, dict[str, Interval]]  # model -> setting -> gain in macro-F1


def data_of(line: Line) -> str:
    """Return the data set of a line, as a report names it."""
    return line["data"] + ("" if line["draw"] is None else f", draw {line['draw']}")


def read_lines(path: str | Path, measure: str) -> list[dict[str, Any]]:
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
    known = [REAL, *BASELINES, *WITHOUT_SAMPLES]
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


def curve_of(lines: Sequence[Line], key: str = "gain") -> Curve:
    """Return the gain of every model at every number of samples, beside that of more real samples (`real`); `key` is another metric."""
    curve: Curve = {}
    for rows in dict.fromkeys(line["rows"] for line in lines):
        own = [line for line in lines if line["rows"] == rows and key in line["metrics"]]
        for model, folds in by_fold(own).items():
            gains = [metrics[key] for metrics in folds.values()]
            curve.setdefault(model, {})[rows] = correction_of(own).interval(gains)
    return curve


def utility_tables(lines: Sequence[Line]) -> list[Table]:
    """Return what each model adds at every number of samples: to the panel's vote, to its members, and to the vote's log loss."""
    known = lines[0]["metrics"] if lines else {}
    return [gain_table(title, lines, note, key) for title, key, note in UTILITIES if key in known]


NOTE = (
    "Points of macro-F1 that the samples add to {} beside the training samples, +- half of the 95 % interval over folds; in brackets the"
    " share that was captured of what up to four times as many more real samples add (row real), where that is more than 2 standard errors."
    " Columns: training samples of each class, or their imbalance."
)
UTILITIES = (
    ("Utility: gain of the vote", "gain", NOTE.format("the vote of five classifiers")),
    ("Utility: gain of single classifiers", "members_gain", NOTE.format("five classifiers, the mean of them,")),
    (
        "Utility: log loss",
        "log_loss_gain",
        "By how much the vote's log loss falls, +- half of the 95 % interval over folds; in brackets the share of the row real.",
    ),
)


def gain_table(title: str, lines: Sequence[Line], note: str, key: str = "gain") -> Table:
    """Return what each model adds at every number of samples, and which share that is of what more real samples add."""
    settings, curve, cells = list(dict.fromkeys(line["rows"] for line in lines)), curve_of(lines, key), []
    if (baseline := key.replace("gain", "baseline")) in lines[0]["metrics"]:
        means = [np.mean([line["metrics"][baseline] for line in lines if line["rows"] == rows]) for rows in settings]
        cells.append(["none: macro-F1", *map(three, means)])
    show = points if cells else plus_minus
    cells += [[model, *[_gain(curve, model, rows, show) for rows in settings]] for model in curve]
    return Table(title, ["training samples", *settings], cells, note)


def _gain(curve: Curve, model: str, rows: str, show: Callable[[Interval], str]) -> str:
    if rows not in curve[model]:
        return ""
    gain, real = curve[model][rows], curve.get(REAL, {}).get(rows)
    share = None if model == REAL or real is None else captured(gain.mean, real.mean, real.error)
    return show(gain) + ("" if share is None else f" ({round(100 * share) + 0} %)")

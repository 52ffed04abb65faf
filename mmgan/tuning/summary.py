"""What a sweep found, over its folds: scores before and after, the best parameters, how far the folds agree, and what mattered."""

import math
import shlex
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import TrialState

from mmgan.evaluation.statistics import interval
from mmgan.plots.samples import MUTED
from mmgan.report.content import Picture, Report, Table
from mmgan.report.tables import plus_minus, three
from mmgan.training.folder import RunFolder
from mmgan.tuning.storage import shown_url
from mmgan.tuning.study import FoldStudy

UNIFORM = 1 / math.sqrt(12)  # standard deviation of random choices, over the length of their range
SHOWN_PARAMETERS = 12


def summary(studies: Mapping[int, FoldStudy]) -> Report:
    """Return the report on the studies of some folds, finished or not."""
    first = next(iter(studies.values()))
    url = first.settings.url
    importances = {fold: importance(study.study) for fold, study in studies.items()}
    running = sum(len(study.running()) for study in studies.values())
    return Report(
        title=f"Sweep of {first.settings.title}",
        verdict=[],
        findings=_findings(studies),
        facts={
            "folds": ", ".join(map(str, studies)),
            "trials": f"{first.settings.n_trials} a fold, of {first.settings.trial_epochs} epochs each",
            "still running": str(running),
            "studies": f"{shown_url(url)}, named {', '.join(study.name for study in studies.values())}",
            "look inside": shlex.join(["optuna-dashboard", shown_url(url)]),
            "refit": f"{first.settings.refit_epochs} epochs on all the training samples of the fold",
        },
        tables=[scores_table(studies), parameters_table(studies), *_importance_tables(importances)],
        pictures=[_history(studies), *_importance_pictures(importances)],
        notes=[
            "Scores of trials are those of the inner split, which also chose the best of them: of many equal trials, too, the best seems to gain. "
            "The last column is the refit's score on val_indices, which no trial saw; of the default configuration, train.py final=true tells it.",
            f"Spread is the standard deviation of the folds' best values over the length of the searched range; random choices have {UNIFORM:.2f}.",
        ],
        data={
            "scores": {fold: _scores(study) for fold, study in studies.items()},
            "best": {fold: study.best().params for fold, study in studies.items() if study.best()},
            "importance": importances,
        },
    )


def _findings(studies: Mapping[int, FoldStudy]) -> list[str]:
    found = []
    pairs = [(s["default"], s["best"]) for s in map(_scores, studies.values()) if None not in (s["default"], s["best"])]
    if len(pairs) > 1:
        sizes = _sizes(next(iter(studies.values())))
        gain = interval([after - before for before, after in pairs], *sizes)
        found.append(
            f"On the inner split, the best trial is {plus_minus(gain)} from the default configuration, mean over {len(pairs)} folds."
        )
    first = next(iter(studies.values()))
    if first.settings.next_command:
        found.append(f"With the tuned models: {first.settings.next_command}")
    return found


def _sizes(study: FoldStudy) -> tuple[int, int]:
    """Return how many samples trials of a fold learn from, and how many score them."""
    return study.runner.sizes(study.fold)


def _scores(study: FoldStudy) -> dict[str, Any]:
    states = [trial.state for trial in study.counted()]
    best, default = study.best(), study.default()
    known = RunFolder(study.path).read_metrics()
    refit = known.get("scores", {}).get("score") if best and known.get("best", {}).get("trial") == best.number else None
    return {
        "complete": states.count(TrialState.COMPLETE),
        "pruned": states.count(TrialState.PRUNED),
        "failed": states.count(TrialState.FAIL),
        "epochs": sum(len(trial.intermediate_values) for trial in study.counted()),
        "default": default.value if default else None,
        "best": best.value if best else None,
        "trial": best.number if best else None,
        "val_indices": refit,
    }


def scores_table(studies: Mapping[int, FoldStudy]) -> Table:
    """Return a row for each fold, and the means with their intervals."""
    found = {fold: _scores(study) for fold, study in studies.items()}
    counts, scores = ("complete", "pruned", "failed", "epochs"), ("default", "best", "val_indices")
    rows = [
        [str(fold), *(str(f[key]) for key in counts), _shown(f["trial"]), *(_shown(f[key]) for key in scores)]
        for fold, f in found.items()
    ]
    if len(found) > 1:
        sizes = _sizes(next(iter(studies.values())))
        means = [[f[key] for f in found.values() if f[key] is not None] for key in scores]
        shown = [plus_minus(interval(values, *sizes)) if values else "" for values in means]
        rows.append(["mean", *(str(sum(f[key] for f in found.values())) for key in counts), "", *shown])
    columns = ["fold", *counts, "best trial", "default, inner split", "best, inner split", "refit, val_indices"]
    return Table(
        "Before and after", columns, rows, note="The last row: sums, and means ± half of their 95 % intervals."
    )


def parameters_table(studies: Mapping[int, FoldStudy]) -> Table:
    """Return a row for each parameter: its default, each fold's best value, and how far these agree."""
    first = next(iter(studies.values()))
    best = {fold: study.best().params for fold, study in studies.items() if study.best()}
    rows = []
    for key, default in first.settings.default.items():
        values = [params.get(key) for params in best.values()]
        agreement = [_agreement(first.settings.space[key], values)] if len(values) > 1 else []
        rows.append([key, _shown(default), *map(_shown, values), *agreement])
    columns = ["parameter", "default", *(f"fold {fold}" for fold in best), *(["agreement"] if len(best) > 1 else [])]
    return Table("Best parameters", columns, rows)


def _agreement(options: Mapping[str, Any], values: Sequence[Any]) -> str:
    if options["type"] == "categorical":
        most = max(values.count(value) for value in values)
        return f"{most} of {len(values)} the same" if most > 1 else "all differ"
    scale = np.log if options.get("log") else np.asarray
    reach = float(scale(options["high"]) - scale(options["low"]))
    return f"spread {np.std(scale(values), ddof=1) / reach:.2f}"


def importance(study: optuna.Study) -> dict[str, float]:
    """Return each parameter's share of the variance of complete trials' scores (fANOVA; Hutter et al. 2014); none of less than 4."""
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    if len(complete) < 4 or len({trial.value for trial in complete}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of parameters that took one value
        return optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )


def _importance_tables(importances: Mapping[int, Mapping[str, float]]) -> list[Table]:
    known = {fold: found for fold, found in importances.items() if found}
    if not known:
        return []
    rows = [
        [key, *(three(found[key]) if key in found else "" for found in known.values()), three(mean)]
        for key, mean in _means(known).items()
    ]
    columns = ["parameter", *(f"fold {fold}" for fold in known), "mean"]
    note = "Shares of the variance of scores (fANOVA) that a parameter explains; of few trials, a rough guess."
    return [Table("Importance", columns, rows, note=note)]


def _means(known: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Return each parameter's mean over folds, the largest first."""
    keys = {key for found in known.values() for key in found}
    means = {key: float(np.mean([found.get(key, 0.0) for found in known.values()])) for key in keys}
    return dict(sorted(means.items(), key=lambda pair: -pair[1]))


def _importance_pictures(importances: Mapping[int, Mapping[str, float]]) -> list[Picture]:
    known = {fold: found for fold, found in importances.items() if found}
    if not known:
        return []
    means = dict(list(_means(known).items())[:SHOWN_PARAMETERS][::-1])
    figure = Figure(figsize=(5.2, 0.6 + 0.26 * len(means)), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(means))
    axis.barh(places, list(means.values()), color=MUTED, alpha=0.35)
    for found in known.values():
        axis.plot([found.get(key, 0.0) for key in means], places, "o", ms=3)
    axis.set_yticks(places, [key.removeprefix("model.") for key in means], fontsize=7)
    axis.set_xlabel("share of the variance of scores")
    return [Picture("Importance of parameters", "mean over folds, and each fold", figure)]


def _history(studies: Mapping[int, FoldStudy]) -> Picture:
    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    axis = figure.subplots()
    for fold, study in studies.items():
        done = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
        values = [trial.value for trial in done]
        maximise = study.study.direction == optuna.study.StudyDirection.MAXIMIZE
        best = np.maximum.accumulate(values) if maximise else np.minimum.accumulate(values)
        (line,) = axis.step([t.number for t in done], best, where="post", lw=1.2, label=f"fold {fold}")
        axis.plot([t.number for t in done], values, ".", ms=4, alpha=0.5, color=line.get_color())
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("trial")
    axis.set_ylabel("score on the inner split")
    axis.legend(fontsize=7)
    return Picture("Scores of trials", "each complete trial, and the best so far", figure)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)

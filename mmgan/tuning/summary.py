"""What a sweep found, over its folds: scores before and after, the best parameters, how far the folds agree, and what mattered."""

import math
import shlex
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pandas
from matplotlib.figure import Figure
from optuna.trial import TrialState

from mmgan.data.folds import fold_name
from mmgan.data.writing import replacing
from mmgan.plots import sweeps
from mmgan.report.content import Picture, Report, Table
from mmgan.report.tables import Correction, plus_minus, three
from mmgan.training.folder import RunFolder
from mmgan.tuning.settings import SweepSettings
from mmgan.tuning.storage import shown_url
from mmgan.tuning.study import FoldStudy

UNIFORM = 1 / math.sqrt(12)  # standard deviation of random choices, over the length of their range
SHOWN_PARAMETERS = 12


def summary(studies: Mapping[int, FoldStudy]) -> Report:
    """Return the report on the studies of some folds, finished or not."""
    first = next(iter(studies.values()))
    settings, url = first.settings, shown_url(first.settings.url)
    correction = Correction(*first.runner.sizes(first.fold))
    scores = {fold: _scores(study) for fold, study in studies.items()}
    best = {fold: study.best().params for fold, study in studies.items() if study.best()}
    importances = {fold: importance(study.study) for fold, study in studies.items()}
    # A row for each parameter, a column for each fold.
    tables, pictures = _importance(pandas.DataFrame(importances).dropna(axis=1, how="all"))
    return Report(
        title=f"Sweep of {settings.title}",
        verdict=[],
        findings=_findings(scores, correction, settings.next_command),
        facts={
            "folds": ", ".join(str(fold or "none") for fold in studies),
            "trials": f"{settings.n_trials} a fold, of {settings.trial_epochs} epochs each",
            "still running": str(sum(len(study.running()) for study in studies.values())),
            "studies": f"{url}, named {', '.join(study.name for study in studies.values())}",
            "look inside": shlex.join(["optuna-dashboard", url]),
            "refit": f"{settings.refit_epochs} epochs on all the training samples of the fold",
        },
        tables=[_scores_table(scores, correction), _parameters_table(settings, best), *tables],
        pictures=[_history(studies), *pictures],
        notes=[
            "Scores of trials are those of the inner split, which also chose the best of them: of many equal trials, too, the best seems to gain. "
            "The last column is the refit's score on val_indices, which no trial saw; of the default configuration, train.py final=true tells it.",
            f"Spread is the standard deviation of the folds' best values over the length of the searched range; random choices have {UNIFORM:.2f}.",
        ],
        data={"scores": scores, "best": best, "importance": importances},
    )


def _scores(study: FoldStudy) -> dict[str, Any]:
    counted, best, default = study.counted(), study.best(), study.default()
    states = [trial.state for trial in counted]
    known = RunFolder(study.path).read_metrics()
    refitted = best and known.get("best", {}).get("trial") == best.number
    return {
        "complete": states.count(TrialState.COMPLETE),
        "pruned": states.count(TrialState.PRUNED),
        "failed": states.count(TrialState.FAIL),
        "epochs": sum(len(trial.intermediate_values) for trial in counted),
        "default": default.value if default else None,
        "best": best.value if best else None,
        "trial": best.number if best else None,
        "val_indices": known.get("scores", {}).get("score") if refitted else None,
    }


def _findings(scores: Mapping[int, Mapping[str, Any]], correction: Correction, next_command: str) -> list[str]:
    gains = [f["best"] - f["default"] for f in scores.values() if None not in (f["default"], f["best"])]
    found = [f"With the tuned models: {next_command}"] if next_command else []
    if len(gains) > 1:
        gain = plus_minus(correction.interval(gains))
        told = f"On the inner split, the best trial is {gain} from the default configuration, mean over {len(gains)} folds."
        found.insert(0, told)
    return found


def _scores_table(found: Mapping[int, Mapping[str, Any]], correction: Correction) -> Table:
    """Return a row for each fold, and the means with their intervals."""
    counts, scores = ("complete", "pruned", "failed", "epochs"), ("default", "best", "val_indices")
    rows = [
        [str(fold or "none"), *(_shown(f[key]) for key in (*counts, "trial", *scores))] for fold, f in found.items()
    ]
    if len(found) > 1:
        sums = [str(sum(f[key] for f in found.values())) for key in counts]
        means = [[f[key] for f in found.values() if f[key] is not None] for key in scores]
        shown = [plus_minus(correction.interval(values)) if values else "" for values in means]
        rows.append(["mean", *sums, "", *shown])
    columns = ["fold", *counts, "best trial", "default, inner split", "best, inner split", "refit, val_indices"]
    note = "The last row: sums, and means ± half of their 95 % intervals."
    return Table("Before and after", columns, rows, note=note)


def _parameters_table(settings: SweepSettings, best: Mapping[int, Mapping[str, Any]]) -> Table:
    """Return a row for each parameter: its default, each fold's best value, and how far these agree."""
    rows = []
    for key, default in settings.first["default"].items():
        values = [params.get(key) for params in best.values()]
        agreement = [_agreement(settings.space[key], values)] if len(values) > 1 else []
        rows.append([key, _shown(default), *map(_shown, values), *agreement])
    columns = ["parameter", "default", *map(fold_name, best), *(["agreement"] if len(best) > 1 else [])]
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
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if len(complete) < 4 or len({trial.value for trial in complete}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of parameters that took one value
        fanova = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(study, evaluator=fanova)


def _importance(shares: pandas.DataFrame) -> tuple[list[Table], list[Picture]]:
    if shares.empty:
        return [], []
    shares = shares.assign(mean=shares.fillna(0).mean(axis=1)).sort_values("mean", ascending=False)
    rows = [[key, *("" if np.isnan(share) else three(share) for share in row)] for key, *row in shares.itertuples()]
    columns = ["parameter", *map(fold_name, shares.columns[:-1]), "mean"]
    note = "Shares of the variance of scores (fANOVA) that a parameter explains; of few trials, a rough guess."
    largest = shares.fillna(0)[:SHOWN_PARAMETERS]
    folds = {key: list(row) for key, row in largest.drop(columns="mean").T.items()}
    figure = sweeps.importances(dict(largest["mean"]), folds)
    picture = Picture("Importance of parameters", "mean over folds, and each fold", figure)
    return [Table("Importance", columns, rows, note=note)], [picture]


def _history(studies: Mapping[int, FoldStudy]) -> Picture:
    maximize = next(iter(studies.values())).settings.direction == "maximize"
    scores = {
        fold_name(fold): {trial.number: trial.value for trial in study.trials(TrialState.COMPLETE)}
        for fold, study in studies.items()
    }
    return Picture(
        "Scores of trials", "each complete trial, and the best so far", sweeps.history(scores, maximize=maximize)
    )


def _by_parameter(study: FoldStudy) -> Figure:
    """Return the picture of a study's complete trials by each of their parameters."""
    trials, space = study.trials(TrialState.COMPLETE), study.settings.space
    params = {key: [trial.params[key] for trial in trials] for key in space if all(key in t.params for t in trials)}
    logarithmic = {key for key, options in space.items() if options.get("log")}
    return sweeps.by_parameter(params, [trial.value for trial in trials], logarithmic)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write_study(study: FoldStudy) -> None:
    """Write trials.csv and Optuna's pictures of one study into the folder of its fold."""
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as pictures  # here, with pyplot, which a summary needs not

    RunFolder(study.path).make()
    with replacing(study.path / "trials.csv", lasting=False) as stream:
        study.study.trials_dataframe().to_csv(stream, index=False)
    complete = len(study.trials(TrialState.COMPLETE))
    drawn = {"history": pictures.plot_optimization_history}
    if complete > 1:
        drawn["importance"] = pictures.plot_param_importances
        with replacing(study.path / "parameters.png", lasting=False) as stream:
            _by_parameter(study).savefig(stream, dpi=90)
    for name, draw in drawn.items() if complete else ():
        with warnings.catch_warnings(), pyplot.rc_context():  # Optuna sets a style for good
            warnings.simplefilter("ignore", UserWarning)  # of an axis on which all trials have one value
            figure = draw(study.study).figure
        figure.set_size_inches(10, 6)
        with replacing(study.path / f"{name}.png", lasting=False) as stream:
            figure.savefig(stream, dpi=90, bbox_inches="tight")
        pyplot.close(figure)  # which pyplot keeps otherwise, fold after fold

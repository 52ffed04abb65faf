"""How a sweep goes, in plain values that every process of it has, and what runs its trials."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import lightning as L
from optuna.pruners import BasePruner

from mmgan.training.fit import FitResult
from mmgan.tuning.space import Space

# Pruning callbacks are made for the value that a model is chosen by.
MakePruning = Callable[[str], L.Callback]


class Trials(Protocol):
    """Runs the trials of a sweep and the refits of its best parameters; it travels to the sweep's processes."""

    def run_trial(self, fold: int, params: Mapping[str, Any], folder: Path, pruning: MakePruning) -> float:
        """Train once with these parameters and return the score on the inner split."""

    def refit(self, fold: int, params: Mapping[str, Any], folder: Path) -> FitResult:
        """Train these parameters at full length on all the fold's training samples."""

    def refit_settings(self, fold: int, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of that refit, as its params.yaml keeps them."""

    def sizes(self, fold: int) -> tuple[int, int]:
        """Return how many samples the trials of a fold learn from, and how many score them."""


@dataclass(frozen=True)
class SweepSettings:
    """How a sweep goes.

    `folders` are those of the folds; `identities` what a study's trials have in common, by fold: studies of another identity are not
    gone on with. `names` are those of the studies. No trial begins after `deadline` (seconds since 1970), once `n_trials` have begun, or once those of a
    fold have trained `max_epochs` epochs. `first` are the parameters that are tried first, {origin: parameters}.
    """

    title: str
    folders: Mapping[int, Path]
    names: Mapping[int, str]
    identities: Mapping[int, Mapping[str, Any]]
    url: str
    direction: str
    space: Space
    first: Mapping[str, Mapping[str, Any]]
    n_trials: int
    max_epochs: int | None
    deadline: float
    trial_epochs: int
    refit_epochs: int
    n_startup: int
    pruner: BasePruner
    seed: int
    workers: int
    next_command: str

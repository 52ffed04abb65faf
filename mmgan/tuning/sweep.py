"""What a process of a sweep does: trials of one fold after another, then the refit of each fold's best parameters."""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from mmgan.errors import MmganError
from mmgan.training.fit import FitResult
from mmgan.training.folder import LockedError, RunFolder
from mmgan.tuning.settings import SweepSettings, Trials
from mmgan.tuning.storage import Storage, StorageError
from mmgan.tuning.study import FoldStudy

PAUSE = 1.0  # seconds until it is looked again whether others have left something to do


@dataclass(frozen=True)
class Sweep:
    """A sweep as every process of it knows it."""

    settings: SweepSettings
    trials: Trials

    def studies(self, *, create: bool = True, patient: bool = False) -> dict[int, FoldStudy]:
        """Open the study of every fold, or create it; with `patient`, wait for a database that is away."""
        # Optuna tells of every trial, and of interfaces that it calls experimental.
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = Storage(self.settings.url, patient=patient)
        return {fold: FoldStudy(self.settings, fold, storage, self.trials, create) for fold in self.settings.folders}

    def work(
        self, studies: Mapping[int, FoldStudy], place: int = 0, progress: Callable[[], Any] = lambda: None
    ) -> None:
        """Run trials and refits until nothing is left to do; the process at `place` begins with another fold than its neighbours.

        Raises the MmganError of a refit that failed, once all else is done.
        """
        folds = list(studies)
        folds = folds[place % len(folds) :] + folds[: place % len(folds)]
        failed: list[MmganError] = []
        while folds:
            for fold in folds:
                study = studies[fold]
                if study.run_next():
                    break  # and look at the first fold again
                try:
                    if study.waits() or not self._refit(study):
                        continue
                except StorageError:
                    raise
                except MmganError as error:
                    failed.append(error)
                folds.remove(fold)
                break
            else:
                time.sleep(PAUSE)  # the rest is with others, one of which may die
                continue
            progress()
        if failed:
            raise failed[0]

    def refitted(self, study: FoldStudy) -> bool:
        """Say whether the best parameters have been trained at full length."""
        best, folder = study.best(), RunFolder(study.path)
        if best is None or not folder.best.exists():
            return False
        known = folder.read_metrics()
        return known.get("max_epochs") == self.settings.refit_epochs and known.get("best") == _named(study, best)

    def result(self, study: FoldStudy) -> FitResult:
        """Return what the refit left; raises MmganError if no trial was completed, or another process is at it."""
        if not study.finished():
            raise MmganError(f"{study.path}: the time was over before a trial; give a longer timeout=.")
        if study.best() is None:
            raise MmganError(
                f"{study.path}: no trial was completed ({len(study.finished())} failed or were pruned); see trials.csv."
            )
        if not self.refitted(study):
            raise MmganError(
                f"{study.path}: a better trial ended meanwhile, and is trained by another process; give the same command again"
                " to see its result."
            )
        known = RunFolder(study.path).read_metrics()
        return FitResult(study.path, known["epochs"], known["inner_score"], known)

    def _refit(self, study: FoldStudy) -> bool:
        """Train the best trial's parameters at full length on all the fold's training samples; return False while another process does."""
        folder, best = RunFolder(study.path), study.best()
        if best is None or self.refitted(study):
            return True
        try:
            with folder.locked("refit.lock"):
                if not self.refitted(study):
                    self._fit(study, folder, best)
        except LockedError:
            return False
        return True

    def _fit(self, study: FoldStudy, folder: RunFolder, best: FrozenTrial) -> None:
        if folder.read_metrics() or folder.holds_other_than(self.trials.refit_settings(study.fold, best.params)):
            folder.set_aside()  # the refit of an earlier best trial, or of another length
        folder.write_yaml("best_params.yaml", best.params)
        self.trials.refit(study.fold, best.params, folder.path)
        folder.write_json("metrics.json", folder.read_metrics() | {"best": _named(study, best)})


def _named(study: FoldStudy, best: FrozenTrial) -> dict[str, Any]:
    """Return the best trial as metrics.json names it."""
    return {"study": study.name, "trial": best.number, "trial_score": best.value, "params": best.params}

"""The study of one fold: which trials begin, which count, and which are begun again."""

import functools
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from optuna_integration import PyTorchLightningPruningCallback

from mmgan.data.dataset import Dataset
from mmgan.errors import MmganError
from mmgan.run import Run, run_name
from mmgan.run_folder import RunFolder, differing_keys
from mmgan.sweep.space import contains, default_params, suggest, with_params
from mmgan.sweep.storage import Storage, StorageError

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
RETRY_OF = "retry_of"  # a trial's mark: it repeats the trial of that number, whose process was killed
WORKER = "worker"  # who runs it, host:pid
ORIGIN = "origin"  # why it was queued: default or warm_start
MOST_RETRIES = 3  # of a trial whose process is killed each time; it then counts as failed


class TrialFailed(Exception):
    """What one choice of parameters may bring about: a loss that is not finite, no memory. The sweep goes on without it."""


class FoldStudy:
    """The Optuna study of one fold, which any number of processes may have open.

    `deadline` is the moment (seconds since 1970) after which no trial begins. Raises MmganError if the study there belongs to another
    configuration.
    """

    def __init__(
        self, cfg: DictConfig, dataset: Dataset, fold: int, path: Path, storage: Storage, deadline: float = np.inf
    ):
        self.cfg, self.dataset, self.fold, self.path = cfg, dataset, fold, path
        self.storage = storage
        self.deadline = deadline
        self.name = f"{cfg.study or run_name(cfg)}-fold{fold}"
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        with storage.lock(self.name):
            self.study = optuna.create_study(
                study_name=self.name,
                storage=storage,
                direction=f"{get_class(cfg.model._target_).mode}imize",
                load_if_exists=True,
                pruner=instantiate(cfg.pruner),
            )
            self._begin()

    def _begin(self) -> None:
        identity = Run(self.cfg, self.dataset, self.fold).params() | {"trial_epochs": trial_epochs(self.cfg)}
        known = self.study.user_attrs.get("config")
        if known and (differing := differing_keys(known, identity)):
            raise MmganError(
                f"{self.path}: the study there has another configuration ({', '.join(differing)}); give the same one to"
                " go on, or another out_dir= (with storage=, another study=)."
            )
        if not known:
            self.study.set_user_attr("config", identity)
        self._queue("default", default_params(self.cfg))
        if self.cfg.warm_start:
            self._queue(f"warm_start {self.cfg.warm_start}", warm_params(self.cfg.warm_start, self.cfg.search.space))

    def _queue(self, origin: str, params: Mapping[str, Any]) -> None:
        """Queue parameters, of which the sampler chooses those outside the search space, once for each origin."""
        if not any(trial.user_attrs.get(ORIGIN) == origin for trial in self.trials()):
            space = self.cfg.search.space
            inside = {key: value for key, value in params.items() if contains(space[key], value)}
            self.study.enqueue_trial(inside, user_attrs={ORIGIN: origin})

    # -- what there is --------------------------------------------------------------------------------------------
    def trials(self) -> list[FrozenTrial]:
        """Return all trials; do not change them."""
        return self.study.get_trials(deepcopy=False)

    def counted(self) -> list[FrozenTrial]:
        """Return the trials but those that were cut off and queued again."""
        trials = self.trials()
        cut_off = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        return [trial for trial in trials if trial.number not in cut_off]

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that are over: complete, pruned or failed."""
        return [trial for trial in self.counted() if trial.state in FINISHED]

    def running(self) -> list[FrozenTrial]:
        """Return the trials that some process runs, as far as the storage knows."""
        return [trial for trial in self.trials() if trial.state == TrialState.RUNNING]

    def best(self) -> FrozenTrial | None:
        """Return the best complete trial, if there is one."""
        complete = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        return self.study.best_trial if complete else None

    def default(self) -> FrozenTrial | None:
        """Return the complete trial of the default configuration, if there is one."""
        of_default = [trial for trial in self.counted() if self._origin(trial) == "default"]
        return next((trial for trial in of_default if trial.state == TrialState.COMPLETE), None)

    def more(self) -> bool:
        """Say whether another trial may begin: within `n_trials`, `max_epochs` and the deadline."""
        begun = [trial for trial in self.counted() if trial.state != TrialState.WAITING]
        epochs = sum(len(trial.intermediate_values) for trial in begun)
        within = self.cfg.max_epochs is None or epochs < self.cfg.max_epochs
        return len(begun) < self.cfg.n_trials and within and time.time() < self.deadline

    def _origin(self, trial: FrozenTrial) -> str | None:
        while (retried := trial.user_attrs.get(RETRY_OF)) is not None:
            trial = self.trials()[retried]
        return trial.user_attrs.get(ORIGIN)

    # -- what happens ---------------------------------------------------------------------------------------------
    def run_next(self) -> bool:
        """Begin a trial and run it to its end; return False if none may begin. Whatever cuts it off queues it again."""
        with ExitStack() as alone:
            alone.enter_context(self.storage.lock(self.name))
            self.requeue(self._lost())
            if not self.more():
                return False
            self.study.sampler = self._sampler(len(self.trials()))
            begun: list[int] = []

            def objective(trial: optuna.Trial) -> float:
                trial.set_user_attr(WORKER, self.worker)
                begun.append(trial.number)
                alone.close()  # counted and marked: others may go on
                return self._run(trial)

            try:
                self.study.optimize(objective, n_trials=1, catch=(TrialFailed,), gc_after_trial=True)
            except UpdateFinishedTrialError:
                pass  # given up by others, who had no sign of life from here, and run again
            except (KeyboardInterrupt, SystemExit, OSError, StorageError):
                with suppress(StorageError):  # then the next call does it
                    if begun:
                        with self.storage.lock(self.name):
                            self.requeue([self.trials()[number] for number in begun])
                raise
        return True

    def requeue(self, trials: Sequence[FrozenTrial]) -> None:
        """Queue the parameters of trials that were cut off again; call it under the study's lock."""
        for trial in trials:
            queue_again(self.study, trial)  # first: killed between the two, it would be lost
            if trial.state == TrialState.RUNNING:
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def requeue_all(self) -> None:
        """Queue every running trial again: for who knows that nobody is running one."""
        with self.storage.lock(self.name):
            self.requeue(self.running())

    def requeue_lost(self) -> None:
        """Queue the running trials of dead processes of this machine again."""
        with self.storage.lock(self.name):
            self.requeue(self._lost())

    def _lost(self) -> list[FrozenTrial]:
        """Return running trials without a worker: unmarked ones, since we hold the lock under which they are marked, and those of dead processes."""
        if self.storage.heartbeat_interval:
            optuna.storages.fail_stale_trials(self.study)
        return [trial for trial in self.running() if not _alive(trial.user_attrs.get(WORKER))]

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        # One seed per fold and trial: a fixed one would repeat the first trials in every process and on every resume.
        seed = int(np.random.SeedSequence([self.cfg.seed, self.fold, number]).generate_state(1)[0])
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=self.cfg.search.n_startup, multivariate=True, constant_liar=True
        )

    def _run(self, trial: optuna.Trial) -> float:
        """Train once with the trial's parameters for `search.epochs` and return the score on the inner split."""
        chosen = with_params(self.cfg, suggest(trial, self.cfg.search.space))
        folder = RunFolder(self.path / "trials" / f"trial{trial.number:03d}")
        folder.make()
        pruning = functools.partial(PyTorchLightningPruningCallback, trial)
        try:
            return Run(chosen, self.dataset, self.fold).train_trial(folder, trial_epochs(self.cfg), pruning)
        except StorageError:
            raise
        except (MmganError, RuntimeError) as error:
            trial.set_user_attr("error", str(error).split("\n")[0])
            raise TrialFailed from error


def queue_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue the parameters of a trial that was cut off, unless they are, or it was cut off too often."""
    known = study.get_trials(deepcopy=False)
    retries, first = 0, trial
    while (earlier := first.user_attrs.get(RETRY_OF)) is not None:
        retries, first = retries + 1, known[earlier]
    if retries < MOST_RETRIES and not any(other.user_attrs.get(RETRY_OF) == trial.number for other in known):
        study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})


def trial_epochs(cfg: DictConfig) -> int:
    """Return the length of a trial: `search.epochs`, bounded by `trainer.max_epochs`."""
    return min(int(cfg.search.epochs), int(cfg.trainer.max_epochs))


def warm_params(path: str, space: Mapping[str, Any]) -> dict[str, Any]:
    """Return the best parameters of another fold's sweep, those that this space has; raises MmganError if it has none."""
    file = Path(path) / "best_params.yaml"
    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError):
        found = None
    shared = {key: value for key, value in found.items() if key in space} if isinstance(found, dict) else {}
    if not shared:
        raise MmganError(
            f"warm_start={path}: no best parameters of this search there; give the folder of a fold that tune.py finished."
        )
    return shared


def _alive(worker: str | None) -> bool:
    """Say whether a worker may be alive: of another machine, the heartbeat decides."""
    if worker is None:
        return False
    host, _, pid = worker.rpartition(":")
    if host != socket.gethostname():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

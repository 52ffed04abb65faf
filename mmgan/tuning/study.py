"""The study of one fold: which trials begin, which count, and which are begun again."""

import functools
import gc
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from optuna_integration import PyTorchLightningPruningCallback

from mmgan.data.presence import is_local, may_be_alive, worker_id
from mmgan.errors import MmganError
from mmgan.training.checkpoint import FORMAT
from mmgan.training.folder import RunFolder, differing_keys, listed
from mmgan.tuning.settings import SweepSettings, Trials
from mmgan.tuning.space import contains, suggest
from mmgan.tuning.storage import Storage, StorageError

# Attributes of a trial.
RETRY_OF = "retry_of"  # it repeats the trial of that number, which was cut off
KILLED = "killed"  # whether that was because its process was killed, and not by Ctrl-C say
WORKER = "worker"  # the worker_id of the process that runs it
WITHDRAWN = "withdrawn"  # begun while a server restarted, and not counted
ORIGIN = "origin"  # why it was queued: default or warm_start
MOST_RETRIES = 3  # of a trial whose process is killed each time; it then counts as failed

# What one choice of parameters may bring about: a loss that is not finite, no memory. The sweep goes on without it.
TRIAL_FAILS = (MmganError, RuntimeError, ValueError, ArithmeticError, MemoryError)


class FoldStudy:
    """The Optuna study of one fold, which any number of processes may have open.

    Raises MmganError if the study there belongs to another configuration or, without `create`, if there is none.
    """

    def __init__(self, settings: SweepSettings, fold: int, storage: Storage, trials: Trials, create: bool = True):
        self.settings, self.fold, self.storage, self.runner = settings, fold, storage, trials
        self.path, self.name = settings.folders[fold], settings.names[fold]
        with storage.reading():
            known = optuna.get_all_study_names(storage)
        former = self.name.removesuffix("-whole") + "-fold0"  # how the study of all samples was called
        if self.name.endswith("-whole") and former in known:
            self.name = former
        if not create and self.name not in known:
            raise MmganError(
                f"{self.path}: there is no study {self.name} yet; begin the sweep, or give its out_dir= and study=."
            )
        with storage.lock(self.name):
            with storage.reading():
                self.study = optuna.create_study(
                    study_name=self.name,
                    storage=storage,
                    direction=settings.direction,
                    load_if_exists=True,
                    pruner=settings.pruner,
                )
                self._check()
                known = self.trials()  # and all else that is read later
                _ = self.best(), self.default(), [known[trial.number] for trial in known]
            if create:
                for origin, params in settings.first.items():
                    if origin == "default" or self.more():
                        self._queue(origin, params)

    def _check(self) -> None:
        """Raise MmganError unless the study is of this configuration, which it then remembers."""
        identity = {**self.settings.identities[self.fold], "format": FORMAT}
        known = self.study.user_attrs.get("config")
        if known and not (isinstance(known, dict) and known.get("format") == FORMAT):
            raise MmganError(
                f"{self.path}: the study there was written by mmgan 0.1 or another version, whose studies this one does not go on"
                " with; give another out_dir= (with storage=, another study=), or use that version."
            )
        if known and (differing := differing_keys(known, identity)):
            raise MmganError(
                f"{self.path}: the study there has another configuration ({listed(differing)}); give the same one to"
                " go on, or another out_dir= (with storage=, another study=)."
            )
        if not known:
            self.study.set_user_attr("config", identity)

    def _queue(self, origin: str, params: Mapping[str, Any]) -> None:
        """Queue parameters, of which the sampler chooses those outside the search space, once for each origin."""
        if not any(trial.user_attrs.get(ORIGIN) == origin for trial in self.trials()):
            space = self.settings.space
            inside = {key: value for key, value in params.items() if contains(space[key], value)}
            self.study.enqueue_trial(inside, user_attrs={ORIGIN: origin})

    # -- what there is --------------------------------------------------------------------------------------------
    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return all trials, or those of some states; do not change them."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def counted(self) -> list[FrozenTrial]:
        """Return the trials but those that were cut off and queued again."""
        trials = self.trials()
        cut_off = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        over = (TrialState.COMPLETE, TrialState.PRUNED)  # after all: by a process that was only silent
        return [t for t in trials if (t.number not in cut_off or t.state in over) and not t.user_attrs.get(WITHDRAWN)]

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that are over: complete, pruned or failed."""
        return [trial for trial in self.counted() if trial.state.is_finished()]

    def running(self) -> list[FrozenTrial]:
        """Return the trials that some process runs, as far as the storage knows."""
        return self.trials(TrialState.RUNNING)

    def waits(self) -> bool:
        """Say whether a trial that runs has to be waited for: past the deadline only those of this machine."""
        in_time = time.time() < self.settings.deadline
        return any(in_time or is_local(trial.user_attrs.get(WORKER, "")) for trial in self.running())

    def best(self) -> FrozenTrial | None:
        """Return the best complete trial, if there is one."""
        return self.study.best_trial if self.trials(TrialState.COMPLETE) else None

    def default(self) -> FrozenTrial | None:
        """Return the complete trial of the default configuration, if there is one."""
        complete = self.trials(TrialState.COMPLETE)
        return next((trial for trial in complete if self._first(trial)[0].user_attrs.get(ORIGIN) == "default"), None)

    def more(self) -> bool:
        """Say whether another trial may begin: within `n_trials`, `max_epochs` and the deadline."""
        begun = [trial for trial in self.counted() if trial.state != TrialState.WAITING]
        epochs = sum(len(trial.intermediate_values) for trial in begun)
        within = self.settings.max_epochs is None or epochs < self.settings.max_epochs
        return len(begun) < self.settings.n_trials and within and time.time() < self.settings.deadline

    def _first(self, trial: FrozenTrial) -> tuple[FrozenTrial, int]:
        """Return the trial that one repeats in the end, and how many in between were killed."""
        trials, kills = self.trials(), 0
        while (earlier := trial.user_attrs.get(RETRY_OF)) is not None:
            trial, kills = trials[earlier], kills + trial.user_attrs.get(KILLED, True)
        return trial, kills

    # -- what happens ---------------------------------------------------------------------------------------------
    def run_next(self) -> bool:
        """Begin a trial and run it to its end; return False if none may begin. Whatever cuts it off queues it again."""
        trial = self._claim()
        if trial is None:
            return False
        try:
            with self.storage.heartbeat(trial):
                self._run(trial)
        except UpdateFinishedTrialError:
            pass  # given up by others, who had no sign of life from here, and run again
        except BaseException as error:
            self.storage.leaving = not isinstance(error, Exception)  # Ctrl-C
            with suppress(StorageError), self.storage.lock(self.name):  # else the next call does it
                self.requeue([self.trials()[trial.number]], killed=False)
            raise
        gc.collect()  # a Trainer and its model refer to each other
        return True

    def _claim(self) -> optuna.Trial | None:
        """Begin a trial, marked as ours, if one may begin: alone, so that no two processes begin the last one."""
        with self.storage.lock(self.name) as still_alone:
            self.requeue(self.lost())
            if not self.more():
                return None
            RunFolder(self.path / "trials").make()
            self.study.sampler = self._sampler(len(self.trials()))
            trial = self.study.ask()
            if not self.storage.file:  # first: a marked trial without a sign of life would never be missed
                self.storage.record_heartbeat(trial._trial_id)
            with suppress(UpdateFinishedTrialError):  # others found it unmarked while a server restarted
                trial.set_user_attr(WORKER, worker_id())
                if still_alone():
                    return trial
                self._withdraw(trial)
        return self._claim()

    def _withdraw(self, trial: optuna.Trial) -> None:
        """Take back a trial that others may have begun as well."""
        frozen = self.trials()[trial.number]
        if "fixed_params" in frozen.system_attrs:
            self.requeue([frozen], killed=False)
        else:
            trial.set_user_attr(WITHDRAWN, True)
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def requeue(self, trials: Sequence[FrozenTrial], *, killed: bool = True) -> None:
        """Queue the parameters of trials that were cut off again; call it under the study's lock."""
        for trial in trials:
            now = self.trials()[trial.number]
            if now.state == TrialState.RUNNING:  # not one that ended meanwhile
                self._queue_again(now, killed)  # first: killed between the two, it would be lost
                with suppress(UpdateFinishedTrialError):
                    self.study.tell(now.number, state=TrialState.FAIL, skip_if_finished=True)

    def _queue_again(self, trial: FrozenTrial, killed: bool) -> None:
        """Queue the parameters of a trial that was cut off, unless they are, or its process was killed too often."""
        repeated = any(other.user_attrs.get(RETRY_OF) == trial.number for other in self.trials())
        if not repeated and killed + self._first(trial)[1] <= MOST_RETRIES:
            # Those that were asked for, too: it may have been cut off before it suggested them.
            params = trial.system_attrs.get("fixed_params", {}) | trial.params
            self.study.enqueue_trial(params, user_attrs={RETRY_OF: trial.number, KILLED: killed})

    def requeue_all(self) -> None:
        """Queue every running trial again: for who knows that nobody is running one."""
        with self.storage.lock(self.name):
            self.requeue(self.running())

    def lost(self) -> list[FrozenTrial]:
        """Return running trials without a worker: unmarked ones, since we hold the lock under which they are marked, and those of dead processes."""
        stale = self.storage.stale_trials(self.study)
        return [t for t in self.running() if t.number in stale or not may_be_alive(t.user_attrs.get(WORKER))]

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        # One seed per fold and trial: a fixed one would repeat the first trials in every process and on every resume.
        seed = int(np.random.SeedSequence([self.settings.seed, self.fold, number]).generate_state(1)[0])
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=self.settings.n_startup, multivariate=True, constant_liar=True
        )

    def _run(self, trial: optuna.Trial) -> None:
        """Train once with the trial's parameters, and tell the study the score on the inner split, or what else came of it."""
        params = suggest(trial, self.settings.space)
        folder = RunFolder(self.path / "trials" / f"trial{trial.number:03d}")
        folder.make()
        pruning = functools.partial(PyTorchLightningPruningCallback, trial)
        try:
            outcome = {"values": self.runner.run_trial(self.fold, params, folder.path, pruning)}  # NaN fails
        except optuna.TrialPruned:
            reported = self.trials()[trial.number].intermediate_values
            at_end = len(reported) >= self.settings.trial_epochs  # where there is nothing left to save
            outcome = {"values": reported[max(reported)]} if at_end else {"state": TrialState.PRUNED}
        except (StorageError, UpdateFinishedTrialError):
            raise
        except TRIAL_FAILS as error:
            trial.set_user_attr("error", str(error).split("\n")[0])
            outcome = {"state": TrialState.FAIL}
        self.study.tell(trial, **outcome, skip_if_finished=True)

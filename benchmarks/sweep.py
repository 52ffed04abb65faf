"""What a sweep is worth, and what it survives.

`of=workers`: finished epochs per minute of `tune` with two workers over those with one, in turns. `of=plain`: the time of a plain sweep
(one random trial after another, none pruned, samples collated one by one by torch's DataLoader) to its best trial, over the time
until `tune` with two workers has one as good; both from the beginning of the first trial. `of=kills`: a worker, the parent, or all
of them are killed at random moments, and the sweep is begun again; what has to hold then is checked.

    python benchmarks/sweep.py of=workers data=watch minutes=6
    python benchmarks/sweep.py of=plain data=watch trials=10
    python benchmarks/sweep.py of=kills kills=20 trials=4
"""

import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import optuna
import psutil
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import TrialState

import mmgan
from mmgan.commands.build import compose, fold_run
from mmgan.commands.tune import ConfiguredTrials, sweep_settings, trial_epochs, with_params
from mmgan.report.content import Table
from mmgan.report.page import table_text
from mmgan.training.fit import FoldRun
from mmgan.training.folder import RunFolder
from mmgan.training.quiet import quiet_lightning
from mmgan.tuning.space import suggest
from mmgan.tuning.storage import Storage
from mmgan.tuning.study import RETRY_OF

ROOT = Path(__file__).resolve().parents[1]
SMALL = "data=linear2d model=gan data.steps_per_epoch=20 data.n_splits=2 trainer.max_epochs=2 search.epochs=2"  # trials of seconds
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@dataclass
class Options:
    """The command line, as name=value."""

    of: str = "workers"
    data: str = "watch"
    model: str = "vacwgan"
    fold: int = 1  # of=workers and of=plain
    seed: int = 0
    seeds: int = 1  # of=plain: so many from `seed` on
    minutes: float = 6.0  # of=workers: of each sweep
    turns: int = 2  # of=workers
    trials: int = 10  # of=plain: of the plain sweep; of=kills: that a fold has more after each kill
    kills: int = 20  # of=kills
    within: float = 10.0  # of=kills: seconds, at most, from the beginning of a trial to the kill
    workers: int = 2
    overrides: str = ""  # options of tune.py, separated by blanks


def main() -> None:
    """Measure, and print a table."""
    try:
        options = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Options), OmegaConf.from_cli()))
        job = {"workers": of_workers, "plain": of_plain, "kills": of_kills}[options.of]
    except (OmegaConfBaseException, KeyError) as error:
        sys.exit(f"error: {str(error).splitlines()[0]}: give name=value; of is workers, plain or kills.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        columns, *rows = job(options, Path(folder))
        print(table_text(Table(options.of, columns, rows)))


def command(folder: Path, words: str, *, workers: int) -> list[str]:
    """Return the command line of a sweep in a folder."""
    return [sys.executable, str(ROOT / "tune.py"), *shlex.split(words), f"workers={workers}", f"out_dir={folder}"]


def sweep(folder: Path, words: str, *, workers: int) -> None:
    """Run a sweep to its end; end with what it says where it fails."""
    done = subprocess.run(
        command(folder, words, workers=workers), capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT
    )
    if done.returncode:
        sys.exit(f"tune.py failed:\n{done.stdout}{done.stderr}")


def studies_of(folder: Path) -> dict[str, list[Any]]:
    """Return the trials so far of all studies of a sweep's folder, {name: trials}; none before there is a study."""
    if not (folder / "study.db").exists():
        return {}
    store = Storage(f"sqlite:///{folder / 'study.db'}")  # which may be in the making
    names = optuna.get_all_study_names(store)
    return {name: optuna.load_study(study_name=name, storage=store).trials for name in names}


def trials_of(folder: Path) -> list[Any]:
    """Return the trials so far of all studies of a sweep's folder."""
    return [trial for trials in studies_of(folder).values() for trial in trials]


# -- two workers against one --------------------------------------------------------------------------------------------
def of_workers(options: Options, folder: Path) -> list[list[str]]:
    """Return epochs per minute of one worker and of several, turn by turn."""
    words = (
        f"data={options.data} model={options.model} seed={options.seed} fold={options.fold} n_trials=1000 pruner=none"
        f" timeout={60 * options.minutes} trainer.max_epochs=1 search.epochs=1 {options.overrides}"
    )
    rates: dict[int, list[float]] = {1: [], options.workers: []}
    for turn in range(options.turns):
        for workers, found in rates.items():
            place = folder / f"turn{turn}-{workers}"
            sweep(place, words, workers=workers)
            found.append(epochs_per_minute(trials_of(place)))
    ratios = [many / one for one, many in zip(*rates.values(), strict=True)]
    rows = [["workers", *(f"turn {turn + 1}" for turn in range(options.turns)), "mean"]]
    rows += [[str(name), *(f"{rate:.2f}" for rate in found), f"{np.mean(found):.2f}"] for name, found in rates.items()]
    return [*rows, ["ratio", *(f"{ratio:.2f}" for ratio in ratios), f"{np.mean(ratios):.2f}"]]


def epochs_per_minute(trials: list[Any]) -> float:
    """Return the epochs of complete trials over the time from the beginning of the first trial to the end of the last."""
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    seconds = (max(t.datetime_complete for t in done) - first_began(trials)).total_seconds()
    return 60 * sum(len(trial.intermediate_values) for trial in done) / seconds


def first_began(trials: list[Any]) -> datetime | None:
    """Return when the first of these trials began, if one has."""
    return min((t.datetime_start for t in trials if t.datetime_start), default=None)


# -- against the plain way ----------------------------------------------------------------------------------------------
def of_plain(options: Options, folder: Path) -> list[list[str]]:
    """Return the time to the plain sweep's best score, of it and of tune.py, seed by seed."""
    rows, ratios = [["seed", "score", "plain: reached after", "all trials", "tune.py: reached after", "ratio"]], []
    for seed in range(options.seed, options.seed + options.seeds):
        words = f"data={options.data} model={options.model} seed={seed} fold={options.fold} {options.overrides}"
        plain = plain_sweep(words, options.trials, folder / f"plain{seed}")
        aim = max(score for _, score in plain)
        reached = next(seconds for seconds, score in plain if score == aim)
        place = folder / f"ours{seed}"
        ours = time_to(aim, command(place, f"{words} n_trials=1000", workers=options.workers), place, reached)
        ratios.append(reached / ours if ours else 0.0)
        told = [f"{ours:.0f} s", f"{ratios[-1]:.1f}"] if ours else [f"not in {reached:.0f} s", "below 1"]
        rows.append([str(seed), f"{aim:.3f}", f"{reached:.0f} s", f"{plain[-1][0]:.0f} s", *told])
    middle = float(np.median(ratios))
    return [*rows, ["median", "", "", "", "", f"{middle:.1f}" if middle else "below 1"]]


def plain_sweep(words: str, trials: int, folder: Path) -> list[tuple[float, float]]:
    """Return when each trial of the plain way had ended, in seconds, and its score."""
    quiet_lightning()
    cfg = compose("tune", words)
    trials_of_cfg = ConfiguredTrials(cfg)
    dataset = trials_of_cfg.dataset
    space = sweep_settings(cfg, trials_of_cfg, {cfg.fold: folder}, folder).space

    def collated(data: Any) -> Any:
        rows = [(*(x[i] for x in dataset.x_train.values()), dataset.y_train[i]) for i in data.training_indices]
        length = data.batch_size * data.steps_per_epoch
        sampler = torch.utils.data.RandomSampler(rows, replacement=True, num_samples=length)
        return torch.utils.data.DataLoader(rows, batch_size=data.batch_size, sampler=sampler)

    def plain_run(chosen: Any) -> FoldRun:
        run = fold_run(chosen, dataset, cfg.fold)

        def build(final: bool) -> tuple[Any, Any]:
            model, data = run.build(final)
            data.train_dataloader = lambda: collated(data)
            return model, data

        return replace(run, build=build)

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=cfg.seed))
    started, found = time.monotonic(), []
    for number in range(trials):
        chosen = with_params(cfg, suggest(study.ask(), space))
        place = RunFolder(folder / f"trial{number}")
        place.make()
        score = plain_run(chosen).train_trial(place, trial_epochs(cfg), lambda monitor: L.Callback())
        found.append((time.monotonic() - started, score))
    return found


def time_to(aim: float, words: list[str], folder: Path, limit: float) -> float | None:
    """Return the seconds from the beginning of a sweep's first trial to the end of one of that score; None if none ends within `limit`."""
    with running(words) as process:
        while process.poll() is None:
            time.sleep(1)
            began = first_began(trials := trials_of(folder))
            good = [t.datetime_complete for t in trials if t.state == TrialState.COMPLETE and t.value >= aim]
            if good and (seconds := (min(good) - began).total_seconds()) <= limit:
                return seconds
            if began and (datetime.now() - began).total_seconds() > limit:
                return None
    return None


@contextmanager
def running(words: list[str]) -> Iterator[subprocess.Popen]:
    """Start a sweep, and end it and its workers with the block."""
    process = subprocess.Popen(words, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        kill([*workers_of(process.pid), process.pid])
        process.wait()


# -- killed -------------------------------------------------------------------------------------------------------------
def of_kills(options: Options, folder: Path) -> list[list[str]]:
    """Kill a sweep, let it end, and look at what is there, again and again; ends with a sentence if anything is amiss."""
    words = f"{SMALL} fold=all seed={options.seed} {options.overrides}"
    place, chance, trials = folder / "sweep", random.Random(options.seed), 0
    known: dict[tuple[str, int], float] = {}
    struck = {"a worker": 0, "the parent": 0, "all": 0}
    while sum(struck.values()) < options.kills:
        trials += options.trials  # more than there are, so that there is something to kill
        victim = list(struck)[sum(struck.values()) % len(struck)]
        with running(command(place, f"{words} n_trials={trials}", workers=options.workers)) as process:
            while process.poll() is None and not any(t.state == TrialState.RUNNING for t in trials_of(place)):
                time.sleep(0.2)
            time.sleep(chance.uniform(0, options.within))
            struck[victim] += strike(process.pid, victim)
            if victim == "a worker" and process.wait() != 0:
                sys.exit("error: the sweep did not go on without a worker.")
        amiss = compared(known, place)
        sweep(place, f"{words} n_trials={trials}", workers=options.workers)
        if amiss := amiss or compared(known, place) or unfinished(place, trials):
            sys.exit(f"error: after killing {victim}: {amiss}")
    rows = [["struck", "times"], *([victim, str(times)] for victim, times in struck.items())]
    return [*rows, ["trials finished", str(len(known))], ["finished trials lost or changed", "0"], ["left open", "0"]]


def workers_of(parent: int) -> list[int]:
    """Return the processes that a sweep started."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(parent).children()
        return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]
    return []


def kill(pids: list[int]) -> None:
    """Kill processes, of which some may have ended."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()


def strike(parent: int, victim: str) -> bool:
    """Kill the parent, one of its workers, or all of them; return False if there was none. Without a parent the workers have to end."""
    workers = workers_of(parent)
    if workers:
        kill({"a worker": workers[:1], "the parent": [parent], "all": [parent, *workers]}[victim])
    if workers and victim == "the parent":
        time.sleep(5)
        if left := [pid for pid in workers if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]:
            sys.exit(f"error: workers {left} outlive the parent.")
    return bool(workers)


def compared(known: dict[tuple[str, int], float], folder: Path) -> str:
    """Add the trials that are finished to the known ones; say which of these is lost or has another value."""
    studies = studies_of(folder).items()
    complete = ((name, t) for name, trials in studies for t in trials if t.state == TrialState.COMPLETE)
    found = {(name, trial.number): trial.value for name, trial in complete}
    lost = [key for key, value in known.items() if found.get(key) != value]
    known.update(found)
    return f"lost or changed: {lost}" if lost else ""


def unfinished(folder: Path, trials: int) -> str:
    """Say what is amiss in a sweep that ended: the number of trials, one left running, or a best model that does not load."""
    for number, (name, all_trials) in enumerate(sorted(studies_of(folder).items()), start=1):
        cut_off = {trial.user_attrs.get(RETRY_OF) for trial in all_trials}
        if twice := [t.number for t in all_trials if t.number in cut_off and t.state != TrialState.FAIL]:
            return f"{name}: trials {twice} had ended, and were run again"
        if open_trials := [t.number for t in all_trials if t.state in (TrialState.RUNNING, TrialState.WAITING)]:
            return f"{name}: trials {open_trials} are still open"
        if (counted := sum(trial.number not in cut_off for trial in all_trials)) != trials:
            return f"{name}: {counted} trials count, not {trials}"
        mmgan.load(folder / f"fold{number}" / "best.ckpt")
    return ""


if __name__ == "__main__":
    main()

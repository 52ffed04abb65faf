"""What a sweep is worth, and what it survives: `of=workers`, `of=plain` and `of=kills`.

`of=workers`: finished epochs per minute of tune.py with two workers over those with one, in turns. `of=plain`: the time that a
plain sweep (one random trial after another, none pruned, samples collated one by one by torch's DataLoader) took for its best trial, over the time until tune.py with two workers has one as good; both
from the beginning of the first trial. `of=kills`: a worker, the parent, or
all of them are killed at random moments, and the sweep is begun again; what has to hold then is checked.

    python benchmarks/sweep.py of=workers data=watch minutes=6
    python benchmarks/sweep.py of=plain data=watch trials=10
    python benchmarks/sweep.py of=kills kills=20 trials=4
"""

import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from cells import CONF, markdown, read_options

ROOT = CONF.parent
SMALL = "data=linear2d model=gan data.steps_per_epoch=20 data.n_splits=2 trainer.max_epochs=2 search.epochs=2"  # trials of seconds


@dataclass
class Options:
    """The command line, as name=value."""

    of: str = "workers"
    data: str = "watch"
    model: str = "vacwgan"
    folds: str = "1"  # of=workers and of=plain: the one fold
    seed: int = 0
    seeds: int = 1  # of=plain: so many from `seed` on
    minutes: float = 6.0  # of=workers: of each sweep
    turns: int = 2  # of=workers
    trials: int = 10  # of=plain: of the plain sweep; of=kills: that a fold has more after each kill
    kills: int = 20  # of=kills
    workers: int = 2
    overrides: str = ""  # options of tune.py, separated by blanks


def main() -> None:
    """Measure, and print a table."""
    options = read_options(Options, sys.argv[1:])
    parts = {"workers": of_workers, "plain": of_plain, "kills": of_kills}
    if options.of not in parts:
        sys.exit(f"error: of={options.of}: give one of {', '.join(parts)}.")
    with tempfile.TemporaryDirectory() as folder:
        print(parts[options.of](options, Path(folder)))


# -- tune.py ------------------------------------------------------------------------------------------------------------
def command(folder: Path, words: str, *, workers: int) -> list[str]:
    """Return the command line of a sweep in a folder."""
    return [sys.executable, str(ROOT / "tune.py"), *shlex.split(words), f"workers={workers}", f"out_dir={folder}"]


def swept(folder: Path, words: str, *, workers: int) -> None:
    """Run a sweep to its end; end with what it says where it fails."""
    done = subprocess.run(
        command(folder, words, workers=workers), capture_output=True, text=True, env=environment(), cwd=ROOT
    )
    if done.returncode:
        sys.exit(f"tune.py failed:\n{done.stdout}{done.stderr}")


def environment() -> dict[str, str]:
    """Return the environment of a sweep."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def trials_of(folder: Path) -> dict[str, list[Any]]:
    """Return the trials of all studies of a sweep's folder, {name: trials}."""
    import optuna

    from mmgan.tuning.storage import Storage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    store = Storage(f"sqlite:///{folder / 'study.db'}")  # which may be in the making
    return {
        name: optuna.load_study(study_name=name, storage=store).trials for name in optuna.get_all_study_names(store)
    }


# -- two workers against one --------------------------------------------------------------------------------------------
def of_workers(options: Options, folder: Path) -> str:
    """Return epochs per minute of one worker and of several, turn by turn, as Markdown."""
    words = (
        f"data={options.data} model={options.model} seed={options.seed} n_trials=1000 pruner=none"
        f" timeout={60 * options.minutes} trainer.max_epochs=1 search.epochs=1 {options.overrides}"
    )
    rates: dict[int, list[float]] = {1: [], options.workers: []}
    for turn in range(options.turns):
        for workers, found in rates.items():
            place = folder / f"turn{turn}-{workers}"
            swept(place, f"{words} fold={options.folds}", workers=workers)
            found.append(epochs_per_minute(place))
    ratios = [many / one for one, many in zip(*rates.values(), strict=True)]
    rows = [["workers", *(f"turn {turn + 1}" for turn in range(options.turns)), "mean"]]
    rows += [[str(n), *(f"{rate:.2f}" for rate in found), f"{np.mean(found):.2f}"] for n, found in rates.items()]
    rows.append(["ratio", *(f"{ratio:.2f}" for ratio in ratios), f"{np.mean(ratios):.2f}"])
    return markdown(rows)


def epochs_per_minute(folder: Path) -> float:
    """Return the epochs of complete trials over the time from the beginning of the first trial to the end of the last."""
    from optuna.trial import TrialState

    (trials,) = trials_of(folder).values()
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    seconds = (max(t.datetime_complete for t in done) - min(t.datetime_start for t in trials)).total_seconds()
    return 60 * sum(len(trial.intermediate_values) for trial in done) / seconds


# -- against the plain way ----------------------------------------------------------------------------------------------
def of_plain(options: Options, folder: Path) -> str:
    """Return the time to the plain sweep's best score, of it and of tune.py, seed by seed, as Markdown."""
    rows = [["seed", "score", "plain: reached after", "all trials", "tune.py: reached after", "ratio"]]
    ratios = []
    for seed in range(options.seed, options.seed + options.seeds):
        words = f"data={options.data} model={options.model} seed={seed} fold={options.folds} {options.overrides}"
        plain = plain_sweep(words, options.trials, folder / f"plain{seed}")
        aim = max(score for _, score in plain)
        reached = next(seconds for seconds, score in plain if score == aim)
        place = folder / f"ours{seed}"
        ours = time_to(aim, command(place, f"{words} n_trials=1000", workers=options.workers), place, reached)
        ratios.append(reached / ours if ours else 0.0)
        told = [f"{ours:.0f} s", f"{ratios[-1]:.1f}"] if ours else [f"not in {reached:.0f} s", "below 1"]
        rows.append([str(seed), f"{aim:.3f}", f"{reached:.0f} s", f"{plain[-1][0]:.0f} s", *told])
    middle = float(np.median(ratios))
    rows.append(["median", "", "", "", "", f"{middle:.1f}" if middle else "below 1"])
    return markdown(rows)


def plain_sweep(words: str, trials: int, folder: Path) -> list[tuple[float, float]]:
    """Return when each trial of the plain way had ended, in seconds, and its score."""
    import hydra
    import optuna
    import torch
    from mmgan.training.run import Run, load_data

    from mmgan.commands.options import register_options
    from mmgan.data.datamodule import FoldDataModule
    from mmgan.training.folder import RunFolder
    from mmgan.training.quiet import quiet_lightning
    from mmgan.tuning.space import check_space, suggest, with_params
    from mmgan.tuning.study import trial_epochs

    quiet_lightning()
    register_options()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("tune", shlex.split(words))
    check_space(cfg)
    dataset = load_data(cfg)

    def collated(data: FoldDataModule) -> Any:
        rows = [(*(x[i] for x in dataset.x_train.values()), dataset.y_train[i]) for i in data.training_indices]
        sampler = torch.utils.data.RandomSampler(
            rows, replacement=True, num_samples=data.batch_size * data.steps_per_epoch
        )
        return torch.utils.data.DataLoader(rows, batch_size=data.batch_size, sampler=sampler)

    class Plain(Run):
        def build(self, *, final: bool = False) -> Any:
            model, data = super().build(final=final)
            data.train_dataloader = lambda: collated(data)
            return model, data

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=cfg.seed))
    started, found = time.monotonic(), []
    for number in range(trials):
        chosen = with_params(cfg, suggest(study.ask(), cfg.search.space))
        place = RunFolder(folder / f"trial{number}")
        place.make()
        score = Plain(chosen, dataset, cfg.fold).train_trial(place, trial_epochs(cfg), without_pruning)
        found.append((time.monotonic() - started, score))
    return found


def without_pruning(monitor: str) -> Any:
    """Return a callback that prunes nothing."""
    import lightning as L

    return L.Callback()


def time_to(aim: float, words: list[str], folder: Path, limit: float) -> float | None:
    """Return the seconds from the beginning of a sweep's first trial to the end of one of that score; None if none ends within `limit`."""
    seconds: float | None = None
    with running(words) as sweep:
        while seconds is None and sweep.poll() is None and past(folder) < limit:
            time.sleep(1)
            seconds = reached_after(aim, folder)
    return seconds if seconds is not None and seconds <= limit else None


def reached_after(aim: float, folder: Path) -> float | None:
    """Return when the first complete trial of that score had ended, in seconds from the beginning of the first."""
    from optuna.trial import TrialState

    trials = all_trials_of(folder)
    good = [t.datetime_complete for t in trials if t.state == TrialState.COMPLETE and t.value >= aim]
    return (min(good) - first_began(trials)).total_seconds() if good else None


def past(folder: Path) -> float:
    """Return the seconds since the first trial began, if one has."""
    began = first_began(all_trials_of(folder))
    return (datetime.now() - began).total_seconds() if began else 0.0


def first_began(trials: list[Any]) -> datetime | None:
    """Return when the first of these trials began, if one has."""
    return min((t.datetime_start for t in trials if t.datetime_start), default=None)


def all_trials_of(folder: Path) -> list[Any]:
    """Return the trials so far of all studies of a sweep's folder; none before there is one."""
    known = trials_of(folder).values() if (folder / "study.db").exists() else ()
    return [trial for trials in known for trial in trials]


@contextmanager
def running(words: list[str]) -> Iterator[subprocess.Popen]:
    """Start a sweep in a group of its own, and end all of it with the block."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    sweep = subprocess.Popen(words, env=environment(), cwd=ROOT, start_new_session=True, **quiet)
    try:
        yield sweep
    finally:
        with suppress(ProcessLookupError):
            os.killpg(sweep.pid, signal.SIGKILL)
        sweep.wait()


# -- killed -------------------------------------------------------------------------------------------------------------
def of_kills(options: Options, folder: Path) -> str:
    """Kill a sweep, let it end, and look at what is there, again and again; ends with a sentence if anything is amiss."""
    words = f"{SMALL} fold=all seed={options.seed} {options.overrides}"
    place, chance, trials = folder / "sweep", random.Random(options.seed), 0
    known: dict[tuple[str, int], float] = {}
    struck = {"a worker": 0, "the parent": 0, "all": 0}
    while sum(struck.values()) < options.kills:
        trials += options.trials  # more than there are, so that there is something to kill
        victim = list(struck)[sum(struck.values()) % len(struck)]
        with running(command(place, f"{words} n_trials={trials}", workers=options.workers)) as sweep:
            while sweep.poll() is None and not running_trials(place):
                time.sleep(0.2)
            time.sleep(chance.uniform(0, 10))
            struck[victim] += strike(sweep.pid, victim)
            if victim == "a worker" and sweep.wait() != 0:
                sys.exit("error: the sweep did not go on without a worker.")
        lost = compared(known, place)
        swept(place, f"{words} n_trials={trials}", workers=options.workers)
        if lost := lost or compared(known, place) or unfinished(place, trials):
            sys.exit(f"error: after killing {victim}: {lost}")
    rows = [["struck", "times"], *([victim, str(times)] for victim, times in struck.items())]
    rows += [["trials finished", str(len(known))], ["finished trials lost or changed", "0"], ["left open", "0"]]
    return markdown(rows)


def running_trials(folder: Path) -> bool:
    """Say whether a trial runs."""
    from optuna.trial import TrialState

    return any(trial.state == TrialState.RUNNING for trial in all_trials_of(folder))


def strike(parent: int, victim: str) -> bool:
    """Kill the parent, one of its workers, or all of them; return False if there was none. Without a parent the workers have to end."""
    children = subprocess.run(["pgrep", "-P", str(parent), "-f", "spawn_main"], capture_output=True, text=True)
    workers = [int(pid) for pid in children.stdout.split()]
    for pid in {"a worker": workers[:1], "the parent": [parent], "all": [parent, *workers]}[victim] if workers else []:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if workers and victim == "the parent":
        time.sleep(5)
        if left := [pid for pid in workers if lives(pid)]:
            sys.exit(f"error: workers {left} outlive the parent.")
    return bool(workers)


def lives(pid: int) -> bool:
    """Say whether a process runs; one that has ended may still be listed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def compared(known: dict[tuple[str, int], float], folder: Path) -> str:
    """Add the trials that are finished to the known ones; say which of these is lost or has another value."""
    from optuna.trial import TrialState

    if not (folder / "study.db").exists():
        return ""
    found = {
        (name, trial.number): trial.value
        for name, trials in trials_of(folder).items()
        for trial in trials
        if trial.state == TrialState.COMPLETE
    }
    lost = [key for key, value in known.items() if found.get(key) != value]
    known.update(found)
    return f"lost or changed: {lost}" if lost else ""


def unfinished(folder: Path, trials: int) -> str:
    """Say what is amiss in a sweep that ended: the number of trials, one left running, or a best model that does not load."""
    from optuna.trial import TrialState

    import mmgan
    from mmgan.tuning.study import RETRY_OF

    for number, (name, all_trials) in enumerate(sorted(trials_of(folder).items()), start=1):
        cut_off = {trial.user_attrs.get(RETRY_OF) for trial in all_trials}
        counted = [trial for trial in all_trials if trial.number not in cut_off]
        if twice := [t.number for t in all_trials if t.number in cut_off and t.state != TrialState.FAIL]:
            return f"{name}: trials {twice} had ended, and were run again"
        if open_trials := [t.number for t in all_trials if t.state in (TrialState.RUNNING, TrialState.WAITING)]:
            return f"{name}: trials {open_trials} are still open"
        if len(counted) != trials:
            return f"{name}: {len(counted)} trials count, not {trials}"
        mmgan.load(folder / f"fold{number}" / "best.ckpt")
    return ""


if __name__ == "__main__":
    main()

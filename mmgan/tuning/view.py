"""The view of a running sweep: a line for each fold, and the time left."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from optuna.trial import TrialState
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmgan.data.folds import fold_name
from mmgan.errors import MmganError
from mmgan.training.callbacks import TellEpoch
from mmgan.tuning.study import FoldStudy

EVERY = 2.0  # seconds between two looks at the studies
REMEMBERED = 3600  # seconds of which the time left is told


@contextmanager
def progress_shown(studies: Mapping[int, FoldStudy]) -> Iterator[None]:
    """Show how far the studies are while the block runs."""
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=8), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
        TextColumn("left"), TimeRemainingColumn(compact=True),
    )  # fmt: skip
    over = threading.Event()
    with Progress(*columns, speed_estimate_period=REMEMBERED) as progress:
        tasks = {}
        for fold, study in studies.items():
            done, total = len(study.finished()), study.settings.n_trials
            tasks[fold] = progress.add_task(fold_name(fold), total=total, completed=done, note="")

        def look() -> None:
            for fold, study in studies.items():
                progress.update(tasks[fold], note=note(study), **place(study))

        def watch() -> None:
            with suppress(MmganError):  # who works says it
                while not over.wait(EVERY):
                    look()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
            look()
        finally:
            over.set()
            watcher.join(EVERY)


def place(study: FoldStudy) -> dict[str, Any]:
    """Return how far a study is: of its trials, and once a refit runs, of that one's epochs."""
    epochs = TellEpoch.read(study.path)
    if epochs is None:
        return {
            "description": fold_name(study.fold),
            "completed": len(study.finished()),
            "total": study.settings.n_trials,
        }
    return {"description": f"{fold_name(study.fold)} refit", "completed": epochs, "total": study.settings.refit_epochs}


def note(study: FoldStudy) -> str:
    """Return the best value so far, and how many trials were pruned, failed or are running."""
    states = [trial.state for trial in study.counted()]
    counts = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL, "running": TrialState.RUNNING}
    told = [f"{states.count(state)} {name}" for name, state in counts.items()]
    best = study.best()
    return ", ".join([*([f"best {best.value:.3f} (#{best.number})"] if best else []), *told])

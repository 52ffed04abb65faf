"""The quality of models and controls on held-out rows: trains, synthesises and judges, cell by cell.

A cell is one model on one fold of one data set, with one seed and as many training rows as `rows` says. Each finished
cell is a line of `out`; the same command again does the cells that are missing. At the end the
table of all lines in `out` is written beside it.

    python benchmarks/quality.py data=watch models=real,smote,vacwgan workers=2
    python benchmarks/quality.py data=watch models=real,smote rows=5,10,full,imbalance10
"""

import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes of two threads each get in one another's way

import hydra
import numpy as np
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmgan.cli import register_options, sentence
from mmgan.errors import MmganError
from mmgan.evaluation.augmentation import Augmentation, extra_per_class
from mmgan.evaluation.controls import CONTROLS
from mmgan.evaluation.features import take
from mmgan.evaluation.table import REAL, FoldRows, control_rows
from mmgan.report.quality import FULL, WITHOUT_ROWS, quality_page, read_lines

OF_TRAINING = ("batch_size", "steps_per_epoch", "inner_val")  # data options that change no real row and no control
CONF = Path(__file__).resolve().parent.parent / "conf"


@dataclass
class Options:
    """The command line, as name=value; several values are separated by commas."""

    data: str = "watch"
    draw: int | None = 0  # of the data; null for data=pkl
    models: str = ",".join([REAL, *CONTROLS, "vacwgan"])
    folds: str = "1,2,3,4,5"
    seeds: int = 1
    rows: str = FULL  # of a fold that train: full, 10 (of each class), imbalance10 (10:1)
    draws: int = 5
    workers: int = 1
    out: str = "runs/quality/quality.jsonl"
    runs: str = "runs/quality"  # trained models, found again by a second call
    overrides: str = ""  # options of train.py, separated by blanks: 'data.n_train=200 trainer.max_epochs=5'


@dataclass(frozen=True)
class Cell:
    """What one line tells of."""

    data: str
    draw: int | None
    rows: str
    model: str
    fold: int
    seed: int

    @property
    def trained(self) -> bool:
        """Whether a model has to be trained for it."""
        return self.model not in (REAL, *WITHOUT_ROWS, *CONTROLS)

    @property
    def of_augmentation(self) -> bool:
        """Whether only the worth to few rows is asked for; it is all there is of what makes no rows."""
        return self.rows != FULL or self.model in WITHOUT_ROWS

    def config(self, overrides: str) -> DictConfig:
        """Return the configuration of train.py."""
        words = [f"data={self.data}", f"seed={self.seed}", f"fold={self.fold}", "final=true", "resume=true"]
        words += [f"data.draw={self.draw}"] if self.draw is not None else []
        words += [f"data.imbalance_ratio={self.rows[9:]}"] if self.rows.startswith("imbalance") else []
        words += [f"data.rows_per_class={self.rows}"] if self.rows.isdecimal() else []
        words += [f"model={self.model}"] if self.trained else []
        register_options()
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra.compose("train", [*words, *shlex.split(overrides)])

    def folder(self, runs: str) -> Path:
        """Return where its model is trained."""
        draw = "" if self.draw is None else f"-draw{self.draw}"
        return Path(runs) / f"{self.data}{draw}-{self.rows}-{self.model}-seed{self.seed}" / f"fold{self.fold}"


def makes_rows(cell: Cell, options: Options) -> bool:
    """Say whether the model of a cell is a generator."""
    from mmgan.run import makes_rows

    return makes_rows(cell.config(options.overrides))


def main() -> None:
    """Do the missing cells in `workers` processes, and write the table."""
    options = read_options(sys.argv[1:])
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        wanted = {cell: settings(cell, options) for cell in cells(options)}
        if other := [cell.model for cell in wanted if cell.trained and not makes_rows(cell, options)]:
            sys.exit(f"error: models={other[0]}: this model makes no rows; benchmarks/robustness.py measures it.")
    except HydraException as error:  # a model, a data set or an override that there is not
        sys.exit(f"error: {sentence(error)}")
    known = finished(out, wanted)
    # The longest first, so that no process works on alone at the end.
    missing = sorted((cell for cell in wanted if cell not in known), key=lambda cell: not cell.trained)
    for cell, line in computed(missing, options, len(known)):
        known[cell] = {**asdict(cell), "trained": cell.trained, "settings": wanted[cell], **line}
        with out.open("a") as stream:
            stream.write(json.dumps(known[cell]) + "\n")
    if failed := [cell for cell in wanted if "error" in known[cell]]:
        sys.exit(f"error: {len(failed)} cells failed, such as {failed[0]}: {known[failed[0]]['error']}")
    page = quality_page(read_lines(out), shlex.join(["python", "benchmarks/quality.py", *sys.argv[1:]]))
    out.with_suffix(".md").write_text(page)
    print(f"{page}\nlines: {out}   table: {out.with_suffix('.md')}")


def read_options(words: list[str]) -> Options:
    """Return the options of the command line; ends with a sentence for what is none."""
    names = Options.__dataclass_fields__
    for word in words:
        if "=" not in word or word.split("=")[0] not in names:
            sys.exit(f"error: {word}: give name=value, where the name is one of {', '.join(names)}.")
    given = dict(word.split("=", 1) for word in words)
    try:
        options = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Options), given))
    except OmegaConfBaseException as error:
        sys.exit(f"error: {str(error).splitlines()[0]}.")
    for rows in options.rows.split(","):
        if rows != FULL and not rows.removeprefix("imbalance").isdecimal():
            sys.exit(f"error: rows={rows}: give full, a number of rows per class, or imbalance and a ratio.")
    return options


def cells(options: Options) -> Iterator[Cell]:
    """Yield every cell that the options ask for."""
    for data in options.data.split(","):
        for rows in options.rows.split(","):
            for model in options.models.split(","):
                for seed in range(options.seeds):
                    for fold in options.folds.split(","):
                        yield Cell(data, options.draw, rows, model, int(fold), seed)


def settings(cell: Cell, options: Options) -> str:
    """Return a digest of all that decides a cell's result, so that a line of other settings is not taken for it."""
    cfg = cell.config(options.overrides)
    plain = OmegaConf.to_container(OmegaConf.create({"data": cfg.data, "draws": options.draws}), resolve=True)
    if cell.trained:
        plain |= {"model": OmegaConf.to_container(cfg.model, resolve=True), "max_epochs": cfg.trainer.max_epochs}
    else:
        plain["data"] = {key: value for key, value in plain["data"].items() if key not in OF_TRAINING}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def finished(out: Path, wanted: Mapping[Cell, str]) -> dict[Cell, dict[str, Any]]:
    """Return the lines of an earlier call for the wanted cells, of the same settings; failed cells are tried again."""
    found = {}
    text = out.read_text() if out.exists() else ""
    if text and not text.endswith("\n"):  # the line at which an earlier call was killed
        text = text[: text.rfind("\n") + 1]
        out.write_text(text)
    for line in map(json.loads, text.splitlines()):
        cell = Cell(*(line[name] for name in Cell.__dataclass_fields__))
        if wanted.get(cell) == line["settings"] and "error" not in line:
            found[cell] = line
    return found


def computed(missing: list[Cell], options: Options, known: int) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield cells with their lines, as they end, behind one bar with the time left."""
    log = Path(options.runs) / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    pool = ProcessPoolExecutor(options.workers, get_context("spawn"), initializer=quiet_worker, initargs=(str(log),))
    seconds: dict[tuple, list[float]] = {}
    with Progress(*columns) as progress:
        task = progress.add_task("cells", total=known + len(missing), completed=known, left="")
        waiting: dict[Future, Cell] = {pool.submit(compute, cell, options): cell for cell in missing}
        try:
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    cell, line = waiting.pop(future), future.result()
                    seconds.setdefault(kind(cell), []).append(line["seconds"])
                    progress.update(task, advance=1, left=time_left(waiting.values(), seconds, options.workers))
                    yield cell, line
        except (KeyboardInterrupt, BrokenProcessPool):  # the latter: a process was killed, for want of memory say
            pool.shutdown(wait=False, cancel_futures=True)
            sys.exit("interrupted: the same command goes on.")
    pool.shutdown()


def kind(cell: Cell) -> tuple:
    """Return what cells of like duration share."""
    return cell.trained and cell.model, cell.data, cell.of_augmentation


def time_left(waiting: Any, seconds: Mapping[tuple, list[float]], workers: int) -> str:
    """Return the time left, by the mean duration of the finished cells of each kind."""
    known = {key: float(np.mean(each)) for key, each in seconds.items()}
    overall = float(np.mean(list(known.values())))
    left = sum(known.get(kind(cell), overall) for cell in waiting) / workers
    return f"left {left // 3600:.0f}:{left % 3600 // 60:02.0f}:{left % 60:02.0f}"


def quiet_worker(log: str) -> None:
    """Send what a process prints to the log: the terminal belongs to the bar."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)


def compute(cell: Cell, options: Options) -> dict[str, Any]:
    """Return the line of a cell; an error that the user can mend, or a training that diverged, is told in the line."""
    started = time.monotonic()
    try:
        line = Work(cell, options).line()
    except MmganError as error:
        line = {"error": str(error)}
    return {**line, "seconds": round(time.monotonic() - started, 1)}


class Work:
    """One cell's data and what is measured on them."""

    def __init__(self, cell: Cell, options: Options) -> None:
        from mmgan.data.folds import configured_folds, select_fold
        from mmgan.data.synthetic import judging_rows
        from mmgan.run import load_data

        self.cell, self.options = cell, options
        self.cfg = cell.config(options.overrides)
        self.dataset = load_data(self.cfg)
        self.fold = select_fold(configured_folds(self.dataset, self.cfg.data), cell.fold)
        self.train = self.dataset.rows(self.fold.train_indices)
        self.heldout, self.newcomers = judging_rows(self.dataset, self.fold)

    def line(self) -> dict[str, Any]:
        """Return the sizes and the metrics."""
        metrics = self.augmentation() if self.cell.of_augmentation else self.quality()
        kept, left_out = len(self.train[1]), len(self.fold.extra_indices)
        sizes = {"n_train": kept, "n_fold": kept + left_out, "n_val": len(self.fold.val_indices)}
        return {**sizes, "metrics": {key: round(value, 5) for key, value in metrics.items() if ":" not in key}}

    def quality(self) -> dict[str, float]:
        """Return the metrics of as many synthetic rows as there are training rows."""
        rows = FoldRows(self.cell.fold, self.train, self.heldout, self.train, self.newcomers)
        judge, labels = rows.judge(self.options.draws), self.train[1]
        return (judge.real() if self.cell.model == REAL else judge((self.generated(labels), labels)))["metrics"]

    def augmentation(self) -> dict[str, float]:
        """Return what synthetic rows, or as many extra real ones, add to the training rows."""
        judge = Augmentation(self.train, self.newcomers or self.heldout)
        extra = self.dataset.rows(self.fold.extra_indices)
        classes = self.dataset.schema.n_classes
        counts = extra_per_class(*(np.bincount(y, minlength=classes) for y in (self.train[1], extra[1])))
        labels = np.repeat(np.arange(classes), counts)
        if self.cell.model == "class_weights":
            worth = judge.class_weights()
        elif self.cell.model == "mixup":
            worth = judge.mixup(len(labels) or len(self.train[1]))
        elif self.cell.model == REAL:
            rng = np.random.default_rng([self.cell.seed, self.cell.fold])
            chosen = [rng.permutation(np.flatnonzero(extra[1] == k))[:count] for k, count in enumerate(counts)]
            worth = judge.rows((take(extra[0], np.concatenate(chosen)), labels))
        else:
            worth = judge.rows((self.generated(labels), labels))
        return {"baseline": float(np.mean(judge.baseline)), "f1": worth.f1, "gain": worth.gain, "added": len(labels)}

    def generated(self, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Return rows of these classes from a control, or from a model that is trained, or was by an earlier call."""
        cell = self.cell
        if not cell.trained:
            return control_rows(self.train, cell.model, labels, [cell.seed, cell.fold])
        from mmgan.models.checkpoint import load
        from mmgan.run import Run, fit
        from mmgan.run_folder import RunFolder

        path = cell.folder(self.options.runs)
        folder = RunFolder(path)
        self.cfg.resume = not folder.holds_other_than(Run(self.cfg, self.dataset, cell.fold).params())
        if not self.cfg.resume or not folder.read_metrics():
            fit(self.cfg, self.dataset, cell.fold, path)
        return load(folder.best).sample(self.dataset.schema.decode(labels), seed=cell.seed)


if __name__ == "__main__":
    main()

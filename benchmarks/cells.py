"""What the benchmarks share: cells, the models trained for them, lines of results that an interruption leaves whole, one bar.

A cell is one model on one fold of one data set, with one seed and as many training samples as `samples` says. What is computed for it
is a line of a file; lines that are there, of the same settings, are not computed again.
"""

import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes of two threads each get in one another's way

import hydra
import numpy as np
from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmgan.baselines import BASELINES
from mmgan.commands.options import register_options, sentence
from mmgan.data.arrays import LabelledSamples
from mmgan.data.dataset import Dataset
from mmgan.data.files import file_digest
from mmgan.errors import MmganError
from mmgan.evaluation.table import REAL
from mmgan.models.robust_classifier import RobustClassifier
from mmgan.models.synthesizer import Synthesizer
from mmgan.report.quality import FULL, WITHOUT_ROWS

OF_TRAINING = ("batch_size", "steps_per_epoch", "inner_val")  # data options that change no real row and no baseline
OF_BENCHMARKS = {"precision": "32-true", "final": True, "select_length": False}  # other values are told in the settings
CONF = Path(__file__).resolve().parent.parent / "conf"
OptionsT = TypeVar("OptionsT")
KeyT = TypeVar("KeyT", bound=Hashable)
Line = dict[str, Any]


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
        return self.model not in (REAL, *WITHOUT_ROWS, *BASELINES)

    @property
    def of_augmentation(self) -> bool:
        """Whether only the worth to few samples is asked for; it is all there is of what makes no samples."""
        return self.rows != FULL or self.model in WITHOUT_ROWS

    def config(self, overrides: str = "") -> DictConfig:
        """Return the configuration of train.py; `overrides` are more of its options, separated by blanks."""
        words = [f"data={self.data}", f"seed={self.seed}", f"fold={self.fold}", "final=true", "resume=true"]
        words += [f"data.draw={self.draw}"] if self.draw is not None else []
        words += [f"data.imbalance_ratio={self.rows[9:]}"] if self.rows.startswith("imbalance") else []
        words += [f"data.rows_per_class={self.rows}"] if self.rows.isdecimal() else []
        words += [f"model={self.model}"] if self.trained else []
        register_options()
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra.compose("train", [*words, *shlex.split(overrides)])

    def folder(self, runs: str | Path) -> Path:
        """Return where its model is trained."""
        draw = "" if self.draw is None else f"-draw{self.draw}"
        return Path(runs) / f"{self.data}{draw}-{self.rows}-{self.model}-seed{self.seed}" / f"fold{self.fold}"

    def model_of(self, runs: str | Path, overrides: str = "") -> Synthesizer | RobustClassifier:
        """Return the cell's model, trained now, or by an earlier call with the same settings and data."""
        from mmgan.training.run import Run, fit, load_data

        from mmgan.training.checkpoint import load
        from mmgan.training.folder import RunFolder

        cfg = self.config(overrides)
        dataset = load_data(cfg)
        if (stage := self.first_stage(overrides)) is not None:
            stage.model_of(runs, of_data(overrides))
            cfg.first_stage = str(stage.folder(runs))
        folder = RunFolder(self.folder(runs))
        length, done = cfg.trainer.max_epochs, folder.read_metrics().get("max_epochs")
        same = not folder.holds_other_than(Run(cfg, dataset, self.fold).params())
        cfg.resume = same and (done is None or done <= length)
        if not cfg.resume or done != length:
            fit(cfg, dataset, self.fold, folder.path)
        return load(folder.best)

    def first_stage(self, overrides: str = "") -> "Cell | None":
        """Return the cell of the first stage that its model needs, where it needs one and `overrides` give none."""
        cfg = self.config(overrides)
        return replace(self, model="vqgan") if "first_stage" in cfg.model and cfg.first_stage is None else None

    def settings(self, overrides: str = "", **more: Any) -> str:
        """Return a digest of all that decides a cell's result, so that a line of other settings is not taken for it."""
        from mmgan.training.run import load_data

        cfg = self.config(overrides)
        known = {"data": OmegaConf.to_container(cfg.data, resolve=True), **more}
        if "path" in cfg.data.source:
            path = Path(str(cfg.data.source.path))
            known["file"] = file_digest(path) if path.is_file() else load_data(cfg).fingerprint()
        if self.trained:
            own = {"precision": cfg.trainer.precision, "final": cfg.final, "select_length": cfg.select_length}
            known |= {key: value for key, value in own.items() if value != OF_BENCHMARKS[key]}
            model = OmegaConf.to_container(cfg.model, resolve=True)
            model.pop("epochs", None)  # which may be overridden
            known |= {"model": model, "max_epochs": cfg.trainer.max_epochs}
            if (stage := self.first_stage(overrides)) is not None:
                known["first_stage"] = stage.settings(of_data(overrides))
        else:
            known["data"] = {key: value for key, value in known["data"].items() if key not in OF_TRAINING}
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]


def of_data(overrides: str) -> str:
    """Return those options of train.py that a first stage shares with the second: the data's, and which samples are kept back."""
    return shlex.join(word for word in shlex.split(overrides) if word.startswith(("data.", "final=")))


@dataclass
class OptionsOfOneData:
    """What the command lines share that measure one data set, as name=value; several values are separated by commas."""

    data: str = "watch"
    draw: int | None = 0
    folds: str = "1,2,3,4,5"
    seed: int = 0
    workers: int = 1
    overrides: str = ""  # options of train.py for all that is trained, separated by blanks


@dataclass
class OptionsOfOneGenerator(OptionsOfOneData):
    """What the command lines share that measure what one trained generator can do besides."""

    model: str = "vacwgan"
    runs: str = "runs/quality"  # trained models; those of quality.py

    def cells(self) -> list[Cell]:
        """Return a cell for each fold."""
        return [Cell(self.data, self.draw, "full", self.model, int(fold), self.seed) for fold in self.folds.split(",")]


def read_options(kind: type[OptionsT], words: Iterable[str]) -> OptionsT:
    """Return the options of a command line of name=value; ends with a sentence for what is none."""
    names = [field.name for field in fields(kind)]
    for word in words:
        if "=" not in word or word.split("=")[0] not in names:
            sys.exit(f"error: {word}: give name=value, where the name is one of {', '.join(names)}.")
    given = dict(word.split("=", 1) for word in words)
    try:
        options = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), given))
    except OmegaConfBaseException as error:
        sys.exit(f"error: {str(error).splitlines()[0]}.")
    if options.workers < 1:
        sys.exit(f"error: workers={options.workers}: give a number of processes from 1 on.")
    if not all(fold.isdecimal() for fold in str(options.folds).split(",")):
        sys.exit(f"error: folds={options.folds}: give numbers of folds, separated by commas.")
    return options


def check_rows_option(rows: str) -> None:
    """End with a sentence unless each of `samples`, separated by commas, says how many samples of a fold train."""
    for each in rows.split(","):
        if each != FULL and not each.removeprefix("imbalance").isdecimal():
            sys.exit(f"error: rows={each}: give full, a number of samples per class, or imbalance and a ratio.")


def stamped(keys: Iterable[KeyT], settings: Callable[[KeyT], str]) -> dict[KeyT, str]:
    """Return the settings of each key; ends with a sentence for a model, a data set or an override that there is not."""
    try:
        return {key: settings(key) for key in keys}
    except (HydraException, MmganError) as error:
        sys.exit(f"error: {sentence(error) if isinstance(error, HydraException) else error}")


def check_generators(cells: Iterable[Cell], overrides: str) -> None:
    """End with a sentence where the model of a cell is trained but makes no samples."""
    from mmgan.training.run import generates

    if other := [cell.model for cell in cells if cell.trained and not generates(cell.config(overrides))]:
        sys.exit(f"error: model {other[0]} makes no samples that could be judged; another benchmark measures it.")


def check_encoders(cells: Iterable[Cell], overrides: str) -> None:
    """End with a sentence where the model of a cell is no trained generator with an encoder."""
    from mmgan.models.latent import VariationalSynthesizer

    for cell in cells:
        kind = get_class(cell.config(overrides).model._target_) if cell.trained else object
        if not issubclass(kind, VariationalSynthesizer):
            sys.exit(f"error: model={cell.model}: this needs a trained generator with an encoder, vacwgan or vae.")


def labelled_test_samples(dataset: Dataset) -> LabelledSamples:
    """Return the test samples with their classes; raises MmganError where the data have none."""
    if dataset.y_test is None:
        raise MmganError(f"{dataset.source} has no labelled test samples, which this benchmark needs; give other data.")
    return dataset.x_test, dataset.y_test


def completed(
    wanted: Mapping[KeyT, str],
    work: Callable[[KeyT], Line],
    out: Path,
    workers: int,
    *,
    log: Path,
    kind: Callable[[KeyT], Hashable] = lambda key: None,
    facts: Callable[[KeyT], Line] = lambda key: {},
) -> dict[KeyT, Line]:
    """Return a line for each key, {key: its settings}: of `out`, or of `work` in `workers` processes, which is then added to it.

    The keys are dataclasses. `kind` says what takes equally long, for the time left; `facts` are more entries of a line. Ends
    with a sentence where a key failed; the others are kept.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    known = finished(out, wanted)
    missing = [key for key in wanted if key not in known]
    for key, line in computed(missing, work, workers, len(known), log, kind):
        known[key] = {**asdict(key), **facts(key), "settings": wanted[key], **line}
        with out.open("a") as stream:
            stream.write(json.dumps(known[key]) + "\n")
    if failed := [key for key in wanted if "error" in known[key]]:
        sys.exit(f"error: {len(failed)} cells failed, such as {failed[0]}: {known[failed[0]]['error']}")
    return known


def finished(out: Path, wanted: Mapping[KeyT, str]) -> dict[KeyT, Line]:
    """Return the lines of an earlier call for the wanted keys, of the same settings; failed ones are tried again."""
    found = {}
    text = out.read_text() if out.exists() else ""
    if text and not text.endswith("\n"):  # the line at which an earlier call was killed
        text = text[: text.rfind("\n") + 1]
        out.write_text(text)
    for line in map(json.loads, text.splitlines()):
        for kind in {type(key) for key in wanted}:
            names = [field.name for field in fields(kind)]
            key = kind(*(line[name] for name in names)) if set(names) <= line.keys() else None
            if key in wanted and wanted[key] == line["settings"] and "error" not in line:
                found[key] = line
    return found


def computed(
    missing: list[KeyT],
    work: Callable[[KeyT], Line],
    workers: int,
    known: int,
    log: Path,
    kind: Callable[[KeyT], Hashable],
) -> Iterator[tuple[KeyT, Line]]:
    """Yield keys with their lines, as they end, behind one bar with the time left."""
    log.parent.mkdir(parents=True, exist_ok=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=quiet_worker, initargs=(str(log),))
    seconds: dict[Hashable, list[float]] = {}
    with Progress(*columns) as progress:
        task = progress.add_task("cells", total=known + len(missing), completed=known, left="")
        waiting: dict[Future, KeyT] = {pool.submit(timed, work, key): key for key in missing}
        try:
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    key, line = waiting.pop(future), future.result()
                    seconds.setdefault(kind(key), []).append(line["seconds"])
                    progress.update(task, advance=1, left=time_left(map(kind, waiting.values()), seconds, workers))
                    yield key, line
        except (KeyboardInterrupt, BrokenProcessPool):  # the latter: a process was killed, for want of memory say
            pool.shutdown(wait=False, cancel_futures=True)
            sys.exit("interrupted: the same command goes on.")
    pool.shutdown()


def timed(work: Callable[[KeyT], Line], key: KeyT) -> Line:
    """Return a key's line with its seconds; an error that the user can mend, or a training that diverged, is told in the line."""
    started = time.monotonic()
    try:
        line = work(key)
    except MmganError as error:
        line = {"error": str(error)}
    return {**line, "seconds": round(time.monotonic() - started, 1)}


def time_left(waiting: Iterable[Hashable], seconds: Mapping[Hashable, list[float]], workers: int) -> str:
    """Return the time left, by the mean duration of the finished keys of each kind."""
    known = {key: float(np.mean(each)) for key, each in seconds.items()}
    overall = float(np.mean(list(known.values())))
    left = sum(known.get(key, overall) for key in waiting) / workers
    return f"left {left // 3600:.0f}:{left % 3600 // 60:02.0f}:{left % 60:02.0f}"


def latest(out: Path, kind: type[KeyT]) -> list[Line]:
    """Return the lines of a file for keys of this kind; of several for a key, the latest."""
    names = [field.name for field in fields(kind)]
    lines = map(json.loads, out.read_text().splitlines())
    return list({tuple(line[name] for name in names): line for line in lines if "error" not in line}.values())


def quiet_worker(log: str) -> None:
    """Send what a process prints to the log: the terminal belongs to the bar."""
    from mmgan.tuning.workers import end_with_parent

    end_with_parent()
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)


def markdown(rows: list[list[str]]) -> str:
    """Return a table, its head first, whose first column is text and whose others are numbers."""
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---", *["---:"] * (len(head) - 1)], *body])

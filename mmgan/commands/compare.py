"""The job of `python -m mmgan compare`: models, baselines and variants measured cell by cell, and their tables.

A cell is one model on one fold of one data set, with one seed. Each finished cell is a line of `out`; lines of the same settings
are not computed again, so that the same command goes on where it was interrupted.
"""

import json
import os
import pkgutil
import shlex
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mmgan.commands.arguments import CONF, listed, quoted, tell
from mmgan.commands.build import compose
from mmgan.commands.cells import Cell, Work, is_trained
from mmgan.commands.measures import MEASURES, Measure
from mmgan.data.writing import check_writable, replacing
from mmgan.errors import MmganError
from mmgan.report.page import table_text
from mmgan.report.quality import CELL, FULL, data_of, read_lines

Line = dict[str, Any]


def compare(cfg: DictConfig) -> Path:
    """Compute the missing lines in `cfg.workers` processes, write the tables beside them, and return where these are."""
    measure = chosen_measure(cfg)
    out = Path(cfg.out or f"runs/compare/{cfg.measure.split('.')[-1]}-{cfg.data.name}.jsonl")
    cells = asked_cells(cfg, measure)
    if not cfg.report:
        measure.check(cells)
        wanted = {cell: cell.settings(measure=cfg.measure, **measure.options) for cell in cells}
        check_writable(out)
        _complete(wanted, measure, out, cfg)
    page = out.with_suffix(".md")
    with replacing(page) as stream:
        stream.write(tables_page(measure, read_lines(out, cfg.measure), [cell.name for cell in cells]).encode())
    tell(*page.read_text(encoding="utf-8").splitlines(), f"lines:  {out}", f"tables: {page}")
    return page


def chosen_measure(cfg: DictConfig) -> Measure:
    """Return the measure that `cfg.measure` names, one of `MEASURES` or the dotted path of a class."""
    try:
        kind, why = MEASURES.get(cfg.measure) or pkgutil.resolve_name(cfg.measure), "it is no Measure"
    except Exception as error:  # whatever importing it raises
        kind, why = None, " ".join(str(error).split())
    if not (isinstance(kind, type) and issubclass(kind, Measure)):
        raise MmganError(f"measure={cfg.measure}: {why}; give {', '.join(MEASURES)}, or the path of such a class.")
    return kind(cfg)


def asked_cells(cfg: DictConfig, measure: Measure) -> list[Cell]:
    """Return every cell that the options ask for, model by model."""
    rows = [*map(str, listed(cfg.rows or FULL))]
    if wrong := [each for each in rows if each != FULL and not each.removeprefix("imbalance").isdecimal()]:
        raise MmganError(f"rows={wrong[0]}: give full, a number of samples of each class, or imbalance and a ratio.")
    shared = (*data_words(cfg.data), f"threads={cfg.threads}", *shlex.split(cfg.overrides))
    cells = []
    for model in map(str, listed(cfg.models or measure.models)):
        variants = read_variants(cfg.variants) if is_trained(model) else {"": ""}
        for name, overrides in variants.items():
            more = {"words": (*shared, *shlex.split(overrides)), "shared_words": shared, "runs": cfg.runs}
            cells += [
                Cell(cfg.data.name, cfg.data.get("draw"), each, model, name, fold, seed, **more)
                for each in rows
                for seed in range(cfg.seeds)
                for fold in measure.folds
            ]
    return [cell for cell in cells if measure.wants(cell)]


def data_words(data: DictConfig) -> list[str]:
    """Return the overrides that make a data configuration of its file in conf/data/."""
    group = next(
        (
            file.stem
            for file in (CONF / "data").glob("*.yaml")
            if OmegaConf.load(file).source._target_ == data.source._target_
        ),
        data.name,
    )
    usual = compose("compare", [f"data={group}"]).data
    changed = {key: value for key, value in data.items() if not OmegaConf.is_config(value) and value != usual[key]}
    words = {k: quoted(v, literal=True) if isinstance(v, str) else json.dumps(v) for k, v in changed.items()}
    return [f"data={group}", *(f"data.{key}={word}" for key, word in words.items())]


def read_variants(path: str | None) -> dict[str, str]:
    """Return {name: options of train.py} of a YAML file; of None a single one without options."""
    if path is None:
        return {"": ""}
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise MmganError(f"variants={path} cannot be read as YAML; give a file of lines 'name: options'.") from None
    if not isinstance(found, dict) or not found or not all(isinstance(each, str) for each in found.values()):
        raise MmganError(f"variants={path}: give one line 'name: options of train.py' for each, with \"\" for none.")
    return {str(name): options for name, options in found.items()}


def _complete(wanted: Mapping[Cell, str], measure: Measure, out: Path, cfg: DictConfig) -> None:
    """Compute what `out` lacks and append it; raises MmganError where a cell failed, when the others are done."""
    known, failed, log = finished(out, cfg.measure), {}, Path(cfg.runs) / "log.txt"
    for path in (out, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    missing = [cell for cell, settings in wanted.items() if (settings, *_identity(vars(cell)).values()) not in known]
    missing.sort(key=lambda cell: not cell.trained)  # the longest first, so that no process works on alone at the end
    for cell, line in _computed(missing, measure, cfg, log):
        if "error" in line:
            failed[cell] = line["error"]
            continue
        line = {"measure": cfg.measure, **_identity(vars(cell)), "settings": wanted[cell], **line}
        with out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
    if failed:
        cell, error = next(iter(failed.items()))
        raise MmganError(f"{len(failed)} cells failed, such as {cell.name}, fold {cell.fold}: {error} (log: {log})")


def finished(out: Path, measure: str) -> set[tuple]:
    """Return (settings, *identity) of the lines of `out`; a line at which an earlier call was killed is cut off."""
    text = out.read_text(encoding="utf-8") if out.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        os.truncate(out, len(whole.encode()))  # unlike writing it again, this loses nothing where it is killed
    return {(line["settings"], *_identity(line).values()) for line in read_lines(out, measure)} if whole else set()


def _identity(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: line[key] for key in (*CELL, "variant")}


def _computed(cells: list[Cell], measure: Measure, cfg: DictConfig, log: Path) -> Iterator[tuple[Cell, Line]]:
    """Yield cells with their lines, as they end, behind one bar with the time left."""
    columns = (TextColumn("cells"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"))
    pool = ProcessPoolExecutor(cfg.workers, get_context("spawn"), initializer=_quiet_worker, initargs=(str(log),))
    with Progress(*columns, TimeRemainingColumn(), speed_estimate_period=1e9) as progress:
        try:
            jobs = {pool.submit(measured, cell, measure): cell for cell in cells}
            for job in progress.track(as_completed(jobs), len(cells)):
                yield jobs[job], job.result()
        except BrokenProcessPool:
            raise MmganError(
                "a process was killed, for want of memory perhaps; the same command goes on, with fewer workers= if need be."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def measured(cell: Cell, measure: Measure) -> Line:
    """Return a cell's line; an error that the user can mend, or a training that diverged, is told in it."""
    started = time.monotonic()
    try:
        work = Work(cell, measure.options.get("draws", 5))
        metrics = {key: round(float(value), 5) for key, value in measure.metrics(work).items() if ":" not in key}
        line = {"trained": cell.trained, **work.sizes(), "metrics": metrics}
    except MmganError as error:
        line = {"error": str(error)}
    return {**line, "seconds": round(time.monotonic() - started, 1)}


def _quiet_worker(log: str) -> None:
    """Send what a process prints to the log: the terminal belongs to the bar."""
    from mmgan.training.quiet import quiet_lightning
    from mmgan.tuning.workers import end_with_parent

    end_with_parent()
    quiet_lightning()
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)


def tables_page(measure: Measure, lines: list[Line], order: list[str]) -> str:
    """Return the tables of the lines as markdown, a part for each data set; of several draws the first, and all together; rows in this order."""
    parts: dict[str, list[Line]] = {}
    for name in dict.fromkeys(line["data"] for line in lines):
        own = [line for line in lines if line["data"] == name]
        draws = sorted({line["draw"] for line in own if line["draw"] is not None})
        first = [line for line in own if line["draw"] in (None, *draws[:1])]
        parts[data_of(first[0])] = first
        if len(draws) > 1:  # a fold of another draw is another fold
            together = [line | {"fold": len(draws) * line["fold"] + draws.index(line["draw"])} for line in own]
            parts[f"{name}, draws {', '.join(map(str, draws))} together"] = together
    pages = [
        text
        for title, own in parts.items()
        for text in (f"# {title}", *(table_text(table) for table in measure.tables(own, order)))
    ]
    return "\n\n".join(pages) + "\n"

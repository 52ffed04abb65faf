"""The job of evaluate.py: a file of synthetic samples, judged beside real samples and the baselines, and its report."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, cpu_count, delayed
from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as ConsoleTable

from mmgan.baselines import BASELINES
from mmgan.commands.arguments import tell
from mmgan.data import synthetic_file
from mmgan.data.arrays import take
from mmgan.data.files import check_writable
from mmgan.data.trust import build, trusted_names
from mmgan.errors import MmganError
from mmgan.evaluation.evaluator import Evaluator, FoldSamples
from mmgan.evaluation.files import SyntheticFile, judged_file
from mmgan.evaluation.statistics import Interval, shared_by_key
from mmgan.evaluation.table import REAL, baseline_samples, judged_row, mean_over
from mmgan.evaluation.verdict import Verdict, verdict
from mmgan.report.content import Report, Table
from mmgan.report.criteria import criteria_tables, glossary, power_table
from mmgan.report.facts import facts, notes, title
from mmgan.report.figures import Shown, curve_picture, pictures
from mmgan.report.page import write_report
from mmgan.report.quality import curve_of, data_of, read_lines, utility_tables
from mmgan.report.tables import Correction, comparison_table, metric_tables, short_table

QUICK_ROWS = (REAL, "smote")
MOST_SHOWN = 600  # samples of each set in a picture
LEADING = ("Samples", "PCA", "Autocorrelation")  # pictures that people look at first


@dataclass(frozen=True)
class Judged:
    """Every row of the table, {name: {fold: result of Evaluator}}, and `ours`, the name of the file's.

    Folds that are judged together stand under 0.
    """

    rows: dict[str, dict[int, dict[str, Any]]]
    ours: str

    def metrics(self) -> dict[str, dict[int, dict[str, float]]]:
        """Return {row: {fold: metrics}}."""
        return {name: {fold: found["metrics"] for fold, found in folds.items()} for name, folds in self.rows.items()}

    def deviation(self) -> dict[str, float]:
        """Return the standard deviation of the real row's metrics from one pair of halves to another, pooled over folds."""
        found = shared_by_key(fold["deviation"] for fold in self.rows[REAL].values())
        return {key: float(np.sqrt(np.mean(np.square(values)))) for key, values in found.items()}

    def missing_classes(self) -> list[int]:
        """Return the classes that have no synthetic samples in some fold."""
        return sorted({label for found in self.rows[self.ours].values() for label in found["missing_classes"]})

    def verdict(self, correction: Correction, class_names: tuple[str, ...]) -> Verdict:
        """Return the verdict on the file."""
        metrics = self.metrics()
        ours, real = (mean_over(metrics[name].values()) for name in (self.ours, REAL))
        gain, of_real = (_gain(metrics[name].values(), correction) for name in (self.ours, REAL))
        n = min(found["n"] for found in self.rows[self.ours].values())
        return verdict(ours, real, self.deviation(), gain, n, self.missing_classes(), class_names, of_real)


def _gain(judged: Iterable[Mapping[str, float]], correction: Correction) -> Interval | None:
    """Return the interval over folds of what samples add to real ones; None where it was not measured."""
    gains = [value for found in judged for key, value in found.items() if key.startswith("gain/")]
    return correction.interval(gains) if gains else None


def judge_file(cfg: DictConfig) -> Path:
    """Judge the file that `cfg.synthetic` names, write the report, and return its folder; raises MmganError for bad input."""
    if OmegaConf.is_missing(cfg, "synthetic") or cfg.synthetic is None:
        raise MmganError("give synthetic=FILE: a file that synthesize.py wrote, or a dict with x_synth and y_synth.")
    file = read_judged(cfg)
    folder = Path(cfg.out_dir) if cfg.out_dir else file.path.with_name(f"{file.path.stem}-report")
    curve = _curve_lines(cfg.curve, file.data_name) if cfg.curve else []
    file.check()
    check_writable(folder / "report.html")
    judged = Judged(_judge_all(file, cfg), file.name)
    sizes, class_names = Correction(file.n_fold, file.n_val), file.dataset.schema.class_names
    found = judged.verdict(sizes, class_names)
    n = [each["n"] for each in judged.rows[file.name].values()]
    said = facts(file, n, 1 if cfg.quick else cfg.draws, cfg.seed)
    main, every = criteria_tables(found.answers)
    drawn = pictures(_shown(file, cfg), file.name)
    report = Report(
        title=title(file),
        verdict=list(found.answers),
        findings=list(found.findings),
        facts=said,
        leading=[main, *(picture for picture in drawn if picture.section in LEADING)],
        tables=[*_tables(judged, sizes, class_names), *utility_tables(curve)],
        pictures=[
            *(picture for picture in drawn if picture.section not in LEADING),
            *([curve_picture(curve_of(curve))] if curve else []),
        ],
        notes=notes(file),
        appendix=[every, *power_table(min(n)), glossary()],
        data={"verdict": found.as_dict(), "rows": judged.rows, "facts": said},
    )
    write_report(report, folder)
    if file.learnt:
        tell(file.learnt)
    _print(found, short_table(judged.metrics(), judged.ours), folder)
    return folder


def read_judged(cfg: DictConfig) -> SyntheticFile:
    """Return the file that `cfg.synthetic` names with its real samples: those that `cfg.data` names, or the file itself."""
    content = synthetic_file.read(str(cfg.synthetic))
    if cfg.data is None:
        dataset, options = synthetic_file.named_data(content, trusted_names(cfg.trust))
    else:
        options = OmegaConf.to_container(cfg.data, resolve=True)
        dataset = build(options["source"])
    return judged_file(content, dataset, options, cfg.fold)


def _judge_all(file: SyntheticFile, cfg: DictConfig) -> dict[str, dict[int, dict[str, Any]]]:
    """Judge every row of every fold's table, in `workers` processes behind one bar."""
    names = QUICK_ROWS if cfg.quick else (REAL, *BASELINES)
    jobs = [(folds, name) for folds in file.judged_together for name in (*names, file.name)]
    workers = cfg.workers or cpu_count()
    options = {"draws": cfg.draws, "seed": cfg.seed, "quick": cfg.quick, "ordered": file.ordered}
    run = Parallel(n_jobs=min(workers, len(jobs)), return_as="generator_unordered")
    results: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in (*names, file.name)}
    for name, fold, found in _with_bar(run(delayed(_judged)(*job, options) for job in jobs), len(jobs)):
        results[name][fold] = found
    return {name: dict(sorted(folds.items())) for name, folds in results.items()}


def _judged(folds: list[FoldSamples], name: str, options: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
    return name, folds[0].fold if len(folds) == 1 else 0, judged_row(folds, name, **options)


def _with_bar(results: Iterator[Any], total: int) -> Iterator[Any]:
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(elapsed_when_finished=False)) as progress:
        task = progress.add_task("judging", total=total)
        for result in results:
            progress.advance(task)
            yield result


def _tables(judged: Judged, sizes: Correction, class_names: tuple[str, ...]) -> list[Table]:
    metrics = judged.metrics()
    compared = comparison_table(metrics, judged.ours, sizes)
    first, *others = metric_tables(metrics, sizes, judged.ours, class_names)
    return [first, *([compared] if compared else []), *others]


def _shown(file: SyntheticFile, cfg: DictConfig) -> Shown:
    """Return what the pictures show: of the folds that are judged together first, equal numbers of held-out and synthetic samples."""
    folds, rng = file.judged_together[0], np.random.default_rng(cfg.seed)
    judge = Evaluator(folds, seed=cfg.seed, quick=True, ordered=file.ordered)
    shown = [_some(fold, MOST_SHOWN // len(folds) + 1, rng) for fold in folds]
    distances = {REAL: judge.distances([fold.heldout for fold in shown])}
    for name in QUICK_ROWS[1:] if cfg.quick else BASELINES:
        labels = [rng.permutation(fold.train[1])[: len(fold.heldout[1])] for fold in shown]
        drawn = [
            (baseline_samples(fold.train, name, y, [cfg.seed, fold.fold]), y)
            for fold, y in zip(folds, labels, strict=True)
        ]
        distances[name] = judge.distances(drawn)
    return Shown(
        folds=shown,
        class_names=file.dataset.schema.class_names,
        distances={**distances, file.name: judge.distances([fold.synthetic for fold in shown])},
        confusions={
            "trained on real samples": judge.confusion(synthetic=False),
            "trained on synthetic samples": judge.confusion(synthetic=True),
        },
        ordered=file.ordered,
    )


def _some(fold: FoldSamples, most: int, rng: np.random.Generator) -> FoldSamples:
    """Return a fold with as many held-out as synthetic samples, at most so many."""
    most, found = min(most, len(fold.heldout[1]), len(fold.synthetic[1])), {}
    for kind in ("heldout", "synthetic"):
        x, y = getattr(fold, kind)
        chosen = np.sort(rng.permutation(len(y))[:most])
        found[kind] = take(x, chosen), np.asarray(y)[chosen]
    return replace(fold, **found)


def _curve_lines(path: str, data_name: str) -> list[dict[str, Any]]:
    lines = [line for line in read_lines(path, "utility") if data_of(line) == data_name]
    if not lines:
        raise MmganError(f"{path} has no lines of {data_name}; give a result of the data that the file was made from.")
    return lines


def _print(found: Verdict, table: Table, folder: Path) -> None:
    console = Console()
    shown = ConsoleTable(title=table.title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in table.columns:
        shown.add_column(column, justify="right" if column else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*map(escape, row), style="bold" if row[0] == table.marked else None)
    console.print(shown)
    for line in found.answers:
        console.print(f"[bold]{line.question}: {line.answer}[/]  {line.reason}", highlight=False)
    for sentence in found.findings:
        console.print(f"- {sentence}", highlight=False, markup=False)
    tell(f"report: {folder / 'report.html'}")

"""The judgement of a file of synthetic samples, or of samples in memory: every row of the table, the verdict, and the report."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from joblib import Parallel, cpu_count, delayed
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mmgan.baselines import BASELINES
from mmgan.data.arrays import take
from mmgan.evaluation.evaluator import Evaluator, FoldSamples
from mmgan.evaluation.files import SyntheticFile
from mmgan.evaluation.statistics import Interval, shared_by_key
from mmgan.evaluation.table import REAL, baseline_samples, judged_row, mean_over
from mmgan.evaluation.verdict import Verdict, verdict
from mmgan.report.content import Report, Table
from mmgan.report.criteria import criteria_tables, glossary, power_table
from mmgan.report.facts import facts, notes, title
from mmgan.report.figures import Shown, curve_picture, pictures
from mmgan.report.quality import curve_of, utility_tables
from mmgan.report.tables import Correction, comparison_table, metric_tables, short_table

QUICK_ROWS = (REAL, "smote")
MOST_SHOWN = 600  # samples of each set in a picture
LEADING = ("Samples", "PCA", "Autocorrelation")  # pictures that people look at first


@dataclass(frozen=True)
class Options:
    """How samples are judged: `draws` random choices of those that are compared; `quick` leaves out most baselines and the gain.

    `workers` processes share the work (None: one per core), behind a bar if there is `progress`.
    """

    draws: int = 5
    seed: int = 0
    quick: bool = False
    workers: int | None = None
    progress: bool = True

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows of the table beside the judged samples'."""
        return QUICK_ROWS if self.quick else (REAL, *BASELINES)


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

    def means(self) -> dict[str, dict[str, float]]:
        """Return {row: metrics}, the means over folds."""
        return {name: mean_over(folds.values()) for name, folds in self.metrics().items()}

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
        means = self.means()
        gain, of_real = (_gain(metrics[name].values(), correction) for name in (self.ours, REAL))
        n = min(found["n"] for found in self.rows[self.ours].values())
        figures = means[self.ours], means[REAL], self.deviation()
        return verdict(*figures, gain, n, self.missing_classes(), class_names, of_real)


def _gain(judged: Iterable[Mapping[str, float]], correction: Correction) -> Interval | None:
    """Return the interval over folds of what samples add to real ones; None where it was not measured."""
    gains = [value for found in judged for key, value in found.items() if key.startswith("gain/")]
    return correction.interval(gains) if gains else None


@dataclass(frozen=True)
class Judgement:
    """What a judgement says: every row, the verdict, a short table for a terminal, and the report."""

    judged: Judged
    verdict: Verdict
    short: Table
    report: Report


def judge(file: SyntheticFile, options: Options, curve: Sequence[Mapping[str, Any]] = ()) -> Judgement:
    """Judge a file's samples beside real samples and the baselines; `curve` are lines of `compare`, which the report shows too.

    Raises MmganError for samples that cannot be judged.
    """
    file.check()
    judged = Judged(_judge_all(file, options), file.name)
    sizes, class_names = Correction(file.n_fold, file.n_val), file.dataset.schema.class_names
    found = judged.verdict(sizes, class_names)
    n = [each["n"] for each in judged.rows[file.name].values()]
    said = facts(file, n, 1 if options.quick else options.draws, options.seed)
    main, every = criteria_tables(found.answers)
    drawn = pictures(_shown(file, options), file.name)
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
    return Judgement(judged, found, short_table(judged.metrics(), judged.ours), report)


def _judge_all(file: SyntheticFile, options: Options) -> dict[str, dict[int, dict[str, Any]]]:
    """Judge every row of every fold's table, in `workers` processes behind one bar."""
    names = options.rows
    jobs = [(folds, name) for folds in file.judged_together for name in (*names, file.name)]
    workers = options.workers or cpu_count()
    own = {"draws": options.draws, "seed": options.seed, "quick": options.quick, "ordered": file.ordered}
    run = Parallel(n_jobs=min(workers, len(jobs)), return_as="generator_unordered")
    results: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in (*names, file.name)}
    done = run(delayed(_judged)(*job, own) for job in jobs)
    for name, fold, found in _with_bar(done, len(jobs)) if options.progress else done:
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


def _shown(file: SyntheticFile, options: Options) -> Shown:
    """Return what the pictures show: of the folds that are judged together first, equal numbers of held-out and synthetic samples."""
    folds, rng = file.judged_together[0], np.random.default_rng(options.seed)
    judge = Evaluator(folds, seed=options.seed, quick=True, ordered=file.ordered)
    shown = [_some(fold, MOST_SHOWN // len(folds) + 1, rng) for fold in folds]
    distances = {REAL: judge.distances([fold.heldout for fold in shown])}
    for name in options.rows[1:]:
        labels = [rng.permutation(fold.train[1])[: len(fold.heldout[1])] for fold in shown]
        drawn = [
            (baseline_samples(fold.train, name, y, [options.seed, fold.fold]), y)
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

"""Synthetic samples in memory, judged as evaluate.py judges a file."""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgan.api.inputs import dataset_from, pair, samples_from
from mmgan.data.dataset import Dataset
from mmgan.data.writing import replacing
from mmgan.errors import MmganError
from mmgan.evaluation.evaluator import FoldSamples
from mmgan.evaluation.files import SyntheticFile
from mmgan.report.judgement import Judgement, Options, judge
from mmgan.report.page import page, table_text

if TYPE_CHECKING:
    import pandas

HELDOUT = "samples that the generator has not seen"


class Report:
    """What `mmgan.evaluate` says: `print` it, show it in a notebook, or save the whole page.

    Attributes
    ----------
    verdict
        {"faithful", "new", "useful": "yes", "no" or "too few samples to tell"}.
    reasons
        The same questions, with the reason for each answer.
    findings
        What is wrong with the samples, a sentence each.
    """

    def __init__(self, judgement: Judgement):
        self._judgement = judgement
        answers = judgement.verdict.answers
        self.verdict: dict[str, str] = {each.question: each.answer for each in answers}
        self.reasons: dict[str, str] = {each.question: each.reason for each in answers}
        self.findings: tuple[str, ...] = judgement.verdict.findings

    def to_frame(self) -> "pandas.DataFrame":
        """Return the figures: a row for real samples, each baseline and the synthetic samples, a column for each metric; means over folds."""
        import pandas

        means = self._judgement.judged.means()
        return pandas.DataFrame({name: {k: v for k, v in row.items() if ":" not in k} for name, row in means.items()}).T

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the whole report, tables and pictures, as one HTML file; return its path. Raises MmganError if it cannot be written."""
        if Path(path).suffix not in (".html", ".htm"):
            raise MmganError(f"{path}: the report is a page; give a name that ends with .html.")
        with replacing(path) as stream:
            stream.write(page(self._judgement.report).encode())
        return Path(path)

    def __str__(self) -> str:
        answers = [f"{question}: {answer} ({self.reasons[question]})" for question, answer in self.verdict.items()]
        return "\n".join([table_text(self._judgement.short), "", *answers, *(f"- {each}" for each in self.findings)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        short = self._judgement.short
        lines = [[escape(cell) for cell in row] for row in (short.columns, *short.rows)]
        head, *body = ["<tr><td>" + "</td><td>".join(line) + "</td></tr>" for line in lines]
        answers = [
            f"<p><b>{escape(question)}: {escape(answer)}</b> {escape(self.reasons[question])}</p>"
            for question, answer in self.verdict.items()
        ]
        findings = "".join(f"<li>{escape(each)}</li>" for each in self.findings)
        table = f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
        return "".join([*answers, f"<ul>{findings}</ul>" if findings else "", table])


def evaluate(
    train: Any,
    heldout: Any,
    synthetic: Any,
    *,
    name: str = "synthetic",
    class_names: Sequence[str] | None = None,
    ordered: Sequence[str] = (),
    quick: bool = False,
    draws: int = 5,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Judge synthetic samples beside real ones that their generator has not seen: are they faithful, new and useful?

    Each of `train`, `heldout` and `synthetic` is a pair (x, y) as `mmgan.fit` takes it, or a list of pairs, one for each fold of a
    cross-validation; what the samples add to the training samples has an interval only over folds. Raises MmganError for samples that
    cannot be judged.

    Parameters
    ----------
    train
        The samples that the generator was trained on.
    heldout
        Real samples that it has not seen.
    synthetic
        What it has drawn.
    name
        What tables call the synthetic samples.
    class_names
        A name for each label, in their order.
    ordered
        Vectors whose values have an order, as signals and images always have.
    quick
        Of the baselines SMOTE alone, one draw, and not what the samples add to the training samples.
    draws
        Random choices of the samples that are compared.
    seed
        Seed of these choices.
    workers
        Processes that share the work; None: one per core.
    progress
        Whether a bar is shown.
    """
    sets = [_listed(each) for each in (train, heldout, synthetic)]
    if len({len(each) for each in sets}) > 1:
        raise MmganError(
            "train, heldout and synthetic differ in their number of folds; give a pair (x, y) for each fold in all of them."
        )
    first = dataset_from(*pair(sets[0][0], "training"), class_names=class_names)
    if unknown := sorted(set(ordered) - set(first.schema.modalities)):
        raise MmganError(
            f"ordered: the samples have no modality {unknown[0]}; give some of {', '.join(first.schema.modalities)}."
        )
    folds = [_fold(number, first, *each) for number, each in enumerate(zip(*sets, strict=True), start=len(sets[0]) > 1)]
    file = SyntheticFile(
        path=Path("mmgan.evaluate"),
        name=name,
        dataset=first,
        data_name="the samples given",
        folds=folds,
        has_folds=len(folds) > 1,
        heldout=HELDOUT,
        n_fold=len(folds[0].train[1]),
        n_val=len(folds[0].heldout[1]),
        grouped=False,
        ordered=list(ordered),
        training=[{} for _ in folds],
    )
    return Report(judge(file, Options(draws, seed, quick, workers, progress)))


def _listed(samples: Any) -> list[Any]:
    return samples if isinstance(samples, list) else [samples]


def _fold(number: int, dataset: Dataset, train: Any, heldout: Any, synthetic: Any) -> FoldSamples:
    train, heldout, synthetic = (
        samples_from(samples, dataset.schema, kind)
        for samples, kind in ((train, "training"), (heldout, "held-out"), (synthetic, "synthetic"))
    )
    return FoldSamples(number, train, heldout, synthetic)

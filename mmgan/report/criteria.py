"""What the verdict rests on, and what its metrics are, as tables."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from mmgan.evaluation.metrics import METRICS, metric_of, number
from mmgan.evaluation.power import power
from mmgan.evaluation.verdict import Answer, Criterion
from mmgan.report.content import Table
from mmgan.report.tables import heading, meaning

CRITERIA_NOTE = (
    "Joint figures; the last column names the modalities and classes that fail. Where real samples differ by more than a limit from one"
    " another by chance, that much is allowed. All figures stand in the table All criteria."
)


def criteria_tables(answers: Sequence[Answer]) -> tuple[Table, Table]:
    """Return the figures that the verdict rests on: a line for each metric, and every one of them.

    A metric's line has the figure of all modalities together, or that of the class that fails first.
    """
    folded, all_of_them, meanings = [], [], {}
    for answer in answers:
        for name, group in groupby(answer.criteria, key=lambda criterion: metric_of(criterion.key).name):
            ordered = sorted(group, key=lambda criterion: (bool(criterion.part), -criterion.excess))
            first, failed = ordered[0], [criterion for criterion in ordered if not criterion.met]
            parts = [f"{each.part} {number(each.value)}" for each in failed if each.part and each is not first]
            more = [f"and {len(parts) - 3} more"] if len(parts) > 4 else parts[3:]
            met = "no" if failed else "yes"
            label = heading(name) + (f" ({first.part})" if first.part else "")
            folded.append([label, met, *_figures(first), answer.question, ", ".join(parts[:3] + more)])
            meanings[label] = meaning(name)
            for each in ordered:
                label = f"{heading(name)} {each.part}".strip()
                all_of_them.append([label, "yes" if each.met else "no", *_figures(each), answer.question])
    columns = ["criterion", "met", "figure", "real samples", "limit", "question"]
    return (
        Table("Criteria", [*columns, "parts that fail"], folded, CRITERIA_NOTE, meanings=meanings),
        Table("All criteria", columns, all_of_them),
    )


def _figures(criterion: Criterion) -> list[str]:
    low, high = (number(end) for end in (criterion.low, criterion.high))
    limit = f"{low} to {high}"
    if criterion.low <= 0:  # which no metric but MMD is below, and that has no lower limit
        limit = f"at most {high}" if np.isfinite(criterion.high) else "any"
    elif not np.isfinite(criterion.high):
        limit = f"at least {low}"
    return [number(criterion.value), number(criterion.real), limit]


def glossary() -> Table:
    """Return the table of all metrics, as their declarations have it."""
    better = {"max": "high", "min": "low", "target": "neither"}
    rows = [
        [heading(m.name), m.name, m.family, m.meaning, better[m.direction], m.good, m.source] for m in METRICS.values()
    ]
    columns = ["metric", "in report.json", "family", "what it is", "better", "good is", "source"]
    return Table("What the metrics are", columns, rows)


def power_table(n: int) -> list[Table]:
    """Return the table of how often the verdict tells what is wrong with `n` samples; none where that was not measured."""
    found = {question: power(question, n) for question in ("faithful", "new")}
    kinds = dict.fromkeys(kind for shares in found.values() for kind in shares)
    rows = [[kind, *(f"{shares[kind]:.0%}" if kind in shares else "" for shares in found.values())] for kind in kinds]
    note = (
        "Share of such sets that get a no, measured on the data set watch: other data may be easier or harder to judge."
    )
    return [Table(f"What {n} samples can tell", ["fault", *found], rows, note)] if rows else []

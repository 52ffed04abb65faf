"""What synthetic samples are worth to the robust classifier: macro-F1 on test samples with and without them, by what made them.

For each fold a generator sees the fold's training samples, `samples` of them of each class, and four samples are made for each; the classifier trains
on both. `more real samples` has the rest of the fold in their place: the ceiling. Each finished training is a line of `out`;
the same command goes on where it was stopped.

    python benchmarks/classifier_gain.py data=watch workers=2
"""

import sys
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from cells import (
    Cell,
    Line,
    OptionsOfOneData,
    check_generators,
    check_rows_option,
    completed,
    labelled_test_samples,
    markdown,
    read_options,
    stamped,
)

from mmgan.evaluation.classifiers import macro_f1
from mmgan.evaluation.statistics import interval

ALONE, CEILING = "real samples alone", "more real samples"
PER_ROW = 4


@dataclass
class Options(OptionsOfOneData):
    """The command line."""

    rows: str = "10,full"
    models: str = "vacwgan,smote,jitter"
    out: str = "runs/classifier_gain/classifier_gain.jsonl"
    runs: str = "runs/quality"  # trained generators; those of quality.py
    of_classifier: str = ""  # more of them for the classifier


@dataclass(frozen=True)
class Helped(Cell):
    """A cell of the classifier with the source of the samples beside the real ones."""

    source: str


def main() -> None:
    """Do the missing cells in `workers` processes, and print the table."""
    options = read_options(Options, sys.argv[1:])
    check_rows_option(options.rows)
    keys = [
        Helped(options.data, options.draw, rows, "robust_classifier", int(fold), options.seed, source)
        for source in [*options.models.split(","), ALONE]
        for rows in options.rows.split(",")
        for fold in options.folds.split(",")
    ]
    wanted = stamped(
        keys, lambda key: key.settings(of_classifier(options), of=of_source(key, options.overrides), per_row=PER_ROW)
    )
    check_generators([generator(key) for key in keys if key.source != ALONE], options.overrides)
    work = partial(measured, options=options)
    log = Path("runs/classifier_gain/log.txt")
    known = completed(wanted, work, Path(options.out), options.workers, log=log, kind=kind)
    print(table(list(known.values())))


def of_classifier(options: Options) -> str:
    """Return the options of train.py for the classifier."""
    return f"{options.overrides} {options.of_classifier}"


def of_source(key: Helped, overrides: str) -> str | None:
    """Return the settings of the generator."""
    return None if key.source == ALONE else generator(key).settings(overrides)


def generator(key: Helped) -> Cell:
    """Return the cell of the generator that helps."""
    return Cell(key.data, key.draw, key.rows, key.source, key.fold, key.seed)


def kind(key: Helped) -> Hashable:
    """Return what cells of like duration share."""
    return key.source


def measured(key: Helped, options: Options) -> Line:
    """Return the macro-F1 of a classifier on all test samples."""
    from mmgan.training.run import load_data

    from mmgan.data.files import write_pickle
    from mmgan.data.folds import configured_folds, select_fold
    from mmgan.evaluation.table import baseline_samples

    overrides = of_classifier(options)
    cfg = key.config(overrides)
    dataset = load_data(cfg)
    x, y = labelled_test_samples(dataset)
    fold = select_fold(configured_folds(dataset, cfg.data), key.fold)
    kept = len(fold.train_indices)
    sizes = {"n_train": kept, "n_fold": kept + len(fold.extra_indices), "n_val": len(fold.val_indices)}
    where = Path("runs/classifier_gain") / key.source.replace(" ", "_")
    if key.source != ALONE:
        train, cell = dataset.samples(fold.train_indices), generator(key)
        labels = np.repeat(train[1], PER_ROW)
        if cell.trained:
            rows = cell.model_of(options.runs, options.overrides).sample(dataset.schema.decode(labels), seed=key.seed)
        else:
            rows = baseline_samples(train, key.source, labels, [key.seed, key.fold])
        path = where / f"{key.data}-draw{key.draw}-{key.rows}-fold{key.fold}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        entry = {"fold": key.fold, "x_synth": rows, "y_synth": dataset.schema.decode(labels)}
        write_pickle(path, {"folds": [entry | {"train_indices": fold.train_indices}]})
        overrides = f"{overrides} data.synthetic={path}"
    model = key.model_of(where, overrides)
    return sizes | {"f1": round(macro_f1(y, model.predict_probabilities(x).argmax(1)), 5)}


def table(lines: list[Line]) -> str:
    """Return F1 of real samples alone, and gains over it in points with their intervals, as Markdown."""
    f1 = {(line["source"], line["rows"], line["fold"]): line["f1"] for line in lines}
    counts = list(dict.fromkeys(line["rows"] for line in lines))
    sources = list(dict.fromkeys(line["source"] for line in lines if line["source"] != ALONE))
    if "full" in counts and len(counts) > 1:
        sources.append(CEILING)
        f1 |= {(CEILING, rows, fold): f1[ALONE, "full", fold] for source, rows, fold in list(f1) if source == ALONE}
    body = [["", *[f"{rows} per class" if rows.isdecimal() else rows for rows in counts]]]
    means = [
        np.mean([value for (source, of, _), value in f1.items() if (source, of) == (ALONE, rows)]) for rows in counts
    ]
    body.append([f"{ALONE}, F1", *[f"{mean:.3f}" for mean in means]])
    for source in sources:
        shown = []
        for rows in counts:
            own = [line for line in lines if (line["source"], line["rows"]) == (ALONE, rows)]
            gains = [100 * (f1[source, rows, line["fold"]] - f1[ALONE, rows, line["fold"]]) for line in own]
            found = interval(gains, own[0]["n_fold"], own[0]["n_val"])
            shown.append(
                "" if (source, rows) == (CEILING, "full") else f"{found.mean:+.1f} ± {found.high - found.mean:.1f}"
            )
        body.append([source, *shown])
    return markdown(body)


if __name__ == "__main__":
    main()

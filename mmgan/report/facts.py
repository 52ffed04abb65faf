"""What a report says beside its figures: which file, which samples, how long its generators were trained, and how to read it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmgan.evaluation.evaluator import FoldSamples, distinct
from mmgan.evaluation.files import VAL, SyntheticFile
from mmgan.evaluation.table import BASELINE_DRAWS


def title(file: SyntheticFile) -> str:
    """Return the file, the model, the data, and over how many folds and training seeds the figures are."""
    seeds = {each.get("seed") for each in file.training}
    folds = _count(len(file.folds), "fold") if file.has_folds else "no folds"
    trained = "training seed not known" if None in seeds else _count(len(seeds), "training seed")
    return f"{file.path.name}: {file.name} on {file.data_name} ({folds}, {trained})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


def facts(file: SyntheticFile, n: Sequence[int], draws: int, seed: int) -> dict[str, str]:
    """Return the facts of a judgement of `n` samples in each table, with so many draws and this seed."""
    sizes = {kind: [len(getattr(fold, kind)[1]) for fold in file.folds] for kind in ("train", "heldout", "synthetic")}
    beside = f", of baselines at most {BASELINE_DRAWS}" if draws > BASELINE_DRAWS else ""
    return {
        "file": str(file.path),
        "data": file.data_name,
        "folds": ", ".join(str(fold.fold) for fold in file.folds) if file.has_folds else "none: all training samples",
        "training": _listed([_training(each) for each in file.training], "; "),
        "training samples": _listed(sizes["train"]),
        **({"unlabelled samples": file.learnt} if file.learnt else {}),
        "held-out samples": f"{file.heldout}, {_listed(sizes['heldout'])}",
        "synthetic samples": _listed(sizes["synthetic"]),
        "samples compared": f"{_listed(n)} of either kind, in every row of the table",
        "draws": f"{_count(draws, 'random choice')} of the compared samples{beside}",
        "seed": str(seed),
        "pictures": f"of fold {_listed([fold.fold for fold in file.judged_together[0]])}"
        if file.has_folds
        else "of all samples",
    }


def _listed(found: Sequence[Any], comma: str = ", ") -> str:
    """Return the words for each fold, or once where they are alike for several."""
    words = list(map(str, found))
    return f"{words[0]} each" if len(words) > 1 and len(set(words)) == 1 else comma.join(words)


def _training(entry: Mapping[str, int]) -> str:
    """Say how long a generator was trained and from which seed, as far as its file knows."""
    epochs, seed = entry.get("epochs"), entry.get("seed")
    length = "length not known" if epochs is None else _count(epochs, "epoch") if epochs else "none, a classical model"
    ended = ", unfinished: the training had not ended" if entry.get("unfinished") else ""
    return f"{length}, seed {'not known' if seed is None else seed}{ended}"


def notes(file: SyntheticFile) -> list[str]:
    """Return what a reader of the figures has to know."""
    found = [
        "The row `real` puts real samples that nobody has seen in the place of the synthetic ones: no generator can be asked for more.",
        "Faithful and new ask that every one of their criteria is met, useful for a gain whose 95 % interval lies above 0.",
        "The gain is that of adding as many synthetic samples to the training samples as are compared, not the whole file.",
        "Near-copies are memorisation; that there are none says nothing of privacy.",
    ]
    if len(file.judged_together) < len(file.folds):
        found.append(
            "Each fold has few held-out samples, so all folds are judged together, each fold's samples by its own training samples."
        )
    if repeated := sum(distinct(fold)[1] for fold in file.folds):
        found.append(
            f"{repeated} held-out samples equal a training sample or each other. They do not judge, unless more than half of them do so, as "
            "integers may: no copy can be told there."
        )
    if any(_share_difference(fold) > 0.1 for fold in file.folds):
        found.append(
            "The synthetic samples have other class shares than the training samples. That counts against them: to judge the generator, draw "
            "as many samples of each class as there are training samples (ratio=1)."
        )
    if file.grouped and file.heldout == VAL:
        found.append(
            "The folds keep groups apart, and the only unseen samples are of groups that the generator never saw: even a perfect generator "
            "of the training groups is far from those. Judge fidelity and novelty on a stratified split."
        )
    elif file.folds[0].unseen_groups is not None:
        found.append(
            "Utility is judged on samples of groups that the generator never saw, all else on unseen samples of the groups that it was "
            "trained on."
        )
    return found


def _share_difference(fold: FoldSamples) -> float:
    """Return the total variation between the class shares of training and synthetic samples."""
    classes = np.unique(fold.train[1])
    train, synthetic = ([np.mean(np.asarray(y) == k) for k in classes] for y in (fold.train[1], fold.synthetic[1]))
    return float(np.abs(np.subtract(train, synthetic)).sum() / 2)

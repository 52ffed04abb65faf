"""Checkpoints to one file of synthetic labelled samples that plain numpy reads."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from mmgan.commands.arguments import command_line, listed, print_table, tell, trust_option
from mmgan.data import synthetic_file
from mmgan.data.arrays import LabelledSamples, check_memory, take
from mmgan.data.dataset import Dataset
from mmgan.data.folds import Fold, configured_fold
from mmgan.data.recordings.waveforms import waveforms_of, write_waveforms
from mmgan.data.trust import build_source, trusted_names
from mmgan.data.writing import check_writable
from mmgan.errors import MmganError
from mmgan.evaluation.gain import synthetic_of_a_class
from mmgan.evaluation.metrics import number
from mmgan.evaluation.novelty import LeaveOneOut
from mmgan.models.synthesizer import Synthesizer
from mmgan.schema import Arrays
from mmgan.training.checkpoint import load
from mmgan.training.folder import RunFolder, fold_folders

LEAST_NOVELTY = 0.5  # of samples that are written without being asked for as copies
MAX_JUDGED = 2000  # training samples, and drawn ones, that say how new these are


def synthesize(cfg: DictConfig) -> Path:
    """Write the samples that `cfg` asks for and return the file; raises MmganError for anything the user can mend."""
    torch.set_num_threads(cfg.threads)
    if OmegaConf.is_missing(cfg, "ckpt") or cfg.ckpt is None:
        raise MmganError("give ckpt=... on the command line: a best.ckpt, or a folder that train.py or tune.py wrote.")
    checkpoints = find_checkpoints(cfg.ckpt)
    if not checkpoints:
        raise MmganError("ckpt=[] names no checkpoint; give a best.ckpt, or a folder of trained folds.")
    alone = isinstance(cfg.ckpt, str) and len(checkpoints) == 1
    home = checkpoints[0].parent if alone else checkpoints[0].parent.parent
    out = Path(cfg.out or home / "synthetic.pkl")
    synthetic_file.check_name(out)
    check_writable(out)
    unfinished = [path for path in checkpoints if path.name == "best.ckpt" and RunFolder(path.parent).is_unfinished()]
    if unfinished and not cfg.unfinished:
        raise MmganError(
            f"{unfinished[0]}: its training has not ended; go on with it ({command_line('train')} ... resume=true), or take it as it is"
            " with unfinished=true."
        )
    trust = trusted_names(cfg.trust)
    found = [(load(path, trust=trust), path) for path in checkpoints]
    if other := [path for model, path in found if not hasattr(model, "sample")]:
        raise MmganError(f"{other[0]}: this model makes no samples; give the checkpoint of a generator.")
    found.sort(key=lambda pair: pair[0].recipe["fold"])
    folds = [model.recipe["fold"] for model, _ in found]
    if len(set(folds)) < len(folds):
        raise MmganError(f"ckpt: two of the checkpoints are of one fold ({folds}); give one per fold.")
    dataset = _common_data(found, cfg.data.path, trust)
    if out.exists() and os.path.exists(dataset.source) and os.path.samefile(out, dataset.source):
        raise MmganError(f"out={out}: this is the file of the data, which would be lost; give another name.")
    waveforms = None if cfg.format is None else waveforms_of(dataset.passthrough.get("recordings"), dataset.source)
    entries = [_fold_entry(model, path, dataset, cfg) for model, path in found]
    synthetic_file.write(out, synthetic_file.file_content(dataset, entries, _recipe(found[0][0].recipe, cfg.data.path)))
    files = out.with_name(f"{out.stem}-{cfg.format}")
    if waveforms is not None:
        count = write_waveforms(files, entries, waveforms, cfg.format)
    rows = [
        [entry["fold"] or "none", entry["model"], len(entry["y_synth"]), len(np.unique(entry["y_synth"]))]
        for entry in entries
    ]
    print_table("synthetic samples", ["fold", "model", "samples", "classes"], [map(str, row) for row in rows])
    if unfinished:
        tell(f"unfinished: the training of {', '.join(map(str, unfinished))} has not ended, and the file says so.")
    if learnt := synthetic_file.learnt_from(entries):
        tell(learnt)
    if waveforms is not None:
        tell(f"{cfg.format}:    {files}, {count} files, listed in samples.csv")
    which = f", fold={folds[0]}" if folds[0] else ""
    tell(f"file:   {out}")
    if folds[0]:  # else no sample is left to judge by
        tell(f"judge:  {command_line('evaluate', f'synthetic={out}', *trust_option(trust))}")
    tell(f"next:   mmgan.load_augmented({str(out)!r}{which}) in Python")
    return out


def find_checkpoints(where: Any) -> list[Path]:
    """Return the checkpoint files of a file, a run's folder, a folder of folds, or a list of these."""
    if (several := listed(where)) != [where]:
        return [path for item in several for path in find_checkpoints(item)]
    path = Path(str(where))
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise MmganError(
            f"ckpt={path}: there is no such file or folder; give a best.ckpt, or a folder of trained folds."
        )
    folders = [path] if (path / "best.ckpt").exists() else fold_folders(path) or [path / "whole"]
    found = [folder / "best.ckpt" for folder in folders if (folder / "best.ckpt").exists()]
    if not found:
        raise MmganError(
            f"ckpt={path}: no best.ckpt there, nor in a fold<k>/ under it; train first ({command_line('train')})."
        )
    return found


def wanted_labels(y: np.ndarray, n_classes: int, cfg: DictConfig, least: int = 0) -> np.ndarray:
    """Return the class indices to draw, sorted, int64: as `ratio`, `n_per_class` or `balance` ask, given training labels.

    Where none of them is given, as many as there are training samples, and at least so many of each class.
    """
    counts = np.bincount(y, minlength=n_classes)
    if cfg.n_per_class is not None:
        wanted = np.full(n_classes, cfg.n_per_class)
    elif cfg.balance:
        wanted = counts.max() - counts
    elif cfg.ratio is None:
        wanted = np.maximum(counts, least)
    else:
        wanted = np.rint(cfg.ratio * counts)
    if (wanted < 0).any() or not wanted.any():
        raise MmganError(
            f"ratio={cfg.ratio}, n_per_class={cfg.n_per_class}, balance={cfg.balance} ask for no samples;"
            " give a positive ratio or n_per_class (balanced classes need no filling up)."
        )
    check_memory(int(wanted.sum()), {})
    return np.repeat(np.arange(n_classes), wanted.astype(int))


def _common_data(found: Sequence[tuple[Synthesizer, Path]], moved_to: str | None, trust: Sequence[str]) -> Dataset:
    """Load the data that all the checkpoints were trained on; raises MmganError if theirs differ, or the data changed."""
    (model, checkpoint), *others = found
    first = model.recipe
    for other, path in others:
        if other.recipe["fingerprint"] != first["fingerprint"]:
            raise MmganError(f"{path}: this checkpoint was trained on other data than {checkpoint}; export them apart.")
    source = dict(first["data"]["source"])
    if moved_to is not None:
        if "path" not in source:
            raise MmganError(f"data.path={moved_to}: these checkpoints' data come from no file; leave the option out.")
        source["path"] = moved_to
    dataset = build_source(source, checkpoint, trust=trust)
    if dataset.fingerprint() != first["fingerprint"]:
        raise MmganError(
            f"{dataset.source}: {checkpoint} was trained on other data; give the file it was trained on (data.path=)."
        )
    return dataset


def _recipe(recipe: Mapping[str, Any], moved_to: str | None) -> Mapping[str, Any]:
    """Return a recipe with the place where its data are now."""
    if moved_to is None:
        return recipe
    data = recipe["data"] | {"source": recipe["data"]["source"] | {"path": moved_to}}
    return recipe | {"data": data | ({"path": moved_to} if "path" in data else {})}


def _fold_entry(model: Synthesizer, path: Path, dataset: Dataset, cfg: DictConfig) -> dict[str, Any]:
    fold = configured_fold(dataset, model.recipe["data"], model.recipe["fold"])
    metrics = RunFolder(path.parent).read_metrics()
    learnt = model.recipe.get("unlabelled")
    least = synthetic_of_a_class(learnt["number"], model.schema.n_classes) if learnt else 0
    labels = wanted_labels(dataset.y_train[fold.train_indices], dataset.schema.n_classes, cfg, least)
    drawn = _samples(model, fold, dataset, labels, cfg)
    if model.model.needs_training and cfg.given is None and not cfg.copies:
        _check_new((drawn, labels), dataset.samples(fold.train_indices), path)
    return synthetic_file.fold_entry(
        fold,
        (drawn, np.array(dataset.schema.decode(labels))),
        model.recipe,
        scores=metrics.get("scores", {}),
        seed=cfg.seed,
        epochs=metrics.get("epochs"),
        unfinished=path.name == "best.ckpt" and RunFolder(path.parent).is_unfinished(),
        given=None if cfg.given is None else [*map(str, listed(cfg.given))],
    )


def _check_new(drawn: LabelledSamples, train: LabelledSamples, path: Path) -> None:
    """Raise MmganError where most of the samples that a trained generator drew are near-copies of its training samples."""
    train, drawn = (_some(*each) for each in (train, drawn))
    if len(train[1]) > 1 and (novelty := LeaveOneOut(*train)(*drawn)) < LEAST_NOVELTY:
        raise MmganError(
            f"{path}: its samples lie at {number(novelty)} of the distance to training samples that unseen ones have, as near-copies do;"
            " train again for fewer epochs (trainer.max_epochs=) or with final=true, or give copies=true to write them nevertheless."
        )


def _some(x: Arrays, y: np.ndarray) -> LabelledSamples:
    chosen = np.random.default_rng(0).permutation(len(y))[:MAX_JUDGED]
    return take(x, chosen), y[chosen]


def _samples(model: Synthesizer, fold: Fold, dataset: Dataset, labels: np.ndarray, cfg: DictConfig) -> dict[str, Any]:
    """Return a synthetic sample for each class index, with `given=` the named modalities of training samples, in turn."""
    wanted = dataset.schema.decode(labels)
    if cfg.given is None:
        return model.sample(wanted, seed=cfg.seed, sampling=cfg.sampling)
    names = [*map(str, listed(cfg.given))]
    if unknown := [name for name in names if name not in dataset.x_train]:
        raise MmganError(f"given={unknown[0]}: the data have {', '.join(dataset.x_train)}.")
    y = dataset.y_train[fold.train_indices]
    turns = [np.resize(fold.train_indices[y == k], n) for k, n in enumerate(np.bincount(labels))]  # labels are sorted
    given = {name: dataset.x_train[name][np.concatenate(turns)] for name in names}
    return model.complete(given, wanted, seed=cfg.seed, sampling=cfg.sampling)

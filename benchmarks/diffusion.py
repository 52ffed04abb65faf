"""What a diffusion model's solver, where it begins, and its length of training do: quality by steps and by noise, and near-copies by epochs.

`of=steps`: samples of trained models with 5 to 50 steps, judged as quality.py does, with the time for them over that with the model's own number. `of=near`: the same for samples
that begin at training samples with noise up to `model.sampler.near`, and (1) at noise. `of=residual`: for samples of `ldm` with more or less of what its first stage drops. `of=copies`: a long training with an inner split; every few epochs the held-out error, which chooses
the checkpoint, and how near samples come to training samples.

    python benchmarks/diffusion.py of=steps data=watch workers=2
    python benchmarks/diffusion.py of=near data=watch workers=2
    python benchmarks/diffusion.py of=copies data=watch draw=1 folds=1 picture=copies.png
"""

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cells import (
    Cell,
    Line,
    OptionsOfOneGenerator,
    completed,
    labelled_test_samples,
    markdown,
    of_data,
    read_options,
    stamped,
)
from matplotlib.figure import Figure

from mmgan.data.arrays import LabelledSamples
from mmgan.errors import MmganError
from mmgan.evaluation.features import FeatureSpace, nearest
from mmgan.evaluation.novelty import novelty
from mmgan.evaluation.statistics import interval
from mmgan.evaluation.table import FoldSamples, derived
from mmgan.plots.samples import MUTED, REAL, SYNTHETIC

SETTINGS = {"steps": (5, 10, 20, 50), "near": (0.5, 0.6, 0.7, 0.8, 0.9, 1.0), "residual": (0.0, 0.5, 1.0)}
COLUMNS = {
    "TSTR / TRTR": "tstr_ratio",
    "coverage / real": "coverage_ratio",
    "C2ST": "c2st",
    "recall": "recall",
    "novelty 50 %": "novelty50",
    "close": "close",
}


@dataclass
class Options(OptionsOfOneGenerator):
    """The command line."""

    model: str = "diffusion"
    of: str = "steps"
    epochs: int = 60  # of=copies: length of the training
    every: int = 3  # of=copies: epochs between two looks
    out: str = ""  # default: runs/diffusion/<of>.jsonl
    picture: str = ""  # of=copies: where its picture goes


def main() -> None:
    """Measure the missing folds in `workers` processes, and print the table."""
    options = read_options(Options, sys.argv[1:])
    if options.of not in (*SETTINGS, "copies"):
        sys.exit(f"error: of={options.of}: give steps, near, residual or copies.")
    more = {"of": options.of} | ({"epochs": options.epochs, "every": options.every} if options.of == "copies" else {})
    wanted = stamped(options.cells(), lambda cell: cell.settings(options.overrides, **more))
    work = partial(by_setting if options.of in SETTINGS else by_epochs, options=options)
    out = Path(options.out or f"runs/diffusion/{options.of}.jsonl")
    lines = list(completed(wanted, work, out, options.workers, log=Path("runs/diffusion/log.txt")).values())
    print(settings_table(lines, options.of) if options.of in SETTINGS else copies_table(lines))
    if options.picture and options.of == "copies":
        copies_picture(lines[0]).savefig(options.picture, dpi=110)


def by_setting(cell: Cell, options: Options) -> Line:
    """Return the metrics of samples by the value of a setting of the sampler, and the seconds that they took over those of the model as it is."""
    from mmgan.training.run import load_data

    from mmgan.data.folds import configured_folds, select_fold
    from mmgan.evaluation.files import judging_samples

    cfg = cell.config(options.overrides)
    dataset = load_data(cfg)
    fold = select_fold(configured_folds(dataset, cfg.data), cell.fold)
    model, train = diffusion_of(cell, options), dataset.samples(fold.train_indices)
    heldout, unseen_groups = judging_samples(dataset, fold)
    judge = FoldSamples(cell.fold, train, heldout, train, unseen_groups).judge()
    real, metrics = judge.real()["metrics"], {}
    labels = dataset.schema.decode(train[1])
    model.sample(labels[:1])  # what only a first call pays for
    _, usual = timed_sample(model, labels, cell.seed)
    for value in SETTINGS[options.of]:
        if options.of == "near":
            model.use_sampling("prior" if value == 1 else "posterior")
        setattr(model, options.of, value)
        model.calibrate(train[1])  # the marginal map of samples that are drawn so
        rows, seconds = timed_sample(model, labels, cell.seed)
        found = derived(judge((rows, train[1]))["metrics"], real)
        metrics |= {f"{key}@{value}": round(found[key], 5) for key in COLUMNS.values()}
        metrics[f"time@{value}"] = round(seconds / usual, 3)
    return {"n_train": len(train[1]), "n_val": len(fold.val_indices), "metrics": metrics}


def timed_sample(model: Any, labels: Any, seed: int) -> tuple[dict[str, np.ndarray], float]:
    """Return samples for `labels`, and the processor's seconds for them."""
    started = time.process_time()
    rows = model.sample(labels, seed=seed)
    return rows, time.process_time() - started


def by_epochs(cell: Cell, options: Options) -> Line:
    """Return the held-out error and the novelty of samples, epoch by epoch, of a training with an inner split."""
    import lightning as L
    from mmgan.training.run import Run, load_data

    from mmgan.training.folder import RunFolder

    cfg = cell.config(f"{options.overrides} final=false resume=false")
    if (stage := cell.first_stage(options.overrides)) is not None:  # of the same inner split
        stage.model_of(f"{options.runs}-inner", f"{of_data(options.overrides)} final=false")
        cfg.first_stage = str(stage.folder(f"{options.runs}-inner"))
    dataset = load_data(cfg)
    test, looks = labelled_test_samples(dataset), []

    class Look(L.Callback):
        def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            epoch, data = trainer.current_epoch + 1, trainer.datamodule
            if epoch % options.every == 0:
                error = float(trainer.callback_metrics[pl_module.monitor])
                looks.append(
                    {"epoch": epoch, "error": error} | nearness(pl_module, data.samples(data.training_indices), test)
                )

    folder = RunFolder(cell.folder(f"{options.runs}-copies"))
    folder.make()
    Run(cfg, dataset, cell.fold).train_trial(folder, options.epochs, lambda monitor: Look())
    columns = {key: [round(look[key], 5) for look in looks] for key in looks[0]}
    return {"metrics": columns}


def diffusion_of(cell: Cell, options: Options) -> Any:
    """Return the cell's model; raises MmganError if it is no diffusion."""
    from mmgan.models.diffusion import Diffusion

    model = cell.model_of(options.runs, options.overrides)
    if not isinstance(model, Diffusion):
        raise MmganError(f"model={cell.model} has no solver; give diffusion or ldm.")
    if options.of == "residual" and not hasattr(model, "residual"):
        raise MmganError(f"model={cell.model} has no first stage that could drop anything; give model=ldm.")
    return model


def nearness(model: Any, train: LabelledSamples, heldout: LabelledSamples) -> dict[str, float]:
    """Return `novelty` of as many samples as there are training samples."""
    space = FeatureSpace(train[0])
    samples = model.sample(model.schema.decode(train[1]))
    reference, held_out, drawn = (space.flat(x) for x in (train[0], heldout[0], samples))
    return novelty(nearest(reference, held_out)[:, 0], nearest(reference, drawn)[:, 0])


def settings_table(lines: list[Line], of: str) -> str:
    """Return means over folds with their intervals as Markdown, a row for each value of the setting."""
    rows = [[of, *COLUMNS, "time"]]
    for value in SETTINGS[of]:
        shown = []
        for key in COLUMNS.values():
            found = interval(
                [line["metrics"][f"{key}@{value}"] for line in lines], lines[0]["n_train"], lines[0]["n_val"]
            )
            shown.append(f"{found.mean:.3f}" + (f" ± {found.high - found.mean:.3f}" if len(lines) > 1 else ""))
        times = [line["metrics"][f"time@{value}"] for line in lines]
        rows.append([str(value), *shown, f"{np.median(times):.1f}"])
    return markdown(rows)


def copies_table(lines: list[Line]) -> str:
    """Return, for each fold, the epoch of the least held-out error and what samples are like then and at the end."""
    rows = [
        [
            "data, fold",
            "epoch chosen",
            "near-copies then",
            "novelty 50 % then",
            "last epoch",
            "near-copies",
            "novelty 50 %",
        ]
    ]
    for line in lines:
        looks = line["metrics"]
        best = int(np.argmin(looks["error"]))
        shown = [
            [f"{looks['epoch'][k]}", f"{looks['close'][k]:.3f}", f"{looks['novelty50'][k]:.2f}"] for k in (best, -1)
        ]
        rows.append([f"{line['data']}, {line['fold']}", *shown[0], *shown[1]])
    return markdown(rows)


def copies_picture(line: Line) -> Figure:
    """Draw held-out error and near-copies over the epochs of one fold."""
    looks = line["metrics"]
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    left.plot(looks["epoch"], looks["error"], color=REAL, label="held-out error")
    right.plot(looks["epoch"], looks["close"], color=SYNTHETIC, label="near-copies")
    right.axhline(0.01, color=MUTED, lw=0.8, ls=":", label="near-copies among unseen real samples")
    left.axvline(looks["epoch"][int(np.argmin(looks["error"]))], color=MUTED, lw=0.8, label="epoch chosen")
    left.set_xlabel("epoch")
    left.set_ylabel("held-out denoising error")
    right.set_ylabel("share of near-copies")
    right.set_ylim(bottom=0)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    return figure


if __name__ == "__main__":
    main()

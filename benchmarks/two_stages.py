"""Models of two stages: what the first rebuilds, with its critic and without, and what the second draws.

`of=rebuilt`: test images rebuilt by `vqgan`, by itself without its critic, and without critic and perceptual term: peak signal-to-noise ratio, use of the codebook, and the energy by
spatial frequency over that of the images themselves. `of=drawn`: images drawn by `ldm` and `diffusion`, judged as quality.py does, but in the features that a first stage's
classifier learnt from the training images; beside them other real images, and copies. `of=limit`: samples that `vqgan` rebuilds of its own training samples, judged as quality.py does: no second
stage on it can be expected to draw better ones.

    python benchmarks/two_stages.py of=rebuilt data=micro_doppler workers=2 picture=spectrum.png
    python benchmarks/two_stages.py of=drawn data=micro_doppler workers=2
    python benchmarks/two_stages.py of=limit data=watch folds=1,2,3,4,5
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cells import (
    Cell,
    Line,
    OptionsOfOneData,
    completed,
    labelled_test_samples,
    markdown,
    of_data,
    read_options,
    stamped,
)
from matplotlib.figure import Figure

from mmgan.data.arrays import LabelledSamples
from mmgan.evaluation.reconstruction import scores
from mmgan.evaluation.statistics import interval
from mmgan.evaluation.table import REAL, FoldSamples, baseline_samples, derived
from mmgan.plots.samples import MUTED

VARIANTS = {
    "vqgan": "",
    "without the critic": "model.training.adversarial_start=1000",
    "without critic and perceptual term": "model.training.adversarial_start=1000 model.weights.autoencoder.perceptual=0",
}
REBUILT = {
    "PSNR": "psnr",
    "perplexity": "perplexity",
    "codes used": "used",
    "low": "low",
    "middle": "middle",
    "high": "high",
}
DRAWN = {
    "TSTR": "tstr",
    "TSTR / TRTR": "tstr_ratio",
    "coverage": "coverage",
    "C2ST": "c2st",
    "novelty 50 %": "novelty50",
    "close": "close",
}
LIMIT = {"TSTR / TRTR": "tstr_ratio", "coverage / real": "coverage_ratio", "C2ST": "c2st"}
BANDS = {"low": (0, 1 / 6), "middle": (1 / 6, 1 / 3), "high": (1 / 3, 1 / 2)}  # cycles per pixel
BINS = 24


@dataclass
class Options(OptionsOfOneData):
    """The command line."""

    data: str = "micro_doppler"
    folds: str = "1"
    of: str = "rebuilt"
    models: str = "real,duplicate,diffusion,ldm"  # of=drawn
    draws: int = 5  # of=limit
    runs: str = "runs/quality"  # trained models; those of quality.py
    out: str = ""  # default: runs/two_stages/<of>.jsonl
    picture: str = ""  # of=rebuilt: where its picture goes


@dataclass(frozen=True)
class Variant(Cell):
    """A first stage with something left out."""

    variant: str

    def overrides(self, of_all: str) -> str:
        """Return the options of train.py that make it, behind those of all variants."""
        return f"{of_all} {VARIANTS[self.variant]}"

    def folder(self, runs: str | Path) -> Path:
        """Return where it is trained."""
        return super().folder(runs if self.variant == "vqgan" else f"{runs}-{self.variant.replace(' ', '_')}")


def main() -> None:
    """Measure what is missing in `workers` processes, and print the table."""
    options = read_options(Options, sys.argv[1:])
    if options.of not in ("rebuilt", "drawn", "limit"):
        sys.exit(f"error: of={options.of}: give rebuilt, drawn or limit.")
    out, log = Path(options.out or f"runs/two_stages/{options.of}.jsonl"), Path("runs/two_stages/log.txt")
    folds = [int(fold) for fold in options.folds.split(",")]
    if options.of == "rebuilt":
        keys = [
            Variant(options.data, options.draw, "full", "vqgan", f, options.seed, v) for v in VARIANTS for f in folds
        ]
        wanted = stamped(keys, lambda key: key.settings(key.overrides(options.overrides)))
        lines = list(completed(wanted, partial(rebuilt, options=options), out, options.workers, log=log).values())
        print(rebuilt_table(lines))
        if options.picture:
            spectrum_picture(lines).savefig(options.picture, dpi=110)
        return
    if options.of == "limit":
        stages = [Cell(options.data, options.draw, "full", "vqgan", f, options.seed) for f in folds]
        wanted = stamped(stages, lambda cell: cell.settings(options.overrides, draws=options.draws))
        lines = list(completed(wanted, partial(limit, options=options), out, options.workers, log=log).values())
        print(judged_table(lines, LIMIT))
        return
    cells = [
        Cell(options.data, options.draw, "full", m, f, options.seed) for m in options.models.split(",") for f in folds
    ]
    wanted = stamped(cells, lambda cell: cell.settings(options.overrides, features=features_of(cell, options)))
    lines = list(completed(wanted, partial(drawn, options=options), out, options.workers, log=log).values())
    print(judged_table(lines, DRAWN))


def rebuilt(key: Variant, options: Options) -> Line:
    """Return how test images come out of a first stage."""
    from mmgan.training.run import load_data

    overrides = key.overrides(options.overrides)
    x, _ = labelled_test_samples(load_data(key.config(overrides)))
    model = key.model_of(options.runs, overrides)
    again, codes = model.reconstruct(x)
    found = scores(x, again, codes, model.quantizers.size)
    true, ours = (spectrum(images["image"]) for images in (x, again))
    frequencies = (np.arange(BINS) + 0.5) / BINS / 2
    for band, (low, high) in BANDS.items():
        inside = (frequencies >= low) & (frequencies < high)
        found[band] = float(ours[inside].sum() / true[inside].sum())
    metrics = {name: round(float(value), 4) for name, value in found.items()}
    return {"metrics": metrics | {"spectrum": [round(float(v), 5) for v in ours / true]}}


def spectrum(images: np.ndarray) -> np.ndarray:
    """Return the mean energy of images (n, C, H, W) in BINS rings of spatial frequency, from 0 to half a cycle per pixel."""
    centred = images - images.mean((2, 3), keepdims=True)
    energy = (np.abs(np.fft.fft2(centred)) ** 2).mean((0, 1))
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in images.shape[2:]), indexing="ij"))
    ring = np.minimum((radius * 2 * BINS).astype(int), BINS)  # the corners, beyond half a cycle, are left out
    return np.bincount(ring.ravel(), energy.ravel(), BINS + 1)[:BINS]


def first_stage(cell: Cell, options: Options) -> Any:
    """Return the first stage of a cell's fold, in whose features images are judged."""
    return replace(cell, model="vqgan").model_of(options.runs, of_data(options.overrides))


def features_of(cell: Cell, options: Options) -> str:
    """Return the settings of that first stage."""
    return replace(cell, model="vqgan").settings(of_data(options.overrides))


def drawn(cell: Cell, options: Options) -> Line:
    """Return the metrics of drawn images in the features of the fold's first stage."""
    from mmgan.training.run import load_data

    from mmgan.data.folds import configured_folds, select_fold

    cfg = cell.config(options.overrides)
    dataset = load_data(cfg)
    fold = select_fold(configured_folds(dataset, cfg.data), cell.fold)
    stage = first_stage(cell, options)
    train, heldout = dataset.samples(fold.train_indices), labelled_test_samples(dataset)
    seen = in_features(stage, train)
    judge = FoldSamples(cell.fold, seen, in_features(stage, heldout), seen).judge()
    real = judge.real()["metrics"]
    if cell.model == REAL:
        metrics = real
    else:
        if cell.trained:
            x = cell.model_of(options.runs, options.overrides).sample(dataset.schema.decode(train[1]), seed=cell.seed)
        else:
            x = baseline_samples(train, cell.model, train[1], [cell.seed, cell.fold])
        metrics = judge(in_features(stage, (x, train[1])))["metrics"]
    found = derived(metrics, real)
    sizes = {"n_train": len(train[1]), "n_val": len(fold.val_indices)}
    return {**sizes, "metrics": {key: round(float(found[key]), 5) for key in DRAWN.values()}}


def limit(cell: Cell, options: Options) -> Line:
    """Return the metrics of a first stage's own training samples as it rebuilds them."""
    from mmgan.training.run import load_data

    from mmgan.data.folds import configured_folds, select_fold
    from mmgan.evaluation.files import judging_samples

    cfg = cell.config(options.overrides)
    dataset = load_data(cfg)
    fold = select_fold(configured_folds(dataset, cfg.data), cell.fold)
    x, y = dataset.samples(fold.train_indices)
    heldout, unseen_groups = judging_samples(dataset, fold)
    judge = FoldSamples(cell.fold, (x, y), heldout, (x, y), unseen_groups).judge(options.draws)
    rebuilt, _ = cell.model_of(options.runs, options.overrides).reconstruct(x)
    found = derived(judge((rebuilt, y))["metrics"], judge.real()["metrics"])
    sizes = {"n_train": len(y), "n_val": len(fold.val_indices)}
    return {**sizes, "metrics": {key: round(float(found[key]), 5) for key in LIMIT.values()}}


def in_features(stage: Any, rows: LabelledSamples) -> LabelledSamples:
    """Return images as the means of their feature maps, modality `features`, (n, channels of all maps)."""
    import torch

    x, y = rows
    parts = []
    with stage.evaluating():
        for start in range(0, len(y), 64):
            scaled = stage.scaler({name: stage.tensor(value[start : start + 64]) for name, value in x.items()})
            maps = [h.flatten(2).mean(2) for each in stage.classifier.features(scaled).values() for h in each]
            parts.append(torch.cat(maps, dim=1).numpy())
    return {"features": np.concatenate(parts)}, y


def rebuilt_table(lines: list[Line]) -> str:
    """Return means over folds as Markdown, a row for each variant."""
    rows = [["", *REBUILT]]
    for name in dict.fromkeys(line["variant"] for line in lines):
        own = [line["metrics"] for line in lines if line["variant"] == name]
        means = {key: np.mean([m[key] for m in own]) for key in REBUILT.values() if key in own[0]}
        rows.append([name, *(f"{means[key]:.2f}" if key in means else "" for key in REBUILT.values())])
    return markdown(rows)


def judged_table(lines: list[Line], columns: dict[str, str]) -> str:
    """Return means over folds with their intervals as Markdown, a row for each model."""
    rows = [["", *columns]]
    for name in dict.fromkeys(line["model"] for line in lines):
        own = [line for line in lines if line["model"] == name]
        shown = []
        for key in columns.values():
            found = interval([line["metrics"][key] for line in own], own[0]["n_train"], own[0]["n_val"])
            shown.append(f"{found.mean:.3f}" + (f" ± {found.high - found.mean:.3f}" if len(own) > 1 else ""))
        rows.append([name, *shown])
    return markdown(rows)


def spectrum_picture(lines: list[Line]) -> Figure:
    """Draw the energy of rebuilt images over that of the images themselves, by spatial frequency."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    frequencies = (np.arange(BINS) + 0.5) / BINS / 2
    for name in dict.fromkeys(line["variant"] for line in lines):
        curves = [line["metrics"]["spectrum"] for line in lines if line["variant"] == name]
        axis.plot(frequencies, np.mean(curves, axis=0), lw=1.2, label=name)
    axis.axhline(1, color=MUTED, lw=0.8, ls=":")
    axis.set_xlabel("cycles per pixel")
    axis.set_ylabel("energy, rebuilt over true")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()

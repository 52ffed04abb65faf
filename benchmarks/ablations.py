"""What each part of the VACWGAN is worth: the default with one thing changed, trained and judged on one fold.

Each finished variant is a line of `out`; the same command again does the missing ones. Draw 1 by default: draw 0 is for final
tables. The columns are those of `benchmarks/quality.py`, means over the folds.

    python benchmarks/ablations.py data=watch workers=2
    python benchmarks/ablations.py data=bearing 'variants=default,two critic steps'
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cells import Cell, Line, OptionsOfOneData, completed, markdown, read_options, stamped
from quality import Options as OfQuality
from quality import measured

from mmgan.evaluation.table import REAL, derived
from mmgan.report.tables import MAIN

VARIANTS = {
    "default": "",
    # scaling, and what is done after sampling
    "scaled to mean and deviation": "model/scaler=standard",
    "no marginal map": "model.n_calibration_samples=0",
    "z from a Gaussian per class": "model.sampling=density",
    "z from the prior": "model.sampling=prior",
    "no moving average": "model.training.ema_decay=0",
    # the game
    "R3GAN": "model/adversarial=r3gan",
    "no adversarial term": "model.weights.generator.adversarial=0",
    "two critic steps": "model.training.critic_steps=2",
    "no augmentation": "model.augmentation.noise=0 model.augmentation.erase=0",
    "instance noise alone": "model.augmentation.erase=0",
    "class concatenated": "model.networks.critic.conditioning=concatenation",
    "class both ways": "model.networks.critic.conditioning=both",
    "critic normalised": "model.networks.critic.norm=true",
    # the variational half
    "KL weight .05": "model.weights.generator.kl=0.05",
    "KL weight .07": "model.weights.generator.kl=0.07",
    "KL weight .2": "model.weights.generator.kl=0.2",
    "likelihood weight 3": "model.weights.generator.reconstruction=3",
    "no class loss": "model.weights.generator.classification=0",
    "no feature matching": "model.weights.generator.feature_matching=0",
    # how E joins the modalities
    "E: gated uncertainty": "model/fusion=gated_uncertainty",
    "E: product of experts": "model/fusion=product_of_experts",
    "E: proxy attention": "model/fusion=proxy_attention",
    # size and length
    "16 latent dimensions": "model.latent_dim=16",
    "generator half as wide": "model.networks.generator.width=128",
    "generator of one block": "model.networks.generator.depth=1",
    "half the length": "trainer.max_epochs=6",
    "twice the length": "trainer.max_epochs=24",
}
COLUMNS = MAIN | {
    "recall": "recall",
    "spread": "spread",
    "spec to env": "retrieval/spec_to_env",
    "env to spec": "retrieval/env_to_spec",
    "autocorr.": "signal_autocorrelation",
}


@dataclass
class Options(OptionsOfOneData):
    """The command line."""

    draw: int | None = 1
    folds: str = "1"
    variants: str = ",".join(VARIANTS)
    draws: int = 2  # of the judge's forests
    out: str = "runs/ablations/ablations.jsonl"


@dataclass(frozen=True)
class Variant(Cell):
    """A cell of the VACWGAN with one thing changed; `real` for the real row."""

    variant: str

    def overrides(self, of_all: str) -> str:
        """Return the options of train.py that change it, behind those of all variants."""
        return f"{of_all} {VARIANTS.get(self.variant, '')}"

    @property
    def runs(self) -> str:
        """Where it is trained."""
        return f"runs/ablations/{self.variant.replace(' ', '_').replace(':', '')}"


def main() -> None:
    """Do the missing variants in `workers` processes, and print the table of all that were asked for."""
    options = read_options(Options, sys.argv[1:])
    names = options.variants.split(",")
    if unknown := [name for name in names if name not in VARIANTS]:
        sys.exit(f"error: {unknown[0]}: there is no such variant; variants are {', '.join(VARIANTS)}.")
    data, draw, seed = options.data, options.draw, options.seed
    keys = [
        Variant(data, draw, "full", REAL if name == REAL else "vacwgan", int(fold), seed, name)
        for fold in options.folds.split(",")
        for name in [REAL, *names]
    ]
    wanted = stamped(keys, lambda key: key.settings(key.overrides(options.overrides), draws=options.draws))
    work = partial(measured_variant, options=options)
    known = completed(wanted, work, Path(options.out), options.workers, log=Path("runs/ablations/log.txt"))
    print(table(list(known.values())))


def measured_variant(key: Variant, options: Options) -> Line:
    """Return the sizes and the metrics of a variant."""
    overrides = key.overrides(options.overrides)
    return measured(key, OfQuality(overrides=overrides, draws=options.draws, runs=key.runs))


def table(lines: list[Line]) -> str:
    """Return the variants' means over folds as a Markdown table, in the order of `VARIANTS`."""
    names = [name for name in (REAL, *VARIANTS) if any(line["variant"] == name for line in lines)]
    real = {line["fold"]: line["metrics"] for line in lines if line["variant"] == REAL}
    rows = [["", *COLUMNS]]
    for name in names:
        own = [derived(line["metrics"], real[line["fold"]]) for line in lines if line["variant"] == name]
        rows.append([name, *[f"{sum(each[key] for each in own) / len(own):.3f}" for key in COLUMNS.values()]])
    return markdown(rows)


if __name__ == "__main__":
    main()

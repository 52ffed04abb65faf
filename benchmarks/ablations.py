"""What each part of the VACWGAN is worth: the default with one thing changed, trained and judged on one fold.

Each finished variant is a line of `out`; the same command again does the missing ones. Draw 1 by default: draw 0 is for final
tables. The columns are those of `benchmarks/quality.py`.

    python benchmarks/ablations.py data=watch workers=2
    python benchmarks/ablations.py data=bearing 'variants=default,two critic steps'
"""

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes of two threads each get in one another's way

from quality import Cell, Options, compute, quiet_worker, settings

from mmgan.evaluation.table import REAL, derived
from mmgan.report.tables import MAIN

CONVOLUTIONS = " ".join(
    f"model.networks.{player}.branch.stages=2" for player in ("encoder", "generator", "critic", "classifier")
)
VARIANTS = {
    "default": "",
    # scaling, and what is done after sampling
    "scaled to mean and deviation": "model/scaler=standard",
    "scaled to minimum and maximum": "model/scaler=minmax model.augmentation.noise=0 model.augmentation.erase=0",
    "no marginal map": "model.calibration_rows=0",
    "z from a Gaussian per class": "model.sampling=density",
    "z from the prior": "model.sampling=prior",
    "no moving average": "model.training.ema_decay=0",
    "longer moving average": "model.training.ema_decay=0.9995",
    # the game
    "R3GAN": "model/adversarial=r3gan",
    "no adversarial term": "model.weights.generator.adversarial=0",
    "adversarial weight .3": "model.weights.generator.adversarial=0.3",
    "two critic steps": "model.training.critic_steps=2",
    "four critic steps": "model.training.critic_steps=4",
    "gradient penalty 1": "model.weights.critic.gradient_penalty=1",
    "no augmentation": "model.augmentation.noise=0 model.augmentation.erase=0",
    "instance noise alone": "model.augmentation.erase=0",
    "class concatenated": "model.networks.critic.conditioning=concatenation",
    "class projected and concatenated": "model.networks.critic.conditioning=both",
    "critic with layer norm": "model.networks.critic.norm=true",
    # the variational half
    "reconstruction weight 1": "model.weights.generator.reconstruction=1",
    "reconstruction weight 30": "model.weights.generator.reconstruction=30",
    "KL weight .03": "model.weights.generator.kl=0.03",
    "KL weight .3": "model.weights.generator.kl=0.3",
    "no class loss": "model.weights.generator.classification=0",
    "class loss .5": "model.weights.generator.classification=0.5",
    "no feature matching": "model.weights.generator.feature_matching=0",
    # size and length
    "16 latent dimensions": "model.latent_dim=16",
    "generator half as wide": "model.networks.generator.width=128",
    "generator with one block": "model.networks.generator.depth=1",
    "convolutions": CONVOLUTIONS,
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


def main() -> None:
    """Do the missing variants in `workers` processes, and print the table of all that are known."""
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    data, draw, fold = given.pop("data", "watch"), int(given.pop("draw", 1)), int(given.pop("fold", 1))
    workers, draws = int(given.pop("workers", 1)), int(given.pop("draws", 2))
    out = Path(given.pop("out", f"runs/ablations/{data}.jsonl"))
    names = given.pop("variants").split(",") if "variants" in given else list(VARIANTS)
    if unknown := [*given, *(set(names) - set(VARIANTS))]:
        sys.exit(f"error: {unknown[0]}: there is no such option or variant; variants are {', '.join(VARIANTS)}.")
    jobs = {}
    for name in [REAL, *names]:
        cell = Cell(data, draw, "full", REAL if name == REAL else "vacwgan", fold, 0)
        options = Options(
            overrides=VARIANTS.get(name, ""), draws=draws, runs=f"runs/ablations/{name.replace(' ', '_')}"
        )
        jobs[name] = cell, options, settings(cell, options)
    out.parent.mkdir(parents=True, exist_ok=True)
    known = {}
    for line in map(json.loads, out.read_text().splitlines() if out.exists() else ()):
        name = line["variant"]
        # A line of other settings, of another default say, is not this variant's; one that failed is tried again.
        if name in jobs and line["settings"] == jobs[name][2] and line["fold"] == fold and "error" not in line:
            known[name] = line
    log = Path("runs/ablations/log.txt")
    log.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=quiet_worker, initargs=(str(log),)) as pool:
        waiting = {pool.submit(compute, *job[:2]): name for name, job in jobs.items() if name not in known}
        for future in as_completed(waiting):
            name = waiting[future]
            cell, _, digest = jobs[name]
            known[name] = {"variant": name, **asdict(cell), "settings": digest, **future.result()}
            with out.open("a") as stream:
                stream.write(json.dumps(known[name]) + "\n")
            print(f"{len(known)} of {len(jobs)}: {name}", flush=True)
    if "error" in known[REAL]:
        sys.exit(f"error: {known[REAL]['error']}")
    print(table(known, [REAL, *names]))


def table(lines: dict[str, dict], names: list[str]) -> str:
    """Return the lines of these variants as a Markdown table."""
    real = lines[REAL]["metrics"]
    rows = [["", *COLUMNS], ["---", *["---:"] * len(COLUMNS)]]
    for name in names:
        line = lines[name]
        if "error" in line:
            rows.append([name, line["error"], *[""] * (len(COLUMNS) - 1)])
        else:
            metrics = derived(line["metrics"], real)
            rows.append([name, *[f"{metrics[key]:.3f}" for key in COLUMNS.values()]])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()

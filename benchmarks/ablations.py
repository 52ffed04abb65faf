"""What each part of the VACWGAN is worth: the default with one thing changed, trained and judged on one fold.

Each finished variant is a line of `out`; the same command again does the missing ones. Draw 1 by default: draw 0 is for final
tables. The columns are those of `benchmarks/quality.py`.

    python benchmarks/ablations.py data=watch workers=2
    python benchmarks/ablations.py data=bearing variants=default,one_critic_step
"""

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes of two threads each get in one another's way

from quality import Cell, Options, compute, quiet_worker

from mmgan.evaluation.table import REAL, derived

CONVOLUTIONS = " ".join(
    f"model.networks.{player}.branch.stages=2" for player in ("encoder", "generator", "critic", "classifier")
)
VARIANTS = {
    "default": "",
    # scaling, and what is done after sampling
    "scaled to mean and deviation": "model/scaler=standard",
    "scaled to minimum and maximum": "model/scaler=minmax",
    "no marginal map": "model.calibration_rows=0",
    "z from a Gaussian per class": "model.sampling=density",
    "z from N(0, I)": "model.sampling=prior",
    "no moving average": "model.training.ema_decay=0",
    "longer moving average": "model.training.ema_decay=0.9995",
    # the game
    "R3GAN": "model/adversarial=r3gan",
    "no adversarial term": "model.weights.generator.adversarial=0",
    "adversarial weight .3": "model.weights.generator.adversarial=0.3",
    "one critic step": "model.training.critic_steps=1",
    "four critic steps": "model.training.critic_steps=4",
    "gradient penalty 1": "model.weights.critic.gradient_penalty=1",
    "no augmentation": "model.augmentation.noise=0 model.augmentation.erase=0",
    "instance noise alone": "model.augmentation.erase=0",
    "class concatenated": "model.networks.critic.conditioning=concatenation",
    "class projected and concatenated": "model.networks.critic.conditioning=both",
    "critic with layer norm": "+model.networks.critic.norm=true",
    # the variational half
    "likelihood weight 1": "model.weights.generator.reconstruction=1",
    "likelihood weight 30": "model.weights.generator.reconstruction=30",
    "KL weight .02": "model.weights.generator.kl=0.02",
    "KL weight .2": "model.weights.generator.kl=0.2",
    "no class loss": "model.weights.generator.classification=0",
    "class loss .5": "model.weights.generator.classification=0.5",
    "no feature matching": "model.weights.generator.feature_matching=0",
    # size and length
    "16 latent dimensions": "model.latent_dim=16",
    "generator half as wide": "model.networks.generator.width=128",
    "generator with one block": "model.networks.generator.depth=1",
    "convolutions": CONVOLUTIONS,
    "half the length": "trainer.max_epochs=5",
    "twice the length": "trainer.max_epochs=20",
}
COLUMNS = {
    "TSTR / TRTR": "tstr_ratio",
    "coverage / real": "coverage_ratio",
    "C2ST": "c2st",
    "novelty 10 %": "novelty10",
    "50 %": "novelty50",
    "90 %": "novelty90",
    "close": "close",
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
    wanted = given.pop("variants", ",".join(VARIANTS)).split(",")
    if unknown := [*given, *(set(wanted) - set(VARIANTS))]:
        sys.exit(f"error: {unknown[0]}: there is no such option or variant; variants are {', '.join(VARIANTS)}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {line["variant"]: line for line in lines}
    jobs = {
        name: (
            Cell(data, draw, "full", REAL if name == REAL else "vacwgan", fold, 0),
            Options(overrides=VARIANTS.get(name, ""), draws=draws, runs=f"runs/ablations/{name.replace(' ', '_')}"),
        )
        for name in [REAL, *wanted]
        if name not in known
    }
    log = Path("runs/ablations/log.txt")
    log.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=quiet_worker, initargs=(str(log),)) as pool:
        waiting = {pool.submit(compute, *job): name for name, job in jobs.items()}
        for future in as_completed(waiting):
            name = waiting[future]
            known[name] = {"variant": name, "data": data, "draw": draw, "fold": fold, **future.result()}
            with out.open("a") as stream:
                stream.write(json.dumps(known[name]) + "\n")
            print(f"{len(known)} of {len(wanted) + 1}: {name}", flush=True)
    print(table({name: known[name] for name in [REAL, *wanted]}))


def table(lines: dict[str, dict]) -> str:
    """Return the lines as a Markdown table."""
    real = lines[REAL]["metrics"]
    rows = [["", *COLUMNS], ["---", *["---:"] * len(COLUMNS)]]
    for name, line in lines.items():
        if "error" in line:
            rows.append([name, line["error"], *[""] * (len(COLUMNS) - 1)])
            continue
        metrics = derived(line["metrics"], real)
        rows.append([name, *[f"{metrics[key]:.3f}".replace("0.", ".", 1) for key in COLUMNS.values()]])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()

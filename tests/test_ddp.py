"""Processes that train one model together, and share each batch."""

import csv

import numpy as np
import pytest
import torch
from conftest import compose
from test_models_contract import CONFIGS, NEURAL, dataset_of

from mmgan import load
from mmgan.commands.build import check_run, fold_run, train_fold
from mmgan.data.datamodule import EndlessBatches
from mmgan.errors import MmganError

# A term of each family that falls from the first batches on; an adversarial one need not.
FALLING = {
    "vacwgan": "generator/reconstruction",
    "cgan": "critic/gradient_penalty",
    "gan": "critic/gradient_penalty",
    "vae": "vae/reconstruction",
    "diffusion": "denoiser/denoising",
    "vqgan": "autoencoder/reconstruction",
    "robust_classifier": "classifier/classification",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FALLING)
def test_two_processes_train_to_a_model_that_loads(name, tmp_path, quick, capfd):
    """A warning of either process is an error, as everywhere; what torch prints by itself would be on stderr."""
    words = [f"model={name}", "trainer=ddp", "logger=csv", "data.steps_per_epoch=8"]
    words += (
        ["model.quantizer.size=16"] if name == "vqgan" else []
    )  # no more codes than a process has tokens in a batch
    cfg = compose("train", *words, "trainer.max_epochs=6", "data.batch_size=32")
    result = train_fold(cfg, dataset_of(), 1, tmp_path / "run")
    assert result.score is not None and 1 <= result.epochs <= 6
    assert {"best.ckpt", "last.ckpt", "best.pth", "metrics.json"} <= {path.name for path in result.folder.iterdir()}
    (logged,) = result.folder.rglob("metrics.csv")
    with logged.open(newline="") as stream:
        lines = [line for line in csv.DictReader(stream) if line[FALLING[name]]]
    values = [[float(value) for key, value in line.items() if value and "/" in key] for line in lines]
    assert len(lines) == 6 and all(np.isfinite(line).all() for line in values)
    assert float(lines[-1][FALLING[name]]) < float(lines[0][FALLING[name]]) - 0.01
    model = load(result.folder / "best.ckpt")
    if name in NEURAL:
        assert all(len(value) == 3 for value in model.sample(["run"] * 3).values())
    assert "warn" not in capfd.readouterr().err.lower()


def test_every_trained_family_is_trained_so():
    assert set(FALLING) == {name for name, cfg in CONFIGS.items() if "lr" in cfg.model} - {"ldm"}  # diffusion elsewhere


def test_processes_share_each_batch():
    whole, parts = EndlessBatches(np.arange(10), 4, 3, seed=1), []
    for rank in range(2):
        part = EndlessBatches(np.arange(10), 4, 3, seed=1)
        part.rank, part.together = rank, 2
        parts.append(list(part))
    for batch, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat(shares), batch) and len(shares[0]) == 2


def test_devices_without_a_strategy_are_refused():
    cfg = compose("train", "trainer.devices=2")
    with pytest.raises(MmganError, match="give trainer=ddp"):
        check_run(cfg, fold_run(cfg, dataset_of(), 1))

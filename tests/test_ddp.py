"""Processes that train one model together, and share each batch."""

import warnings

import numpy as np
import pytest
import torch
from conftest import compose
from test_models_contract import dataset_of

from mmgan import load
from mmgan.commands.build import check_run, fold_run, train_fold
from mmgan.data.datamodule import EndlessBatches
from mmgan.errors import MmganError
STEPS = 20
ALONE = ["trainer=default"]
TOGETHER = ["trainer=ddp"]
# Masks of dropout are drawn by each process for itself.
OPTIONS = {
    "vacwgan": ["model.networks.classifier.dropout=0"],
    "cgan": ["model.networks.critic.dropout=0"],
    "gan": [],
    "vae": [],
    "diffusion": [],
}


class Curve(L.Callback):
    """Write every step's logged terms down."""

    def __init__(self, path):
        self.path = path

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch:
            self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer, pl_module):
        if trainer.is_global_zero:
            terms = {key: float(value) for key, value in trainer.callback_metrics.items() if "gradient_norm" not in key}
            with self.path.open("a") as stream:
                stream.write(json.dumps(terms) + "\n")


def curve(name, words, folder):
    """Return the terms {name: (STEPS,)} of a training with one batch an epoch."""
    cfg = compose("train", f"model={name}", *words, "data.steps_per_epoch=1", *OPTIONS[name])
    path = folder / "curve.jsonl"
    run_folder = RunFolder(folder)
    run_folder.make()

    class Watched(Run):
        def _trainer(self, folder, max_epochs, callbacks, **options):
            return super()._trainer(folder, max_epochs, [*callbacks, Curve(path)], **options)

    Watched(cfg, dataset_of(), 1).train(run_folder, STEPS, final=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {key: np.array([line[key] for line in lines]) for key in lines[-1]}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_two_processes_have_the_loss_curve_of_one(name, tmp_path, quick):
    one, two = (curve(name, words, tmp_path / words[0][8:]) for words in (ALONE, TOGETHER))
    assert one.keys() == two.keys() and len(one) > 1 - (name == "diffusion")
    for key, values in one.items():
        assert len(values) == STEPS
        np.testing.assert_allclose(two[key], values, rtol=1e-3, atol=1e-4, err_msg=key)
    assert any(np.ptp(values) > 0.01 for values in one.values())


@pytest.mark.slow
def test_a_fold_is_trained_on_two_devices_to_its_files(tmp_path, quick):
    cfg = compose("train", "trainer=ddp", "trainer.max_epochs=2")
    result = fit(cfg, dataset_of(), 1, tmp_path / "run")
    assert result.score is not None and 1 <= result.epochs <= 2
    assert {"best.ckpt", "last.ckpt", "best.pth", "metrics.json"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }


def test_processes_share_each_batch():
    whole, parts = EndlessBatches(np.arange(10), 4, 3, seed=1), []
    for rank in range(2):
        part = EndlessBatches(np.arange(10), 4, 3, seed=1)
        part.rank, part.together = rank, 2
        parts.append(list(part))
    for batch, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat(shares), batch) and len(shares[0]) == 2


def test_devices_without_a_strategy_are_refused():
    with pytest.raises(MmganError, match="give trainer=ddp"):
        Run(compose("train", "trainer.devices=2"), dataset_of(), 1).check()

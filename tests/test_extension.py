"""A model family and a task of somebody else's package go through every command, and mmgan is not touched."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import CONF, TINY_RUN
from hydra.core.global_hydra import GlobalHydra

import mmgan
from mmgan.errors import MmganError

PACKAGE = '''
import torch
from collections.abc import Callable
from math import prod
from torch import nn

from mmgan.errors import Betas, Clip, Rates, Weights, Width, checked
from mmgan.models.module import Phase, PhasedModel
from mmgan.training.tasks import Task


class Sketch(PhasedModel):
    """A generator without a critic: the means and spreads of its samples are those of the batch."""

    monitor, mode = "val/score", "max"
    samplings, sampling = ("prior",), "prior"

    @checked
    def __init__(self, schema, *, width: Width, scaler: Callable[..., nn.Module], weights: Weights, lr: Rates,
                 betas: Betas, clip: Clip):
        super().__init__(schema, scaler=scaler, weights=weights, lr=lr, betas=betas, clip=clip)
        self.sizes = {name: prod(shape) for name, shape in schema.modalities.items()}
        self.classes = nn.Embedding(schema.n_classes, width)
        self.decoder = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, sum(self.sizes.values())))
        self.width = width
        self.phases = [Phase("sketch", (self.classes, self.decoder), self.terms)]

    def decoded(self, z, labels):
        flat = self.decoder(torch.cat([z, self.classes(labels)], dim=1)).split(list(self.sizes.values()), dim=1)
        return {name: part.unflatten(1, self.schema.modalities[name]) for name, part in zip(self.sizes, flat)}

    def terms(self, x, labels):
        drawn = self.decoded(torch.randn(len(labels), self.width), labels)
        return {
            "mean": sum((drawn[name] - x[name]).mean(0).square().mean() for name in x),
            "spread": sum((drawn[name].std(0) - x[name].std(0)).square().mean() for name in x),
        }

    def validation_step(self, batch, batch_idx):
        x, labels = self.scaled(batch)
        self.log("sketch/held_out", sum(self.terms(x, labels).values()), batch_size=len(labels))

    def generate(self, label, noise, sampling):
        z = self.tensor(noise.normal((self.width,)))
        return self.decoded(z, torch.full((len(z),), label))


class Regressor(PhasedModel):
    """One modality from another."""

    monitor, mode = "val/error", "min"

    @checked
    def __init__(self, schema, *, given: str, wanted: str, scaler: Callable[..., nn.Module], weights: Weights, lr: Rates,
                 betas: Betas, clip: Clip):
        super().__init__(schema, scaler=scaler, weights=weights, lr=lr, betas=betas, clip=clip)
        self.given, self.wanted = given, wanted
        self.shape = schema.modalities[wanted]
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(prod(schema.modalities[given]), prod(self.shape)))
        self.phases = [Phase("network", (self.network,), self.terms)]

    def predicted(self, x):
        return self.network(x[self.given]).unflatten(1, self.shape)

    def terms(self, x, labels):
        return {"error": (self.predicted(x) - x[self.wanted]).square().mean()}

    def validation_step(self, batch, batch_idx):
        self.held_out.update(self.terms(*self.scaled(batch))["error"])

    def predict(self, x):
        """Return the wanted modality (n, *shape) in physical units of samples {name: (n, *shape)}."""
        with self.evaluating():
            scaled = self.from_arrays(x)
            return self.to_arrays(scaled | {self.wanted: self.predicted(scaled)})[self.wanted]


class Regression(Task):
    """A modality from another: how far off the fold's held-out samples are."""

    title = "error on val_indices"

    def score(self, model, data, folder):
        x, _ = data.samples(data.fold.val_indices)
        error = model.predict(x) - x[model.wanted]
        return {"rmse": float((error**2).mean() ** 0.5)}
'''
SHARED = {"epochs": 2, "_partial_": True, "betas": [0.0, 0.9], "clip": 10.0}
SCALER = "defaults: [scaler: standard, _self_]\n"
MODELS = {
    "sketch": {
        "name": "sketch",
        "task": {"_target_": "mmgan.training.tasks.Generation"},
        "_target_": "myext.Sketch",
        "width": 8,
        "weights": {"sketch": {"mean": 1.0, "spread": 1.0}},
        "lr": {"sketch": 0.01},
    },
    "regressor": {
        "name": "regressor",
        "task": {"_target_": "myext.Regression"},
        "_target_": "myext.Regressor",
        "given": "spec",
        "wanted": "env",
        "weights": {"network": {"error": 1.0}},
        "lr": {"network": 0.01},
    },
}
SPACES = {
    "sketch": {"model.width": {"type": "int", "low": 4, "high": 12}},
    "regressor": {"model.lr.network": {"type": "float", "low": 0.001, "high": 0.1, "log": True}},
}


@pytest.fixture
def command(tmp_path, monkeypatch, quick):
    """Run a command of mmgan as a user of the package `myext` does, with its conf/ beside mmgan's."""
    (tmp_path / "myext.py").write_text(PACKAGE)
    for group in ("model", "search"):
        (tmp_path / "conf" / group).mkdir(parents=True)
    for name, model in MODELS.items():
        (tmp_path / "conf" / "model" / f"{name}.yaml").write_text(SCALER + yaml.safe_dump(SHARED | model))
        space = {"epochs": 1, "n_startup": 2, "warmup": 1, "space": SPACES[name]}
        (tmp_path / "conf" / "search" / f"{name}.yaml").write_text(yaml.safe_dump(space))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "myext", raising=False)

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        GlobalHydra.instance().clear()
        runpy.run_path(str(CONF.parent / f"{name}.py"), run_name="__main__")
        GlobalHydra.instance().clear()

    yield run
    sys.modules.pop("myext", None)


def words_of(tmp_path, model, data, out):
    return ["--config-dir", str(tmp_path / "conf"), f"model={model}", "data=pkl", f"data.path={data}", *TINY_RUN[1:],
            f"out_dir={tmp_path / out}", "~callbacks.bar"]  # fmt: skip


@pytest.mark.slow
def test_a_generator_of_another_package_is_trained_tuned_sampled_and_judged(command, tiny, tmp_path):
    command("train", *words_of(tmp_path, "sketch", tiny, "trained"), "trainer.max_epochs=1")
    checkpoint = tmp_path / "trained" / "best.ckpt"
    with pytest.raises(MmganError, match=r"asks for 'myext\.Sketch'.*trust=\[PACKAGE\]"):
        mmgan.load(checkpoint)
    drawn = mmgan.load(checkpoint, trust=["myext"]).sample([0, 1, 1], seed=3)
    assert {name: value.shape for name, value in drawn.items()} == {"spec": (3, 3, 10), "env": (3, 2, 8)}
    assert all(np.isfinite(value).all() for value in drawn.values())

    command("tune", *words_of(tmp_path, "sketch", tiny, "tuned"), "n_trials=2", "trainer.max_epochs=1")
    best = yaml.safe_load((tmp_path / "tuned" / "best_params.yaml").read_text())
    assert 4 <= best["model.width"] <= 12 and (tmp_path / "tuned" / "trials.csv").exists()

    file = tmp_path / "synthetic.npz"
    with pytest.raises(SystemExit, match=r"trust=\[PACKAGE\]"):
        command("synthesize", f"ckpt={tmp_path / 'tuned'}", f"out={file}")
    command("synthesize", f"ckpt={tmp_path / 'tuned'}", f"out={file}", "trust=[myext]")
    command("evaluate", f"synthetic={file}", "quick=true", "workers=1", f"out_dir={tmp_path / 'report'}")
    assert "sketch" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.slow
def test_a_task_of_another_package_is_trained_tuned_and_used(command, tiny, tmp_path, capsys):
    command("train", *words_of(tmp_path, "regressor", tiny, "trained"), "trainer.max_epochs=1")
    shown = capsys.readouterr().out
    assert "error on val_indices" in shown and "rmse" in shown
    metrics = yaml.safe_load((tmp_path / "trained" / "metrics.json").read_text())
    assert metrics["scores"]["rmse"] > 0 and metrics["inner_score"] > 0

    command("tune", *words_of(tmp_path, "regressor", tiny, "tuned"), "n_trials=2", "trainer.max_epochs=1")
    model = mmgan.load(tmp_path / "tuned" / "best.ckpt", trust=["myext"])
    x = {"spec": np.ones((5, 3, 10), np.float32), "env": np.zeros((5, 2, 8), np.float32)}
    assert model.predict(x).shape == (5, 2, 8) and np.isfinite(model.predict(x)).all()


@pytest.mark.parametrize(
    ("word", "said"),
    [("model.width=0", "model.width=0: expected an integer >= 1"), ("model.width=word", "model.width=word: expected")],
)
def test_what_it_declares_is_checked_like_mmgan_s_own(command, tiny, tmp_path, word, said):
    with pytest.raises(SystemExit, match=said):
        command("train", *words_of(tmp_path, "sketch", tiny, "trained"), word)
    assert not Path(tmp_path / "trained").exists()

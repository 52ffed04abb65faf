"""What a configuration can choose for a model: every choice trains and samples, and what is impossible is refused in words."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import CONF, compose
from mmgan.training.run import Run
from scipy import stats
from test_models_contract import NEURAL, dataset_of, same, scaled_batch, train

from mmgan.errors import MmganError


@pytest.mark.parametrize("rows", [-5, 1, 0.5, "many"])
def test_an_impossible_number_of_calibration_rows_is_refused(rows):
    with pytest.raises(MmganError, match=r"n_calibration_samples=.*: give a whole number from 100 on, or 0"):
        train("vacwgan", dataset_of(), f"model.n_calibration_samples={rows}")


def test_the_default_networks_take_large_images():
    dataset = dataset_of({"image": (3, 40, 40), "wide": (5, 900)}, rows=20)
    cfg = compose("train", small=False)
    model, datamodule = Run(cfg, dataset, 1).build(final=True)
    x, labels = scaled_batch(SimpleNamespace(model=model, datamodule=datamodule))
    for phase in model.phases():
        assert all(torch.isfinite(term) for term in phase.terms(x, labels).values())
    assert model.sample(["run"])["image"].shape == (1, 3, 40, 40)


def choices(part):
    return sorted(path.stem for path in (CONF / "model" / part).glob("*.yaml"))


@pytest.mark.parametrize("game", choices("adversarial"))
@pytest.mark.parametrize("name", ["vacwgan", "gan"])
def test_every_game_can_be_chosen(name, game):
    trained = train(name, dataset_of(), f"model/adversarial={game}", epochs=1)
    assert set(trained.model.weights["critic"]) == set(trained.model.critic_terms(*scaled_batch(trained)))
    trained.model.sample(["run"] * 10)


@pytest.mark.parametrize("name", [n for n in NEURAL if "n_calibration_samples" in compose("train", f"model={n}").model])
def test_calibrated_rows_have_the_marginals_of_the_training_rows(name):
    trained = train(name, dataset_of(rows=200), "model.n_calibration_samples=4000")
    x, y = trained.datamodule.samples(trained.datamodule.training_indices)
    drawn = trained.model.sample(trained.model.schema.decode(np.tile(y, 20)), seed=5)
    plain = train(name, dataset_of(rows=200), "model.n_calibration_samples=0").model
    apart = [
        max(stats.ks_2samp(rows[modality].reshape(len(rows[modality]), -1)[:, 3], x[modality].reshape(len(y), -1)[:, 3]).statistic
            for modality in x)
        for rows in (drawn, plain.sample(plain.schema.decode(np.tile(y, 20)), seed=5))
    ]  # fmt: skip
    assert apart[0] < 0.05 < apart[1]


@pytest.mark.parametrize("players", choices("players"))
def test_every_pair_of_players_can_be_chosen(players):
    train("gan", dataset_of(), f"model/players={players}", epochs=1).model.sample(["run"] * 10)


@pytest.mark.parametrize("likelihood", choices("likelihood"))
def test_every_likelihood_can_be_chosen(likelihood):
    trained = train("vae", dataset_of(), f"model/likelihood={likelihood}", epochs=1)
    assert same(trained.model.sample(["run"] * 10), trained.model.sample(["run"] * 10))
    assert ("noises" in " ".join(trained.before)) == (likelihood != "gaussian_fixed")


@pytest.mark.parametrize(
    ("name", "word", "sentence"),
    [
        ("vae", "model.training.free_bits=-1", "free_bits=-1: give a number from 0"),
        ("vae", "model.training.free_bits=many", "free_bits=many: give a number"),
        ("gan", "model.networks.critic.hidden=[5,0]", r"hidden=\[5, 0\]"),
        ("gan", "model.networks.generator.hidden=5", "hidden=5"),
        ("gan", "model.networks.critic.init_std=-1", "init_std=-1"),
        ("cgan", "model/adversarial=bce model.adversarial.smoothing=.7", "smoothing=0.7: give a number from 0"),
    ],
)
def test_impossible_options_are_refused(name, word, sentence):
    players = ["model/players=dense"] if name == "gan" else []
    with pytest.raises(Exception, match=sentence):
        train(name, dataset_of(), *players, *word.split())


@pytest.mark.parametrize("scaler", ["quantile", "standard", "minmax", "identity"])
@pytest.mark.parametrize("name", [name for name in NEURAL if name != "ldm"])  # which has that of its first stage
def test_every_scaler_can_be_chosen(name, scaler):
    rows = train(name, dataset_of(), f"model/scaler={scaler}", epochs=1).model.sample(["run"] * 10)
    assert all(value.min() >= 0 for value in rows.values())

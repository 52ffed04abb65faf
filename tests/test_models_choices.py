"""What a configuration can choose for a model: every choice trains and samples, and what is impossible is refused in words."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import CONF, compose
from scipy import stats
from test_models_contract import CONFIGS, NEURAL, built, dataset_of, each_of, same, scaled_batch, train

from mmgan.commands.checks import check_options
from mmgan.errors import MmganError
from mmgan.models.synthesizer import Synthesizer
from mmgan.nets.axis import STATISTICS


def test_the_default_networks_take_large_images():
    dataset = dataset_of({"image": (3, 40, 40), "wide": (5, 900)}, rows=20)
    model, datamodule = built(compose("train", small=False), dataset)
    x, labels = scaled_batch(SimpleNamespace(model=model, datamodule=datamodule))
    for phase in model.phases:
        assert all(torch.isfinite(term) for term in phase.terms(x, labels).values())
    assert Synthesizer(model).sample(["run"])["image"].shape == (1, 3, 40, 40)


def choices(part):
    return sorted(path.stem for path in (CONF / "model" / part).glob("*.yaml"))


@pytest.mark.parametrize("gan_loss", choices("gan_loss"))
@pytest.mark.parametrize("name", ["vacwgan", "gan"])
def test_every_adversarial_loss_can_be_chosen(name, gan_loss):
    trained = train(name, dataset_of(), f"model/gan_loss={gan_loss}", epochs=1)
    assert set(trained.model.weights["critic"]) == set(trained.model.critic_terms(*scaled_batch(trained)))
    trained.synthesizer.sample(["run"] * 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NEURAL if "n_calibration_samples" in CONFIGS[name].model])
def test_mapped_samples_have_the_marginals_of_the_training_samples(name):
    mapped, plain = (train(name, dataset_of(rows=200), f"model.n_calibration_samples={n}") for n in (4000, 0))
    mapped.model.calibrate()  # as it is for best.ckpt
    x, y = mapped.datamodule.samples(mapped.datamodule.training_indices)
    labels = mapped.model.schema.decode(np.tile(y, 20))

    def distance(synthesizer):
        """The largest of the modalities' Kolmogorov-Smirnov statistics, of one value each."""
        drawn = synthesizer.sample(labels, seed=5)
        pairs = [(drawn[name].reshape(len(labels), -1)[:, 3], x[name].reshape(len(y), -1)[:, 3]) for name in x]
        return max(stats.ks_2samp(*pair).statistic for pair in pairs)

    assert distance(mapped.synthesizer) < 0.05 < distance(plain.synthesizer)


@pytest.mark.parametrize("networks", choices("networks"))
def test_every_pair_of_networks_can_be_chosen(networks):
    train("gan", dataset_of(), f"model/networks={networks}", epochs=1).synthesizer.sample(["run"] * 10)


def test_the_critic_of_a_plain_gan_can_see_texture_before_augmentation(monkeypatch):
    axis = "model.critic.axis={_target_:mmgan.nets.axis.AxisStatistics,_partial_:true}"
    trained, seen = train("cgan", dataset_of(), axis, epochs=1), []
    monkeypatch.setattr(trained.model.augment, "forward", lambda *batches: seen.extend(batches) or batches)
    x, labels = scaled_batch(trained)
    trained.model.critic_terms(x, labels)
    trained.model.generator_terms(x, labels)
    assert len(seen) == 4  # real and generated samples, of either step
    for batch in seen:
        torch.testing.assert_close(batch[STATISTICS], trained.model.critic.axis(batch))


@pytest.mark.parametrize("likelihood", choices("likelihood"))
def test_every_likelihood_can_be_chosen(likelihood):
    trained = train("vae", dataset_of(), f"model/likelihood={likelihood}", epochs=1)
    assert same(trained.synthesizer.sample(["run"] * 10), trained.synthesizer.sample(["run"] * 10))
    assert ("noises" in " ".join(trained.before)) == (likelihood != "gaussian_fixed")


@pytest.mark.parametrize("scaler", choices("scaler"))
@pytest.mark.parametrize("name", each_of(name for name in NEURAL if name != "ldm"))  # which has that of its first stage
def test_every_scaler_can_be_chosen(name, scaler):
    drawn = train(name, dataset_of(), f"model/scaler={scaler}", epochs=1).synthesizer.sample(["run"] * 10)
    assert all(value.min() >= 0 for value in drawn.values())


IMPOSSIBLE = {
    "vacwgan": [
        ("n_calibration_samples=-5", "expected an integer >= 100"),
        ("n_calibration_samples=1", "expected an integer >= 100"),
        ("n_calibration_samples=many", "expected an integer >= 100"),
        ("augment.noise=-0.1", "expected a number >= 0"),
        ("augment.erase=1.5", "expected a number >= 0 and <= 1"),
        ("critic.conditioning=none", "expected one of projection, concatenation, both"),
        ("encoder.branch.stages=-1", "expected an integer >= 0"),
        ("sampling=magic", "expected one of posterior, density, prior"),
        ("lr.critic=0", "expected a number > 0"),
        ("weights.generator.kl=-1", "expected a number >= 0"),
        ("clip=0", "expected a number > 0 or null"),
    ],
    "vae": [("free_bits=-1", "expected a number >= 0"), ("free_bits=many", "expected a number >= 0")],
    "gan model/networks=dense": [
        ("critic.hidden=[5,0]", "hidden=0: expected an integer >= 1"),
        ("generator.hidden=5", "expected a list, each of it an integer"),
        ("critic.init_std=-1", "expected a number > 0"),
    ],
    "cgan model/gan_loss=bce": [("gan_loss.smoothing=.5", "expected a number >= 0 and < 0.5")],
    "diffusion": [
        ("steps=0", "expected an integer >= 1"),
        ("steps=2.5", "expected an integer >= 1"),
        ("eta=1.5", "expected a number >= 0 and <= 1"),
        ("strength=1.0", "expected a number >= 0.01 and <= 0.99"),
        ("strength=0.001", "expected a number >= 0.01 and <= 0.99"),
        ("label_dropout=2", "expected a number >= 0 and < 1"),
        ("process.spread=0", "expected a number > 0"),
    ],
    "ldm": [("space.residual=2", "expected a number >= 0 and <= 1")],
    "vqgan": [("adversarial_start=-1", "expected an integer >= 0"), ("shared_codebook=1", "expected true or false")],
    "robust_classifier": [
        ("gamma=-1", "expected a number >= 0"),
        ("smoothing=2", "expected a number >= 0 and <= 1"),
        ("mixup=-0.1", "expected a number >= 0"),
        ("fade=-1", "expected an integer >= 0"),
        ("members=0", "expected an integer >= 1"),
        ("members=1.5", "expected an integer >= 1"),
        ("corruption.noise=-1", "expected a number >= 0"),
        ("corruption.drop=1.1", "expected a number >= 0 and <= 1"),
        ("contrast.temperature=0", "expected a number > 0"),
        ("fusion.alpha=2", "expected a number >= 0 and <= 1"),
    ],
}


@pytest.mark.parametrize(
    ("model", "word", "sentence"),
    [(model, word, sentence) for model, words in IMPOSSIBLE.items() for word, sentence in words],
)
def test_what_a_constructor_does_not_take_is_refused_before_anything_is_built(model, word, sentence):
    cfg = compose("train", *f"model={model}".split(), f"model.{word}")
    with pytest.raises(MmganError) as refused:
        check_options(cfg)
    name = word.partition("=")[0]
    assert f"model.{name}" in str(refused.value) and sentence in str(refused.value)

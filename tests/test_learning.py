"""Whether the models learn: each phase's loss falls, both sides of an adversarial loss go the right way, and samples get good."""

import pytest
import torch
from conftest import CONF, compose
from test_models_contract import CONFIGS, built, dataset_of, first_stage

from mmgan.commands.build import load_data, train_fold

TRAINED = [name for name, cfg in CONFIGS.items() if "lr" in cfg.model]
GAN_LOSSES = sorted(path.stem for path in (CONF / "model" / "gan_loss").glob("*.yaml"))


def model_and_batch(name, folder, *overrides):
    """Return a small model that has seen its training samples, and one batch of them, scaled, with its labels."""
    data = dataset_of()
    cfg = compose("train", f"model={name}", "data.batch_size=32", *overrides)
    if "space" in cfg.model:
        cfg.first_stage = str(first_stage(data, folder))
    model, datamodule = built(cfg, data)
    return model, model.scaled(next(iter(datamodule.train_dataloader())))


def descend(model, number, batch, steps, *, names=None):
    """Take steps of phase `number` alone, or of its terms `names` alone; return the weighted loss of each, always with the same noise."""
    phase, optimizer = model.phases[number], model.configure_optimizers()[number]
    losses = []
    for _ in range(steps):
        torch.manual_seed(0)
        terms = phase.terms(*batch)
        loss = sum(model.weights[phase.name][name] * terms[name] for name in names or terms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_of_each_phase_falls(name, tmp_path):
    own = ["model.adversarial_start=0"] if name == "vqgan" else []
    model, batch = model_and_batch(name, tmp_path, *own)
    for number, phase in enumerate(model.phases):
        losses = descend(model, number, batch, 20)
        assert losses[-1] < losses[0] - 0.001 * abs(losses[0]), phase.name


def scores(model, x, labels):
    """Return the critic's mean scores of real samples and of generated ones."""
    torch.manual_seed(1)
    with model.evaluating():
        generated = model.decoded(model.encoded(x)[0], labels).samples
        return float(model.critic(x, labels).mean()), float(model.critic(generated, labels).mean())


@pytest.mark.parametrize("gan_loss", GAN_LOSSES)
def test_the_critic_learns_to_score_real_samples_higher_and_the_generator_to_be_scored_so(gan_loss, tmp_path):
    model, (x, labels) = model_and_batch("vacwgan", tmp_path, f"model/gan_loss={gan_loss}")
    descend(model, 0, (x, labels), 30)
    on_real, on_generated = scores(model, x, labels)
    assert on_real > on_generated + 0.1
    descend(model, 2, (x, labels), 20, names=["adversarial"])
    assert scores(model, x, labels)[1] > on_generated + 0.05


@pytest.mark.slow
def test_a_short_training_makes_good_samples(tmp_path):
    """Some two minutes on one thread; a floor, which the mean of three validations passes by .09: along the axis so short a training is told."""
    cfg = compose(
        "train",
        "model=vacwgan",
        "data=watch",
        "data.batch_size=128",
        "data.steps_per_epoch=150",
        "trainer.max_epochs=3",
        small=False,
    )
    result = train_fold(cfg, load_data(cfg), 1, tmp_path / "run")
    assert result.score > 0.45

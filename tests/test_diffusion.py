"""Diffusion: processes and solver against their equations, networks, and what the model makes of them."""

import itertools
import math

import numpy as np
import pytest
import torch
from conftest import THREE, TWO, rows_of
from test_models_contract import dataset_of, same, train

from mmgan.diffusion.guidance import guided
from mmgan.diffusion.process import LAST, FlowMatching, VPrediction
from mmgan.diffusion.solver import solve
from mmgan.errors import MmganError
from mmgan.nets.denoiser import DenseDenoiser, TokenDenoiser
from mmgan.nets.tokens import Attention, Patches

PROCESSES = [FlowMatching(), VPrediction()]
MEAN, STD = 1.5, 0.4  # of samples that are normal


def best_prediction(process):
    """What the perfect network would say of samples from N(MEAN, STD^2): the row's and the noise's expectation, by Bayes' rule."""

    def predict(x, t):
        alpha, sigma = (value[:, None].double() for value in (process.alpha(t), process.sigma(t)))
        seen = x["x"].double()
        variance = alpha**2 * STD**2 + sigma**2
        row = MEAN + alpha * STD**2 / variance * (seen - alpha * MEAN)
        noise = sigma / variance * (seen - alpha * MEAN)
        return {"x": (noise - row if isinstance(process, FlowMatching) else alpha * noise - sigma * row).to(x["x"])}

    return predict


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_a_perfect_prediction_gives_the_sample_back(process):
    x, noise = torch.randn(2, 50, 3, 4, dtype=torch.float64)
    t = torch.linspace(0.01, LAST, 50, dtype=torch.float64)
    assert torch.allclose(process.clean(process.at(x, noise, t), process.target(x, noise, t), t), x)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_a_process_begins_with_the_sample_and_ends_with_noise(process):
    t = torch.tensor([0.0, 1.0])
    assert torch.allclose(process.alpha(t), torch.tensor([1.0, 0.0]), atol=1e-6)
    assert torch.allclose(process.sigma(t), torch.tensor([0.0, 1.0]), atol=1e-6)
    times = process.times(torch.rand(10_000))
    assert times.min() >= 0 and times.max() <= LAST


def test_flow_matching_s_training_times_have_a_normal_logit():
    logits = torch.logit(FlowMatching(mean=0.5, spread=0.7).times(torch.rand(200_000)).double())
    assert abs(logits.median() - 0.5) < 0.01 and abs(logits.std() - 0.7) < 0.01


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_the_solver_draws_from_the_distribution_that_the_predictions_belong_to(process):
    start = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    drawn = solve(process, best_prediction(process), {"x": start}, steps=50)["x"]
    # Of normal samples the equation has an answer: noise e becomes MEAN + STD e.
    assert torch.allclose(drawn, MEAN + STD * start, atol=0.02)


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_with_fresh_noise_the_solver_draws_from_the_same_distribution_wherever_it_began(process, eta):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(20_000, 1, generator=generator)
    options = {"eta": eta, "fresh": lambda: {"x": torch.randn(20_000, 1, generator=generator)}}
    drawn = solve(process, best_prediction(process), {"x": start}, 100, **options)["x"]
    assert abs(drawn.mean() - MEAN) < 0.01 and abs(drawn.std() - STD) < 0.01
    assert abs(torch.corrcoef(torch.cat([start, drawn], dim=1).T)[0, 1]) < 0.05


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_the_solver_s_error_falls_with_the_square_of_its_steps(process):
    start = torch.linspace(-2, 2, 41)[:, None].double()
    fine = solve(process, best_prediction(process), {"x": start}, steps=1000)["x"]
    errors = [
        float((solve(process, best_prediction(process), {"x": start}, steps)["x"] - fine).abs().max())
        for steps in (20, 40, 80)
    ]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_the_solver_agrees_with_small_plain_steps_along_the_velocity():
    process, x = FlowMatching(), torch.linspace(-2, 2, 41)[:, None].double()
    predict, times = best_prediction(process), torch.linspace(LAST, 0, 4001).double()
    plain = x
    for t, following in itertools.pairwise(times):
        plain = plain + (following - t) * predict({"x": plain}, t.expand(41))["x"]
    assert torch.allclose(solve(process, predict, {"x": x}, steps=100)["x"], plain, atol=2e-3)


def test_a_solver_without_steps_is_refused():
    with pytest.raises(ValueError, match="steps=0"):
        solve(FlowMatching(), lambda x, t: x, {"x": torch.zeros(1, 1)}, steps=0)


# -- networks -----------------------------------------------------------------------------------------------------------
NETWORKS = {
    "dense": lambda shapes: DenseDenoiser(shapes, 4, width=16, depth=2, branch={"channels": 4, "stages": 1}),
    "transformer": lambda shapes: TokenDenoiser(shapes, 4, width=16, depth=2, heads=2, patch=3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_denoiser_looks_at_all_modalities_the_time_and_the_class(name):
    network = NETWORKS[name](THREE)
    for parameter in network.parameters():  # gates and last layers begin at zero
        torch.nn.init.normal_(parameter, std=0.3)
    x = {key: torch.randn(5, *shape, requires_grad=True) for key, shape in THREE.items()}
    t, labels = torch.rand(5), torch.tensor([0, 1, 2, 3, 4])
    out = network(x, t, labels)
    assert {key: value.shape[1:] for key, value in out.items()} == {key: torch.Size(s) for key, s in THREE.items()}
    for key in out:
        gradients = torch.autograd.grad(out[key].square().sum(), list(x.values()), retain_graph=True)
        assert all((gradient != 0).any() for gradient in gradients), key
        assert not torch.allclose(out[key], network(x, t / 2, labels)[key])
        assert not torch.allclose(out[key], network(x, t, labels.flip(0))[key])


def test_tokens_are_places_of_the_last_axis_with_all_their_channels():
    patches, x = Patches((3, 10), patch=4), torch.arange(30.0).reshape(1, 3, 10)
    tokens = patches.cut(x)
    assert tokens.shape == (1, patches.n, patches.size) == (1, 3, 12)  # the last one filled up with zeros
    assert tokens[0, 1].tolist() == [4, 5, 6, 7, 14, 15, 16, 17, 24, 25, 26, 27]
    assert torch.equal(patches.join(tokens), x)


def test_attention_is_that_of_torch():
    ours, theirs = Attention(8, heads=2), torch.nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.project.weight.data, ours.project.bias.data
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    h = torch.randn(3, 5, 8)
    assert torch.allclose(ours(h), theirs(h, h, h, need_weights=False)[0], atol=1e-6)


# -- the model ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("process", ["flow_matching", "v_prediction"])
@pytest.mark.parametrize("denoiser", ["dense", "transformer"])
def test_every_process_with_every_network(process, denoiser):
    trained = train("diffusion", dataset_of(), f"model/process={process}", f"model/denoiser={denoiser}")
    trained.synthesizer.sample(["run"] * 3)  # which refuses what is not finite


def test_the_held_out_error_is_the_same_each_time_it_is_asked_for():
    trained = train("diffusion", dataset_of())
    logged = []
    trained.model.log = lambda name, value, **options: logged.append((name, float(value)))
    with trained.model.evaluating():
        for _ in range(2):
            trained.model.validation_step(next(iter(trained.datamodule.train_dataloader())), 0)
            trained.model.on_validation_epoch_end()
    assert logged[0] == logged[1] and logged[0][0] == trained.model.monitor == "val/denoising"


def test_what_is_made_of_a_sample_is_nearer_to_it_the_less_noise_is_added():
    x, labels = rows_of(TWO, np.ones(40)), ["run"] * 40
    distances = []
    for strength in (0.05, 0.9):
        trained = train("diffusion", dataset_of(), f"model.strength={strength}", "model.n_calibration_samples=0")
        made = trained.synthesizer.resample(x, labels)
        distances.append(np.mean([np.abs(made[name] - x[name]).mean() / x[name].std() for name in x]))
    assert distances[0] < 0.5 * distances[1]


def test_samples_begin_at_training_samples_of_their_class():
    data = dataset_of(rows=40)
    synthesizer = train("diffusion", data, "model.strength=0.05", "model.n_calibration_samples=0").synthesizer

    def distances(label, own, sampling="posterior"):
        made = synthesizer.sample([data.schema.class_names[label]] * 128, sampling=sampling)["spec"]
        return np.abs(made[:, None] - own[None]).mean((2, 3))  # (128, samples of the class)

    for label in range(4):
        own = data.x_train["spec"][data.y_train == label]
        apart = np.abs(own[:, None] - own[None]).mean((2, 3))
        near = distances(label, own)
        assert near.min(1).max() < 0.5 * apart[apart > 0].min()
        # Each of them has its turn before any has two, but those that were kept back from the training.
        taken = np.bincount(near.argmin(1), minlength=10)
        assert sorted(taken) == [0, 0] + [16] * 8 and len(set(near[:8].argmin(1))) == 8
        assert distances(label, own, "prior").min(1).mean() > 2 * near.min(1).mean()


def test_a_model_set_up_for_noise_alone_keeps_no_training_samples():
    trained = train("diffusion", dataset_of(), "model.sampling=prior")
    assert not len(trained.model.memory.flat) and not len(trained.model.memory.labels)
    assert trained.synthesizer.sample(["run"] * 2)["spec"].shape[0] == 2
    with pytest.raises(MmganError, match="sampling=posterior: this model has prior"):
        trained.synthesizer.sample(["run"], sampling="posterior")


def test_guidance_goes_from_the_prediction_without_a_class_through_the_one_with_it():
    model = train("diffusion", dataset_of()).model.eval()
    labels, t = torch.full((64,), 1), torch.full((64,), 0.5)
    x = {name: torch.randn(64, *shape) for name, shape in TWO.items()}
    told, untold = model.average(x, t, labels), model.average(x, t, torch.full((64,), 4))
    led = guided(model.average, labels, 4, 3.0)(x, t)
    for name in x:
        assert torch.allclose(led[name], untold[name] + 3 * (told[name] - untold[name]), atol=1e-5)
    assert torch.equal(guided(model.average, labels, 4, 1.0)(x, t)["spec"], told["spec"])


def test_the_class_is_withheld_as_often_as_asked():
    model = train("diffusion", dataset_of(), "model.label_dropout=0.25").model
    seen = []
    model._error = lambda network, z, noise, labels, t: (seen.append(labels), torch.zeros(len(labels)))[1]
    model.terms({"spec": torch.zeros(4000, 3, 10)}, torch.zeros(4000, dtype=torch.int64))
    share = float((seen[0] == 4).float().mean())
    assert math.isclose(share, 0.25, abs_tol=0.03) and set(seen[0].tolist()) == {0, 4}


def test_guidance_needs_a_network_that_knows_samples_without_a_class():
    with pytest.raises(MmganError, match=r"guidance_scale=2 .*model\.label_dropout above 0"):
        train("diffusion", dataset_of(), "model.guidance_scale=2", "model.label_dropout=0")


def test_samples_depend_on_the_steps_of_the_solver_alone_not_on_the_mode():
    trained = train("diffusion", dataset_of(), "model/denoiser=dense", "model.denoiser.dropout=0.5")
    drawn = []
    for training in (True, False):
        trained.model.train(training)
        drawn.append(trained.synthesizer.sample(["run"] * 4))
    assert same(*drawn)

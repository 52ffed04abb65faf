"""Two stages: samples to codes and back, diffusion between them, and a first stage that fits the second."""

import math
import re

import lightning as L
import numpy as np
import pytest
import torch
from conftest import THREE, TWO, compose
from omegaconf import OmegaConf
from scipy import stats
from test_models_contract import built, dataset_of, first_stage, train

from mmgan.commands.build import plain, train_fold
from mmgan.commands.checks import check_options
from mmgan.errors import MmganError
from mmgan.evaluation.reconstruction import perplexity, psnr
from mmgan.losses.reconstruction import feature_distance, l1
from mmgan.models.noise import BlockNoise
from mmgan.nets.coder import ImageCoder, PatchCoder
from mmgan.nets.denoiser import DenseDenoiser, UNetDenoiser, by_rank
from mmgan.nets.pyramid import FeatureClassifier, PatchCritic
from mmgan.nets.quantize import FiniteScalarQuantizer, NoQuantizer, TokenQuantizers, VectorQuantizer
from mmgan.schema import DataSchema
from mmgan.training.checkpoint import load, read_checkpoint, write_checkpoint
from mmgan.tuning.space import usable_space


def train_stage(dataset, *overrides, epochs=2):
    """Train the small first stage on fold 1, `epochs` x 2 batches; return it and its trainer."""
    cfg = compose("train", "model=vqgan", "model.adversarial_start=1", *overrides)
    model, datamodule = built(cfg, dataset, final=False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=datamodule)
    return model, trainer, before


# -- codes --------------------------------------------------------------------------------------------------------------
def test_a_token_becomes_the_nearest_code_and_its_gradient_goes_straight_through():
    quantizer = VectorQuantizer(4, size=8).train()
    tokens = torch.randn(16, 5, 4, requires_grad=True)
    quantizer(tokens, learn=True)
    found = quantizer(tokens, learn=False)
    codes = quantizer.codebook.codebook
    distances = torch.cdist(tokens.reshape(-1, 4), codes)
    assert torch.equal(found.codes.reshape(-1), distances.argmin(1))
    assert torch.allclose(found.tokens.reshape(-1, 4), codes[distances.argmin(1)], atol=1e-5)
    found.tokens.sum().backward()
    assert torch.equal(tokens.grad, torch.ones_like(tokens))


def test_codes_begin_at_the_means_of_what_they_stand_for_and_learn_only_when_asked():
    torch.manual_seed(0)  # k-means finds the four wherever its random beginning does not put two in one
    centres = 10 * torch.eye(4)
    tokens = (centres[torch.arange(400) % 4] + 0.1 * torch.randn(400, 4)).reshape(20, 20, 4)
    quantizer = VectorQuantizer(4, size=4).train()
    quantizer(tokens, learn=True)
    codes, rows = quantizer.codebook.codebook, tokens.reshape(-1, 4)
    nearest = torch.cdist(rows, codes).argmin(1)
    for code in nearest.unique():
        assert torch.allclose(codes[code], rows[nearest == code].mean(0), atol=0.5)
    before = quantizer.codebook.codebook.clone()
    quantizer(tokens + 1, learn=False)
    assert torch.equal(before, quantizer.codebook.codebook)
    quantizer(tokens + 1, learn=True)
    assert not torch.equal(before, quantizer.codebook.codebook)


def test_finite_scalar_quantisation_knows_as_many_codes_as_its_levels_multiply_to():
    quantizer = FiniteScalarQuantizer(3, levels=(3, 5, 5))
    found = quantizer(5 * torch.randn(200, 30, 3), learn=True)
    assert quantizer.size == 75 and found.codes.min() >= 0 and found.codes.max() < 75
    assert len(np.unique(found.tokens.detach().reshape(-1, 3).round(decimals=4), axis=0)) == len(np.unique(found.codes))


def test_codebooks_are_shared_or_one_for_each_modality_and_numbered_through():
    tokens = {"a": torch.randn(8, 5, 4), "b": torch.randn(8, 3, 4)}
    apart = TokenQuantizers("ab", 4, lambda dim: VectorQuantizer(dim, size=6), shared=False).train()
    found = apart(tokens, learn=True)
    assert apart.size == 12 and found["a"].codes.max() < 6 <= found["b"].codes.min()
    one = TokenQuantizers("ab", 4, lambda dim: VectorQuantizer(dim, size=6), shared=True).train()
    joint = one(tokens, learn=True)
    assert one.size == 6 and len(one.quantizers) == 1
    alone = one.quantizers[0](torch.cat([tokens["a"], tokens["b"]], dim=1), learn=False)
    assert joint["b"].tokens.shape == (8, 3, 4) and alone.codes.shape == (8, 8)


def test_without_a_quantizer_tokens_stay_as_they_are():
    tokens = torch.randn(4, 3, 2)
    found = NoQuantizer(2)(tokens, learn=True)
    assert torch.equal(found.tokens, tokens) and torch.isclose(found.commitment, (tokens**2).mean())


# -- networks -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(7,), (3, 10), (3, 9)])
def test_a_coder_of_patches_gives_a_token_for_each(shape):
    coder = PatchCoder(shape, 5, patch=4, width=8, depth=1, heads=2)
    tokens = coder.encode(torch.randn(6, *shape))
    assert tokens.shape == (6, *coder.grid, 5) and coder.grid == (-(-shape[-1] // 4),)
    assert coder.decode(tokens).shape == (6, *shape)


@pytest.mark.parametrize("size", [(16, 16), (10, 13)])
def test_a_coder_of_images_halves_both_sides_with_every_block_but_the_last(size):
    coder = ImageCoder((3, *size), 5, block_out_channels=[8, 8, 8])
    x = torch.randn(2, 3, *size)
    tokens = coder.encode(x)
    assert coder.grid == tuple(-(-side // 4) for side in size) and tokens.shape == (2, coder.grid[0] * coder.grid[1], 5)
    assert coder.decode(tokens).shape == x.shape


def test_the_critic_s_scores_are_each_of_a_stretch():
    critic = PatchCritic(DataSchema(THREE, (0,), ("a",)), channels=4, stages=2)
    x = {name: torch.randn(2, *shape, requires_grad=True) for name, shape in THREE.items()}
    scores = critic(x, torch.zeros(2, dtype=torch.int64))
    assert scores.shape == (2, 2 + 3 + 2)  # a quarter of (7,), (9,) and (4, 5), rounded up
    assert torch.equal(scores, critic.from_features(critic.features(x, None), None))
    seen = torch.autograd.grad(scores[0, 0], list(x.values()), allow_unused=True)
    assert (seen[0] != 0).any() and all(g is None or not g.any() for g in seen[1:])


def test_samples_that_differ_in_scale_of_their_features_alone_are_alike():
    maps = [torch.rand(3, 4, 5), torch.rand(3, 8, 2)]
    assert feature_distance({"x": maps}, {"x": [2 * maps[0], 3 * maps[1]]}) < 1e-10
    one, other = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[0.0], [5.0]]])
    assert torch.isclose(feature_distance({"x": [one]}, {"x": [other]}), torch.tensor(2.0))


def test_features_are_those_that_the_classes_are_told_by():
    network = FeatureClassifier(DataSchema(THREE, (0, 1, 2), ("a", "b", "c")), channels=4, stages=2)
    x = {name: torch.randn(5, *shape) for name, shape in THREE.items()}
    assert network(x).shape == (5, 3) and [len(maps) for maps in network.features(x).values()] == [2, 2, 2]


def test_a_unet_for_images_and_another_network_for_the_rest():
    made = by_rank(
        {"image": (3, 9, 10)}, 2, signal=None, image=lambda s, n: UNetDenoiser(s, n, block_out_channels=[16, 16])
    )
    x = {"image": torch.randn(4, 3, 9, 10)}
    torch.nn.init.normal_(made.unet.conv_out.weight)
    out = made(x, torch.rand(4), torch.tensor([0, 1, 2, 2]))["image"]
    assert out.shape == (4, 3, 9, 10) and not torch.allclose(
        out, made(x, torch.rand(4), torch.tensor([1, 0, 2, 2]))["image"]
    )
    other = by_rank(TWO, 2, signal=lambda s, n: DenseDenoiser(s, n, width=8, depth=1), image=None)
    assert isinstance(other, DenseDenoiser)
    with pytest.raises(MmganError, match="unet takes one image"):
        UNetDenoiser(TWO, 2)


# -- figures ------------------------------------------------------------------------------------------------------------
def test_perplexity_and_psnr():
    assert np.isclose(perplexity(np.arange(12).reshape(3, 4) % 6), 6)
    codes = np.array([0, 0, 0, 1, 1, 2])
    assert np.isclose(perplexity(codes), np.exp(stats.entropy([3, 2, 1])))
    x = {"a": np.array([[0.0, 255.0]]), "b": np.array([[0.0, 1.0]])}
    off = {"a": x["a"] + 25.5, "b": x["b"] + 0.01}
    assert np.isclose(psnr(x, off), (20 + 40) / 2)


# -- the first stage ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "overrides",
    [[], ["model/quantizer=fsq"], ["model/quantizer=none"], ["model/gan_loss=hinge", "model.shared_codebook=true"]],
    ids=str,
)
@pytest.mark.parametrize("shapes", [TWO, THREE], ids=["signals", "ranks 1, 2 and 3"])
def test_a_first_stage_trains_and_rebuilds_samples(shapes, overrides):
    dataset = dataset_of(shapes)
    model, trainer, before = train_stage(dataset, "model.coder.image.block_out_channels=[8, 8]", *overrides)
    for name, parameter in model.named_parameters():
        if not re.fullmatch(r"critic\.scores\.\d\.bias", name):  # of no gradient between scores
            assert not torch.equal(parameter, before[name]), name
    for phase in model.phases:
        logged = {key.split("/")[1] for key in trainer.callback_metrics if key.startswith(f"{phase.name}/")}
        assert logged == set(model.weights[phase.name]) | {"gradient_norm"}
    assert float(trainer.callback_metrics[model.monitor]) > 0
    rows, codes = model.reconstruct(dataset.x_train)
    tokens = int(np.prod(model.latent_shapes()["latent"][1:]))
    assert {name: value.shape for name, value in rows.items()} == {
        name: value.shape for name, value in dataset.x_train.items()
    }
    assert codes.shape == (len(dataset), tokens)
    if model.quantizers.size:
        assert 0 < trainer.callback_metrics["codebook/used"] <= 1 <= trainer.callback_metrics["codebook/perplexity"]


def test_the_critic_waits_for_its_epoch():
    model, trainer, before = train_stage(dataset_of(), "model.adversarial_start=100")
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name.startswith("critic."))
    assert trainer.callback_metrics["autoencoder/adversarial"] == 0
    assert not any(key.startswith("critic/") for key in trainer.callback_metrics)


def test_the_adversarial_weight_evens_out_the_gradients_at_the_last_layers():
    model, _, _ = train_stage(dataset_of())
    x = model.from_arrays({name: value[:16] for name, value in dataset_of().x_train.items()})
    model.requires_grad_(True)
    rebuilt = model.rebuilt(x)
    terms = {
        "reconstruction": l1(x, rebuilt),
        "perceptual": feature_distance(model.classifier.features(rebuilt), model.classifier.features(x)),
    }
    adversarial = model.gan_loss.generator_terms(model.critic, x, rebuilt, torch.arange(16) % 4)[0]
    weight = model._adaptive_weight(terms, adversarial)
    last = [coder.last.weight for coder in model.coders]
    total = terms["reconstruction"] + model.weights["autoencoder"]["perceptual"] * terms["perceptual"]
    lengths = [
        torch.sqrt(sum(g.square().sum() for g in torch.autograd.grad(term, last, retain_graph=True)))
        for term in (total, adversarial)
    ]
    assert torch.isclose(weight, lengths[0] / (lengths[1] + 1e-4), rtol=1e-4) and not weight.requires_grad


def test_latents_without_a_codebook_go_there_and_back():
    model, _, _ = train_stage(dataset_of(), "model/quantizer=none")
    x = model.from_arrays({name: value[:16] for name, value in dataset_of().x_train.items()})
    with model.evaluating():
        latents = model.to_latents(x)
        assert latents["latent"].shape[1:] == model.latent_shapes()["latent"]
        direct, through = model.rebuilt(x), model.from_latents(latents)
    assert all(torch.allclose(direct[name], through[name], atol=1e-6) for name in x)


# -- the second stage ---------------------------------------------------------------------------------------------------
def second_stage(data):
    """Return the space of a second stage, and of its training samples the scaled values, the classes, and the values rebuilt."""
    trained = train("ldm", data, "model.n_calibration_samples=0")
    x, y = trained.datamodule.samples(trained.datamodule.training_indices)
    space = trained.model.eval().space
    with torch.no_grad():
        scaled = trained.model.from_arrays(x)
        return space, scaled, y, space.first_stage.rebuilt(scaled)


def flat(x):
    return torch.cat([value.flatten(1) for value in x.values()], dim=1).double().numpy()


def test_latents_have_mean_0_and_deviation_1_in_each_channel_over_the_training_samples():
    space, x, _, rebuilt = second_stage(dataset_of())
    latents = space.encode(x)["latent"]
    channels = space.first_stage.latent_channels
    assert torch.allclose(latents.mean((0, 2)), torch.zeros(channels), atol=1e-4)
    assert torch.allclose(latents.std((0, 2), correction=0), torch.ones(channels), atol=1e-4)
    space.residual = 0.0
    np.testing.assert_allclose(flat(space.decode({"latent": latents}, 0, None)), flat(rebuilt), atol=1e-4)


@pytest.mark.slow
def test_drawn_samples_vary_around_what_is_rebuilt_as_training_samples_of_their_class_do():
    space, x, y, rebuilt = second_stage(dataset_of(rows=60))
    dropped = flat(x) - flat(rebuilt)
    z = space.encode({name: value[:1].expand(64, -1, -1) for name, value in x.items()})

    def varied(label):
        blocks = [flat(space.decode(z, label, BlockNoise(0, label, block))) for block in range(400)]
        return np.concatenate(blocks) - flat(rebuilt)[:1]

    for label in (0, 2):
        own = dropped[y == label]
        share = len(own) / (len(own) + 10)
        mean = share * own.mean(0) + (1 - share) * dropped.mean(0)
        second = share * own.T @ own / len(own) + (1 - share) * dropped.T @ dropped / len(dropped)
        covariance = second - np.outer(mean, mean)
        ours = varied(label)
        assert np.allclose(ours.mean(0), mean, atol=0.05)
        assert np.linalg.norm(np.cov(ours.T) - covariance) < 0.05 * np.linalg.norm(covariance)
    space.residual = 0.5
    assert math.isclose(varied(2).var(0).sum(), 0.25 * np.trace(covariance), rel_tol=0.05)


def test_the_first_stage_stays_as_it_was(tmp_path):
    path = first_stage(dataset_of(), tmp_path)
    content = read_checkpoint(path)
    cfg = compose("train", "model=ldm", f"first_stage={path}")
    model, _ = built(cfg, dataset_of())
    assert all(
        torch.equal(value, model.space.first_stage.state_dict()[name]) for name, value in content["state_dict"].items()
    )
    model.train()
    assert not model.space.first_stage.training and not any(
        p.requires_grad for p in model.space.first_stage.parameters()
    )


def test_the_first_stage_s_file_may_go(tmp_path, quick):
    path = first_stage(dataset_of(), tmp_path)
    train_fold(compose("train", "model=ldm", f"first_stage={path}", "final=true"), dataset_of(), 1, tmp_path / "ldm")
    path.unlink()
    model = load(tmp_path / "ldm" / "best.pth")
    assert model.sample(["run"] * 3)["spec"].shape == (3, 3, 10)


def stage_for(folder, dataset, *overrides, final=True, fold=1):
    cfg = compose("train", "model=vqgan", *overrides)
    model, _ = built(cfg, dataset, fold, final=final)
    write_checkpoint(folder / "stage.pth", model.recipe, model.state_dict())
    return folder / "stage.pth"


REFUSED = {
    "another fold": ({"fold": 2}, {}, "was trained on fold 2, this is fold 1"),
    "other data": ({"rows": 99}, {}, "was trained on other data than data"),
    "samples kept back": (
        {},
        {"final": False},
        "trained with final=True, on samples that this run, with final=False, keeps back",
    ),
    "fewer samples": ({"overrides": ["data.rows_per_class=3"]}, {}, "trained with rows_per_class=3"),
    "another inner split": ({"final": False, "overrides": ["seed=1"]}, {"final": False}, "trained with seed=1"),
    "no first stage": ({"model": "vae"}, {}, "this is a model=vae; give a run of model=vqgan"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_first_stage_that_saw_other_samples_is_refused(case, tmp_path):
    made, options, words = REFUSED[case]
    dataset = dataset_of()
    if made.get("model"):
        model, _ = built(compose("train", "model=vae"), dataset)
        path = tmp_path / "stage.pth"
        write_checkpoint(path, model.recipe, model.state_dict())
    else:
        theirs = dataset_of(rows=made.get("rows", 100))
        path = stage_for(
            tmp_path, theirs, *made.get("overrides", []), final=made.get("final", True), fold=made.get("fold", 1)
        )
    cfg = compose("train", "model=ldm", f"first_stage={path}")
    with pytest.raises(MmganError, match=words):
        built(cfg, dataset, final=options.get("final", True))


def test_a_final_run_and_a_sweep_s_refit_take_a_first_stage_that_kept_samples_back(tmp_path):
    path = stage_for(
        tmp_path, dataset_of(), "model/quantizer=none", final=False
    )  # a codebook without training begins with its first batch
    kept = read_checkpoint(path)["state_dict"]
    for final in (False, True):
        model, _ = built(compose("train", "model=ldm", f"first_stage={path}"), dataset_of(), final=final)
        state = model.state_dict()
        assert all(
            torch.equal(state[f"space.first_stage.{name}"], value) for name, value in kept.items()
        )  # its scaler too


def test_the_first_stage_is_an_option_of_its_own(tmp_path):
    path = first_stage(dataset_of(), tmp_path)
    with pytest.raises(MmganError, match="give the first stage as first_stage="):
        built(compose("train", "model=ldm", f"model.space.first_stage={path}"), dataset_of())


@pytest.mark.parametrize("command", ["train", "tune"])
def test_the_commands_take_that_option(command):
    check_options(compose(command, "model=ldm", "first_stage=runs/stage"))


@pytest.mark.parametrize("key", ["fingerprint", "seed", "final", "data"])
def test_a_first_stage_whose_recipe_is_not_whole_is_refused(key, tmp_path):
    path = first_stage(dataset_of(), tmp_path)
    content = torch.load(path, weights_only=True)
    del content["recipe"][key]
    torch.save(content, path)
    with pytest.raises(MmganError, match="its recipe is not whole"):
        built(compose("train", "model=ldm", f"first_stage={path}"), dataset_of())


def test_a_first_stage_whose_task_has_been_changed_is_refused(tmp_path):
    path = first_stage(dataset_of(), tmp_path)
    content = torch.load(path, weights_only=True)
    content["recipe"]["model"]["task"]["more"] = 1
    torch.save(content, path)
    with pytest.raises(MmganError, match="its task takes other options"):
        built(compose("train", "model=ldm", f"first_stage={path}"), dataset_of())


def test_a_folder_of_folds_means_the_fold_s(tmp_path):
    for fold in (1, 2):
        (tmp_path / f"fold{fold}").mkdir()
        stage_for(tmp_path / f"fold{fold}", dataset_of(), fold=fold).rename(tmp_path / f"fold{fold}" / "best.ckpt")
    cfg = compose("train", "model=ldm", f"first_stage={tmp_path}")
    for fold in (1, 2):
        model, _ = built(cfg, dataset_of(), fold)
        assert model.recipe["fold"] == fold and model.recipe["model"]["space"]["first_stage"]["name"] == "vqgan"
    with pytest.raises(MmganError, match=r"holds no best\.ckpt of fold 3"):
        built(cfg, dataset_of(), 3)


def test_a_model_without_a_first_stage_takes_none(tmp_path):
    path = first_stage(dataset_of(), tmp_path)
    with pytest.raises(MmganError, match="model=vae has no first stage"):
        built(compose("train", "model=vae", f"first_stage={path}"), dataset_of())
    with pytest.raises(MmganError, match="needs a trained first stage"):
        built(compose("train", "model=ldm"), dataset_of())


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(MmganError, match="heads=3 do not divide width=8"):
        PatchCoder((3, 8), 4, width=8, heads=3)


@pytest.mark.parametrize("denoiser", ["dense", "transformer", "by_rank"])
def test_a_search_has_keys_of_the_network_that_is_chosen(denoiser):
    cfg = compose("tune", "model=diffusion", f"model/denoiser={denoiser}")
    asked = plain(cfg.search.space)
    space = usable_space(asked, {key: OmegaConf.select(cfg, key) for key in asked}, "conf/search/diffusion.yaml")
    prefix = "model.denoiser.signal." if denoiser == "by_rank" else "model.denoiser."
    assert {"model.lr.denoiser", f"{prefix}width"} <= set(space)


# -- without the extra --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["model=vqgan"], "model/quantizer=vq"),
        (["model=vqgan", "model/quantizer=fsq"], "model/quantizer=fsq"),
        (["model=diffusion", "model/denoiser=unet"], "model/denoiser=unet"),
    ],
)
def test_what_needs_the_extra_says_how_to_install_it(words, named, monkeypatch):
    monkeypatch.setattr("mmgan.errors.find_spec", lambda package: None)
    with pytest.raises(MmganError, match=rf"{named} needs the package \w+: .*\.\[diffusion\]"):
        built(compose("train", *words), dataset_of())


def test_diffusion_on_signals_needs_no_extra(monkeypatch):
    monkeypatch.setattr("mmgan.errors.find_spec", lambda package: None)
    built(compose("train", "model=diffusion"), dataset_of())

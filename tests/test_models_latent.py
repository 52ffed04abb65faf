"""What models with an encoder know of latents: reconstructions, traversals, active units; and the tutorial's film."""

import numpy as np
import pytest
import torch
from conftest import TWO, compose, content, rows_of
from PIL import Image
from sklearn.decomposition import PCA

from mmgan.commands.build import fold_run, load_data, train_fold
from mmgan.data.files import write_pickle
from mmgan.errors import MmganError
from mmgan.models import latent
from mmgan.models.memory import AggregatePosterior
from mmgan.models.noise import BLOCK_SIZE
from mmgan.models.synthesizer import Synthesizer
from mmgan.training.callbacks import KeepNew
from mmgan.training.checkpoint import load
from mmgan.training.pictures import Plane, traversed

ENCODERS = ("vacwgan", "vae")


@pytest.fixture(scope="module", params=ENCODERS)
def trained(request, tmp_path_factory):
    """A model after one epoch, its samples (n, ...) and their labels."""
    path = tmp_path_factory.mktemp("data") / "data.pkl"
    write_pickle(path, content())
    cfg = compose("train", f"model={request.param}", path=path)
    model, datamodule = fold_run(cfg, load_data(cfg), 1).build(True)
    with model.evaluating():
        model.after_epoch()
    x, y = datamodule.samples(datamodule.training_indices)
    return model, x, y


def test_a_reconstruction_is_the_same_each_time_and_sample_by_sample(trained):
    model, x, y = trained
    synthesizer = Synthesizer(model)
    rebuilt = synthesizer.reconstruct(x, y)
    assert {name: rows.shape for name, rows in rebuilt.items()} == {name: rows.shape for name, rows in x.items()}
    some = synthesizer.reconstruct({name: rows[3:5] for name, rows in x.items()}, y[3:5])
    for name in x:
        assert rebuilt[name].tobytes() == synthesizer.reconstruct(x, y)[name].tobytes()
        np.testing.assert_allclose(some[name], rebuilt[name][3:5], rtol=1e-4, atol=1e-5)
    with model.evaluating():
        scaled = model.scaler({name: torch.from_numpy(rows[:1]) for name, rows in x.items()})
        mu, _ = model.encoder(scaled)
        made = model.average(mu, torch.tensor(y[:1]), torch.zeros(1, model.generator.noise_dim)).mean
        made = model.scaler.inverse(made)
    for name in x:
        np.testing.assert_allclose(rebuilt[name][:1], made[name].numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(MmganError, match="labels"):
        synthesizer.reconstruct(x, y[:-1])
    with pytest.raises(MmganError, match=r"not finite; leave such samples out"):
        synthesizer.reconstruct({name: rows * np.nan for name, rows in x.items()}, y)


def test_calibration_samples_are_the_same_one_block_or_several_at_a_time(trained, monkeypatch):
    model, _, y = trained
    fitted = []
    for together in (BLOCK_SIZE, latent.TOGETHER):
        monkeypatch.setattr(latent, "TOGETHER", together)
        latent.fit_quantile_mapping(model, np.bincount(y) * 10)
        fitted.append({name: values.clone() for name, values in model.mapping.state_dict().items()})
    for name, values in fitted[0].items():
        torch.testing.assert_close(values, fitted[1][name], equal_nan=True)


@pytest.mark.parametrize("name", [*ENCODERS, "cgan"])
def test_best_ckpt_is_mapped_by_all_calibration_samples_and_last_ckpt_by_some(name, tiny, tmp_path, quick):
    cfg = compose("train", f"model={name}", "model.n_calibration_samples=2000", "trainer.max_epochs=1", path=tiny)
    run = fold_run(cfg, load_data(cfg), 1)
    folder, counts = run.run(tmp_path / "run").folder, run.build(False)[0].class_counts

    def agrees(file, most):
        model = load(folder / file).model
        kept = {key: value.clone() for key, value in model.mapping.state_dict().items()}
        latent.fit_quantile_mapping(model, counts, most)
        return all(torch.equal(value, kept[key]) for key, value in model.mapping.state_dict().items())

    assert agrees("best.ckpt", None) and agrees("best.pth", None) and agrees("last.ckpt", latent.IN_TRAINING)
    assert not agrees("best.ckpt", latent.IN_TRAINING) and not agrees("last.ckpt", None)


def test_a_task_of_one_s_own_gets_a_checkpoint_mapped_by_all_calibration_samples(tiny, tmp_path):
    words = [
        "model.n_calibration_samples=2000",
        "trainer.max_epochs=1",
        "model.task._target_=mmgan.training.tasks.Task",
        "final=true",
    ]
    cfg = compose("train", *words, path=tiny)
    folder = fold_run(cfg, load_data(cfg), 1).run(tmp_path / "run").folder
    best, last = (load(folder / name).mapping.state_dict() for name in ("best.ckpt", "last.ckpt"))
    assert not torch.equal(best["generated.scalers.0.values"], last["generated.scalers.0.values"])


@pytest.mark.parametrize(
    ("of_a_part", "of_all", "n_samples", "found"),
    [(0.96, 0.9, 2000, 0.9), (0.5, 0.93, 2000, 0.93), (0.98, None, 2000, 0.98), (0.5, None, 1000, 0.5)],
)
def test_near_the_limit_of_novelty_all_calibration_samples_are_looked_at(
    trained, monkeypatch, of_a_part, of_all, n_samples, found
):
    model, _, y = trained
    monkeypatch.setattr(model.mapping, "n_samples", n_samples)
    model.class_counts = np.bincount(y)
    latent.fit_quantile_mapping(model, model.class_counts, latent.IN_TRAINING)
    seen = []

    def novelty(synthesizer):
        seen.append(synthesizer.model.mapping.generated.state_dict()["scalers.0.values"].clone())
        return (of_a_part, of_all)[len(seen) - 1]

    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert KeepNew(limit=0.92)._found(model, novelty) == found
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert len(seen) == (1 if of_all is None else 2) and not (len(seen) == 2 and torch.equal(*seen))


def test_a_traversal_begins_at_the_class_s_mean_and_moves_one_dimension(trained):
    model, _, _ = trained
    values = np.array([-1.0, 0.0, 1.0])
    chosen, drawn = traversed(model, 1, values, 2)
    spread = model.latents.mu.std(0, correction=0)
    assert chosen == spread.argsort(descending=True)[:2].tolist() and len(drawn) == 2
    for name, shape in TWO.items():
        assert all(rows[name].shape == (3, *shape) for rows in drawn)
        np.testing.assert_allclose(drawn[0][name][1], drawn[1][name][1], rtol=1e-5)  # where both stand at the mean
        assert not np.allclose(drawn[0][name][0], drawn[0][name][2])


def test_active_units_are_dimensions_whose_means_differ_from_sample_to_sample():
    latents = AggregatePosterior(4)
    assert latents.active_units() == 0  # before the first epoch has ended
    turns = torch.tensor([-1.0, 1, -1, 1, -1, 1])
    mu = torch.stack([0 * turns, 0 * turns, turns, 0.05 * turns], dim=1)  # the last has a variance of .0025
    latents.fit(torch.zeros(6, dtype=torch.int64), mu=mu, logvar=torch.zeros(6, 4))
    assert latents.active_units() == 1


def test_a_plane_of_two_values_shows_them_and_otherwise_principal_components():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 2))
    assert np.array_equal(Plane({"xy": points})({"xy": points}), points)
    x = rows_of(TWO, np.arange(20) % 4)
    flat = np.hstack([rows.reshape(20, -1) for rows in x.values()])
    found = Plane(x)(x)
    np.testing.assert_allclose(np.abs(found), np.abs(PCA(2, random_state=0).fit_transform(flat)), atol=1e-4)
    assert not Plane({"x": points[:, :1]}).exists


@pytest.mark.slow
def test_the_film_has_a_picture_of_each_epoch_also_where_a_run_went_on(tmp_path):
    short = ["experiment=linear_gan", "data.n_train=60", "data.steps_per_epoch=3", "trainer.accelerator=cpu"]
    path = tmp_path / "run"
    for epochs, resume in ((2, "false"), (3, "true")):
        cfg = compose("train", *short, f"trainer.max_epochs={epochs}", f"resume={resume}", small=False)
        train_fold(cfg, load_data(cfg), 1, path)
    with Image.open(path / "film.gif") as film:
        assert film.n_frames == 3


@pytest.mark.slow
def test_the_image_vae_trains_on_images_of_a_file(tmp_path):
    rng = np.random.default_rng(0)
    images = {"image": rng.uniform(0, 1, (40, 3, 16, 16)).astype(np.float32)}
    write_pickle(tmp_path / "images.pkl", {"x_train": images, "y_train": np.arange(40) % 2})
    small = ["model.encoder.branch.channels=2", "model.generator.branch.channels=2"]
    small += ["trainer.max_epochs=1", "data.steps_per_epoch=2", "trainer.accelerator=cpu"]
    cfg = compose(
        "train",
        "experiment=vanilla_vae_images",
        "data=pkl",
        f"data.path={tmp_path / 'images.pkl'}",
        *small,
        small=False,
    )
    train_fold(cfg, load_data(cfg), 1, tmp_path / "run")
    synthesizer = load(tmp_path / "run" / "best.ckpt")
    model = synthesizer.model
    assert (
        len([m for m in model.encoder.modules() if isinstance(m, torch.nn.Conv2d) and 2 in m.stride]) == 2
    )  # 16 -> 8 -> 4
    widths = [m.out_channels for m in model.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert widths[::3] == [2, 4, 8, 16, 32]
    assert synthesizer.sample([0, 1])["image"].shape == (2, 3, 16, 16)

"""One battery for every generator in conf/model/: what a `Synthesizer` promises, and what its training does."""

import itertools
import random
import tempfile
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from conftest import CONF, THREE, TWO, compose, rows_of
from torch.utils._python_dispatch import TorchDispatchMode

from mmgan.commands.build import fold_run, task_of
from mmgan.data.dataset import Dataset
from mmgan.data.sources import pkl
from mmgan.errors import MmganError
from mmgan.models.memory import memory_indices
from mmgan.models.module import DivergedError, PhasedModel
from mmgan.models.synthesizer import Synthesizer
from mmgan.schema import DataSchema
from mmgan.training.checkpoint import load, write_checkpoint
from mmgan.training.tasks import Generation

CONFIGS = {path.stem: compose("train", f"model={path.stem}") for path in sorted((CONF / "model").glob("*.yaml"))}
SYNTHESIZERS = [name for name, cfg in CONFIGS.items() if isinstance(task_of(cfg), Generation)]
NEURAL = [name for name in SYNTHESIZERS if "lr" in CONFIGS[name].model]  # the others are not trained
USUAL = (
    "vacwgan",
    "vae",
    "diffusion",
    "smote",
)  # one of each kind; what is tried on all of them takes too long to be quick
LABELS = ("walk", "run", "rest", "jump")  # the data's own; sorted they are in another order than these


def each_of(names):
    """Return the families to try: all, and those beyond the usual ones slowly."""
    return [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in names]


def dataset_of(shapes=None, rows=100, classes=4, splits=None):
    y = np.arange(rows) % classes
    schema = DataSchema(dict(shapes or TWO), LABELS[:classes], LABELS[:classes])
    return Dataset(schema, rows_of(shapes or TWO, y), y.astype(np.int64), splits=splits)


def built(cfg, dataset, fold=1, *, final=True):
    """Return the model of a configuration, which has seen the fold's training samples, and the fold's datamodule."""
    return fold_run(cfg, dataset, fold).build(final)


def first_stage(dataset, folder, split="stratified"):
    """Return the checkpoint, in `folder`, of a small first stage for all training samples of fold 1, which has learnt nothing: no codes."""
    model, _ = built(compose("train", "model=vqgan", "model/quantizer=none", f"data.split={split}"), dataset)
    write_checkpoint(folder / "stage.pth", model.recipe, model.state_dict())
    return folder / "stage.pth"


def train(name, dataset, *overrides, precision="32-true", epochs=2, devices=1, **options):
    """Train the small model of conf/model/<name>.yaml on fold 1 for `epochs` x 2 batches."""
    cfg = compose("train", f"model={name}", *overrides)
    with tempfile.TemporaryDirectory() as folder:
        if "space" in cfg.model:
            cfg.first_stage = str(first_stage(dataset, Path(folder), cfg.data.split))
        model, datamodule = built(cfg, dataset)
    trained = SimpleNamespace(
        name=name, model=model, synthesizer=Synthesizer(model), dataset=dataset, datamodule=datamodule
    )
    if not model.needs_training:
        return trained
    trained.before = {key: value.detach().clone() for key, value in model.named_parameters()}
    trained.trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=devices, precision=precision, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    trained.trainer.fit(model, datamodule=datamodule)
    return trained


@pytest.fixture(scope="module", params=SYNTHESIZERS)
def run(request):
    return train(request.param, dataset_of())


@pytest.fixture
def synthesizer(run):
    return run.synthesizer


@pytest.fixture(scope="module", params=NEURAL)
def neural(request):
    return train(request.param, dataset_of())


def scaled_batch(trained):
    return trained.model.scaled(next(iter(trained.datamodule.train_dataloader())))


def same(a, b):
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def test_there_is_something_to_test():
    assert "vacwgan" in SYNTHESIZERS


# -- training -----------------------------------------------------------------------------------------------------------
def trained_parameters(model):
    return {
        id(p) for optimizer in model.configure_optimizers() for group in optimizer.param_groups for p in group["params"]
    }


def test_every_trained_parameter_moves_and_the_frozen_ones_have_no_optimizer(neural):
    optimized = trained_parameters(neural.model)
    for name, parameter in neural.model.named_parameters():
        frozen = name.startswith(("average.", "space."))
        assert (id(parameter) in optimized) != frozen, name
        # A Wasserstein game compares scores, so that a constant added to all of them has no gradient.
        constant = name.startswith("critic.") and name.endswith("bias") and parameter.shape[-1] == 1
        if not frozen and not constant:
            assert not torch.equal(parameter, neural.before[name]), name


def test_no_parameter_has_two_optimizers(neural):
    listed = [p for o in neural.model.configure_optimizers() for group in o.param_groups for p in group["params"]]
    assert len(listed) == len({id(p) for p in listed})


def test_a_phase_moves_its_own_modules_and_leaves_no_gradient_on_the_others(neural):
    model = neural.model
    for phase, optimizer in zip(model.phases, model.configure_optimizers(), strict=True):
        model.zero_grad(set_to_none=True)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        model.update(phase, optimizer, *scaled_batch(neural))
        own = {id(p) for module in phase.modules for p in module.parameters()}
        for name, parameter in model.named_parameters():
            if id(parameter) not in own:
                assert parameter.grad is None and torch.equal(parameter, before[name]), (phase.name, name)
        assert any(p.grad is not None for p in model.parameters() if id(p) in own)


def test_the_words_for_terms_are_those_of_the_weights_and_of_the_log(neural):
    x, labels = scaled_batch(neural)
    logged = set(neural.trainer.callback_metrics)
    assert set(neural.model.weights) == {phase.name for phase in neural.model.phases}
    for phase in neural.model.phases:
        terms = phase.terms(x, labels)
        assert terms.keys() == neural.model.weights[phase.name].keys()
        assert {f"{phase.name}/{term}" for term in terms} | {f"{phase.name}/gradient_norm"} <= logged
        assert all(value.shape == () for value in terms.values())


def test_lightning_counts_batches(neural):
    assert neural.trainer.global_step == 4


def test_a_term_that_is_not_finite_is_named(neural):
    model, (x, labels) = neural.model, scaled_batch(neural)
    phase, optimizer = model.phases[0], model.configure_optimizers()[0]
    sound = {name: value.clone() for name, value in model.state_dict().items()}
    model.on_train_epoch_start()
    model.update(phase, optimizer, x, labels)
    model.check_finite()
    next(iter(x.values()))[0] = float("nan")
    model.update(phase, optimizer, x, labels)
    batches = model.global_step + 1 // phase.repeats
    with pytest.raises(DivergedError, match=rf"{phase.name}/\w+.* is not finite in batch {batches + 1};"):
        model.check_finite()
    model.load_state_dict(sound)
    model.on_train_epoch_start()


class Looks(TorchDispatchMode):
    """Counts how often a value is asked for on the host, for which a GPU would have to be waited for."""

    found = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.found += function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return function(*args, **(kwargs or {}))


def test_a_step_waits_for_no_value(neural):
    model, (x, labels) = neural.model, scaled_batch(neural)
    optimizers = model.configure_optimizers()
    with Looks() as looks:
        model.before_batch(x, labels)
        for phase, optimizer in zip(model.phases, optimizers, strict=True):
            model.update(phase, optimizer, x, labels)
        model.after_batch(x, labels)
    per_class = neural.name == "gan"  # its networks ask how many samples the largest class of a batch has
    assert (looks.found > 0) == per_class


def test_what_is_prepared_once_an_epoch_is_what_each_batch_would_be(neural, monkeypatch):
    model, loader = neural.model, neural.datamodule.train_dataloader()
    monkeypatch.setattr(loader.sampler, "steps", 50)  # of an epoch that shows each sample more than once
    with model.evaluating():  # tied values are not spread by chance
        alone = model.prepared(model.scaled(next(iter(loader)))[0])
        assert loader.prepare(model.prepared_values)
    torch.testing.assert_close(model.training_batch(next(iter(loader)))[0], alone, rtol=1e-4, atol=1e-4)


def test_the_model_declares_its_monitor(neural):
    assert neural.model.monitor and neural.model.mode in ("max", "min")


# -- sampling -----------------------------------------------------------------------------------------------------------
def test_samples_have_the_shapes_of_the_data(synthesizer):
    labels = ["rest"] * 3 + ["walk"] * 70
    rows = synthesizer.sample(labels, seed=3)
    assert list(rows) == list(synthesizer.schema.modalities)
    for name, shape in synthesizer.schema.modalities.items():
        assert rows[name].shape == (73, *shape) and rows[name].dtype == np.float32
        assert np.isfinite(rows[name]).all()
        if isinstance(synthesizer.model, PhasedModel):
            assert rows[name].min() >= 0  # as in the training samples
            assert len(np.unique(rows[name].reshape(73, -1), axis=0)) == 73


def test_same_seed_same_bytes_and_another_seed_other_samples(synthesizer):
    labels = ["run"] * 5 + ["rest"] * 5
    assert same(synthesizer.sample(labels, seed=1), synthesizer.sample(np.array(labels), seed=1))
    assert same(synthesizer.sample(labels), synthesizer.sample(labels, seed=0))
    assert not same(synthesizer.sample(labels, seed=1), synthesizer.sample(labels, seed=2))


def test_a_sample_depends_on_seed_label_and_rank_alone(synthesizer):
    many = synthesizer.sample(["run"] * 150 + ["rest"] * 2, seed=5)
    mixed = ["rest", "run", "walk", "run", "run", "rest", "jump"]
    rows = synthesizer.sample(mixed, seed=5)
    for name in rows:
        assert rows[name][[1, 3, 4]].tobytes() == many[name][:3].tobytes()
        assert rows[name][[0, 5]].tobytes() == many[name][150:].tobytes()
        assert synthesizer.sample(["run"] * 65, seed=5)[name].tobytes() == many[name][:65].tobytes()


def test_classes_differ(synthesizer):
    rows = synthesizer.sample(["run"] * 4 + ["walk"] * 4)
    assert all(not np.allclose(value[:4], value[4:]) for value in rows.values())


def test_sampling_leaves_global_random_states_and_the_training_mode_alone(synthesizer):
    given = {name: value[:4] for name, value in rows_of(TWO, np.zeros(4)).items()}
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002 - the state others use
    for training in (True, False):
        modules = modules_in_mode(synthesizer.model, training)
        synthesizer.sample(["run", "walk"])
        if hasattr(synthesizer.model, "regenerate"):
            synthesizer.resample(given, ["run"] * 4)
        assert all(module.training == training for module in modules)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()


def modules_in_mode(model, training):
    """Set the mode of a model, and return the modules that it concerns: all but a first stage, which is frozen."""
    if not isinstance(model, PhasedModel):
        return []
    model.train(training)
    frozen = set(model.space.first_stage.modules()) if hasattr(getattr(model, "space", None), "first_stage") else set()
    return [module for module in model.modules() if module not in frozen]


def test_samples_are_the_same_in_either_mode(synthesizer):
    drawn = []
    for training in (True, False):
        modules_in_mode(synthesizer.model, training)
        drawn.append(synthesizer.sample(["run"] * 3))
    assert same(*drawn)


@pytest.mark.parametrize("labels", [["swim"], [0], ["run", "Run"], []], ids=str)
def test_unknown_labels_are_refused(synthesizer, labels):
    with pytest.raises(MmganError, match="label"):
        synthesizer.sample(labels)


def test_every_way_to_sample_works_and_others_are_refused(synthesizer):
    drawn = [synthesizer.sample(["run"] * 4, sampling=sampling) for sampling in synthesizer.model.samplings]
    assert all(not same(one, other) for one, other in itertools.pairwise(drawn))
    usual = synthesizer.model.samplings.index(synthesizer.model.sampling)
    assert same(synthesizer.sample(["run"] * 4), drawn[usual])
    with pytest.raises(MmganError, match=r"sampling=magic: .*prior"):
        synthesizer.sample(["run"], sampling="magic")


def test_samples_near_given_ones_or_a_sentence(synthesizer):
    labels = ["run"] * 70 + ["rest"] * 3
    x = rows_of(TWO, np.repeat([1, 2], [70, 3]))
    if not hasattr(synthesizer.model, "regenerate"):
        with pytest.raises(MmganError, match="samples near given samples"):
            synthesizer.resample(x, labels)
        return
    rows = synthesizer.resample(x, labels, seed=4)
    assert {name: value.shape for name, value in rows.items()} == {name: value.shape for name, value in x.items()}
    assert same(rows, synthesizer.resample(x, labels, seed=4)) and not same(
        rows, synthesizer.resample(x, labels, seed=5)
    )
    few = synthesizer.resample({name: value[:2] for name, value in x.items()}, labels[:2], seed=4)
    assert all(few[name].tobytes() == rows[name][:2].tobytes() for name in rows)
    with pytest.raises(MmganError, match="73 samples"):
        synthesizer.resample(x, labels[:-1])
    with pytest.raises(MmganError, match="modalities"):
        synthesizer.resample({"spec": x["spec"]}, labels)
    with pytest.raises(MmganError, match="shape"):
        synthesizer.resample(x | {"env": x["env"][:, :1]}, labels)


def test_samples_rebuilt_or_a_sentence(synthesizer):
    x = rows_of(TWO, np.arange(4))
    if not hasattr(synthesizer.model, "reconstruct"):
        with pytest.raises(MmganError, match="cannot rebuild samples"):
            synthesizer.reconstruct(x, LABELS)
        return
    assert synthesizer.reconstruct(x, LABELS)["spec"].shape == x["spec"].shape


def test_a_modality_for_another_or_a_sentence(synthesizer):
    labels = ["run"] * 70 + ["rest"] * 3
    x = {"spec": rows_of(TWO, np.repeat([1, 2], [70, 3]))["spec"]}
    if not hasattr(synthesizer.model, "complete"):
        with pytest.raises(MmganError, match="one modality for another"):
            synthesizer.complete(x, labels)
        return
    rows = synthesizer.complete(x, labels, seed=4)
    assert rows.keys() == TWO.keys() and rows["spec"].tobytes() == x["spec"].tobytes()
    assert rows["env"].shape == (73, *TWO["env"]) and (rows["env"] >= 0).all()
    assert same(rows, synthesizer.complete(x, labels, seed=4)) and not same(
        rows, synthesizer.complete(x, labels, seed=5)
    )
    few = synthesizer.complete({"spec": x["spec"][:2]}, labels[:2], seed=4)
    assert all(few[name].tobytes() == rows[name][:2].tobytes() for name in rows)
    for wrong in ({}, rows, {"other": x["spec"]}, {"spec": x["spec"][:, :1]}):
        with pytest.raises(MmganError, match=r"modalities|shape"):
            synthesizer.complete(wrong, labels)
    with pytest.raises(MmganError, match="73 samples"):
        synthesizer.complete(x, labels[:-1])


# -- on disk ------------------------------------------------------------------------------------------------------------
def test_a_loaded_model_draws_the_same_bytes(run, tmp_path):
    path = tmp_path / "best.pth"
    torch.save({"recipe": run.model.recipe, "state_dict": run.model.state_dict()}, path)
    loaded = load(path)
    labels = ["rest"] * 3 + ["walk"] * 70
    assert not getattr(loaded.model, "training", False) and loaded.schema == run.synthesizer.schema
    assert same(loaded.sample(labels, seed=9), run.synthesizer.sample(labels, seed=9))


def test_tensors_that_do_not_fit_the_recipe_are_refused(run, tmp_path):
    state = run.model.state_dict()
    state.pop(next(iter(state)))
    torch.save({"recipe": run.model.recipe, "state_dict": state}, tmp_path / "cut.pth")
    with pytest.raises(MmganError, match=r"cut\.pth: its tensors do not fit"):
        load(tmp_path / "cut.pth")


# -- the order of modalities --------------------------------------------------------------------------------------------
QUICK = ("vae", "smoothed_bootstrap")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SYNTHESIZERS]
)
def test_the_order_of_modalities_in_a_file_decides_nothing_but_that_of_those_drawn(name):
    y = np.arange(100) % 4
    x, drawn = rows_of({"b": (3,), "spec": (3, 10), "a": (3,)}, y), []
    for order in (["b", "a", "spec"], ["spec", "a", "b"]):
        dataset = pkl.dataset_of({"x_train": {each: x[each] for each in order}, "y_train": y}, "it")
        assert DataSchema.from_dict(dataset.schema.to_dict()) == dataset.schema
        drawn.append(train(name, dataset).synthesizer.sample({0: 3, 1: 70}, seed=1))
        assert list(drawn[-1]) == list(dataset.schema.as_given(x)) == order
    assert same(*drawn)


# -- odd data -----------------------------------------------------------------------------------------------------------
ONE_SAMPLE_EACH = [{"fold": 1, "train_indices": np.arange(4), "val_indices": np.arange(4, 12)}]
ODD = {
    "one class": {"classes": 1},
    "one sample per class": {"splits": ONE_SAMPLE_EACH},
    "ranks 1, 2 and 3": {"shapes": THREE},
    "one modality": {"shapes": {"x": (5,)}},
    "names of module attributes": {"shapes": {"type": (3,), "values": (4,), "forward": (2, 8)}},
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", each_of(SYNTHESIZERS))
def test_odd_data(name, odd):
    dataset = dataset_of(**ODD[odd])
    synthesizer = train(name, dataset, "data.split=file", epochs=1).synthesizer
    rows = synthesizer.sample(list(dataset.schema.labels) * 2)
    assert all(np.isfinite(value).all() for value in rows.values())
    if hasattr(synthesizer.model, "regenerate"):
        synthesizer.resample(rows, list(dataset.schema.labels) * 2)


@pytest.mark.parametrize("name", NEURAL)
def test_mixed_precision_trains_to_finite_samples(name):
    trained = train(name, dataset_of(), precision="bf16-mixed")
    assert all(torch.isfinite(p).all() and p.dtype == torch.float32 for p in trained.model.parameters())
    trained.synthesizer.sample(["run"] * 100)


@pytest.mark.parametrize("name", NEURAL)
def test_a_step_in_mixed_precision_starts_from_the_weights_of_the_one_before(name):
    trained = train(name, dataset_of())
    model, (x, labels) = trained.model, scaled_batch(trained)
    phase, optimizer = model.phases[0], model.configure_optimizers()[0]
    with torch.autocast("cpu", torch.bfloat16):
        model.update(phase, optimizer, x, labels)
        torch.manual_seed(0)
        within = phase.terms(x, labels)
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(0)
        afresh = phase.terms(x, labels)
    assert all(torch.equal(within[term], afresh[term]) for term in within)


class RanksAgree(L.Callback):
    """Fails unless two processes see samples of their own and have, all the same, the same weights at the end."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        assert not torch.equal(*self.of_both(batch[0].flatten()))

    def on_train_end(self, trainer, pl_module):
        weights = torch.cat([p.detach().flatten() for p in pl_module.parameters()])
        assert torch.equal(*self.of_both(weights))

    def of_both(self, tensor):
        found = [torch.empty_like(tensor) for _ in range(2)]
        torch.distributed.all_gather(found, tensor)
        return found


@pytest.mark.slow
@pytest.mark.parametrize("name", NEURAL)
def test_two_processes_train_one_model(name):
    trained = train(
        name, dataset_of(), devices=2, strategy="ddp_fork_find_unused_parameters_true", callbacks=[RanksAgree()]
    )
    assert any(not torch.equal(p, trained.before[key]) for key, p in trained.model.named_parameters())
    assert all(np.isfinite(rows).all() for rows in trained.synthesizer.sample(["run"] * 10).values())


def test_rare_classes_keep_all_their_memory_indices():
    y = np.repeat([0, 1, 2], [900, 7, 60])
    kept = memory_indices(y, 100)
    counts = np.bincount(y[kept])
    assert len(kept) == len(set(kept)) == 100 and counts[1] == 7 and abs(counts[0] - counts[2]) <= 1
    assert sorted(memory_indices(y, 5000)) == list(range(967))

"""The classifier: what it learns, answers without a modality, does with synthetic samples, and writes."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import compose, content, rows_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_models_contract import built

import mmgan
from mmgan.commands.build import load_data
from mmgan.commands.synthesize import synthesize
from mmgan.commands.train import train_folds
from mmgan.data.files import read_archive, write_pickle
from mmgan.errors import MmganError
from mmgan.evaluation.prediction import calibration_error, scores
from mmgan.models.members import ClassicalMembers
from mmgan.schema import DataSchema
from mmgan.training.predictions import write_predictions

CLASSICAL = "model.classical={_target_:mmgan.models.members.ClassicalMembers,_partial_:true}"
MEMBERS = ["network", "svc", "neighbours", "neighbours spec", "neighbours env"]
LONG = [
    "final=true",
    "data.n_splits=3",
    "trainer.max_epochs=8",
    "data.steps_per_epoch=12",
    "data.batch_size=32",
    "model.corruption.noise=0.5",
    CLASSICAL,
]


@pytest.fixture(scope="module")
def data_file(tmp_path_factory):
    """160 samples, two modalities, 4 classes, and 20 test samples."""
    path = tmp_path_factory.mktemp("data") / "data.pkl"
    y = np.arange(20) % 4
    shapes = {name: value.shape[1:] for name, value in content()["x_train"].items()}
    write_pickle(path, content(rows=160, class_names=["a,b", "c", "d", "e"], x_test=rows_of(shapes, y, 5)))
    return path


def config(path, *overrides):
    return compose("train", "model=robust_classifier", *overrides, path=path)


@pytest.fixture(scope="module")
def trained(data_file, tmp_path_factory):
    """Folds 1 to 3 of a training long enough to learn something."""
    out = tmp_path_factory.mktemp("runs") / "all"
    cfg = config(data_file, "fold=all", f"out_dir={out}", *LONG)
    return train_folds(cfg), load_data(cfg), out


@pytest.mark.slow
def test_it_learns_and_says_how_well(trained):
    results, _, out = trained
    metrics = json.loads((out / "fold1" / "metrics.json").read_text())
    assert metrics["scores"].keys() == {"macro_f1", "accuracy", "calibration_error", "log_likelihood"}
    assert np.mean([result.metrics["scores"]["macro_f1"] for result in results]) > 0.5  # chance is .25
    assert (out / "fold1" / "confusion.png").exists()


@pytest.mark.slow
def test_it_answers_without_a_modality(trained):
    results, dataset, _ = trained
    model = mmgan.load(results[0].folder / "best.ckpt")
    x, y = dataset.x_train, dataset.y_train
    full = model.predict_probabilities(x)
    assert full.shape == (160, 4) and full.sum(1) == pytest.approx(np.ones(160), abs=1e-5)
    for name in x:
        alone = model.predict_probabilities({name: x[name]})
        assert scores(y, alone)["macro_f1"] > 0.4 and not np.allclose(alone, full)
    np.testing.assert_allclose(
        model.predict_probabilities({k: v[:3] for k, v in x.items()}), full[:3], rtol=1e-4, atol=1e-6
    )
    with pytest.raises(MmganError, match="at least one of"):
        model.predict_probabilities({})
    with pytest.raises(MmganError, match="at least one of"):
        model.predict_probabilities({"spec": x["spec"], "other": x["env"]})
    for wrong in (x["spec"][:0], x["spec"].astype(str), np.full_like(x["spec"], np.nan)):
        with pytest.raises(MmganError, match="no finite numbers"):
            model.predict_probabilities({"spec": wrong})
    with pytest.raises(MmganError, match="shape"):
        model.predict_probabilities({"spec": x["spec"][:, :2]})


@pytest.mark.slow
def test_predictions_of_the_test_samples_are_those_of_the_folds_together(trained):
    results, dataset, out = trained
    models = [mmgan.load(result.folder / "best.ckpt") for result in results]
    answers = np.stack([model.predict_probabilities(dataset.x_test) for model in models])
    parts = [model.predict_members(dataset.x_test) for model in models]
    with open(out / "predictions.csv", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert list(lines[0]) == [
        *["index", "label", "confidence", "spread", "p_a,b", "p_c", "p_d", "p_e"],
        *[text for name in MEMBERS for text in (name, f"p_{name}")],
        "unlabelled",
    ]
    assert [int(line["index"]) for line in lines] == list(range(20))
    for i, line in enumerate(lines):
        best = answers[:, i].mean(0).argmax()
        assert int(line["label"]) == dataset.schema.labels[best]
        assert float(line["confidence"]) == pytest.approx(answers[:, i, best].mean(), abs=1e-5)
        assert float(line["spread"]) == pytest.approx(answers[:, i, best].std(ddof=1), abs=1e-5)
        assert sum(float(line[f"p_{name}"]) for name in ("a,b", "c", "d", "e")) == pytest.approx(1, abs=1e-5)
        svc = np.mean([members["svc"][i] for members in parts], axis=0)
        assert int(line["svc"]) == dataset.schema.labels[svc.argmax()] and line["unlabelled"] == "none"
        assert float(line["p_svc"]) == pytest.approx(svc.max(), abs=1e-5)


@pytest.mark.slow
def test_a_lone_model_has_no_spread(trained, tmp_path):
    _, dataset, _ = trained
    write_predictions(tmp_path / "p.csv", dataset.schema, [{"svc": np.full((2, 4), 0.25)}], "x_test")
    expected = "0,0,0.250000,,0.250000,0.250000,0.250000,0.250000,0,0.250000,x_test"
    assert (tmp_path / "p.csv").read_text().splitlines()[1] == expected


@pytest.mark.slow
def test_every_parameter_moves_and_the_same_seed_gives_the_same_model(data_file, tmp_path):
    states = []
    for place in ("a", "b"):
        cfg = config(data_file, f"out_dir={tmp_path / place}")
        before = dict(built(cfg, load_data(cfg), final=False)[0].state_dict())
        (result,) = train_folds(cfg)
        states.append(mmgan.load(result.folder / "last.ckpt").state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    events = EventAccumulator(str(result.folder)).Reload().Tags()["scalars"]
    assert {"val/macro_f1", "val/calibration_error", "classifier/contrastive", "classifier/kl"} <= set(events)
    assert not [tag for tag in events if "score" in tag]  # those are of samples
    trainable = [key for key in before if key.startswith(("networks.", "contrasts."))]
    still = [key for key in trainable if torch.equal(before[key], states[0][key])]
    assert len(trainable) > 30 and not still


def test_members_start_differently_and_answer_by_their_mean(data_file):
    cfg = config(data_file, "model.members=3", CLASSICAL)
    dataset = load_data(cfg)
    model = built(cfg, dataset, final=False)[0].eval()
    x = model.scaler({name: torch.from_numpy(value) for name, value in dataset.x_train.items()})
    present = torch.ones(160, 2, dtype=torch.bool)
    with torch.no_grad():
        answers = [network(x, present).logits.softmax(1).numpy() for network in model.networks]
    assert len(answers) == 3 and not np.allclose(answers[0], answers[1], atol=1e-3)
    members = model.predict_members(dataset.x_train)
    np.testing.assert_allclose(members["network"], np.mean(answers, axis=0), atol=1e-6)
    assert list(members) == MEMBERS
    together = model.predict_probabilities(dataset.x_train)
    np.testing.assert_allclose(together, np.mean(list(members.values()), axis=0), atol=1e-6)
    assert list(model.predict_members({"env": dataset.x_train["env"]})) == ["network", "svc", "neighbours"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 6])
def test_any_number_of_modalities(count, tmp_path):
    shapes = {f"m{i}": [(6,), (3, 10), (2, 4, 5)][i % 3] for i in range(count)}
    write_pickle(tmp_path / "data.pkl", content(rows=80, shapes=shapes))
    (result,) = train_folds(config(tmp_path / "data.pkl", f"out_dir={tmp_path / 'run'}"))
    model = mmgan.load(result.folder / "best.ckpt")
    x = load_data(config(tmp_path / "data.pkl")).x_train
    assert model.predict_probabilities(x).shape == (80, 4)
    if count > 1:
        assert model.predict_probabilities({"m4": x["m4"], "m1": x["m1"]}).shape == (80, 4)
    with pytest.raises(MmganError, match="at least one of"):
        model.predict_probabilities({})


@pytest.mark.slow
def test_bfloat16_on_the_cpu(data_file, tmp_path):
    (result,) = train_folds(config(data_file, "trainer.precision=bf16-mixed", f"out_dir={tmp_path / 'run'}"))
    assert -10 < result.score < 0  # log-likelihood


# -- synthetic samples -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def synthetic(data_file, tmp_path_factory):
    """A file with synthetic samples of fold 1."""
    folder = tmp_path_factory.mktemp("synthetic")
    train_folds(compose("train", "model=jitter", f"out_dir={folder / 'fold1'}", path=data_file))
    return synthesize(compose("synthesize", f"ckpt={folder}", f"out={folder / 'augmented.pkl'}"))


@pytest.mark.slow
def test_synthetic_samples_add_a_term_whose_weight_fades(data_file, synthetic, tmp_path):
    options = [f"data.synthetic={synthetic}", "model.fade=4", "trainer.max_epochs=4"]
    cfg = config(data_file, f"out_dir={tmp_path / 'run'}", *options)
    (result,) = train_folds(cfg)
    events = EventAccumulator(str(result.folder)).Reload()
    assert "classifier/synthetic" in events.Tags()["scalars"]
    model, _ = built(cfg, load_data(cfg), final=False)
    weights = []
    for step in range(8):
        model.trainer = SimpleNamespace(global_step=step, max_epochs=4, num_training_batches=8)
        weights.append(model.weight("classifier", "synthetic"))
    full = cfg.model.weights.classifier.synthetic
    assert weights == pytest.approx([full * max(0, 1 - step / 4) for step in range(8)])


@pytest.mark.parametrize(
    "change, told",
    [
        ({"folds": []}, "holds no synthetic samples"),
        ({"fold": 2}, "must hold samples of fold 1 once"),
        ({"train_indices": np.arange(160)}, "saw samples that this fold keeps back"),
        ({"y_synth": np.full(128, 9)}, "none of the data's labels"),
        ({"fingerprint": "other"}, "made from other data"),
        ({"final": True}, "choose this model's checkpoint"),
        ({"seed": 1}, "choose this model's checkpoint"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_synthetic_samples_that_do_not_belong_to_the_fold_are_refused(data_file, synthetic, tmp_path, change, told):
    file = read_archive(synthetic)
    if "folds" in change:
        file["folds"] = change["folds"]
    elif change.keys() & {"fingerprint", "final", "seed"}:
        file["meta"]["recipe"] = {**file["meta"]["recipe"], **change}
    else:
        file["folds"][0] = {**file["folds"][0], **change}
    write_pickle(tmp_path / "bad.pkl", file)
    with pytest.raises(MmganError, match=told):
        train_folds(config(data_file, f"data.synthetic={tmp_path / 'bad.pkl'}", f"out_dir={tmp_path / 'run'}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_with_all_samples_to_train_on_none_choose_a_checkpoint(data_file, synthetic, tmp_path):
    file = read_archive(synthetic)
    file["meta"]["recipe"]["final"] = True
    write_pickle(tmp_path / "final.pkl", file)
    options = [f"data.synthetic={tmp_path / 'final.pkl'}", f"out_dir={tmp_path / 'run'}", "final=true"]
    train_folds(config(data_file, *options))
    file["folds"][0]["x_synth"]["spec"] *= 2
    write_pickle(tmp_path / "final.pkl", file)
    with pytest.raises(MmganError, match="synthetic_fingerprint"):
        train_folds(config(data_file, *options, "resume=true"))


def test_a_file_that_lacks_a_fold_is_refused_before_any_is_trained(data_file, synthetic, tmp_path):
    options = ["fold=all", f"data.synthetic={synthetic}", f"out_dir={tmp_path / 'run'}"]
    with pytest.raises(MmganError, match="samples of fold 2"):
        train_folds(config(data_file, *options))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_generator_does_not_train_on_synthetic_samples_and_a_classifier_makes_none(data_file, synthetic, tmp_path):
    with pytest.raises(MmganError, match="only a classifier trains on them"):
        train_folds(compose("train", f"data.synthetic={synthetic}", f"out_dir={tmp_path / 'run'}", path=data_file))
    (classifier,) = train_folds(config(data_file, "trainer.max_epochs=1", f"out_dir={tmp_path / 'classifier'}"))
    with pytest.raises(MmganError, match="makes no samples"):
        synthesize(compose("synthesize", f"ckpt={classifier.folder}"))


# -- how good answers are -----------------------------------------------------------------------------------------------
def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.3, 0.7]])
    # Bin of .9: half right, .4 too sure; bin of .7: all right, .3 too unsure; each holds half of the samples.
    assert calibration_error(np.array([0, 1, 1, 1]), probabilities) == pytest.approx(0.5 * 0.4 + 0.5 * 0.3)
    assert calibration_error(np.array([0, 1]), np.eye(2)) == 0
    found = scores(np.array([0, 1, 1, 1]), probabilities)
    assert found["log_likelihood"] == pytest.approx(np.mean(np.log([0.9, 0.1, 0.7, 0.7])))
    assert np.isfinite(scores(np.array([1, 0]), np.eye(2))["log_likelihood"])  # as wrong as can be
    assert found["accuracy"] == 0.75 and found["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)


# -- unlabelled samples ------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_graph_answers_for_its_own_samples_as_the_teacher_did(data_file, tmp_path):
    cfg = config(data_file, CLASSICAL, "data.unlabelled=x_test", "final=true", f"out_dir={tmp_path / 'run'}")
    (result,) = train_folds(cfg)
    dataset, model = load_data(cfg), mmgan.load(result.folder / "best.ckpt")
    members = model.predict_members(dataset.x_test)
    assert list(members) == [*MEMBERS, "graph"]
    with open(result.folder / "pseudo_labels.csv", newline="") as stream:
        told = list(csv.DictReader(stream))
    found = members["graph"][[int(line["index"]) for line in told]]
    assert [dataset.schema.labels[k] for k in found.argmax(1)] == [int(line["label"]) for line in told]
    np.testing.assert_allclose(found.max(1), [float(line["confidence"]) for line in told], atol=1e-4)
    assert {"svc", "neighbours", "graph"} <= set(model.predict_members({"env": dataset.x_test["env"]}))
    with open(result.folder / "predictions.csv", newline="") as stream:
        assert {line["unlabelled"] for line in csv.DictReader(stream)} == {"x_test"}


def test_a_lone_sample_of_a_class_is_answered_without_calibration():
    schema = DataSchema({"a": (6,)}, (0, 1, 2), ("x", "y", "z"))
    rng, y = np.random.default_rng(0), np.array([0] * 12 + [1] * 12 + [2])
    x = {"a": (rng.normal(size=(25, 6)) + 4 * np.eye(6)[y]).astype(np.float32)}
    members = ClassicalMembers(schema)
    members.take(x, y)
    for found in members.answers(x).values():
        assert found.shape == (25, 3) and (found.argmax(1) == y).mean() > 0.9
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)

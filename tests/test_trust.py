"""Nothing runs that a file names: checkpoints, first stages, synthetic files, settings of runs, studies, best parameters."""

import copy
import functools
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
import yaml
from conftest import CONF, compose, content
from omegaconf import OmegaConf

import mmgan
from mmgan.commands.build import check_run, data_options, fold_run, plain, settings_of, train_fold
from mmgan.commands.job import script
from mmgan.commands.synthesize import synthesize
from mmgan.commands.tune import ConfiguredTrials, sweep_settings, with_params
from mmgan.data.files import read_archive, write_pickle
from mmgan.data.sources.pkl import pkl
from mmgan.data.synthetic_file import named_data, read
from mmgan.data.trust import admit, build, build_source, named_targets
from mmgan.errors import MmganError
from mmgan.training.first_stage import read_first_stage
from mmgan.training.fit import FoldRun
from mmgan.training.folder import RunFolder
from mmgan.training.tasks import Generation
from mmgan.tuning.space import warm_params
from mmgan.tuning.storage import Storage
from mmgan.tuning.study import FoldStudy

FUSION = {"_target_": "mmgan.nets.fusion.ConcatFusion", "_partial_": True}
MODULE = "module_of_a_stranger"


def payloads(mark: str) -> dict[str, dict]:
    """Nodes of a configuration that would leave the file `mark` if anything instantiated them."""
    touch = f"touch {mark}"
    code = f"open({mark!r}, 'w')"
    system = {"_target_": "os.system", "_args_": [touch]}
    return {
        "os.system": {"_target_": "os.system", "command": touch},
        "subprocess.Popen": {"_target_": "subprocess.Popen", "args": ["touch", mark]},
        "builtins.open": {"_target_": "builtins.open", "file": mark, "mode": "w"},
        "builtins.eval": {"_target_": "builtins.eval", "_args_": [code]},
        "pathlib.Path.write_text": {
            "_target_": "pathlib.Path.write_text", "self": {"_target_": "pathlib.Path", "_args_": [mark]}, "data": "x",
        },
        "shutil.copyfile": {"_target_": "shutil.copyfile", "src": __file__, "dst": mark},
        "numpy.testing.runstring": {"_target_": "numpy.testing.runstring", "astr": code, "dict": {}},
        "hydra.utils.call": {"_target_": "hydra.utils.call", "config": system},
        "hydra.utils.instantiate": {"_target_": "hydra.utils.instantiate", "config": system, "_recursive_": False},
        "hydra.utils.get_method": {"_target_": "hydra.utils.get_method", "path": "os.system"},
        "hydra.utils.get_class": {"_target_": "hydra.utils.get_class", "path": "subprocess.Popen"},
        "a module of the current folder": {"_target_": f"{MODULE}.run"},
        "a class of mmgan around it": FUSION | {"width": system},
        "a list around it": FUSION | {"width": [[system]]},
        "_args_": FUSION | {"_args_": [mark]},
        "_partial_ that is no truth value": {"_target_": "mmgan.nets.fusion.ConcatFusion", "_partial_": system},
        "_recursive_": FUSION | {"_recursive_": False},
        "_convert_": FUSION | {"_convert_": "object"},
        "a path through a module of mmgan": {"_target_": "mmgan.data.files.os.system", "command": touch},
        "a path through a model": {"_target_": "mmgan.models.vae.torch.load", "f": mark, "weights_only": False},
        "a method of mmgan's": {"_target_": "mmgan.models.vae.VAE.sample"},
        "a helper of mmgan's": {"_target_": "mmgan.data.sources.images._decoded", "files": [], "size": 8, "cache": mark},
        "a name that is imported there": {"_target_": "mmgan.nets.fusion.Callable"},
        "a room that no model is made of": {"_target_": "mmgan.data.files.write_pickle", "path": mark, "content": {}},
        "a module that is not there": {"_target_": "mmgan.nets.nothing.System"},
        "a target with an end of line": {"_target_": "mmgan.nets.fusion.ConcatFusion\n"},
        "a target that is no text": {"_target_": 5},
        "a target that is a list": {"_target_": ["os.system"]},
        "an object": FUSION | {"width": np.zeros(2)},
        "a key that is no text": FUSION | {5: 5},
    }  # fmt: skip


NAMES = list(payloads("x"))


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A path at which a file shows that code was run; none may at the end. The current folder holds a module that writes it."""
    path = tmp_path / "ran"
    (tmp_path / f"{MODULE}.py").write_text(f"open({str(path)!r}, 'w')\ndef run(*args, **options): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    assert not path.exists() and MODULE not in sys.modules


@pytest.fixture
def hostile(request, mark):
    return payloads(str(mark))[request.param]


every_payload = pytest.mark.parametrize("hostile", NAMES, indirect=True)


composed = functools.cache(compose)  # composing takes longer than refusing


def with_options(cfg, **options):
    """Return a copy of a configuration with these options."""
    cfg = cfg.copy()
    for name, value in options.items():
        cfg[name] = value
    return cfg


def refuses(job, *arguments, **options) -> str:
    """Return the one sentence with which MmganError refuses."""
    with pytest.raises(MmganError) as refused:
        job(*arguments, **options)
    text = str(refused.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 1200
    return text


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.pkl"
    write_pickle(path, content())
    return pkl(str(path))


@pytest.fixture(scope="module")
def checkpoint(dataset, tmp_path_factory):
    """The content of a checkpoint of a generator that needs no training."""
    path = tmp_path_factory.mktemp("run")
    cfg = compose("train", "model=smoothed_bootstrap", path=dataset.source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Generation, "score", lambda *rest: {})
        train_fold(cfg, dataset, 1, path)
    return torch.load(path / "best.ckpt", weights_only=True)


def changed(content, path: Path, place: str, node) -> Path:
    """Write a checkpoint with `node` at a place of its recipe: `model`, `within` it, or the data's `source`."""
    content = copy.deepcopy(content)
    recipe = content["recipe"]
    if place == "model":
        recipe["model"] = {"name": "x", **node}
    elif place == "within":
        recipe["model"]["more"] = node
    else:
        recipe["data"]["source"] = node
    torch.save(content, path)
    return path


# -- what is admitted ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
def test_every_model_of_the_configuration_is_admitted(name):
    admit(plain(compose("train", f"model={name}", small=False).model), "here")


@pytest.mark.parametrize("group", sorted(path.name for path in (CONF / "model").iterdir() if path.is_dir()))
def test_every_part_of_a_model_is_admitted(group):
    for path in (CONF / "model" / group).glob("*.yaml"):
        parts = OmegaConf.to_container(OmegaConf.load(path))
        for target in named_targets(parts):
            admit({"_target_": target}, path)


def test_every_data_source_is_admitted_as_a_source_and_not_as_a_part_of_a_model():
    for path in (CONF / "data").glob("*.yaml"):
        if source := OmegaConf.to_container(OmegaConf.load(path)).get("source"):
            admit(source, path, source=True)
            assert "runs from no file" in refuses(admit, source, path)
            assert "runs from no file" in refuses(admit, {"_target_": "mmgan.models.vae.VAE"}, path, source=True)


def test_torch_s_optimizers_are_admitted_and_built():
    config = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.1}
    admit(config, "here")
    assert build({"a": [config]})["a"][0].func is torch.optim.AdamW


@every_payload
def test_nothing_else_is(hostile):
    for config in (hostile, FUSION | {"more": {"and": [hostile]}}):
        assert refuses(admit, config, "FILE").startswith("FILE: ")
    refuses(admit, hostile, "FILE", source=True)


def test_what_refers_to_something_else_or_has_no_end_is_refused():
    assert "refers to something else" in refuses(admit, FUSION | {"width": "${oc.env:HOME}"}, "FILE")
    endless = FUSION | {}
    endless["self"] = endless
    assert "without end" in refuses(admit, endless, "FILE")
    bomb = [1]
    for _ in range(18):
        bomb = [bomb, bomb]
    assert "without end" in refuses(admit, FUSION | {"bomb": bomb}, "FILE")
    assert "names nothing to build" in refuses(admit, {"a": 1}, "FILE")


@pytest.mark.parametrize("trust", [5, [None], ["my-package"], "os system", [["a"]], {"a b": 1}], ids=str)
def test_trust_takes_names_of_packages(trust):
    assert refuses(admit, FUSION, "FILE", trust=trust).startswith("trust=")


# -- checkpoints --------------------------------------------------------------------------------------------------------
@every_payload
@pytest.mark.parametrize("place", ["model", "within"])
def test_a_checkpoint_runs_nothing_that_it_names(checkpoint, hostile, place, tmp_path):
    refuses(mmgan.load, changed(checkpoint, tmp_path / "evil.ckpt", place, hostile))


@every_payload
def test_nor_does_its_data_source(checkpoint, hostile, tmp_path):
    path = changed(checkpoint, tmp_path / "evil.ckpt", "source", hostile)
    cfg = with_options(composed("synthesize"), ckpt=str(path), out=str(tmp_path / "out.pkl"))
    with pytest.raises(SystemExit) as ended:
        script(synthesize)(cfg)
    assert str(ended.value).startswith("error: ") and "\n" not in str(ended.value)
    assert not (tmp_path / "out.pkl").exists()


def test_a_package_is_run_where_it_is_trusted(checkpoint, dataset, tmp_path, monkeypatch):
    (tmp_path / "package_of_a_friend.py").write_text(
        "from mmgan.baselines import smoothed_bootstrap\nfrom mmgan.data.sources.pkl import pkl\n"
        "def ours(*args, **options):\n    return smoothed_bootstrap(*args)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    ours = {"_target_": "package_of_a_friend.ours", "_partial_": True}
    content = copy.deepcopy(checkpoint)
    content["recipe"]["model"]["baseline"] = ours
    torch.save(content, tmp_path / "best.ckpt")
    assert "trust=[PACKAGE]" in refuses(mmgan.load, tmp_path / "best.ckpt")
    refuses(mmgan.load, tmp_path / "best.ckpt", trust=["package_of_a"])
    for trust in ("package_of_a_friend", ["package_of_a_friend.ours"]):
        model = mmgan.load(tmp_path / "best.ckpt", trust=trust)
        assert model.sample([0, 1], seed=0)["spec"].shape == (2, 3, 10)
    source = {"_target_": "package_of_a_friend.pkl", "path": dataset.source}
    refuses(build_source, source, "FILE")
    assert len(build_source(source, "FILE", trust=["package_of_a_friend"])) == len(dataset)


def test_what_a_trusted_package_only_imports_is_not_its_own(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "package_that_imports.py").write_text(
        "import os\nfrom subprocess import Popen\nclass Own: run = os.system\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("os.system", "Popen", "Own.run", "missing", "os.path.join"):
        hostile = {"_target_": f"package_that_imports.{name}", "_partial_": True}
        path = changed(checkpoint, tmp_path / "evil.ckpt", "model", hostile)
        refuses(mmgan.load, path, trust=["package_that_imports"])
    assert "trust=[PACKAGE]" in refuses(mmgan.load, path, trust=["there_is_no_such_package"])


def test_a_class_that_the_user_types_is_trained_and_scored(dataset, tmp_path, monkeypatch):
    (tmp_path / "typed_by_the_user.py").write_text("from mmgan.baselines import jitter\nours = jitter\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = compose("train", "model=jitter", "model.baseline._target_=typed_by_the_user.ours", path=dataset.source)
    monkeypatch.setattr(Generation, "score", lambda *rest: {})
    train_fold(cfg, dataset, 1, tmp_path / "run")
    refuses(mmgan.load, tmp_path / "run" / "best.ckpt")
    mmgan.load(tmp_path / "run" / "best.ckpt", trust=["typed_by_the_user"])


@pytest.mark.parametrize("number", [1, None, 3])
def test_a_checkpoint_of_another_format_is_refused_with_what_to_do(checkpoint, number, tmp_path):
    content = copy.deepcopy(checkpoint)
    content["recipe"]["format"] = number
    torch.save(content, tmp_path / "best.ckpt")
    told = refuses(mmgan.load, tmp_path / "best.ckpt")
    assert ("mmgan 0.1, whose checkpoints this version does not read; train again" in told) == (number == 1)


def test_a_recipe_that_makes_no_model_is_refused(checkpoint, tmp_path):
    fusion, task = {"_target_": "mmgan.nets.fusion.ConcatFusion"}, checkpoint["recipe"]["model"]["task"]
    for node in (fusion, checkpoint["recipe"]["model"] | {"task": fusion}, fusion | {"task": task}):
        told = refuses(mmgan.load, changed(checkpoint, tmp_path / "evil.ckpt", "model", node))
        assert "its recipe makes no model" in told
    for key, value in (("class_names", [[1], [2]]), ("class_names", ["a"]), ("labels", [0, 0])):
        content = copy.deepcopy(checkpoint)
        content["recipe"]["schema"][key] = value
        torch.save(content, tmp_path / "best.ckpt")
        assert "its recipe makes no model" in refuses(mmgan.load, tmp_path / "best.ckpt")
    torch.save({"recipe": checkpoint["recipe"]}, tmp_path / "best.ckpt")
    assert "has no tensors" in refuses(mmgan.load, tmp_path / "best.ckpt")


# -- first stages -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def stage(dataset):
    """The content of an untrained first stage's checkpoint."""
    model, _ = fold_run(compose("train", "model=vqgan", path=dataset.source), dataset, 1).build(False)
    return {"recipe": model.recipe, "state_dict": model.state_dict()}


@every_payload
@pytest.mark.parametrize("place", ["model", "within"])
def test_a_first_stage_runs_nothing_that_it_names(stage, dataset, hostile, place, tmp_path):
    path = changed(stage, tmp_path / "evil.ckpt", place, hostile)
    cfg = with_options(composed("train", "model=ldm", path=dataset.source), first_stage=str(path))
    assert "evil.ckpt: " in refuses(check_run, cfg, fold_run(cfg, dataset, 1))


def test_a_first_stage_of_mmgan_is_taken(stage, dataset, tmp_path):
    torch.save(stage, tmp_path / "best.ckpt")
    cfg = with_options(composed("train", "model=ldm", path=dataset.source), first_stage=str(tmp_path / "best.ckpt"))
    path, options = tmp_path / "best.ckpt", data_options(cfg) | {"seed": 0}
    assert read_first_stage(path, dataset, 1, options, final=False)["recipe"] == stage["recipe"]


# -- synthetic files ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def synthetic(checkpoint, tmp_path_factory):
    """The content of a file of synthetic samples."""
    folder = tmp_path_factory.mktemp("synthetic")
    torch.save(checkpoint, folder / "best.ckpt")
    synthesize(compose("synthesize", f"ckpt={folder / 'best.ckpt'}"))
    return read_archive(folder / "synthetic.pkl")


def data_of(path):
    return named_data(read(path))[0]


def with_source(content, path, source):
    content = copy.deepcopy(content)
    content["meta"]["recipe"]["data"]["source"] = source
    try:
        write_pickle(path, content)
    except TypeError:
        pytest.skip("no file of arrays and plain values can hold it")
    return path


@every_payload
def test_a_synthetic_file_runs_nothing_that_it_names(synthetic, hostile, tmp_path):
    for source in (hostile, synthetic["meta"]["recipe"]["data"]["source"] | {"path": hostile}):
        refuses(data_of, with_source(synthetic, tmp_path / "evil.pkl", source))


@pytest.mark.parametrize("number", [1, 2])
def test_a_synthetic_file_is_judged_with_the_data_that_it_names(synthetic, dataset, number, tmp_path):
    content = copy.deepcopy(synthetic)
    content["meta"]["format"] = number  # a file keeps its meaning
    write_pickle(tmp_path / "a.pkl", content)
    assert data_of(tmp_path / "a.pkl").fingerprint() == dataset.fingerprint()


def test_no_file_says_where_to_write_or_what_a_text_refers_to(synthetic, mark, tmp_path):
    images = {"_target_": "mmgan.data.sources.images.images", "path": str(tmp_path / "none"), "cache": str(mark)}
    assert "there is no such folder" in refuses(data_of, with_source(synthetic, tmp_path / "a.pkl", images))
    source = synthetic["meta"]["recipe"]["data"]["source"]
    told = refuses(data_of, with_source(synthetic, tmp_path / "a.pkl", source | {"path": "${oc.env:HOME}"}))
    assert "${oc.env:HOME}" in told  # as it stands
    told = refuses(data_of, with_source(synthetic, tmp_path / "a.pkl", source | {"nothing": 1}))
    assert "does not take the options" in told


# -- settings of runs, studies, best parameters -----------------------------------------------------------------------------
@every_payload
def test_the_settings_of_a_run_are_compared_and_never_built(hostile, dataset, mark, tmp_path):
    cfg = composed("train", "model=jitter", "resume=true", path=dataset.source)
    try:
        text = yaml.safe_dump(settings_of(cfg, dataset, 1) | {"model": hostile})
    except yaml.YAMLError:
        text = f"!!python/object/apply:os.system ['touch {mark}']"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "params.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FoldRun, "train", lambda *rest, **options: pytest.fail("it went on"))
        refuses(train_fold, cfg, dataset, 1, tmp_path / "run")
    assert (tmp_path / "run" / "params.yaml").read_text() == text


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@every_payload
def test_a_study_is_compared_and_its_trials_choose_plain_values_of_the_search(hostile, dataset, tmp_path):
    cfg = composed("tune", "model=vae", path=dataset.source)
    for params in (
        {"model.latent_dim": hostile},
        {"model.latent_dim": "${oc.env:HOME}"},
        {"model.encoder": hostile},
        {"model._target_": "os.system"},
        {"callbacks.score._target_": "os.system"},
    ):
        assert "it was changed" in refuses(with_params, cfg, params)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("known", [{"_target_": "os.system"}, {"format": 1}, [1], "x", {"seed": 0}], ids=str)
def test_a_study_of_another_format_is_refused_with_what_to_do(known, dataset, tmp_path):
    cfg = composed("tune", "model=vae", path=dataset.source)
    storage = Storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(study_name="data-vae-fold1", storage=storage, direction="maximize")
    study.set_user_attr("config", known)
    trials = ConfiguredTrials(cfg)
    told = refuses(FoldStudy, sweep_settings(cfg, trials, {1: tmp_path}, tmp_path), 1, storage, trials)
    assert "mmgan 0.1" in told and "give another out_dir=" in told


@every_payload
def test_best_parameters_of_another_sweep_are_numbers_and_words(hostile, mark, tmp_path):
    space = {"model.latent_dim": {}, "model.sampling": {}}
    for value in (hostile, "${oc.env:HOME}", [1], None):
        try:
            text = yaml.safe_dump({"model.latent_dim": value})
        except yaml.YAMLError:
            text = f"!!python/object/apply:os.system ['touch {mark}']"
        (tmp_path / "best_params.yaml").write_text(text)
        assert refuses(warm_params, str(tmp_path), space).startswith("warm_start=")
    (tmp_path / "best_params.yaml").write_text(
        yaml.safe_dump({"model.latent_dim": 8, "model.sampling": "density", "seed": 5, "model._target_": "os.system"})
    )
    assert warm_params(str(tmp_path), space) == {"model.latent_dim": 8, "model.sampling": "density"}


def test_settings_that_are_none_are_refused(tmp_path):
    for raw in (b"", b"- 1\n", b"\xff\xfe\x00", b"\t{:", b"!!python/object/apply:os.system ['true']\n"):
        (tmp_path / "params.yaml").write_bytes(raw)
        assert "give another out_dir=" in refuses(RunFolder(tmp_path).holds_other_than, {})

"""A run and its folder: what it leaves, how it resumes, which samples it sees, and how it refuses."""

import json
import shutil
import signal

import lightning as L
import numpy as np
import optuna
import pytest
import torch
import yaml
from conftest import compose, quick_judge
from interrupted import no_room
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import OmegaConf

import mmgan
from mmgan.commands.build import check_run, chosen_folds, fold_run, load_data, make_datamodule, train_fold
from mmgan.commands.train import train_folds
from mmgan.data.sources.pkl import pkl
from mmgan.errors import MmganError
from mmgan.models.module import DivergedError
from mmgan.training.callbacks import KeepNew
from mmgan.training.checkpoint import read_checkpoint
from mmgan.training.fit import run_trainer
from mmgan.training.folder import RunFolder, differing_keys, fold_folders
from mmgan.training.tensorboard import WholeTensorBoardLogger

LABELS = [0, 1, 2, 3] * 20


class ToldToEnd(L.Callback):
    """Tells its own process to end, at one moment of a training, while the signal is Lightning's to handle."""

    def __init__(self, hook, error=None):
        setattr(self, hook, lambda *_: self.tell(error))

    @staticmethod
    def tell(error):
        signal.raise_signal(signal.SIGTERM)
        if error is not None:
            raise error


class Bomb(L.Callback):
    """Ends the run like a crash, in the middle of an epoch of a training in a folder of this name."""

    def __init__(self, epoch: int, folder: str):
        self.epoch, self.folder = epoch, folder

    def on_train_batch_end(self, trainer, *_):
        here = trainer.default_root_dir.rpartition("/")[2] == self.folder
        if here and trainer.current_epoch == self.epoch and trainer.global_step % 2:
            raise ZeroDivisionError("bang")


def bomb(epoch, folder):
    return f"+callbacks.bomb={{_target_: test_runs.Bomb, epoch: {epoch}, folder: {folder}}}"


def run(tiny, path, *overrides, fold=1):
    cfg = compose("train", *overrides, path=tiny)
    return train_fold(cfg, load_data(cfg), fold, path)


def samples(folder, name="best.ckpt"):
    return {key: rows.tobytes() for key, rows in mmgan.load(folder / name).sample(LABELS, seed=3).items()}


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """An uninterrupted run of four epochs."""
    with quick_judge():
        return run(tiny, tmp_path_factory.mktemp("runs") / "fold1", "trainer.max_epochs=4")


# -- what a run leaves --------------------------------------------------------------------------------------------------
def test_a_run_leaves_its_files(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert {"best.ckpt", "last.ckpt", "best.pth", "params.yaml", "metrics.json", "samples.png"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not [name for name in names if "=" in name or name.endswith((".part", ".tmp"))]
    metrics = json.loads((finished.folder / "metrics.json").read_text())
    assert metrics["epochs"] == finished.epochs and metrics["inner_score"] == finished.score
    assert metrics["scores"]["score"] > 0
    params = yaml.safe_load((finished.folder / "params.yaml").read_text())
    assert metrics["references"]["smote"].keys() == metrics["references"]["real"].keys() == metrics["scores"].keys()
    told = yaml.safe_load((finished.folder / "hparams.yaml").read_text())
    assert told["model"]["latent_dim"] == 4 and told["data"]["batch_size"] == 16 and told["fold"] == 1
    assert params["fold"] == 1 and params["model"]["latent_dim"] == 4 and params["trainer"]["max_epochs"] == 4


def test_hparams_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    logger = WholeTensorBoardLogger(str(tmp_path), name="", version="")
    logger.log_hyperparams({"latent_dim": 4})
    with monkeypatch.context() as torn, pytest.raises(OSError, match="No space"):
        torn.setattr(OmegaConf, "save", lambda content, stream: stream.write("latent") and no_room(stream.name))
        logger.save()
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("events")] == []
    logger.save()
    assert yaml.safe_load((tmp_path / "hparams.yaml").read_text()) == {"latent_dim": 4}


@pytest.mark.parametrize(
    ("novelty", "kept", "trained"),
    [
        ([0.9, 0.95, 0.8, 0.7, 0.6], 2, 5),  # three epochs of copies in a row end it
        ([0.3, 0.6, 0.5, 0.7, 0.6, 0.6], 4, 6),  # none is new: the newest
        ([0.5, 0.8, 0.95, 0.8, 1.0, 0.9], 5, 6),  # blurred at first, and then not
    ],
)
def test_without_an_inner_split_best_is_the_last_epoch_with_new_samples(
    novelty, kept, trained, tiny, tmp_path, monkeypatch, quick, capsys
):
    found = iter(novelty)
    monkeypatch.setattr(KeepNew, "_measure", lambda *_: lambda model: next(found))
    words = ["final=true", "trainer.max_epochs=6", f"out_dir={tmp_path}"]
    (result,) = train_folds(compose("train", *words, path=tiny))
    assert result.epochs == kept and result.metrics["max_epochs"] == 6
    assert read_checkpoint(tmp_path / "best.ckpt")["epoch"] + 1 == kept
    assert read_checkpoint(tmp_path / "last.ckpt")["epoch"] + 1 == trained
    assert f"best.ckpt is of epoch {kept} of 6" in " ".join(capsys.readouterr().out.split())
    before = (tmp_path / "best.ckpt").read_bytes()
    if trained < 6:  # going on changes nothing: it had ended
        train_folds(compose("train", *words, "resume=true", path=tiny))
        assert (tmp_path / "best.ckpt").read_bytes() == before


def test_looking_at_novelty_changes_no_training(tiny, tmp_path, quick):
    states = []
    for name, more in {"with": [], "without": ["~callbacks.novelty"]}.items():
        run(tiny, tmp_path / name, "final=true", *more)
        states.append(read_checkpoint(tmp_path / name / "last.ckpt")["state_dict"])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_checkpoints_are_a_recipe_and_tensors(finished, tiny):
    content = torch.load(finished.folder / "best.ckpt", weights_only=True)
    light = torch.load(finished.folder / "best.pth", weights_only=True)
    assert light.keys() == {"recipe", "state_dict"} and light["recipe"] == content["recipe"]
    assert {"encoder", "generator", "critic", "classifier"} <= {key.split(".")[0] for key in light["state_dict"]}
    recipe = light["recipe"]
    assert recipe["fold"] == 1 and recipe["model"]["latent_dim"] == 4 and recipe["final"] is False
    assert recipe["fingerprint"] == pkl(str(tiny)).fingerprint()
    json.dumps(recipe)  # plain containers only
    assert samples(finished.folder) == samples(finished.folder, "best.pth")
    assert (finished.folder / "best.pth").stat().st_size < (finished.folder / "last.ckpt").stat().st_size


def test_best_is_the_epoch_of_the_best_score(finished):
    best = read_checkpoint(finished.folder / "best.ckpt")
    assert best["epoch"] + 1 == finished.epochs <= 4
    assert read_checkpoint(finished.folder / "last.ckpt")["epoch"] == 3
    assert 0 < finished.score <= 1


def test_the_log_has_losses_score_and_gradient_norms_per_epoch(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished.folder)).Reload()
    tags = set(events.Tags()["scalars"])
    weights = read_checkpoint(finished.folder / "best.ckpt")["recipe"]["model"]["weights"]
    assert {f"{phase}/{term}" for phase, terms in weights.items() for term in terms} <= tags
    assert {"critic/adversarial_held_out", "generator/gradient_norm"} <= tags
    assert {"val/score", "val_parts/utility"} <= tags
    assert len(events.Scalars("val/score")) == len(events.Scalars("generator/adversarial")) == 4


@pytest.mark.slow
def test_the_real_score_and_pictures(tiny, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    pictures = "+callbacks.pictures={_target_: mmgan.training.pictures.DrawSamples, every_n_epochs: 5, classes: 2}"
    result = run(tiny, tmp_path / "run", pictures)
    parts = {"score", "utility", "coverage", "indistinguishability", "novelty"}
    assert result.metrics["scores"].keys() == parts
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert {f"val_parts/{part}" for part in parts - {"score"}} <= set(events.Tags()["scalars"])
    assert {"samples/spec/0", "samples/env/1", "mean_and_spread/1", "plane"} <= set(events.Tags()["images"])
    assert (tmp_path / "run" / "samples.png").read_bytes()[:4] == b"\x89PNG"


# -- again, and further -------------------------------------------------------------------------------------------------
def test_running_again_moves_the_old_run_aside(tiny, tmp_path, quick):
    first = run(tiny, tmp_path / "fold1", "trainer.max_epochs=1")
    before = samples(first.folder)
    run(tiny, tmp_path / "fold1", "trainer.max_epochs=1", "seed=1")
    assert samples(tmp_path / "fold1.1") == before != samples(tmp_path / "fold1")
    run(tiny, tmp_path / "fold1", "trainer.max_epochs=1")
    assert samples(tmp_path / "fold1") == before  # the same seed, the same run
    assert (tmp_path / "fold1.2").is_dir()
    assert [path.name for path in fold_folders(tmp_path)] == ["fold1"]


@pytest.mark.slow
def test_resuming_with_other_settings_is_refused_and_names_them(finished, tiny):
    before = samples(finished.folder)
    with pytest.raises(MmganError, match=r"model\.latent_dim: 4 -> 5.*seed: 0 -> 7") as refused:
        run(tiny, finished.folder, "resume=true", "seed=7", "model.latent_dim=5")
    assert "trainer" not in str(refused.value) and "threads" not in str(refused.value)
    assert samples(finished.folder) == before


def test_resuming_a_finished_run_changes_nothing(finished, tiny, quick):
    before = samples(finished.folder)
    again = run(tiny, finished.folder, "trainer.max_epochs=4", "resume=true")
    assert (again.epochs, again.score) == (finished.epochs, finished.score)
    assert samples(finished.folder) == before


@pytest.mark.slow
def test_a_longer_run_goes_on_from_a_shorter_one(finished, tiny, tmp_path, quick):
    run(tiny, tmp_path / "run", "trainer.max_epochs=1")
    longer = run(tiny, tmp_path / "run", "trainer.max_epochs=4", "resume=true")
    assert (longer.epochs, longer.score) == (finished.epochs, finished.score)
    for name in ("best.ckpt", "last.ckpt"):
        assert samples(longer.folder, name) == samples(finished.folder, name)


@pytest.mark.parametrize("epoch", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_run_killed_inside_an_epoch_resumes_to_the_same_bytes(finished, tiny, tmp_path, quick, epoch):
    with pytest.raises(ZeroDivisionError):
        run(tiny, tmp_path / "run", "trainer.max_epochs=4", bomb(epoch, "run"))
    assert not (tmp_path / "run" / "metrics.json").exists()
    resumed = run(tiny, tmp_path / "run", "trainer.max_epochs=4", "resume=true")
    assert (resumed.epochs, resumed.score) == (finished.epochs, finished.score)
    for name in ("best.ckpt", "last.ckpt", "best.pth"):
        assert samples(resumed.folder, name) == samples(finished.folder, name)


@pytest.mark.parametrize(
    "callback",
    [
        ToldToEnd("on_train_batch_end"),
        ToldToEnd("on_train_end"),
        ToldToEnd("on_validation_end", optuna.TrialPruned()),
    ],
)
def test_a_training_ends_the_process_that_was_told_to_end_at_any_moment_of_it(tiny, callback):
    cfg = compose("train", "trainer.max_epochs=1", path=tiny)
    ready = check_run(cfg, fold_run(cfg, load_data(cfg), 1))
    ready.trainer.callbacks.append(callback)
    with pytest.raises(SIGTERMException):
        run_trainer(ready.trainer, ready.model, ready.data)


@pytest.mark.slow
def test_a_folder_that_was_renamed_resumes(finished, tiny, tmp_path, quick):
    run(tiny, tmp_path / "old", "trainer.max_epochs=2")
    (tmp_path / "old").rename(tmp_path / "new")
    resumed = run(tiny, tmp_path / "new", "trainer.max_epochs=2", "resume=true")
    assert resumed.folder == tmp_path / "new" and resumed.epochs <= 2


# -- final --------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def final(tiny, tmp_path_factory):
    with quick_judge():
        folder = tmp_path_factory.mktemp("final") / "run"
        return run(tiny, folder, "trainer.max_epochs=3", "final=true", "select_length=true")


def test_final_trains_on_all_training_rows_for_the_whole_length(tiny, tmp_path, quick):
    result = run(tiny, tmp_path / "run", "trainer.max_epochs=3", "final=true")
    assert (result.epochs, result.score) == (3, None) and not (tmp_path / "run" / "selection").exists()
    assert read_checkpoint(result.folder / "best.ckpt")["epoch"] == 2
    assert set(result.metrics["scores"]) == {"score", "utility"}


def test_a_length_is_selected_for_a_final_training_alone(tiny, tmp_path):
    with pytest.raises(MmganError, match="give final=true too"):
        run(tiny, tmp_path / "run", "select_length=true")
    assert not (tmp_path / "run").exists()


def test_final_finds_the_length_inside_and_trains_on_all_training_rows(final, tiny):
    selection = json.loads((final.folder / "selection" / "metrics.json").read_text())
    assert (selection["epochs"], selection["inner_score"]) == (final.epochs, final.score)
    last = read_checkpoint(final.folder / "last.ckpt")
    assert last["epoch"] + 1 == final.epochs and last["recipe"]["final"] is True
    assert read_checkpoint(final.folder / "selection" / "best.ckpt")["recipe"]["final"] is False
    cfg = compose("train", path=tiny)
    data = pkl(str(tiny))
    inside, whole = (make_datamodule(cfg, data, 1, final=value) for value in (False, True))
    assert len(inside.training_indices) + len(inside.inner_val_indices) == len(whole.training_indices) == 80
    for module in (inside, whole):
        assert not np.intersect1d(module.training_indices, module.fold.val_indices).size
    # What the scaler saw: the training samples' largest value, not the validation samples'.
    x = data.x_train["spec"][whole.training_indices]
    knots = last["state_dict"]["scaler.scalers.0.values"].numpy()
    assert knots.max() <= x.max() and np.isclose(knots[:, -1], np.sort(x.reshape(80, -1), axis=0)[-1]).any()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["selection", "run"])
def test_a_final_run_resumes_in_either_half(final, tiny, tmp_path, quick, where):
    with pytest.raises(ZeroDivisionError):
        run(tiny, tmp_path / "run", "trainer.max_epochs=3", "final=true", "select_length=true", bomb(0, where))
    resumed = run(tiny, tmp_path / "run", "trainer.max_epochs=3", "final=true", "select_length=true", "resume=true")
    assert (resumed.epochs, resumed.score) == (final.epochs, final.score)
    assert samples(resumed.folder) == samples(final.folder)


# -- samples ---------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_few_rows_train_for_a_fixed_length_without_a_score(write_data, tmp_path, quick):
    result = run(write_data(rows=40, shapes={"a": (3, 20), "b": (3, 20)}), tmp_path / "run", "trainer.max_epochs=3")
    assert result.score is None and result.epochs == 3
    assert read_checkpoint(result.folder / "best.ckpt")["epoch"] == 2
    assert json.loads((result.folder / "metrics.json").read_text())["inner_score"] is None


def test_few_rows_make_a_final_run_too(write_data, tmp_path, quick):
    result = run(write_data(rows=40), tmp_path / "run", "final=true")
    assert result.score is None and result.epochs == 2


@pytest.mark.slow
@pytest.mark.parametrize("rows", [20, 25])
def test_a_handful_of_rows_ends_with_a_model(write_data, tmp_path, rows):
    result = run(write_data(rows=rows), tmp_path / "run", "trainer.max_epochs=1")
    assert (result.folder / "best.pth").exists()


@pytest.mark.slow
def test_groups_stay_on_one_side(write_data, tmp_path, quick):
    path = write_data(groups=np.arange(100) // 4 % 10)
    result = run(path, tmp_path / "run", "data.split=group", "trainer.max_epochs=1")
    data = pkl(str(path))
    module = make_datamodule(compose("train", "data.split=group", path=path), data, 1, final=False)
    sides = [
        set(data.groups[rows]) for rows in (module.training_indices, module.inner_val_indices, module.fold.val_indices)
    ]
    assert all(sides) and sum(map(len, sides)) == len(set.union(*sides)) == 10
    assert read_checkpoint(result.folder / "best.ckpt")["recipe"]["data"]["split"] == "group"


@pytest.mark.slow
def test_train_folds_of_a_file_s_own_splits(write_data, tmp_path, quick, capsys):
    rows = np.arange(100)
    splits = [
        {"fold": k, "train_indices": rows[rows % 3 != k - 1], "val_indices": rows[rows % 3 == k - 1]} for k in (1, 2, 3)
    ]
    cfg = compose("train", "fold=all", f"out_dir={tmp_path}", "trainer.max_epochs=1", path=write_data(cv_splits=splits))
    results = train_folds(cfg)
    assert [result.folder for result in results] == [tmp_path / f"fold{k}" for k in (1, 2, 3)]
    shown = capsys.readouterr().out
    assert (
        "mean" in shown
        and "spread" in shown
        and f"python -m mmgan synthesize ckpt={tmp_path}" in shown.replace("\n", "")
    )


@pytest.mark.parametrize("fold", [0, 6, "three", "all ", "-1", "1.5"])
def test_a_fold_that_is_not_there(tiny, fold):
    cfg = compose("train", path=tiny)
    cfg.fold = fold
    with pytest.raises(MmganError, match="give one of 1, 2, 3, 4, 5, all, or none"):
        chosen_folds(cfg, pkl(str(tiny)))


def test_a_file_s_folds_keep_their_numbers(write_data):
    splits = [{"fold": k, "train_indices": np.arange(50), "val_indices": np.arange(50, 100)} for k in (2, 4)]
    path = write_data(cv_splits=splits)
    cfg = compose("train", "fold=4", path=path)
    assert chosen_folds(cfg, pkl(str(path))) == [4]
    cfg.fold = "all"
    assert chosen_folds(cfg, pkl(str(path))) == [2, 4]


# -- refusals -----------------------------------------------------------------------------------------------------------
def test_a_loss_that_is_not_finite_names_its_term(tiny, tmp_path, quick):
    with pytest.raises(DivergedError, match=r"(critic|classifier|generator)/\w+.* is not finite in batch \d+;"):
        run(
            tiny,
            tmp_path / "run",
            *[f"model.lr.{name}=1e30" for name in ("critic", "classifier", "generator")],
        )
    assert not (tmp_path / "run" / "best.pth").exists()


def test_a_model_that_breaks_in_its_last_batch_ends_with_a_sentence(tiny, tmp_path, quick):
    with pytest.raises(MmganError, match="finite"):
        run(tiny, tmp_path / "run", "model.lr.generator=1e30", "data.steps_per_epoch=1")


def test_a_folder_that_cannot_be_made(tiny, tmp_path, quick):
    (tmp_path / "file").write_text("")
    with pytest.raises(MmganError, match=r"file/run: cannot write there .*choose another out_dir="):
        run(tiny, tmp_path / "file" / "run")


def test_a_folder_where_a_run_works_is_refused(tiny, tmp_path, quick):
    with RunFolder(tmp_path / "run").locked(), pytest.raises(MmganError, match="another run works in this folder"):
        run(tiny, tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut", None])
def test_what_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "best.ckpt"
    if content is None:
        torch.save({"state_dict": {}}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(MmganError, match=r"best\.ckpt: this (is not a checkpoint|checkpoint has no recipe)"):
        mmgan.load(path)
    with pytest.raises(MmganError, match="no such file"):
        mmgan.load(tmp_path / "other.ckpt")


def test_differing_keys_leave_out_what_does_not_change_the_result():
    old = {"a": {"b": 1, "c": 2}, "out_dir": "x", "trainer": {"max_epochs": 3, "precision": "32-true"}}
    new = {"a": {"b": 1, "c": 3}, "out_dir": "y", "trainer": {"max_epochs": 9, "precision": "bf16-mixed"}, "d": 0}
    assert [entry.split(":")[0] for entry in differing_keys(old, new)] == ["a.c", "d", "trainer.precision"]


def test_a_checkpoint_without_the_state_of_a_training_is_told(finished, tiny, tmp_path, quick):
    shutil.copytree(finished.folder, tmp_path / "run")
    shutil.copy(finished.folder / "best.pth", tmp_path / "run" / "last.ckpt")
    with pytest.raises(MmganError, match=r"last\.ckpt: no training can go on from it; put the run's own back"):
        run(tiny, tmp_path / "run", "trainer.max_epochs=5", "resume=true")


ALIASES = "a0: &a0 [1, 2]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 50))  # 2**50 numbers


@pytest.mark.parametrize(
    "content", ["", "- 1", "a: [", "a: !!python/object/apply:os.getcwd []", ALIASES, "\0", "a: *b"]
)
def test_settings_that_are_none_are_told_and_kept(tmp_path, content):
    (tmp_path / "params.yaml").write_text(content)
    folder = RunFolder(tmp_path)
    with (
        pytest.raises(MmganError, match=r"params\.yaml: it is not the settings of a run"),
        folder.opened({}, resume=True),
    ):
        pass
    assert (tmp_path / "params.yaml").read_text() == content


def test_many_other_settings_are_told_in_short_and_what_stands_twice_is_read_again(tmp_path):
    shared = ["x"]
    settings = {f"key{k:02d}": shared for k in range(40)}
    with RunFolder(tmp_path).opened(settings, resume=False):
        pass
    with RunFolder(tmp_path).opened(settings, resume=True):
        pass
    with (
        pytest.raises(MmganError, match=r"key09: .* and 30 more\); give the same"),
        RunFolder(tmp_path).opened({}, resume=True),
    ):
        pass


def test_building_twice_gives_the_same_model(tiny):
    cfg = compose("train", path=tiny)
    models = [fold_run(cfg, pkl(str(tiny)), 1).build(False)[0] for _ in range(2)]
    for (name, a), (_, b) in zip(*(model.state_dict().items() for model in models), strict=True):
        assert torch.equal(a, b), name

"""What a kill, or a full disk, leaves behind: nothing half-written, and the same command goes on to the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import torch

from mmgan.training.checkpoint import read_checkpoint

ROOT = Path(__file__).parent.parent
GAN = [
    "data=linear2d",
    "data.n_train=60",
    "data.n_test=0",
    "model=gan",
    "data.steps_per_epoch=3",
    "callbacks.score=null",
]
SHORT = [*GAN, "trainer.max_epochs=2", "callbacks.pictures=null", "callbacks.traversals=null"]
UNJUDGED = ["model=diffusion", "model.n_calibration_samples=0", "data.n_train=80"]  # trials that no forests judge
PARTLY = (".tmp", ".part", ".pending")  # how files end that are being written


def interrupted(folder, how, command, *words):
    """Run a command, interrupted again and again, and then to its end; return how often, and what was said."""
    code = [sys.executable, ROOT / "tests" / "interrupted.py", *how.split(), command, folder, *words]
    done = subprocess.run(list(map(str, code)), cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["status"] == 0, found["said"]
    return found["interrupted"]


def left(folder):
    """Return the files of a folder that are only parts of one."""
    return [path.name for path in folder.rglob("*") if path.name.endswith(PARTLY)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    words = [*SHORT, "trainer.max_epochs=1", f"out_dir={folder}"]
    subprocess.run([sys.executable, "-m", "mmgan", "train", *words], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_a_training_killed_again_and_again_ends_in_the_same_bytes(tmp_path):
    kills = interrupted(tmp_path, "kills 5", "train", *SHORT, "resume=true", f"out_dir={tmp_path / 'out'}")
    assert len(kills) > 2
    runs = [tmp_path / "out", tmp_path / "whole" / "out"]
    assert len({(run / "best.pth").read_bytes() for run in runs}) == 1
    resumed, whole = (read_checkpoint(run / "last.ckpt") for run in runs)  # the bytes hold the folder's path
    assert resumed["epoch"] == whole["epoch"] == 1
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], tensor), name
    assert not left(tmp_path)


@pytest.mark.slow
def test_a_sweep_of_two_workers_killed_again_and_again_counts_each_trial_once(tmp_path):
    sweep = ["n_trials=3", "search.epochs=1", "workers=2", f"out_dir={tmp_path / 'out'}"]
    kills = interrupted(tmp_path, "kills 2", "tune", *SHORT, *UNJUDGED, *sweep)
    assert kills
    studies = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'out' / 'study.db'}")
    states = [trial.state.name for trial in studies.trials]
    assert states.count("COMPLETE") + states.count("PRUNED") == 3 and {"RUNNING", "WAITING"}.isdisjoint(states)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["best"] and not left(tmp_path)
    assert read_checkpoint(tmp_path / "out" / "best.ckpt")["recipe"]["best_params"] == studies.best_params


@pytest.mark.slow
def test_a_file_of_synthetic_samples_is_whole_or_not_there(trained, tmp_path):
    out = tmp_path / "out" / "s.npz"
    interrupted(tmp_path, "kills 4", "synthesize", f"ckpt={trained}", "ratio=500", f"out={out}")
    assert out.read_bytes() == (tmp_path / "whole" / "out" / out.name).read_bytes()
    assert os.listdir(out.parent) == [out.name]


@pytest.mark.slow
def test_a_judgement_killed_again_and_again_ends_in_the_same_report(trained, tmp_path):
    file = trained.parent / "judged.pkl"
    words = [f"ckpt={trained}", f"out={file}"]
    subprocess.run([sys.executable, "-m", "mmgan", "synthesize", *words], cwd=ROOT, check=True, capture_output=True)
    options = [f"synthetic={file}", "quick=true", "workers=2", f"out_dir={tmp_path / 'out'}"]
    assert len(interrupted(tmp_path, "kills 3", "evaluate", *options)) > 1
    reports = [folder / "out" / "report.json" for folder in (tmp_path, tmp_path / "whole")]
    assert reports[0].read_bytes() == reports[1].read_bytes() and not left(tmp_path)


STRUCK = {
    "train": (*SHORT, "trainer.max_epochs=1", "resume=true", "callbacks=film", "out_dir={out}"),
    "tune": (*SHORT, *UNJUDGED, "n_trials=1", "search.epochs=1", "out_dir={out}"),
    "synthesize": ("ckpt={trained}", "out={out}/s.pkl"),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", STRUCK)
def test_a_command_that_is_killed_at_any_write_goes_on_and_leaves_no_part_of_a_file(trained, tmp_path, command):
    words = [word.format(trained=trained, out=tmp_path / "out") for word in STRUCK[command]]
    strikes = interrupted(tmp_path, "strikes", command, *words)
    assert len(strikes) > 1 and all(line.startswith("-9") for line in strikes), strikes
    assert not left(tmp_path)


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_write_ends_in_one_sentence_and_loses_nothing(tmp_path):
    words = [*SHORT, "trainer.max_epochs=1", "resume=true", f"out_dir={tmp_path / 'out'}"]
    said = interrupted(tmp_path, "writes", "train", *words)
    assert len(said) > 5 and all(line.startswith("1 error: ") and "No space left" in line for line in said), said
    assert not left(tmp_path)
    assert read_checkpoint(tmp_path / "out" / "last.ckpt")["epoch"] == 0

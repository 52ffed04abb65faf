"""The wheel: it holds conf/ and trains from any folder; every command has its job."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest
from conftest import CONF

from mmgan.commands import JOBS

ROOT = CONF.parent
TINY = ["model=vae", "trainer.max_epochs=1", "data.steps_per_epoch=2", "data.batch_size=16"]


def test_every_configuration_of_a_command_has_its_job():
    for name in (path.stem for path in CONF.glob("*.yaml")):
        assert callable(getattr(import_module(f"mmgan.commands.{name}"), JOBS[name]))


def test_a_command_that_is_none_is_refused_with_those_there_are():
    for words in ([], ["trian"]):
        done = subprocess.run([sys.executable, "-m", "mmgan", *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.startswith("error: give a command") and "train, tune" in done.stderr


NAMES = {  # what code and configurations call a package, where it is not its own name
    "scikit-learn": "sklearn", "imbalanced-learn": "imblearn", "pillow": "PIL", "hydra-core": "hydra", "hydra-joblib-launcher": "joblib",
    "hydra-submitit-launcher": "submitit", "hydra-ray-launcher": "ray", "mkdocs-material": "material",
}  # fmt: skip


def test_every_dependency_is_used():
    files = [*ROOT.glob("mmgan/**/*.py"), *ROOT.glob("conf/**/*.yaml"), *ROOT.glob("tests/*.py")]
    files += [ROOT / "docs" / "mkdocs.yml", ROOT / ".ci" / "run"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files if file != Path(__file__))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    named = {re.match(r"[\w-]+", line)[0] for line in asked} - {
        "mmgan",
        "pytest-xdist",
    }  # of which addopts has the options
    assert not {name for name in named if not re.search(rf"\b{NAMES.get(name, name.replace('-', '_'))}\b", text)}
    bounded = [line for line in asked if "<" in line]
    assert bounded == ["hydra-core>=1.3.8,<1.4"]  # an upper bound needs a reason, which stands beside it


@pytest.mark.slow
def test_the_wheel_trains_from_another_folder(tiny, tmp_path):
    source, site, elsewhere = tmp_path / "source", tmp_path / "site", tmp_path / "anywhere (1)"
    for name in ("mmgan", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("mmgan-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], check=True)
    shutil.rmtree(source)
    assert (site / "mmgan" / "py.typed").exists() and (site / "mmgan" / "conf" / "model" / "scaler").is_dir()
    assert any((site / "bin").glob("mmgan*")) or any((site / "Scripts").glob("mmgan*"))

    def run(*words):
        env = {**os.environ, "PYTHONPATH": str(site)}
        done = subprocess.run([sys.executable, *words], cwd=elsewhere, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    assert Path(run("-c", "import mmgan; print(mmgan.__file__)").strip()).is_relative_to(site)
    told = run("-m", "mmgan", "train", "data=pkl", f"data.path={tiny}", *TINY)
    assert "python -m mmgan synthesize ckpt=runs/train/data-vae/fold1" in told
    assert (elsewhere / "runs" / "train" / "data-vae" / "fold1" / "best.ckpt").exists()

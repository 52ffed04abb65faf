"""Every command of the README and of pages of the docs runs, small; and what they do in Python."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHORT = [
    "data.steps_per_epoch=2",
    "data.n_splits=3",
    "trainer.max_epochs=2",
    "~callbacks.pictures",
    "~callbacks.traversals",
]
SMALL = SHORT + [f"model.{player}.width=16" for player in ("encoder", "generator", "critic", "classifier")]
EXTRA = {"train.py": SMALL, "tune.py": [*SMALL, "search.epochs=1"], "evaluate.py": ["quick=true", "fold=1"]}
OF_COMPARE = ["models=[vacwgan]", "folds=[1]", "draws=1", f"overrides='{' '.join(SMALL)}'"]
OF_MOMENTS = ["seeds=1", "overrides='experiment=linear_gan callbacks=default trainer.max_epochs=1'"]
PAGES = ["README.md", "docs/sweeps.md", "docs/usage.md", "docs/tutorial.md", "docs/two-stages.md"]
STANDS_FOR = {
    "ckpt=...": "ckpt=runs/train/watch-vacwgan/fold1",
    "n_trials=50": "n_trials=1",
    "fold=1,2,3": "fold=1,2",
    "seeds=3": "seeds=2",
    "600": "60",
}


def blocks(page: str) -> list[tuple[str, str]]:
    """Return (language, code) of a page's code blocks, in order; of a plain one the language is empty."""
    return [(language, code) for language, _, code in (block.partition("\n") for block in page.split("```")[1::2])]


def commands(code: str) -> list[list[str]]:
    """Return the arguments of each `python SCRIPT ...` of a plain block; pip and pytest are CI's."""
    lines = [line for line in code.splitlines() if line.startswith("python ")]
    parts = [shlex.split(part, comments=True)[1:] for line in lines for part in line.split("&&")]
    return [[STANDS_FOR.get(word, word) for word in part] for part in parts if part[1:2] not in (["pip"], ["pytest"])]


def run(arguments: list[str], where: Path) -> None:
    options = EXTRA.get(Path(arguments[1]).name, []) if arguments[0] == "-u" else []
    if any(word.startswith(("model=", "experiment=")) for word in arguments):
        options = SHORT  # other models have other networks
    if "data=micro_doppler" in arguments:
        options = [*options, "data.n_train=60", "data.n_test=30"]
    ended = subprocess.run([sys.executable, *arguments, *options], cwd=where, capture_output=True, text=True)
    assert ended.returncode == 0, f"{shlex.join(arguments)}\n{ended.stdout[-800:]}\n{ended.stderr[-2000:]}"


def sweeps(page: str) -> list[list[str]]:
    """Return the commands of a page that tune, small; no later command needs what they leave."""
    code = (code for language, code in blocks((ROOT / page).read_text()) if not language)
    return [command for block in code for command in commands(block) if command[0] == "tune.py"]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_every_command_runs(name, write_data, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("results"))
    write_data(rows=100).rename(tmp_path / "dataset_best_cv.pkl")  # two folds of three are enough for an inner split
    ran, judged = set(), []
    swept = [command for page in PAGES[: PAGES.index(name)] for command in sweeps(page)]  # with another page
    for language, code in blocks((ROOT / name).read_text()):
        if language == "python":
            run(["-c", code], tmp_path)
        for script, *options in commands(code) if not language else []:
            ran.add(script)
            if [script, *options] in swept:
                continue
            if script == "-m":
                if options[:2] == ["mmgan", "compare"]:
                    options += OF_MOMENTS if "measure=benchmarks.measures.Moments" in options else OF_COMPARE
                run([script, *options], tmp_path)
                continue
            if script == "evaluate.py":
                options = [word for word in options if word not in EXTRA[script]]
                if options in judged:
                    continue  # made small, it is the same
                judged.append(options)
            if "resume=true" in options:  # a run to go on with
                run(["-u", str(ROOT / script), *[word for word in options if word != "resume=true"]], tmp_path)
            run(["-u", str(ROOT / script), *options], tmp_path)
    assert "train.py" in ran

"""Every command of the README and of pages of the docs runs, small; and what they do in Python."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import python

from mmgan.commands.build import compose
from mmgan.commands.checks import check_options

ROOT = Path(__file__).parent.parent
SHORT = [
    "data.steps_per_epoch=2",
    "data.n_splits=3",
    "data.rows_per_class=24",
    "data.imbalance_ratio=1.5",  # else nothing would be left for balance=true
    "trainer.max_epochs=1",
    "~callbacks.pictures",
    "~callbacks.traversals",
]
FEW = "model.n_calibration_samples=100"  # of the models that have them
CALIBRATED = ("vacwgan", "vae", "gan", "cgan", "diffusion", "ldm")
SMALL = [*SHORT, FEW, *(f"model.{player}.width=16" for player in ("encoder", "generator", "critic", "classifier"))]
EXTRA = {
    "train.py": SMALL,
    "tune.py": [*SMALL, "search.epochs=1"],
    "evaluate.py": ["quick=true", "fold=1", "workers=1"],
}
OF_COMPARE = ["models=[vacwgan]", "folds=[1]", "draws=1", f"overrides='{' '.join(SMALL)}'"]
OF_MOMENTS = ["seeds=1", "overrides='experiment=linear_gan callbacks=default trainer.max_epochs=1'"]
PAGES = [
    "README.md", "docs/sweeps.md", "docs/usage.md", "docs/tutorial.md", "docs/two-stages.md", "docs/python.md", "docs/your-data.md",
    "docs/models.md", "docs/imbalance.md", "docs/machines.md",
]  # fmt: skip
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
NOTEBOOK = ROOT / "docs/first-steps.ipynb"
# What stands before a page's Python: short trainings.
SHORT_FIT = """
import mmgan.commands.fit as short
composed = short.compose
small = ["trainer.max_epochs=1", "data.steps_per_epoch=2"]
few = lambda words: ["model.n_calibration_samples=100"] if "model=vacwgan" in words else []
short.compose = lambda command, words: composed(command, [*words, *small, *few(words)])
"""
STANDS_FOR = {
    "ckpt=...": "ckpt=runs/train/watch-vacwgan/fold1",
    "n_trials=50": "n_trials=1",
    "fold=1,2,3": "fold=1,2",
    "seeds=3": "seeds=2",
    "600": "60",
}


def blocks(page: str) -> list[tuple[str, str]]:
    """Return (language, code) of a page's code blocks, in order, broken lines made whole; of a plain one the language is empty."""
    parts = (block.partition("\n") for block in page.replace("\\\n", "").split("```")[1::2])
    return [(language, code) for language, _, code in parts]


def commands(code: str) -> list[list[str]]:
    """Return the arguments of each `python SCRIPT ...` of a plain block; pip and pytest are CI's."""
    lines = [line for line in code.splitlines() if line.startswith("python ")]
    parts = [shlex.split(part, comments=True)[1:] for line in lines for part in line.split("&&")]
    return [[STANDS_FOR.get(word, word) for word in part] for part in parts if part[1:2] not in (["pip"], ["pytest"])]


def made_small(words: list[str]) -> list[str]:
    """Return the words of a command with what makes it small."""
    options = EXTRA.get(words[0], [])
    if any(word.startswith(("model=", "experiment=")) for word in words):
        options = [
            *SHORT,
            *(FEW for name in CALIBRATED if f"model={name}" in words),
        ]  # other models have other networks
    if "data=micro_doppler" in words:
        options = [*options, "data.n_train=60", "data.n_test=30"]
    if words[:3] == ["-m", "mmgan", "compare"]:
        options = OF_MOMENTS if "measure=benchmarks.measures.Moments" in words else OF_COMPARE
    return [*words, *options]


def commands_of(page: str) -> Iterator[list[str]]:
    """Yield what a page runs, small; an evaluation that, made small, is the same as an earlier one only once."""
    judged = []
    for language, code in blocks((ROOT / page).read_text()):
        if language == "python":
            yield ["-c", SHORT_FIT + code]
        for words in commands(code) if not language else []:
            if "resume=true" in words:  # a run to go on with
                yield made_small([word for word in words if word != "resume=true"])
            if words[0] == "evaluate.py":
                words = [word for word in words if word not in EXTRA["evaluate.py"]]
                if words in judged:
                    continue
                judged.append(words)
            yield made_small(words)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_every_command_runs(name, write_data, tmp_path, monkeypatch):
    """No later command needs what a sweep or an evaluation leaves, so one that an earlier page has too is left out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("results"))
    write_data(rows=160).rename(tmp_path / "dataset_best_cv.pkl")  # enough for an inner split
    earlier, ran = [words for page in PAGES[: PAGES.index(name)] for words in commands_of(page)], set()
    for words in commands_of(name):
        if words[0] not in ("tune.py", "evaluate.py") or words not in earlier:
            script = str(ROOT / words[0]) if words[0].endswith(".py") else words[0]
            python([script, *words[1:]], tmp_path, anew=name == PAGES[0] and script not in ran)
            ran.add(script)
    assert str(ROOT / "train.py") in ran


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    python(["-c", "\n".join([SHORT_FIT, *code])], tmp_path, anew=True)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_the_notebook_is_kept_without_outputs_and_its_links_lead_somewhere():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = notebook["cells"]
    assert notebook["nbformat"] == 4 and not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)#]+)", text)
    assert links and all((NOTEBOOK.parent / link).exists() for link in links)


@pytest.mark.slow
def test_commands_for_other_machines_can_be_composed():
    """What needs a GPU, a cluster or a database server is not run here."""
    text = "".join((ROOT / page).read_text().replace("\\\n", "") for page in ("docs/machines.md", "docs/sweeps.md"))
    found = set(re.findall(r"(?:^|`|=\d )python (train|tune)\.py (.*?)(?:`|#|$)", text, re.MULTILINE))
    assert {"launcher=slurm", "launcher=ray", "fold=$SLURM_ARRAY_TASK_ID"} <= {
        w for _, line in found for w in line.split()
    }
    options = set(re.findall(r"`((?:trainer|threads|launcher)[a-z.]*=[a-z0-9_-]+)`", text))
    assert {"trainer=ddp", "trainer.precision=bf16-mixed"} <= options
    for command, line in {*found, *(("train", option) for option in options)}:
        one = re.sub(
            r"fold=\S+", lambda fold: "fold=all" if fold[0] == "fold=all" else "fold=1", line
        )  # as a job of -m has it
        check_options(compose(command, [word for word in shlex.split(one) if word != "-m"]))


def test_no_line_is_long_but_those_of_tables():
    lines = [(path.name, line) for path in TEXTS for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(TEXTS) > 20 and not [line for line in lines if len(line[1]) > 150 and not line[1].startswith("|")]


def test_the_chinese_readme_has_the_same_commands_and_tables():
    def parts(page: str) -> tuple[list[str], list[str]]:
        text = (ROOT / page).read_text(encoding="utf-8")
        code = [re.sub(r"\s*#.*", "", block) for _, block in blocks(text)]
        return code, [line for line in text.splitlines() if line.startswith("|")]

    assert parts("README.md") == parts("README.zh-CN.md")

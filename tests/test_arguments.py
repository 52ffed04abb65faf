"""Paths with any characters reach the program as they were typed, and commands that are printed can be pasted."""

import os
import shlex
import subprocess
import sys

import pytest
from conftest import CONF, content
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mmgan.commands import arguments
from mmgan.commands.arguments import TEXTS, as_hydra_reads, command_line, trust_option
from mmgan.commands.build import compose, load_data, plain, run_name
from mmgan.commands.options import COMMANDS, name_of
from mmgan.commands.synthesize import find_checkpoints
from mmgan.data.files import write_pickle

ROOT = CONF.parent
NASTY = [
    "数据 (1)", "a b", " a ", "x~y", "~", "a=b", "it's", '"', "'", "a'b\"c", "$HOME", "${", "${a b}", "$(x)", "{}", "{a: 1}", "[", "a]",
    "a,b", "a;b|c&d", "#1", "50%", "@", "!", "é", "\\", "a\\", "a\\'", "C:\\runs\\new", "-m", "--x", "1e5", "007", "true", "nan",
    "[red]x[/red]", ":smile:", "a:b", "x\ty", "x\ny", "null,", "'a'b'",
]  # fmt: skip


def read(word: str, **others):
    """Return what the program gets of one word of the command line."""
    override = OverridesParser.create().parse_override(as_hydra_reads([word])[0])
    assert not override.is_sweep_override()
    return OmegaConf.to_container(OmegaConf.create({"value": override.value(), **others}), resolve=True)["value"]


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("option", ["out_dir", "data.path", "storage"])
def test_a_path_is_read_as_it_was_typed(option, name):
    assert read(f"{option}={name}") == name
    assert read(f"{option}=/runs/{name}/fold1") == f"/runs/{name}/fold1"


@pytest.mark.parametrize("option", sorted(TEXTS))
def test_every_such_option_is_one_of_a_command(option):
    assert option.split(".")[0] in {name for options in COMMANDS.values() for name in options.__dataclass_fields__}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("out=null", None), ("out=", ""), ("out='a b'", "a b"), ('out="a b"', "a b"), ("out=''", ""), ("ckpt=[a,b]", ["a", "b"]),
        ("ckpt=[]", []), ("ckpt=[a b (1), 'c,d',\"e\"]", ["a b (1)", "c,d", "e"]), ("out=${name}-x", "vae-x"), ("out=\\${name}", "${name}"),
        ("seed=3", 3), ("trust=[a,b]", ["a", "b"]),
    ],
)  # fmt: skip
def test_what_has_a_meaning_keeps_it(word, value):
    assert read(word, name="vae") == value


def test_the_home_folder_is_meant_in_any_shell(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert read("out=~/a b.pkl") == "/home/me/a b.pkl" and read("ckpt=[~/a,~b]") == ["/home/me/a", "~b"]


def test_the_name_of_what_exists_means_that(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("'a b'", "[x,y]", "${name}", "null", '"', "a,b"):
        os.mkdir(name)
        assert read(f"first_stage={name}", name="vae") == name
    assert read("ckpt=[${name},z]", name="vae") == ["${name}", "z"]


def test_other_words_and_sweeps_stay():
    words = ["model=vae,gan", "~data.path", "data.path", "--help", "-cd", "model.x=(a b)"]
    assert as_hydra_reads(words) == words
    assert as_hydra_reads(["-m", "model=vae,gan", "first_stage=a 1,'b,2'"]) == [
        "-m", "model=vae,gan", "first_stage='a 1','b,2'",
    ]  # fmt: skip
    assert as_hydra_reads(["+out=a b", "++data.path=a b"]) == ["+out='a b'", "++data.path='a b'"]


@pytest.mark.parametrize("name", [name for name in NASTY if "\\" not in name or os.sep == "/"])
def test_data_of_a_folder_of_any_name_are_read(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    write_pickle(folder / "data=1.pkl", content(rows=60))
    cfg = compose("train", ["data=pkl", f"data.path={folder / 'data=1.pkl'}", f"out_dir={folder / 'out'}"])
    assert load_data(cfg).source == plain(cfg.data)["path"] == str(folder / "data=1.pkl")
    assert cfg.out_dir == str(folder / "out")
    (folder / "best.ckpt").write_text("")
    assert find_checkpoints(compose("synthesize", [f"ckpt={folder}"]).ckpt) == [folder / "best.ckpt"]


@pytest.mark.parametrize("name", NASTY)
def test_a_command_that_is_printed_can_be_pasted(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/my mmgan/train.py"])
    words = shlex.split(command_line("synthesize", f"ckpt={name}"))
    assert words == ["python", "/opt/my mmgan/synthesize.py", f"ckpt={name}"] and read(words[2]) == name
    monkeypatch.setattr(sys, "argv", ["/usr/lib/mmgan/__main__.py"])
    assert shlex.split(command_line("train", f"out={name}")) == ["python", "-m", "mmgan", "train", f"out={name}"]


def test_a_command_for_files_that_name_foreign_classes_says_so():
    assert trust_option(["mmgan.models.vae.VAE", "torch.optim.Adam"]) == []
    assert trust_option(["mine.a.B", "mmgan.x.Y", "yours.C", "mine.D"]) == ["trust=[mine,yours]"]


def test_lines_are_printed_as_they_are(capsys):
    line = "next: [red]x[/red] :smile: " + "long " * 60 + "end"
    arguments.tell(line)
    assert capsys.readouterr().out == line + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["数据 (1) it's, ~a=b", '$x {a} "q" [b]'])
def test_the_commands_take_and_print_such_paths(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    write_pickle(folder / "d.pkl", content(rows=60))

    def run(*words):
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "60"}
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def said(told, what):
        (line,) = [line for line in told.splitlines() if line.startswith(what)]
        return shlex.split(line.removeprefix(what))

    told = run("train.py", "data=pkl", f"data.path={folder}/d.pkl", "model=smoothed_bootstrap", f"out_dir={folder}/run")
    python, *words = said(told, "next:")
    assert (python, words) == ("python", ["synthesize.py", f"ckpt={folder}/run"])
    told = run(*words)
    assert f"file:   {folder}/run/synthetic.pkl" in told
    _, *words = said(told, "judge:")
    told = run(*words, "quick=true", "workers=1", f"out_dir={folder}/report")
    assert f"report: {folder}/report/report.html" in told


def test_runs_of_an_own_file_are_called_by_its_name(tmp_path):
    cfg = compose("train", ["data=pkl", f"data.path={tmp_path / 'data (1).pkl'}"])
    assert run_name(cfg) == "data (1)-vacwgan"
    assert name_of("数据.pkl", "pkl") == "数据" and name_of("a.b.npz", "pkl") == "a.b" and name_of(None, "pkl") == "pkl"
    assert name_of(str(tmp_path), "images") == tmp_path.name
    assert "/" not in name_of("..", "pkl") and name_of("/", "images") == "images"

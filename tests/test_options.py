"""Every option of every configuration is declared, and whatever it is given, there is one sentence or a run."""

import copy
import functools
import itertools
import math
import os
import subprocess
import sys
import warnings
from typing import get_args

import numpy as np
import pytest
from conftest import CONF, _shrink
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmgan.commands.build import check_run, chosen_folds, compose, fold_path, fold_run, load_data, plain, train_fold
from mmgan.commands.checks import RENAMED, check_options, declared_options, own_options, refuse_renamed
from mmgan.commands.help import options_text
from mmgan.commands.meanings import USUAL
from mmgan.commands.names import known_names, suggestion
from mmgan.commands.options import COMMANDS, MORE
from mmgan.commands.sentences import refuse_words, sentence
from mmgan.commands.synthesize import synthesize
from mmgan.commands.tune import ConfiguredTrials, sweep_settings
from mmgan.errors import MmganError, check_value, expected

ROOT = CONF.parent
GROUPS = ("data", "model", "trainer", "logger", "callbacks", "search", "pruner")
PARTS = {  # of a model, by one that has them
    "vacwgan": ("gan_loss", "scaler", "fusion"),
    "vae": ("likelihood",),
    "gan": ("networks",),
    "diffusion": ("process", "denoiser"),
    "vqgan": ("quantizer",),
}
VALUES = [None, float("nan"), float("inf"), -1, 0, 1e30, 10**22, [1, 2], {"a": 1}, True, "word"]
REFUSALS = (MmganError, HydraException, OmegaConfBaseException)


def names(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def choices(groups):
    """Yield overrides that name every choice of every group at least once."""
    for row in itertools.zip_longest(*([f"{group}={name}" for name in names(group)] for group in groups)):
        yield [word for word in row if word]


def compositions():
    """Yield (command, overrides): together every data set, model, part, trainer, logger, callback, pruner and search."""
    yield from (("train", words) for words in choices(["model", "data", "trainer", "logger", "callbacks"]))
    for model, parts in PARTS.items():
        yield from (("train", [f"model={model}", *words]) for words in choices([f"model/{part}" for part in parts]))
    yield from (("train", [f"experiment={name}"]) for name in names("experiment"))
    pruners = [f"pruner={name}" for name in names("pruner")]
    yield from (("tune", [f"model={m}", p]) for m, p in zip(names("search"), itertools.cycle(pruners), strict=False))
    yield from [("synthesize", ["ckpt=x"]), ("evaluate", ["synthetic=x"]), ("evaluate", ["synthetic=x", "data=watch"])]
    yield "compare", []


def leaves(value, name=""):
    """Yield the dotted names of a configuration's values; of what they are made of, the class is none."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{name}.{key}" if name else key)
    elif name.rpartition(".")[2] not in ("_target_", "_partial_"):
        yield name


def shown(name):
    """Return the name under which users know an option: the datamodule and the source refer to those of the data."""
    return name.replace("data.datamodule.", "data.").replace("data.source.", "data.")


# -- declared -----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_every_option_of_every_configuration_is_declared():
    undeclared, silent = set(), set()
    for command, words in compositions():
        cfg = compose(command, words)
        own = {each.name for each in own_options(COMMANDS[command], cfg)} - set(GROUPS)
        found = list(declared_options(cfg))
        told = {each.name for each in found if each.meaning}
        silent |= {each.name for each in found if not each.name.startswith("callbacks.")} - told
        declared = own | {each.name for each in found} | {"search.space"}
        for name in map(shown, leaves(plain(cfg))):
            above = [".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 2)]
            if name not in GROUPS and not declared & set(above):
                undeclared.add(name)
    assert not undeclared and not silent


def test_every_option_says_what_it_may_be_and_means():
    for command, kind in COMMANDS.items():
        for each in own_options(kind):
            assert each.meaning, f"{command}: {each.name}"
    assert all((expected(declared) or get_args(declared)[1:]) and meaning for declared, meaning in MORE.values())


# -- any value ----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def bases(tiny, tmp_path_factory):
    """Return small configurations of the commands, by a name for each, and a folder to work in."""
    folder = tmp_path_factory.mktemp("options")
    pkl = ["data=pkl", f"data.path={tiny}"]
    made = {f"train {model}": ("train", [*pkl, f"model={model}"]) for model in names("model") if model != "ldm"}
    made |= {f"tune {name}": ("tune", [*pkl, f"pruner={name}"]) for name in names("pruner")}
    small = {"bearing": 20, "linear2d": 80, "micro_doppler": 12}
    for name, count in small.items():
        made[name] = ("train", [f"data={name}", f"data.n_train={count}", "data.n_test=0", "model=duplicate"])
    made["train loggers"] = ("train", [*pkl, "logger=csv", "trainer=ddp", "callbacks=film"])
    ready = {}
    for name, (command, words) in made.items():
        ready[name] = compose(command, [*words, "trainer.accelerator=cpu"])
        _shrink(ready[name].model, {"model.latent_dim"} if "copula" in name else set())
    trained = train_fold(ready["train duplicate"], load_data(ready["train duplicate"]), 1, folder / "fold1").folder
    ready["synthesize"] = compose("synthesize", [f"ckpt={trained}", f"out={folder / 'out.pkl'}"])
    ready["evaluate"] = compose("evaluate", [f"synthetic={folder / 'none.pkl'}", f"out_dir={folder / 'report'}"])
    return ready, folder


def drawn(ready, count=140):
    """Return `count` different (configuration, option, value), the same in each call."""
    rng = np.random.default_rng(0)
    pairs = []
    for base, cfg in ready.items():
        found = {shown(name) for name in leaves(plain(cfg)) if not name.startswith("search.space.")}
        parts = [f"model.{key}" for key in cfg.get("model") or () if key not in ("_target_", "_partial_")]
        options = sorted(found | set(parts))
        pairs += [(base, name, value) for name in options for value in range(len(VALUES))]
    bases_of = {}
    for pair in pairs:  # as many of each configuration
        bases_of.setdefault(pair[0], []).append(pair)
    each = -(-count // len(bases_of))
    return [found[k] for found in bases_of.values() for k in rng.choice(len(found), each, replace=False)]


def use(cfg, command):
    """Build all that a command needs, as it does before it writes anything; synthesize runs."""
    if command == "synthesize":
        synthesize(cfg)
    elif command == "train":
        dataset = load_data(cfg)
        check_run(cfg, fold_run(cfg, dataset, chosen_folds(cfg, dataset)[0]))
    elif command == "tune":
        trials = ConfiguredTrials(cfg)
        paths = {fold: fold_path(cfg, "tune", fold) for fold in chosen_folds(cfg, trials.dataset)}
        sweep_settings(cfg, trials, paths, next(iter(paths.values())))
        check_run(cfg, fold_run(cfg, trials.dataset, next(iter(paths))))


@pytest.mark.filterwarnings("ignore")
def test_any_value_of_any_option_ends_with_one_sentence_or_can_be_used(bases, monkeypatch):
    ready, folder = bases
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    refused = 0
    pairs = drawn(ready)
    for base, name, number in pairs:
        cfg, value = copy.deepcopy(ready[base]), VALUES[number]
        try:
            try:
                OmegaConf.update(cfg, name, value, merge=True)
            except OmegaConfBaseException:  # what Hydra refuses as it composes, and names the option
                refused += 1
                continue
            check_options(cfg)
        except REFUSALS as error:
            said = sentence(error)
            assert name.rpartition(".")[2] in said or name in said, (base, name, value, said)
            assert "\n" not in said and len(said) < 300
            refused += 1
            continue
        try:
            use(cfg, base.split()[0] if base.split()[0] in COMMANDS else "train")
        except REFUSALS as error:
            assert "\n" not in sentence(error), (base, name, value)
            refused += 1
        except Exception as error:
            raise AssertionError(f"{base}: {name}={value}") from error
    assert len(pairs) >= 140 and len(pairs) / 3 < refused < len(pairs)


@pytest.mark.parametrize(
    ("command", "words"),
    [("train", []), ("tune", []), ("synthesize", ["ckpt=x"]), ("evaluate", ["synthetic=x"]), ("compare", [])],
)
def test_random_values_of_a_command_s_options_are_taken_or_refused_in_one_sentence(command, words):
    cfg, rng = compose(command, words), np.random.default_rng(0)
    found = [*own_options(COMMANDS[command], cfg), *declared_options(cfg)]
    values = [
        *VALUES,
        "",
        "1",
        "a\nb",
        "x" * 500,
        -0.0,
        0.5,
        1e-300,
        2**31,
        -(10**9),
        [],
        [None],
        {},
        [[1]],
        "null",
        "\x1b[31m",
        "1e999",
    ]
    refused = 0
    for _ in range(200):
        each, value = found[rng.integers(len(found))], values[rng.integers(len(values))]
        try:
            check_value(each.name, value, each.kind)
        except MmganError as error:
            said, refused = sentence(error), refused + 1
            assert said.startswith((f"{each.name}", f"there is no option '{each.name}")), said
            assert len(said) < 400 and said.isprintable(), said
    assert refused > 40


@pytest.mark.parametrize(
    "words", [["model.lr.generator=1e30"], ["model.augment.noise=1e30"], ["model.weights.critic.adversarial=1e30"]]
)
def test_what_may_be_used_is_run_to_an_end_or_a_sentence(tiny, tmp_path, quick, words):
    tiny_run = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "data.steps_per_epoch=2", "data.batch_size=16"]
    quiet = ["callbacks.bar=null", "callbacks.pictures=null", "callbacks.traversals=null"]
    cfg = compose("train", ["data=pkl", f"data.path={tiny}", *tiny_run, *quiet, *words])
    _shrink(cfg.model, set())
    check_options(cfg)
    try:
        assert train_fold(cfg, load_data(cfg), 1, tmp_path / "run").epochs == 1
    except MmganError as error:
        assert "finite" in str(error)


@pytest.mark.parametrize("value", [math.nan, 5, "text", [1]])
def test_data_that_are_no_part_of_the_configuration_are_told(value):
    cfg = compose("evaluate", ["synthetic=x"])
    cfg.data = value
    with pytest.raises(MmganError, match=r"^data=.*choose one of conf/data/ with data=NAME"):
        check_options(cfg)


def test_a_part_that_loses_a_key_is_told(tiny, tmp_path, quick):
    with pytest.raises(MmganError, match=r"model\.lr\.generator: give this phase a learning rate"):
        cfg = compose("train", ["data=pkl", f"data.path={tiny}", "~model.lr.generator"])
        dataset = load_data(cfg)
        check_run(cfg, fold_run(cfg, dataset, 1))


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (
            "MOST_PARAMETERS",
            r"model=vacwgan would have 0 million parameters, .* values a sample of 'spec': give shorter windows",
        ),
        ("MOST_BATCH_VALUES", r"data\.batch_size=32: a batch would take some 0 GB .* a smaller data\.batch_size="),
    ],
)
def test_what_no_memory_holds_is_refused_before_anything_starts(tiny, monkeypatch, limit, said):
    monkeypatch.setattr(f"mmgan.commands.build.{limit}", 1000)
    words = ["data=pkl", f"data.path={tiny}", "data.batch_size=32", "data.views_per_epoch=null"]
    cfg = compose("train", words)
    _shrink(cfg.model, set())
    with pytest.raises(MmganError, match=said):
        check_run(cfg, fold_run(cfg, load_data(cfg), 1))
    cfg = compose("train", [*words, "model=smoothed_bootstrap"])
    check_run(cfg, fold_run(cfg, load_data(cfg), 1))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.critic=null"], "model.critic=null: expected its own keys with _target_."),
        (["model.critic=[1,2]"], "model.critic"),
        (["trainer.accelerator=word"], "trainer.accelerator=word: expected one of auto, cpu"),
        (
            ["trainer.strategy=word", "trainer=ddp"],
            "trainer: Lightning refuses these options: You selected an invalid strategy",
        ),
    ],
)
def test_sentences_for_parts(tiny, words, said):
    with pytest.raises(REFUSALS) as refused, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cfg = compose("train", ["data=pkl", f"data.path={tiny}", *words])
        check_options(cfg)
        use(cfg, "train")
    assert said in sentence(refused.value) and "\n" not in sentence(refused.value)


# -- renamed ------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_renamed_option_is_refused_with_its_new_name_which_exists():
    known = set()
    for command, words in compositions():
        for name in leaves(plain(compose(command, words))):
            known |= {".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 2)}
    for old, new in RENAMED.items():
        exists = (CONF / new).is_dir() if "/" in new else new.rstrip(".") in known
        assert exists, new
        word = f"{old}x" if old.endswith(".") else old
        now = f"{new}x" if old.endswith(".") else new
        with pytest.raises(MmganError, match=f"'{word}' is called '{now}' now"):
            refuse_renamed([f"{word}=1"])


# -- help ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", ["train", "tune", "synthesize", "evaluate"])
def test_help_lists_what_is_declared_at_once(command):
    code = (
        f"import runpy, sys\nsys.argv = ['{command}.py', '--help']\n"
        f"try:\n    runpy.run_path('{command}.py', run_name='__main__')\n"
        "finally:\n    print('heavy:', sorted({'torch', 'lightning', 'optuna', 'numpy'} & set(sys.modules)))\n"
    )
    begun = os.times()
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "heavy: []" in ended.stdout
    assert os.times().children_user - begun.children_user < 1  # seconds, however busy the machine is
    lines = ended.stdout.splitlines()
    assert len(lines) <= 50 and sum(len(line) > 130 for line in lines) == 0  # two screens
    for name in USUAL[command]:
        assert f"  {name}=" in ended.stdout
    assert f"options {command}" in ended.stdout


def test_all_options_are_listed_with_meaning_range_and_default():
    text = " ".join(options_text(["train", "model=vacwgan", "data=pkl"]).split())
    for said in (
        "model.latent_dim=64 number of latent dimensions (an integer >= 1 and <= 65536)",
        "model.generator.depth=3 residual blocks, or hidden layers (an integer >= 0 and <= 1000)",
        "data.split=file stratified, group (no group on both sides) or file (the file's own cv_splits)",
        "final=false train on all the fold's training samples, without an inner split (true or false)",
        "model.weights.generator.kl=0.05",
        "trainer.max_epochs=10 length of a training",
    ):
        assert said in text
    assert "data.source." not in text


# -- wrong names --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("command", "word", "said"),
    [
        ("train", "data.path", "here, but with data=images, data=pkl or data=recordings; give data=pkl data.path=..."),
        ("tune", "search.space.model.latent_dim.high", "', which leaves the rest as it is."),
        ("train", "trainer.max_epoch", "did you mean 'trainer.max_epochs'?"),
        ("train", "latentdim", "did you mean 'model.latent_dim'?"),
        ("train", "epochs", "did you mean 'trainer.max_epochs'?"),
        ("train", "lr", "did you mean 'model.lr.generator'?"),
        ("train", "batch_size", "did you mean 'data.batch_size'?"),
        ("train", "gpu", "did you mean 'trainer.accelerator'?"),
        ("train", "trials", "of train; did you mean n_trials= of tune?"),
        ("train", "model/ganloss", "did you mean 'model/gan_loss'?"),
        ("train", "model.encoder.widht", "did you mean 'model.encoder.width'?"),
        ("train", "path", "give data=pkl data.path=FILE."),
        ("train", "zebra", "--help lists the options."),
        ("synthesize", "n_samples", "did you mean 'n_per_class'?"),
        ("evaluate", "out", "did you mean 'out_dir'?"),
        ("compare", "model", "did you mean 'models'?"),
    ],
)
def test_a_wrong_name_is_told_the_nearest_option_wherever_it_stands(command, word, said, known):
    assert suggestion(word, command).endswith(said)


@pytest.fixture(scope="module")
def known():
    """Let each command's options be composed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmgan.commands.names.known_names", functools.cache(lambda command, words: known_names(command)))
        yield


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--epochs=3", "options are written without dashes, as epochs=3"),
        ("epochs", "as epochs=VALUE."),
        ("seed=" + "9" * 5000, "a number of more than 4000 digits"),
        ("my.pkl", "as data=pkl data.path=my.pkl."),
        ("data=a/b.pkl", "for your own file give data=pkl data.path=a/b.pkl."),
    ],
)
def test_words_that_are_no_options_are_refused(word, said):
    with pytest.raises(MmganError) as refused:
        refuse_words("train", ["fold=1", word])
    assert said in str(refused.value)


@pytest.mark.parametrize("word", ["+foo=1", "+model.foo=1", "+data.foo=1", "+model.encoder.foo=1"])
def test_an_added_option_that_nothing_takes_is_refused(word):
    with pytest.raises(MmganError, match=f"there is no option '{word[1:-2]}'"):
        check_options(compose("train", [word]))

"""Every file in conf/ composes and becomes an object; what cannot be used ends with one sentence."""

import importlib.util
import inspect
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys

import hydra
import pytest
from conftest import CONF, TINY_RUN, compose
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_method, instantiate
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import OmegaConf

from mmgan.commands.build import _trainer, plain
from mmgan.commands.checks import check_options
from mmgan.commands.endings import ended_well
from mmgan.commands.job import script as job_script
from mmgan.commands.options import register_options
from mmgan.errors import MmganError
from mmgan.schema import DataSchema
from mmgan.training.checkpoint import build_model

ROOT = CONF.parent
NEEDED = {"synthesize": {"ckpt"}, "evaluate": {"synthetic"}}  # what only the user can give
SCHEMA = DataSchema({"spec": (3, 9), "env": (5,)}, (0, 1), ("a", "b"))


def choices(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


# -- every choice -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", choices("."))
def test_every_primary_config_composes_and_lists_itself_before_its_groups(name):
    text = OmegaConf.load(CONF / f"{name}.yaml")
    first = [entry for entry in text.defaults if isinstance(entry, str)]
    assert first == [f"{name}_options", "_self_"] and list(text.defaults[:2]) == first
    cfg = compose(name, small=False)
    assert OmegaConf.missing_keys(cfg) == NEEDED.get(name, set())


@pytest.mark.parametrize("group", ["data", "model", "trainer", "logger", "callbacks"])
def test_every_choice_of_every_group_composes(group):
    for name in choices(group):
        cfg = compose("train", f"{group}={name}", small=False)
        assert not OmegaConf.missing_keys(cfg)
        assert group not in ("data", "model") or cfg[group].name == name


@pytest.mark.parametrize("name", choices("launcher"))
def test_every_launcher_composes_where_its_plug_in_is_there(name):
    plugin = "submitit" if name in ("slurm", "submitit_local") else name
    package = f"hydra_plugins.hydra_{plugin}_launcher"
    if importlib.util.find_spec("hydra_plugins") is None or importlib.util.find_spec(package) is None:
        pytest.skip("needs the extra cluster")
    register_options()
    for script in ("train", "tune"):
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra.compose(script, [f"launcher={name}"], return_hydra_config=True)
        assert cfg.hydra.launcher._target_.startswith(f"{package}.")


@pytest.mark.parametrize("name", choices("pruner"))
def test_every_pruner_becomes_an_object(name):
    assert callable(instantiate(compose("tune", f"pruner={name}").pruner).prune)


@pytest.mark.parametrize("name", choices("data"))
def test_every_data_set_has_a_source_that_takes_these_options(name):
    cfg = compose("train", f"data={name}")
    source = plain(cfg.data.source)
    inspect.signature(get_method(source.pop("_target_"))).bind(**source)
    assert set(OmegaConf.load(CONF / "loader" / "default.yaml")) <= set(cfg.data)


@pytest.mark.parametrize("name", choices("model"))
def test_every_model_is_built_for_the_data_s_shapes(name):
    config = plain(compose("train", f"model={name}").model)
    if "space" in config:
        config["space"]["first_stage"] = plain(compose("train", "model=vqgan").model)
    assert build_model(config, SCHEMA).schema == SCHEMA


@pytest.mark.parametrize("scaler", choices("model/scaler"))
def test_every_scaler_can_be_chosen(scaler):
    cfg = compose("train", f"model/scaler={scaler}")
    model = build_model(plain(cfg.model), SCHEMA)
    assert type(model.scaler.scalers[0]).__name__.lower() == f"{scaler}scaler"


def test_trainer_logger_and_callbacks_become_objects(tmp_path):
    for name in choices("trainer"):
        instantiate(compose("train", f"trainer={name}").trainer, logger=False, enable_checkpointing=False)
    for name in choices("logger"):
        if name != "wandb" or importlib.util.find_spec("wandb"):
            instantiate(compose("train", f"logger={name}").logger)(save_dir=str(tmp_path))
    for name in choices("callbacks"):
        for node in compose("train", f"callbacks={name}", small=False).callbacks.values():
            assert callable(instantiate(node).state_dict)


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_composes(name):
    compose("train", f"experiment={name}", small=False)


# -- search spaces ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", choices("search"))
def test_a_search_space_holds_keys_of_the_configuration_and_their_defaults(name):
    cfg = compose("tune", f"model={name}", small=False)
    assert cfg.search.epochs < OmegaConf.select(cfg, "model.epochs", default=12)
    for key, options in cfg.search.space.items():
        default = OmegaConf.select(cfg, key, throw_on_missing=True)
        if default is None and options.get("optional"):
            continue
        assert default is not None, key
        if options.type == "categorical":
            assert default in options.choices, key
        else:
            assert options.type in ("int", "float") and options.low < options.high, key
            assert options.low <= default <= options.high, key


def test_an_override_reaches_every_place_that_means_the_same():
    cfg = compose("train", "data=bearing", "data.n_train=77", "data.draw=3")
    assert plain(cfg.data.source) == {
        "_target_": "mmgan.data.sources.bearing.bearing", "n_train": 77, "n_test": 1140, "imbalance": 1.0, "draw": 3,
    }  # fmt: skip


# -- sentences ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def script(monkeypatch):
    """Run a script in this process as its command line would; return its exit status or last words."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(f"{name}.py", run_name="__main__")
        GlobalHydra.instance().clear()
        return ended.value.code

    monkeypatch.chdir(ROOT)
    return run


SENTENCES = {
    "long name": (["a" * 300 + "=1"], "error: a name among the options is too long for any file; correct it."),
    "no choice": (["model="], "error: model=: there is no such choice; choose cgan, copula"),
    "resolve without cfg": (["--resolve"], "error: --resolve and --package say how --cfg shows the configuration"),
    "misspelt option": (
        ["flod=3"],
        "error: there is no option 'flod'; did you mean 'fold'?",
    ),
    "misspelt key": (["model.latent_dmi=3"], r"error: there is no option 'model.latent_dmi'"),
    "wrong type": (["seed=x"], "error: seed=x: expected an integer"),
    "unknown choice": (
        ["data=wacth"],
        "error: data=wacth: there is no such choice; choose bearing, images, linear2d, micro_doppler, pkl, recordings, watch",
    ),
    "no file": (["data=pkl"], "error: data=pkl needs a file; give data.path=FILE."),
    "missing file": (["data=pkl", "data.path=nowhere.pkl"], "error: there is no file nowhere.pkl"),
    "fold in letters": (["fold=three"], "error: fold=three: expected an integer >= 1 or one of all, none."),
    "fold beyond the last": (["fold=9"], "error: fold=9: give one of 1, 2, 3, 4, 5, all, or none."),
    "added key": (["+flod=3"], "error: there is no option 'flod'; did you mean 'fold'?"),
    "added again": (
        ["+data.n_splits=" + "x" * 3000],
        "error: there is an option 'data.n_splits' already; give it without + in front.",
    ),
    "what Hydra reads": (["data.teacher._partial_=maybe"], "data.teacher._partial_=maybe: expected true or false."),
    "no seed": (["~seed"], "error: ~seed: the command needs this option; give it a value, seed=VALUE."),
    "negative seed": (["seed=-1"], "error: seed=-1: expected an integer >= 0 and <= 4294967295."),
    "no thread": (["threads=0"], "error: threads=0: expected an integer >= 1 and <= 1024."),
    "fold zero": (["fold=0"], "error: fold=0: expected an integer >= 1 or one of all, none."),
    "no epochs": (["trainer.max_epochs=0"], "error: trainer.max_epochs=0: expected an integer >= 1."),
    "a dot for a slash": (["model.gan_loss=r3gan"], "with model/gan_loss=NAME"),
    "a dot for a slash, scaler": (["model.scaler=minmax"], "with model/scaler=NAME"),
    "a group of null": (["model=null"], "groups take the name of one of their choices"),
    "an old name": (["model/players=dense"], "error: the option 'model/players' is called 'model/networks' now"),
    "no GAN loss": (
        ["model/gan_loss=poker"],
        "there is no such choice; choose bce, bce_smoothed, hinge, r3gan, wgan_gp.",
    ),
    "conditioning": (
        ["model.critic.conditioning=none"],
        "model.critic.conditioning=none: expected one of projection, concatenation, both.",
    ),
    "split": (["data.split=magic"], "error: data.split=magic: expected one of stratified, group, file."),
    "no groups": (["data.split=group"], "has no groups"),
    "batch size": (["data.batch_size=0"], "data.batch_size=0: expected an integer >= 1"),
    "no samples of a class": (
        ["data.rows_per_class=0"],
        "error: data.rows_per_class=0: expected an integer >= 1 or null.",
    ),
    "parts of a row": (
        ["data.rows_per_class=2.5"],
        "error: data.rows_per_class=2.5: expected an integer >= 1 or null.",
    ),
    "imbalance": (["data.imbalance_ratio=0.5"], "error: data.imbalance_ratio=0.5: expected a number >= 1 or null."),
    "an option that was taken away": (["~model.latent_dim"], "missing a required argument: 'latent_dim'"),
    "another kind of container": (["model.betas={a:1}"], "Cannot merge DictConfig with ListConfig."),
    "a name of 5,000 letters": (["data=pkl", "data.path=" + "x" * 5000], "cannot be read: File name too long; give a"),
    "a variable that is not there": (["seed=${oc.env:NOT_THERE}"], "Environment variable 'NOT_THERE' not found; give"),
    "an option that is not there": (
        ["seed=${nothing}"],
        "refers to the option 'nothing', which is not there; give the",
    ),
    "a character that Hydra does not know": (["fold=²"], "an option cannot be read (fold=²"),
    "inner split": (["data.inner_val=1.5"], "data.inner_val=1.5: expected a number >= 0 and < 1."),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_what_cannot_be_used_ends_with_one_sentence_and_nothing_written(script, case, tiny, tmp_path):
    arguments, expected = SENTENCES[case]
    if not any(argument.startswith("data=") for argument in arguments):
        arguments = ["data=pkl", f"data.path={tiny}", *arguments]
    out = tmp_path / "run"
    code = script("train", *TINY_RUN, *arguments, f"out_dir={out}")  # what is not refused has an end, too
    assert isinstance(code, str) and code.startswith("error: ") and expected in code
    assert "\n" not in code and "Traceback" not in code
    assert not out.exists()


def test_synthesize_asks_for_a_checkpoint(script):
    assert script("synthesize").startswith("error: give ckpt=")


def test_evaluate_asks_for_a_file(script):
    assert script("evaluate").startswith("error: give synthetic=FILE")


@pytest.mark.parametrize("option", ["draws", "workers", "threads"])
def test_evaluate_counts_from_one(script, option):
    assert script("evaluate", f"{option}=0").startswith(f"error: {option}=0: expected an integer >= 1")


def test_tune_names_its_own_options(script):
    assert "did you mean 'n_trials'" in script("tune", "n_trails=3")
    assert "did you mean 'out_dir'" in script("evaluate", "synthetic=x", "out=here")  # another script's option is none


def test_help_is_shown_without_torch():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['train.py', '--help']\n"
        "try:\n    runpy.run_path('train.py', run_name='__main__')\n"
        "finally:\n    print('heavy:', sorted({'torch', 'lightning', 'optuna', 'numpy', 'sklearn'} & set(sys.modules)))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "heavy: []" in shown.stdout
    assert "fold=" in shown.stdout and "latent_dim" in shown.stdout


def test_a_reader_that_stops_reading_is_no_error():
    with subprocess.Popen(
        [sys.executable, "train.py", "--help"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as shown:
        shown.stdout.close()
        assert shown.stderr.read() == "" and shown.wait() == 1


def test_hydra_s_own_folders_are_not_made():
    for name in choices("."):
        text = OmegaConf.load(CONF / f"{name}.yaml").hydra
        assert text.output_subdir is None and text.run.dir == "."


# -- how a command ends -------------------------------------------------------------------------------------------------
@pytest.fixture
def ended(monkeypatch, tmp_path):
    """Run something as a command in this process; return its exit status."""
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os._exit", sys.exit)

    def run(job):
        with pytest.raises(SystemExit) as ended:
            ended_well(job)
        return ended.value.code

    yield run
    signal.signal(signal.SIGINT, handler)


def test_what_nobody_expected_ends_with_the_place_of_a_log(ended, capsys, tmp_path):
    def job():
        raise KeyError("a fault\x1b")

    assert ended(job) == 70
    said = capsys.readouterr().err
    (log,) = (tmp_path / "runs" / "errors").glob("*.log")
    assert said == f"error: this is a fault of mmgan (KeyError); {log.relative_to(tmp_path)} says more.\n"
    assert "Traceback" in log.read_text() and 'raise KeyError("a fault' in log.read_text()


def test_a_package_that_is_not_installed_is_no_fault(ended, capsys, tmp_path):
    def job():
        raise ModuleNotFoundError("No module named 'hydra'", name="hydra")

    assert ended(job) == 1
    assert "the package hydra is missing; install mmgan" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_interrupt_in_a_destructor_is_not_lost():
    code = (
        "import signal, time\n"
        "from mmgan.commands.endings import ended_well, keep_interrupts\n"
        "class Interrupting:\n    def __del__(self):\n        signal.raise_signal(signal.SIGINT)\n"
        "def run():\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    Interrupting()\n"
        "    for _ in range(1000):\n        time.sleep(0.01)\n"
        "keep_interrupts()\nended_well(run)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr.count("\n") == 2 and "interrupted" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("<&- >&- 2>&-", 0, ""),
        ("> /dev/full", 1, "error: the output cannot be written (No space left on device); make room where it goes.\n"),
    ],
)
def test_streams_that_are_closed_full_or_of_few_letters(tmp_path, how, status, said):
    code = (
        "import os\nfrom mmgan.commands.endings import ended_well\n"
        "def run():\n    open(os.environ['NUMBER'], 'w').write(str(os.open('.', 0) > 2))\n    print('\\xe9\\u6e29')\n"
        "ended_well(run)\n"
    )
    others = {"PYTHONIOENCODING": "ascii", "NUMBER": str(tmp_path / "number")}
    line = f"{shlex.join([sys.executable, '-c', code])} {how}"
    ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=ROOT, env=os.environ | others)
    assert (ran.returncode, ran.stderr) == (status, said) and (tmp_path / "number").read_text() == "True"


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be removed there")
def test_a_folder_that_has_been_removed_is_told(tmp_path):
    code = "import os; from mmgan.commands.endings import ended_well\nos.rmdir(os.getcwd())\nended_well(print)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (ran.returncode, ran.stdout) == (1, "") and ran.stderr.startswith(
        "error: the folder that this runs in has been removed"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="not all systems have such a limit")
def test_too_few_addresses_are_told_before_a_library_waits_for_them():
    code = "import resource, runpy; resource.setrlimit(resource.RLIMIT_AS, (700 << 20,) * 2); runpy.run_path('train.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "error: a process may have 700 MB here (ulimit -v); give it 4096 MB or more.\n",
    )


def test_an_interrupt_is_one_line_and_status_130(ended, capsys):
    def job():
        raise KeyboardInterrupt

    assert ended(job) == 130
    assert capsys.readouterr().err.strip() == (
        "interrupted: a training goes on with resume=true, a sweep by the same command."
    )


def test_a_training_that_is_told_to_end_has_not_ended_well(ended, capsys):
    def job(cfg):
        raise SIGTERMException  # Lightning's, at the end of the batch

    assert ended(lambda: job_script(job)(compose("train"))) == 128 + signal.SIGTERM
    assert "a training goes on with resume=true" in capsys.readouterr().err


def test_a_job_of_slurm_is_not_queued_again_by_lightning(monkeypatch, tmp_path):
    for name, value in {"NTASKS": "1", "NTASKS_PER_NODE": "1", "JOB_ID": "1", "JOB_NAME": "x"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    trainer = _trainer(compose("train", "trainer.accelerator=cpu"), tmp_path)
    environment = trainer._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment) and not environment.auto_requeue
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(MmganError, match=r"Slurm's job does not fit .*ask for one task, or for --ntasks-per-node"):
        _trainer(compose("train", "trainer.accelerator=cpu"), tmp_path)


@pytest.mark.parametrize("target", ["nothing.Here", "mmgan.models.vae.VEA", "mmgan.models.vae", 3, ""])
def test_a_target_that_is_not_there_is_told(target):
    with pytest.raises(
        MmganError, match=rf"model\.encoder\._target_={target}: there is no such class or function; give"
    ):
        check_options(compose("train", "model=vae", f"model.encoder._target_={target}"))


@pytest.mark.parametrize("part", ["source", "datamodule"])
@pytest.mark.parametrize("value", ["text", "null", 3])
def test_a_part_of_the_data_that_is_none_is_told(part, value):
    cfg = compose("train")
    cfg.data[part] = None if value == "null" else value
    with pytest.raises(MmganError, match=rf"data\.{part}={value}: expected its own keys with _target_"):
        check_options(cfg)


@pytest.mark.parametrize("typed", [True, False])
def test_what_the_user_s_own_target_does_not_know_is_no_fault_of_mmgan(ended, capsys, monkeypatch, typed):
    own = "model.encoder._target_=builtins.dict" if typed else "+callbacks.own={_target_:builtins.dict}"
    monkeypatch.setattr("sys.argv", ["train.py", own] if typed else ["train.py"])
    cfg = compose("train", "model=vae", own)
    assert ended(lambda: job_script(lambda cfg: instantiate(cfg.model.encoder)("schema", 3))(cfg)) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"error: [\w.=]*builtins\.dict: this does not serve here \(\w+\); runs/errors/\S+ says more\.\n", said
    ), said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(13, "Permission denied", "x.ckpt"),
            "error: x.ckpt cannot be read or written (Permission denied)",
        ),
        (
            OSError(28, "No space left on device", b"run/events"),
            "error: run/events cannot be read or written (No space",
        ),
        (FileNotFoundError(2, "No such file", "gone/x"), "error: gone has been removed meanwhile"),
        (FileNotFoundError(2, "No such file", b"events.out"), "error: . has been removed meanwhile"),
        (MemoryError(), "error: the memory is too small for this"),
        (RuntimeError("[enforce fail] can't allocate memory: 12"), "error: the memory is too small for this"),
    ],
)
def test_what_is_no_fault_of_mmgan_is_one_sentence(error, said):
    def job(cfg):
        raise error

    with pytest.raises(SystemExit, match=re.escape(said)):
        job_script(job)(compose("train"))

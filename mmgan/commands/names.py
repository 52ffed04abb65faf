"""Names of options that do not exist: the nearest that does, wherever it stands."""

import copy
import difflib
import functools
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmgan.commands.arguments import CONF
from mmgan.commands.options import COMMANDS, register_options
from mmgan.errors import MmganError

GROUPS = "data, model and other groups take the name of one of their choices; --help lists them."
LISTED = "--help lists the options."
HIDDEN = ("_target_", "_partial_", "hydra", "defaults", "datamodule", "source")
NEAR = 0.7  # of two names, from 0 to 1
LIKE = {  # what other tools, and people, call an option: its names here, the first that the command has
    "epochs epoch n_epochs num_epochs max_epochs nepochs iterations steps": ("trainer.max_epochs", "search.epochs"),
    "device devices gpu gpus cuda cpu accelerator use_gpu use_cuda mps": ("trainer.accelerator",),
    "precision amp fp16 bf16 half": ("trainer.precision",),
    "lr learning_rate learningrate eta": ("model.lr.generator", "model.lr"),
    "batch bs batchsize batch_size": ("data.batch_size",),
    "trials n_trial ntrials num_trials number_of_trials": ("n_trials",),
    "jobs n_jobs njobs num_workers processes cores": ("workers", "threads"),
    "z z_dim zdim nz latent latent_size latents noise_dim": ("model.latent_dim",),
    "random_state random_seed rng manual_seed": ("seed",),
    "out output output_dir outdir outputs save_dir logdir log_dir folder dir run_dir": ("out_dir", "out"),
    "checkpoint checkpoints ckpt_path weights_file model_path checkpoint_path": ("ckpt",),
    "n n_samples num_samples samples number count": ("n_per_class", "data.rows_per_class"),
    "k folds n_folds kfold cv": ("data.n_splits", "fold"),
    "n_critic critic_iters ncritic d_steps": ("model.critic_steps",),
    "beta1 beta2 adam_betas": ("model.betas",),
    "gp lambda_gp gp_weight lambda": ("model.weights.critic.penalty", "model.weights"),
    "generated fake synth samples_file": ("synthetic",),
    "continue resume_from restart": ("resume",),
    "file filename path data_file dataset input csv": ("data.path",),
}  # fmt: skip


def suggestion(name: str, command: str, words: Sequence[str] = ()) -> str:
    """Return the end of a sentence that says which option of a command may be meant by `name`, which is none.

    `words` are the command line; its groups decide which options there are.
    """
    known, last = known_names(command, words), name.rpartition(".")[2].lower().replace("-", "_")
    if name.startswith("hydra."):
        return f"; {LISTED}"
    if "/" in name:
        near = _near(name, [f"{path.parent.name}/{path.name}" for path in CONF.glob("*/*/")])
        return f"; did you mean '{near}'?" if near else f"; {LISTED}"
    if name.startswith("search.space."):  # whose keys hold dots, for which Hydra has no name
        return "; the search space is changed by 'search.space={model.latent_dim:{high:64}}', which leaves the rest as it is."
    if homes := _choices_with(name, command):
        group, _, _ = name.partition(".")
        return (
            f" here, but with {_listed(f'{group}={home}' for home in homes)}; give {group}={_first(homes)} {name}=..."
        )
    if meant := _near(name, [each for each in known if _depth(each) == _depth(name)], 0.8) or _like(last, known):
        return f"; did you mean '{meant}'?"
    for other, kind in COMMANDS.items():
        own = [each.name for each in fields(kind)]
        if other != command and (meant := name if name in own else _like(last, own)):
            return f" of {command}; did you mean {meant}= of {other}?"
    if last == "path" and command in ("train", "tune"):
        return "; give data=pkl data.path=FILE."
    if meant := _near(name, known) or _by_last_part(last, known):
        return f"; did you mean '{meant}'?"
    return f"; {LISTED}"


def known_names(command: str, words: Sequence[str] = ()) -> list[str]:
    """Return the dotted names of a command's options, with the groups that its command line chooses."""
    groups = [word for word in words if (CONF / word.lstrip("+").partition("=")[0]).is_dir()]
    for chosen in (groups, []):
        with suppress(HydraException, OmegaConfBaseException, ValueError):
            return list(_names(OmegaConf.to_container(composed(command, chosen), resolve=False)))
    return [each.name for each in fields(COMMANDS[command])]


def about_groups(error: Exception) -> bool:
    """Say whether Hydra raised this, a ValueError or TypeError, for a group that is given null, a number or a list."""
    place = traceback.extract_tb(error.__traceback__)[-1].filename
    return "Config group override" in str(error) or Path(place).name == "defaults_list.py"


def composed(command: str, words: Iterable[str]) -> DictConfig:
    """Return the configuration of a command, as Hydra reads these words."""
    return copy.deepcopy(_composed(command, tuple(words)))


@functools.lru_cache(maxsize=256)  # Hydra takes .1 s; a copy 5 ms, and in Python a model is often fitted again
def _composed(command: str, words: tuple[str, ...]) -> DictConfig:
    register_options()
    outer = GlobalHydra.instance().hydra  # of a program that is Hydra's itself
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra.compose(command, list(words))
    except (ValueError, TypeError) as error:
        if about_groups(error):
            raise MmganError(GROUPS) from error
        raise
    finally:
        GlobalHydra.instance().hydra = outer


def _names(node: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in node.items():
        if key not in HIDDEN:
            yield f"{above}{key}"
            if isinstance(value, dict):
                yield from _names(value, f"{above}{key}.")


def _choices_with(name: str, command: str) -> list[str]:
    """Return the choices of the group that a dotted name begins with whose own files have this option, but for the experiments."""
    group, _, key = name.partition(".")
    if not key or group not in {each.name for each in fields(COMMANDS[command])} or not (CONF / group).is_dir():
        return []
    files = sorted((CONF / group).glob("*.yaml"))
    return [file.stem for file in files if key in set(_names(OmegaConf.to_container(OmegaConf.load(file))))]


def _like(last: str, known: Iterable[str]) -> str:
    """Return the first option that is known of those that other tools call `last`."""
    known = set(known)
    for names, meant in LIKE.items():
        if last in names.split():
            return next((each for each in meant if each in known), "")
    return ""


def _by_last_part(last: str, known: Sequence[str]) -> str:
    """Return the option whose own name is nearest, of several that which stands highest."""
    parts = {each.rpartition(".")[2] for each in known}
    plain = {part.replace("_", ""): part for part in parts}
    near = plain.get(last.replace("_", "")) or _near(last, sorted(parts))
    return min((each for each in known if each.rpartition(".")[2] == near), key=_depth, default="")


def _near(name: str, known: Sequence[str], least: float = NEAR) -> str:
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=least)), "")


def _depth(name: str) -> int:
    return name.count(".")


def _first(homes: Sequence[str]) -> str:
    """Return the choice that most people mean."""
    return next((usual for usual in ("pkl", "vacwgan") if usual in homes), homes[0])


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last

"""A generator from samples, or from a file."""

import copyreg
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgan.api.inputs import dataset_from
from mmgan.commands.fit import fit_whole
from mmgan.commands.synthesize import find_checkpoints
from mmgan.data.trust import named_targets
from mmgan.data.unlabelled import KEY
from mmgan.errors import MmganError, shown_value
from mmgan.models.synthesizer import Synthesizer
from mmgan.training import checkpoint

ARGUMENTS = {  # options of train.py that are arguments of `fit`
    "data": "x and y", "data.path": "x and y", "data.source": "x and y", "data.unlabelled": "unlabelled=",
    "model": "model=", "seed": "seed=", "out_dir": "out_dir=", "callbacks.bar": "progress=",
}  # fmt: skip


def fit(
    x: Any,
    y: Any,
    model: str = "vacwgan",
    unlabelled: Any = None,
    groups: Any = None,
    overrides: str | Sequence[str] = (),
    seed: int = 0,
    out_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
    *,
    class_names: Sequence[str] | None = None,
) -> Synthesizer:
    """Train a generator on all the samples given, as `train.py fold=none` does, and return it.

    Raises MmganError for samples, labels or options that cannot be used. Torch's random numbers and threads are left as they were.

    Parameters
    ----------
    x
        Samples, {name: (n, *shape)} with shapes (F,), (C, L) or (C, H, W); one array, whose modality is called x; or a DataFrame of numbers.
    y
        Labels (n,), integers from 0 on, or strings.
    model
        One of conf/model/, such as vacwgan, vae, diffusion or smoothed_bootstrap.
    unlabelled
        Samples like x, without labels, that the generator learns from too.
    groups
        The recording or subject (n,) of each sample, which an inner split keeps together (select_length=true).
    overrides
        Options as on the command line, such as ["model.latent_dim=32", "trainer.max_epochs=20"].
    seed
        Seed of the training.
    out_dir
        Folder for the run's files, checkpoints, pictures and logs; None: nothing is left on the disk.
    progress
        Whether a bar is shown.
    class_names
        A name for each label, in their order.
    """
    if not isinstance(model, str) or not re.fullmatch(r"[\w.-]+", model):
        raise MmganError(f"model={shown_value(model)}: give the name of one of conf/model/, such as vacwgan.")
    dataset = dataset_from(x, y, unlabelled=unlabelled, groups=groups, class_names=class_names)
    words = [f"model={model}", f"seed={seed}", *_words(overrides)]
    words += [] if unlabelled is None else [f"data.unlabelled={KEY}"]
    words += [] if progress else ["callbacks.bar=null"]
    return fit_whole(dataset, words, None if out_dir is None else Path(out_dir))


def _words(overrides: str | Sequence[str]) -> list[str]:
    try:
        words = shlex.split(overrides) if isinstance(overrides, str) else list(overrides)
    except (ValueError, TypeError) as error:  # a quote that nothing ends, or what is no list
        raise MmganError(
            f"overrides={shown_value(overrides)} cannot be read ({error}); give a list of options, such as ['trainer.max_epochs=20']."
        ) from None
    for word in words:
        if not isinstance(word, str) or not ("=" in word or word.startswith("~")):
            raise MmganError(
                f"overrides: {word!r} is no option; give options as on the command line, such as 'seed=1'."
            )
        name = word.lstrip("+~").partition("=")[0]
        if name == "fold":
            raise MmganError(
                "overrides: fit trains on all samples that it is given; leave fold= out, and give those of the fold."
            )
        if argument := ARGUMENTS.get("data.source" if name.startswith("data.source.") else name):
            raise MmganError(f"overrides: {name} is an argument of fit; give {argument} instead.")
    return words


def load(path: str | os.PathLike[str], fold: int | None = None, *, trust: Sequence[str] = ()) -> Any:
    """Return the trained model of a checkpoint: a `Synthesizer`, or of model=robust_classifier a classifier.

    A checkpoint runs mmgan's own models and nothing else, but for classes of the packages `trust`. Raises MmganError where there is no
    such checkpoint, or it cannot be trusted.

    Parameters
    ----------
    path
        `best.ckpt` or `best.pth`, a file that `Synthesizer.save` wrote, a run's folder, or a folder of folds.
    fold
        Which fold's model, of a folder that holds several.
    trust
        Packages whose classes the file may use.
    """
    found = find_checkpoints(os.fspath(path))
    if fold is None:
        if len(found) > 1:
            names = ", ".join(file.parent.name.removeprefix("fold") for file in found)
            raise MmganError(f"{path} holds models of several folds; give one of them, fold={names}.")
        return checkpoint.load(found[0], trust=trust)
    known = {checkpoint.read_checkpoint(file)["recipe"]["fold"]: file for file in found}
    if fold not in known:
        listed = ", ".join(str(number or "none") for number in known)
        raise MmganError(f"{path} has no model of fold {fold}; it has fold {listed}.")
    return checkpoint.load(known[fold], trust=trust)


def _reduced(generator: Synthesizer) -> tuple[Any, ...]:
    return _restored, (generator.recipe, generator.model.state_dict())


def _restored(recipe: dict[str, Any], state_dict: Mapping[str, Any]) -> Synthesizer:
    named = {target.partition(".")[0] for target in named_targets(recipe["model"])}
    return checkpoint.restored(recipe, state_dict, "this pickle", trust=sorted(named))  # which runs code anyway


copyreg.pickle(Synthesizer, _reduced)  # as a checkpoint; parts of a model cannot be pickled

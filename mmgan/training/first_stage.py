"""The trained first stage that a two-stage model asks for: found, and refused where it has seen other samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgan.data.dataset import Dataset
from mmgan.data.trust import admit, build
from mmgan.errors import MmganError
from mmgan.training.checkpoint import read_checkpoint
from mmgan.training.folder import RunFolder


def first_stage_file(path: str | Path, fold: int) -> Path:
    """Return the checkpoint that `path` means: itself, that of a run's folder, or of the fold's folder in it.

    Raises MmganError for a folder that holds none.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    for folder in (RunFolder(path / f"fold{fold}"), RunFolder(path)):
        if folder.best.exists():
            return folder.best
    raise MmganError(f"first_stage={path}: this folder holds no best.ckpt of fold {fold}; give a run of model=vqgan.")


def read_first_stage(
    path: str | Path, dataset: Dataset, fold: int, options: Mapping[str, Any], *, final: bool, trust: Sequence[str] = ()
) -> dict[str, Any]:
    """Return {"recipe", "state_dict"} of the first stage at `path`, for a run with these data `options` and `seed`.

    Raises MmganError if it is none, or was trained on other data, another fold, or samples that this run keeps back.
    """
    path = first_stage_file(path, fold)
    content, where = read_checkpoint(path), f"first_stage={path}"
    recipe = content["recipe"]
    admit(recipe["model"], where, trust=trust)
    try:
        task = build(recipe["model"].get("task"))
    except TypeError as error:
        raise MmganError(f"{where}: its task takes other options; it was changed.") from error
    if "reconstructions" not in getattr(task, "offers", ()):
        raise MmganError(f"{where}: this is a model={recipe['model'].get('name')}; give a run of model=vqgan.")
    if recipe["fingerprint"] != dataset.fingerprint():
        raise MmganError(
            f"{where}: it was trained on other data than {dataset.source}; train one on these, with model=vqgan"
            " and the same data= options."
        )
    if recipe["fold"] != fold:
        raise MmganError(
            f"{where}: it was trained on fold {recipe['fold']}, this is fold {fold}; give the one of this fold, or"
            " the folder that holds the folds'."
        )
    # A final run keeps nothing back. Others keep samples of the inner split back, which the first stage must have kept back too.
    keys = ["split", "n_splits", "rows_per_class", "imbalance_ratio"] + ([] if final else ["inner_val"])
    theirs, ours = ({key: data.get(key) for key in keys} for data in (recipe["data"], options))
    if not final:
        theirs |= {"final": recipe["final"], "seed": recipe["seed"]}
        ours |= {"final": False, "seed": options["seed"]}
    for key in ours:
        if ours[key] != theirs[key]:
            raise MmganError(
                f"{where}: it was trained with {key}={theirs[key]}, on samples that this run, with {key}={ours[key]}, keeps"
                " back; give the same to both."
            )
    return content

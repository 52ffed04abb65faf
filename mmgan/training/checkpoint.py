"""Checkpoints: a recipe (plain containers: configuration, schema, fold, versions) plus tensors."""

import pickle
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch.plugins.io import TorchCheckpointIO

from mmgan.data.trust import admit, build
from mmgan.data.writing import whole_file
from mmgan.errors import MmganError
from mmgan.schema import DataSchema

FORMAT = 2  # of a checkpoint; what counts is how the recipe describes the model
RECIPE = {"model", "data", "schema", "fingerprint", "fold", "seed", "final"}  # what one must have to be read
# What a model's configuration says beside the model: of its runs, and what its parts refer to.
NOT_OF_MODEL = ("name", "epochs", "batch_size", "views_per_epoch", "task", "fusion")


def build_model(config: Mapping[str, Any], schema: DataSchema) -> Any:
    """Instantiate a model's configuration, which the user typed, for the shapes and classes of `schema`."""
    try:
        return instantiate(of_model(config), _convert_="all")(schema)
    except TypeError as error:
        if "missing a required argument" not in str(error):
            raise
        raise MmganError(f"model={config.get('name')}: {error}; give it in the model's options.") from error


def n_parameters(config: Mapping[str, Any], schema: DataSchema) -> int:
    """Return how many parameters the networks of such a model would have; nothing is allocated."""
    with torch.device("meta"):
        model = build_model(config, schema)
    return sum(each.numel() for each in model.parameters()) if isinstance(model, torch.nn.Module) else 0


def of_model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's configuration without what is said of runs; so that of a first stage within it."""
    own = {key: value for key, value in config.items() if key not in NOT_OF_MODEL}
    space = own.get("space")
    if isinstance(space, Mapping) and isinstance(space.get("first_stage"), Mapping):
        own["space"] = {**space, "first_stage": of_model(space["first_stage"])}
    return own


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return {"recipe", "state_dict", ...} of `best.ckpt` or `best.pth`; raises MmganError if it is neither."""
    path = Path(path)
    if not path.is_file():
        raise MmganError(
            f"{path}: there is no such file; give a checkpoint that train.py or tune.py wrote (best.ckpt)."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's of pickles that are none of its own, which are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise MmganError(f"{path}: this is not a checkpoint of mmgan; give a best.ckpt or best.pth.") from error
    recipe = content.get("recipe") if isinstance(content, dict) else None
    if not isinstance(recipe, dict):
        raise MmganError(f"{path}: this checkpoint has no recipe; give a best.ckpt or best.pth that mmgan wrote.")
    if recipe.get("format") == 1:
        raise MmganError(
            f"{path} was written by mmgan 0.1, whose checkpoints this version does not read; train again (the data and params.yaml"
            " are kept), or use mmgan 0.1."
        )
    if recipe.get("format") != FORMAT:
        raise MmganError(
            f"{path} was written by another version of mmgan, which this one does not read; use that version."
        )
    if not isinstance(content.get("state_dict"), dict):
        raise MmganError(
            f"{path}: this checkpoint has no tensors (state_dict); it was changed, or another tool wrote it."
        )
    if not recipe.keys() >= RECIPE or not all(isinstance(recipe[key], dict) for key in ("model", "data", "schema")):
        raise MmganError(f"{path}: its recipe is not whole; it was changed, or another tool wrote it.")
    return content


def write_checkpoint(target: str | Path, recipe: Mapping[str, Any], state_dict: Mapping[str, Any]) -> None:
    """Write a checkpoint of these alone, without what only a training to be resumed needs."""
    write_whole(Path(target), {"recipe": recipe, "state_dict": state_dict})


def write_whole(target: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, all of it or nothing."""
    buffer = BytesIO()
    torch.save(content, buffer)  # into a file it tells of a full disk by an error that could be anything
    with whole_file(target, lasting=False) as stream:
        stream.write(buffer.getbuffer())


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place, all of it or nothing: Lightning's own way is by a folder that may be on another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write what Lightning knows of a training."""
        write_whole(Path(path), checkpoint)


def load(path: str | Path, *, trust: Sequence[str] = ()) -> Any:
    """Return the trained model of a checkpoint, on the CPU: a `Synthesizer` ready to `sample`, or a classifier.

    A checkpoint runs mmgan's own models and nothing else, but for classes of the packages `trust`, those of an extension say. Raises
    MmganError if the file is missing, is no checkpoint of mmgan, names a class that is not trusted, or does not fit its own recipe.
    """
    content = read_checkpoint(path)
    return restored(content["recipe"], content["state_dict"], path, trust=trust)


def restored(
    recipe: dict[str, Any], state_dict: Mapping[str, Any], path: str | Path, *, trust: Sequence[str] = ()
) -> Any:
    """Return the trained model of a recipe and its tensors, as `load` does of those in the file `path`."""
    admit(recipe["model"], path, trust=trust)
    try:
        finished = build(recipe["model"]["task"]).finished
        model = build(of_model(recipe["model"]))(DataSchema.from_dict(recipe["schema"]))
        needs_training = model.needs_training
    except MmganError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise MmganError(f"{path}: its recipe makes no model; it was changed, or another version wrote it.") from error
    try:
        model.load_state_dict(state_dict)
    except (RuntimeError, KeyError) as error:
        raise MmganError(
            f"{path}: its tensors do not fit its recipe; it was changed, or another version wrote it."
        ) from error
    model.recipe = recipe
    if needs_training:
        model.eval()
    return finished(model)

"""One model trained on all of a data set that is in memory: what `mmgan.fit` asks for, in the commands' own code."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from mmgan.commands.build import check_run, compose, fold_run, task_of
from mmgan.commands.checks import check_options, refuse_renamed
from mmgan.commands.sentences import sentence
from mmgan.data.dataset import Dataset
from mmgan.data.folds import WHOLE
from mmgan.errors import MmganError
from mmgan.training.fit import FoldRun
from mmgan.training.folder import RunFolder
from mmgan.training.quiet import undisturbed

# Of a training that leaves no files: nobody would look at its pictures and logs.
ONE_AT_A_TIME = threading.RLock()  # trainings of threads, which have one configuration and one source of random numbers
UNSEEN = ("logger=csv", "callbacks.pictures=null", "callbacks.traversals=null", "callbacks.reconstructions=null")


def fit_whole(dataset: Dataset, words: Iterable[str], folder: Path | None) -> Any:
    """Return a generator trained on all samples of a data set, as train.py does it with `fold=none` and the options `words`.

    The run's files stand in `folder`, or nowhere (None). Raises MmganError for what the user can mend; the caller's random numbers,
    threads and warnings stay as they are.
    """
    words = [*words]
    named = {word.lstrip("+~").partition("=")[0] for word in words}
    unseen = [word for word in UNSEEN if folder is None and word.partition("=")[0] not in named]
    words = ["data=pkl", *unseen, *words, "fold=none"]
    with ONE_AT_A_TIME, undisturbed(), _worded(words):
        run = _run(dataset, words)
        if folder is not None:
            run.run(folder)
            return run.load(RunFolder(folder).best)
        with TemporaryDirectory(prefix="mmgan-") as place:
            run.train_whole(RunFolder(place))
            return run.load(RunFolder(place).best)


def _run(dataset: Dataset, words: list[str]) -> FoldRun:
    """Return the training that a configuration describes; raises MmganError for what it cannot be."""
    refuse_renamed(words)
    cfg = compose("train", words)
    check_options(cfg)
    if "samples" not in task_of(cfg).offers:
        raise MmganError(f"model={cfg.model.name}: this model makes no samples; give a generator, such as vacwgan.")
    run = fold_run(cfg, dataset, WHOLE)
    check_run(cfg, run)
    return run


@contextmanager
def _worded(words: list[str]) -> Iterator[None]:
    """Raise what Hydra finds wrong with the words, and whatever a `_target_` among them raises, as an MmganError."""
    try:
        yield
    except MmganError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise MmganError(sentence(error, "train", words)) from error
    except Exception as error:
        if typed := ", ".join(word for word in words if "_target_=" in word):
            raise MmganError(f"{typed}: this does not serve here ({type(error).__name__}: {error}).") from error
        raise

"""The folder of a run: what it holds, when it is moved aside, and how its small files are written."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import yaml
from filelock import FileLock, Timeout

from mmgan.data.writing import remove_left, replacing
from mmgan.errors import MmganError

# Keys that say where, how long and on how many threads a run works, not what it computes.
FREE_KEYS = (
    "out_dir", "resume", "threads", "logger", "callbacks", "trainer.max_epochs", "model.epochs",
    "data.path", "data.name", "data.source.path", "n_trials", "max_epochs", "timeout", "workers", "storage", "study", "warm_start", "report",
    "trust",
)  # fmt: skip
LOCK = ".lock"
BOUND_KEYS = ("callbacks.score.",)  # of these, what does decide: how checkpoints are chosen


class _Dumper(yaml.SafeDumper):
    """Writes what stands in two places twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class LockedError(MmganError):
    """Another process works in the folder."""


@contextmanager
def file_lock(path: Path, where: Path, *, blocking: bool) -> Iterator[None]:
    """Hold a lock of the operating system on the file `path`, which ends with the process; raises MmganError, which names `where`."""
    lock = FileLock(path, fallback_to_soft=False)  # a mere file would outlive a kill
    try:
        lock.acquire(blocking=blocking)
    except Timeout as error:
        raise LockedError(
            f"{where}: another run works in this folder; wait for it, or give another out_dir=."
        ) from error
    except OSError as error:
        raise MmganError(
            f"{where}: no file can be locked there ({error.strerror}); give an out_dir= on another file system."
        ) from error
    try:
        yield
    finally:
        lock.release()


class RunFolder:
    """The files of one fold's run under `path`."""

    def __init__(self, path: str | Path):
        self.path = Path(path).absolute()
        self.best = self.path / "best.ckpt"
        self.last = self.path / "last.ckpt"
        self.light = self.path / "best.pth"
        self.params = self.path / "params.yaml"
        self.metrics = self.path / "metrics.json"

    @contextmanager
    def opened(self, params: Mapping[str, Any], *, resume: bool) -> Iterator[None]:
        """Hold the folder for a run of these settings; an old run is gone on with if `resume`, else moved aside as `<name>.1`.

        Raises MmganError if the run to resume had other settings, another run works there, or nothing can be written.
        """
        with self.locked():
            if resume and (differing := self.holds_other_than(params)):
                raise MmganError(
                    f"{self.path}: the run there has other settings ({listed(differing)});"
                    " give the same ones to resume it, or leave resume=true out to start anew."
                )
            if not resume and self.params.exists():
                self._move_aside()
            self.write_yaml(self.params.name, params)
            yield

    @contextmanager
    def locked(self, name: str = LOCK) -> Iterator[None]:
        """Hold the folder, which is made if need be, until the block or the process ends; raises MmganError if it is held."""
        self.make()
        with file_lock(self.path / name, self.path, blocking=False):
            remove_left(self.path)
            yield

    def make(self) -> None:
        """Create the folder; raises MmganError if it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.path):  # which has no name that another process could move
                pass
        except OSError as error:
            raise MmganError(f"{self.path}: cannot write there ({error.strerror}); choose another out_dir=.") from error

    def write_yaml(self, name: str, content: Mapping[str, Any]) -> None:
        """Write plain containers as YAML."""
        self._replace(name, yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False))

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write plain containers as JSON."""
        self._replace(name, json.dumps(content, indent=2) + "\n")

    def read_metrics(self) -> dict[str, Any]:
        """Return metrics.json, or nothing if the run has not finished."""
        try:
            found = json.loads(self.metrics.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # or it was damaged: then the run has not finished either
            return {}
        return found if isinstance(found, dict) else {}

    def is_unfinished(self) -> bool:
        """Say whether a training began here that has not ended, or not at the length that was asked for last."""
        if not self.params.exists():
            return False  # a checkpoint that was copied, of which nothing is known
        asked = self._read_params().get("trainer")
        length = asked.get("max_epochs") if isinstance(asked, dict) else None
        known = self.read_metrics()
        return not known or (self.last.exists() and length is not None and known.get("max_epochs") != length)

    def _read_params(self) -> dict[str, Any]:
        """Return params.yaml; raises MmganError for anything else under that name."""
        try:
            text = self.params.read_text(encoding="utf-8")
            has_alias = any(
                isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)
            )  # a few can stand for millions
            known = None if has_alias else yaml.safe_load(text)
        except (ValueError, yaml.YAMLError):  # no UTF-8, no YAML, or one that asks for objects
            known = None
        if not isinstance(known, dict):
            raise MmganError(f"{self.params}: it is not the settings of a run; give another out_dir=.")
        return known

    def _replace(self, name: str, text: str) -> None:
        with replacing(self.path / name, lasting=False) as stream:
            stream.write(text.encode())

    def _move_aside(self) -> None:
        if (self.path / "study.db").exists() or (self.path / "trials").exists() or fold_folders(self.path):
            raise MmganError(f"{self.path} holds more than this run (a study, or folds); give another out_dir=.")
        aside = _free(self.path)
        aside.mkdir()
        # One by one, since no system but Linux renames a folder in which a lock is held; what says that a run is there goes last.
        for path in sorted(self.path.iterdir(), key=lambda path: path == self.params):
            if path.name != LOCK:
                path.rename(aside / path.name)

    def holds_other_than(self, params: Mapping[str, Any]) -> list[str]:
        """Return the keys in which the run there differs from these settings; none where there is no run."""
        if not self.params.exists():
            return []
        return differing_keys(self._read_params(), params)

    def set_aside(self) -> None:
        """Move the files of the run, and nothing else, into `earlier.1/`, `earlier.2/`, ... of its folder."""
        aside = _free(self.path / "earlier")
        aside.mkdir()
        run = [self.best, self.last, self.light, self.params, self.metrics, self.path / "selection"]
        for path in [*run, *self.path.glob("events.out.tfevents*")]:
            if path.exists():
                path.rename(aside / path.name)


def _free(path: Path) -> Path:
    """Return `<path>.1`, or the first `<path>.2`, ... that does not exist."""
    return next(p for n in count(1) if not (p := path.with_name(f"{path.name}.{n}")).exists())


def listed(names: Sequence[str], most: int = 10) -> str:
    """Return names one after the other, of many the first ones and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys whose values differ, with both values, leaving FREE_KEYS out."""
    old, new = _flat(old), _flat(new)
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    free = tuple(f"{key}." for key in FREE_KEYS)
    return [
        f"{key}: {_short(old.get(key))} -> {_short(new.get(key))}"
        for key in keys
        if not f"{key}.".startswith(free) or key.startswith(BOUND_KEYS)
    ]


def _short(value: Any) -> str:
    """Return a value on one line: the settings of a run may be anybody's."""
    return " ".join(str(value).split())[:80]


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def fold_folders(path: Path) -> list[Path]:
    """Return the folders `fold1`, `fold2`, ... under `path`, by number; runs that were moved aside (`fold1.1`) are not among them."""
    found = [p for p in path.glob("fold*") if p.is_dir() and p.name[4:].isdigit()]
    return sorted(found, key=lambda p: int(p.name[4:]))

"""Data files: read without running anything in them, and written as pickle, npz or csv."""

import csv
import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmgan.data.pickles import opened, unpickle
from mmgan.data.writing import replacing
from mmgan.errors import MmganError

MOST_UNPACKED, MOST_PACKED = 300 * 10**6, 50  # bytes of a compressed file: so many, or so many times its size
_JSON = ":json"  # ends the npz key of what is no array: None, and containers without arrays


def cache_file(
    room: str, name: str, cache: str | os.PathLike | None = None, kept: str | os.PathLike | None = None
) -> Path:
    """Return where what is made of a user's data is kept: `name` below `cache`, or below mmgan/`room` of the user's cache folder.

    Where `kept` has it already, it is read there; nothing is written below `kept`.
    """
    if kept is not None and (found := Path(kept) / name).is_file():
        return found
    of_user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(cache or of_user / "mmgan" / room) / name


def read_archive(path: str | os.PathLike) -> dict[str, Any]:
    """Return the dict in a .pkl (whose code is never run) or .npz file; raise MmganError if it is not one."""
    path = Path(path)
    with opened(path) as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
        stream.seek(0)
        if is_zip and path.suffix.lower() in (".pt", ".pth", ".ckpt"):
            raise MmganError(
                f"{path} is a file of torch; save a dict of numpy arrays as .pkl or .npz (array = tensor.numpy())."
            )
        content = _read_npz(stream, path) if is_zip else unpickle(stream, path)
    if not isinstance(content, dict):
        raise MmganError(f"{path} holds a {type(content).__name__}, not a dict; save a dict with x_train and y_train.")
    return content


def _read_npz(stream: BinaryIO, path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    key = ""
    try:
        with zipfile.ZipFile(stream) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > max(MOST_UNPACKED, MOST_PACKED * stream.seek(0, os.SEEK_END)):
            raise MmganError(
                f"{path} holds {unpacked / 1e6:.0f} MB in a file far smaller; save it without compression (numpy.savez)."
            )
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as members:
            for key in members.files:
                *parents, leaf = key.split("/")
                node = tree
                for parent in parents:
                    node = node.setdefault(parent, {})
                value = members[key] if members[key].shape else members[key].item()
                node[leaf.removesuffix(_JSON)] = json.loads(value) if leaf.endswith(_JSON) else value
        return _lists(tree)
    except MmganError:
        raise
    except Exception as error:  # a damaged archive can raise anything at all, as each way to compress does
        if "Object arrays" in str(error):
            raise MmganError(f"{path}: {key} is an object array; save it with .astype(str) or as numbers.") from None
        raise MmganError(f"{path} is truncated or not a .npz of arrays; copy it or write it again.") from None


def _lists(node: Any) -> Any:
    """Turn {'0': a, '1': b} back into [a, b]."""
    if not isinstance(node, dict):
        return node
    if node and set(node) == {str(index) for index in range(len(node))}:
        return [_lists(node[str(index)]) for index in range(len(node))]
    return {key: _lists(value) for key, value in node.items()}


def _plain(value: Any, trail: str = "the file") -> Any:
    """Return `value` as arrays and plain Python, readable without mmgan; raise TypeError if it is not."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return np.asarray(value)
    if isinstance(value, Mapping):
        return {_plain(key, f"a key of {trail}"): _plain(item, f"{trail}/{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{trail}/{index}") for index, item in enumerate(value)]
    raise TypeError(f"{trail} is a {type(value).__name__}; only numpy arrays and plain Python can be written")


def _has_array(value: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, np.ndarray) or any(map(_has_array, items))


def _flat(value: Any, key: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ("folds/0/x_synth/spec", array) for each array, number and text, and the rest as JSON."""
    if isinstance(value, np.ndarray | bool | int | float | str):
        yield key, np.asarray(value)
    elif not _has_array(value):
        yield key + _JSON, np.array(json.dumps(value))
    else:
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(value, dict) and (str(name).isdigit() or "/" in str(name)):
                raise MmganError(f"a .npz cannot hold the key {name!r} of {key}; write a .pkl instead.")
            yield from _flat(item, f"{key}/{name}")


def file_digest(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file; raise MmganError if it cannot be read."""
    with opened(Path(path)) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_pickle(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Write arrays and plain Python as a pickle that needs only numpy; all of it or nothing."""
    plain = _plain(content)
    with replacing(path) as stream:
        pickle.dump(plain, stream, protocol=4)


def write_csv(path: str | os.PathLike, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of cells as comma-separated values; all of them or nothing."""
    with replacing(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        minimal, all_quoted = (
            csv.writer(text, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
        )
        for row in rows:  # before Python 3.13 a carriage return alone is not quoted
            (all_quoted if any("\r" in str(cell) for cell in row) else minimal).writerow(row)
        text.detach()  # and flushes; the stream is closed by whoever opened it


def write_npz(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Write the same as `write_pickle` under flattened keys: "folds/0/x_synth/spec", "meta:json"."""
    # A list: all that can be refused is refused before a file is opened.
    members = [member for key, value in _plain(content).items() for member in _flat(value, key)]
    with replacing(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        for key, array in members:
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), buffer.getbuffer())  # no date: same data, same bytes

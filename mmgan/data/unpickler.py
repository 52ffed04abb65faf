"""Reading pickles without running what is in them: numpy arrays and plain containers, nothing else."""

import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmgan.errors import MmganError


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, by which protocols 0-2 write bytes; other codecs are not data."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"unexpected text encoding {encoding!r}")
    return text.encode("latin-1")


def _allowed_names() -> dict[tuple[str, str], Any]:
    """Return all that a data pickle of protocols 0-5, written with numpy 1 or 2, may refer to."""
    # numpy's own reconstruction functions are found through pickling: their module has moved once already
    reconstruct = np.zeros(1).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    frombuffer = np.zeros(1).__reduce_ex__(5)[0]
    allowed = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype, ("_codecs", "encode"): _encode}
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray", "_reconstruct"] = reconstruct
        allowed[f"{core}.multiarray", "scalar"] = scalar
        allowed[f"{core}.numeric", "_frombuffer"] = frombuffer
    for builtins in ("builtins", "__builtin__"):  # protocols 0-2 name these; later ones have opcodes for them
        allowed |= {(builtins, kind.__name__): kind for kind in (bytes, set, frozenset)}
    return allowed


class _RefusedNameError(pickle.UnpicklingError):
    pass


class _DataUnpickler(pickle.Unpickler):
    _allowed = _allowed_names()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise _RefusedNameError(f"{module}.{name}")
        return self._allowed[module, name]


def unpickle(stream: BinaryIO, path: Path) -> Any:
    try:
        return _DataUnpickler(stream, encoding="latin1").load()  # latin1: what arrays of Python 2 need
    except _RefusedNameError as refused:
        raise MmganError(
            f"{path} refers to '{refused}', which is neither a numpy array nor a plain container: "
            "it was refused and nothing was run; save the file again as a dict of numpy arrays."
        ) from None
    except (
        Exception
    ) as error:  # a damaged pickle can raise anything at all, and none of it is of use to the user
        if isinstance(error, EOFError) or "truncated" in str(error) or "exhausted" in str(error):
            raise MmganError(f"{path} is truncated or empty; copy it or write it again.") from None
        raise MmganError(
            f"{path} is not a readable pickle ({error}); give a .pkl or .npz file of arrays."
        ) from None


def refuse_objects(value: Any, path: Path, trail: str = "") -> None:
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        raise MmganError(
            f"{path}: {trail or 'it'} is an object array; save it with .astype(str) or as numbers."
        )
    if isinstance(value, Mapping):
        for key, item in value.items():
            refuse_objects(item, path, f"{trail}/{key}" if trail else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            refuse_objects(item, path, f"{trail}/{index}")


@contextmanager
def opened(path: str | os.PathLike) -> Iterator[BinaryIO]:
    try:
        stream = open(path, "rb")  # noqa: SIM115 - errors of opening alone are worded here
    except FileNotFoundError:
        raise MmganError(f"there is no file {path}; check the path.") from None
    except OSError as error:
        raise MmganError(f"{path} cannot be read: {error.strerror}; give a readable file.") from None
    with stream:
        yield stream


def read_npy_dict(path: str | os.PathLike) -> dict[str, Any]:
    """Return the dict that a .npy file wraps in a 0-dimensional object array, read as safely as a pickle."""
    path = Path(path)
    with opened(path) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[
                version[0]
            ]
            shape, _, dtype = read_header(stream)
        except (ValueError, KeyError):
            raise MmganError(f"{path} is not a .npy file; install the package that ships it again.") from None
        content = unpickle(stream, path) if dtype.hasobject and shape == () else None
    content = content.item() if isinstance(content, np.ndarray) and content.shape == () else content
    if not isinstance(content, dict):
        raise MmganError(f"{path} does not hold a dict; install the package that ships it again.")
    refuse_objects(content, path)
    return content

"""Reading pickles without running what is in them: numpy arrays and plain containers, nothing else."""

import math
import os
import pickle
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmgan.errors import MmganError


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, by which protocols 0-2 write bytes; other codecs are not data."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"unexpected text encoding {encoding!r}")
    return text.encode(encoding)


class _Dtype:
    """Stand in for numpy.dtype, whose own __setstate__ lets forged flags corrupt memory."""

    def __init__(self, kind: str, align: bool = False, copy: bool = False):
        if not re.fullmatch(r"[biufcSUO]\d+", kind):
            raise ValueError(f"arrays of type {kind!r} are not data")
        self.kind = kind
        self.order = "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def build(self, raw: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Return the values of `raw`, (prod(shape),); of objects, only what a 0-dimensional array wraps."""
        dtype = np.dtype(f"{self.order}{self.kind}")
        if dtype.hasobject:
            array = np.empty(1 if shape == () else 0, dtype)
            array[:] = raw[:1] if shape == () else []
            return array
        raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # as Python 2 wrote it
        if len(raw) == 0:
            return np.zeros(math.prod(shape), dtype)
        if dtype.kind == "U" and np.frombuffer(raw, dtype.byteorder + "u4").max() > sys.maxunicode:
            raise ValueError("a text in it is damaged")
        return np.frombuffer(raw, dtype).copy()  # writable


class _Array:
    """Stand in for numpy.ndarray: `value` is the array, once its state is known."""

    value: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        flat = dtype.build(raw, shape)
        self.value = flat if flat.dtype.hasobject and shape else flat.reshape(shape, order="F" if fortran else "C")


def _reconstruct(kind: type, shape: tuple[int, ...], typecode: bytes) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, raw: Any) -> np.generic:
    return dtype.build(raw, ())[0]


def _frombuffer(raw: Any, dtype: _Dtype, shape: tuple, order: str, axes: tuple | None = None) -> _Array:
    array = _Array()
    flat = dtype.build(raw, shape)
    array.value = flat.reshape(shape).transpose(axes) if axes is not None else flat.reshape(shape, order=order)
    return array


def _finished(value: Any, path: Path, trail: str = "") -> Any:
    """Put the arrays in the places of their stand-ins; raise MmganError for one of objects, but for what a 0-dimensional one wraps."""
    if isinstance(value, _Array):
        value = value.value
        if value.dtype.hasobject:
            if value.shape:
                raise MmganError(
                    f"{path}: {trail or 'it'} is an object array; save it with .astype(str) or as numbers."
                )
            return _finished(value.item(), path, trail)
    elif isinstance(value, dict):
        return {key: _finished(item, path, f"{trail}/{key}".lstrip("/")) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        return type(value)(_finished(item, path, f"{trail}/{index}") for index, item in enumerate(value))
    return value


def _allowed_names() -> dict[tuple[str, str], Any]:
    """Return all that a data pickle of protocols 0-5, written with numpy 1 or 2, may refer to."""
    allowed = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Dtype, ("_codecs", "encode"): _encode}
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray", "_reconstruct"] = _reconstruct
        allowed[f"{core}.multiarray", "scalar"] = _scalar
        allowed[f"{core}.numeric", "_frombuffer"] = _frombuffer
    for builtins in ("builtins", "__builtin__"):  # protocols 0-2 name these; later ones have opcodes for them
        allowed |= {(builtins, kind.__name__): kind for kind in (bytes, set, frozenset)}
    return allowed


class _DataUnpickler(pickle.Unpickler):
    _allowed = _allowed_names()

    def __init__(self, stream: BinaryIO, path: Path):
        super().__init__(stream, encoding="latin1")  # for arrays of Python 2
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise MmganError(
                f"{self.path} refers to '{module}.{name}', which is neither a numpy array nor a plain container: "
                "it was refused and nothing was run; save the file again as a dict of numpy arrays."
            )
        return self._allowed[module, name]


def unpickle(stream: BinaryIO, path: Path) -> Any:
    """Return what a pickle holds; raise MmganError if that is more than data, or cannot be read."""
    try:
        return _finished(_DataUnpickler(stream, path).load(), path)
    except MmganError:
        raise
    except Exception as error:  # a damaged pickle can raise anything at all
        if isinstance(error, EOFError) or "truncated" in str(error) or "exhausted" in str(error):
            raise MmganError(f"{path} is truncated or empty; copy it or write it again.") from None
        reason = " ".join(str(error).split())
        raise MmganError(f"{path} is no readable pickle ({reason}); give a .pkl or .npz of arrays.") from None


def as_array(value: Any, where: str) -> np.ndarray:
    """Return a file's value, an array or nested lists, as an array; raise MmganError if it is ragged."""
    try:
        return np.asarray(value)
    except ValueError:
        raise MmganError(f"{where} is ragged; give an array whose samples have one shape.") from None


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
            np.lib.format.read_magic(stream)
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        except ValueError:
            raise MmganError(f"{path} is not a .npy file; install the package that ships it again.") from None
        content = unpickle(stream, path) if dtype.hasobject and shape == () else None
    if not isinstance(content, dict):
        raise MmganError(f"{path} does not hold a dict; install the package that ships it again.")
    return content

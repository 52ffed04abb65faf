"""Reading pickles without running what is in them: numpy arrays and plain containers, nothing else."""

import os
import pickle
import re
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmgan.errors import MmganError, shown_value

MOST_SHARED = 10**5  # values beside two for each byte of the file
MOST_KEY = 2**16  # bytes of a key
MOST_LETTERS = 50 * 10**6  # of an array made of a list of texts


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
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"arrays of byte order {state[1]!r} are not data")
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
            return np.zeros(1 if shape == () else 0, dtype)  # whatever the shape claims
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


def _bytes() -> bytes:
    """Stand in for `bytes`, by which protocols 0-2 write empty ones; given a number it would fill the memory."""
    return b""


def _set(items: list) -> set:
    for item in items:
        _check_key(item)
    return set(items)


def _frozenset(items: list) -> frozenset:
    return frozenset(_set(items))


class _Call:
    """A function that a file may call, and not change: of a function itself a pickle may set the defaults."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it changes a function")


def _check_key(key: Any, inner: bool = False) -> None:
    """Raise ValueError for a key that Python would be long about, or not survive: hashing nested tuples recurses without a limit."""
    if isinstance(key, tuple) and len(key) <= 10 and not inner:
        for part in key:
            _check_key(part, inner=True)
        return
    fits = isinstance(key, str | bytes | int | float | complex | np.generic | None) and sys.getsizeof(key) <= MOST_KEY
    if not fits or (isinstance(key, int) and abs(key) > sys.hash_info.modulus):  # of those, any number has one hash
        raise ValueError("a key in it is no short text or number")


class _Finisher:
    """Puts the arrays in the places of their stand-ins, within a budget: what is shared counts each time."""

    def __init__(self, path: Path, budget: int):
        self.path, self.budget = path, budget

    def __call__(self, value: Any, trail: str = "") -> Any:
        """Return the value; raise MmganError for an array of objects, but for what a 0-dimensional one wraps."""
        if isinstance(value, _Array):
            return self._array(value.value, trail)
        if not isinstance(value, dict | list | tuple):
            return value
        self._spend(1 + len(value))
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        finished = {
            key: item if type(item) in (int, float, str) else self(item, f"{trail}/{key}".lstrip("/")[-200:])
            for key, item in pairs
        }
        return finished if isinstance(value, dict) else type(value)(finished.values())

    def _array(self, array: np.ndarray, trail: str) -> Any:
        self._spend(1 + array.nbytes // 8)
        if not array.dtype.hasobject:
            return array
        if array.shape:
            raise MmganError(
                f"{self.path}: {trail or 'it'} is an object array; save it with .astype(str) or as numbers."
            )
        return self(array.item(), trail)

    def _spend(self, values: int) -> None:
        self.budget -= values
        if self.budget < 0:
            raise ValueError("it holds far more than its size, by parts that share each other")


def _allowed_names() -> dict[tuple[str, str], Any]:
    """Return all that a data pickle of protocols 0-5, written with numpy 1 or 2, may refer to."""
    allowed = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Dtype, ("_codecs", "encode"): _Call(_encode)}
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray", "_reconstruct"] = _Call(_reconstruct)
        allowed[f"{core}.multiarray", "scalar"] = _scalar
        allowed[f"{core}.numeric", "_frombuffer"] = _Call(_frombuffer)
    for builtins in ("builtins", "__builtin__"):  # protocols 0-2 name these; later ones have opcodes for them
        allowed |= {(builtins, kind.__name__.strip("_")): _Call(kind) for kind in (_bytes, _set, _frozenset)}
    return allowed


def _checking(opcode: bytes, where: slice) -> tuple[int, Callable[["_DataUnpickler"], None]]:
    """Return an opcode with what carries it out, once the keys, which lie at `where` on the stack, are found short."""
    load = pickle._Unpickler.dispatch[opcode[0]]

    def check_and_load(unpickler: "_DataUnpickler") -> None:
        for key in unpickler.stack[where]:
            _check_key(key)
        load(unpickler)

    return opcode[0], check_and_load


class _DataUnpickler(pickle._Unpickler):
    """The unpickler in Python: that in C fills the memory where a memo has gaps, and hashes a key before one can look at it."""

    _allowed = _allowed_names()

    def __init__(self, stream: BinaryIO, path: Path, size: int):
        super().__init__(stream, encoding="latin1")  # for arrays of Python 2
        self.path, self.size = path, size

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise MmganError(
                f"{self.path} refers to '{module}.{name}', which is neither a numpy array nor a plain container: "
                "it was refused and nothing was run; save the file again as a dict of numpy arrays."
            )
        return self._allowed[module, name]

    def load_bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(min(length, self.size))))  # not as long as it claims to be

    dispatch = pickle._Unpickler.dispatch | {
        pickle.BYTEARRAY8[0]: load_bytearray8,
        **dict(_checking(opcode, slice(None, None, 2)) for opcode in (pickle.DICT, pickle.SETITEMS)),
        **dict(_checking(opcode, slice(None)) for opcode in (pickle.ADDITEMS, pickle.FROZENSET)),
        **dict([_checking(pickle.SETITEM, slice(-2, -1))]),
    }


def unpickle(stream: BinaryIO, path: Path) -> Any:
    """Return what a pickle holds; raise MmganError if that is more than data, or cannot be read."""
    try:
        start = stream.tell()
        size = stream.seek(0, os.SEEK_END)
        stream.seek(start)
        return _Finisher(path, MOST_SHARED + 2 * size)(_DataUnpickler(stream, path, size).load())
    except MmganError:
        raise
    except Exception as error:  # a damaged pickle can raise anything at all
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, EOFError) or re.search("truncated|exhausted|unpack requires", reason):
            raise MmganError(f"{path} is truncated or empty; copy it or write it again.") from None
        raise MmganError(f"{path} is no readable pickle ({reason}); give a .pkl or .npz of arrays.") from None


def _texts(value: Any) -> tuple[int, int]:
    """Return how many values nested lists hold, and how long the longest text among them is."""
    if not isinstance(value, list | tuple):
        return 1, len(value) if isinstance(value, str | bytes) else 0
    found = [_texts(each) for each in value]
    return sum(count for count, _ in found), max((letters for _, letters in found), default=0)


def as_array(value: Any, where: str) -> np.ndarray:
    """Return a file's value, an array or nested lists, as an array; raise MmganError if it is ragged."""
    count, letters = _texts(value)
    if count * letters > MOST_LETTERS:  # numpy gives each text as much memory as the longest needs
        raise MmganError(f"{where} holds a text of {letters:,} characters among {count:,} values; shorten it.")
    try:
        return np.asarray(value)
    except ValueError:
        raise MmganError(f"{where} is ragged; give an array whose samples have one shape.") from None


@contextmanager
def opened(path: str | os.PathLike) -> Iterator[BinaryIO]:
    try:
        if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
            raise MmganError(f"{path} cannot be read: it is a pipe or a device; give a file.")  # which may never answer
        stream = open(path, "rb")  # noqa: SIM115 - errors of opening alone are worded here
    except FileNotFoundError:
        raise MmganError(f"there is no file {path}; check the path.") from None
    except MmganError:
        raise
    except (OSError, ValueError) as error:  # the latter of a name that holds a null character
        reason = getattr(error, "strerror", None) or error
        raise MmganError(f"{shown_value(path)} cannot be read: {reason}; give a readable file.") from None
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

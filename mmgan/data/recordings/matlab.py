"""MATLAB's files: version 5 by scipy, version 7.3, which is HDF5, by h5py."""

import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat, whosmat

from mmgan.data.files import MOST_PACKED, MOST_UNPACKED
from mmgan.data.recordings.recording import Recording, check_size
from mmgan.errors import MmganError, require

NUMBERS = {"double", "single", "logical"} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
HDF5 = b"\x89HDF\r\n\x1a\n"
MATRIX, COMPRESSED, OPAQUE = 14, 15, 17  # types of elements, and the class of what only MATLAB can read
MOST_STRUCT = 2**28  # bytes of a file whose structs are read, unpacked
MOST_NESTED = 2**24  # values of an array in a struct
MOST_AT_ONCE = 2**24  # values of an HDF5 array that is read at once


def read_mat(path: Path) -> Recording:
    """Read the numeric arrays of a .mat file; where it has no signal among them, those in its structs, by dotted names."""
    with open(path, "rb") as stream:
        head = stream.read(520)
    if HDF5 in (head[:8], head[512:520]):
        return read_hdf5(path)
    with open(path, "rb") as stream:  # which scipy leaves open where it fails
        variables = whosmat(stream)
        plain = {name: shape for name, shape, kind in variables if kind in NUMBERS}
        check_size(sum(math.prod(shape) for shape in plain.values()))
        signals = [name for name, shape in plain.items() if math.prod(shape) > 1]
        structs = [name for name, shape, kind in variables if kind == "struct" and math.prod(shape) == 1]
        if signals or not structs:
            return Recording.of_arrays(loadmat(stream, variable_names=list(plain)) if plain else {})
        _check_structs(path)
        content = loadmat(stream, variable_names=[*plain, *structs], simplify_cells=True)
    return Recording.of_arrays(dict(_leaves({name: content[name] for name in [*plain, *structs]})))


def _check_structs(path: Path) -> None:
    """Raise MmganError if what a file's structs say of their sizes would fill the memory; scipy.io.whosmat sees the outermost only.

    https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
    """
    too_large = MmganError("it keeps its signals in structs that are too large to read; save them as plain arrays.")
    if path.stat().st_size > MOST_STRUCT:
        raise too_large
    content = path.read_bytes()
    order = ">" if content[126:128] == b"MI" else "<"
    pending, unpacked = [content[128:]], 0
    while pending:
        for kind, body in _elements(pending.pop(), order):
            if kind == COMPRESSED:
                inner = zlib.decompressobj().decompress(body, MOST_STRUCT + 1)
                unpacked += len(inner)
                pending.append(inner)
            elif kind == MATRIX and body and body[8] != OPAQUE:
                _, dimensions = next(_elements(body[16:], order))
                size = math.prod(struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions))
                pending.append(body[16:])
                if size > MOST_NESTED:
                    raise too_large
            if unpacked > MOST_STRUCT:
                raise too_large


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield (type, bytes) of the elements that stand after each other; small ones keep up to 4 bytes in their tag."""
    place = 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        if kind >> 16:
            yield kind & 0xFFFF, content[place + 4 : place + 4 + (kind >> 16)]
            place += 8
        else:
            yield kind, content[place + 8 : place + 8 + size]
            place += 8 + size + (0 if kind == COMPRESSED else -size % 8)


def _leaves(node: Mapping[str, Any], trail: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{trail}{key}.")
        elif isinstance(value, np.ndarray | int | float) and np.asarray(value).dtype.kind in "fiubc":
            yield f"{trail}{key}", np.asarray(value)


def read_hdf5(path: Path) -> Recording:
    """Read the numeric arrays of an HDF5 file, MATLAB's v7.3 among them; groups become dotted names, and large signals stay on the disk."""
    require("h5py", f"{path}: HDF5, as which MATLAB saves with -v7.3,", extra="recordings")
    import h5py

    arrays: dict[str, np.ndarray] = {}
    large: dict[str, Stored] = {}
    file = h5py.File(path, "r")
    most = max(MOST_UNPACKED, MOST_PACKED * path.stat().st_size)

    def keep(name: str, node: Any) -> None:
        if not isinstance(node, h5py.Dataset) or node.dtype.kind not in "fiub" or name.startswith("#"):
            return
        if node.shape is None:
            return
        if node.external or node.is_virtual:
            raise MmganError(f"its array {name} lies in another file; save it as one file.")
        name = name.replace("/", ".")
        if node.size <= MOST_AT_ONCE:
            check_size(node.size + sum(array.size for array in arrays.values()))
            if (claimed := node.nbytes + sum(array.nbytes for array in arrays.values())) > most:
                raise MmganError(
                    f"it claims {claimed / 1e6:.0f} MB in a file far smaller; save it without compression."
                )
            arrays[name] = node[()]
        elif node.ndim in (1, 2):
            large.update(_stored(file, name, node))

    file.visititems(keep)
    recording = Recording.of_arrays(arrays)
    recording.channels |= large
    if not large:
        file.close()
    return recording


def _stored(file: Any, name: str, node: Any) -> Iterator[tuple[str, "Stored"]]:
    if node.ndim == 1 or 1 in node.shape:
        yield name, Stored(file, node, int(np.argmax(node.shape)), 0)
    else:
        axis = int(np.argmax(node.shape))
        yield from ((f"{name}{number}", Stored(file, node, axis, number)) for number in range(min(node.shape)))


@dataclass(frozen=True)
class Stored:
    """A signal (T,) that is read from an HDF5 file as it is sliced: column `number` of a table whose time is along `axis`."""

    file: Any  # which would be closed without it
    node: Any
    axis: int
    number: int

    def __len__(self) -> int:
        return self.node.shape[self.axis]

    def __getitem__(self, place: slice) -> np.ndarray:
        if self.node.ndim == 1:
            return self.node[place]
        return self.node[(place, self.number) if self.axis == 0 else (self.number, place)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)
